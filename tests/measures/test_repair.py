"""Linear repairs of matching, on embeddings made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from erragree_utils.measures import repair
from erragree_utils.measures.accuracy import summarize
from erragree_utils.measures.agreement import cosine
from erragree_utils.measures.matching import matching_table
from erragree_utils.measures.repair import fit_maps, plant_side, repair_curve, turn_down
from tests.measures.by_hand import GROUPS, D, N, pairs, unit


def margins_of(images, texts):
    scores = np.einsum("nid,njd->nij", images, texts)
    return scores[:, [0, 1], [0, 1]] - scores[:, [0, 1], [1, 0]]


def differing(images_along: int, texts_along: int, spread: float = 0.1):
    """Pairs whose differences have a common part of 0.05 along an axis, and noise of their own."""
    rng = np.random.default_rng(0)
    images, texts = unit(rng.normal(size=(2, N, 1, D))).repeat(2, axis=2)
    for x, along, noise in ((images, images_along, spread), (texts, texts_along, 0.005)):
        x += noise * rng.normal(size=x.shape)
        x[:, :, along] += [0.025, -0.025]
    return images, texts


def texts_mapped(images, texts, **options):
    return repair_curve(images, texts, GROUPS, **options).loc["texts"]


class TestMaps:
    @pytest.mark.parametrize("penalty", [10.0, 0.1, 1e-3])
    def test_the_map_is_the_minimum_of_its_loss(self, penalty):
        images, texts = pairs()
        (found,) = fit_maps(images, texts, [penalty])
        spread = margins_of(images, texts).std()

        def loss(map_):
            margins = margins_of(images @ map_, texts) / spread
            return np.log1p(np.exp(-margins)).mean() + penalty * ((map_ - np.eye(D)) ** 2).sum()

        rng = np.random.default_rng(0)
        nearby = [found + 1e-3 * rng.normal(size=(D, D)) for _ in range(20)]
        assert loss(found) < min(map(loss, nearby))
        assert loss(found) < loss(np.eye(D))

    def test_a_map_of_the_texts_is_one_of_the_images(self):
        images, texts = pairs()
        (one,) = fit_maps(images, texts, [0.01])
        np.testing.assert_allclose(
            margins_of(images, texts @ one.T), margins_of(images @ one, texts), atol=1e-12
        )

    def test_a_stronger_penalty_changes_less(self):
        strong, weak = fit_maps(*pairs(), [1e3, 1e-3]) - np.eye(D)
        assert np.linalg.norm(strong) < 0.01 * np.linalg.norm(weak)

    def test_maps_do_not_depend_on_the_penalties_before(self):
        along = fit_maps(*pairs(), [10, 1, 0.1, 0.01])[-1]
        (alone,) = fit_maps(*pairs(), [0.01])
        np.testing.assert_allclose(along, alone, atol=1e-4 * np.abs(alone).max())


class TestRepairCurve:
    def test_what_the_embedding_holds_is_recovered_on_unseen_groups(self):
        table = texts_mapped(*pairs(), splits=1)
        assert table["pair"].iloc[0] < 0.25 < 0.9 < table["pair"].max()
        assert table["relative"].iloc[-1] > 0.95
        assert table["log_loss"].iloc[-1] < table["log_loss"].iloc[0]
        # What it costs is the retrieval lost, and all lie in their intervals.
        np.testing.assert_allclose(table["cost"], table["retrieval"].iloc[0] - table["retrieval"])
        for name in ("relative", "pair", "retrieval", "cost"):
            inside = table[name].between(table[f"{name}_low"], table[f"{name}_high"])
            assert inside.all(), name

    def test_what_it_does_not_hold_is_not(self):
        table = texts_mapped(*pairs(held=False), splits=1)
        assert (table["relative_low"] < 0.6).all() and (table["pair"] < 0.4).all()

    def test_a_planted_side_is_hidden_from_matching_and_brought_back(self):
        _, texts = pairs()
        images = texts.mean(axis=1, keepdims=True).repeat(2, axis=1)
        images[:, :, D // 2 :] = 0  # as in real embeddings, objects do not vary in all dimensions
        images = plant_side(unit(images), texts, 0.2)
        np.testing.assert_allclose(np.linalg.norm(images, axis=2), 1)
        apart = np.linalg.norm(images[:, 0] - images[:, 1], axis=1).mean()
        assert apart == pytest.approx(0.2, 0.05)
        table = repair_curve(images, texts, GROUPS, splits=1).loc["images"]
        assert table["pair"].iloc[0] < 0.25 and table["pair"].iloc[-1] > 0.9

    def test_a_side_planted_in_each_group_s_own_direction_does_not_come_back(self):
        images, texts = pairs(held=False)
        own = plant_side(images, texts, 0.5, GROUPS)
        apart = own[:, 0] - own[:, 1]
        same = np.equal.outer(np.asarray(GROUPS), np.asarray(GROUPS))
        alike = unit(apart) @ unit(apart).T
        assert alike[same].mean() > 0.8 and abs(alike[~same].mean()) < 0.2
        assert texts_mapped(own, texts, splits=1)["relative"].max() < 0.75

    def test_the_first_row_is_plain_matching_and_costs_nothing(self):
        images, texts = pairs()
        first = texts_mapped(images, texts, penalties=[1.0]).iloc[0]
        plain = summarize(matching_table(images, texts)).iloc[0]
        assert first["pair"] == plain["pair_accuracy"]
        assert first["cost"] == first["cost_low"] == first["cost_high"] == 0
        scores = np.einsum("nid,mid->nim", images, texts).argmax(axis=2)
        assert first["retrieval"] == (scores == np.arange(N)[:, None]).mean()

    def test_one_penalty_is_named_by_its_log_loss_with_room_for_error(self):
        table = texts_mapped(*differing(3, 3))
        assert table["named"].sum() == 1
        assert table.index[table["named"]][0] >= table["log_loss"].idxmin()

    def test_noise_in_the_last_digits_moves_nothing_visible(self):
        rng = np.random.default_rng(0)
        both = differing(3, 4)
        noisy = [x * (1 + 1e-6 * rng.normal(size=x.shape)) for x in both]
        first, second = (texts_mapped(*x) for x in (both, noisy))
        shown = ["relative", "pair", "retrieval", "cost"]
        assert (first[shown] - second[shown]).abs().max(axis=None) <= 1 / N
        assert (first["named"] == second["named"]).all()
        np.testing.assert_allclose(first["log_loss"], second["log_loss"], rtol=1e-3)

    def test_every_pair_is_scored_by_a_map_that_has_not_seen_its_group(self, monkeypatch):
        images, texts = pairs()
        names = {image.tobytes(): group for image, group in zip(images, GROUPS, strict=True)}
        seen, fit = [], repair.fit_maps

        def spy(images, texts, penalties):
            seen.append({names[image.tobytes()] for image in images})
            return fit(images, texts, penalties)

        monkeypatch.setattr(repair, "fit_maps", spy)
        repair_curve(images, texts, GROUPS, [1.0], splits=2)
        assert len(seen) == 2 * 5
        for split in (seen[:5], seen[5:]):
            held_out = [set(GROUPS) - groups for groups in split]
            assert sum(map(len, held_out)) == len(set(GROUPS)) == len(set.union(*held_out))
        assert seen[:5] != seen[5:]

    def test_sides_differ_by_the_length_of_what_is_mapped_alone(self):
        images, texts = pairs()
        both = repair_curve(images, texts, GROUPS, [1e3, 0.01], splits=1)
        assert both.index.names == ["side", "penalty"]
        one, two = both.loc["texts"], both.loc["images"]
        shown = ["relative", "pair", "retrieval"]
        # Without a map there is nothing to scale; with a map, an image's own length decides nothing
        # about which of its texts is best, and a text's does.
        np.testing.assert_allclose(one[shown].iloc[:2], two[shown].iloc[:2], atol=1 / N)
        (map_,) = fit_maps(images, texts, [0.01])
        plain = margins_of(images @ map_, texts) > 0
        scaled = margins_of(unit(images @ map_), texts) > 0
        assert (plain == scaled).all()

    def test_what_cannot_be_repaired(self):
        images, texts = pairs()
        with pytest.raises(ValueError, match="5 groups or more; there are 120 of 2 groups"):
            repair_curve(images, texts, np.arange(N) % 2)
        with pytest.raises(ValueError, match="each of 120 examples"):
            repair_curve(images, texts, [1, 2])


def test_turning_down_what_differs_raises_the_cosine_and_can_be_undone():
    rng = np.random.default_rng(0)
    side = rng.normal(size=D)
    pairs = rng.normal(size=(50, 1, D)) + np.array([[0.5], [-0.5]]) * side
    map_ = turn_down(pairs, 10)
    np.testing.assert_allclose(map_, map_.T, atol=1e-12)
    np.testing.assert_allclose(pairs @ map_ @ np.linalg.inv(map_), pairs, atol=1e-9)
    before, after = (cosine(x[:, 0], x[:, 1]).mean() for x in (pairs, pairs @ map_))
    assert after > before
    np.testing.assert_allclose(turn_down(pairs, 0), np.eye(D), atol=1e-12)
