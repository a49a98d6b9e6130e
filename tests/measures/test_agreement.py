"""Cosines within pairs and between sets."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from erragree_utils.benchmarks import Benchmark, ImagePair
from erragree_utils.measures import agreement


class Pixels:
    """An embedding that can be computed by hand: the colour of the first pixel."""

    def __init__(self):
        self.encoded = 0

    def embed_images(self, images, batch_size=64, progress=False):
        rows = [np.asarray(image, np.float32)[0, 0] for image in images]
        self.encoded += len(rows)
        return np.stack(rows)


def picture(colour) -> Image.Image:
    return Image.new("RGB", (4, 4), colour)


def bench(*colours, sets=None) -> Benchmark:
    pairs = [
        ImagePair(f"p{i}", f"s{sets[i] if sets else i}", "left/right", ("l", "r"),
                  tuple(picture(colour) for colour in pair))
        for i, pair in enumerate(colours)
    ]  # fmt: skip
    return Benchmark("colours", tuple(pairs))


RED, GREEN, YELLOW = (255, 0, 0), (0, 255, 0), (255, 255, 0)


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


def test_pair_cosines_have_a_row_for_each_pair_in_order():
    table = agreement.pair_cosines(Pixels(), bench((RED, RED), (RED, YELLOW), (RED, GREEN)))
    assert list(table.columns) == ["pair_id", "relation", "cosine"]
    assert table["pair_id"].tolist() == ["p0", "p1", "p2"]
    np.testing.assert_allclose(table["cosine"], [1, 0.5**0.5, 0], atol=1e-6)


def test_random_pairs_are_of_different_sets():
    # Within a set everything is alike, between sets nothing is.
    colours = bench((RED, RED), (RED, RED), (GREEN, GREEN), (GREEN, GREEN), sets=[0, 0, 1, 1])
    table = agreement.random_pair_cosines(Pixels(), colours, n=200)
    assert len(table) == 200
    assert set(table["relation"]) == {"random"}
    np.testing.assert_allclose(table["cosine"], 0, atol=1e-6)


def test_random_pairs_follow_the_seed():
    colours = bench((RED, YELLOW), (GREEN, RED), (YELLOW, GREEN))
    draw = lambda seed: agreement.random_pair_cosines(Pixels(), colours, n=20, seed=seed)  # noqa: E731
    assert draw(1).equals(draw(1))
    assert not draw(1).equals(draw(2))
    assert len(agreement.random_pair_cosines(Pixels(), colours)) == 3


def test_an_image_that_pairs_share_is_encoded_once(tmp_path):
    path = tmp_path / "red.png"
    picture(RED).save(path)
    shared = picture(GREEN)
    pairs = tuple(
        ImagePair(f"p{i}", f"s{i}", "left/right", ("l", "r"), (path, shared)) for i in range(3)
    )
    model = Pixels()
    embedded = agreement.image_embeddings(model, Benchmark("shared", pairs))
    assert model.encoded == 2
    assert all(rows.tolist() == [[255, 0, 0], [0, 255, 0]] for rows in embedded.values())


def test_embeddings_at_hand_are_not_computed_again():
    colours, model = bench((RED, YELLOW), (GREEN, RED)), Pixels()
    embedded = agreement.image_embeddings(model, colours)
    again = agreement.pair_cosines(model, colours, embeddings=embedded)
    agreement.random_pair_cosines(model, colours, embeddings=embedded)
    assert model.encoded == 4
    assert again.equals(agreement.pair_cosines(Pixels(), colours))


def test_what_a_pair_is_beyond_is_a_quantile_over_images_of_other_sets():
    colours = bench((RED, YELLOW), (GREEN, GREEN), (RED, RED), sets="aab")
    table = agreement.beyond_unrelated(Pixels(), colours, share=0.5)
    # Of the first pair, red and yellow meet the red of set b alone; the red meets both pairs of a.
    expected = [(1 + 0.5**0.5) / 2, 0, (0.5**0.5 + 0) / 2]
    np.testing.assert_allclose(table["unrelated"], expected, atol=1e-12)
    np.testing.assert_allclose(table["beyond"], table["cosine"] - table["unrelated"])
    with pytest.raises(ValueError, match="two sets"):
        agreement.beyond_unrelated(Pixels(), bench((RED, GREEN)))


def test_benchmarks_without_pairs_or_sets_are_refused():
    with pytest.raises(ValueError, match="'p0' has one image"):
        agreement.pair_cosines(Pixels(), bench((RED,)))
    with pytest.raises(ValueError, match="no pairs"):
        agreement.pair_cosines(Pixels(), bench())
    with pytest.raises(ValueError, match="there are 1 sets"):
        agreement.random_pair_cosines(Pixels(), bench((RED, GREEN)))


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

    def test_the_reference_gives_the_mean(self):
        first, second = clouds(0)
        far = agreement.agreement_table(first, second, reference=first - 10)["centred"]
        assert far.mean() > agreement.agreement_table(first, second)["centred"].mean() + 0.5
        with pytest.raises(ValueError, match="two rows"):
            agreement.agreement_table(first, second, reference=first[:1])


class TestSeparation:
    GROUPS = np.arange(200) // 4

    @pytest.mark.parametrize("direction", ["mean", "lda"])
    def test_it_is_the_distance_in_units_of_spread(self, direction):
        found = agreement.separation(*clouds(3.0), self.GROUPS, direction)
        assert found["d_prime"] == pytest.approx(3, abs=0.35)
        assert found["accuracy"] == pytest.approx(stats.norm.cdf(found["d_prime"] / 2))

    def test_clouds_that_do_not_differ_are_apart_only_where_the_direction_was_chosen(self):
        found = agreement.separation(*clouds(0, dimensions=100), self.GROUPS)
        assert abs(found["d_prime"]) < 0.3 < 0.8 < found["d_prime_seen"]

    def test_lda_finds_a_direction_of_little_spread(self):
        spread = np.geomspace(3, 0.05, 20)
        first, second = (cloud * spread for cloud in clouds(4.0))
        apart = {
            how: agreement.separation(first, second, self.GROUPS, how)["d_prime"]
            for how in ("mean", "lda")
        }
        assert apart["lda"] > 2 > 0.5 > apart["mean"]

    def test_what_cannot_be_separated(self):
        first, second = clouds(0)
        with pytest.raises(ValueError, match="unknown direction"):
            agreement.separation(first, second, self.GROUPS, "pca")
        with pytest.raises(ValueError, match="3 groups for 200 pairs"):
            agreement.separation(first, second, [1, 2, 3])
        with pytest.raises(ValueError, match="there are 1 groups"):
            agreement.separation(first, second, [0] * 200)
        with pytest.raises(ValueError, match="two or more pairs"):
            agreement.separation(first, second[:, :3], self.GROUPS)


def test_shares_of_variance():
    first, second = np.array([[3.0, 1], [-3, 1]]), np.array([[3.0, -1], [-3, -1]])
    shares = agreement.variance_shares(first, second)
    assert shares.to_dict() == pytest.approx({"direction": 0.1, "within_pairs": 0.1, "equal": 0.5})
    with pytest.raises(ValueError, match="all embeddings are equal"):
        agreement.variance_shares(np.ones((2, 2)), np.ones((2, 2)))


def test_mining_is_part_of_it_and_nothing_else_needs_pytorch():
    code = (
        "import sys; from erragree_utils.measures import agreement; "
        "assert 'torch' not in sys.modules; "
        "agreement.mine_blind_pairs; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'mine_blind'"):
        _ = agreement.mine_blind
