"""The cone and the gap, ladders of change, agreement beside matching, read back from artists."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from erragree_utils import plots


def table(**columns: list[float]) -> pd.DataFrame:
    """With an interval of 0.01 about each number."""
    ends = {f"{name}_low": np.array(v) - 0.01 for name, v in columns.items()}
    ends |= {f"{name}_high": np.array(v) + 0.01 for name, v in columns.items()}
    return pd.DataFrame(columns | ends)


@pytest.fixture
def rungs():
    """Three kinds of change of one benchmark, of which one has no captions to match."""
    rows = table(
        cosine=[0.99, 0.98, 0.97], agreement=[0.9, 0.8, 0.7], pair_accuracy=[np.nan, 0.1, 0.9]
    )
    return rows.assign(random=0.6).set_index(pd.Index(["shift", "left/right", "colour"]))


def test_the_gap_and_the_cones_are_true_to_scale(texts):
    images = np.array([[1.0, 0.1, 0], [1.0, -0.1, 0]])
    captions = np.array([[0.0, 1, 1], [0.0, -1, 1]])
    images, captions = (x / np.linalg.norm(x, axis=1)[:, None] for x in (images, captions))
    ax = plots.cone_and_gap(images, captions)
    shown = texts(ax.figure)
    assert "90° between the mean image and the mean caption" in shown
    assert "images: 6° from their mean" in shown and "captions: 45° from their mean" in shown


def test_the_ladder_has_a_row_for_each_kind_most_alike_on_top(rungs):
    figure = plots.change_ladder(pd.concat({"A": rungs, "B": rungs.iloc[1:]}))
    left, right = figure.axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == list(rungs.index)
    cosines = [line.get_xdata().tolist() for line in left.lines if line.get_marker() == "o"]
    assert cosines == [[0.99, 0.98, 0.97], [0.6, 0.6, 0.6]]
    assert right.get_xlabel() == "Normalised agreement"
    with pytest.raises(ValueError, match="ladder"):
        plots.change_ladder(rungs.drop(columns="random"))


def test_each_kind_that_can_be_matched_is_a_point(rungs, texts):
    other = rungs.assign(pair_accuracy=rungs["pair_accuracy"] / 2)
    tables = pd.concat({("mini", "A"): rungs, ("mini", "B"): rungs, ("lost", "A"): other})
    ax = plots.accuracy_against_cosine(tables)
    points = [bars.lines[0] for bars in ax.containers]
    found = [(*p.get_xdata(), *p.get_ydata(), p.get_color()) for p in points]
    assert [p[:2] for p in found] == [(0.98, 0.1), (0.97, 0.9)] * 2 + [(0.98, 0.05), (0.97, 0.45)]
    assert found[0][2] == found[3][2] != found[4][2]
    assert points[2].get_markerfacecolor() == "none" != points[0].get_markerfacecolor()
    assert all(name in texts(ax.figure) for name in ("mini", "lost", "left/right", "colour", "B"))


def test_views_have_a_panel_for_each_respect():
    rows = pd.DataFrame(
        [("A", "gap", by, model, c, c - 0.01, c + 0.01)
         for model, c in (("trained", 0.95), ("untrained", 0.99)) for by in (1.0, 2.0)],
        columns=["benchmark", "varied", "by", "model", "cosine", "low", "high"],
    )  # fmt: skip
    figure = plots.view_bands(rows, {"gap": "Distance"})
    (ax,) = figure.axes
    assert ax.get_xlabel() == "Distance"
    trained, untrained, _ = ax.lines
    assert trained.get_ydata().tolist() == [0.95, 0.95]
    assert untrained.get_markerfacecolor() == "none"
    with pytest.raises(ValueError, match="view_band"):
        plots.view_bands(rows.drop(columns="by"), {"gap": "Distance"})
