"""Intervals, against SciPy and against resampling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from erragree_utils.measures.intervals import bootstrap, bootstrap_mean, wilson


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
