"""Scores that survive a lost connection."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import erragree_utils
from erragree_utils.benchmarks import Benchmark, ImagePair, QuestionPair
from erragree_utils.decoding import VCD, TextContrast
from erragree_utils.models import load_clip
from erragree_utils.scoring import scores
from erragree_utils.scoring.methods import Options
from erragree_utils.study import kept, read
from erragree_utils.study import run as run_study
from erragree_utils.study.tasks import ModelChoice, Task

pytestmark = pytest.mark.filterwarnings("ignore:texts with words", "ignore:questions or answers")

N_SETS = 12


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
    return Image.fromarray(pixels)


def make_bench(name: str = "whatsup-a", n_sets: int = N_SETS) -> Benchmark:
    """Sets of two pairs, which do not stand side by side."""
    pairs = [
        ImagePair(f"p{i}-{k}", f"s{i}", ("left/right", "on/under")[k], texts,
                  (picture(4 * i + 2 * k), picture(4 * i + 2 * k + 1)))
        for k, texts in enumerate([("A mug to the left of a cap", "A mug to the right of a cap"),
                                   ("A mug on a cap", "A mug under a cap")])
        for i in range(n_sets)
    ]  # fmt: skip
    return Benchmark(name, tuple(pairs))


@pytest.fixture(autouse=True)
def paper(monkeypatch, tmp_path) -> Path:
    """At paper scale; the folder of results."""
    monkeypatch.setenv("ERRAGREE_SCALE", "paper")
    monkeypatch.setenv("ERRAGREE_RESULTS", str(tmp_path / "r"))
    return tmp_path / "r"


@pytest.fixture(scope="module")
def clip():
    return load_clip("mini", device="cpu")


@pytest.fixture
def scored(monkeypatch) -> list[tuple[int, list[str]]]:
    """Pairs and methods of each part that was scored."""
    calls, score = [], scores.score

    def noted(models, benchmarks, methods, *more):
        calls.append((len(benchmarks), list(methods)))
        return score(models, benchmarks, methods, *more)

    monkeypatch.setattr(scores, "score", noted)
    return calls


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected, check_exact=False, atol=1e-5)


def test_chapters_score_with_it():
    assert erragree_utils.score is kept.score and erragree_utils.evaluate is kept.evaluate


class TestTables:
    """They are those of `scoring.scores`."""

    def test_of_several_models_and_benchmarks(self, clip):
        benches = {"A": make_bench(), "B": make_bench("whatsup-b", 3)}
        models = {"one": clip, "two": clip}
        ways = ["matching", "matching-all"]
        same(kept.score(models, benches, ways), scores.score(models, benches, ways))
        same(kept.evaluate(clip, benches), scores.evaluate(clip, benches))

    def test_of_answers_and_options_that_a_contrast_rules_out(self, tiny):
        images = [picture(k) for k in range(6)]
        pairs = [
            QuestionPair(f"{i}", "x", "Is it red or blue?", ("red", "blue"), images[i : i + 2])
            for i in (0, 2, 4)
        ]
        bench = Benchmark("mmvp", tuple(pairs))
        ways = {"written": "greedy", "strict": Options(contrast=VCD(beta=0.9))}
        expected = scores.score(tiny, bench, ways)
        same(kept.score(tiny, bench, ways, batch_size=2), expected)
        again = kept.score(tiny, bench, ways)
        same(again, expected)
        assert np.isneginf(again["score"]).any()

    def test_of_relative_preference(self, clip):
        bench = make_bench()
        found = kept.evaluate(clip, bench, "relative-preference")
        same(found, scores.evaluate(clip, bench, "relative-preference"))


class TestStored:
    def test_nothing_is_scored_twice(self, clip, scored, paper):
        first = kept.score(clip, make_bench(), batch_size=16)
        assert [n for n, _ in scored] == [8, 8, 8]
        assert list((paper / "chapters").glob("whatsup-a_mini_matching_*.sqlite"))
        scored.clear()
        pd.testing.assert_frame_equal(kept.score(clip, make_bench()), first, check_exact=True)
        assert scored == []

    def test_a_call_that_was_cut_loses_one_batch(self, clip, scored, monkeypatch):
        bench, score = make_bench(), scores.score

        def cut(*arguments):
            if len(scored) == 2:
                raise KeyboardInterrupt
            return score(*arguments)

        monkeypatch.setattr(scores, "score", cut)
        with pytest.raises(KeyboardInterrupt):
            kept.score(clip, bench, batch_size=16)
        monkeypatch.setattr(scores, "score", score)
        scored.clear()
        found = kept.score(clip, bench, batch_size=16)
        assert [n for n, _ in scored] == [8]
        same(found, scores.score(clip, bench, "matching"))

    def test_what_the_study_has_run_is_taken(self, clip, scored, paper, monkeypatch):
        bench = make_bench()
        monkeypatch.setattr(
            "erragree_utils.study.runner.load_benchmark", lambda name, **options: bench
        )
        choice = ModelChoice("clip", "mini", {"device": "cpu"})
        run_study([Task("whatsup-a", choice, "matching")], paper, limit=8)
        kept.score(clip, bench, ["matching", "matching-all"], batch_size=16)
        assert [ways for _, ways in scored] == [["matching-all"]] * 2 + [
            ["matching", "matching-all"]
        ]
        assert len(read(paper).settings) == 1  # chapters leave the study's results alone

    def test_strengths_that_share_a_pass_still_do(self, tiny, monkeypatch):
        images = (picture(0), picture(1))
        bench = Benchmark("mmvp", (QuestionPair("q", "x", "Is it a cup?", ("a", "b"), images),))
        passes, gather = [], tiny.engine.gather

        def noted(*arguments, **more):
            passes.append(1)
            return gather(*arguments, **more)

        monkeypatch.setattr(tiny.engine, "gather", noted)
        tiny.generate(images, "Is it a cup?", max_new_tokens=1)  # leaves hooks of Transformers
        passes.clear()
        sweep = {f"{s}": Options(contrast=TextContrast(s)) for s in (0.5, 1.0, 2.0)}
        assert kept.score(tiny, bench, sweep)["method"].tolist()[::4] == list(sweep)
        assert len(passes) == 1
        kept.score(tiny, bench, sweep)
        assert len(passes) == 1

    def test_a_file_that_was_replaced_is_scored_again(self, clip, scored, tmp_path):
        paths = [tmp_path / f"{k}.png" for k in range(4)]
        for k, path in enumerate(paths):
            picture(k).save(path)
        texts = ("A mug", "A cap")
        pairs = [ImagePair(f"p{i}", f"s{i}", "x", texts, paths[2 * i : 2 * i + 2]) for i in (0, 1)]
        bench = Benchmark("mine", tuple(pairs))
        before = kept.score(clip, bench)
        picture(9).save(paths[0])
        scored.clear()
        after = kept.score(clip, bench, batch_size=2)
        assert [n for n, _ in scored] == [1]
        moved = (after["score"] - before["score"]).abs()
        assert (moved[:2] > 1e-4).all() and (moved[2:] < 1e-5).all()


def test_a_warning_is_told_once_though_every_part_gives_it(clip):
    with pytest.warns(UserWarning, match="texts with words") as told:
        kept.score(clip, make_bench(), batch_size=4)
    assert len(told) == 1


class TestNotStored:
    def test_at_mini_scale(self, clip, paper, monkeypatch):
        monkeypatch.delenv("ERRAGREE_SCALE")
        kept.score(clip, make_bench())
        assert not paper.exists()

    def test_pairs_without_the_name_of_a_benchmark(self, clip, paper):
        pairs = list(make_bench())
        same(kept.score(clip, pairs), scores.score(clip, pairs))
        assert not paper.exists()

    def test_a_model_that_hooks_have_changed(self, clip, paper):
        """Its weights, by which results are filed, are those of the model without hooks."""
        bench = make_bench()
        hook = clip.model.visual.register_forward_hook(lambda *_: _[2].flip(-1))
        try:
            changed = kept.score(clip, bench)
        finally:
            hook.remove()
        assert not paper.exists()
        assert (kept.score(clip, bench)["score"] != changed["score"]).any()


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import test_kept as t
from erragree_utils.scoring import scores

score = scores.score
def noted(*arguments):
    table = score(*arguments)
    open(sys.argv[1], "a").write("part\\n")
    return table

scores.score = noted
t.kept.score(t.load_clip("mini", device="cpu"), t.make_bench(n_sets=40), batch_size=4)
"""


def test_a_process_that_is_killed_in_the_middle_goes_on(clip, tmp_path, paper):
    log, root = tmp_path / "log", str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", SCRIPT.format(tests=str(Path(__file__).parent)), str(log)]
    environment = {**os.environ, "PYTHONPATH": root}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    while process.poll() is None and (not log.exists() or log.read_text().count("part") < 5):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    before = log.read_text().count("part")
    stored = sum(map(len, read(paper / "chapters").items.values()))
    assert before - 1 <= stored < 40
    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert log.read_text().count("part") - before == 40 - stored
    bench = make_bench(n_sets=40)
    same(kept.score(clip, bench), scores.score(clip, bench))
