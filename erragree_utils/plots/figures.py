"""Pictures of pairs and results. Transparent, in colours that read on white and on dark grey."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from ..checks import listed
from ..images import as_rgb

# About 4:1 against both white and #121212.
INK = "#828282"
BLUE, ORANGE, GREEN, PURPLE = "#3d85d0", "#d9701f", "#2f9a6a", "#9a6bd0"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
RIGHT, WRONG = GREEN, "#d65a5a"

_METRICS = {
    "individual": "Individual accuracy",
    "pair": "Pair accuracy",
    "set": "Set accuracy",
    "relative": "Relative preference",
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


def show_image(image: Any, caption: str = "", size: float = 2.6) -> Figure:
    """One image above a line of text.

    Parameters
    ----------
    image : PIL.Image.Image
    caption : str
    size : float
        Inches a side.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, _ = _image_row([image], [caption], size)
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
    pairs = list(pairs)
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
        spread = _spread(value, low, high)
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


def show_readers(
    pair: Any, readers: Mapping[str, pd.DataFrame], size: float = 3.0, bar: float = 0.95
) -> Figure:
    """A pair's images, and below each how several readers score the pair's captions for it.

    The captions stand in the same order below both images: a reader that prefers one caption
    whatever it sees has its longer bar at the same place in both.

    Parameters
    ----------
    pair : ImagePair
    readers : mapping of str to pandas.DataFrame
        Name of a reader to what `runner.evaluate` returned for it, by one method with two options;
        the rows of this pair are shown.
    size, bar : float
        Inches a side for each image, and inches of height for the bars of a reader.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no reader, or one lacks one row, of two options, for each image of the pair.
    """
    if not readers:
        raise ValueError("give at least one reader with its predictions")
    n = len(pair.sources)
    values = {name: _caption_scores(pair, table, name) for name, table in readers.items()}
    figure, axes = plt.subplots(
        1 + len(values), n, figsize=(size * n + 1.4, size + bar * len(values)), squeeze=False,
        layout="constrained", height_ratios=[size] + [bar] * len(values),
    )  # fmt: skip
    figure.patch.set_alpha(0)
    for ax, image, text in zip(axes[0], pair.images, pair.captions, strict=False):
        _show_image(ax, image)
        ax.set_title(textwrap.fill(text, int(size * 11)), color=INK, fontsize=10)
    for row, (name, scores) in zip(axes[1:], values.items(), strict=True):
        limit = max(scores.max(), 1e-9) * 1.3
        for k, ax in enumerate(row):
            _axes(ax)
            ax.spines[:].set_visible(False)
            right = scores[k, k] > np.delete(scores[k], k).max()
            mine = RIGHT if right else WRONG
            ax.barh([0, 1], scores[k], height=0.62, color=[mine if i == k else INK for i in (0, 1)])
            for place, value in enumerate(scores[k]):
                ax.text(max(value, 0) + limit / 60, place, f"{value:.4f}", va="center", color=INK,
                        fontsize=9)  # fmt: skip
            ax.set(xlim=(min(0.0, scores.min()), limit), ylim=(1.5, -0.5))
            ax.set_title(f"{name}: {'✓ matched' if right else '✗ not matched'}", color=mine,
                         fontsize=10, loc="left")  # fmt: skip
            ax.set_xticks([])
            ax.tick_params(length=0)
            ax.set_yticks([0, 1], [textwrap.fill(t, 24) for t in pair.captions] if k == 0 else [])
            ax.yaxis.set_tick_params(labelsize=8)
    return figure


def _caption_scores(pair: Any, table: pd.DataFrame, name: str) -> np.ndarray:
    """Scores (images, captions) of a pair, from a table with a row for each image."""
    rows = table[table["pair_id"] == pair.pair_id].set_index("image_index")
    n = len(pair.sources)
    if sorted(rows.index) != list(range(n)) or (rows["n_options"] != 2).any():
        raise ValueError(
            f"{name} must have one row of two options for each image of pair {pair.pair_id!r}; it "
            f"has {len(rows)} rows. Select one model and a two-way method, such as 'matching' or "
            "'vqascore'."
        )
    scores = np.empty((n, 2))
    for k in range(n):
        scores[k, k], scores[k, 1 - k] = rows.loc[k, "score_own"], rows.loc[k, "score_other"]
    return scores


