"""Which option an answer in words names: what counts as an answer, and what does not."""

from __future__ import annotations

import pandas as pd
import pytest

from erragree_utils.scoring.answers import parse_answer, parse_option, unparsed

YES_NO = ("Yes", "No")
STATES = ("Open", "Closed")
LETTERED = ("Closed", "Open")  # as printed: (a) Closed (b) Open
FOUR = ["left", "right", "on", "under"]


class TestRelations:
    @pytest.mark.parametrize(
        ("answer", "options", "expected"),
        [
            ("left", FOUR, "left"),
            (" Left.\n", FOUR, "left"),
            ("The mug is on the left of the table", FOUR, "left"),
            ("on the right side", FOUR, "right"),
            ("to its right", FOUR, "right"),
            ("On", FOUR, "on"),
            ("On top of the table.", FOUR, "on"),
            ("underneath", FOUR, "under"),
            ("The mug is on the bottom of the chair.", FOUR, "under"),
            ("at the bottom", FOUR, "under"),
            ("In front", ["front", "behind"], "front"),
            ("in-front of it", ["front", "behind"], "front"),
            ("front", ["front", "behind"], "front"),
            ("On the table, to the left of the plate", ["left", "right"], "left"),
        ],
    )
    def test_an_answer_that_names_one_option(self, answer, options, expected):
        assert parse_answer(answer, options) == expected

    @pytest.mark.parametrize(
        "answer",
        [
            "", "yes", "left or right", "Right, the mug is on the left.", "not on the left",
            "It isn't left", "It isn’t left", "behind", "leftover", "on the table, left of it",
            "The mug and the table.", "neither left", "on the bottom shelf",
            "on the bottom or on top",
        ],
    )  # fmt: skip
    def test_all_other_answers_are_not_parsed(self, answer):
        assert parse_answer(answer, FOUR) is None

    def test_an_option_that_is_not_on_offer_is_no_answer(self):
        assert parse_answer("on", ["left", "right"]) is None
        assert parse_answer("on the left", ["on", "under"]) is None


class TestWords:
    @pytest.mark.parametrize(
        ("answer", "options", "named"),
        [
            ("Open", STATES, 0),
            ("closed.", STATES, 1),
            ("The door is closed", STATES, 1),
            ("yes, it does", YES_NO, 0),
            ("No.", YES_NO, 1),
            ("a red car", ("The red car", "the blue car"), 0),
            ("There are 3.", ("3", "2"), 0),
            ("in front", ("in front", "behind"), 0),
        ],
    )
    def test_an_answer_may_be_a_word_or_a_sentence(self, answer, options, named):
        assert parse_option(answer, options) == named
        assert parse_option(answer, options[::-1]) == 1 - named

    @pytest.mark.parametrize(
        "answer", ["", "  ", "I cannot tell", "Ajar", "open or closed", "Reopened", "enclosed"]
    )
    def test_an_answer_that_names_none_or_both_is_none(self, answer):
        assert parse_option(answer, STATES) is None

    @pytest.mark.parametrize("answer", ["It is not open", "It isn't open", "neither open"])
    def test_a_denial_names_nothing(self, answer):
        assert parse_option(answer, STATES) is None

    def test_a_no_may_deny_in_words(self):
        assert parse_option("No, it is not open", YES_NO) == 1
        assert parse_option("It is not open", YES_NO) is None

    def test_of_options_that_hold_each_other_the_longer_one_counts(self):
        assert parse_option("black and white", ("white", "black and white")) == 1
        assert parse_option("white", ("white", "black and white")) == 0
        assert parse_option("It is not visible", ("visible", "not visible")) == 1
        assert parse_option("It is visible", ("visible", "not visible")) == 0
        assert parse_option("not visible, but not hidden", ("visible", "not visible")) is None


