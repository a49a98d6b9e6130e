"""Probes beside their controls, read back from their artists."""

from __future__ import annotations

import pandas as pd
import pytest

from erragree_utils import plots
from erragree_utils.plots import style


def probes_of(n: int = 2) -> pd.DataFrame:
    columns = {"accuracy": 0.7, "accuracy_low": 0.6, "accuracy_high": 0.8, "shuffled": 0.51}
    index = pd.MultiIndex.from_tuples([("A", f"layer {i}") for i in range(n)])
    return pd.DataFrame(columns | {"chance": 0.5}, index=index)


def test_stages_share_places_across_lines_in_order_of_appearance(texts):
    def table(*stages: str) -> pd.DataFrame:
        columns = {"accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.7}
        return pd.DataFrame(columns, index=list(stages))

    ax = plots.stage_curves(
        {"image": table("tower", "layer 1", "layer 2"), "last": table("layer 1", "layer 2")},
        "Accuracy", chance=0.5,
    )  # fmt: skip
    assert [label.get_text() for label in ax.get_xticklabels()] == ["tower", "layer 1", "layer 2"]
    assert [list(line.get_xdata()) for line in ax.lines[:2]] == [[0, 1, 2], [1, 2]]
    assert ax.lines[2].get_ydata()[0] == 0.5
    assert "chance" in texts(ax.figure) and ax.figure.patch.get_facecolor()[:3] == (1, 1, 1)
    for tables in ({}, {"a": table()}, {"a": table("x").drop(columns="accuracy_low")}):
        with pytest.raises(ValueError, match="at least one table|has no (rows|accuracy_low)"):
            plots.stage_curves(tables, "Accuracy")


def test_a_stage_at_which_a_probe_gave_one_answer_to_all_is_hollow_and_has_no_band():
    columns = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6}
    table = pd.DataFrame(columns, ["first", "last"]).assign(one_class=[1.0, 0.0])
    ax = plots.stage_curves({"image": table}, "Accuracy")
    (hollow,) = [line for line in ax.lines if line.get_markerfacecolor() == style.PAGE]
    assert list(hollow.get_xdata()) == [0]
    (band,) = ax.collections
    assert band.get_paths()[0].vertices[:, 0].min() == 1


def test_probes_stand_beside_their_controls(texts):
    ax = plots.probe_bars(probes_of())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["A, layer 0", "A, layer 1"]
    shown = texts(ax.figure)
    assert "shuffled labels" in shown and "chance" in shown and "95% interval" in shown
    marks = [line for line in ax.lines if line.get_marker() == "x"]
    assert list(marks[0].get_xdata()) == [0.51, 0.51]
    with pytest.raises(ValueError, match="rows"):
        plots.probe_bars(probes_of().iloc[:0])
    with pytest.raises(ValueError, match="shuffled"):
        plots.probe_bars(probes_of().drop(columns="shuffled"))


def test_a_probe_that_gave_one_answer_to_all_has_a_hollow_dot_and_no_interval(texts):
    table = probes_of().assign(one_class=[0.0, 1.0])
    ax = plots.probe_bars(table)
    assert "one answer to all" in texts(ax.figure)
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "none"]
    assert [place for line in hollow for place in line.get_ydata()] == [1]
    assert "one answer to all" not in texts(plots.probe_bars(table.assign(one_class=0.5)).figure)


def test_repairs_have_a_line_for_each_set_of_pairs_and_a_ring_at_the_named_penalty(texts):
    shares = {"relative": [0.5, 0.6, 0.7], "pair": [0.1, 0.2, 0.3], "cost": [0.0, 0.1, 0.5]}
    ends = {f"{name}_{end}": shares[name] for name in shares for end in ("low", "high")}
    table = pd.DataFrame(shares | ends).assign(named=[False, True, False])
    figure = plots.repair_curves({"A": table, "B": table.assign(cost=0.0)})
    shown = texts(figure)
    for text in ("A", "B", "chance", "Relative preference", "Pair accuracy"):
        assert text in shown
    rings = [line for line in figure.axes[1].lines if line.get_markersize() == 12]
    places = [(float(ring.get_xdata()[0]), float(ring.get_ydata()[0])) for ring in rings]
    assert places == [(0.1, 0.2), (0.0, 0.2)]
    for tables in ({}, {"A": table.drop(columns="cost")}):
        with pytest.raises(ValueError, match="from repair_curve"):
            plots.repair_curves(tables)


def test_models_stand_by_cosine_and_by_probe_and_published_ones_have_no_place_by_probe(texts):
    points = pd.DataFrame({
        "model": ["hidden", "lost"], "benchmark": ["A", "A"], "cosine": [0.995, 0.998],
        "probe": [1.0, 0.53], "pair": [0.05, 0.03],
    })  # fmt: skip
    figure = plots.three_states(points, {"ViT-L/14": (0.99, 0.02)})
    left, right = figure.axes
    places = [(line.get_xdata()[0], line.get_ydata()[0]) for line in left.lines[:2]]
    assert places == [(0.995, 0.05), (0.998, 0.03)]
    assert [line.get_xdata()[0] for line in right.lines[:2]] == [1.0, 0.53]
    (empty,) = [line for line in left.lines if line.get_markerfacecolor() == "none"]
    assert (empty.get_xdata()[0], empty.get_ydata()[0]) == (0.99, 0.02)
    assert not [line for line in right.lines if line.get_markerfacecolor() == "none"]
    assert "ViT-L/14: not known" in texts(figure) and "lost, A" in texts(figure)
    with pytest.raises(ValueError, match="has no probe"):
        plots.three_states(points.drop(columns="probe"))


def test_a_layer_map_has_a_cell_for_each_place_and_layer(texts):
    shares = pd.DataFrame([[1.0, 0.351], [-0.001, 0.96]], ["image", "last token"], ["0", "1"])
    ax = plots.layer_map(shares, "Moved")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["image", "last token"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1"]
    assert [cell.get_text() for cell in ax.texts] == ["100", "35", "0", "96"]
    assert "Moved (%)" in texts(ax.figure) and ax.figure.patch.get_facecolor()[:3] == (1, 1, 1)
    for wrong in (shares.iloc[:0], shares * float("nan")):
        with pytest.raises(ValueError, match="a table of numbers"):
            plots.layer_map(wrong, "Moved")
