"""Questions with two options, answered in words: what counts as an answer, and what is asked."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from PIL import Image

from erragree_utils import load_benchmark, load_mllm
from erragree_utils.benchmarks import Benchmark, ImageError
from erragree_utils.decoding.contrast import VCD, TextContrast, generate_contrastive, named_seed
from erragree_utils.scoring.answers import answer_pairs, parse_option, unparsed

YES_NO = ("Yes", "No")
STATES = ("Open", "Closed")
LETTERED = ("Closed", "Open")  # as printed: (a) Closed (b) Open


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


@pytest.fixture(scope="module")
def mllm():
    return load_mllm("mini", device="cpu")


@pytest.fixture(scope="module")
def pairs() -> Benchmark:
    return load_benchmark("tabletop-mmvp", n_pairs=1, mined=False)


class TestPairs:
    def test_each_image_is_asked_the_pairs_question_and_answered_greedily(self, mllm, pairs):
        table = answer_pairs(mllm, pairs)
        images = [image for pair in pairs for image in pair.images]
        plain = mllm.generate(images, [pair.question for pair in pairs for _ in (0, 1)])
        assert table["answer"].tolist() == plain
        assert table["pair_id"].tolist() == [pair.pair_id for pair in pairs for _ in (0, 1)]
        assert table["relation"].tolist() == [pair.pattern for pair in pairs for _ in (0, 1)]
        assert set(table["method"]) == {"greedy"} and set(table["model"]) == {"mini"}
        own = [pair.options[i].lower() for pair in pairs for i in (0, 1)]
        assert table["correct"].tolist() == [a == o for a, o in zip(plain, own, strict=True)]
        assert table["correct"].any() and not table["correct"].all()
        named = table["score_own"] + table["score_other"]
        assert (named == table["parsed"]).all()

    def test_what_is_asked_does_not_depend_on_which_image_is_the_first(self, mllm, pairs):
        turned = [
            replace(
                pair, options=pair.options[::-1], sources=pair.sources[::-1],
                statements=pair.statements[::-1], first_listed=1 - pair.first_listed,
            )
            for pair in pairs
        ]  # fmt: skip
        assert [pair.prompt for pair in turned] == [pair.prompt for pair in pairs]
        before, after = (answer_pairs(mllm, some) for some in (pairs, turned))
        flipped = after.assign(image_index=1 - after["image_index"])
        flipped = flipped.sort_values(["pair_id", "image_index"])
        before = before.sort_values(["pair_id", "image_index"])
        assert flipped["correct"].tolist() == before["correct"].tolist()

    def test_options_are_printed_with_letters_where_the_pair_has_them(self, mllm, pairs):
        asked = []

        class Echo:
            name = "echo"

            def generate(self, images, questions, **_):
                asked.extend(questions)
                return ["(b)" for _ in images]

        lettered = replace(pairs[0], lettered=True, first_listed=1)
        table = answer_pairs(Echo(), [lettered])
        first, second = lettered.options
        assert set(asked) == {f"{lettered.question} (a) {second} (b) {first}"}
        assert table["correct"].tolist() == [True, False]  # (b) is the first image's answer
        table = answer_pairs(Echo(), [pairs[0]])
        assert not table["parsed"].any() and not table["correct"].any()

    def test_contrastive_answers_are_those_of_the_decoding_with_noise_by_name(self, mllm, pairs):
        contrast = VCD(alpha=3.0)
        some = pairs[:4]
        table = answer_pairs(mllm, some, contrast, batch_size=3)
        expected = generate_contrastive(
            mllm,
            [image for pair in some for image in pair.images],
            [pair.prompt for pair in some for _ in (0, 1)],
            contrast,
            seed=[named_seed(pair.pair_id, i) for pair in some for i in (0, 1)],
        )
        assert table["answer"].tolist() == expected and set(table["method"]) == {"VCD"}

    def test_strength_zero_is_greedy(self, mllm, pairs):
        greedy, none = (answer_pairs(mllm, pairs, c) for c in (None, TextContrast(0.0)))
        assert greedy["answer"].tolist() == none["answer"].tolist()

    def test_blind_both_images_of_a_pair_get_one_answer(self, mllm, pairs):
        table = answer_pairs(mllm, pairs, blind=True)
        assert (table.groupby("pair_id")["answer"].nunique() == 1).all()
        assert (table.groupby("pair_id")["correct"].sum() <= 1).all()
        with pytest.raises(ValueError, match="nothing is contrasted"):
            answer_pairs(mllm, pairs, VCD(), blind=True)

    def test_pairs_may_come_from_a_generator(self, mllm, pairs):
        few = answer_pairs(mllm, (pair for pair in pairs[:2]))
        assert few["answer"].tolist() == answer_pairs(mllm, pairs[:2])["answer"].tolist()

    def test_what_was_not_parsed_can_be_looked_at(self):
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

    def test_no_pairs_are_refused(self, mllm):
        with pytest.raises(ValueError, match="there are no pairs"):
            answer_pairs(mllm, [])

    def test_an_image_that_cannot_be_read_is_named(self, mllm, pairs):
        broken = replace(pairs[1], sources=(pairs[1].sources[0], Image.new("RGB", (0, 0))))
        with pytest.raises(ImageError, match=rf"'{pairs[1].pair_id}': image 1 in memory has no p"):
            answer_pairs(mllm, [pairs[0], broken])
