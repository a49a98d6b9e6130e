"""Kinds of objects, their colours and instances."""

import numpy as np
import pytest

from erragree_utils.tabletop import shapes


def test_the_world_has_many_kinds_and_colours():
    assert len(shapes.KINDS) >= 24
    assert len(shapes.COLOURS) >= 8


@pytest.mark.parametrize("kind", shapes.KINDS)
def test_every_kind_stands_on_the_ground_and_shows_its_colour(kind):
    for instance in (0, 1, 31):
        low, high = np.reshape(shapes.bounding_box(kind, instance), (2, 3))
        assert -0.2 < low[1] < 0.05
        assert (high > low).all()
    red, blue = (shapes.primitives(kind, colour) for colour in ("red", "blue"))
    assert not np.allclose(red[:, 12:15], blue[:, 12:15])


@pytest.mark.parametrize("kind", shapes.SMALL)
def test_small_objects_fit_under_all_furniture(kind):
    """Heights are of the shape, not of its generous bounds, at the scales of the benchmark."""
    from erragree_utils.tabletop import scenes

    clearance = min(shapes.SEAT.values()) * scenes.FURNITURE_SCALE
    for instance in range(shapes.INSTANCES):
        top = shapes.bounding_box(kind, instance)[4] * scenes.SMALL_SCALE
        assert top < clearance


def test_instances_of_a_kind_differ_in_build_and_tone():
    builds = {shapes.build("mug", i) for i in range(shapes.INSTANCES)}
    tones = {tuple(shapes.primitives("mug", "red", i)[0, 12:15]) for i in range(shapes.INSTANCES)}
    assert len(builds) == len(tones) == shapes.INSTANCES


@pytest.mark.parametrize(
    ("kind", "colour", "instance", "word"),
    [("spoon", "red", 0, "spoon"), ("mug", "mauve", 0, "mauve"), ("mug", "red", 99, "99")],
)
def test_what_does_not_exist_is_named_in_the_error(kind, colour, instance, word):
    with pytest.raises(ValueError, match=word):
        shapes.primitives(kind, colour, instance)
