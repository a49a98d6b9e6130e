"""Running tasks: kills, repeats, shares and bad items change no table."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from erragree_utils import load_clip, score
from erragree_utils.benchmarks import Benchmark, ImagePair, QuestionPair, base
from erragree_utils.scoring import METHODS, Matching
from erragree_utils.study import ItemError, ModelChoice, Task, read, run, runner, settings
from erragree_utils.study.store import StoreError

N_SETS = 24


class Eye:
    """A small CLIP without torch: an image embeds as its mean colour, a text as its letters."""

    device = "abacus"

    def __init__(self, name="eye", **more):
        self.name, self.images, self.sizes = name, 0, []
        self.__dict__.update(more)

    def embed_images(self, images, batch_size=64):
        rows = [np.asarray(image.convert("RGB"), np.float32).mean((0, 1)) + 1 for image in images]
        self.images += len(rows)
        self.sizes.append(batch_size)
        return self._unit(rows)

    def embed_texts(self, texts, batch_size=256):
        return self._unit(
            [[1 + sum(map(ord, text[i::3])) % 97 for i in range(3)] for text in texts]
        )

    @staticmethod
    def _unit(rows):
        rows = np.asarray(rows, np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@dataclass(frozen=True)
class Ready(ModelChoice):
    """A choice of a model that is there already."""

    model: object = None

    def load(self):
        return self.model


def make_bench(name="tabletop-a", seed=0, n_sets=N_SETS, folder: Path | None = None) -> Benchmark:
    """Sets of four images of one colour each, in memory or as files."""
    rng = np.random.default_rng(seed)
    pairs = []
    for i in range(n_sets):
        images = [Image.new("RGB", (4, 4), tuple(rng.integers(0, 255, 3))) for _ in range(4)]
        if folder is not None:
            paths = [folder / f"{i}-{k}.png" for k in range(4)]
            for path, image in zip(paths, images, strict=True):
                image.save(path)
            images = paths
        for k, (one, other) in enumerate((("left of", "right of"), ("on", "under"))):
            texts = tuple(f"A mug {word} a chair number {i}" for word in (one, other))
            pairs.append(
                ImagePair(f"{i}-{k}", f"s{i}", one, texts, tuple(images[2 * k : 2 * k + 2]))
            )
    return Benchmark(name, tuple(pairs), source=f"seed {seed}")


@pytest.fixture
def bench(monkeypatch):
    made = make_bench()
    monkeypatch.setattr(runner, "load_benchmark", lambda name, **options: made)
    return made


def tasks(model=None, method="matching", benchmark="tabletop-a") -> list[Task]:
    model = model or Eye()
    return [Task(benchmark, Ready("clip", model.name, model=model), method)]


def the_table(folder) -> pd.DataFrame:
    results = read(folder)
    (key,) = results.settings
    return results.table(key)


class TestRun:
    @pytest.mark.parametrize("method", ["matching", "matching-all"])
    def test_the_table_is_that_of_score(self, bench, tmp_path, method):
        outcome = run(tasks(method=method), tmp_path, batch_size=10)
        assert (outcome.scored, outcome.stored) == (N_SETS, 0)
        expected = score(Eye(), bench, method).drop(columns=["benchmark", "model", "method"])
        pd.testing.assert_frame_equal(the_table(tmp_path), expected, check_exact=True)

    def test_what_is_stored_is_not_scored_again(self, bench, tmp_path):
        run(tasks(), tmp_path)
        model = Eye()
        outcome = run(tasks(model), tmp_path)
        assert (outcome.scored, outcome.stored, model.images) == (0, N_SETS, 0)

    def test_limit_takes_the_first_sets_and_the_rest_comes_later(self, bench, tmp_path):
        run(tasks(), tmp_path, limit=5)
        assert the_table(tmp_path)["set_id"].unique().tolist() == [f"s{i}" for i in range(5)]
        model = Eye()
        run(tasks(model), tmp_path)
        assert model.images == 4 * (N_SETS - 5)
        assert the_table(tmp_path)["set_id"].nunique() == N_SETS

    def test_items_that_are_damaged_alone_are_scored_again(self, bench, tmp_path):
        run(tasks(), tmp_path, batch_size=16)
        before = the_table(tmp_path)
        (path,) = tmp_path.glob("*.sqlite")
        data = path.read_bytes()
        for name in ("s7", "s8", "s23"):
            old = f'"set_id":["{name}"'.encode()
            assert data.count(old) == 1
            data = data.replace(old, old.replace(b"s", b"S", 1))
        path.write_bytes(data)
        model = Eye()
        with pytest.warns(UserWarning, match="damaged .*set 's7'.*set 's8'.*set 's23'"):
            assert run(tasks(model), tmp_path, batch_size=16).scored == 3
        assert model.images == 12
        pd.testing.assert_frame_equal(the_table(tmp_path), before, check_exact=True)

    def test_lost_settings_come_back_though_nothing_is_scored(self, bench, tmp_path):
        run(tasks(), tmp_path)
        before = the_table(tmp_path)
        (path,) = tmp_path.glob("*.sqlite")
        path.write_bytes(path.read_bytes().replace(b'"about"', b'"abOut"'))
        with pytest.warns(UserWarning) as told:
            assert run(tasks(), tmp_path).scored == 0
        assert "row 1)" in str(told[0].message) and "are lost" in str(told[1].message)
        pd.testing.assert_frame_equal(the_table(tmp_path), before, check_exact=True)

    def test_results_that_are_deleted_during_the_run_are_not_told_as_scored(self, bench, tmp_path):
        class Deleting(Eye):
            def embed_images(self, images, batch_size=64):
                if self.images:
                    shutil.rmtree(tmp_path / "r", ignore_errors=True)
                return super().embed_images(images)

        with pytest.raises(StoreError, match="is gone: it was deleted or moved during the run"):
            run(tasks(Deleting()), tmp_path / "r", batch_size=8)

    def test_processes_share_the_images_and_make_the_same_table(self, bench, tmp_path):
        both = [*tasks(), *tasks(method="matching-all")]
        run(both, tmp_path / "one", batch_size=8)
        models = [Eye() for _ in range(3)]
        for rank, model in enumerate(models):
            mine = [*tasks(model), *tasks(model, "matching-all")]
            run(mine, tmp_path / "three", batch_size=8, share=(rank, 3))
        assert [model.images for model in models] == [64, 64, 64]
        one, three = read(tmp_path / "one"), read(tmp_path / "three")
        assert set(one.settings) == set(three.settings) and len(one.settings) == 2
        for key in one.settings:
            pd.testing.assert_frame_equal(one.table(key), three.table(key), check_exact=True)

    def test_another_number_of_processes_goes_on_where_the_first_stopped(self, bench, tmp_path):
        run(tasks(), tmp_path, batch_size=8, share=(1, 3))
        model = Eye()
        outcome = run(tasks(model), tmp_path, batch_size=16)
        assert (outcome.stored, outcome.scored) == (8, 16) and model.images == 64

    def test_a_limit_that_is_no_number_of_sets_is_refused(self, bench, tmp_path):
        with pytest.raises(ValueError, match="limit must be a positive"):
            run(tasks(), tmp_path, limit=0)


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
import test_runner as t
from erragree_utils.study import runner

class Slow(t.Eye):
    def embed_images(self, images, batch_size=64):
        rows = super().embed_images(images)
        open(sys.argv[2], "a").write(f"{{len(rows)}}\\n")
        time.sleep(0.02)
        return rows

runner.load_benchmark = lambda name, **options: t.make_bench(n_sets=60)
runner.run(t.tasks(Slow()), sys.argv[1], batch_size=8)
"""


