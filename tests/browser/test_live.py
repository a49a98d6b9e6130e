"""Live figures answer a drag, a click and a key; without scripts they are pictures."""

from __future__ import annotations

import pytest

from tests.building import pages

FIRST, CHAPTERS = pages()[0], pages()


def chapter(words: str) -> str:
    """The page whose file's name has these words."""
    return next(page for page in CHAPTERS if words in page)


def figure(visited, kind: str):
    """The page's first live figure of a kind, in sight."""
    found = visited.page.locator(f"figure.live-{kind}").first
    found.scroll_into_view_if_needed()
    return found


def drag(visited, element, begin: tuple[float, float], end: tuple[float, float]) -> None:
    """Move the pressed mouse from one place of an element to another, in shares of its size."""
    box, mouse = element.bounding_box(), visited.page.mouse
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (begin, end)]
    mouse.move(*places[0])
    mouse.down()
    mouse.move(*places[1], steps=4)
    mouse.up()


@pytest.mark.parametrize("page", [FIRST, chapter("same_encoder")])
class TestTheDrag:
    def test_answers_a_drag(self, visit, page):
        visited = visit(page)
        shown = figure(visited, "drag")
        image, values = shown.locator(".live-handle img"), shown.locator(".live-value")
        before, read = image.get_attribute("src"), values.all_inner_texts()
        drag(visited, shown.locator(".live-handle"), (0.9, 0.6), (0.05, 0.6))
        assert image.get_attribute("src") != before
        after = values.all_inner_texts()
        assert after[1] == "1.000" and after[7] == after[6] != read[7]

    def test_answers_keys_and_tells_what_they_did(self, visit, page):
        visited = visit(page)
        slider = figure(visited, "drag").locator(".live-slider")
        slider.focus()
        visited.page.keyboard.press("Home")
        assert slider.get_attribute("aria-valuetext").startswith("0 per cent of the way. CLIP")
        visited.page.keyboard.press("ArrowRight")
        assert slider.input_value() == "1"

    def test_answers_a_finger(self, browser, address, page):
        context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
        opened = context.new_page()
        opened.goto(f"{address}/{page}.html")
        handle = opened.locator("figure.live-drag .live-handle")
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        opened.touchscreen.tap(box["x"] + 0.02 * box["width"], box["y"] + 0.6 * box["height"])
        assert opened.locator("figure.live-drag .live-slider").input_value() == "0"
        context.close()

    def test_is_a_picture_that_tells_the_same_without_scripts(self, visit, page):
        shown = figure(visit(page, 390, scripts=False), "drag")
        assert shown.locator("img").count() == 2 and shown.locator(".live-value").count() == 10
        assert shown.locator(".live-control, .live-run, .live-hint").first.is_hidden()


class TestTheFirstPage:
    def test_computes_in_the_browser_what_the_build_measured(self, visit):
        visited = visit(FIRST)
        shown = figure(visited, "drag")
        if not shown.locator(".live-run").count():
            pytest.skip("the book was built without the browser's runtime")
        shown.locator(".live-run button").click()
        here = shown.locator(".live-here")
        here.first.wait_for(timeout=120_000)
        for key in ("Home", "ArrowRight", "End"):
            shown.locator(".live-slider").focus()
            visited.page.keyboard.press(key)
            frame = shown.locator(".live-slider").input_value()
            shown.locator(f".live-readings[data-frame='{frame}']").wait_for(timeout=60_000)
            built = [
                v for k, v in enumerate(shown.locator(".live-value").all_inner_texts()) if k % 2
            ]
            found = [text.removeprefix("in your browser: ") for text in here.all_inner_texts()]
            for mine, theirs in zip(found, built, strict=True):
                unit = 0.011 if "%" in theirs else 0.0011
                scale = 0.01 if "%" in theirs else 1
                assert abs(float(mine.rstrip("%")) - float(theirs.rstrip("%"))) * scale < unit
        assert visited.errors == [] and visited.outside == []


