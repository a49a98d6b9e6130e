"""Correlations between groups and within them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from erragree_utils.measures import intervals
from erragree_utils.measures.correlation import between_and_within


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(intervals, "TABLE_RESAMPLES", 50)


def groups(slope: float, n: int = 30, noise: float = 0.1) -> pd.DataFrame:
    """Five groups whose means rise together; within each, y follows x by a slope."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, n))
    y = slope * x + noise * rng.normal(size=x.shape)
    level = 100 * np.arange(5)[:, None]
    names = np.repeat(list("abcde"), n)
    questions = np.tile(np.arange(n) % 10, 5)
    table = {"x": (x + level).ravel(), "y": (y + level).ravel(), "kind": names}
    return pd.DataFrame(table | {"question": questions})


def test_groups_may_go_one_way_and_what_lies_in_them_the_other():
    found = between_and_within(groups(slope=-1), "x", "y", "kind", "question")
    assert list(found.index) == ["between", "within"]
    assert found.loc["between", "correlation"] > 0.99
    assert found.loc["within", "correlation"] < -0.9
    assert (found["low"] <= found["correlation"]).all()
    assert (found["correlation"] <= found["high"]).all()


def test_within_groups_no_scale_matters():
    table = groups(slope=1, noise=1)
    factor = table["kind"].map(dict(zip("abcde", (1, 10, 0.1, 5, 2), strict=True)))
    rescaled = table.assign(y=table["y"] * factor)
    plain, other = (between_and_within(t, "x", "y", "kind", "question") for t in (table, rescaled))
    pd.testing.assert_series_equal(plain.loc["within"], other.loc["within"])


def test_within_one_group_it_is_the_rank_correlation():
    table = groups(slope=1, noise=1)[:30].reset_index(drop=True)
    found = between_and_within(table, "x", "y", "kind", "question")
    assert list(found.index) == ["within"]
    assert found.loc["within", "correlation"] == pytest.approx(
        table["x"].corr(table["y"], method="spearman")
    )


def test_clusters_are_the_units_so_that_copies_of_a_pair_tell_nothing_new():
    table = groups(slope=0.3, noise=1, n=10)
    copies = pd.concat([table] * 5, ignore_index=True)
    plain, copied = (between_and_within(t, "x", "y", "kind", "question") for t in (table, copies))
    assert copied.loc["within", "units"] == 50
    ends = ["correlation", "low", "high"]
    assert np.allclose(plain.loc["within", ends], copied.loc["within", ends])