class TestLetters:
    @pytest.mark.parametrize(
        ("answer", "named"),
        [
            ("(a)", 1),
            ("(b)", 0),
            ("B", 0),
            ("b.", 0),
            ("a) Closed", 1),
            ("(A) closed", 1),
            ("(b) It is open", 0),
            ("(b): the left one", 0),
            ("The answer is (b).", 0),
            ("Open (b)", 0),
            ("Open", 0),
            ("(b) open, not closed", 0),
            ("Option B", 0),
            ("option b.", 0),
            ("Option (b)", 0),
            ("Option B: open", 0),
            ("Option B is correct", 0),
            ("I would choose option B.", 0),
            ("The correct option is option B", 0),
            ("Choice B", 0),
            ("Answer: B", 0),
            ("The answer is B", 0),
            ("The answer is b.", 0),
            ("The correct answer is A.", 1),
            ("I choose B", 0),
            ("The correct option is B.", 0),
            ("The correct option is a.", 1),
            ("B is correct", 0),
            ("b is the correct answer.", 0),
            ("A is right.", 1),
            ("It's B.", 0),
            ("It’s B", 0),
            ("It is b.", 0),
            ("The answer should be B.", 0),
            ("the answer must be b", 0),
            ("I would go with B.", 0),
            ("I think B", 0),
            ("Option a is the one", 1),
            ("Option A shows it", 1),
            ("option a", 1),
            ("**B**", 0),
            ('"B"', 0),
            ("**(b) Open**", 0),
        ],
    )
    def test_an_answer_may_give_the_letter_of_its_option(self, answer, named):
        assert parse_option(answer, STATES, LETTERED) == named
        # The same option, if it stands in the other place in the list of answers.
        assert parse_option(answer, STATES[::-1], LETTERED) == 1 - named

    @pytest.mark.parametrize(
        "answer", ["(a) Open", "(a) or (b)", "(a) Closed (b) Open", "not (a)", "c", "(c)",
         "Option A or B", "option a or option b", "Options A and B", "Option A/B", "Option C",
         "not option B", "Option B is wrong", "Option B is not correct", "Option A: open",
         "The answer is a door", "The best option a person has is that door",
         "THE BEST OPTION A PERSON HAS IS THAT DOOR", "B is not correct", "B is wrong",
         "I don't think B.", "I think a door", "It's a door", "It's not B.", "A or B is correct",
         "The answer is a, or b.", "It's A or B",
         "B is right of the lamp", "The options a or b"],
    )  # fmt: skip
    def test_a_letter_and_the_other_option_or_both_letters_are_none(self, answer):
        assert parse_option(answer, STATES, LETTERED) is None

    def test_an_article_is_not_a_letter(self):
        animals, listed = ("dog", "cat"), ("cat", "dog")
        assert parse_option("A dog", animals, listed) == 0
        assert parse_option("a cat.", animals, listed) == 1
        assert parse_option("A bird", animals, listed) is None
        assert parse_option("The answer is a dog", animals, listed) == 0
        assert parse_option("A dog", STATES, LETTERED) is None
        assert parse_option("I choose a bird", animals, listed) is None

    def test_options_are_two_and_may_come_from_a_generator(self):
        options, listed = (o for o in STATES), (o for o in LETTERED)
        assert parse_option("(a)", options, listed) == 1
        with pytest.raises(ValueError, match="options must be two, not .*'Ajar'"):
            parse_option("Ajar", [*STATES, "Ajar"])

    def test_without_letters_in_the_question_there_are_none_in_the_answer(self):
        assert parse_option("(a)", STATES) is None
        assert parse_option("b", ("b", "h")) == 0  # the letter on a box


def test_what_was_not_parsed_can_be_looked_at():
    table = pd.DataFrame({
        "pair_id": ["1", "1", "2", "2", "3"], "answer": ["Well", "Open", "Hm", "Hm", "Hm"],
        "parsed": [False, True, False, False, False],
    })  # fmt: skip
    found = unparsed(table)
    assert found.to_dict("list") == {
        "answer": ["Hm", "Well"], "n": [3, 1], "pair_id": ["2", "1"]
    }  # fmt: skip
    assert len(unparsed(table[table["parsed"]])) == 0
    with pytest.raises(ValueError, match="lacks answer, parsed"):
        unparsed(table[["pair_id"]])
