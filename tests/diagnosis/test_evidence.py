"""What is measured about groups: features that do not differ, and others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from erragree_utils.benchmarks import ImagePair
from erragree_utils.diagnosis.evidence import flat_evidence, group_evidence
from erragree_utils.diagnosis.verdicts import judge_clip

N = 40


@pytest.fixture
def bench():
    texts = [tuple(f"a {side} thing, number {i}" for side in ("left", "right")) for i in range(N)]
    return [ImagePair(str(i), str(i), "x", two, ("1", "2")) for i, two in enumerate(texts)]


@pytest.fixture
def pairs():
    wrong = {"right": False, "preferred": False, "signal": 0.0, "bias": 0.1, "relation": "x"}
    return pd.DataFrame([wrong] * N)


def test_where_the_images_of_a_pair_have_the_same_features_the_encoder_is_blind(bench, pairs):
    one = np.random.default_rng(0).normal(size=(N, 1, 8)).repeat(2, axis=1)
    found = group_evidence(bench, pairs, {"embedding": one, "tokens": one}, range(N))
    assert found["tokens"]["single"] == 0.5 and found["tokens"]["power"] == 1
    assert judge_clip(found).verdict == "encoder blind"


def test_a_part_of_the_pairs_is_judged_by_its_own_features(bench, pairs):
    x = np.random.default_rng(0).normal(size=(N, 2, 8))
    x[:, :, 0] += [6, -6]
    x[: N // 2, :, 0] = 0
    halves = range(N // 2), range(N // 2, N)
    single = [group_evidence(bench, pairs, {"tokens": x}, h)["tokens"]["single"] for h in halves]
    assert single[0] < 0.8 < single[1]


def test_flat_evidence_names_each_number():
    flat = flat_evidence({"pair": 0.5, "tokens": {"single": 0.7, "power": 1.0}})
    assert flat == {"pair": 0.5, "tokens_single": 0.7, "tokens_power": 1.0}
