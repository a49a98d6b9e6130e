"""Training the ablations, and going on after a kill."""

import shutil
from dataclasses import replace

import pytest
import torch
from filelock import FileLock

from erragree_utils.training import ablations
from erragree_utils.training.ablations import models, tables, train, world


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(
    out, tmp_path, monkeypatch, settings, flat
):
    whole = train.train(settings, tmp_path / "whole", out / "pictures", every=2)
    draw = world.Batches.draw

    def killed_at_two(self, step):
        if step == 2:
            raise KeyboardInterrupt
        return draw(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(world.Batches, "draw", killed_at_two)
        with pytest.raises(KeyboardInterrupt):
            train.train(settings, tmp_path / "killed", out / "pictures", every=2)
    resumed = train.train(settings, tmp_path / "killed", out / "pictures", every=2)
    assert torch.equal(flat(whole), flat(resumed))


def test_training_lowers_the_loss(out, tmp_path, seen, settings):
    chosen = replace(settings, steps=40, lr=5e-3, muon_lr=5e-3)
    images, texts, negative = world.Batches(seen, chosen).draw(0)
    before = models.build(chosen).loss(images, texts, negative)
    model = train.train(chosen, tmp_path / "run", out / "pictures")
    assert model.loss(images, texts, negative) < before


@pytest.mark.parametrize(
    "name", ["several text tokens", "captioner of CLS", "language model", "questions 50%"]
)
def test_experiments_train_and_are_measured(name, out, tmp_path, small, metrics):
    (tmp_path / "pictures").symlink_to(out / "pictures")
    rows = train.run_one(name, 0, tmp_path, **small | {"steps": 2})
    assert set(rows["metric"]) == metrics and rows["value"].notna().all()


def test_a_run_names_the_command_that_makes_it():
    named = train._command("hard negatives", 1, {"steps": 4})
    assert named.endswith("ablations --experiment 'hard negatives' --seeds 1 --steps 4")


def test_a_finished_run_is_not_trained_again(recorded, out, monkeypatch, small):
    monkeypatch.setattr(train, "train", lambda *a, **k: pytest.fail("trained again"))
    rows = train.run_one("CLIP", 0, out, **small)
    assert set(rows["experiment"]) == {"CLIP"}


def test_a_run_that_another_process_trains_is_left_to_it(out, tmp_path, capsys, small):
    (tmp_path / "pictures").symlink_to(out / "pictures")
    (tmp_path / "CLIP-0").mkdir()
    with FileLock(tmp_path / "CLIP-0" / "run.lock"):
        train.run_many(["CLIP"], [0], tmp_path, **small)
    assert "CLIP, seed 0: another process trains it" in capsys.readouterr().out
    assert not (tmp_path / "CLIP-0" / "result.csv").exists()


def test_a_folder_of_other_settings_is_refused(recorded, out, settings, small):
    with pytest.raises(ValueError, match="other settings; choose another --out"):
        train.run_one("CLIP", 0, out, **small | {"steps": 4})


def test_collect_keeps_runs_that_only_the_table_has(recorded, out, tmp_path):
    """A folder with some of the runs does not wipe out the others' record."""
    train.collect(out, tmp_path / "tables")
    one = tmp_path / "one"
    shutil.copytree(out / "hard-negatives-1", one / "hard-negatives-1")
    train.collect(one, tmp_path / "tables")
    for family in ("data", "tokens"):
        kept = tables.read_rows(tmp_path / "tables" / f"{family}.csv")
        assert kept.equals(tables.read_rows(recorded / f"{family}.csv"))


def test_collect_refuses_to_write_trials_over_a_record(recorded, out, tmp_path, small):
    (tmp_path / "pictures").symlink_to(out / "pictures")
    train.run_one("CLIP", 0, tmp_path, **small | {"steps": 2})
    with pytest.raises(ValueError, match="write trials elsewhere"):
        train.collect(tmp_path, recorded)
    assert (tables.read_rows(recorded / "data.csv")["steps"] == small["steps"]).all()


def test_a_rerun_leaves_nothing_behind_and_gives_rows(out, tmp_path, monkeypatch, small, metrics):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    rows = ablations.rerun("CLIP", seed=3, **small | {"steps": 2})
    assert (rows["steps"] == 2).all() and set(rows["metric"]) == metrics
