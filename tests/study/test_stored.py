"""Stored results by what they are of, for a chapter that would compute the same."""

from __future__ import annotations

import pandas as pd
import pytest

from erragree_utils import load_benchmark, load_mllm, score
from erragree_utils.study import read, stored_scores
from erragree_utils.study.store import Item, Writer, setting_key
from erragree_utils.study.stored import scales_of
from erragree_utils.study.sweep import by_family, held_out, swept

SMALL = {"n_pairs": 1, "mined": False}


@pytest.fixture(scope="module")
def mllm(models):
    return load_mllm(models[1].removeprefix("mllm="))


@pytest.fixture(scope="module")
def pairs():
    return load_benchmark("tabletop-mmvp", **SMALL)


def test_a_sweep_is_read_back_as_a_chapter_computes_it(done, mllm, pairs):
    stored = stored_scores(done, mllm, pairs, "sweep")
    expected = score(mllm, pairs, swept())
    keys = ["method", "pair_id", "image_index", "option_index"]
    stored, expected = (table.sort_values(keys, ignore_index=True) for table in (stored, expected))
    pd.testing.assert_frame_equal(stored, expected[list(stored)], rtol=1e-4)
    families = by_family(stored)
    assert list(families) == ["VCD", "text contrast", "M3ID"]
    assert families["text contrast"]["method"].nunique() == 8
    assert set(held_out(stored).index) == set(families)


def test_so_is_a_method(done, mllm, pairs):
    stored = stored_scores(done, mllm, pairs, "question-options")
    expected = score(mllm, pairs, "question-options")
    pd.testing.assert_frame_equal(stored, expected[list(stored)], rtol=1e-4)


def test_what_is_not_stored_of_exactly_this_is_none(done, mllm, pairs, models, tmp_path):
    assert stored_scores(tmp_path / "nowhere", mllm, pairs, "sweep") is None
    assert stored_scores(done, mllm, pairs[:4], "sweep") is None  # other items
    other = load_benchmark("tabletop-mmvp", seed=1, **SMALL)
    assert stored_scores(done, mllm, other, "sweep") is None
    half = load_mllm(models[1].removeprefix("mllm="), dtype="bfloat16")
    assert stored_scores(done, half, pairs, "sweep") is None


def test_answers_that_were_drawn_with_other_seeds_differ_and_are_all_there(done):
    seeds = {
        s["method"]["seed"]: results.table(key)["answer"].tolist()
        for results in [read(done)]
        for key, s in results.settings.items()
        if s["method"]["name"] == "sampled"
    }
    assert set(seeds) == set(range(5))
    assert len({tuple(answers) for answers in seeds.values()}) > 1


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([("tabletop-a", "mini")], ["mini"]),
        ([("whatsup-a", "small")], ["small"]),
        ([("whatsup-a", "paper")], ["paper"]),
        ([("whatsup-a", "")], ["paper"]),  # it was not told
        ([("tabletop-a", "")], ["mini"]),
        ([("mmvp", "paper"), ("whatsup-a", "small")], ["small", "paper"]),
        ([("my-own", "small")], ["mini"]),  # in none of the tables
        ([], ["mini"]),
    ],
)
def test_results_are_of_the_scale_at_which_they_were_run(runs, expected, monkeypatch, tmp_path):
    monkeypatch.delenv("ERRAGREE_SCALE", raising=False)
    for name, scale in runs:
        with Writer(tmp_path, lambda scale=scale: {"scale": scale}) as writer:
            settings = {"benchmark": {"name": name, "n_sets": 1}}
            items = [Item("s", 0, {"score": [1.0]}, 0.1)]
            writer.add(setting_key(settings), settings, items)
    assert scales_of(read(tmp_path)) == expected
