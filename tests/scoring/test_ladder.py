"""Kinds of change, by agreement and matching, with colours whose cosines are known."""

from __future__ import annotations

import numpy as np
import pytest

from erragree_utils.scoring.embeddings import image_embeddings
from erragree_utils.scoring.ladder import ladder

RED, GREEN, BLUE, REDDISH = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 40, 0)


@pytest.fixture
def pairs(pair):
    """Pairs of a small change that no caption tells, and of a large one that captions tell."""
    small = [(RED, REDDISH), (GREEN, (40, 255, 0)), (BLUE, (0, 40, 255))] * 4
    large = [("red", RED, "green", GREEN), ("green", GREEN, "blue", BLUE)] * 4
    large += [("blue", BLUE, "red", GREEN)] * 4  # the second image is not what its caption says
    return [
        *(pair(f"s{k}", ("a red mug",) * 2, two, relation="shade") for k, two in enumerate(small)),
        *(
            pair(f"l{k}", (one, other), (a, b), relation="colour")
            for k, (one, a, other, b) in enumerate(large)
        ),
    ]


def test_the_most_alike_comes_first_with_agreement_and_accuracy(colours, pairs):
    table = ladder(colours, pairs)
    assert table.index.tolist() == ["shade", "colour"]
    assert (table["n_pairs"] == 12).all()
    assert table.loc["shade", "cosine"] == pytest.approx(255 / np.hypot(255, 40))
    assert table.loc["colour", "cosine"] == 0
    assert table.loc["colour", "pair_accuracy"] == pytest.approx(2 / 3)
    assert (table["agreement_low"] <= table["agreement"]).all()
    assert (table["agreement"] <= table["agreement_high"]).all()


def test_captions_that_are_the_same_leave_nothing_to_match(colours, pairs):
    assert ladder(colours, pairs).loc["shade"].filter(like="accuracy").isna().all()


def test_embeddings_at_hand_are_not_computed_again(colours, pairs):
    embedded = image_embeddings(colours, pairs)
    seen = colours.images
    assert ladder(colours, pairs, embedded).equals(ladder(type(colours)(), pairs))
    assert colours.images == seen
