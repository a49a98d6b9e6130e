"""The study's tasks, and running them: kills, repeats, shares and bad items change no table."""

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
from erragree_utils.scoring.runner import METHODS as RUNNERS
from erragree_utils.study.study import (
    METHODS,
    TABLES,
    ItemError,
    Method,
    ModelChoice,
    Task,
    bench_settings,
    plan,
    run,
    weights_digest,
)
from PIL import Image

from erragree_utils import evaluate
from erragree_utils.benchmarks import Benchmark, ImagePair, QuestionPair, load_benchmark
from erragree_utils.scale import SCALES, get_scale
from erragree_utils.study import study
from erragree_utils.study.store import StoreError, read, setting_key

N_SETS = 24


class Eye:
    """A small CLIP without torch: an image embeds as its mean colour, a text as its letters."""

    device = "abacus"

    def __init__(self, name="eye", **more):
        self.name, self.images, self.sizes = name, 0, []
        self.__dict__.update(more)

    def embed_images(self, images, batch_size=64, progress=False):
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
    monkeypatch.setattr(study, "load_benchmark", lambda name, **options: made)
    return made


def tasks(model=None, method="matching", benchmark="tabletop-a") -> list[Task]:
    model = model or Eye()
    return [Task(benchmark, Ready("clip", model.name, model=model), method)]


def the_table(folder) -> pd.DataFrame:
    results = read(folder)
    (key,) = results.settings
    return results.table(key)


class TestPlan:
    def test_the_mini_scale_has_every_method(self):
        tasks = plan(get_scale("mini"))
        assert {task.method for task in tasks} == set(METHODS)
        of_captions = set(RUNNERS) - {"matching-text-to-image"}
        for name in ("tabletop-a", "tabletop-b"):
            assert {t.method for t in tasks if t.benchmark == name} == of_captions

    def test_question_pairs_are_answered_scored_and_compared(self):
        tasks = plan(get_scale("paper"), ["mmvp", "mmvp-vlm"])
        assert [(t.benchmark, t.model.role, t.method) for t in tasks] == [
            ("mmvp", "clip", "matching"), ("mmvp", "clip", "relative-preference"),
            ("mmvp-vlm", "clip", "matching-text-to-image"),
            *(("mmvp", "mllm", method) for method in (
                "question-options", "greedy", "vcd", "m3id", "text-contrast", "two-images",
                "relative-preference",
            )),
        ]  # fmt: skip

    def test_the_paper_scale_adds_single_images_with_captions_as_wholes(self):
        mirrored = {
            pair
            for table in TABLES
            if "mini" in table.benchmarks
            for pair in zip(table.benchmarks["mini"], table.benchmarks["paper"], strict=True)
        }
        assert mirrored == {
            ("tabletop-a", "whatsup-a"), ("tabletop-b", "whatsup-b"), ("tabletop-mmvp", "mmvp"),
            ("tabletop-mmvp", "mmvp-vlm"),
        }  # fmt: skip
        single = [t for t in plan(get_scale("paper")) if t.benchmark.endswith("spatial")]
        assert {(t.benchmark, t.method) for t in single} == {
            (b, m) for b in ("coco-spatial", "gqa-spatial") for m in ("matching", "vqascore")
        }

    def test_every_model_is_loaded_once_and_every_task_done_once(self):
        tasks = plan(get_scale("paper"))
        roles = [task.model.role for task in tasks]
        assert roles == sorted(roles) and set(roles) == {"clip", "mllm"}
        assert len(set(tasks)) == len(tasks)

    def test_a_method_for_both_kinds_of_models_is_run_by_each(self):
        tasks = plan(get_scale("mini"), methods=["relative-preference"])
        assert [task.model.role for task in tasks] == ["clip", "mllm"]

    def test_a_part_is_chosen_by_name(self):
        chosen = plan(get_scale("mini"), ["tabletop-b"], methods=["matching", "prompted"])
        assert [str(task) for task in chosen] == [
            "tabletop-b, clip mini, matching", "tabletop-b, mllm mini, prompted",
        ]  # fmt: skip

    def test_another_model_takes_the_place_of_the_scales(self):
        (task,) = plan(get_scale("mini"), ["tabletop-a"], [ModelChoice("clip", "x")], ["matching"])
        assert task.model.name == "x"

    def test_names_that_are_not_in_the_study_are_refused(self):
        with pytest.raises(ValueError, match="no benchmark 'whatsup-a' .*'mini'; choose among tab"):
            plan(get_scale("mini"), ["whatsup-a"])
        with pytest.raises(ValueError, match="no method 'guess' .*matching, vqascore"):
            plan(get_scale("mini"), methods=["guess"])
        with pytest.raises(ValueError, match="nothing to do"):
            plan(get_scale("mini"), models=[ModelChoice("clip", "x")], methods=["vqascore"])

    def test_each_mini_benchmark_mirrors_one_of_the_papers(self):
        for table in TABLES:
            assert set(table.benchmarks) <= set(SCALES) and "paper" in table.benchmarks
            assert len({len(names) for names in table.benchmarks.values()}) == 1
            assert set(table.methods) <= set(METHODS)
            assert len({METHODS[name].decides for name in table.methods}) == 1
            assert {m for pair in table.compare for m in pair} <= set(table.methods)


