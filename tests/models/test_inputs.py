"""What models are given: one form for every kind of model."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from PIL import Image

from erragree_utils.models import EncodeError
from erragree_utils.models.inputs import aligned, encodable, length, options_of_each, worded

PICTURE = Image.new("L", (3, 2), 7)


def test_images_come_as_rgb_and_others_are_named_by_their_index():
    assert np.asarray(encodable(PICTURE, 0)).tolist() == [[[7] * 3] * 3] * 2
    for wrong in (None, "mug.png", np.zeros((2, 2)), Image.new("RGB", (0, 1))):
        with pytest.raises(EncodeError, match="image 4 ") as error:
            encodable(wrong, 4)
        assert error.value.index == 4


def test_texts_have_words():
    assert worded("Why?", "the question", 0) == "Why?"
    for wrong in ("", " \n", None, 3, b"Why?"):
        with pytest.raises(EncodeError, match="the question is .*, not a text with words"):
            worded(wrong, "the question", 2)
    with pytest.raises(EncodeError, match="holds half a character"):
        worded("\ud83d", "the question", 2)


def test_options_are_the_same_for_all_images_or_those_of_each():
    assert list(islice(options_of_each(x for x in "ab"), 2)) == [["a", "b"]] * 2
    assert options_of_each((x for x in row) for row in (["a", "b"], ["c"])) == [["a", "b"], ["c"]]
    assert options_of_each([]) == []
    for wrong in ("left", None, ["left", ["right"]], [3]):
        with pytest.raises(TypeError, match="options"):
            options_of_each(wrong)


class TestAligned:
    def test_one_text_stands_for_all_images(self):
        rows = list(aligned([PICTURE, None], questions="Why?", options=[["a"], ["b"]]))
        assert rows == [(PICTURE, "Why?", ["a"]), (None, "Why?", ["b"])]

    def test_groups_from_generators_can_be_read_twice(self):
        ((group, _),) = aligned([(x for x in [PICTURE, PICTURE])], questions="Why?")
        assert group == [PICTURE, PICTURE]

    def test_lengths_agree_before_anything_is_read_or_when_it_runs_out(self):
        with pytest.raises(ValueError, match="2 images, but 1 questions: give one for each"):
            aligned([PICTURE] * 2, questions=["Why?"])
        with pytest.raises(ValueError, match="more images than questions: 2"):
            list(aligned((x for x in [PICTURE] * 2), questions=["Why?"]))

    def test_one_image_is_no_list(self):
        with pytest.raises(TypeError, match="images is a list"):
            aligned(PICTURE, questions="Why?")


def test_the_length_of_a_generator_is_not_known():
    assert length([1, 2]) == 2
    assert length(x for x in "ab") is None
