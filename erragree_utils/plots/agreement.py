"""How alike images are: cone and gap, kinds of change, agreement against matching, views."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import style
from .phone import for_phones
from .style import DASHED, GUIDE, INK, NEUTRAL


@for_phones
def cone_and_gap(images: np.ndarray, texts: np.ndarray) -> Axes:
    """A section through two cones, true to scale: where images and texts point and how they spread.

    Each thin line is an embedding, at its own angle to the mean of its kind, alternating between
    the two sides. The angle between the means is the modality gap.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, D) and (M, D)
        Of unit length.
    """
    clouds = {"images": np.asarray(images, float), "captions": np.asarray(texts, float)}
    means = [x.mean(axis=0) / np.linalg.norm(x.mean(axis=0)) for x in clouds.values()]
    gap = np.arccos(np.clip(means[0] @ means[1], -1, 1))
    ax = style.new_axes(6.2, 2.7 if style.on_phone() else 4.0)
    ring = np.radians(np.linspace(0, 180, 181))
    ax.plot(np.cos(ring), np.sin(ring), color=NEUTRAL, lw=1)
    for k, ((label, x), mean) in enumerate(zip(clouds.items(), means, strict=True)):
        middle = np.pi / 2 + gap * (0.5 - k)
        spread = np.arccos(np.clip(x @ mean, -1, 1))
        ends = middle + spread * (-1) ** np.arange(len(x))
        colour, line = (INK, "-") if k == 0 else (NEUTRAL, DASHED)
        text = f"{label}: {np.degrees(spread).mean():.0f}° from their mean"
        for end in ends:
            ax.plot([0, np.cos(end)], [0, np.sin(end)], color=colour, lw=0.5, alpha=0.12)
        ax.plot([0, np.cos(middle)], [0, np.sin(middle)], color=colour, lw=2.6, ls=line, label=text)
    style.title(ax, f"{np.degrees(gap):.0f}° between the mean image and the mean caption")
    ax.set(xlim=(-1.05, 1.05), ylim=(-0.05, 1.05), aspect="equal")
    ax.set_axis_off()
    style.legend(ax, loc="lower center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    return ax


@for_phones
def change_ladder(table: pd.DataFrame) -> Figure:
    """Cosine and normalised agreement: a row for each kind of pair, a mark for each benchmark.

    `table` is what `ladder` returned, with benchmarks as the first index level. Open marks show the
    cosines of images from different pairs.
    """
    style.check_tables({"table": table}, ["cosine", "agreement", "random"], "ladder")
    order = table.groupby(level=1)["agreement"].mean().sort_values(ascending=False).index
    figure, axes = style.panels(1, 2, 9.0, 1.6 + 0.32 * len(order), sharey=True)
    names = table.index.get_level_values(0).unique()
    for number, (name, look) in enumerate(zip(names, style.looks(names), strict=True)):
        rows = table.xs(name)
        places = order.get_indexer(rows.index) + 0.24 * (number - (len(names) - 1) / 2)
        look = look | {"ls": "none", "ms": 5}
        for ax, column in zip(axes[0], ("cosine", "agreement"), strict=True):
            value, error = style.estimates(rows, column)
            ax.errorbar(value, places, xerr=error, capsize=2, label=name, **look)
        axes[0, 0].plot(rows["random"], places, mfc="none", **look)
    style.label_rows(axes[0, 0], list(order))
    axes[0, 0].set_xlabel("Cosine (open: images of different pairs)")
    axes[0, 1].set_xlabel("Normalised agreement")
    axes[0, 1].set_xlim(min(0.0, table["agreement_low"].min()), 1.01)
    for ax in axes[0]:
        ax.grid(axis="x", color=INK, alpha=0.25, linewidth=0.7)
    style.figure_legend(figure, axes[0, 0], "upper center", len(names))
    return figure


@for_phones
def accuracy_against_cosine(tables: pd.DataFrame) -> Axes:
    """Pair accuracy against mean cosine: a colour for each model, a marker for each kind of change.

    `tables` is what `ladder` returned, with models and benchmarks as the first index levels; kinds
    without captions to match are left out. Marks are filled for the first benchmark and open for
    the second.
    """
    style.check_tables({"tables": tables}, ["cosine", "pair_accuracy"], "ladder")
    shown = tables.dropna(subset="pair_accuracy")
    models, benchmarks, relations = (shown.index.get_level_values(k).unique() for k in range(3))
    marks = dict(zip(relations, "osD^vPX", strict=False))
    colours = {model: style.colour_of(model) for model in models}
    ax = style.new_axes(7.2, 4.4)
    (x, dx), (y, dy) = (style.estimates(shown, c) for c in ("cosine", "pair_accuracy"))
    for i, (model, benchmark, relation) in enumerate(shown.index):
        colour = colours[model]
        look = {"color": colour, "marker": marks[relation], "ms": 7, "lw": 1.1, "mew": 1.4}
        look |= {} if benchmark == benchmarks[0] else {"mfc": "none"}
        ax.errorbar(x[i], y[i], xerr=dx[:, [i]], yerr=dy[:, [i]], ls="none", **look)
    ax.axhline(0.25, **GUIDE)
    ax.set(ylim=(-0.03, 1.06), xlabel="Mean cosine of the two images", ylabel="Pair accuracy")
    style.share_axis(ax, "y")
    plain = {"ls": "none", "color": INK, "ms": 7}
    handles = [Line2D([], [], lw=5, color=colour, label=m) for m, colour in colours.items()]
    handles += [Line2D([], [], marker=mark, label=name, **plain) for name, mark in marks.items()]
    for name, face in zip(benchmarks, (INK, "none"), strict=False):
        handles.append(Line2D([], [], marker="o", mfc=face, label=str(name), **plain))
    handles.append(Line2D([], [], label="chance", **GUIDE))
    style.legend(ax, handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


@for_phones
def view_bands(views: pd.DataFrame, names: dict[str, str]) -> Figure:
    """Cosine of left/right pairs over views: a panel for each parameter, a mark for each benchmark.

    Filled marks show the trained model, open ones random weights.

    `views` has ``benchmark``, ``varied``, ``by``, ``model``, ``cosine``, ``low`` and ``high``;
    `names` maps each varied parameter to the label of its axis.
    """
    columns = ["benchmark", "varied", "by", "model", "cosine", "low", "high"]
    style.check_tables({"views": views}, columns, "view_band")
    figure, axes = style.panels(1, len(names), 3.2 * len(names), 3.2, sharey=True)
    for ax, (what, text) in zip(axes[0], names.items(), strict=True):
        by_benchmark = list(views[views["varied"] == what].groupby("benchmark", sort=False))
        marks = style.looks([name for name, _ in by_benchmark])
        for (benchmark, part), mark in zip(by_benchmark, marks, strict=True):
            for model, rows in part.groupby("model"):
                look = mark | {"ms": 4, "lw": 1.2, "ls": "-"}
                look |= {} if model == "trained" else {"mfc": "none", "ls": DASHED}
                ax.fill_between(
                    rows["by"], rows["low"], rows["high"], color=look["color"], alpha=0.25, lw=0
                )
                ax.plot(rows["by"], rows["cosine"], label=f"{benchmark}, {model}", **look)
        ax.axhline(0.99, **GUIDE)
        ax.set_xlabel(text)
    style.label_y(axes[0], "Cosine of left/right pairs")
    style.figure_legend(figure, axes[0, 0], "upper center", 4)
    return figure
