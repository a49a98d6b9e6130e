"""Figures drawn a second time, for phones, and recoloured, for dark pages.

The book shows whichever suits (tools/figure_variants.py); elsewhere a figure is what it was.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from . import style

#: The kind of output in which a notebook keeps a figure's drawing for phones.
NARROW = "application/vnd.erragree.narrow+svg"
#: Set while the book is built: only there are phones drawn for.
VARIABLE = "ERRAGREE_NARROW"


def for_phones(draw: Callable) -> Callable:
    """Decorate a function that draws: what it returns can be drawn again, for a phone."""

    @wraps(draw)
    def drawn(*args: Any, **options: Any) -> Any:
        args = [list(given) if isinstance(given, Iterator) else given for given in args]
        result = draw(*args, **options)
        figure = result if isinstance(result, Figure) else result.figure
        figure.again = partial(draw, *args, **options)
        return result

    return drawn


def drawings(figure: Figure) -> dict[str, str]:
    """A figure's SVG by kind of output, and while the book is built the narrow one; closes it."""
    return {"image/svg+xml": _svg(figure)} | _narrow_output(figure)


def narrow_svg(figure: Figure) -> str | None:
    """A figure as SVG for a phone, `style.PHONE` inches wide; None if nothing drew it here."""
    if (again := getattr(figure, "again", None)) is None:
        return None
    with style.phone():
        result = again()
        second = result if isinstance(result, Figure) else result.figure
        for ax in second.axes:
            ax.set_xlabel(style.fill(ax.get_xlabel(), 200, 32))
            ax.set_ylabel(style.fill(ax.get_ylabel(), 200, 32))
    return _svg(second)


def dark(svg: str) -> str:
    """An SVG in the dark page's tones of the same colours; photographs stay as they are."""
    return re.sub(r"#[0-9a-f]{6}(?=[;\"])", lambda hit: style.DARK.get(hit[0], hit[0]), svg)


def draw_for_the_page() -> None:
    """In a notebook, show figures as SVG, sharp at any size; for the book, add those for phones."""
    from IPython import get_ipython

    if (shell := get_ipython()) is None:
        return
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("svg")
    bundles = shell.display_formatter.mimebundle_formatter
    bundles.for_type(Figure, lambda figure, **options: _narrow_output(figure))


def _narrow_output(figure: Figure) -> dict[str, str]:
    svg = narrow_svg(figure) if os.environ.get(VARIABLE) else None
    return {NARROW: svg} if svg else {}


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()
