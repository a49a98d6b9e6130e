"""What smaller biases should gain, and what was recorded."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from erragree_utils.measures.gains import (
    METHODS,
    agreement,
    gains,
    pooled_gains,
    predicted_accuracy,
    recorded_gains,
)
from erragree_utils.models import ASSETS

WEIGHTS = dict.fromkeys(METHODS.values(), 1.0)


@pytest.fixture
def pairs():
    """Two patterns whose biases are normal about means of their own, and their prior's share."""
    rng = np.random.default_rng(0)
    mean = np.repeat([0.0, 3.0], 5000)
    noise = rng.normal(size=10_000)
    return pd.DataFrame({
        "relation": np.repeat(["a", "b"], 5000), "signal": rng.exponential(2, 10_000) - 0.5,
        "bias": mean + noise, "prior": 2 * mean,
    })  # fmt: skip


@pytest.fixture
def recorded():
    """Two models' pair accuracies on two draws; the second model gains more."""
    rows = [
        {"benchmark": "tabletop-mmvp", "group": "all", "measure": "pair", "model": model,
         "method": method, "seed": seed, "value": value + 0.01 * seed, "n": 10}
        for model, gain in (("one", 0.1), ("two", 0.3)) for seed in (1, 2)
        for method, value in (
            ("options", 0.2), ("m3id-always", 0.2 + gain * seed), ("text-contrast", 0.5),
        )
    ]  # fmt: skip
    return pd.DataFrame(rows)


def of_each(pairs):
    return pd.concat(pairs.assign(model=name, seed=1) for name in ("one", "two"))


def test_the_predicted_accuracy_is_that_of_normal_biases_in_each_pattern(pairs):
    right = (pairs["signal"] > pairs["bias"].abs()).mean()
    assert predicted_accuracy(pairs) == pytest.approx(right, abs=0.01)
    left = pairs["bias"] - pairs["prior"] / 2
    right = (pairs["signal"] > left.abs()).mean()
    assert predicted_accuracy(pairs, 1.0) == pytest.approx(right, abs=0.01)


def test_a_pair_without_signal_is_never_right(pairs):
    assert predicted_accuracy(pairs.assign(signal=-1.0)) == 0


def test_gains_are_pooled_over_draws(recorded):
    found = gains(recorded).set_index(["model", "method"]).loc["one", "M3ID, always"]
    assert found[["gain", "gain_low", "gain_high"]].tolist() == pytest.approx([0.15, 0.1, 0.2])
    assert found["plain"] == pytest.approx(0.215) and found["n"] == 20


def test_gains_are_predicted_from_one_draw_and_measured_on_the_others(recorded, pairs):
    found = recorded_gains(recorded, of_each(pairs), WEIGHTS)
    found = found.set_index(["model", "method"]).loc["one", "M3ID, always"]
    assert found["gain"] == pytest.approx(0.2) and found["counted"] == pytest.approx(0.1)
    assert found["constant"] == pytest.approx(0.6)  # what the other model gained
    gain = predicted_accuracy(pairs, 1.0) - predicted_accuracy(pairs)
    assert found["predicted"] == pytest.approx(gain)
    with pytest.raises(ValueError, match="no pairs of 'two': record them"):
        recorded_gains(recorded, of_each(pairs).query("model == 'one'"), WEIGHTS)


def test_guesses_are_judged_within_each_method():
    table = pd.DataFrame({
        "method": ["x"] * 3 + ["y"] * 3, "gain": [0.1, 0.2, 0.3, 1.1, 1.2, 1.3],
        "predicted": [0.2, 0.3, 0.4, 1.3, 1.2, 1.1], "constant": 0.2, "counted": 0.1,
    })  # fmt: skip
    found = agreement(table)
    assert found["correlation"].to_list() == pytest.approx([1, -1])
    assert found.loc["x", ["predicted", "constant", "counted"]].to_list() == pytest.approx(
        [0.1, 0.2 / 3, 0.1]
    )


def test_every_model_on_record_has_pairs_and_a_row_for_each_method():
    measures, pairs = (
        pd.read_csv(ASSETS / "readers" / f"{name}.csv") for name in ("measures", "pairs")
    )
    found = recorded_gains(measures, pairs, WEIGHTS)
    asked = measures[measures["benchmark"] == "tabletop-mmvp"]["model"].unique()
    assert list(found["model"].unique()) == list(asked)
    assert set(found["method"]) == set(METHODS.values())
    assert found["gain"].between(found["gain_low"], found["gain_high"]).all()


def test_a_pooled_gain_is_the_mean_over_models_and_draws(recorded):
    found = pooled_gains(recorded, ["one", "two"])
    assert found.loc["M3ID, always", "gain"] == pytest.approx(0.3)
    assert found.loc["text contrast"].to_numpy() == pytest.approx([0.3] * 3)
