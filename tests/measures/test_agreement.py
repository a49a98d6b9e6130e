"""Cosines and their relatives, and distances between clouds made by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from erragree_utils.measures import agreement


def test_cosine_is_row_by_row_and_does_not_depend_on_length():
    a, b = np.array([[2, 0], [1, 1], [1, 0]]), np.array([[3, 0], [0, 5], [-1, 0]])
    np.testing.assert_allclose(agreement.cosine(a, b), [1, 0.5**0.5, -1])


def test_cosine_never_exceeds_one():
    rows = np.random.default_rng(0).normal(size=(500, 33)).astype(np.float32)
    assert agreement.cosine(rows, rows * np.float32(1.7)).max() <= 1


def test_vectors_without_direction_and_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="row 1 is zero"):
        agreement.cosine(np.array([[1.0, 0], [0, 0]]), np.ones((2, 2)))
    with pytest.raises(ValueError, match="row 0 is zero or not finite"):
        agreement.cosine(np.array([[np.nan, 0]]), np.ones((1, 2)))
    with pytest.raises(ValueError, match="same shape"):
        agreement.cosine(np.ones((2, 2)), np.ones((1, 2)))


class TestRankCorrelation:
    def test_it_is_spearmans(self):
        rng = np.random.default_rng(0)
        a, b = rng.normal(size=(4, 30)), rng.integers(0, 5, (4, 30))  # with ties
        expected = [stats.spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
        np.testing.assert_allclose(agreement.rank_correlation(a, b), expected)

    def test_three_numbers_agree_once_in_six_times(self):
        rng = np.random.default_rng(0)
        found = agreement.rank_correlation(*rng.normal(size=(2, 6000, 3)))
        assert np.mean(found > 0.999) == pytest.approx(1 / 6, abs=0.02)

    def test_rows_without_an_order_are_refused(self):
        with pytest.raises(ValueError, match="row 0"):
            agreement.rank_correlation(np.ones((1, 3)), np.arange(3.0)[None])


def clouds(gap: float, n: int = 200, dimensions: int = 20, seed: int = 0):
    """Pairs about a mean of length 10 that differ by `gap` spreads along the last direction."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, n, dimensions))
    first[:, 0] += 10
    second[:, 0] += 10
    second[:, -1] += gap
    return first, second


class TestAgreementTable:
    def test_the_mean_that_all_share_makes_the_cosine_and_nothing_else(self):
        table = agreement.agreement_table(*clouds(0)).mean()
        assert table["cosine"] > 0.75
        assert abs(table["centred"]) < 0.1

    def test_whitening_shows_what_little_variance_hides(self):
        rng = np.random.default_rng(0)
        shared = np.repeat(rng.normal(size=(300, 1, 5)), 2, axis=1)
        shared[:, :, 0] = 0.1 * rng.normal(size=(300, 2))  # differs within a pair, but is small
        table = agreement.agreement_table(shared[:, 0], shared[:, 1]).mean()
        assert table["centred"] > 0.98
        assert table["whitened"] < 0.95


