"""Who reads what, as a diagram: both readers, both shapes, and words for those who don't see it."""

from __future__ import annotations

import re

import pytest
from bs4 import BeautifulSoup

from erragree_utils import plots

CLIP = ["pooled:", "one vector", "cosine", "text encoder:", "a caption"]
LLAVA = ["projector", "language", "Yes / No", "a question"]


@pytest.fixture(scope="module")
def figure() -> BeautifulSoup:
    return BeautifulSoup(plots.who_reads_what().html, "html.parser")


@pytest.mark.parametrize("shape", ["reads-wide", "reads-narrow"])
class TestEachShape:
    def test_shows_what_both_readers_share_and_what_each_does_with_it(self, figure, shape):
        text = figure.select_one(f"svg.{shape}").get_text(" ")
        assert "vision encoder" in text and "frozen, the same" in text and "patch tokens" in text
        assert all(words in text for words in CLIP + LLAVA)

    def test_colours_each_reader_by_name(self, figure, shape):
        drawn = figure.select_one(f"svg.{shape}")
        for name, words in {"clip": CLIP, "llava": LLAVA}.items():
            own = " ".join(tag.get_text(" ") for tag in drawn.select(f".reads-{name}"))
            assert all(word in own for word in words)

    def test_says_it_to_those_who_do_not_see_it(self, figure, shape):
        drawn = figure.select_one(f"svg.{shape}")
        assert drawn["role"] == "img"
        assert "frozen" in drawn["aria-label"] and "projector" in drawn["aria-label"]

    def test_draws_nothing_outside_its_frame(self, figure, shape):
        drawn = figure.select_one(f"svg.{shape}")
        width, height = map(int, drawn["viewbox"].split()[2:])
        for tag in drawn.select("rect"):
            x, y, w, h = (float(tag[k]) for k in ("x", "y", "width", "height"))
            assert min(x, y) >= 0 and x + w <= width and y + h <= height
        for tag in drawn.select("text"):
            half = 4.2 * len(tag.get_text())  # of letters of 14 units
            left = 0 if tag["text-anchor"] == "start" else half
            right = float(tag["x"]) + (2 * half if left == 0 else half)
            assert float(tag["x"]) >= left and right <= width and float(tag["y"]) < height


def test_has_a_caption_where_one_is_given(figure):
    told = BeautifulSoup(plots.who_reads_what("a < b").html, "html.parser")
    assert told.figcaption.get_text() == "a < b" and figure.figcaption is None


def test_at_phone_width_no_letter_is_smaller_than_eleven_pixels(figure):
    style = figure.style.string
    sizes = [float(size) for size in re.findall(r"font-size: (\d+)px", style)]
    # The narrow shape fills a page of 390 px, less its margins; the wide one starts at 34 rem.
    assert min(sizes) * min(320 / 340, 34 * 16 / 720) >= 9.8
    assert min(sizes) * 320 / 340 >= 11
