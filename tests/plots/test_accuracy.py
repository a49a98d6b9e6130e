"""Accuracies beside chance and the paper, read back from their artists."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from erragree_utils import plots
from erragree_utils.measures.accuracy import summarize, summarize_sets


def test_accuracies_have_a_panel_each_with_dots_intervals_and_chance(margins, predictions):
    pred = pd.concat([predictions(margins), predictions(margins[:2], "on/under")])
    summary = summarize(pred, by="relation")
    figure = plots.accuracy_bars(summary.join(summarize_sets(pred, by="relation")))
    assert [ax.get_title() for ax in figure.axes] == [
        "Individual accuracy", "Pair accuracy", "Set accuracy",
    ]  # fmt: skip
    ax = figure.axes[1]
    dots = [bars.lines[0].get_xdata().item() for bars in ax.containers]
    np.testing.assert_allclose(dots, summary["pair_accuracy"])
    low = [bars.lines[2][0].get_segments()[0][0][0] for bars in ax.containers]
    np.testing.assert_allclose(low, summary["pair_accuracy_low"])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "left/right",
        "on/under",
    ]
    chance = next(lines for lines in ax.collections if lines.get_label() == "chance")
    assert {segment[0][0] for segment in chance.get_segments()} == {0.25}


def test_reported_numbers_stand_beside_as_hollow_markers(margins, predictions, texts):
    summary = summarize(predictions(margins), by="relation")
    paper = {"left/right": {"individual_accuracy": 0.49, "pair_accuracy": 0.019}}
    figure = plots.accuracy_bars(summary, paper=paper)
    marker = next(line for line in figure.axes[1].lines if line.get_marker() == "D")
    assert marker.get_xdata()[0] == 0.019
    assert marker.get_markerfacecolor() == "none"
    assert "reported in the paper" in texts(figure)
    assert "reported in the paper" not in texts(plots.accuracy_bars(summary))


@pytest.mark.parametrize(
    ("paper", "message"),
    [
        ({"above": {"pair_accuracy": 0.5}}, "paper has .'above'"),
        ({"left/right": {"pair": 0.5}}, "paper has .'pair'.*columns .'individual_accuracy'"),
        ({"left/right": {"pair_accuracy": 1.9}}, "shares from 0 to 1, not .*1.9"),
    ],
)
def test_reported_numbers_that_fit_nowhere_are_refused(paper, message, margins, predictions):
    with pytest.raises(ValueError, match=message):
        plots.accuracy_bars(summarize(predictions(margins), by="relation"), paper=paper)


def test_a_summary_without_accuracies_is_refused():
    with pytest.raises(ValueError, match="give what summarize returned"):
        plots.accuracy_bars(pd.DataFrame({"x": [1]}))


class TestGroupedDots:
    def summary(self) -> pd.DataFrame:
        index = pd.MultiIndex.from_product([["state", "text"], ["greedy", "VCD"]])
        values = {"pair_accuracy": [0.2, 0.4, 0.6, 0.8]}
        values |= {"pair_accuracy_low": [0.1] * 4, "pair_accuracy_high": [0.9] * 4}
        return pd.DataFrame(values, index=index)

    def test_a_row_for_each_group_and_a_colour_for_each_method(self, texts):
        ax = plots.grouped_dots(self.summary(), "pair_accuracy", "Pair accuracy", chance=0.25)
        assert [label.get_text() for label in ax.get_yticklabels()] == ["state", "text"]
        marks = [list(c.lines[0].get_xdata()) for c in ax.containers]
        assert marks == [[0.2, 0.6], [0.4, 0.8]]
        assert "greedy" in texts(ax.figure) and "chance" in texts(ax.figure)

    def test_differences_stand_beside_no_change(self, texts):
        ax = plots.grouped_dots(self.summary() - 0.5, "pair_accuracy", "Points", change=True)
        assert ax.get_xlim()[0] == -1 and "no change" in texts(ax.figure)
        assert "chance" not in texts(ax.figure)
        assert "50" in [label.get_text() for label in ax.get_xticklabels()]

    def test_a_table_of_another_shape_is_refused(self):
        with pytest.raises(IndexError, match="Too many levels"):
            plots.grouped_dots(self.summary().droplevel(1), "pair_accuracy", "x")
        with pytest.raises(ValueError, match="no rows: give tables from summarize, by two columns"):
            plots.grouped_dots(self.summary().iloc[:0], "pair_accuracy", "x")
        with pytest.raises(ValueError, match="set_accuracy_low"):
            plots.grouped_dots(self.summary(), "set_accuracy", "x")