def saliency_maps(
    images: Sequence[Any],
    maps: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    label: str = "Gradient × input (share of the largest)",
    size: float = 2.4,
) -> Figure:
    """Signed maps of patches over images: green speaks for the answer, red against it.

    Parameters
    ----------
    images : sequence of PIL.Image.Image
        Square, as the model sees them. None where a map stands alone.
    maps : sequence of numpy.ndarray, each of shape (rows, cols)
        One for each image; each is divided by its largest absolute value.
    titles : sequence of str, optional
    label : str
        Of the colour bar.
    size : float
        Inches a side for each image.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there are not as many maps as images, or none.
    """
    images, maps = list(listed(images, "images")), list(maps)
    titles = None if titles is None else list(titles)
    if not images or len(images) != len(maps):
        raise ValueError(f"give one map for each image: {len(images)} images, {len(maps)} maps")
    figure, axes = plt.subplots(
        1, len(images), figsize=(size * len(images) + 0.9, size + 0.7), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    figure.patch.set_alpha(0)
    colours = _signed_colours()
    for k, (ax, image, values) in enumerate(zip(axes[0], images, maps, strict=True)):
        values = np.asarray(values, float)
        relative = values / max(np.abs(values).max(), 1e-12)
        image = None if image is None else as_rgb(image)
        side = values.shape[1] if image is None else image.width
        if image is not None:
            _show_image(ax, image.convert("L"))
        ax.imshow(
            relative, cmap=colours, vmin=-1, vmax=1,
            extent=(-0.5, side - 0.5, side - 0.5, -0.5), interpolation="nearest",
        )  # fmt: skip
        ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), xticks=[], yticks=[])
        ax.patch.set_alpha(0)
        ax.spines[:].set_color(INK)
        if titles is not None:
            ax.set_title(textwrap.fill(titles[k], int(size * 11)), color=INK, fontsize=10)
    bar = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), colours), ax=list(axes[0]), shrink=0.8, ticks=[-1, 0, 1]
    )
    bar.set_label(label, color=INK)
    bar.ax.patch.set_alpha(0)
    bar.ax.tick_params(colors=INK)
    bar.outline.set_edgecolor(INK)
    return figure


def _signed_colours() -> ListedColormap:
    """Red for -1, green for 1, and more transparent the nearer to 0."""
    values = np.linspace(-1, 1, 255)
    rgb = np.where(values[:, None] < 0, to_rgb(WRONG), to_rgb(RIGHT))
    return ListedColormap(np.column_stack([rgb, 0.9 * np.abs(values) ** 0.7]), name="signed")


