"""What all figures share: one colour for each name, the same everywhere, on white."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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
PAGE = "#ffffff"
INK = "#333333"  # text and axes
BLACK = "#010101"  # text on a shade; an SVG would leave true black out, and nothing to recolour
NEUTRAL = "#6b6b6b"  # whatever has no colour of its own, and what stays in the background
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
#: The same on a dark page, `#121212`: lighter tones, each 4.5:1 and more.
DARK = {
    PAGE: "#121212",
    BLACK: "#ffffff",
    INK: "#d6d6d6",
    NEUTRAL: "#a3a3a3",
    _BLUE: "#74b5f2",
    _VERMILLION: "#f29a5c",
    _GREEN: "#5cc9a7",
    _PURPLE: "#e08fc8",
    _INDIGO: "#b3a9f5",
    _OLIVE: "#d9c74a",
    "#9a9a9a": "#707070",  # parts of a whole
    "#c4c4c4": "#484848",
}
#: Other words for them in labels; of several that fit, the first.
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

#: Inches of a figure at most, on a wide page and on a phone: a wider one is shown smaller, and its
#: text, too.
WIDE, PHONE = 8.0, 3.7
_on_phone: ContextVar[bool] = ContextVar("on_phone", default=False)

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


@contextmanager
def phone() -> Iterator[None]:
    """Figures begun in here fit a phone: panels below each other, long names on several lines."""
    token = _on_phone.set(True)
    try:
        yield
    finally:
        _on_phone.reset(token)


def on_phone() -> bool:
    return _on_phone.get()


def fill(text: str, width: int, phone: int) -> str:
    """A text in lines of so many characters, fewer on a phone; lines that it has stay."""
    width = phone if on_phone() else width
    return "\n".join(textwrap.fill(line, width) for line in text.split("\n"))


def panels(
    rows: int, columns: int, width: float, height: float, stack: bool = True, **options: Any
):
    """A white figure of that size in inches, and its axes (rows, columns).

    On a phone panels of one row stand below each other, unless they do not `stack`.
    """
    width = min(width, PHONE if on_phone() else WIDE)
    if stack and on_phone() and rows == 1 and columns > 1:
        figure, axes = panels(columns, 1, width, max(2.3, 0.85 * height) * columns, **options)
        return figure, axes.T
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, height), squeeze=False, layout="constrained", **options
    )
    figure.patch.set_facecolor(PAGE)
    if columns > 1:  # so that 100% and the next panel's 0% do not touch
        figure.get_layout_engine().set(w_pad=0.1)
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
    """What the lines and bars of one panel stand for, outside all panels."""
    legend(figure, handles=ax.get_legend_handles_labels()[0], loc=f"outside {loc}", ncols=ncols)


def legend(where: Axes | Figure, **options: Any) -> None:
    """A legend; on a phone one that stands beside an axes is above the whole figure."""
    if on_phone() and ("bbox_to_anchor" in options or isinstance(where, Figure)):
        handles = options.get("handles") or where.get_legend_handles_labels()[0]
        longest = max(len(str(handle.get_label())) for handle in handles)
        columns = max(1, 48 // (longest + 7))
        loc = options["loc"] if isinstance(where, Figure) else "outside upper center"
        options = {"handles": handles, "loc": loc, "ncols": columns}
        where = where.figure
        where.set_figheight(where.get_figheight() + 0.21 * -(-len(handles) // columns))
    where.legend(frameon=False, labelcolor=INK, **options)


def title(ax: Axes, text: str, fontsize: float = 10, **options: Any) -> None:
    ax.set_title(fill(text, 200, 40), fontsize=fontsize, **{"color": INK} | options)


def label_y(axes: Iterable[Axes], text: str) -> None:
    """Name what a row of panels shares: at the first, on a phone at each."""
    for ax in axes if on_phone() else [next(iter(axes))]:
        ax.set_ylabel(text)


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
    names = [fill(name, 200, 18) for name in names]
    ax.set_yticks(range(len(names)), names)
    if on_phone() and (lines := max(name.count("\n") for name in names)) > 1:
        ax.figure.set_figheight(ax.figure.get_figheight() + 0.17 * (lines - 1) * len(names))
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
