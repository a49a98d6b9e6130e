"""What frames a page, in a browser: the map, the answer on top, and who reads what."""

from __future__ import annotations

import pytest
from argument import CHAPTERS

CHAPTER = "notebooks/03_same_encoder_new_reader"
SMALLEST = """selector => Math.min(...[...document.querySelectorAll(selector)].map((e) => {
  const drawn = e.ownerSVGElement;
  const scale = drawn ? drawn.getBoundingClientRect().width / drawn.viewBox.baseVal.width : 1;
  return scale * parseFloat(getComputedStyle(e).fontSize);
}))"""


@pytest.mark.parametrize("width", [1440, 390])
def test_the_map_shows_every_chapter_and_lights_this_one(visit, width):
    page = visit(CHAPTER, width).page
    nodes = page.locator("nav.argument a")
    assert nodes.count() == len(CHAPTERS)
    boxes = [nodes.nth(k).bounding_box() for k in range(nodes.count())]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    assert all(box["width"] >= 24 and box["height"] >= 24 for box in boxes)
    assert page.locator("nav.argument a[aria-current]").inner_text().startswith("3")
    assert page.evaluate(SMALLEST, "nav.argument :is(span, b)") >= 11


def test_the_first_page_of_a_phone_has_room_for_the_numbers(visit):
    nodes = visit("book/index", 390).page.locator("nav.argument a")
    boxes = [nodes.nth(k).bounding_box() for k in range(nodes.count())]
    assert len({box["y"] for box in boxes}) == 1
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    assert all(box["width"] >= 24 and box["height"] >= 24 for box in boxes)
    assert nodes.first.get_by_text("nearly equal").count() == 1


def test_a_key_takes_the_reader_to_another_chapter(visit):
    page = visit("notebooks/01_cosine_agreement", 390).page
    page.locator("nav.argument a").nth(1).focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/03_same_encoder_new_reader.html")


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_the_first_screen_shows_the_pair_and_what_both_readers_make_of_it(visit, width, height):
    page = visit("book/index", width).page
    bars = page.locator("figure.two-readers .reader-bar")
    boxes = [bars.nth(k).bounding_box() for k in range(bars.count())]
    assert len(boxes) == 2 and all(box["y"] < height for box in boxes)


def test_the_answer_stands_between_title_and_text_and_on_the_first_page(visit):
    page = visit(CHAPTER).page
    card = page.locator("section.answer")
    question = card.locator(".answer-question").inner_text()
    assert page.locator(".bd-article h1").bounding_box()["y"] < card.bounding_box()["y"] < 700
    assert "The paper" in card.inner_text() and "Guessing" in card.inner_text()
    table = visit("book/index").page.locator("table.answers")
    assert table.locator("tbody tr").count() == len(CHAPTERS)
    assert question in table.inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_shows_its_caption_in_both_themes(visit, theme):
    captions = visit(CHAPTER, theme=theme).page.locator("figure.align-default > figcaption")
    assert captions.count() > 5
    assert all(caption.is_visible() for caption in captions.all())


@pytest.mark.parametrize("page", ["book/index", CHAPTER])
@pytest.mark.parametrize(("width", "shape"), [(1440, "reads-wide"), (390, "reads-narrow")])
def test_the_diagram_has_the_shape_that_fits_and_can_be_read(visit, page, width, shape):
    found = visit(page, width).page
    shown = found.locator("figure.reads svg:visible")
    assert shown.count() == 1 and shown.get_attribute("class") == shape
    assert found.evaluate(SMALLEST, f"svg.{shape} text") >= 11