def stage_curves(
    tables: Mapping[str, pd.DataFrame],
    ylabel: str,
    chance: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Accuracies with their intervals along named stages, such as a model's layers.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        Label of a line to rows with ``accuracy``, ``accuracy_low``, ``accuracy_high``, such as
        those of `probes.probe_table`; the index names the stages. Stages stand in the order in
        which they first occur, and equal names share a place. Where ``one_class`` says that all
        folds gave one answer to all, a hollow dot without a band stands for an accuracy that
        measures nothing.
    ylabel : str
    chance : float, optional
        Drawn as a dashed line.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there is no table, or one is empty or lacks a column.
    """
    for table in tables.values():
        missing = {"accuracy", "accuracy_low", "accuracy_high"} - set(table)
        if missing or len(table) == 0:
            raise ValueError(f"give rows of probe_table; missing: {sorted(missing) or 'all rows'}")
    if not tables:
        raise ValueError("give at least one table of accuracies")
    ax = _axes(ax, (7.5, 3.8))
    stages = list(dict.fromkeys(str(name) for table in tables.values() for name in table.index))
    for number, (label, table) in enumerate(tables.items()):
        colour = COLOURS[number % len(COLOURS)]
        x = [stages.index(str(name)) for name in table.index]
        empty = _collapsed(table)
        low, high = (table[f"accuracy_{end}"].astype(float).mask(empty) for end in ("low", "high"))
        ax.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
        ax.plot(x, table["accuracy"], "o-", color=colour, ms=5, label=label)
        if empty.any():
            hollow = {"mfc": "white", "mec": colour, "ls": "none", "zorder": 4}
            ax.plot(np.array(x)[empty], table["accuracy"][empty], "o", ms=5, **hollow)
    if chance is not None:
        ax.axhline(chance, color=INK, ls=(0, (4, 2)), lw=1.3, label="chance")
    ax.set_xticks(range(len(stages)), stages, rotation=30, ha="right")
    ax.set_ylabel(ylabel)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid(axis="y", color=INK, alpha=0.25, linewidth=0.7)
    _legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax


def _collapsed(table: pd.DataFrame) -> np.ndarray:
    """Rows of probes that gave one answer to all examples in every fold."""
    return table.get("one_class", pd.Series(0.0, table.index)).to_numpy(float) >= 1


def probe_bars(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Accuracy of probes with intervals, each beside its control with shuffled labels and chance.

    Parameters
    ----------
    table : pandas.DataFrame
        What `probes.probe_table` returned, or several joined; a row of dots for each row. Where
        it has ``one_class`` and all folds gave one answer to all, a hollow dot without an interval
        stands for an accuracy that measures nothing.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the table is empty or lacks a column.
    """
    missing = {"accuracy", "accuracy_low", "accuracy_high", "shuffled", "chance"} - set(table)
    if missing or len(table) == 0:
        raise ValueError(f"give what probe_table returned; missing: {sorted(missing) or 'rows'}")
    ax = _axes(ax, (7.0, 1.3 + 0.33 * len(table)))
    places = np.arange(len(table))
    value, low, high = (table[f"accuracy{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    ax.vlines(table["chance"].astype(float), places - 0.5, places + 0.5, color=INK,
              ls=(0, (4, 2)), lw=1.3, label="chance")  # fmt: skip
    collapsed = _collapsed(table)
    spread, shown = _spread(value, low, high), ~collapsed
    ax.errorbar(value[shown], places[shown], xerr=np.asarray(spread)[:, shown], fmt="o",
                color=BLUE, ms=6.5, lw=1.8, capsize=3, zorder=3,
                label="probe, 95% interval")  # fmt: skip
    if collapsed.any():
        ax.plot(value[collapsed], places[collapsed], "o", mfc="none", mec=BLUE, ms=6.5, zorder=3,
                label="one answer to all")  # fmt: skip
    ax.plot(table["shuffled"].astype(float), places, "x", color=ORANGE, ms=7, mew=1.8, zorder=2,
            label="shuffled labels")  # fmt: skip
    ax.set(xlim=(min(0.35, low.min() - 0.02), 1.02), ylim=(len(table) - 0.5, -0.5))
    ax.set_yticks(places, [_row_name(key) for key in table.index])
    ax.set_xlabel("Accuracy on unseen object pairs")
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid(axis="x", color=INK, alpha=0.25, linewidth=0.7)
    ax.tick_params(axis="y", length=0)
    _legend(ax, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3)
    return ax


def repair_curves(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """What repairs recover against the retrieval they cost, a line for each set of pairs.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        What `alignment.repair_curve` returned; the first row of each, no repair, is where its line
        begins, and the named penalty has a ring around it.

    Returns
    -------
    matplotlib.figure.Figure
        Relative preference on the left, pair accuracy on the right, with 95% intervals.

    Raises
    ------
    ValueError
        If there is no table, or one lacks a column.
    """
    panels = {"relative": ("Relative preference", 0.5), "pair": ("Pair accuracy", 0.25)}
    needed = {f"{name}{end}" for name in panels for end in ("", "_low", "_high")}
    needed |= {"cost", "named"}
    if not tables or any(needed - set(table) for table in tables.values()):
        raise ValueError(f"give tables of repair_curve, with the columns {sorted(needed)}")
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.8), sharex=True, layout="constrained")
    figure.patch.set_alpha(0)
    for ax, (name, (title, chance)) in zip(axes, panels.items(), strict=True):
        ax = _axes(ax, (4.5, 3.8))
        for (label, table), colour, mark in zip(
            tables.items(), COLOURS * len(tables), "osD^" * len(tables), strict=False
        ):
            cost, value, low, high = (
                table[column].to_numpy(float)
                for column in ("cost", name, f"{name}_low", f"{name}_high")
            )
            ax.errorbar(cost, value, yerr=_spread(value, low, high), fmt=f"{mark}-", color=colour,
                        ms=4.5, lw=1.4, elinewidth=0.9, capsize=2, label=label)  # fmt: skip
            named = table["named"].to_numpy(bool)
            ring = "named penalty" if table is next(iter(tables.values())) else None
            ax.plot(cost[named], value[named], "o", mfc="none", mec=INK, mew=1.6, ms=12,
                    label=ring)  # fmt: skip
        ax.axhline(chance, color=INK, ls=(0, (4, 2)), lw=1.3, label="chance")
        ax.set(ylim=(-0.03, 1.03), xlabel="Retrieval lost (share of images)", ylabel=title)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.grid(axis="y", color=INK, alpha=0.25, linewidth=0.7)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5,
                  frameon=False, labelcolor=INK)  # fmt: skip
    return figure


