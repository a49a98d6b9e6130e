"""Colours that read on every page, and figures that let it through."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from erragree_utils import plots
from erragree_utils.measures.accuracy import summarize
from erragree_utils.plots import style


def luminance(colour) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colour", [style.INK, style.WRONG, *style.COLOURS])
@pytest.mark.parametrize("background", ["white", "#121212"])
def test_colours_read_on_light_and_on_dark_pages(colour, background):
    light, dark = sorted((luminance(colour), luminance(background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 3  # WCAG for graphics and large text


def test_every_figure_is_transparent(margins, pair, predictions):
    pred = predictions(margins)
    figures = [
        plots.cone_and_gap(np.eye(3)[:2], np.eye(3)[1:]).figure,
        plots.show_pair(pair()),
        plots.accuracy_bars(summarize(pred)),
        plots.joint_outcomes(pred).figure,
    ]
    for figure in figures:
        assert figure.patch.get_facecolor()[3] == 0
        assert all(ax.patch.get_facecolor()[3] == 0 for ax in figure.axes)
