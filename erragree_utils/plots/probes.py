"""What probes read, by layer and beside their controls, and what a repair recovers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style
from .phone import for_phones
from .style import BLACK, GUIDE, INK, LOOKS, NEUTRAL, PAGE

_POINT = ("model", "benchmark", "cosine", "probe", "pair")
_ACCURACY = ("accuracy", "accuracy_low", "accuracy_high")


@for_phones
def stage_curves(
    tables: Mapping[str, pd.DataFrame], ylabel: str, chance: float | None = None, xlabel: str = ""
) -> Axes:
    """Accuracies with their intervals along named stages, such as a model's layers.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        Label of a line to rows with ``accuracy``, ``accuracy_low``, ``accuracy_high``, such as
        those of `probe_table`; the index names the stages. Stages stand in the order in which they
        first occur, and equal names share a place. Where ``one_class`` says that all folds gave
        one answer to all, a hollow dot without a band stands for an accuracy that measures nothing.
    ylabel, xlabel : str
    chance : float, optional
        Drawn as a dashed line.
    """
    style.check_tables(tables, _ACCURACY, "probe_table")
    ax = style.new_axes(7.5, 3.8)
    stages = list(dict.fromkeys(str(name) for table in tables.values() for name in table.index))
    for (label, table), look in zip(tables.items(), style.looks(tables), strict=True):
        colour = look["color"]
        x = np.array([stages.index(str(name)) for name in table.index])
        empty = _one_answer(table)
        low, high = (table[f"accuracy_{end}"].astype(float).mask(empty) for end in ("low", "high"))
        ax.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
        ax.plot(x, table["accuracy"], ms=5, label=label, **look)
        if empty.any():
            hollow = look | {"mfc": PAGE, "ls": "none", "zorder": 4}
            ax.plot(x[empty], table["accuracy"][empty], ms=5, **hollow)
    if chance is not None:
        ax.axhline(chance, label="chance", **GUIDE)
    ax.set_xticks(range(len(stages)), stages, rotation=30, ha="right")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    style.share_axis(ax, "y")
    style.legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax


@for_phones
def probe_bars(table: pd.DataFrame) -> Axes:
    """Accuracy of probes with intervals, each beside its control with shuffled labels and chance.

    `table` is what `probe_table` returned, or several joined; each row becomes a row of dots. If
    ``one_class`` says that a probe gave one answer to all examples in every fold, its accuracy
    measures nothing, and a hollow dot without an interval shows that.
    """
    style.check_tables({"table": table}, [*_ACCURACY, "shuffled", "chance"], "probe_table")
    ax = style.new_axes(7.0, 1.3 + 0.33 * len(table))
    places = np.arange(len(table))
    value, error = style.estimates(table, "accuracy")
    chance, shuffled = (table[column].astype(float) for column in ("chance", "shuffled"))
    ax.vlines(chance, places - 0.5, places + 0.5, label="chance", **GUIDE)
    empty, dot = _one_answer(table), {"zorder": 3, "ms": 6.5}
    names = style.row_names(table.index)
    for row, name in enumerate(names):
        look = dot | {"color": style.colour_of(name), "ls": "none", "marker": "o"}
        if empty[row]:
            ax.plot(value[row], places[row], mfc="none", **look)
        else:
            ends = {"xerr": error[:, [row]], "lw": 1.8, "capsize": 3}
            ax.errorbar(value[[row]], places[[row]], **ends, **look)
    plain = {"color": NEUTRAL, "marker": "o", "ms": 6.5}
    ax.plot([], [], label="probe, 95% interval", lw=1.8, **plain)
    if empty.any():
        ax.plot([], [], label="one answer to all", ls="none", mfc="none", **plain)
    control = {"color": NEUTRAL, "ms": 7, "mew": 1.8, "label": "shuffled labels"}
    ax.plot(shuffled, places, "x", zorder=2, **control)
    style.label_rows(ax, names)
    ax.set(xlim=(min(0.35, table["accuracy_low"].min() - 0.02), 1.02))
    ax.set_xlabel("Accuracy on unseen object pairs")
    style.share_axis(ax, "x")
    style.legend(ax, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3)
    return ax


@for_phones
def layer_map(shares: pd.DataFrame, label: str) -> Axes:
    """Shares as a heat map, such as how much of an answer the states of a layer and place move.

    Parameters
    ----------
    shares : pandas.DataFrame
        A row for each place, a column for each layer. 0 is blank, 1 is full, and each cell shows
        its value in per cent.
    label : str
        What the shares are of.
    """
    if shares.empty or not np.isfinite(shares.to_numpy(float)).all():
        raise ValueError("give a table of numbers, with a row and a column at least")
    ax = style.new_axes(2.6 + 0.62 * shares.shape[1], 1.3 + 0.42 * len(shares))
    strength = np.linspace(0, 1, 256)
    colours = ListedColormap([(*to_rgb(INK), 0.5 * x) for x in strength], name="ink")
    edges = (np.arange(n + 1) - 0.5 for n in shares.shape[::-1])
    ax.pcolormesh(*edges, shares.to_numpy(float), cmap=colours, norm=Normalize(0, 1))
    for (row, column), value in np.ndenumerate(shares.to_numpy(float)):
        # Without a minus for what rounds to nothing.
        text = f"{100 * value:.0f}".replace("-0", "0")
        ax.text(column, row, text, ha="center", va="center", color=BLACK, fontsize=9.5)
    style.label_rows(ax, style.row_names(shares.index))
    slanted = {"rotation": 30, "ha": "right"} if style.on_phone() else {}
    ax.set_xticks(range(shares.shape[1]), style.row_names(shares.columns), **slanted)
    ax.tick_params(axis="x", length=0)
    ax.spines[:].set_visible(False)
    style.title(ax, f"{label} (%)")
    return ax


@for_phones
def repair_curves(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """What repairs recover against the retrieval that they cost, a line for each set of pairs.

    Relative preference is on the left and pair accuracy on the right, with 95% intervals. `tables`
    maps labels to what `repair_curve` returned. Each line begins at the first row, without a
    repair, and the named penalty has a ring around it.
    """
    shares = {"relative": ("Relative preference", 0.5), "pair": ("Pair accuracy", 0.25)}
    needed = [f"{name}{end}" for name in shares for end in ("", "_low", "_high")]
    style.check_tables(tables, [*needed, "cost", "named"], "repair_curve")
    figure, axes = style.panels(1, 2, 9.0, 3.8, sharex=True)
    for ax, (name, (text, chance)) in zip(axes[0], shares.items(), strict=True):
        each = zip(tables.items(), style.looks(tables), strict=True)
        for number, ((label, table), mark) in enumerate(each):
            value, error = style.estimates(table, name)
            cost, named = table["cost"].to_numpy(float), table["named"].to_numpy(bool)
            look = {"ms": 4.5, "lw": 1.4, "elinewidth": 0.9, "capsize": 2, "label": label}
            ax.errorbar(cost, value, yerr=error, **look, **mark)
            ring = {"mfc": "none", "mec": INK, "mew": 1.6, "ms": 12}
            once = None if number else "named penalty"
            ax.plot(cost[named], value[named], "o", label=once, **ring)
        ax.axhline(chance, label="chance", **GUIDE)
        ax.set(ylim=(-0.03, 1.03), xlabel="Retrieval lost (share of images)", ylabel=text)
        style.percent(ax.xaxis)
        style.share_axis(ax, "y")
    style.figure_legend(figure, axes[0, 0], "upper center", 5)
    return figure


@for_phones
def three_states(
    points: pd.DataFrame, published: Mapping[str, tuple[float, float]] | None = None
) -> Figure:
    """Pair accuracy of matching against the cosine, and against a probe's accuracy.

    Parameters
    ----------
    points : pandas.DataFrame
        A row for each model and benchmark: ``model`` (its colour), ``benchmark`` (its marker),
        ``cosine``, ``probe``, ``pair`` (shares from 0 to 1).
    published : mapping of str to (float, float), optional
        Cosine and pair accuracy of models without a probe: an empty marker on the left, a line
        across on the right.
    """
    style.check_tables({"points": points}, _POINT, "recorded measures")
    figure, axes = style.panels(1, 2, 9.0, 4.0, sharey=True)
    marks = dict(zip(points["benchmark"].unique(), "os^D", strict=False))
    for ax, column in zip(axes[0], ("cosine", "probe"), strict=True):
        for model, rows in points.groupby("model", sort=False):
            for benchmark, group in rows.groupby("benchmark", sort=False):
                look = {"color": style.colour_of(model), "ms": 7, "alpha": 0.8}
                text = f"{model}, {benchmark}"
                ax.plot(group[column], group["pair"], marks[benchmark], label=text, **look)
        ax.axhline(0.25, label="chance", **GUIDE)
        style.share_axis(ax, "y")
    for name, (cosine, pair) in (published or {}).items():
        colour, mark = LOOKS["paper"]
        empty = {"mfc": "none", "mec": colour, "mew": 1.8, "ms": 9, "ls": "none"}
        axes[0, 0].plot(cosine, pair, marker=mark, label=f"{name} (published)", **empty)
        axes[0, 1].axhline(pair, color=INK, lw=1.2, ls=":")
        place = {"transform": axes[0, 1].get_yaxis_transform(), "ha": "center", "va": "top"}
        axes[0, 1].text(0.5, pair - 0.01, f"{name}: not known", color=INK, fontsize=9, **place)
    axes[0, 0].set(xlabel="Mean cosine of left and right")
    style.label_y(axes[0], "Pair accuracy of matching")
    axes[0, 0].set(ylim=(-0.08, 1.04))
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(5))
    axes[0, 1].set(xlabel="A probe of one image, unseen object pairs", xlim=(0.45, 1.03))
    style.percent(axes[0, 1].xaxis)
    style.figure_legend(figure, axes[0, 0], "upper center", 4)
    return figure


def _one_answer(table: pd.DataFrame) -> np.ndarray:
    """Which probes gave one answer to all examples in every fold."""
    return table.get("one_class", pd.Series(0.0, table.index)).to_numpy(float) >= 1
