"""Scores and choices from embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from erragree_utils.measures import matching


def unit(rows) -> np.ndarray:
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def random_unit(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, d)))


def test_scores_are_cosines_of_each_image_with_its_own_options():
    images, texts = unit([[1, 0], [0, 1]]), unit([[1, 0], [1, 1], [0, 1]])
    first, second = matching.option_scores(images, [texts, texts[[0, 2]]])
    np.testing.assert_allclose(first, [1, 0.5**0.5, 0], atol=1e-6)
    np.testing.assert_allclose(second, [0, 1], atol=1e-6)


def test_equal_texts_tie_to_the_last_bit_wherever_they_stand():
    images, texts = random_unit(50, 128), random_unit(9, 128, seed=1)
    texts[[3, 8]] = texts[0]
    for scores in matching.option_scores(images, [texts] * 50):
        assert scores[0] == scores[3] == scores[8]


def test_the_order_of_the_options_does_not_matter():
    images, texts = random_unit(5), random_unit(6, seed=1)
    first = matching.option_scores(images, [texts] * 5)
    second = matching.option_scores(images, [texts[::-1]] * 5)
    np.testing.assert_array_equal(first, np.array(second)[:, ::-1])


def test_each_image_has_options():
    with pytest.raises(ValueError, match="shorter"):
        matching.option_scores(random_unit(2), [random_unit(2)])


def test_rank_counts_the_texts_that_score_at_least_as_high():
    texts = unit([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    images = unit([[3, 2, 1], [3, 2, 1], [3, 2, 1]])
    ranks, n_options = matching.retrieval(images, texts, ["a", "b", "c"])
    assert (ranks.tolist(), n_options) == ([1, 2, 3], 3)


def test_a_rival_with_the_same_score_ranks_first():
    texts = unit([[1, 0], [1, 0]])
    ranks, _ = matching.retrieval(unit([[1, 0], [1, 0]]), texts, ["a", "b"])
    assert ranks.tolist() == [2, 2]


def test_an_equal_caption_is_the_same_option_not_a_rival():
    texts = unit([[1, 0], [1, 0], [0, 1]])
    ranks, n_options = matching.retrieval(unit([[1, 0], [1, 0], [0, 1]]), texts, ["a", "a", "b"])
    assert (ranks.tolist(), n_options) == ([1, 1, 1], 2)


def test_retrieval_needs_a_choice():
    with pytest.raises(ValueError, match="two different captions"):
        matching.retrieval(random_unit(2), random_unit(2), ["a", "a"])


def test_classes_are_the_normalised_means_of_their_templates():
    classes = matching.class_embeddings(unit([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]), 2)
    np.testing.assert_allclose(classes, unit([[1, 1, 0], [0, 0, 1]]), atol=1e-6)
    assert matching.classify(unit([[0, 1, 0.5], [0, 0, 1]]), classes).tolist() == [0, 1]


def test_a_table_of_matching_has_a_row_for_each_image_of_a_pair():
    images, texts = (random_unit(6, seed=seed).reshape(3, 2, 16) for seed in (0, 1))
    table = matching.matching_table(images, texts, pair_ids="abc")
    assert table["pair_id"].tolist() == list("aabbcc") and (table["n_options"] == 2).all()
    scores = np.einsum("nid,njd->nij", images, texts)
    np.testing.assert_allclose(table["score_own"][3], scores[1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(table["score_other"][3], scores[1, 1, 0], rtol=1e-6)
    assert (table["correct"] == (table["score_own"] > table["score_other"])).all()
    with pytest.raises(ValueError, match="1 pair_ids for 3 pairs"):
        matching.matching_table(images, texts, pair_ids=["a"])
