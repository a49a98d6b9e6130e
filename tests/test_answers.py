"""Answer cards and the table of answers: our numbers beside the paper's, from findings alone."""

from __future__ import annotations

import answers
import pytest
from bs4 import BeautifulSoup

from erragree_utils.findings import finding
from erragree_utils.paper import CLIP, published

PAIR = published(reader=CLIP, benchmark="whatsup-a", relation="left/right", kind="pair")
QUESTION = "How often are <both> images right?"


@pytest.fixture
def matching():
    return finding(
        "CLIP fails", (0.03, 0.01, 0.08), below=0.25, paper=PAIR, question=QUESTION, chance=0.25
    )


@pytest.fixture
def probes():
    """Two models that answer one question, about which the paper says nothing."""
    values = {"hidden": (0.9, 0.85, 0.95), "lost": (0.55, 0.5, 0.6)}
    return [
        finding(f"The {who} one", value, above=0.4, question=QUESTION, who=who, chance=0.5)
        for who, value in values.items()
    ]


def text(html: str) -> str:
    return BeautifulSoup(html, "html.parser").get_text(" ", strip=True)


class TestTheCard:
    def test_has_the_question_our_interval_the_papers_protocol_and_chance(self, matching):
        shown = text(answers.card([matching]))
        assert shown.startswith(QUESTION)
        assert "This book 3.0% [1.0, 8.0] CLIP fails." in shown
        assert "The paper 1.9% CLIP ViT-L/14-336, What'sUp A left/right, pair accuracy" in shown
        assert shown.endswith("Guessing 25%")

    def test_names_whose_number_each_is_and_says_what_the_paper_did_not_measure(self, probes):
        shown = text(answers.card(probes))
        assert "hidden 90.0% [85.0, 95.0]" in shown and "lost 55.0% [50.0, 60.0]" in shown
        assert "The paper not measured there Guessing 50%" in shown

    def test_marks_an_answer_that_does_not_hold(self):
        failed = finding("CLIP fails", (0.3, 0.2, 0.4), below=0.25, question=QUESTION)
        assert "✗ does not hold here" in text(answers.card([failed]))

    def test_leaves_guessing_out_where_nothing_is_guessed_and_cosines_without_per_cent(self):
        alike = finding(
            "Alike", (0.995, 0.994, 0.996), above=0.99, unit="cosine", question=QUESTION
        )
        shown = text(answers.card([alike]))
        assert "0.9950 [0.9940, 0.9960]" in shown and "%" not in shown and "Guessing" not in shown


def test_the_table_has_a_row_for_each_chapter_with_or_without_an_answer(matching):
    html = answers.table(
        {"a": [matching], "b": []}, {"a": "First", "b": "Second"}, {"a": "a.html", "b": "b.html"}
    )
    first, second = BeautifulSoup(html, "html.parser").select("tbody tr")
    assert first.th.a["href"] == "a.html" and first.th.get_text().startswith("1 First")
    assert QUESTION in first.th.get_text()
    cells = {cell["data-column"]: cell.get_text() for cell in first.select("td")}
    assert cells["This book"].startswith("3.0%") and cells["The paper"].startswith("1.9%")
    assert cells["Guessing"] == "25%"
    assert [cell.get_text() for cell in second.select("td")] == ["", "", ""]


def test_the_first_picture_sets_two_readers_side_by_side(matching):
    reads = finding("LLaVA reads", (0.99, 0.95, 1.0), above=0.85, question=QUESTION, chance=0.25)
    html = answers.two_readers(matching, reads, ["one.webp", "two.webp"], ["left", "right"], 0.998)
    figure = BeautifulSoup(html, "html.parser")
    assert [image["alt"] for image in figure.select("img")] == ["left", "right"]
    assert "3.0% [1.0, 8.0] (published: 1.9%)" in figure.select_one(".reader-clip").get_text()
    widths = [bar["style"] for bar in figure.select(".reader-bar i")]
    assert widths == ["width: 3.0%", "width: 99.0%"]
    assert "--chance: 25%" in html
