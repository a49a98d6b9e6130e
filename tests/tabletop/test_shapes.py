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


@pytest.mark.parametrize(("kind", "variant"), shapes.VARIANTS)
def test_a_variant_is_the_kind_with_other_parts_in_the_same_place(kind, variant):
    plain, other = (shapes.primitives(kind, "red", 5, v) for v in ("", variant))
    assert plain.shape != other.shape or not np.allclose(plain, other)
    low, high = np.reshape(shapes.bounding_box(kind, 5, variant), (2, 3))
    assert -0.2 < low[1] < 0.05 and (high > low).all()
    # the first part, the body, is as large as ever: no variant is told by its size
    if kind != "table":
        assert np.allclose(plain[0, 3:9], other[0, 3:9])


@pytest.mark.parametrize(
    ("kind", "colour", "instance", "variant", "word"),
    [
        ("spoon", "red", 0, "", "spoon"),
        ("mug", "mauve", 0, "", "mauve"),
        ("mug", "red", 99, "", "99"),
        ("candle", "red", 0, "blue", "'out'"),
        ("mug", "red", 0, "out", "none"),
    ],
)
def test_what_does_not_exist_is_named_in_the_error(kind, colour, instance, variant, word):
    with pytest.raises(ValueError, match=word):
        shapes.primitives(kind, colour, instance, variant)
