"""Held-out ridge predictions find what all groups share, and not what is a group's own."""

from __future__ import annotations

import numpy as np
import pytest

from erragree_utils.measures.ridge import held_out_predictions


@pytest.fixture
def made():
    """Features whose first number tells the target, targets, and twenty groups."""
    rng, y = np.random.default_rng(0), np.tile([1.0, -1.0], 100)
    x = rng.normal(size=(200, 30))
    x[:, 0] += 4 * y
    return x, y, np.arange(200) // 10


def test_a_direction_that_all_groups_share_is_read(made):
    x, y, groups = made
    read = held_out_predictions(x @ x.T / x.shape[1], y, groups)
    assert (np.sign(read) == y).mean() > 0.95


def test_a_target_that_is_a_groups_own_is_not(made):
    x, _, groups = made
    marks = np.eye(20)[groups]  # each group has a feature of its own
    y = np.where(groups % 2, 1.0, -1.0)
    read = held_out_predictions(marks @ marks.T, y, groups)
    assert np.abs(read).max() < 1e-6


def test_another_seed_makes_other_folds(made):
    x, y, groups = made
    kernel = x @ x.T / x.shape[1]
    same = [held_out_predictions(kernel, y, groups, seed) for seed in (0, 0, 1)]
    assert (same[0] == same[1]).all() and not np.allclose(same[0], same[2])