class TestRun:
    @pytest.mark.parametrize("method", ["matching", "matching-all"])
    def test_the_table_is_that_of_evaluate(self, bench, tmp_path, method):
        outcome = run(tasks(method=method), tmp_path, batch_size=10)
        assert (outcome.scored, outcome.stored) == (N_SETS, 0)
        expected = evaluate(Eye(), bench, method).drop(columns=["model", "method"])
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
            def embed_images(self, images, batch_size=64, progress=False):
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
import test_study as t
from erragree_utils.study import study

class Slow(t.Eye):
    def embed_images(self, images, batch_size=64, progress=False):
        rows = super().embed_images(images)
        open(sys.argv[2], "a").write(f"{{len(rows)}}\\n")
        time.sleep(0.02)
        return rows

study.load_benchmark = lambda name, **options: t.make_bench(n_sets=60)
study.run(t.tasks(Slow()), sys.argv[1], batch_size=8)
"""


def test_a_run_killed_at_random_moments_ends_with_the_table_of_an_undisturbed_one(
    tmp_path, monkeypatch
):
    """SIGKILL of a real process, again and again, until one comes to its end."""
    monkeypatch.setattr(study, "load_benchmark", lambda name, **_: make_bench(n_sets=60))
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
        assert weights_digest(layers[0]) == weights_digest(layers[0].to(torch.float64).float())

    def test_so_do_other_benchmarks_methods_versions_and_decoding(
        self, bench, tmp_path, monkeypatch
    ):
        def scored(method="matching", **options) -> int:
            return run(tasks(method=method), tmp_path, options={"tabletop-a": options}).scored

        assert scored() == N_SETS and scored() == 0
        assert scored("matching-all") == N_SETS
        assert scored(seed=1) == N_SETS and scored(seed=1) == 0
        for beta in (0.1, 0.2):
            method = Method(("clip",), METHODS["matching"].run, lambda _, beta=beta: {"beta": beta})
            monkeypatch.setitem(METHODS, "decoded", method)
            assert scored("decoded") == N_SETS and scored("decoded") == 0
        monkeypatch.setattr(study, "__version__", "99")
        assert scored() == N_SETS
        assert len(read(tmp_path).settings) == 6

    def test_images_of_another_seed_are_told_apart_whatever_the_options_say(self):
        first, same, other = (bench_settings(make_bench(seed=s), {}) for s in (0, 0, 1))
        assert first == same and first["items"] != other["items"]

    def test_where_files_are_decides_nothing(self, tmp_path):
        folders = [tmp_path / name for name in "ab"]
        for folder in folders:
            folder.mkdir()
        first, second = (
            bench_settings(make_bench(folder=f), {"folder": str(f), "download": False})
            for f in folders
        )
        assert first == second and first["options"] == {}

    def test_prompts_and_decoding_are_among_them(self):
        settings = METHODS["prompted"].settings("mllm")
        assert settings["decoding"] == "greedy" and settings["max_new_tokens"] >= 1
        assert "{first}" in settings["question"]
        assert "figure show" in METHODS["vqascore"].settings("mllm")["question"]
        assert METHODS["greedy"].settings("mllm")["decoding"] == "greedy"
        assert METHODS["vcd"].settings("mllm")["decoding"] == {
            "name": "VCD", "alpha": 1.0, "beta": 0.1, "noise_step": 500,
        }  # fmt: skip
        m3id = METHODS["m3id"].settings("mllm")
        assert m3id["decoding"]["t0"] == 10 and m3id["max_new_tokens"] >= 1
        assert "{which}" in METHODS["two-images"].settings("mllm")["prompt"]

    def test_a_method_for_both_kinds_of_models_has_settings_of_each(self):
        relative = METHODS["relative-preference"]
        assert relative.settings("mllm")["normalize"] is True
        assert "normalize" not in relative.settings("clip")

    def test_every_methods_settings_can_be_a_key(self):
        keys = {
            setting_key({"name": name, "role": role, **method.settings(role)})
            for name, method in METHODS.items()
            for role in method.roles
        }
        assert len(keys) == sum(len(method.roles) for method in METHODS.values())

    def test_questions_and_the_order_of_print_are_told_apart(self):
        images = tuple(Image.new("RGB", (4, 4)) for _ in range(2))
        pair = QuestionPair("p", "colour", "Is it red?", ("Yes", "No"), images, ("a", "b"))
        items = {
            bench_settings(Benchmark("mmvp", (replace(pair, **change),)), {})["items"]
            for change in ({}, {"question": "Is it blue?"}, {"first_listed": 1},
                           {"lettered": False}, {"options": ("No", "Yes")})
        }  # fmt: skip
        assert len(items) == 5

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
        monkeypatch.setattr(study, "load_benchmark", lambda name, **options: made)
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
        changed = before["score_own"] != after["score_own"]
        assert before.loc[changed, ["set_id", "image_index"]].to_numpy().tolist() == [["s9", 1]]

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

            def embed_images(self, images, batch_size=64, progress=False):
                rows = super().embed_images(images)
                if self.images > 42 >= self.images - len(rows):
                    rows[42 - self.images] = np.nan
                return rows

        with pytest.raises(ItemError, match="the score of image 0 of pair '10-1' is not a number"):
            run(tasks(Flawed()), tmp_path, batch_size=8)
        assert the_table(tmp_path)["set_id"].nunique() == 10

    def test_errors_that_are_not_about_an_item_are_not_skipped(self, bench, tmp_path):
        class Broken(Eye):
            def embed_images(self, images, batch_size=64, progress=False):
                raise ValueError("no weights")

        with pytest.raises(ValueError, match="no weights"):
            run(tasks(Broken()), tmp_path, skip_bad=True)


@pytest.fixture(scope="module")
def mini_models():
    # The script of the killed runs imports this file, and has no use for torch.
    from erragree_utils import load_clip, load_mllm

    return {"clip": load_clip("mini", device="cpu"), "mllm": load_mllm("mini", device="cpu")}


@pytest.fixture(scope="module")
def question_pairs():
    return load_benchmark("tabletop-mmvp", n_pairs=1, mined=False)


class TestQuestionPairs:
    """What every method for question pairs promises, with the mini models."""

    CELLS = [
        (method, role)
        for table in TABLES
        if table.name.startswith("mmvp")
        for method in table.methods
        for role in METHODS[method].roles
    ]

    @pytest.mark.parametrize(("method", "role"), CELLS)
    @pytest.mark.filterwarnings("ignore:texts with words")
    def test_nothing_depends_on_the_other_pairs_or_on_the_place_in_the_call(
        self, mini_models, question_pairs, method, role
    ):
        run, model, pairs = METHODS[method].run, mini_models[role], question_pairs
        whole = run(model, pairs, batch_size=8)
        columns = ["pair_id", "set_id", "relation", "image_index", "model", "method", "n_options",
                   "score_own", "score_other", "correct"]  # fmt: skip
        assert list(whole)[: len(columns)] == columns
        assert (whole["correct"] == (whole["score_own"] > whole["score_other"])).all()
        rows = 1 if METHODS[method].decides == "pair" else 2
        assert whole["pair_id"].tolist() == [p.pair_id for p in pairs for _ in range(rows)]
        last = Benchmark(pairs.name, tuple(pairs)[:-4:-1])  # the last three, backwards
        part = run(model, last, batch_size=2).sort_values(["pair_id", "image_index"])
        same = whole[whole["pair_id"].isin(part["pair_id"])]
        same = same.sort_values(["pair_id", "image_index"])
        pd.testing.assert_frame_equal(
            part.reset_index(drop=True), same.reset_index(drop=True), rtol=1e-4, atol=1e-4
        )

    @pytest.mark.filterwarnings("ignore:texts with words")
    def test_results_of_both_kinds_of_models_are_filed_apart(
        self, mini_models, question_pairs, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(study, "load_benchmark", lambda name, **options: question_pairs)
        mine = [
            Task("tabletop-mmvp", Ready(role, "mini", model=model), "relative-preference")
            for role, model in mini_models.items()
        ]
        assert run(mine, tmp_path).scored == 2 * len(question_pairs)
        assert run(mine, tmp_path).stored == 2 * len(question_pairs)
        results = read(tmp_path)
        assert {s["model"]["role"] for s in results.settings.values()} == {"clip", "mllm"}
        assert all(len(results.table(key)) == len(question_pairs) for key in results.settings)

    @pytest.mark.parametrize("method", ["greedy", "vcd", "question-options", "two-images"])
    def test_logits_that_are_no_numbers_stop_the_run_with_the_pair_named(
        self, mini_models, question_pairs, tmp_path, monkeypatch, method
    ):
        monkeypatch.setattr(study, "load_benchmark", lambda name, **options: question_pairs)
        model, pair = mini_models["mllm"], question_pairs[4]
        prepare = model.processor.image_processor
        target = prepare(pair.images[1], return_tensors="pt")["pixel_values"][0]

        def overflow(module, args, kwargs):
            """One image of all has activations out of range."""
            pixels = kwargs.get("pixel_values", *args).clone()
            pixels[(pixels == target).flatten(1).all(dim=1)] = float("nan")
            return (), {**kwargs, "pixel_values": pixels}

        tower = next(m for n, m in model.model.named_modules() if n.endswith("vision_tower"))
        handle = tower.register_forward_pre_hook(overflow, with_kwargs=True)
        mine = [Task("tabletop-mmvp", Ready("mllm", "mini", model=model), method)]
        try:
            with pytest.raises(ItemError, match=rf"pair '{pair.pair_id}'.*weights are damaged"):
                run(mine, tmp_path, batch_size=4)
            run(mine, tmp_path, batch_size=4, skip_bad=True)
        finally:
            handle.remove()
        (skipped,) = read(tmp_path).skipped.values()
        assert list(skipped) == [pair.pair_id]
        assert run(mine, tmp_path, batch_size=4).scored == 1
        assert the_table(tmp_path)["pair_id"].nunique() == len(question_pairs)


def test_methods_with_two_rows_an_image_have_smaller_batches(bench, tmp_path, monkeypatch):
    sizes = {}
    for weight in (1, 2):
        model = Eye()
        method = Method(("clip",), METHODS["matching"].run, weight=weight)
        monkeypatch.setitem(METHODS, f"weighs-{weight}", method)
        run(tasks(model, f"weighs-{weight}"), tmp_path, batch_size=8)
        sizes[weight] = set(model.sizes)
    assert sizes == {1: {8}, 2: {4}}


def test_a_warning_is_given_once_a_task_whatever_it_counts(bench, tmp_path):
    class Wordy(Eye):
        def embed_texts(self, texts, batch_size=256):
            warnings.warn(f"texts with unknown words: {self.images}, such as 'mug'", stacklevel=2)
            return super().embed_texts(texts)

    with pytest.warns(UserWarning) as told:
        run([*tasks(Wordy()), *tasks(Wordy(), "matching-all")], tmp_path, batch_size=8)
    assert len([w for w in told if "unknown words" in str(w.message)]) == 2


def test_a_batch_size_halved_for_memory_stays_halved_for_the_rest(bench, tmp_path):
    from erragree_utils.models.batches import in_batches

    class Small(Eye):
        """With room for three images."""

        refused = 0

        def embed_images(self, images, batch_size=64, progress=False):
            def encode(batch, first):
                if len(batch) > 3:
                    self.refused += 1
                    raise RuntimeError("CUDA out of memory")
                return Eye.embed_images(self, batch)

            return np.concatenate(in_batches(images, batch_size, encode))

    model = Small()
    with pytest.warns(UserWarning) as told:
        run(tasks(model), tmp_path, batch_size=8)
    assert model.refused == 2  # 8 and 4, in the first part alone
    assert [w.message.batch_size for w in told] == [4, 2]
    assert model.images == 4 * N_SETS
