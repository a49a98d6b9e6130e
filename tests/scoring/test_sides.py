"""Labels of left and right from captions."""

from __future__ import annotations

import pytest

from erragree_utils.scoring.captions import scene_examples, side_examples


def test_named_object_side_and_the_pair_of_kinds():
    table = side_examples([
        "A red mug to the left of a blue table",
        "an orange mug on the right of the white table.",
        "A wine glass left of an orange",
    ])  # fmt: skip
    assert table["named"].tolist() == ["red mug", "orange mug", "wine glass"]
    assert table["other"].tolist() == ["blue table", "white table", "orange"]
    assert table["side"].tolist() == ["left", "right", "left"]
    assert table["group"].tolist() == ["mug | table", "mug | table", "glass | orange"]


def test_articles_are_words_and_not_the_letters_a_word_begins_with():
    row = side_examples(["An apple left of armchair"]).iloc[0]
    assert (row["named"], row["other"], row["group"]) == (
        "apple",
        "armchair",
        "apple | armchair",
    )


@pytest.mark.parametrize("caption", ["A mug on a table", "A mug", "A mug on the left"])
def test_other_captions_are_refused(caption):
    with pytest.raises(ValueError, match=f"'{caption}' does not say"):
        side_examples([caption])


def test_a_scene_has_the_same_example_however_a_caption_words_it():
    words = ["A red mug to the left of a blue bowl", "A blue bowl to the right of a red mug"]
    table = scene_examples(words)
    assert table["named"].tolist() == ["blue bowl"] * 2
    assert table["other"].tolist() == ["red mug"] * 2
    assert table["side"].tolist() == ["right"] * 2
    assert table["group"].tolist() == ["bowl | mug"] * 2