def question_pairs(
    pairs: Sequence[Any], notes: Sequence[str] | None = None, columns: int = 3, size: float = 1.35
) -> Figure:
    """Pairs of images side by side, each above its question and the answer each image has.

    Parameters
    ----------
    pairs : sequence of QuestionPair
    notes : sequence of str, optional
        A line for each pair, above it; by default its pattern.
    columns : int
        Pairs in a row.
    size : float
        Inches a side for each image.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there are no pairs, or not a note for each.
    """
    pairs = list(pairs)
    notes = [pair.pattern for pair in pairs] if notes is None else list(notes)
    if not pairs or len(notes) != len(pairs):
        raise ValueError(f"give pairs, and a note for each: {len(pairs)} pairs, {len(notes)} notes")
    columns = min(columns, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = plt.figure(figsize=(columns * (2 * size + 0.25), rows * (size + 0.85)))
    figure.patch.set_alpha(0)
    figure.set_layout_engine("constrained")
    for place, part in enumerate(figure.subfigures(rows, columns, squeeze=False).flat):
        part.patch.set_alpha(0)
        if place >= len(pairs):
            continue
        pair = pairs[place]
        part.suptitle(notes[place], color=INK, fontsize=9.5)
        part.supxlabel(textwrap.fill(pair.question, int(size * 26)), color=INK, fontsize=8.5)
        for ax, image, option in zip(part.subplots(1, 2), pair.images, pair.options, strict=True):
            _show_image(ax, image)
            ax.set_xlabel(option, color=INK, fontsize=9.5)
    return figure


def grouped_dots(
    summary: pd.DataFrame,
    column: str,
    xlabel: str,
    chance: float | None = None,
    change: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Shares with their intervals: a row for each group, a colour for each method.

    Parameters
    ----------
    summary : pandas.DataFrame
        With a two-level index (row, colour), such as `metrics.summarize` returns with two columns
        to group by.
    column : str
        What is shown, with ``_low`` and ``_high`` beside it: ``"pair_accuracy"``.
    xlabel : str
    chance : float, optional
        Drawn as a dashed line.
    change : bool
        Whether these are differences: from -1 to 1, in points, beside a line of no change.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the index does not have two levels, the table is empty, or a column is missing.
    """
    wanted = [column, f"{column}_low", f"{column}_high"]
    missing = [name for name in wanted if name not in summary]
    if summary.index.nlevels != 2 or len(summary) == 0 or missing:
        raise ValueError(
            f"give a summary by two columns that has {', '.join(wanted)}; missing: "
            f"{missing or 'rows, or the second level of the index'}"
        )
    rows, series = (list(dict.fromkeys(summary.index.get_level_values(k))) for k in (0, 1))
    ax = _axes(ax, (7.0, 1.2 + len(rows) * (0.16 + 0.15 * len(series))))
    step = 0.7 / len(series)
    for number, name in enumerate(series):
        mine = summary.xs(name, level=1)
        value, low, high = (mine[name_].to_numpy(float) for name_ in wanted)
        shift = (number - (len(series) - 1) / 2) * step
        places = np.array([rows.index(row) for row in mine.index]) + shift
        ax.errorbar(
            value, places, xerr=_spread(value, low, high),
            fmt="osD^"[number % 4], color=COLOURS[number % len(COLOURS)], ms=5, lw=1.5, capsize=2,
            label=str(name),
        )  # fmt: skip
    lines = {"chance": chance, "no change": 0.0 if change else None}
    for name, at in lines.items():
        if at is not None:
            ax.axvline(at, color=INK, ls=(0, (4, 2)), lw=1.3, label=name)
    ax.set(xlim=(-1 if change else -0.03, 1.03), ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    ax.set_yticks(range(len(rows)), [str(row) for row in rows])
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol="" if change else "%"))
    ax.grid(axis="x", color=INK, alpha=0.25, linewidth=0.7)
    ax.tick_params(axis="y", length=0)
    _legend(ax, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3)
    return ax


def cosine_scatter(
    groups: Mapping[str, pd.DataFrame],
    clip_above: float,
    vision_below: float,
    ax: Axes | None = None,
) -> Axes:
    """Cosine of the images of each pair under CLIP and under a vision-only encoder.

    Parameters
    ----------
    groups : mapping of str to pandas.DataFrame
        Label to rows with ``clip_cosine`` and ``vision_cosine``; the first group is drawn in the
        neutral colour, behind the others.
    clip_above, vision_below : float
        Thresholds of a CLIP-blind pair, drawn as lines.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there is no group, or one lacks a column.
    """
    if not groups or any({"clip_cosine", "vision_cosine"} - set(t) for t in groups.values()):
        raise ValueError("give tables with the columns clip_cosine and vision_cosine")
    ax = _axes(ax, (7.0, 4.2))
    for number, (label, table) in enumerate(groups.items()):
        colour = INK if number == 0 else COLOURS[(number - 1) % len(COLOURS)]
        ax.plot(
            table["clip_cosine"], table["vision_cosine"], "o.sD^vP*X<"[number % 10], color=colour,
            ms=3 if number == 0 else 4.5, alpha=0.6, label=label,
        )  # fmt: skip
    for line, value in ((ax.axvline, clip_above), (ax.axhline, vision_below)):
        line(value, color=INK, ls=(0, (4, 2)), lw=1.3)
    ax.set(xlabel="Cosine under CLIP", ylabel="Cosine under the vision-only encoder")
    _legend(ax, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def signal_and_bias(panels: Mapping[str, pd.DataFrame], limit: float | None = None) -> Figure:
    """Each pair by how much its images differ for the model, and how far both lean one way.

    Parameters
    ----------
    panels : mapping of str to pandas.DataFrame
        Title to what `two_images.relative_preference` returned.
    limit : float, optional
        Nats at which the axes end; pairs beyond are drawn at the edge.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no panel, or a table lacks a column.
    """
    if not panels or any({"signal", "bias"} - set(table) for table in panels.values()):
        raise ValueError("give tables from relative_preference: they have signal and bias")
    if limit is None:
        every = pd.concat([table[["signal", "bias"]] for table in panels.values()])
        limit = float(1.05 * every.abs().quantile(0.98).max())
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.6 * len(panels), 3.9), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    figure.patch.set_alpha(0)
    for ax, (title, table) in zip(axes[0], panels.items(), strict=True):
        _axes(ax)
        ax.fill_betweenx([-limit, 0, limit], [limit, 0, limit], limit, color=GREEN, alpha=0.15,
                         lw=0, label="both images right")  # fmt: skip
        ax.axvline(0, color=INK, lw=1)
        ax.axhline(0, color=INK, lw=0.7, alpha=0.6)
        x, y = (table[name].clip(-limit, limit) for name in ("signal", "bias"))
        right = table["signal"] > table["bias"].abs()
        for mask, colour, mark in ((right, GREEN, "o"), (~right, WRONG, "x")):
            ax.plot(x[mask], y[mask], mark, color=colour, ms=4, alpha=0.6, clip_on=False)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel="Signal in nats")
        ax.set_title(title, color=INK, fontsize=10.5)
    axes[0][0].set_ylabel("Bias in nats")
    return figure


def token_bars(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Probabilities of the next token, a panel for each strength of the contrast.

    Parameters
    ----------
    panels : mapping of str to pandas.DataFrame
        Title to shares: tokens in the index, a column for each distribution; the same tokens and
        columns in all panels.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no panel, or tokens or columns differ.
    """
    tables = list(panels.values())
    same = all(t.index.equals(tables[0].index) and t.columns.equals(tables[0].columns)
               for t in tables)  # fmt: skip
    if not tables or not same:
        raise ValueError("give at least one panel, all with the same tokens and columns")
    tokens, names = list(tables[0].index), list(tables[0].columns)
    figure, axes = plt.subplots(
        1, len(panels), figsize=(max(5.5, 3.3 * len(panels)), 1.3 + 0.55 * len(tokens)),
        sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    figure.patch.set_alpha(0)
    thick = 0.8 / len(names)
    for ax, (title, table) in zip(axes[0], panels.items(), strict=True):
        _axes(ax)
        for number, name in enumerate(names):
            places = np.arange(len(tokens)) + (number - (len(names) - 1) / 2) * thick
            ax.barh(places, table[name], thick * 0.9, color=(INK, ORANGE, BLUE, GREEN)[number % 4],
                    label=name)  # fmt: skip
        ax.set(xlim=(0, 1), ylim=(len(tokens) - 0.5, -0.5), xlabel="Probability of the next token")
        ax.set_title(title, color=INK, fontsize=10.5)
        ax.set_yticks(range(len(tokens)), tokens)
        ax.tick_params(axis="y", length=0)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False,
                  labelcolor=INK)  # fmt: skip
    return figure


def angle_arcs(angles: Mapping[str, np.ndarray], ax: Axes | None = None) -> Axes:
    """Angles between image differences and text differences, as directions on a half circle.

    The image difference points to the right; each thin line is the text difference of one pair,
    each thick one the mean of a kind of pair. At 90 degrees the text does not answer.

    Parameters
    ----------
    angles : mapping of str to numpy.ndarray
        Label of a kind of pair to angles in degrees, 0 to 180.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there are no angles, or they do not lie between 0 and 180.
    """
    for label, values in angles.items():
        values = np.asarray(values)
        if values.size == 0 or not ((values >= 0) & (values <= 180)).all():
            raise ValueError(f"{label!r} needs angles between 0 and 180 degrees")
    if not angles:
        raise ValueError("give at least one kind of pair")
    ax = _axes(ax, (7.0, 3.9))
    ring = np.radians(np.linspace(0, 180, 181))
    ax.plot(np.cos(ring), np.sin(ring), color=INK, lw=1)
    ax.annotate("", (1.12, 0), (0, 0), arrowprops={"arrowstyle": "->", "color": INK, "lw": 2})
    ax.text(1.14, 0, "image\ndifference", color=INK, va="center", fontsize=9.5)
    ax.plot([0, 0], [0, 1], color=INK, lw=1, ls=(0, (4, 2)))
    for k, (label, values) in enumerate(angles.items()):
        colour, theta = COLOURS[k % len(COLOURS)], np.radians(np.asarray(values, float))
        for t in theta:
            ax.plot([0.9 * np.cos(t), np.cos(t)], [0.9 * np.sin(t), np.sin(t)], color=colour,
                    lw=0.8, alpha=0.5)  # fmt: skip
        middle = theta.mean()
        ax.plot([0, np.cos(middle)], [0, np.sin(middle)], color=colour, lw=2.6,
                label=f"{label}: mean {np.degrees(middle):.0f}°")  # fmt: skip
    for degrees in (0, 45, 90, 135, 180):
        t = np.radians(degrees)
        ax.text(1.08 * np.cos(t), 1.08 * np.sin(t) + (0.06 if degrees in (0, 180) else 0),
                f"{degrees}°", color=INK, ha="center", va="center", fontsize=9)  # fmt: skip
    ax.set(xlim=(-1.25, 1.5), ylim=(-0.05, 1.2), aspect="equal")
    ax.set_axis_off()
    _legend(ax, loc="lower center", bbox_to_anchor=(0.5, -0.32), ncols=2)
    return ax


def sphere_plane(cosine: float, ax: Axes | None = None) -> Axes:
    """Two embeddings on the unit sphere, true to scale, and the plane that separates them.

    Parameters
    ----------
    cosine : float
        Between the two, above -1 and below 1.
    ax : matplotlib.axes.Axes, optional
        With a 3-D projection.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the cosine does not lie between -1 and 1.
    """
    if not -1 < cosine < 1:
        raise ValueError(f"two different directions have a cosine between -1 and 1, not {cosine}")
    if ax is None:
        figure = plt.figure(figsize=(5.2, 4.6), layout="constrained")
        figure.patch.set_alpha(0)
        ax = figure.add_subplot(projection="3d")
    ax.patch.set_alpha(0)
    around, up = np.meshgrid(np.linspace(0, 2 * np.pi, 37), np.linspace(0, np.pi, 19))
    ax.plot_wireframe(np.sin(up) * np.cos(around), np.sin(up) * np.sin(around), np.cos(up),
                      color=INK, lw=0.4, alpha=0.45)  # fmt: skip
    half = np.arccos(cosine) / 2
    wide, high = np.meshgrid([-1.15, 1.15], [-1.15, 1.15])
    ax.plot_surface(np.zeros_like(wide), wide, high, color=GREEN, alpha=0.22)
    for side, colour, name in ((-1, BLUE, "left"), (1, ORANGE, "right")):
        x, y = side * np.sin(half), -np.cos(half)
        ax.plot([0, x], [0, y], [0, 0], color=colour, lw=1.6)
        ax.scatter([x], [y], [0], color=colour, s=45, depthshade=False)
        ax.text(x + 0.18 * side, y, 0.1, name, color=colour, ha="center", fontsize=10)
    ax.view_init(elev=22, azim=-78)
    ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), zlim=(-1.15, 1.15))
    ax.set_box_aspect((1, 1, 1), zoom=1.25)
    ax.set_axis_off()
    ax.set_title(f"cosine {cosine:.4f}: {np.degrees(2 * half):.1f}° apart", color=INK, fontsize=11)
    return ax


