"""A thing goes round its furniture, from one image of a pair to the other."""

from __future__ import annotations

import numpy as np
import pytest

from erragree_utils.benchmarks import load_benchmark
from erragree_utils.benchmarks.way import way


@pytest.fixture(scope="module")
def round_it():
    return way(number=2, seed=1, n_frames=5)


def test_the_way_begins_and_ends_with_a_pair_of_the_benchmark(round_it):
    pair = load_benchmark("tabletop-a", seed=1, n_sets=3, relation="left/right")[-1]
    assert round_it.captions == pair.captions and round_it.mover in pair.captions[0]
    images = round_it.images()
    assert len(images) == 5
    for image, own in zip((images[0], images[-1]), pair.images, strict=True):
        assert np.abs(np.asarray(image, int) - np.asarray(own, int)).mean() < 0.5


def test_it_goes_from_left_to_right(round_it):
    places = round_it.places
    assert places == sorted(places) and 0 < places[0] < 0.5 < places[-1] < 1
    assert round_it.images(20)[0].size == (20, 20)