DOTS = [chapter(words) for words in ("clip_matching", "contrastive_decoding", "two_images")]


@pytest.mark.parametrize("page", DOTS)
class TestDots:
    def test_show_the_pair_that_is_clicked_or_dragged_to(self, visit, page):
        visited = visit(page)
        shown = figure(visited, "points")
        plot, chosen = shown.locator("svg"), shown.locator("select")
        seen = set()
        for place in ((0.75, 0.3), (0.55, 0.7)):
            plot.click(position={
                "x": place[0] * plot.bounding_box()["width"],
                "y": place[1] * plot.bounding_box()["height"],
            })  # fmt: skip
            seen.add(chosen.input_value())
        drag(visited, plot, (0.5, 0.5), (0.95, 0.5))
        seen.add(chosen.input_value())
        assert len(seen) > 1

    def test_answer_keys(self, visit, page):
        visited = visit(page)
        shown = figure(visited, "points")
        texts = shown.locator(".live-ahead").all_inner_texts()
        shown.locator("select").focus()
        visited.page.keyboard.press("ArrowDown")
        assert shown.locator(".live-ahead").all_inner_texts() != texts

    def test_stand_there_without_scripts(self, visit, page):
        shown = figure(visit(page, scripts=False), "points")
        assert shown.locator("circle").count() > 50
        assert all("own text" in text for text in shown.locator(".live-ahead").all_inner_texts())


def test_the_slider_carries_the_dots_across(visit):
    visited = visit(chapter("contrastive_decoding"))
    shown = figure(visited, "points")
    places = "dots => dots.map(dot => dot.style.transform)"
    before = shown.locator(".live-dots circle").evaluate_all(places)
    shown.locator(".live-slider").focus()
    visited.page.keyboard.press("End")
    after = shown.locator(".live-dots circle").evaluate_all(places)
    assert sum(a != b for a, b in zip(before, after, strict=True)) > len(before) / 2
    assert shown.locator(".live-summary output").inner_text().startswith("Strength 5.")


class TestTheHistograms:
    def test_place_the_cosine_of_the_two_images_that_are_chosen(self, visit):
        visited = visit(chapter("cosine_agreement"))
        shown = figure(visited, "pick")
        buttons, cursor = shown.locator(".live-images button"), shown.locator(".live-cursor")
        alike = float(cursor.get_attribute("x1"))
        buttons.nth(6).click()
        buttons.nth(12).focus()
        visited.page.keyboard.press("Enter")
        assert shown.locator("button[aria-pressed=true]").count() == 2
        assert buttons.nth(12).get_attribute("aria-pressed") == "true"
        assert float(cursor.get_attribute("x1")) < alike

    def test_part_as_the_slider_turns_the_direction(self, visit):
        visited = visit(chapter("does_the_text_ask"))
        shown = figure(visited, "clouds")
        assert shown.locator("svg:visible").count() == 1
        heights = "bars => bars.map(bar => bar.getAttribute('height'))"
        bars = shown.locator(".live-turned rect")
        before = bars.evaluate_all(heights)
        shown.locator(".live-slider").focus()
        visited.page.keyboard.press("End")
        assert bars.evaluate_all(heights) != before
        summary = shown.locator(".live-summary output")
        assert summary.inner_text().startswith("hidden, 90°")
        shown.locator("select").focus()
        visited.page.keyboard.press("ArrowDown")
        assert summary.inner_text().startswith("lost, 90°")

    def test_turn_with_a_click_and_a_drag(self, visit):
        visited = visit(chapter("does_the_text_ask"))
        shown = figure(visited, "clouds")
        slider, summary = shown.locator(".live-slider"), shown.locator(".live-summary output")
        slider.click()  # in its middle
        assert summary.inner_text().startswith("hidden, 45°")
        drag(visited, slider, (0.5, 0.5), (0.99, 0.5))
        assert summary.inner_text().startswith("hidden, 90°")

    def test_show_three_angles_of_each_model_without_scripts(self, visit):
        shown = figure(visit(chapter("does_the_text_ask"), scripts=False), "clouds")
        assert shown.locator("svg").count() == 9
        assert shown.locator("p.live-told").last.is_visible()


