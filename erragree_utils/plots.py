"""Pictures of pairs and results. Transparent, in colours that read on white and on dark grey."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

# About 4:1 against both white and #121212.
INK = "#828282"
BLUE, ORANGE, GREEN, PURPLE = "#3d85d0", "#d9701f", "#2f9a6a", "#9a6bd0"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
RIGHT, WRONG = GREEN, "#d65a5a"

_METRICS = {
    "individual": "Individual accuracy",
    "pair": "Pair accuracy",
    "set": "Set accuracy",
}


def cosine_histogram(
    tables: Mapping[str, pd.DataFrame],
    ax: Axes | None = None,
    bins: int = 50,
    xlim: tuple[float, float] | None = None,
) -> Axes:
    """Distributions of cosine similarity, one for each table.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        Label to a table with a column ``cosine``.
    ax : matplotlib.axes.Axes, optional
    bins : int
        Bins across the range shown, the same for all tables.
    xlim : tuple of float, optional
        Range shown; by default that of the data, up to 1.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there is no table, or one is empty or lacks cosines.
    """
    if not tables:
        raise ValueError("give at least one table of cosines")
    for label, table in tables.items():
        if "cosine" not in table or len(table) == 0 or table["cosine"].isna().any():
            raise ValueError(f"table {label!r} needs rows with a number in column 'cosine'")
    ax = _axes(ax, (7.0, 3.4))
    low, high = xlim or (min(0.0, *(t["cosine"].min() for t in tables.values())) - 0.02, 1.0)
    edges = np.linspace(low, high, bins + 1)
    for index, (label, table) in enumerate(tables.items()):
        colour, values = COLOURS[index % len(COLOURS)], table["cosine"].to_numpy()
        # A cosine of 1 may exceed it by rounding, and belongs to the last bin.
        shares = np.histogram(np.minimum(values, 1.0), edges)[0] / len(values)
        mean = values.mean()
        text = f"{label}: mean {mean:.4f}" if mean > 0.95 else f"{label}: mean {mean:.2f}"
        ax.stairs(shares, edges, fill=True, alpha=0.35, color=colour)
        ax.stairs(shares, edges, color=colour, linewidth=1.4, label=f"{text} (n = {len(values)})")
        if low <= mean <= high:
            ax.axvline(mean, color=colour, linewidth=1.2, linestyle=(0, (4, 2)))
    ax.set(xlim=(low, high), ylim=(0, None), xlabel="Cosine similarity of the two embeddings")
    ax.set_ylabel("Share of pairs per bin")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _legend(ax, loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.09 * (len(tables) + 1)))
    return ax


def curve(table: pd.DataFrame, xlabel: str, ylabel: str, ax: Axes | None = None) -> Axes:
    """Means with their intervals against the table's index.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of `metrics.bootstrap_mean`: ``mean``, ``mean_low``, ``mean_high``; a numeric index.
    xlabel, ylabel : str
        Axis labels, with units.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the table is empty or lacks a column.
    """
    missing = {"mean", "mean_low", "mean_high"} - set(table)
    if missing or len(table) == 0:
        raise ValueError(f"give rows of bootstrap_mean; missing: {sorted(missing) or 'all rows'}")
    ax = _axes(ax, (6.5, 3.4))
    x = table.index.to_numpy(float)
    ax.fill_between(x, table["mean_low"], table["mean_high"], color=BLUE, alpha=0.25, linewidth=0)
    ax.plot(x, table["mean"], "o-", color=BLUE, ms=4.5, label="mean, 95% interval")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return ax


def show_pair(pair: Any, scores: pd.DataFrame | None = None, size: float = 2.6) -> Figure:
    """The images of a pair with their own captions, and how they were matched.

    Parameters
    ----------
    pair : ImagePair
    scores : pandas.DataFrame, optional
        What `runner.evaluate` returned; the rows of this pair are shown.
    size : float
        Inches a side for each image.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If `scores` has no rows for this pair, or several for one image.
    """
    images = pair.images
    figure, axes = _image_row(images, pair.captions[: len(images)], size)
    if scores is None:
        return figure
    rows = scores[scores["pair_id"] == pair.pair_id].set_index("image_index")
    for index, ax in enumerate(axes):
        if index not in rows.index or not rows.index.is_unique:
            raise ValueError(
                f"scores must have one row for image {index} of pair {pair.pair_id!r}; it has "
                f"{int((rows.index == index).sum())}. Select one model and method first."
            )
        row = rows.loc[index]
        colour, verdict = (RIGHT, "✓ matched") if row["correct"] else (WRONG, "✗ not matched")
        text = f"own {row['score_own']:.4f}   other {row['score_other']:.4f}\n{verdict}"
        lines = 1 + ax.get_xlabel().count("\n")
        ax.annotate(
            text, (0.5, 0.0), (0, -8 - 15 * lines), xycoords="axes fraction",
            textcoords="offset points", ha="center", va="top", color=colour, fontsize=9.5,
            annotation_clip=False,
        )  # fmt: skip
    figure.set_figheight(figure.get_figheight() + 0.45)
    return figure


def show_set(pairs: Sequence[Any], size: float = 2.2) -> Figure:
    """All images of a set in a row, each with its own caption.

    Parameters
    ----------
    pairs : sequence of ImagePair
        The pairs of one set, such as two of What'sUp's.
    size : float
        Inches a side for each image.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there are no pairs, or they belong to several sets.
    """
    sets = {pair.set_id for pair in pairs}
    if len(sets) != 1:
        raise ValueError(f"give the pairs of one set; these belong to {len(sets)}")
    shown = [item for pair in pairs for item in zip(pair.images, pair.captions, strict=False)]
    return _image_row([image for image, _ in shown], [text for _, text in shown], size)[0]


def accuracy_bars(
    summary: pd.DataFrame,
    paper: Mapping[str, Mapping[str, float]] | pd.DataFrame | None = None,
    label: str = "measured here, 95% interval",
    paper_label: str = "reported in the paper",
) -> Figure:
    """Accuracies as dots with their intervals, a panel for each kind, beside the chance level.

    Parameters
    ----------
    summary : pandas.DataFrame
        What `metrics.summarize` or `summarize_sets` returned, or both joined; a row of dots for
        each row.
    paper : mapping or pandas.DataFrame, optional
        Reported accuracies as shares between 0 and 1: row label to
        ``{"individual_accuracy": 0.49, "pair_accuracy": 0.019}``, or a table of that shape.
    label, paper_label : str
        For the legend.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the summary has no accuracies, or `paper` has unknown rows or columns, or percentages.
    """
    kinds = [
        kind
        for kind in _METRICS
        if f"{kind}_accuracy" in summary and summary[f"{kind}_accuracy"].notna().any()
    ]
    if not kinds or len(summary) == 0:
        raise ValueError("the summary has no accuracies: give what summarize returned")
    names = [_row_name(key) for key in summary.index]
    reported = _reported(paper, names)
    height = 1.45 + 0.42 * len(names)
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(max(5.0, 3.4 * len(kinds)), height), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    figure.patch.set_alpha(0)
    places = np.arange(len(names))
    for kind, ax in zip(kinds, axes[0], strict=True):
        _axes(ax)
        column = f"{kind}_accuracy"
        value, low, high = (summary[column + end].to_numpy() for end in ("", "_low", "_high"))
        chance = summary[f"{kind}_chance"].to_numpy()
        ax.vlines(
            chance, places - 0.5, places + 0.5, color=INK, ls=(0, (4, 2)), lw=1.3, label="chance"
        )
        spread = [np.maximum(value - low, 0), np.maximum(high - value, 0)]
        ax.errorbar(
            value, places, xerr=spread, fmt="o", color=BLUE, ms=6.5, lw=1.8, capsize=3, zorder=3
        )
        theirs = [reported.get(name, {}).get(column, np.nan) for name in names]
        ax.plot(theirs, places, "D", mfc="none", mec=ORANGE, mew=1.6, ms=8, zorder=4)
        ax.set(xlim=(-0.03, 1.03), ylim=(len(names) - 0.5, -0.5), title=_METRICS[kind])
        ax.title.set_color(INK)
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
        ax.grid(axis="x", color=INK, alpha=0.25, linewidth=0.7)
        ax.set_xlabel(_UNITS[kind])
        ax.set_yticks(places, names)
        ax.tick_params(axis="y", length=0)
    entries = [
        Line2D([], [], color=BLUE, marker="o", ms=6.5, lw=1.8, label=label),
        Line2D([], [], color=INK, linestyle=(0, (4, 2)), lw=1.3, label="chance"),
    ]
    if reported:
        entries.insert(
            1, Line2D([], [], marker="D", mfc="none", mec=ORANGE, mew=1.6, ms=8, ls="none",
                      label=paper_label)
        )  # fmt: skip
    figure.legend(
        handles=entries, loc="outside lower center", ncols=3, frameon=False, labelcolor=INK
    )
    return figure


def score_scatter(pred: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Margin of one image against margin of the other, a dot for each pair.

    Both images of a pair are matched in the upper right quadrant alone. A model that prefers one
    caption whatever image it sees has its dots near the falling diagonal, and cannot get there.

    Parameters
    ----------
    pred : pandas.DataFrame
        What `runner.evaluate` returned, for one model and method.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the table has no pairs of two images, or holds an image twice.
    """
    margins = _wide(pred.assign(margin=pred["score_own"] - pred["score_other"]), "margin")
    names = _image_names(pred)
    ax = _axes(ax, (5.0, 5.0))
    x, y = margins[0].to_numpy(float), margins[1].to_numpy(float)
    limit = 1.15 * max(np.abs(margins.to_numpy(float)).max(), 1e-6)
    ax.axhline(0, color=INK, lw=1.0)
    ax.axvline(0, color=INK, lw=1.0)
    ax.add_patch(Rectangle((0, 0), limit, limit, facecolor=GREEN, alpha=0.13, linewidth=0))
    if (pred["n_options"] == 2).all():
        ax.plot([-limit, limit], [limit, -limit], color=INK, lw=1.2, ls=":")
    both = (x > 0) & (y > 0)
    ax.scatter(x[~both], y[~both], s=22, color=BLUE, alpha=0.75, linewidth=0, zorder=3)
    ax.scatter(x[both], y[both], s=26, color=GREEN, alpha=0.9, linewidth=0, zorder=3)
    quadrants = (
        (0.98, 0.98, "both matched", both),
        (0.52, 0.02, f"only {names[0]}", (x > 0) & ~(y > 0)),
        (0.48, 0.98, f"only {names[1]}", ~(x > 0) & (y > 0)),
        (0.02, 0.02, "neither matched", ~(x > 0) & ~(y > 0)),
    )
    for left, top, text, members in quadrants:
        ax.text(
            left, top, f"{text}\n{members.mean():.0%} of pairs", transform=ax.transAxes,
            ha="right" if left in (0.98, 0.48) else "left", va="top" if top > 0.5 else "bottom",
            color=GREEN if members is both else INK, fontsize=9.5,
        )  # fmt: skip
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    ax.set_xlabel(f"Margin of the {names[0]} (own caption − other, cosine)")
    ax.set_ylabel(f"Margin of the {names[1]} (own caption − other, cosine)")
    return ax


