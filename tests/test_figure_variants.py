"""A notebook's figures on a page: for two widths and two themes."""

from __future__ import annotations

import hashlib

import nbformat
from bs4 import BeautifulSoup
from figure_variants import drawings, picture

from erragree_utils.plots.phone import NARROW

SVG = "<svg>\n</svg>\n"


def notebook(data: dict[str, str]) -> nbformat.NotebookNode:
    output = nbformat.v4.new_output("display_data", data=data)
    text = nbformat.v4.new_output("stream", text="no picture")
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[text, output])])


def test_drawings_are_known_by_the_file_of_the_wide_one():
    name = hashlib.sha256(SVG.rstrip().encode()).hexdigest()
    found = drawings(notebook({"image/svg+xml": SVG, NARROW: "<svg/>"}))
    assert found == {name: {"wide": SVG.rstrip(), "narrow": "<svg/>"}}
    assert drawings(notebook({"image/svg+xml": SVG}))[name] == {"wide": SVG.rstrip()}
    assert drawings(notebook({"text/plain": "3"})) == {}


def test_a_phone_gets_the_narrow_one_and_every_reader_the_description():
    files = {"wide": "a.svg", "narrow": "b.svg"}
    html = BeautifulSoup(picture(files, 'Two "dots"', "dark"), "html.parser")
    assert html.source["srcset"] == "b.svg" and html.img["src"] == "a.svg"
    assert html.img["alt"] == 'Two "dots"'
    assert html.picture["class"] == ["only-dark", "figure-fits"]


def test_what_was_not_drawn_for_a_phone_scrolls_there():
    html = BeautifulSoup(picture({"wide": "a.svg"}, "", "light"), "html.parser")
    assert html.source is None and html.picture["class"] == ["only-light", "figure-scrolls"]
