"""Angles between differences, and repairs, on embeddings made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from erragree_utils import alignment
from erragree_utils.metrics import summarize

N, D = 120, 24
GROUPS = np.arange(N) // 4


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def pairs(turned: bool = True, held: bool = True):
    """Images and texts of objects; the side is in dimension 0 of images and in 1 of texts.

    `turned` False puts both in dimension 0; `held` False takes the side from the images.
    """
    rng = np.random.default_rng(0)
    objects = np.zeros((N, 1, D))
    objects[..., 2:] = unit(rng.normal(size=(N, 1, D - 2)))
    images, texts = np.repeat(objects, 2, axis=1), np.repeat(objects, 2, axis=1)
    images[:, :, 0] = [0.1, -0.1] if held else [0, 0]
    texts[:, :, 1 if turned else 0] += [0.1, -0.1]
    return (unit(x + 0.005 * rng.normal(size=x.shape)) for x in (images, texts))


class TestAngles:
    def test_differences_that_point_the_same_way(self):
        table = alignment.difference_angles(*pairs(turned=False))
        assert len(table) == N
        assert table["angle"].mean() < 30
        np.testing.assert_allclose(table["cosine"], np.cos(np.radians(table["angle"])), atol=1e-9)

    def test_a_right_angle_where_texts_do_not_answer(self):
        table = alignment.difference_angles(*pairs())
        assert table["angle"].mean() == pytest.approx(90, abs=3)
        assert table["image_difference"].mean() == pytest.approx(0.2, abs=0.02)

    def test_the_margins_of_matching_add_up_to_it(self):
        images, texts = pairs()
        scores = alignment.matching_table(images, texts)
        margins = (scores["score_own"] - scores["score_other"]).to_numpy().reshape(-1, 2).sum(1)
        table = alignment.difference_angles(images, texts)
        np.testing.assert_allclose(table["margin_sum"], margins, atol=1e-12)
        product = table["cosine"] * table["image_difference"] * table["text_difference"]
        np.testing.assert_allclose(product, margins, atol=1e-12)

    def test_shapes_are_checked(self):
        images, _ = pairs()
        with pytest.raises(ValueError, match=r"\(N, 2, D\)"):
            alignment.difference_angles(images, images[:, :1])


class TestRepair:
    @pytest.mark.parametrize("side", ["text", "image"])
    def test_what_the_embedding_holds_is_recovered_on_unseen_groups(self, side):
        images, texts = pairs()
        before = summarize(alignment.matching_table(images, texts))
        maps, fold = alignment.cross_fitted_maps(images, texts, GROUPS)
        after = summarize(alignment.matching_table(images, texts, maps, fold, side))
        assert before["individual_accuracy"].item() < 0.65
        assert after["individual_accuracy"].item() > 0.95
        kept = alignment.retrieval_table(images, texts, maps, fold, side)
        assert kept["correct"].mean() > 0.9

    def test_what_it_does_not_hold_is_not(self):
        images, texts = pairs(held=False)
        maps, fold = alignment.cross_fitted_maps(images, texts, GROUPS)
        after = summarize(alignment.matching_table(images, texts, maps, fold))
        low, high = after.filter(regex="individual_accuracy_").iloc[0]
        assert low <= 0.5 <= high

    def test_every_pair_is_scored_by_a_map_that_has_not_seen_its_group(self):
        images, texts = pairs()
        _, fold = alignment.cross_fitted_maps(images, texts, GROUPS)
        assert all(len(set(fold[group == GROUPS])) == 1 for group in GROUPS)
        assert sorted(set(fold)) == [0, 1, 2, 3, 4]

    def test_a_stronger_penalty_changes_less(self):
        images, texts = pairs()
        weak, strong = (alignment.fit_map(images, texts, s) - np.eye(D) for s in (1e-3, 1e3))
        assert np.linalg.norm(strong) < 0.01 * np.linalg.norm(weak)

    def test_the_map_is_the_minimum_of_its_loss(self):
        images, texts = pairs()
        found = alignment.fit_map(images, texts, 0.1)

        def loss(repair):
            scores = np.einsum("nid,de,nje->nij", images, repair, texts)
            margins = scores[:, [0, 1], [0, 1]] - scores[:, [0, 1], [1, 0]]
            plain = np.einsum("nid,njd->nij", images, texts)
            goal = 2 * (plain[:, [0, 1], [0, 1]] - plain[:, [0, 1], [1, 0]]).std()
            moved = np.linalg.norm(texts[:, 0] - texts[:, 1], axis=1)
            penalty = 0.1 * (moved**2).mean() * ((repair - np.eye(D)) ** 2).sum()
            return ((margins - goal) ** 2).sum() + penalty

        rng = np.random.default_rng(0)
        nearby = [found + 1e-2 * rng.normal(size=(D, D)) for _ in range(20)]
        assert loss(found) < min(map(loss, nearby))
        assert loss(found) < loss(np.eye(D))

    def test_what_cannot_be_repaired(self):
        images, texts = pairs()
        with pytest.raises(ValueError, match="of 2 groups"):
            alignment.cross_fitted_maps(images, texts, np.arange(N) % 2)
        with pytest.raises(ValueError, match="unknown side 'both'"):
            alignment.matching_table(images, texts, side="both")
        with pytest.raises(ValueError, match="1 pair_ids for 120 pairs"):
            alignment.matching_table(images, texts, pair_ids=["a"])


def test_retrieval_searches_the_texts_of_all_pairs_in_the_same_place():
    images, texts = pairs()
    table = alignment.retrieval_table(images, texts)
    assert (table["n_options"] == N).all() and table["correct"].mean() > 0.95
    row = table.iloc[3]  # the second image of the second pair
    scores = texts[:, 1] @ images[1, 1]
    assert row["score_own"] == pytest.approx(scores[1])
    assert row["score_other"] == pytest.approx(np.delete(scores, 1).max())


def test_a_turning_direction_parts_the_images_where_they_differ_and_not_where_the_texts_do():
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(2, 60, 1, 8)).repeat(2, axis=2)
    images[..., 0] = [0.5, -0.5]
    texts[..., 1] = [0.5, -0.5]
    images += 0.05 * rng.normal(size=images.shape)
    images, texts = (x / np.linalg.norm(x, axis=2, keepdims=True) for x in (images, texts))
    found = alignment.turned_scores(images, texts, (0, 90))
    assert found[0].shape == (30, 2)
    assert np.mean(found[90][:, 0] > found[90][:, 1]) > 0.95
    assert 0.2 < np.mean(found[0][:, 0] > found[0][:, 1]) < 0.8
    np.testing.assert_allclose(found[90].sum(axis=1), 0, atol=1e-12)


def test_turning_needs_pairs_and_texts_that_differ():
    same = np.ones((6, 2, 3)) / 3**0.5
    with pytest.raises(ValueError, match="at least four pairs"):
        alignment.turned_scores(same[:2], same[:2], (0,))
    with pytest.raises(ValueError, match="texts do not differ"):
        alignment.turned_scores(same, same, (0,))