class TestTheQuiz:
    def test_answers_after_you_by_click_and_by_key(self, visit):
        visited = visit(chapter("clip_blind_pairs"))
        shown = figure(visited, "quiz")
        cards = shown.locator(".live-card")
        assert cards.first.locator("details").is_hidden()
        cards.first.locator("button").first.click()
        assert "CLIP" in cards.first.locator("details").inner_text()
        cards.nth(1).locator("button").last.focus()
        visited.page.keyboard.press("Enter")
        assert shown.locator(".live-tally").inner_text().startswith("Right, of 2: You ")

    def test_opens_without_scripts(self, visit):
        shown = figure(visit(chapter("clip_blind_pairs"), scripts=False), "quiz")
        assert shown.locator("details summary").count() == 9
        assert shown.locator(".live-options").first.is_hidden()


class TestTheCalculator:
    def test_answers_a_click_and_keys_with_what_python_computes(self, visit):
        from erragree_utils.study import hardware

        visited = visit(chapter("paper_scale"))
        shown = figure(visited, "calculator")
        shown.locator("button", has_text="16 bits").click()
        shown.locator(".live-slider").focus()
        visited.page.keyboard.press("End")
        table = hardware.choices().query("precision == '16 bits' and batch == 32")
        needed = table[["weights", "cache", "activations", "fixed"]].sum(axis=1)
        rows = zip(needed, table["memory"], table["time"], strict=True)
        for row, (need, memory, time) in zip(
            shown.locator("tbody tr").all_inner_texts(), rows, strict=True
        ):
            assert f"{need:.1f} of {memory:.1f} GiB" in row
            assert (time in row) == ("✓" in row) == (need <= memory)

    def test_answers_a_drag(self, visit):
        visited = visit(chapter("paper_scale"))
        shown = figure(visited, "calculator")
        drag(visited, shown.locator(".live-slider"), (0.5, 0.5), (0.01, 0.5))
        assert "1 at a time" in shown.locator("output").inner_text()

    def test_shows_all_gpus_without_scripts(self, visit):
        shown = figure(visit(chapter("paper_scale"), 390, scripts=False), "calculator")
        assert shown.locator("tbody tr").count() == 5
        assert "8 at a time" in shown.locator("output").inner_text()
        assert shown.locator(".live-control").first.is_hidden()


@pytest.fixture
def effects(visit):
    """The effects of the chapter on causes."""
    return figure(visit(chapter("why")), "effects")


def in_sight(effects) -> list[str]:
    """What the visible rows say they act through."""
    rows = [row for row in effects.locator("tbody tr").all() if row.is_visible()]
    return [row.locator(".live-factor").inner_text() for row in rows]


class TestEffects:
    def test_a_click_on_a_box_leaves_what_acts_through_it(self, effects):
        every = in_sight(effects)
        box = effects.locator("button[data-effects]", has_text="text side")
        box.click()
        left = in_sight(effects)
        assert "text side" in left and len(left) == int(box.get_attribute("data-effects"))
        assert len(left) < len(every) and "what is read of the image" not in left
        said = effects.locator("output").inner_text()
        assert said.startswith(f"{len(left)} of {len(every)} effects")
        effects.locator("button", has_text="Show all").click()
        assert in_sight(effects) == every

    def test_keys_do_the_same(self, effects):
        every = in_sight(effects)
        box = effects.locator("button[data-effects]", has_text="what captions say")
        box.focus()
        box.press("Enter")
        assert box.get_attribute("aria-pressed") == "true"
        assert set(in_sight(effects)) == {"what captions say"}
        box.press("Space")
        assert in_sight(effects) == every
