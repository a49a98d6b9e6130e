"""Cosines under two encoders, angles and clouds, read back from their artists."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from erragree_utils import plots
from erragree_utils.plots import style


def test_angles_have_a_line_for_each_pair_and_their_mean(texts):
    ax = plots.angle_arcs({"left/right": np.array([80.0, 100.0]), "colour": np.array([45.0])})
    assert "left/right: mean 90°" in texts(ax.figure) and "colour: mean 45°" in texts(ax.figure)
    thick = [line for line in ax.lines if line.get_linewidth() == 2.6]
    np.testing.assert_allclose(thick[0].get_xdata(), [0, 0], atol=1e-12)
    for angles in ({}, {"a": np.array([])}, {"a": np.array([181.0])}):
        with pytest.raises(ValueError, match="at least one|between 0 and 180"):
            plots.angle_arcs(angles)


def test_the_two_dots_are_as_far_apart_as_their_cosine_says(texts):
    ax = plots.sphere_plane(0.5)
    ends = [np.array(line.get_data_3d())[:, 1] for line in ax.lines]
    assert ends[0] @ ends[1] == pytest.approx(0.5)
    assert ends[0][0] < 0 < ends[1][0]  # on the two sides of the plane x = 0
    assert "60.0° apart" in texts(ax.figure)
    with pytest.raises(ValueError, match="between -1 and 1"):
        plots.sphere_plane(1.0)


class TestCosineScatter:
    def table(self, *clip: float) -> pd.DataFrame:
        return pd.DataFrame({"clip_cosine": clip, "vision_cosine": [0.5 * c for c in clip]})

    def test_groups_and_both_thresholds_are_shown(self, texts):
        groups = {"random": self.table(0.1, 0.2), "state": self.table(0.97)}
        ax = plots.cosine_scatter(groups, clip_above=0.95, vision_below=0.6)
        dots = [line for line in ax.lines if line.get_linestyle() == "None"]
        assert [list(line.get_xdata()) for line in dots] == [[0.1, 0.2], [0.97]]
        assert dots[0].get_color() == style.NEUTRAL
        limits = [line for line in ax.lines if line not in dots]
        assert limits[0].get_xdata()[0] == 0.95 and limits[1].get_ydata()[0] == 0.6
        assert "state" in texts(ax.figure)

    def test_tables_without_cosines_are_refused(self):
        for groups in ({}, {"a": self.table(0.5).drop(columns="vision_cosine")}):
            with pytest.raises(ValueError, match="at least one table|'a' has no vision_cosine"):
                plots.cosine_scatter(groups, 0.95, 0.6)