def two_clouds(panels: Mapping[str, np.ndarray], xlabel: str, width: float = 3.4) -> Figure:
    """Distributions of the two images of pairs along a direction, a panel for each direction.

    Parameters
    ----------
    panels : mapping of str to numpy.ndarray, shape (N, 2)
        Title to the places of first and second images, the mean of each pair at 0.
    xlabel : str
    width : float
        Inches of a panel.

    Returns
    -------
    matplotlib.figure.Figure
        Each title is followed by the share of pairs whose first image is further right.

    Raises
    ------
    ValueError
        If there is no panel, or one has not two columns.
    """
    if not panels:
        raise ValueError("give at least one panel")
    figure, axes = plt.subplots(
        1, len(panels), figsize=(width * len(panels), 2.7), squeeze=False, sharex=True,
        sharey=True, layout="constrained",
    )  # fmt: skip
    figure.patch.set_alpha(0)
    reach = max(np.abs(np.asarray(places)).max() for places in panels.values()) * 1.05 or 1.0
    edges = np.linspace(-reach, reach, 42)
    for ax, (title, places) in zip(axes[0], panels.items(), strict=True):
        places = np.asarray(places, float)
        if places.ndim != 2 or places.shape[1] != 2:
            raise ValueError(f"panel {title!r} must have the shape (N, 2), not {places.shape}")
        _axes(ax)
        for column, colour, label in ((0, BLUE, "left images"), (1, ORANGE, "right images")):
            shares = np.histogram(places[:, column], edges)[0] / len(places)
            ax.stairs(shares, edges, fill=True, alpha=0.4, color=colour, label=label)
        ahead = np.mean(places[:, 0] > places[:, 1])
        ax.set_title(f"{title}\n{ahead:.0%} of pairs in order", color=INK, fontsize=10)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes[0, 0].set_ylabel("Share of images per bin")
    figure.supxlabel(xlabel, color=INK, fontsize=10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False,
                  labelcolor=INK)  # fmt: skip
    return figure


