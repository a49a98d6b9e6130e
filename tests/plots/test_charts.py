"""Curves, bars and the causal diagram, read back from their artists."""

from __future__ import annotations

import pandas as pd
import pytest

from erragree_utils import plots


class TestCausalDiagram:
    def test_kinds_are_told_apart_by_their_frames(self, texts):
        boxes = {"data": (0.1, 0.5, "varied"), "seed": (0.1, 0.9, "fixed"),
                 "accuracy": (0.9, 0.5, "measured")}  # fmt: skip
        figure = plots.causal_diagram(boxes, [("data", "accuracy")])
        shown = texts(figure)
        assert all(kind in shown for kind in ("varied", "fixed", "measured"))
        frames = [t.get_bbox_patch() for t in figure.axes[0].texts if t.get_text() in boxes]
        assert len({(frame.get_linestyle(), frame.get_linewidth()) for frame in frames}) == 3

    def test_an_unknown_kind_or_box_is_named(self):
        with pytest.raises(ValueError, match="'changed', 'score'"):
            plots.causal_diagram({"data": (0, 0, "changed")}, [("data", "score")])


class TestTokenBars:
    def test_a_panel_for_each_strength(self):
        table = pd.DataFrame({"plain": [0.7, 0.3], "combined": [0.4, 0.6]}, index=["left", "right"])
        figure = plots.token_bars({"strength 0": table, "strength 1": table})
        assert [ax.get_title() for ax in figure.axes] == ["strength 0", "strength 1"]
        widths = [bar.get_width() for bar in figure.axes[0].patches]
        assert widths == [0.7, 0.3, 0.4, 0.6]
        for panels in ({}, {"a": table, "b": table.iloc[:1]}):
            with pytest.raises(ValueError, match="same tokens|at least one table"):
                plots.token_bars(panels)


class TestMemoryBars:
    @pytest.fixture
    def needs(self):
        parts = {"weights": [13.0, 4.5], "cache": [2.7, 0.3]}
        return pd.DataFrame(parts, index=["float16", "4bit"])

    def test_parts_stand_end_to_end(self, needs):
        bars = plots.memory_bars(needs, {}).containers
        assert [bar.get_label() for bar in bars] == ["weights", "cache"]
        for k, row in enumerate(needs.to_numpy()):
            assert [bar[k].get_width() for bar in bars] == pytest.approx(row)
            assert bars[1][k].get_x() == pytest.approx(row[0])

    def test_each_gpu_is_a_line_with_its_name(self, needs):
        ax = plots.memory_bars(needs, {"T4": 14.9, "L4": 22.4})
        assert [line.get_xdata()[0] for line in ax.lines] == [14.9, 22.4]
        assert [text.get_text().strip() for text in ax.texts] == ["T4", "L4"]

    def test_the_first_row_is_on_top(self, needs):
        ax = plots.memory_bars(needs, {})
        assert [label.get_text() for label in ax.get_yticklabels()] == ["float16", "4bit"]
        assert ax.get_ylim()[0] > ax.get_ylim()[1]
