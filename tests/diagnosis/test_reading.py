"""A linear reader of pairs finds what was put into features, on pairs it has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from erragree_utils.benchmarks import ImagePair, QuestionPair
from erragree_utils.diagnosis.reading import (
    FEWEST,
    clusters,
    planted,
    read_pairs,
    reading_accuracy,
    word_kernel,
)

THINGS = ("mug", "plate", "lamp", "book", "vase", "clock", "bowl", "shoe", "hat", "fork")


def pairs_of(n, turned=False, relation=("left", "right")):
    """Pairs about two things each; of turned ones the second image comes first, every other one."""
    made = []
    for i in range(n):
        first, second = THINGS[i % 10], THINGS[(i // 10 + i + 1) % 10]
        texts = [f"a {first} to the {word} of a {second}, number {i}" for word in relation]
        texts = texts[::-1] if turned and i % 2 else texts
        made.append(ImagePair(str(i), str(i), "x", tuple(texts), ("1.png", "2.png")))
    return made


def features_of(n, strength, turned=False, width=40, seed=0):
    """Random features; the first text's image is moved along one direction, the other against."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1, width)) + 0.3 * rng.normal(size=(n, 2, width))
    side = np.array([[1.0, -1.0]] * n)
    if turned:
        side[1::2] *= -1
    x[:, :, 0] += strength * side
    return x


@pytest.mark.parametrize("turned", [False, True])
def test_a_difference_that_all_pairs_share_is_read_whichever_image_comes_first(turned):
    table = read_pairs(features_of(100, 2.0, turned), pairs_of(100, turned))
    found = reading_accuracy(table)
    assert found["single"] > 0.9 and found["compared"] > 0.95
    assert found["single_low"] <= found["single"] <= found["single_high"]


def test_where_nothing_is_there_nothing_is_read():
    found = [
        reading_accuracy(read_pairs(features_of(100, 0.0, seed=seed), pairs_of(100)))
        for seed in range(5)
    ]
    assert np.mean([row["single"] for row in found]) == pytest.approx(0.5, abs=0.06)
    assert all(row["single_high"] < 0.7 for row in found)


def test_a_side_that_depends_on_what_is_named_is_read_too():
    rng, pairs = np.random.default_rng(0), pairs_of(300)
    x = 0.1 * rng.normal(size=(300, 2, 20))
    for i, pair in enumerate(pairs):  # each thing is shown where it stands
        words = pair.captions[0].replace(",", "").split()
        first, second = THINGS.index(words[1]), THINGS.index(words[7])
        for image, side in enumerate((1, -1)):
            x[i, image, first] += side
            x[i, image, second] -= side
    assert reading_accuracy(read_pairs(x, pairs))["single"] > 0.85


@pytest.mark.parametrize("n", [0, 3, FEWEST - 1])
def test_of_few_pairs_nothing_is_said(n):
    found = reading_accuracy(read_pairs(features_of(max(n, 1), 2.0)[:n], pairs_of(n)))
    assert set(found) >= {"single", "compared_low"} and np.isnan(list(found.values())).all()


def test_a_planted_difference_is_found():
    x = features_of(60, 0.0)
    assert reading_accuracy(read_pairs(planted(x), pairs_of(60)))["single"] > 0.8
    assert np.abs(planted(x) - x).max() < np.abs(x).max()


class TestWords:
    def test_pairs_with_the_same_words_ask_one_question_exchanged_ones_its_opposite(self):
        texts = [("red", "blue"), ("blue", "red"), ("red", "green"), ("open", "closed")]
        pairs = [
            QuestionPair(str(i), "x", "Which?", options, ("1.png", "2.png"))
            for i, options in enumerate(texts)
        ]
        kernel = 2 * word_kernel(pairs)
        assert kernel[0] == pytest.approx([1, -1, 0.5, 0])

    def test_texts_of_the_same_words_cannot_be_told(self):
        pair = ImagePair("1", "1", "x", ("a cat and a dog", "a dog and a cat"), ("1", "2"))
        assert word_kernel([pair])[0, 0] == 0

    def test_pairs_with_the_same_texts_are_one_cluster(self):
        pairs = [*pairs_of(30), *pairs_of(30)]
        found = clusters(pairs)
        assert (found[:30] == found[30:]).all() and len(set(found)) == 30

    def test_unless_all_have_the_same(self):
        same = [pair for pair in pairs_of(1) for _ in range(20)]
        assert len(set(clusters(same))) == 20