def memory_bars(
    needs: pd.DataFrame, limits: Mapping[str, float] | None = None, ax: Axes | None = None
) -> Axes:
    """Memory by part, as stacked bars, beside what GPUs have.

    Parameters
    ----------
    needs : pandas.DataFrame
        GiB: a row for each bar, named by the index, and a column for each part.
    limits : mapping of str to float, optional
        Name of a GPU to its memory in GiB.
    ax : matplotlib.axes.Axes, optional
        By default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = _axes(ax, (7.0, 1.4 + 0.42 * len(needs)))
    left, colours = np.zeros(len(needs)), (BLUE, ORANGE, GREEN, INK)
    for part, colour in zip(needs.columns, colours, strict=False):
        ax.barh(range(len(needs)), needs[part], left=left, color=colour, label=part, height=0.6)
        left = left + needs[part].to_numpy()
    for name, memory in (limits or {}).items():
        ax.axvline(memory, color=INK, linestyle="--", linewidth=1)
        ax.text(memory, -0.65, f" {name}", color=INK, fontsize=9, va="bottom")
    ax.set_yticks(range(len(needs)), needs.index)
    ax.set_ylim(len(needs) - 0.5, -1.1)  # the first row on top
    ax.set_xlabel("Memory (GiB)")
    _legend(ax, loc="lower right", fontsize=9)
    return ax


_LOOKS = {"varied": (ORANGE, "-"), "fixed": (INK, (0, (3, 2))), "measured": (BLUE, "-")}


def causal_diagram(
    boxes: Mapping[str, tuple[float, float, str]],
    arrows: Sequence[tuple[str, str]],
    size: tuple[float, float] = (8.0, 3.6),
) -> Figure:
    """Boxes and arrows: what is varied, what is held fixed, what is measured.

    Parameters
    ----------
    boxes : mapping of str to (float, float, str)
        Text of a box to its centre (from 0 to 1, from the lower left) and its kind: ``"varied"``,
        ``"fixed"`` or ``"measured"``.
    arrows : sequence of (str, str)
        From a box to a box.
    size : tuple of float
        Of the figure, in inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If a kind is unknown, or an arrow begins or ends at no box.
    """
    arrows = list(arrows)
    unknown = {kind for _, _, kind in boxes.values()} - set(_LOOKS)
    loose = {end for arrow in arrows for end in arrow} - set(boxes)
    if unknown or loose:
        raise ValueError(
            f"kinds are {', '.join(_LOOKS)}, arrows go between boxes; not so: "
            f"{', '.join(map(repr, sorted(unknown | loose)))}"
        )
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    figure.patch.set_alpha(0)
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(0, 1))
    drawn = {}
    for text, (x, y, kind) in boxes.items():
        colour, line = _LOOKS[kind]
        frame = {"boxstyle": "round,pad=0.5", "fc": "none", "ec": colour, "ls": line, "lw": 1.6}
        drawn[text] = ax.text(
            x, y, text, ha="center", va="center", color=colour, fontsize=9.5, bbox=frame
        )
    for start, end in arrows:
        ax.annotate(
            "", boxes[end][:2], boxes[start][:2],
            arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.1, "shrinkA": 2, "shrinkB": 2,
                        "patchA": drawn[start].get_bbox_patch(),
                        "patchB": drawn[end].get_bbox_patch()},
        )  # fmt: skip
    looks = [
        Line2D([], [], color=colour, ls=line, lw=1.6, label=kind)
        for kind, (colour, line) in _LOOKS.items()
    ]
    _legend(ax, handles=looks, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


_UNITS = {"individual": "Share of images", "pair": "Share of pairs", "set": "Share of sets",
          "relative": "Share of pairs"}  # fmt: skip


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


def _spread(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """Lengths of error bars; rounding may leave an end on the wrong side of its value."""
    return [np.maximum(value - low, 0), np.maximum(high - value, 0)]


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
        _show_image(ax, image)
        ax.set_xlabel(text, color=INK, fontsize=10)
    return figure, list(axes[0])


def _show_image(ax: Axes, image: Any) -> None:
    image = as_rgb(image)
    # Small images are shown as the squares they are, not blurred.
    ax.imshow(image, interpolation="nearest" if max(image.size) < 128 else "antialiased")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.patch.set_alpha(0)
    ax.spines[:].set_visible(False)


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
