"""Joint outcomes, signal and bias, read back from their artists."""

from __future__ import annotations

import pandas as pd
import pytest

from erragree_utils import plots


def test_joint_outcomes_stand_beside_what_independence_would_give(margins, predictions, texts):
    shown = texts(plots.joint_outcomes(predictions(margins)).figure)
    # Left matched in 2 of 5, right in 3 of 5; both in 1 of 5, against 2/5 * 3/5.
    assert "20% | if independent: 24%" in shown
    assert "40% | if independent: 36%" in shown
    other = predictions(margins, "on/under").assign(pair_id=lambda table: "q" + table["pair_id"])
    mixed = pd.concat([predictions(margins), other])
    assert "first image" in texts(plots.joint_outcomes(mixed).figure)


class TestSignalAndBias:
    def test_pairs_in_the_wedge_are_those_with_both_images_right(self):
        table = pd.DataFrame({"signal": [2.0, 1.0, -1.0, 50.0], "bias": [1.0, 2.0, 0.0, 3.0]})
        figure = plots.signal_and_bias({"plain": table}, unit="(cosine)")
        assert figure.axes[0].get_xlabel() == "Signal (cosine)"
        dots = [line for line in figure.axes[0].lines if line.get_marker() in "ox"]
        right, wrong = dots
        edge = figure.axes[0].get_xlim()[1]
        assert list(right.get_xdata()) == [2, edge] and 10 < edge < 50  # far ones at the edge
        assert figure.axes[0].get_ylim()[1] < 4  # the bias has a scale of its own
        assert list(wrong.get_xdata()) == [1, -1]
        with pytest.raises(ValueError, match="prefer"):
            plots.signal_and_bias({"plain": table.drop(columns="bias")})


def test_a_gain_as_predicted_lies_on_the_line():
    table = pd.DataFrame({"method": ["M3ID", "text contrast"], "predicted": [0.02, 0.1]})
    gains = table.assign(gain=[0.02, 0.05], gain_low=[0.01, 0.04], gain_high=[0.03, 0.07])
    ax = plots.predicted_gains(gains)
    assert [text.get_text() for text in ax.get_legend().get_texts()].count("M3ID") == 1
    x, y = ax.lines[-1].get_data()
    assert list(x) == list(y) and x[0] <= 2 < x[1]


def test_signals_are_shown_against_cosines_by_relation_and_within_those_that_vary_most():
    rows = [(r, 0.9 + k / 100, k * size) for size, r in enumerate("abcd") for k in range(3)]
    table = pd.DataFrame(rows, columns=["relation", "cosine", "signal"])
    figure = plots.signal_against_cosine(table)
    assert [ax.get_title() for ax in figure.axes] == ["means of the patterns", "d", "c", "b"]
    assert len(figure.axes[0].lines[0].get_xdata()) == 4
    assert list(figure.axes[1].lines[0].get_ydata()) == [0, 3, 6]
