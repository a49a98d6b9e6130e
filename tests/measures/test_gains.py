"""What smaller biases should gain, and what was recorded."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from erragree_utils.measures.gains import (
    METHODS,
    pooled_gains,
    predicted_accuracy,
    recorded_gains,
)
from erragree_utils.models import ASSETS


def test_with_the_same_bias_nothing_changes_and_with_less_more_pairs_are_right():
    assert predicted_accuracy(0.3, 4.0, 4.0) == pytest.approx(0.3)
    assert predicted_accuracy(0.3, 4.0, 1.0) > 0.5 > 0.3 > predicted_accuracy(0.3, 1.0, 4.0)


def test_it_is_exact_where_signals_are_equal_and_biases_normal():
    bias = np.random.default_rng(0).normal(size=100_000)
    before, after = (np.mean(np.abs(scale * bias) < 0.5) for scale in (2, 1))
    assert predicted_accuracy(before, 4.0, 1.0) == pytest.approx(after, abs=0.01)


def test_every_model_on_record_has_a_row_for_each_method():
    measures = pd.read_csv(ASSETS / "readers" / "measures.csv")
    found = recorded_gains(measures)
    asked = measures[measures["benchmark"] == "tabletop-mmvp"]["model"].unique()
    assert list(found["model"].unique()) == list(asked)
    assert set(found["method"]) == set(METHODS.values())
    assert (found["gain_low"] <= found["gain"]).all() and (
        found["gain"] <= found["gain_high"]
    ).all()


def test_a_pooled_gain_is_the_mean_over_models_and_draws():
    rows = [
        {"benchmark": "tabletop-mmvp", "group": "all", "measure": "pair", "model": model,
         "method": method, "seed": seed, "value": value + 0.01 * seed}
        for model in ("one", "two") for seed in (1, 2)
        for method, value in (("options", 0.2), ("m3id-always", 0.3), ("text-contrast", 0.5))
    ]  # fmt: skip
    found = pooled_gains(pd.DataFrame(rows), ["one", "two"])
    assert found.loc["M3ID, always", "gain"] == pytest.approx(0.1)
    assert found.loc["text contrast"].to_numpy() == pytest.approx([0.3] * 3)
