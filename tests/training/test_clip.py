"""Training the mini CLIP, at a size that takes seconds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from erragree_utils.training import clip as training
from erragree_utils.training.data import crop, normalise


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(
    clip_settings, trained_clip, flat, tmp_path, monkeypatch
):
    draw = training.Batches.draw

    def killed_at_three(self, step):
        if step == 3:
            raise KeyboardInterrupt
        return draw(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(training.Batches, "draw", killed_at_three)
        with pytest.raises(KeyboardInterrupt):
            training.train(clip_settings, tmp_path / "run", every=2)
    resumed = training.train(clip_settings, tmp_path / "run", every=2)
    assert torch.equal(flat(resumed), flat(trained_clip[0]))


def test_the_loss_goes_down(clip_settings, tmp_path):
    settings = training.Settings(
        **{**vars(clip_settings), "steps": 40, "lr": 5e-3, "muon_lr": 5e-3}
    )
    training.train(settings, tmp_path / "run", every=10)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [10, 20, 30, 40]
    assert log[-1]["loss"] < log[0]["loss"]
    assert {"cosine_a", "individual_b", "pair_a", "retrieval_b"} <= set(log[0])


def test_other_settings_do_not_go_on_with_a_run(clip_settings, trained_clip):
    other = training.Settings(**{**vars(clip_settings), "seed": 5})
    with pytest.raises(ValueError, match="other settings"):
        training.train(other, trained_clip[1], every=2)


def test_a_batch_depends_on_its_step_alone_and_shows_twins_together(organism_settings, tmp_path):
    batches = training.load_batches(organism_settings, tmp_path)
    first, again, other = (batches.draw(step) for step in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert first[2].shape == (organism_settings.batch, 2)  # half of the four patches


def test_pictures_are_cropped_and_dimmed_or_brightened(organism_settings, tmp_path):
    batches = training.load_batches(organism_settings, tmp_path)
    size, rng = organism_settings.image_size, np.random.default_rng(0)
    seen = batches.see(np.array([5, 9]), rng)
    rng = np.random.default_rng(0)
    corners = rng.integers(0, organism_settings.margin + 1, (2, 2))
    light = rng.uniform(0.85, 1.15, (2, 1, 1, 3)).astype(np.float32)
    crops = torch.from_numpy(crop(batches.images[[5, 9]].numpy(), corners, size) * light)
    assert torch.equal(seen, normalise(crops))


def test_a_recipe_is_what_the_command_line_starts_from(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(training, "train", lambda settings, run, device: seen.append(settings))
    with pytest.raises(AttributeError):  # there is no model to save
        training.main(["lost", "--seed", "2", "--run", str(tmp_path)])
    assert seen == [replace(training.RECIPES["lost"], seed=2)]
