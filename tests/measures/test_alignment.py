"""Angles between differences, on embeddings made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from erragree_utils.measures import alignment
from erragree_utils.measures.matching import matching_table
from tests.measures.by_hand import GROUPS, D, N, pairs, unit


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
        scores = matching_table(images, texts)
        margins = (scores["score_own"] - scores["score_other"]).to_numpy().reshape(-1, 2).sum(1)
        table = alignment.difference_angles(images, texts)
        np.testing.assert_allclose(table["margin_sum"], margins, atol=1e-12)
        product = table["cosine"] * table["image_difference"] * table["text_difference"]
        np.testing.assert_allclose(product, margins, atol=1e-12)

    def test_shapes_are_checked(self):
        images, _ = pairs()
        with pytest.raises(ValueError, match=r"\(N, 2, D\)"):
            alignment.difference_angles(images, images[:, :1])
        with pytest.raises(ValueError, match="NaN"):
            alignment.difference_angles(images, np.where(images > 0.1, np.nan, images))


def differing(images_along: int, texts_along: int, spread: float = 0.1):
    """Pairs whose differences have a common part of 0.05 along an axis, and noise of their own."""
    rng = np.random.default_rng(0)
    images, texts = unit(rng.normal(size=(2, N, 1, D))).repeat(2, axis=2)
    for x, along, noise in ((images, images_along, spread), (texts, texts_along, 0.005)):
        x += noise * rng.normal(size=x.shape)
        x[:, :, along] += [0.025, -0.025]
    return images, texts


class TestMeanDifference:
    def test_the_angle_within_pairs_hides_what_the_means_show(self):
        same, other = differing(3, 3), differing(3, 4)
        for images, texts in (same, other):
            assert alignment.difference_angles(images, texts)["angle"].mean() > 80
        same, other = (alignment.mean_difference(*x, GROUPS) for x in (same, other))
        assert same["reachable"] > 0.5
        assert same["cosine_low"] < same["reachable"] < same["cosine_high"]
        assert same["cosine_low"] > 0.2
        assert same["share"] == pytest.approx(same["cosine"] / same["reachable"])
        assert same["share_low"] > 0.3 and other["share_high"] < 0.5
        assert same["image_reliability_low"] > 0
        assert other["cosine_low"] < 0 < other["cosine_high"] < other["reachable"] / 2

    def test_the_ceiling_is_the_angle_of_a_text_along_the_mean_difference(self):
        images, texts = differing(3, 3)
        found = alignment.mean_difference(images, texts, GROUPS)["ceiling"]
        texts = np.zeros_like(images)
        texts[:, :, 3] = [0.5, -0.5]
        true = alignment.difference_angles(images, texts)["angle"].mean()
        assert true < found < 90
        assert found == pytest.approx(true, abs=4)

    def test_without_a_common_direction_nothing_can_be_reached(self):
        images, texts = differing(3, 3)
        turned = np.where(np.arange(N) % 2, 1, -1)[:, None, None]
        images = images.mean(1, keepdims=True) + turned * (images - images.mean(1, keepdims=True))
        found = alignment.mean_difference(images, texts, GROUPS)
        assert found["image_reliability"] < 0.3 and found["text_reliability"] > 0.9
        assert found["reachable"] <= 0.5

    def test_noise_that_images_and_texts_of_a_pair_share_is_no_agreement(self):
        # Each object has an axis of its own for both, as a changed colour has.
        rng = np.random.default_rng(1)
        moved = rng.normal(size=(N, D))
        images = np.stack([moved, -moved], axis=1)
        found = alignment.mean_difference(images, images, GROUPS)
        assert alignment.difference_angles(images, images)["angle"].max() < 1e-3
        assert found["cosine_low"] < 0.2 and abs(found["cosine"]) < 0.3

    def test_groups_are_checked(self):
        images, texts = pairs()
        with pytest.raises(ValueError, match="120 of 3 groups"):
            alignment.mean_difference(images, texts, np.arange(N) % 3)
        with pytest.raises(ValueError, match="5 of 5 groups"):
            alignment.mean_difference(images, texts, range(5))


def test_a_turning_direction_parts_the_images_where_they_differ_and_not_where_the_texts_do():
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(2, 60, 1, 8)).repeat(2, axis=2)
    images[..., 0] = [0.5, -0.5]
    texts[..., 1] = [0.5, -0.5]
    images += 0.05 * rng.normal(size=images.shape)
    images, texts = (x / np.linalg.norm(x, axis=2, keepdims=True) for x in (images, texts))
    found = alignment.turned_scores(images, texts, np.arange(60), (0, 90))
    assert found[0].shape == (30, 2)
    assert np.mean(found[90][:, 0] > found[90][:, 1]) > 0.95
    assert 0.2 < np.mean(found[0][:, 0] > found[0][:, 1]) < 0.8
    np.testing.assert_allclose(found[90].sum(axis=1), 0, atol=1e-12)


def test_the_direction_comes_from_other_groups_than_the_pairs_shown():
    # Two groups whose sides lie on different axes: the axis of one does not part the other.
    rng = np.random.default_rng(0)
    group = np.arange(40) % 2
    images, texts = rng.normal(size=(2, 40, 1, 8)).repeat(2, axis=2)
    for k in (0, 1):
        images[group == k, :, k] = [0.5, -0.5]
    texts[..., 2] = [0.5, -0.5]
    images, texts = unit(images), unit(texts)
    places = alignment.turned_scores(images, texts, group, (90,))[90]
    assert places.shape == (20, 2)
    assert np.abs(places[:, 0] - places[:, 1]).max() < 0.1
    apart = np.abs(images[:, 0] - images[:, 1]).max()
    assert apart > 0.2


def test_turning_needs_groups_and_texts_that_differ():
    same = np.ones((6, 2, 3)) / 3**0.5
    with pytest.raises(ValueError, match="6 of 1 groups"):
        alignment.turned_scores(same, same, [0] * 6, (0,))
    with pytest.raises(ValueError, match="2 of 2 groups"):
        alignment.turned_scores(same, same, [0, 1], (0,))
    with pytest.raises(ValueError, match="texts do not differ"):
        alignment.turned_scores(same, same, range(6), (0,))
