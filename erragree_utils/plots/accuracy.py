"""Accuracies with their intervals, beside chance and the paper's numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import style
from .phone import for_phones
from .style import GUIDE, LOOKS, NEUTRAL

#: Kinds of accuracy: their titles, and what they are shares of.
_KINDS = {
    "individual": ("Individual accuracy", "images"),
    "pair": ("Pair accuracy", "pairs"),
    "set": ("Set accuracy", "sets"),
    "relative": ("Relative preference", "pairs"),
}


@for_phones
def accuracy_bars(
    summary: pd.DataFrame,
    paper: Mapping[str, Mapping[str, float]] | None = None,
    paper_label: str = "reported in the paper",
) -> Figure:
    """Accuracies as dots with their intervals, a panel for each kind, beside the chance level.

    Parameters
    ----------
    summary : pandas.DataFrame
        What `summarize` or `summarize_sets` returned, or both joined; each row becomes a row of
        dots.
    paper : mapping, optional
        Published accuracies as shares: row label to ``{"pair_accuracy": 0.019}``.
    paper_label : str
        For the legend.
    """
    kinds = [k for k in _KINDS if summary.get(f"{k}_accuracy", pd.Series()).notna().any()]
    if not kinds:
        raise ValueError("the summary has no accuracies: give what summarize returned")
    names = style.row_names(summary.index)
    theirs = _published(paper or {}, names)
    figure, axes = style.panels(
        1, len(kinds), max(5.0, 3.4 * len(kinds)), 1.45 + 0.42 * len(names), sharey=True
    )
    colour, mark = LOOKS["paper"]
    measured = {"color": NEUTRAL, "marker": "o", "ms": 6.5, "lw": 1.8}
    published = {"marker": mark, "mfc": "none", "mec": colour, "mew": 1.6, "ms": 8, "ls": "none"}
    places = np.arange(len(names))
    ticks = [0, 0.25, 0.5, 0.75, 1.0] if len(kinds) < 3 else [0, 0.5, 1.0]
    for kind, ax in zip(kinds, axes[0], strict=True):
        column, (text, units) = f"{kind}_accuracy", _KINDS[kind]
        ax.vlines(summary[f"{kind}_chance"], places - 0.5, places + 0.5, label="chance", **GUIDE)
        value, error = style.estimates(summary, column)
        for row, name in enumerate(names):
            look = measured | {"color": style.colour_of(name)}
            one = value[[row]], places[[row]], error[:, [row]]
            ax.errorbar(*one[:2], xerr=one[2], ls="none", capsize=3, zorder=3, **look)
        ax.plot(theirs[column], places, zorder=4, **published)
        style.label_rows(ax, names)
        style.title(ax, text, 12)
        ax.set(xlim=(-0.03, 1.03), xlabel=f"Share of {units}", xticks=ticks)
        style.share_axis(ax, "x")
    entries = {"measured here, 95% interval": measured, paper_label: published, "chance": GUIDE}
    if not paper:
        del entries[paper_label]
    handles = [Line2D([], [], label=label, **look) for label, look in entries.items()]
    style.legend(
        figure, handles=handles, loc="outside lower center", ncols=3 if len(kinds) > 1 else 1
    )
    return figure


def _published(paper: Mapping[str, Mapping[str, float]], names: list[str]) -> pd.DataFrame:
    """Published shares, in the rows and columns of the figure."""
    columns = [f"{kind}_accuracy" for kind in _KINDS]
    table = pd.DataFrame.from_dict(paper, orient="index", dtype=float)
    if stray := [*table.index.difference(names), *table.columns.difference(columns)]:
        raise ValueError(f"paper has {stray}; rows are {names}, columns {columns}")
    if ((table < 0) | (table > 1)).any(axis=None):
        raise ValueError(f"give paper's accuracies as shares from 0 to 1, not {paper}")
    return table.reindex(index=names, columns=columns)


@for_phones
def grouped_dots(
    summary: pd.DataFrame,
    column: str,
    xlabel: str,
    chance: float | None = None,
    change: bool = False,
) -> Axes:
    """Shares with their intervals: a row for each group, a colour for each name.

    Parameters
    ----------
    summary : pandas.DataFrame
        With a two-level index (row, colour), as `summarize` returns it by two columns.
    column : str
        What to show, such as ``"pair_accuracy"``; its ``_low`` and ``_high`` are needed too.
    xlabel : str
    chance : float, optional
        Drawn as a dashed line.
    change : bool
        Whether these are differences: the axis goes from -1 to 1, in points, with a line at 0.
    """
    ends = [f"{column}_low", f"{column}_high"]
    style.check_tables({"summary": summary}, [column, *ends], "summarize, by two columns")
    rows, series = (list(dict.fromkeys(summary.index.get_level_values(k))) for k in (0, 1))
    ax = style.new_axes(7.0, 1.2 + len(rows) * (0.16 + 0.15 * len(series)))
    for number, (name, look) in enumerate(zip(series, style.looks(series), strict=True)):
        group = summary.xs(name, level=1)
        value, error = style.estimates(group, column)
        shift = (number - (len(series) - 1) / 2) * (0.7 / len(series))
        places = np.array([rows.index(row) for row in group.index]) + shift
        look = look | {"ls": "none", "ms": 5, "lw": 1.5, "capsize": 2}
        ax.errorbar(value, places, xerr=error, label=str(name), **look)
    for text, at in {"chance": chance, "no change": 0.0 if change else None}.items():
        if at is not None:
            ax.axvline(at, label=text, **GUIDE)
    style.label_rows(ax, style.row_names(rows))
    ax.set(xlim=(-1 if change else -0.03, 1.03), xlabel=xlabel)
    style.share_axis(ax, "x", symbol="" if change else "%")
    style.legend(ax, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3)
    return ax
