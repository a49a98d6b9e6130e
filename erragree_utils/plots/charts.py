"""Charts and diagrams that are needed in one chapter each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import style
from .phone import for_phones
from .style import INK, NEUTRAL, colour_of

_BOXES = {
    "varied": {"color": INK, "ls": "-", "lw": 2.4},
    "fixed": {"color": NEUTRAL, "ls": (0, (3, 2)), "lw": 1.4},
    "measured": {"color": NEUTRAL, "ls": "-", "lw": 1.4},
}

# Parts of a whole have no colours of their own, but differ in shade and hatching.
_SHADES = ("#333333", "#6b6b6b", "#9a9a9a", "#c4c4c4")
_HATCHES = ("", "///", "...", "xxx")


@for_phones
def token_bars(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Probabilities of the next token, a panel for each strength of the contrast.

    `tables` maps titles to shares, with tokens in the index and a column for each distribution, the
    same in all tables.
    """
    style.check_tables(tables, (), "DecodingExplorer.table")
    first, *others = tables.values()
    if not all(first.axes[k].equals(table.axes[k]) for table in others for k in (0, 1)):
        raise ValueError("give panels that all have the same tokens and columns")
    width, height = max(5.5, 3.3 * len(tables)), 1.3 + 0.55 * len(first)
    figure, axes = style.panels(1, len(tables), width, height, sharey=True)
    thick = 0.8 / first.shape[1]
    for ax, (text, table) in zip(axes[0], tables.items(), strict=True):
        for number, name in enumerate(table):
            places = np.arange(len(table)) + (number - (first.shape[1] - 1) / 2) * thick
            bars = {"color": colour_of(name), "hatch": _HATCHES[number % 4], "ec": "white"}
            ax.barh(places, table[name], thick * 0.9, label=name, **bars)
        style.label_rows(ax, table.index)
        ax.set(xlim=(0, 1), xlabel="Probability of the next token")
        style.title(ax, text, 10.5)
    style.figure_legend(figure, axes[0, 0], "lower center", 3)
    return figure


@for_phones
def memory_bars(needs: pd.DataFrame, limits: Mapping[str, float]) -> Axes:
    """Memory by part, as stacked bars, beside the memory of GPUs.

    In GiB: `needs` has a row for each bar and a column for each part; `limits` maps GPUs to theirs.
    """
    ax = style.new_axes(7.0, 1.4 + 0.42 * len(needs))
    left = np.zeros(len(needs))
    for part, shade, hatch in zip(needs, _SHADES, _HATCHES, strict=False):
        bars = {"color": shade, "hatch": hatch, "ec": "white", "label": part, "height": 0.6}
        ax.barh(range(len(needs)), needs[part], left=left, **bars)
        left = left + needs[part].to_numpy()
    for name, memory in limits.items():
        ax.axvline(memory, color=INK, linestyle="--", linewidth=1)
        ax.text(memory, -0.65, f" {name}", color=INK, fontsize=9, va="bottom")
    ax.set_yticks(range(len(needs)), needs.index)
    ax.set_ylim(len(needs) - 0.5, -1.1)  # the first row on top
    ax.set_xlabel("Memory (GiB)")
    style.legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    return ax


def check_diagram(
    boxes: Mapping[str, tuple[float, float, str]], arrows: Iterable[tuple[str, str]]
) -> None:
    """Refuse arrows to or from missing boxes, and boxes of unknown kinds."""
    stray = {kind for *_, kind in boxes.values()} - set(_BOXES)
    stray |= {end for arrow in arrows for end in arrow} - set(boxes)
    if stray:
        raise ValueError(f"neither a box nor one of {list(_BOXES)}: {sorted(stray)}")


def causal_diagram(
    boxes: Mapping[str, tuple[float, float, str]], arrows: Iterable[tuple[str, str]]
) -> Figure:
    """Boxes and arrows: what is varied, what is held fixed and what is measured.

    Parameters
    ----------
    boxes : mapping of str to (float, float, str)
        Text of each box to its centre (0 to 1, from the lower left) and its kind: ``"varied"``,
        ``"fixed"`` or ``"measured"``.
    arrows : iterable of (str, str)
        From one box to another.
    """
    arrows = list(arrows)
    check_diagram(boxes, arrows)
    ax = style.new_axes(8.0, 3.6)
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(0, 1))
    frames = {}
    for text, (x, y, kind) in boxes.items():
        colour, line, width = _BOXES[kind].values()
        box = {"boxstyle": "round,pad=0.5", "fc": "none", "ec": colour, "ls": line, "lw": width}
        middle = {"ha": "center", "va": "center"}
        label = ax.text(x, y, text, color=INK, fontsize=9.5, bbox=box, **middle)
        frames[text] = label.get_bbox_patch()
    look = {"arrowstyle": "-|>", "color": INK, "lw": 1.1, "shrinkA": 2, "shrinkB": 2}
    for start, end in arrows:
        ends = {"patchA": frames[start], "patchB": frames[end]}
        ax.annotate("", boxes[end][:2], boxes[start][:2], arrowprops=look | ends)
    handles = [Line2D([], [], label=kind, **look) for kind, look in _BOXES.items()]
    style.legend(ax, handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return ax.figure
