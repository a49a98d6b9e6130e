"""The mini LLaVA with a language prior, on a draw that no table shows, with wide bounds."""

from __future__ import annotations

import json

import pytest

from erragree_utils import load_benchmark, load_mllm, score, summarize
from erragree_utils.decoding import TextContrast
from erragree_utils.measures.decisions import prefer
from erragree_utils.scoring.methods import Options
from erragree_utils.training.llava import PRIOR

SEED = 51


@pytest.fixture(scope="module")
def scores():
    bench = load_benchmark("tabletop-mmvp", seed=SEED, n_pairs=10, mined=False)
    contrasted = Options(contrast=TextContrast())
    table = score(load_mllm("mini-prior"), bench, {"plain": Options(), "contrast": contrasted})
    return dict(list(table.groupby("method")))


def test_turning_down_the_prior_helps_and_comparing_two_images_helps_most(scores):
    plain, contrasted = (summarize(scores[name]).iloc[0] for name in ("plain", "contrast"))
    relative = summarize(prefer(scores["plain"])).iloc[0]["relative_accuracy"]
    assert plain["pair_accuracy"] < contrasted["pair_accuracy"] < relative - 0.2


def test_it_prefers_the_common_answer(scores):
    assert prefer(scores["plain"])["bias"].gt(0).mean() > 0.75


def test_the_folder_says_how_it_was_made_and_is_small():
    assert sum(f.stat().st_size for f in PRIOR.iterdir()) < 6e6
    settings = json.loads((PRIOR / "training.json").read_text())
    log = [json.loads(line) for line in (PRIOR / "training_log.jsonl").read_text().splitlines()]
    stages = ("text_steps", "alignment_steps", "tuning_steps")
    assert log[-1]["step"] == sum(settings[stage] for stage in stages)
    card = (PRIOR / "README.md").read_text()
    assert "python -m erragree_utils.training.llava" in card and "seed" in card