class TestNormalisedAgreement:
    @staticmethod
    def pairs(shared: float, n: int = 200):
        """Images that agree within a pair by 0.8, beside a part of length `shared` in all."""
        rng = np.random.default_rng(0)
        one, noise = rng.normal(size=(2, n, 50)) / 50**0.5
        two = 0.8 * one + 0.6 * noise
        return (np.column_stack([x, np.full(n, shared)]) for x in (one, two))

    def test_what_all_images_share_raises_the_cosine_and_leaves_the_agreement(self):
        narrow = agreement.normalised_agreement(*self.pairs(4.0))
        wide = agreement.normalised_agreement(*self.pairs(0.0))
        assert narrow["cosine"] > 0.98 > 0.85 > wide["cosine"]
        for found in (narrow, wide):
            assert found["agreement_low"] < found["agreement"] < found["agreement_high"]
            assert found["agreement"] == pytest.approx(0.8, abs=0.04)

    def test_random_is_the_mean_over_images_of_other_pairs(self):
        one, two = (x / np.linalg.norm(x, axis=1)[:, None] for x in self.pairs(1.0, 30))
        others = (one @ two.T)[~np.eye(30, dtype=bool)]
        found = agreement.normalised_agreement(3 * one, two)
        assert found["random"] == pytest.approx(others.mean())
        expected = (found["cosine"] - found["random"]) / (1 - found["random"])
        assert found["agreement"] == pytest.approx(expected)

    def test_equal_images_agree_by_one_and_images_of_other_pairs_by_zero(self):
        one, two = self.pairs(4.0)
        assert agreement.normalised_agreement(one, one)["agreement"] == pytest.approx(1)
        mixed = agreement.normalised_agreement(one, np.roll(two, 1, axis=0))
        assert mixed["agreement_low"] < 0.05 and abs(mixed["agreement"]) < 0.05

    def test_what_cannot_be_normalised(self):
        with pytest.raises(ValueError, match="three pairs or more"):
            agreement.normalised_agreement(np.eye(2), np.eye(2))
        with pytest.raises(ValueError, match="all embeddings are equal"):
            agreement.normalised_agreement(np.ones((4, 3)), np.ones((4, 3)))


class TestSeparation:
    GROUPS = np.arange(200) // 4

    def test_it_is_the_distance_in_units_of_spread(self):
        found = agreement.separation(*clouds(3.0), self.GROUPS)
        assert found["d_prime"] == pytest.approx(3, abs=0.35)
        assert found["accuracy"] == pytest.approx(stats.norm.cdf(found["d_prime"] / 2))

    def test_clouds_that_do_not_differ_are_apart_only_where_the_direction_was_chosen(self):
        found = agreement.separation(*clouds(0, dimensions=100), self.GROUPS)
        assert abs(found["d_prime"]) < 0.3 < 0.8 < found["d_prime_seen"]

    def test_it_finds_a_direction_of_little_spread_where_the_difference_of_means_does_not(self):
        spread = np.geomspace(3, 0.05, 20)
        first, second = (cloud * spread for cloud in clouds(4.0))
        apart = agreement.separation(first, second, self.GROUPS)["d_prime"]
        seen, unseen = self.GROUPS % 2 == 0, self.GROUPS % 2 == 1
        axis = second[seen].mean(axis=0) - first[seen].mean(axis=0)
        sides = [cloud[unseen] @ axis for cloud in (first, second)]
        plain = (sides[1].mean() - sides[0].mean()) / np.sqrt((sides[0].var() + sides[1].var()) / 2)
        assert apart > 2 > 0.5 > plain

    def test_what_cannot_be_separated(self):
        first, second = clouds(0)
        with pytest.raises(ValueError, match="each of 200 examples.*3 of 3 groups"):
            agreement.separation(first, second, [1, 2, 3])
        with pytest.raises(ValueError, match="200 of 1 groups"):
            agreement.separation(first, second, [0] * 200)
        with pytest.raises(ValueError, match="two or more pairs"):
            agreement.separation(first, second[:, :3], self.GROUPS)


def test_shares_of_variance():
    first, second = np.array([[3.0, 1], [-3, 1]]), np.array([[3.0, -1], [-3, -1]])
    shares = agreement.variance_shares(first, second)
    assert shares.to_dict() == pytest.approx({"direction": 0.1, "within_pairs": 0.1, "equal": 0.5})
    with pytest.raises(ValueError, match="all embeddings are equal"):
        agreement.variance_shares(np.ones((2, 2)), np.ones((2, 2)))


def test_arrays_and_tables_are_measured_without_pytorch():
    code = (
        "import sys; from erragree_utils.measures import (accuracy, agreement, alignment, "
        "comparison, intervals, matching, probes, repair); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
