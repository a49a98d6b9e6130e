"""What captions say, and the questions that are made of it."""

from __future__ import annotations

import pytest

from erragree_utils.scoring.captions import (
    ANSWERS,
    CaptionError,
    Statement,
    parse_caption,
)
from erragree_utils.scoring.questions import (
    CHOICE_QUESTION,
    RELATION_QUESTION,
    VQA_QUESTION,
    relation_question,
)
from erragree_utils.tabletop import captions as tabletop_captions
from erragree_utils.tabletop import questions as tabletop_questions

LEFT, RIGHT = "A red mug to the left of a blue table", "A red mug to the right of a blue table"
ON, UNDER = "A red mug on a blue table", "A red mug under a blue table"


class TestWhatACaptionSays:
    @pytest.mark.parametrize(
        ("caption", "expected"),
        [
            (LEFT, Statement("red mug", "left", "blue table")),
            (ON, Statement("red mug", "on", "blue table")),
            (UNDER, Statement("red mug", "under", "blue table")),
            ("A mug in-front of an armchair.", Statement("mug", "front", "armchair")),
            ("A mug in front of a plate", Statement("mug", "front", "plate")),
            ("A beer bottle behind the tv", Statement("beer bottle", "behind", "tv")),
            ("the cap is on the right of a bowl", Statement("cap", "right", "bowl")),
            ("A mug on the left side of a cup", Statement("mug", "left", "cup")),
            ("A photo of a dog above a cat", Statement("dog", "above", "cat")),
            ("A melon on a table", Statement("melon", "on", "table")),
        ],
    )
    def test_things_come_without_articles_and_one_relation_is_read(self, caption, expected):
        assert parse_caption(caption) == expected

    @pytest.mark.parametrize(
        "caption",
        [
            "A dog",
            "A dog on the left",
            "A mug on a plate under a lamp",
            "on a table",
            "",
            "Left of",
        ],
    )
    def test_captions_that_do_not_relate_two_things_are_refused(self, caption):
        with pytest.raises(CaptionError, match="use method 'vqascore'"):
            parse_caption(caption)

    def test_spaces_do_not_matter(self):
        assert parse_caption("A  mug to the\n left  of  a plate ") == Statement(
            "mug", "left", "plate"
        )

    @pytest.mark.parametrize("relation", tabletop_captions.WORDS)
    def test_every_caption_of_the_tabletop_world_is_read(self, relation):
        caption = tabletop_captions.benchmark_caption("orange egg", "green stool", relation)
        statement = parse_caption(caption)
        assert (statement.first, statement.second) == ("orange egg", "green stool")
        assert ANSWERS[statement.relation] == tabletop_questions.ANSWERS[relation]


def asked(statement: Statement, options: list[str]) -> str:
    return relation_question(RELATION_QUESTION, statement, options)


class TestQuestions:
    def test_they_are_the_papers_words(self):
        assert VQA_QUESTION.format(caption="X") == (
            'Does this figure show "X"? Please answer yes or no.'
        )
        question = asked(parse_caption(LEFT), ["left", "right", "on", "under"])
        assert question == (
            "Where is the red mug in relation to the blue table? "
            "Answer with left, right, on or under."
        )

    def test_the_mini_model_is_trained_on_the_same_words(self):
        assert tabletop_questions.VQASCORE == VQA_QUESTION
        assert tabletop_questions.RELATION == RELATION_QUESTION
        statement = Statement("mug", "left", "chair")
        for family in (("left", "right", "on", "under"), ("left", "right", "front", "behind")):
            offered = asked(statement, family).partition("Answer with ")[2][:-1]
            assert offered in tabletop_questions.OPTIONS.values()

    def test_neither_the_relation_nor_the_order_of_options_tells_the_answer(self):
        questions = {
            asked(parse_caption(caption), options)
            for caption in (LEFT, RIGHT)
            for options in (["left", "right"], ["right", "left", "right"])
        }
        assert len(questions) == 1
        assert questions.pop().endswith("Answer with left or right.")

    @pytest.mark.parametrize(("options", "question"), [
        (("right", "left"), "Is the mug to the left of or to the right of the chair?"),
        (("on", "under"), "Is the mug at the bottom of the chair or at the top of the chair?"),
        (("front", "behind"), "Is the mug in the back of the chair or in the front of the chair?"),
    ])  # fmt: skip
    def test_a_choice_is_worded_as_in_the_authors_code(self, options, question):
        statement = Statement("mug", options[0], "chair")
        assert relation_question(CHOICE_QUESTION, statement, options) == question

    def test_the_template_may_be_another_and_one_option_needs_no_or(self):
        statement = parse_caption(ON)
        found = relation_question("{second}, {first}: {options}?", statement, ["front"])
        assert found == "blue table, red mug: in front?"