def joint_outcomes(pred: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How often both, one or neither image of a pair is matched, and what independence would give.

    Parameters
    ----------
    pred : pandas.DataFrame
        What `runner.evaluate` returned, for one model and method.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        As `score_scatter`.
    """
    right = _wide(pred, "correct").astype(bool)
    names = _image_names(pred)
    ax = _axes(ax, (4.6, 3.9))
    share = right.mean()
    for column, first in enumerate((True, False)):
        for row, second in enumerate((True, False)):
            seen = ((right[0] == first) & (right[1] == second)).mean()
            alone = (share[0] if first else 1 - share[0]) * (share[1] if second else 1 - share[1])
            colour = GREEN if first and second else BLUE
            ax.add_patch(
                Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, facecolor=colour, linewidth=0,
                          alpha=0.06 + 0.3 * seen)
            )  # fmt: skip
            ax.text(column, row - 0.06, f"{seen:.0%}", ha="center", va="center", fontsize=18,
                    color=INK)  # fmt: skip
            ax.text(column, row + 0.2, f"if independent: {alone:.0%}", ha="center", va="center",
                    fontsize=9, color=INK)  # fmt: skip
    ax.set(xlim=(-0.5, 1.5), ylim=(1.5, -0.5))
    ax.set_xticks([0, 1], ["matched", "not matched"])
    ax.set_yticks([0, 1], ["matched", "not matched"], rotation=90, va="center")
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    ax.set_title(f"Share of {len(right)} pairs", color=INK, fontsize=11)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


_UNITS = {"individual": "Share of images", "pair": "Share of pairs", "set": "Share of sets"}


def _axes(ax: Axes | None, size: tuple[float, float] = (6.0, 4.0)) -> Axes:
    """Axes, new if none are given, transparent and in the neutral ink."""
    if ax is None:
        figure, ax = plt.subplots(figsize=size, layout="constrained")
        figure.patch.set_alpha(0)
    ax.patch.set_alpha(0)
    ax.tick_params(colors=INK)
    ax.xaxis.label.set_color(INK)
    ax.yaxis.label.set_color(INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(INK)
    return ax


def _legend(ax: Axes, **options: Any) -> None:
    ax.legend(frameon=False, labelcolor=INK, **options)


def _image_row(images: Sequence[Any], captions: Sequence[str], size: float):
    width = max(16, int(size * 10.5))  # characters that fit below an image
    wrapped = [textwrap.fill(text, width) for text in captions]
    lines = 1 + max(text.count("\n") for text in wrapped)
    figure, axes = plt.subplots(
        1, len(images), figsize=(size * len(images), size + 0.24 * lines), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    figure.patch.set_alpha(0)
    for ax, image, text in zip(axes[0], images, wrapped, strict=True):
        # Small images are shown as the squares they are, not blurred.
        ax.imshow(image, interpolation="nearest" if max(image.size) < 128 else "antialiased")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.patch.set_alpha(0)
        ax.spines[:].set_visible(False)
        ax.set_xlabel(text, color=INK, fontsize=10)
    return figure, list(axes[0])


def _row_name(key: Any) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _reported(paper: Any, names: Sequence[str]) -> dict[str, dict[str, float]]:
    if paper is None:
        return {}
    rows = paper.to_dict("index") if isinstance(paper, pd.DataFrame) else paper
    rows = {_row_name(key): dict(values) for key, values in rows.items()}
    for name, values in rows.items():
        if name not in names:
            raise ValueError(f"paper has a row {name!r}, the summary has {', '.join(names)}")
        for column, value in values.items():
            if column not in [f"{kind}_accuracy" for kind in _METRICS]:
                raise ValueError(
                    f"paper has {column!r}; use individual_accuracy, pair_accuracy, set_accuracy"
                )
            if value is not None and not np.isnan(value) and not 0 <= value <= 1:
                raise ValueError(f"{name}, {column}: give a share from 0 to 1, not {value}")
    return rows


def _wide(pred: pd.DataFrame, column: str) -> pd.DataFrame:
    """A row for each pair of two images, columns 0 and 1."""
    if pred.duplicated(["pair_id", "image_index"]).any():
        raise ValueError("an image occurs twice: select one model, method and benchmark first")
    wide = pred.pivot(index="pair_id", columns="image_index", values=column)
    if not {0, 1} <= set(wide.columns):
        raise ValueError("the table has no pairs of two images")
    return wide[[0, 1]].dropna()


def _image_names(pred: pd.DataFrame) -> tuple[str, str]:
    """Names by relation, "left" and "right", if all pairs have the same; else by number."""
    relations = pred["relation"].unique()
    parts = relations[0].split("/") if len(relations) == 1 else []
    if len(parts) == 2:
        return f"“{parts[0]}” image", f"“{parts[1]}” image"
    return "first image", "second image"
