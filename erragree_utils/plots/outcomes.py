"""What a model says about the two images of each pair: joint outcomes, signal and bias."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from . import style
from .phone import for_phones
from .style import INK, NEUTRAL, RIGHT, WRONG


@for_phones
def joint_outcomes(pred: pd.DataFrame) -> Axes:
    """How often both, one or neither image of a pair is matched, and what independence would give.

    `pred` is what `evaluate` returned, for one model and method.
    """
    right = _by_image(pred, "correct").astype(bool)
    names = _image_names(pred)
    ax = style.new_axes(4.6, 3.9)
    share = right.mean()
    for column, row in product((0, 1), (0, 1)):  # 0 for matched
        first, second = column == 0, row == 0
        observed = ((right[0] == first) & (right[1] == second)).mean()
        alone = (share[0] if first else 1 - share[0]) * (share[1] if second else 1 - share[1])
        look = {
            "facecolor": NEUTRAL,
            "alpha": 0.06 + 0.3 * observed,
            "linewidth": 2.5 if first and second else 0,  # both right is what counts
            "edgecolor": INK,
        }
        ax.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, **look))
        middle = {"ha": "center", "va": "center", "color": INK}
        ax.text(column, row - 0.06, f"{observed:.0%}", fontsize=18, **middle)
        ax.text(column, row + 0.2, f"if independent: {alone:.0%}", fontsize=9, **middle)
    ax.set(xlim=(-0.5, 1.5), ylim=(1.5, -0.5), xlabel=names[0], ylabel=names[1])
    ax.set_xticks([0, 1], ["matched", "not matched"])
    ax.set_yticks([0, 1], ["matched", "not matched"], rotation=90, va="center")
    style.title(ax, f"Share of {len(right)} pairs", 11)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


@for_phones
def signal_and_bias(tables: Mapping[str, pd.DataFrame], unit: str = "in nats") -> Figure:
    """Each pair's signal against its bias.

    `tables` maps titles to what `prefer` returned; `unit` is the unit of its scores, for the axis
    labels. Pairs beyond the axes are drawn at their edge. Each axis has its own scale, since biases
    can be many times larger than signals.
    """
    style.check_tables(tables, ["signal", "bias"], "prefer")
    every = pd.concat([table[["signal", "bias"]] for table in tables.values()])
    across, up = 1.05 * every.abs().quantile(0.98)
    figure, axes = style.panels(1, len(tables), 3.6 * len(tables), 3.9, sharey=True)
    for ax, (text, table) in zip(axes[0], tables.items(), strict=True):
        ends = [0, across]
        ax.fill_between(ends, [0, -across], ends, color=NEUTRAL, alpha=0.15, lw=0)
        ax.axvline(0, color=INK, lw=1)
        ax.axhline(0, color=INK, lw=0.7, alpha=0.6)
        x, y = table["signal"].clip(-across, across), table["bias"].clip(-up, up)
        right = table["signal"] > table["bias"].abs()
        for mask, look in ((right, RIGHT), (~right, WRONG)):
            if not mask.any():
                continue  # an empty line that is not clipped leaves the layout no room
            ax.plot(x[mask], y[mask], ls="none", ms=4, alpha=0.7, clip_on=False, **look)
        ax.set(xlim=(-across, across), ylim=(-up, up), xlabel=f"Signal {unit}")
        ax.locator_params(nbins=4)
        style.title(ax, text, 10.5)
    style.label_y(axes[0], f"Bias {unit}")
    return figure


@for_phones
def signal_against_cosine(pairs: pd.DataFrame) -> Figure:
    """Signal against cosine: the mean of each relation, and the pairs of the three that vary most.

    `pairs` has a row for each pair with ``relation``, ``cosine`` and ``signal``.
    """
    style.check_tables({"pairs": pairs}, ["relation", "cosine", "signal"], "prefer")
    groups = pairs.groupby("relation")
    means = groups[["cosine", "signal"]].mean()
    shown = groups["signal"].std().nlargest(3).index
    figure, axes = style.panels(1, 1 + len(shown), 2.9 * (1 + len(shown)), 3.0)
    for ax, name in zip(axes[0], ["means of the patterns", *shown], strict=True):
        table = means if name not in means.index else groups.get_group(name)
        ax.plot(table["cosine"], table["signal"], "o", color=NEUTRAL, ms=4, alpha=0.6)
        ax.axhline(0, color=INK, lw=0.7, alpha=0.6)
        ax.set_xlabel("Cosine under CLIP")
        ax.locator_params(nbins=4)
        style.title(ax, name, 10.5)
    style.label_y(axes[0], "Signal in nats")
    return figure


@for_phones
def predicted_gains(gains: pd.DataFrame) -> Axes:
    """Measured against predicted gain, a point for each model and a mark for each method.

    `gains` is what `recorded_gains` returned. Bars span the range over draws, and on the dashed
    line prediction and measurement are equal.
    """
    style.check_tables({"gains": gains}, ["predicted", "gain", "gain_low"], "recorded_gains")
    ax = style.new_axes(4.8, 4.2)
    by_method = dict(list(gains.groupby("method", sort=False)))
    for (name, table), mark in zip(by_method.items(), style.looks(by_method), strict=True):
        value, ends = style.estimates(table, "gain")
        look = mark | {"ms": 6, "lw": 1.1, "ls": "none"}
        ax.errorbar(100 * table["predicted"], 100 * value, 100 * ends, label=name, **look)
    low, high = min(0.0, *ax.get_xlim(), *ax.get_ylim()), max(*ax.get_xlim(), *ax.get_ylim())
    ax.plot([low, high], [low, high], **style.GUIDE, label="as predicted")
    ax.set(xlabel="Predicted gain, points", ylabel="Measured gain, points")
    style.legend(ax, loc="upper left")
    return ax


def _by_image(pred: pd.DataFrame, column: str) -> pd.DataFrame:
    """A row for each pair, with its two images in columns 0 and 1."""
    if pred.duplicated(["pair_id", "image_index"]).any():
        raise ValueError("an image occurs twice: select one model, method and benchmark first")
    wide = pred.pivot(index="pair_id", columns="image_index", values=column)
    if not {0, 1} <= set(wide):
        raise ValueError("the table has no pairs of two images")
    return wide[[0, 1]].dropna()


def _image_names(pred: pd.DataFrame) -> tuple[str, str]:
    """Names such as “left” and “right” if all pairs have the same relation; otherwise numbers."""
    relations = pred["relation"].unique()
    if len(relations) == 1 and relations[0].count("/") == 1:
        first, second = relations[0].split("/")
        return f"“{first}” image", f"“{second}” image"
    return "first image", "second image"
