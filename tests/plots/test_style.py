"""One colour for each name, readable as text, in figures and on pages."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

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


def contrast(colour, background) -> float:
    light, dark = sorted((luminance(colour), luminance(background)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def themes() -> list[dict[str, str]]:
    """Colours by name of the light and of the dark page."""
    css = Path(__file__).parents[2] / "book/_static/live.css"
    blocks = re.findall(r"^html.*?{(.*?)}", css.read_text(), re.DOTALL | re.MULTILINE)[:2]
    return [dict(re.findall(r"--live-([\w-]+): (#\w+);", block)) for block in blocks]


@pytest.mark.parametrize("colour", [style.INK, style.NEUTRAL, *dict(style.LOOKS.values())])
def test_colours_of_figures_read_as_text(colour):
    assert contrast(colour, style.PAGE) >= 4.5  # WCAG AA


def test_pages_have_the_colours_of_figures_and_lighter_ones_in_the_dark():
    light, dark = themes()
    line = light.pop("line")
    assert line == style.NEUTRAL
    named = {name: style.LOOKS[name.replace("-", " ")][0] for name in light}
    assert light == named and len(named) >= 4
    assert {*dark} == {*light, "line"}
    assert all(contrast(colour, "#121212") >= 4.5 for colour in dark.values())


def test_a_name_has_its_colour_wherever_it_stands():
    for labels in (["M3ID", "greedy"], ["greedy", "VCD", "text contrast", "m3id"]):
        look = dict(zip(labels, style.looks(labels), strict=True))
        (m3id,) = [value for name, value in look.items() if name.lower() == "m3id"]
        assert (m3id["color"], m3id["marker"]) == style.LOOKS["m3id"]
    assert style.colour_of("mini-lost") == style.colour_of("lost: class token")
    assert style.colour_of("mini-llava") == style.LOOKS["llava"][0] != style.colour_of("CLIP")


def as_seen_without_green(colour) -> np.ndarray:
    """Deuteranopia by Machado, Oliveira and Fernandes (2009), in linear RGB."""
    rows = [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ]
    return (np.array(rows) @ np.array(to_rgb(colour)) ** 2.2).clip(0, 1) ** (1 / 2.2)


def test_names_of_one_family_differ_in_colour_and_mark():
    for family in (
        ("clip", "llava"), ("image 1", "image 2"), ("hidden", "lost", "aligned", "llava"),
        ("greedy", "vcd", "m3id", "text contrast", "both images"),
    ):  # fmt: skip
        colours = {style.LOOKS[name][0] for name in family}
        marks = {look["marker"] for look in style.looks(family)}
        assert len(colours) == len(marks) == len(family)
        seen = [as_seen_without_green(colour) for colour in colours]
        gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
        assert min(gaps) > 0.2


def test_what_has_no_name_is_neutral_and_told_by_mark_and_line():
    first, second = style.looks(["counting", "state"])
    assert first["color"] == second["color"] == style.NEUTRAL
    assert first["marker"] != second["marker"] and first["ls"] != second["ls"]


def test_every_figure_is_white(margins, pair, predictions):
    pred = predictions(margins)
    figures = [
        plots.cone_and_gap(np.eye(3)[:2], np.eye(3)[1:]).figure,
        plots.show_pair(pair()),
        plots.accuracy_bars(summarize(pred)),
        plots.joint_outcomes(pred).figure,
    ]
    for figure in figures:
        assert figure.patch.get_facecolor() == (1, 1, 1, 1)
