"""A thing goes round its furniture, from one image of a pair to the other."""

from __future__ import annotations

import numpy as np
import pytest

from erragree_utils.benchmarks import load_benchmark
from erragree_utils.benchmarks.way import at_the_edge, way
from erragree_utils.images import central_square


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


def test_a_thing_at_the_edge_of_a_landscape_is_not_in_the_square_at_its_centre():
    picture = at_the_edge(seed=0)  # a red pear
    assert picture.size == (400, 300)

    def red(image) -> np.ndarray:
        pixels = np.asarray(image, int)
        return (pixels[..., 0] > 150) & (pixels[..., 1:].max(axis=-1) < 60)

    assert red(picture)[:, :40].sum() > 100
    assert not red(central_square(picture)).any()
