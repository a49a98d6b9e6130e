"""Figures drawn again for phones, and recoloured for dark pages."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from erragree_utils import plots
from erragree_utils.measures.accuracy import summarize
from erragree_utils.plots import phone, style
from tests.plots.test_style import contrast

#: Pixels of a page 390 px wide, beside its margins.
PAGE = 358
SMALLEST = 11


@pytest.fixture
def figures(margins, pair, predictions) -> list[Figure]:
    """Some with a panel, some with several, some with images."""
    pred = predictions(margins)
    curve = pd.DataFrame(
        {"accuracy": [0.5, 0.9], "accuracy_low": [0.4, 0.8], "accuracy_high": [0.6, 0.95]},
        index=["first layer", "last layer"],
    )
    shares = pd.DataFrame([[0.0, 0.5], [0.75, 1.0]], ["image", "question"], ["layer 0", "layer 1"])
    signals = pd.DataFrame({"signal": [0.1, -0.2], "bias": [0.3, 0.1]})
    return [
        plots.show_pair(pair(), scores=pred[pred["pair_id"] == "p0"]),
        plots.show_readers(pair(), {"CLIP": pred, "LLaVA": pred}),
        plots.accuracy_bars(summarize(pred)),
        plots.signal_and_bias({"A": signals, "B": signals}),
        plots.stage_curves({"a": curve}, "Accuracy", chance=0.5).figure,
        plots.layer_map(shares, "moved").figure,
        plots.angle_arcs({"hidden": np.array([90.0, 85.0])}).figure,
    ]


def width(svg: str) -> float:
    """In pixels of a page."""
    return float(re.search(r'width="([\d.]+)pt"', svg)[1]) * 96 / 72


@pytest.mark.filterwarnings("error")
def test_on_a_phone_figures_fit_and_their_text_is_large_enough(figures, monkeypatch):
    smallest = []
    save = phone._svg

    def look(figure: Figure) -> str:
        smallest.append(min(t.get_fontsize() for t in figure.findobj(match=is_shown)))
        return save(figure)

    monkeypatch.setattr(phone, "_svg", look)
    for figure in figures:
        drawn = width(phone.narrow_svg(figure))
        assert drawn < 1.05 * 96 * style.PHONE
        assert smallest.pop() * 96 / 72 * min(1, PAGE / drawn) >= SMALLEST


def is_shown(artist) -> bool:
    return hasattr(artist, "get_fontsize") and artist.get_visible() and bool(artist.get_text())


def test_panels_stand_below_each_other_and_the_figure_stays_as_it_was(figures):
    figure = figures[3]
    size = tuple(figure.get_size_inches())
    with style.phone():
        narrow = figure.again()
    upper, lower = (ax.get_position() for ax in narrow.axes)
    assert upper.y0 >= lower.y1 - 1e-6 and [ax.get_ylabel() for ax in narrow.axes][1]
    assert tuple(figure.get_size_inches()) == size and not style.on_phone()


def test_a_figure_that_nothing_here_drew_has_no_second_one():
    assert phone.narrow_svg(Figure()) is None


def test_arguments_that_can_be_read_once_are_read_twice(pair):
    assert "<svg" in phone.narrow_svg(plots.show_set(p for p in [pair()]))


def test_a_dark_figure_has_no_light_page_and_keeps_its_contrast(figures):
    drawn = phone.drawings(figures[2])["image/svg+xml"]
    turned = phone.dark(drawn)
    assert style.PAGE in drawn and style.PAGE not in turned and style.INK not in turned
    background = style.DARK[style.PAGE]
    named = [style.INK, style.NEUTRAL, style.BLACK, *dict(style.LOOKS.values())]
    assert all(contrast(style.DARK[colour], background) >= 4.5 for colour in named)


def test_a_photograph_in_a_dark_figure_stays_as_it_is(figures):
    drawn = phone.drawings(figures[0])["image/svg+xml"]
    images = re.compile(r"base64,[^\"]+")
    assert images.findall(drawn) == images.findall(phone.dark(drawn)) != []


def test_every_public_figure_can_be_drawn_for_a_phone():
    scrolls = {"causal_diagram", "who_reads_what"}  # who_reads_what has a narrow shape of its own
    drawn = {name for name in plots.__all__ if hasattr(getattr(plots, name), "__wrapped__")}
    assert drawn == {n for n in plots.__all__ if inspect.isfunction(getattr(plots, n))} - scrolls
