"""The rules: each verdict from the evidence it needs, and none where intervals don't decide."""

from __future__ import annotations

import pytest

from erragree_utils.diagnosis import CLIP_VERDICTS, MLLM_VERDICTS
from erragree_utils.diagnosis.verdicts import ADVICE, judge_clip, judge_mllm, judge_pair, tells


def share(name, value, half=0.05):
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def reading(single, compared=None, half=0.05, power=1.0):
    compared = single if compared is None else compared
    return share("single", single, half) | share("compared", compared, half) | {"power": power}


READ, ABSENT, UNCLEAR = reading(0.95), reading(0.5), reading(0.66, 0.8)
CLIP = {
    "answered": (0.8, ABSENT, ABSENT),
    "matching misaligned": (0.05, READ, READ),
    "lost in pooling": (0.05, ABSENT, READ),
    "encoder blind": (0.05, ABSENT, ABSENT),
    "undecided": (0.05, ABSENT, UNCLEAR),
}
MLLM = {
    "answered": (0.8, 0.99, READ),
    "prior wins": (0.1, 0.9, READ),
    "reader ignores": (0.1, 0.5, READ),
    "encoder blind": (0.1, 0.5, ABSENT),
    "undecided": (0.1, 0.5, UNCLEAR),
}


@pytest.mark.parametrize("verdict", CLIP)
def test_clips_matching(verdict):
    pair, embedding, tokens = CLIP[verdict]
    readings = {"embedding": embedding, "tokens": tokens}
    found = judge_clip(share("pair", pair) | readings | {"n_pairs": 100})
    assert found.verdict == verdict
    assert (found.confidence > 0.9) == (verdict != "undecided")


@pytest.mark.parametrize("verdict", MLLM)
def test_language_models(verdict):
    pair, relative, tokens = MLLM[verdict]
    evidence = share("pair", pair) | share("relative", relative, 0.02)
    evidence |= {"tokens": tokens, "n_pairs": 100}
    found = judge_mllm(evidence)
    assert found.verdict == verdict
    assert (found.confidence > 0.9) == (verdict != "undecided")


def test_a_pair_accuracy_whose_interval_holds_one_half_decides_nothing():
    evidence = share("pair", 0.48) | {"embedding": READ, "tokens": READ, "n_pairs": 100}
    assert judge_clip(evidence).verdict == "undecided"
    assert judge_mllm(evidence | share("relative", 0.95)).verdict == "undecided"


def test_a_reader_without_power_is_not_believed_when_it_finds_nothing():
    assert tells(reading(0.5), 100) is False
    assert tells(reading(0.5, power=0.6), 100) is None
    assert tells(reading(0.5, half=0.3), 100) is None
    assert tells(reading(float("nan")), 100) is None


def test_nor_is_one_that_learned_from_few_pairs_but_what_it_finds_is():
    assert tells(reading(0.5), 39) is None
    assert tells(reading(0.95), 20) is True


def test_what_is_lost_in_pooling_is_as_sure_as_the_less_sure_of_its_two_readings():
    sure, close = ({"embedding": reading(x), "tokens": READ} for x in (0.5, 0.565))
    one, other = (judge_clip(share("pair", 0.05) | r | {"n_pairs": 100}) for r in (sure, close))
    assert one.verdict == other.verdict == "lost in pooling"
    assert one.confidence > other.confidence > 0.9


@pytest.mark.parametrize("signal, bias, group, verdict", [
    (2.0, 1.0, "prior wins", "answered"),
    (1.0, -2.0, "matching misaligned", "matching misaligned"),
    (-1.0, 0.0, "answered", "undecided"),
    (1.0, 1.0, "answered", "undecided"),  # a tie is not right
])  # fmt: skip
def test_a_pair_is_answered_by_itself_and_else_follows_its_group(signal, bias, group, verdict):
    assert judge_pair(signal, bias, group) == verdict


def test_every_verdict_comes_with_something_to_try():
    assert set(CLIP_VERDICTS) | set(MLLM_VERDICTS) == set(ADVICE)
