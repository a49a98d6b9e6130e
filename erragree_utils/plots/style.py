"""What all pictures share: transparent, in colours that read on white and on dark grey."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

# About 4:1 against both white and #121212.
INK = "#828282"  # text, axes, and whatever stays in the background
BLUE, ORANGE, GREEN, PURPLE = "#3d85d0", "#d9701f", "#2f9a6a", "#9a6bd0"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)  # of the groups in one picture, in this order
RIGHT, WRONG = GREEN, "#d65a5a"
IMAGE_1, IMAGE_2 = BLUE, ORANGE
MEASURED, CONTRAST = BLUE, ORANGE  # our numbers; the paper's, or a control's, beside them

DASHED = (0, (4, 2))
#: The look of a line that helps to read the others, such as chance.
GUIDE: dict[str, Any] = {"color": INK, "ls": DASHED, "lw": 1.3}
_MARKS = "osD^"


def panels(rows: int, columns: int, width: float, height: float, **options: Any):
    """A transparent figure of that size in inches, and its axes (rows, columns)."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, height), squeeze=False, layout="constrained", **options
    )
    figure.patch.set_alpha(0)
    for ax in axes.flat:
        ax.patch.set_alpha(0)
        ax.tick_params(colors=INK)
        ax.xaxis.label.set_color(INK)
        ax.yaxis.label.set_color(INK)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(INK)
    return figure, axes


def new_axes(width: float, height: float, **options: Any) -> Axes:
    """The only axes of a new figure of that size in inches."""
    return panels(1, 1, width, height, **options)[1][0, 0]


def figure_legend(figure: Figure, ax: Axes, loc: str, ncols: int) -> None:
    """What the lines and bars of one panel stand for, outside all panels."""
    handles, labels = ax.get_legend_handles_labels()
    legend(figure, handles=handles, labels=labels, loc=f"outside {loc}", ncols=ncols)


def legend(where: Axes | Figure, **options: Any) -> None:
    where.legend(frameon=False, labelcolor=INK, **options)


def title(ax: Axes, text: str, fontsize: float = 10, **options: Any) -> None:
    ax.set_title(text, fontsize=fontsize, **{"color": INK} | options)


def percent(axis: Axis, symbol: str = "%") -> None:
    """Label an axis of shares in per cent."""
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=symbol))


def share_axis(ax: Axes, name: str, symbol: str = "%") -> None:
    """Label the x or y axis in per cent, with lines across."""
    percent(ax.xaxis if name == "x" else ax.yaxis, symbol)
    ax.grid(axis=name, color=INK, alpha=0.25, linewidth=0.7)


def row_names(index: Iterable[Any]) -> list[str]:
    """The names of a table's rows; those of a deeper index are joined."""
    return [", ".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in index]


def label_rows(ax: Axes, names: Sequence[str]) -> None:
    """A row for each name, the first on top."""
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0)


def group_look(number: int) -> dict[str, str]:
    """Colour and marker of a group of points in a picture of several."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": _MARKS[number % len(_MARKS)]}


def estimates(table: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """A column's values (N), and from its ``_low`` and ``_high`` their error bars (2, N)."""
    value, low, high = (table[column + end].to_numpy(float) for end in ("", "_low", "_high"))
    # Rounding may leave an end on the wrong side of its value.
    return value, np.maximum([value - low, high - value], 0)


def check_tables(tables: Mapping[str, pd.DataFrame], columns: Iterable[str], source: str) -> None:
    """Refuse to draw no table, or one that lacks rows or columns; `source` makes such tables."""
    if not tables:
        raise ValueError(f"give at least one table from {source}")
    for name, table in tables.items():
        missing = [column for column in columns if column not in table]
        if missing or table.empty:
            raise ValueError(
                f"{name!r} has no {', '.join(missing) or 'rows'}: give tables from {source}"
            )
