"""What all figures share: one colour for each name, the same everywhere, on white."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

# Okabe and Ito's hues, but darker, so that each is legible as text on white (4.5:1 or more). Purple
# and olive are darkest, since only that lets a colour-blind eye tell them from green and red.
# Figures are white on dark pages too: no single colour reaches 4.5:1 on both.
PAGE = "#ffffff"
INK = "#333333"  # text and axes
NEUTRAL = "#6b6b6b"  # for whatever has no colour of its own, and for the background
_BLUE, _VERMILLION, _GREEN = "#0072b2", "#b4500f", "#00795a"
_PURPLE, _INDIGO, _OLIVE = "#6a1b54", "#5b4fb5", "#4d4300"

#: Colour and mark for each name; `book/_static/live.css` has the same colours.
LOOKS = {
    "clip": (_BLUE, "o"),
    "llava": (_VERMILLION, "s"),
    "image 1": (_INDIGO, "o"),
    "image 2": (_OLIVE, "s"),
    "paper": (INK, "D"),
    "chance": (NEUTRAL, ""),
    "greedy": (_VERMILLION, "o"),
    "vcd": (_INDIGO, "s"),
    "m3id": (_GREEN, "D"),
    "text contrast": (_PURPLE, "^"),
    "both images": (_OLIVE, "v"),
    "hidden": (_BLUE, "o"),
    "lost": (_PURPLE, "v"),
    "aligned": (_GREEN, "D"),
}
#: Other words for them in labels; if several fit, the first one counts.
_ALSO = {
    "aligned": "aligned",
    "lost": "lost",
    "hidden": "hidden",
    "text contrast": "text contrast",
    "text-contrast": "text contrast",
    "both images": "both images",
    "both-images": "both images",
    "two images": "both images",
    "m3id": "m3id",
    "vcd": "vcd",
    "greedy": "greedy",
    "llava": "llava",
    "clip": "clip",
    "mini": "clip",
    "vit": "clip",
    "paper": "paper",
    "image 1": "image 1",
    "image 2": "image 2",
    "chance": "chance",
}
_MARKS = "osD^vPX*<>"
_LINES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))

DASHED = (0, (4, 2))
#: The look of reference lines, such as chance.
GUIDE: dict[str, Any] = {"color": NEUTRAL, "ls": DASHED, "lw": 1.3}
#: Right and wrong differ in mark and fill, not in colour.
RIGHT: dict[str, Any] = {"marker": "o", "color": INK}
WRONG: dict[str, Any] = {"marker": "x", "color": NEUTRAL}


def name_of(label: Any) -> str | None:
    """Which name of `LOOKS` a label mentions, such as "hidden" in "hidden: class token"."""
    text = str(label).lower()
    found = (name for word, name in _ALSO.items() if re.search(rf"(?<![a-z]){word}", text))
    return next(found, None)


def colour_of(label: Any) -> str:
    """The colour of the name in a label; neutral if it has none."""
    return LOOKS.get(name_of(label), (NEUTRAL, ""))[0]


def looks(labels: Iterable[Any]) -> list[dict[str, Any]]:
    """Colour, mark and line for each label; labels of the same colour differ in mark and line."""
    shown, used, marks = [], [], []
    for label in map(str, labels):
        colour, mark = LOOKS.get(name_of(label), (NEUTRAL, "o"))
        free = [m for m in (mark or "o") + _MARKS if m not in marks]
        marks.append(free[0] if free else mark)
        line = _LINES[used.count(colour) % len(_LINES)]
        used.append(colour)
        shown.append({"color": colour, "marker": marks[-1], "ls": line})
    return shown


def draw_sharply() -> None:
    """In a notebook, show figures as SVG, which is sharp at any size."""
    from IPython import get_ipython

    if get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg")


def panels(rows: int, columns: int, width: float, height: float, **options: Any):
    """A white figure of this size in inches, and its axes (rows, columns)."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, height), squeeze=False, layout="constrained", **options
    )
    figure.patch.set_facecolor(PAGE)
    for ax in axes.flat:
        ax.patch.set_alpha(0)
        ax.tick_params(colors=INK)
        ax.xaxis.label.set_color(INK)
        ax.yaxis.label.set_color(INK)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(INK)
    return figure, axes


def new_axes(width: float, height: float, **options: Any) -> Axes:
    """The only axes of a new figure of this size in inches."""
    return panels(1, 1, width, height, **options)[1][0, 0]


def figure_legend(figure: Figure, ax: Axes, loc: str, ncols: int) -> None:
    """A legend for the lines and bars of one panel, outside all panels."""
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
    """Label the x or y axis in per cent, with grid lines."""
    percent(ax.xaxis if name == "x" else ax.yaxis, symbol)
    ax.grid(axis=name, color=INK, alpha=0.25, linewidth=0.7)


def row_names(index: Iterable[Any]) -> list[str]:
    """The names of a table's rows; the levels of a deeper index are joined."""
    return [", ".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in index]


def label_rows(ax: Axes, names: Sequence[str]) -> None:
    """Label a row for each name, the first on top."""
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0)


def estimates(table: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """A column's values (N), and from its ``_low`` and ``_high`` their error bars (2, N)."""
    value, low, high = (table[column + end].to_numpy(float) for end in ("", "_low", "_high"))
    # Rounding may put an end on the wrong side of its value.
    return value, np.maximum([value - low, high - value], 0)


def check_tables(tables: Mapping[str, pd.DataFrame], columns: Iterable[str], source: str) -> None:
    """Refuse to draw without tables, rows or columns; `source` is what returns such tables."""
    if not tables:
        raise ValueError(f"give at least one table from {source}")
    for name, table in tables.items():
        missing = [column for column in columns if column not in table]
        if missing or table.empty:
            raise ValueError(
                f"{name!r} has no {', '.join(missing) or 'rows'}: give tables from {source}"
            )
