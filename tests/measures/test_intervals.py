"""Intervals, against SciPy and against resampling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from erragree_utils.measures.intervals import (
    bootstrap,
    bootstrap_crossed,
    bootstrap_mean,
    bootstrap_ratio,
    wilson,
)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (35, 35), (51, 412)])
def test_wilson_agrees_with_scipy(k, n):
    exact = tuple(stats.binomtest(k, n).proportion_ci(method="wilson"))
    low, high = wilson(k / n, n)
    assert (low, high) == pytest.approx(exact, abs=1e-12)
    assert low <= k / n <= high  # also where rounding would put the whole share outside


@pytest.mark.parametrize("n", range(1, 400, 7))
def test_wilsons_interval_holds_the_share_at_both_ends(n):
    assert wilson(1.0, n)[1] == 1.0 and wilson(0.0, n)[0] == 0.0


def test_the_interval_of_a_mean_holds_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    means = [bootstrap_mean(rng.normal(0.9, 0.01, 60)) for _ in range(100)]
    held = np.mean([f["mean_low"] <= 0.9 <= f["mean_high"] for f in means])
    assert 0.85 <= held <= 1.0
    assert all(f["mean_low"] < f["mean"] < f["mean_high"] for f in means)


@pytest.mark.parametrize("values", [[], [0.5], [0.5, np.nan]])
def test_a_mean_of_too_little_has_no_interval(values):
    with pytest.raises(ValueError, match="two or more"):
        bootstrap_mean(values)


class TestRatio:
    def test_it_is_the_ratio_of_sums_for_each_part(self):
        rng = np.random.default_rng(0)
        whole = rng.normal(10, 1, 200)
        part = np.stack([0.2 * whole, whole, rng.normal(5, 3, 200)], axis=1)
        value, low, high = bootstrap_ratio(part, whole)
        assert value == pytest.approx([0.2, 1, part[:, 2].sum() / whole.sum()])
        assert high[:2] == pytest.approx(low[:2])  # the same share of every unit
        error = np.std(part[:, 2] - value[2] * whole) / np.sqrt(200) / 10
        assert (high - low)[2] == pytest.approx(2 * 1.96 * error, rel=0.1)

    def test_with_wholes_of_one_it_is_the_mean(self):
        values = np.random.default_rng(1).normal(size=80)
        expected = bootstrap_mean(values)
        value, low, high = bootstrap_ratio(values, np.ones(80))
        assert value == pytest.approx(expected["mean"])
        assert (low, high) == pytest.approx((expected["mean_low"], expected["mean_high"]), abs=0.02)

    def test_parts_of_other_units_are_refused(self):
        with pytest.raises(ValueError, match="two or more units"):
            bootstrap_ratio(np.ones((3, 2)), np.ones(4))
        with pytest.raises(ValueError, match="two or more units"):
            bootstrap_ratio(np.ones(1), np.ones(1))


class TestBootstrapOfAnyNumber:
    UNITS = pd.DataFrame({"kind": ["a"] * 50 + ["b"] * 10, "x": np.arange(60.0)})

    def test_of_a_mean_it_is_that_of_the_mean(self):
        value, low, high = bootstrap(lambda t: t["x"].mean(), self.UNITS)
        mean = bootstrap_mean(self.UNITS["x"].to_numpy())
        assert value == mean["mean"]
        assert (low, high) == pytest.approx((mean["mean_low"], mean["mean_high"]), abs=0.6)

    def test_within_groups_draws_as_many_of_each_as_there_are(self):
        share = lambda t: (t["kind"] == "a").mean()  # noqa: E731
        assert bootstrap(share, self.UNITS, "kind") == (50 / 60,) * 3
        value, low, high = bootstrap(share, self.UNITS)
        assert low < value < high


class TestBootstrapOverSeedsAndPairs:
    def test_seeds_that_differ_widen_the_interval_of_their_pairs(self):
        pairs = np.random.default_rng(0).random((5, 200))
        value, low, high = bootstrap_crossed(pairs)
        assert value == pytest.approx(pairs.mean()) and low < value < high
        _, wide_low, wide_high = bootstrap_crossed(pairs + np.arange(5)[:, None])
        assert wide_high - wide_low > 10 * (high - low)

    def test_equal_seeds_have_the_interval_of_the_pairs(self):
        pairs = np.random.default_rng(0).random(200)
        mean = bootstrap_mean(pairs)
        found = bootstrap_crossed(np.tile(pairs, (3, 1)))
        assert found == pytest.approx(tuple(mean), abs=0.01)

    def test_a_single_value_has_none_and_a_row_is_refused(self):
        assert np.isnan(bootstrap_crossed(np.ones((1, 1)))[1:]).all()
        with pytest.raises(ValueError, match="seeds and pairs"):
            bootstrap_crossed(np.ones(4))