def test_a_run_killed_at_random_moments_ends_with_the_table_of_an_undisturbed_one(
    tmp_path, monkeypatch
):
    """SIGKILL of a real process, again and again, until one comes to its end."""
    monkeypatch.setattr(runner, "load_benchmark", lambda name, **_: make_bench(n_sets=60))
    run(tasks(), tmp_path / "calm", batch_size=8)
    folder, log = tmp_path / "killed", tmp_path / "log"
    code = SCRIPT.format(tests=str(Path(__file__).parent))
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", code, str(folder), str(log)]
    environment = {**os.environ, "PYTHONPATH": root}
    rng, kills = random.Random(0), 0
    while True:
        seen = log.stat().st_size if log.exists() else 0
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        while kills < 3 and process.poll() is None:
            if log.exists() and log.stat().st_size > seen:
                time.sleep(rng.uniform(0, 0.15))
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        error = process.communicate(timeout=60)[1]
        if process.returncode != -signal.SIGKILL:
            break
    assert process.returncode == 0, error.decode()
    assert kills == 3
    pd.testing.assert_frame_equal(the_table(folder), the_table(tmp_path / "calm"), check_exact=True)
    (path,) = folder.glob("*.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as db:
        count = "SELECT count(*) FROM record WHERE body LIKE '%\"item\":%'"
        assert db.execute(count).fetchone() == (60,)  # none stored twice
    # A kill costs at most the part that was being scored: two sets.
    assert 240 <= sum(map(int, log.read_text().split())) <= 240 + 3 * 8


class TestSettings:
    CHANGES = {
        "model": {"name": "other"},
        "revision": {"revision": "abc"},
        "dtype": {"dtype": "torch.float16"},
        "quantization": {"quantization": "4bit"},
        "prompt": {"prompt": lambda text: f"USER: {text}"},
    }

    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_another_model_starts_anew(self, bench, tmp_path, change):
        run(tasks(), tmp_path)
        changed = Eye(**change)
        assert run(tasks(changed), tmp_path).scored == N_SETS
        assert changed.images == 4 * N_SETS and len(read(tmp_path).settings) == 2

    def test_so_do_other_weights_under_the_same_name(self, bench, tmp_path):
        torch = pytest.importorskip("torch")
        layers = [torch.nn.Linear(100, 3) for _ in range(2)]
        run(tasks(Eye(model=layers[0])), tmp_path)
        assert run(tasks(Eye(model=layers[0])), tmp_path).scored == 0
        assert run(tasks(Eye(model=layers[1])), tmp_path).scored == N_SETS

    def test_so_do_other_benchmarks_methods_fields_and_versions(self, bench, tmp_path, monkeypatch):
        def scored(method="matching", **options) -> int:
            return run(tasks(method=method), tmp_path, options={"tabletop-a": options}).scored

        assert scored() == N_SETS and scored() == 0
        assert scored("matching-all") == N_SETS
        assert scored(seed=1) == N_SETS and scored(seed=1) == 0
        for options in ("pair", "set"):
            monkeypatch.setitem(METHODS, "mine", Matching(options))
            assert scored("mine") == N_SETS and scored("mine") == 0
        monkeypatch.setattr(settings, "__version__", "99")
        assert scored() == N_SETS
        assert len(read(tmp_path).settings) == 6

    def test_provenance_is_told_once_a_run(self, bench, tmp_path):
        run(tasks(), tmp_path, scale="mini")
        (provenance,) = read(tmp_path).runs.values()
        assert provenance["scale"] == "mini" and provenance["process"] == "1 of 1"
        assert provenance["versions"]["numpy"] == np.__version__
        assert {"time", "hardware", "python", "platform", "source"} <= set(provenance)


class TestBadItems:
    @pytest.fixture
    def files(self, tmp_path, monkeypatch):
        folder = tmp_path / "images"
        folder.mkdir()
        made = make_bench(folder=folder)
        monkeypatch.setattr(runner, "load_benchmark", lambda name, **options: made)
        return folder

    def test_a_damaged_image_stops_the_run_with_its_name_and_what_came_before_stays(
        self, files, tmp_path
    ):
        good = (files / "9-1.png").read_bytes()
        (files / "9-1.png").write_bytes(good[:40])
        with pytest.raises(
            ItemError, match=r"tabletop-a, clip eye, matching: pair '9-0'.*9-1\.png"
        ):
            run(tasks(), tmp_path / "r", batch_size=8)
        assert the_table(tmp_path / "r")["set_id"].nunique() == 8
        (files / "9-1.png").write_bytes(good)
        assert run(tasks(), tmp_path / "r", batch_size=8).scored == N_SETS - 8

    def test_it_is_skipped_and_counted_where_that_is_asked_for(self, files, tmp_path):
        good = (files / "9-1.png").read_bytes()
        (files / "9-1.png").write_bytes(good[:40])
        (files / "20-3.png").unlink()
        outcome = run(tasks(), tmp_path / "r", batch_size=32, skip_bad=True)
        assert outcome.scored == N_SETS - 2
        assert [name.rpartition(" ")[2] for name in outcome.skipped] == ["'s9'", "'s20'"]
        results = read(tmp_path / "r")
        (skipped,) = results.skipped.values()
        assert "9-1.png" in skipped["s9"] and "missing" in skipped["s20"]
        # Mended, it is scored by the next run, and no other is scored again.
        (files / "9-1.png").write_bytes(good)
        model = Eye()
        outcome = run(tasks(model), tmp_path / "r", skip_bad=True)
        assert (outcome.scored, len(outcome.skipped), model.images) == (1, 1, 4)
        assert the_table(tmp_path / "r")["set_id"].nunique() == N_SETS - 1

    def test_images_that_were_replaced_have_their_old_results_withdrawn(self, files, tmp_path):
        run(tasks(), tmp_path / "r")
        before = the_table(tmp_path / "r")
        new = make_bench(seed=1, n_sets=2, folder=tmp_path)[0].sources[0]
        stat = (files / "9-1.png").stat()
        shutil.copy(new, files / "9-1.png")
        os.utime(files / "9-1.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        os.utime(files / "3-0.png")  # only touched
        with pytest.warns(UserWarning, match=r"image files of 1 sets were replaced .* \('s9'\)"):
            assert run(tasks(), tmp_path / "r", limit=2).scored == 0
        assert "s9" not in set(the_table(tmp_path / "r")["set_id"])
        model = Eye()
        assert run(tasks(model), tmp_path / "r").scored == 1 and model.images == 4
        after = the_table(tmp_path / "r")
        changed = before.loc[before["score"] != after["score"], ["set_id", "image_index"]]
        assert changed.drop_duplicates().to_numpy().tolist() == [["s9", 1]]

    def test_images_that_cannot_be_read_now_keep_their_results(self, files, tmp_path):
        run(tasks(), tmp_path / "r", limit=10)
        before = the_table(tmp_path / "r")
        scored, other = list(before["set_id"].unique())[9], f"s{N_SETS - 1}"
        (files / f"{scored[1:]}-1.png").rename(files / "away")
        assert run(tasks(), tmp_path / "r", limit=10).scored == 0
        (files / f"{other[1:]}-1.png").rename(files / "away too")
        with pytest.raises(ItemError, match=rf"{other[1:]}-1\.png"):
            run(tasks(), tmp_path / "r", batch_size=N_SETS * 4)
        (files / "away too").rename(files / f"{other[1:]}-1.png")
        assert run(tasks(), tmp_path / "r").scored == N_SETS - 10
        assert the_table(tmp_path / "r").iloc[: len(before)].equals(before)

    def test_of_two_images_that_change_places_neither_keeps_the_others_results(
        self, files, tmp_path
    ):
        run(tasks(), tmp_path / "r")
        one, other = files / "9-1.png", files / "9-0.png"
        one.rename(files / "x")
        other.rename(one)
        (files / "x").rename(other)
        with pytest.warns(UserWarning, match="'s9'"):
            assert run(tasks(), tmp_path / "r").scored == 1

    def test_a_score_that_is_not_a_number_is_named(self, bench, tmp_path):
        class Flawed(Eye):
            """Its 43rd image has no embedding."""

            def embed_images(self, images, batch_size=64):
                rows = super().embed_images(images)
                if self.images > 42 >= self.images - len(rows):
                    rows[42 - self.images] = np.nan
                return rows

        with pytest.raises(ItemError, match="the score of image 0 of pair '10-1' is not a number"):
            run(tasks(Flawed()), tmp_path, batch_size=8)
        assert the_table(tmp_path)["set_id"].nunique() == 10

    def test_errors_that_are_not_about_an_item_are_not_skipped(self, bench, tmp_path):
        class Broken(Eye):
            def embed_images(self, images, batch_size=64):
                raise ValueError("no weights")

        with pytest.raises(ValueError, match="no weights"):
            run(tasks(Broken()), tmp_path, skip_bad=True)


@pytest.fixture(scope="module")
def questions() -> Benchmark:
    """Pairs in which a model with random weights sees differences."""
    rng, pairs = np.random.default_rng(0), []
    for i in range(6):
        images = (rng.integers(0, 255, (4, 4, 3), dtype=np.uint8) for _ in (0, 1))
        sources = tuple(Image.fromarray(image).resize((40, 40)) for image in images)
        asked = ("Where is the red mug?", ("left", "right"))
        pairs.append(QuestionPair(f"p{i}", "place", *asked, sources, lettered=False))
    return Benchmark("tabletop-mmvp", tuple(pairs))


class TestQuestionPairs:
    @pytest.fixture(autouse=True)
    def loaded(self, questions, monkeypatch):
        monkeypatch.setattr(runner, "load_benchmark", lambda name, **options: questions)

    def test_results_of_both_kinds_of_models_are_filed_apart(self, tiny, questions, tmp_path):
        models = {"clip": Eye("tiny"), "mllm": tiny}
        mine = [
            Task("tabletop-mmvp", Ready(role, "tiny", model=model), "relative-preference")
            for role, model in models.items()
        ]
        assert run(mine, tmp_path).scored == 2 * len(questions)
        assert run(mine, tmp_path).stored == 2 * len(questions)
        results = read(tmp_path)
        assert {s["model"]["role"] for s in results.settings.values()} == {"clip", "mllm"}
        for key, found in results.settings.items():
            expected = score(models[found["model"]["role"]], questions, "relative-preference")
            table = results.table(key)
            pd.testing.assert_frame_equal(table, expected[list(table)], check_exact=True)

    @pytest.mark.parametrize("method", ["greedy", "vcd", "question-options", "two-images"])
    def test_logits_that_are_no_numbers_stop_the_run_with_the_pair_named(
        self, tiny, questions, tmp_path, method
    ):
        model, pair = tiny, questions[4]
        prepare = model.processor.image_processor
        target = prepare(pair.images[1], return_tensors="pt")["pixel_values"][0]

        def overflow(module, args, kwargs):
            """One image of all has activations out of range."""
            pixels = kwargs.get("pixel_values", *args).clone()
            pixels[(pixels == target).flatten(1).all(dim=1)] = float("nan")
            return (), {**kwargs, "pixel_values": pixels}

        tower = next(m for n, m in model.model.named_modules() if n.endswith("vision_tower"))
        handle = tower.register_forward_pre_hook(overflow, with_kwargs=True)
        mine = [Task("tabletop-mmvp", Ready("mllm", "tiny", model=model), method)]
        try:
            with pytest.raises(ItemError, match=rf"pair '{pair.pair_id}'.*weights are damaged"):
                run(mine, tmp_path, batch_size=4)
            run(mine, tmp_path, batch_size=4, skip_bad=True)
        finally:
            handle.remove()
        (skipped,) = read(tmp_path).skipped.values()
        assert list(skipped) == [pair.pair_id]
        assert run(mine, tmp_path, batch_size=4).scored == 1
        assert the_table(tmp_path)["pair_id"].nunique() == len(questions)


class TestImagesAreReadOnce:
    """For all methods by which a model reads a benchmark."""

    METHODS = ("question-options", "greedy", "m3id", "text-contrast", "two-images",
               "relative-preference")  # fmt: skip

    @pytest.fixture
    def stored(self, questions, tmp_path, monkeypatch) -> Benchmark:
        """The questions, their images in files; the first image is also that of the last pair."""
        pairs = []
        for pair in questions:
            paths = [tmp_path / f"{pair.pair_id}-{k}.png" for k in (0, 1)]
            for path, image in zip(paths, pair.images, strict=True):
                image.save(path)
            pairs.append(replace(pair, sources=tuple(paths)))
        pairs[-1] = replace(pairs[-1], sources=(pairs[0].sources[0], pairs[-1].sources[1]))
        made = Benchmark("tabletop-mmvp", tuple(pairs))
        monkeypatch.setattr(runner, "load_benchmark", lambda name, **options: made)
        return made

    @pytest.fixture
    def opened(self, monkeypatch) -> list:
        files, read_image = [], base.read_image

        def noted(source, *more):
            files.extend([source] if isinstance(source, Path) else [])
            return read_image(source, *more)

        monkeypatch.setattr(base, "read_image", noted)
        return files

    @staticmethod
    def tasks(role, model, methods) -> list[Task]:
        return [Task("tabletop-mmvp", Ready(role, model.name, model=model), m) for m in methods]

    @pytest.mark.parametrize("batch_size", [5, 32])
    def test_by_a_language_model(self, tiny, stored, opened, tmp_path, batch_size):
        rows, tower = [], tiny.model.model.vision_tower
        hook = tower.register_forward_hook(lambda *call: rows.append(len(call[2][0])))
        try:
            run(self.tasks("mllm", tiny, self.METHODS), tmp_path / "r", batch_size=batch_size)
        finally:
            hook.remove()
        assert sum(rows) == len({source for pair in stored for source in pair.sources}) == 11
        # The shared one is opened again in another part, where it is still remembered.
        assert len(opened) == (11 if batch_size == 32 else 12)
        together = read(tmp_path / "r")
        for method in self.METHODS:
            run(self.tasks("mllm", tiny, [method]), tmp_path / method, batch_size=batch_size)
            alone = read(tmp_path / method)
            (key,) = alone.settings
            assert alone.settings[key] == together.settings[key]
            pd.testing.assert_frame_equal(together.table(key), alone.table(key), atol=1e-5)
        assert len(together.settings) == len(self.METHODS)

    def test_by_a_clip(self, stored, opened, tmp_path):
        model, rows = load_clip("mini"), []
        hook = model.model.visual.register_forward_hook(lambda *call: rows.append(len(call[2])))
        try:
            run(self.tasks("clip", model, ["matching", "relative-preference"]), tmp_path / "r")
        finally:
            hook.remove()
        assert sum(rows) == 11 and len(opened) == 11
        together = read(tmp_path / "r")
        run(self.tasks("clip", model, ["relative-preference"]), tmp_path / "alone")
        alone = read(tmp_path / "alone")
        (key,) = alone.settings
        pd.testing.assert_frame_equal(together.table(key), alone.table(key), check_exact=True)

    def test_a_run_that_stopped_between_two_methods_goes_on(self, tiny, stored, opened, tmp_path):
        run(self.tasks("mllm", tiny, self.METHODS[:2]), tmp_path / "r", batch_size=5)
        opened.clear()
        mine = self.tasks("mllm", tiny, self.METHODS[:3])
        outcome = run(mine, tmp_path / "r", batch_size=5)
        assert (outcome.stored, outcome.scored) == (12, 6) and len(opened) == 12
        opened.clear()
        assert run(mine, tmp_path / "r", batch_size=5).stored == 18 and opened == []


def test_a_warning_is_given_once_a_task_whatever_it_counts(bench, tmp_path):
    class Wordy(Eye):
        def embed_texts(self, texts, batch_size=256):
            warnings.warn(f"texts with unknown words: {self.images}, such as 'mug'", stacklevel=2)
            return super().embed_texts(texts)

    with pytest.warns(UserWarning) as told:
        run([*tasks(Wordy()), *tasks(Wordy(), "matching-all")], tmp_path, batch_size=8)
    assert len([w for w in told if "unknown words" in str(w.message)]) == 2


# The script of the killed runs imports this file, and has no use for torch: it comes late here.
def test_a_batch_that_does_not_fit_is_tried_once_a_model(bench, tmp_path):
    from erragree_utils.models.batches import Room, in_batches

    class Small(Eye):
        """With room for three images."""

        refused, room = 0, Room()

        def embed_images(self, images, batch_size=64):
            def encode(batch, first):
                if len(batch) > 3:
                    self.refused += 1
                    raise RuntimeError("CUDA out of memory")
                return Eye.embed_images(self, batch)

            return np.concatenate(in_batches(images, batch_size, encode, room=self.room))

    model = Small()
    with pytest.warns(UserWarning) as told:
        run([*tasks(model), *tasks(model, "matching-all")], tmp_path, batch_size=8)
    assert model.refused == 2  # 8 and 4, in the first part of the first task alone
    assert [w.message.batch_size for w in told] == [4, 2]
    assert model.images == 2 * 4 * N_SETS
