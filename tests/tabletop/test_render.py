"""The ray tracer: what it shows, and that it shows the same again."""

import numpy as np
import pytest

from erragree_utils.tabletop import render, scenes
from erragree_utils.tabletop.scenes import Scene, Thing

MUG = Thing("mug", "red")


def column_of(hits, thing=0):
    """Mean column, in units of the image's width, of the pixels that show a thing."""
    return np.nonzero(hits == 2 + thing)[1].mean() / hits.shape[1]


def test_an_image_and_what_each_pixel_shows():
    image, hits = render.render_scene(Scene((MUG,)), size=48)
    assert image.shape == (48, 48, 3) and image.dtype == np.uint8
    assert hits.shape == (48, 48)
    assert {0, 1, 2} <= set(np.unique(hits).tolist())  # ground, wall, mug


def test_left_is_left_in_the_image():
    left, right = (
        render.render_scene(Scene(scenes.arrange(MUG, Thing("ball", "blue"), relation)), 48)[1]
        for relation in ("left of", "right of")
    )
    assert column_of(left, 0) < column_of(left, 1)
    assert column_of(right, 0) > column_of(right, 1)


def test_the_thing_in_front_is_lower_and_larger():
    _, hits = render.render_scene(
        Scene(scenes.arrange(MUG, Thing("mug", "blue"), "in front of")), 64
    )
    rows = [np.nonzero(hits == 2 + i)[0] for i in (0, 1)]
    assert rows[0].mean() > rows[1].mean()
    assert len(rows[0]) > len(rows[1])


def test_colours_are_those_that_the_caption_names():
    for colour, channel in (("red", 0), ("green", 1), ("blue", 2)):
        image, hits = render.render_scene(Scene((Thing("ball", colour),)), 64)
        assert image[hits == 2].mean(0).argmax() == channel


def test_things_cast_shadows():
    bare, _ = render.render_scene(Scene((), light="evening"), 64)
    shaded, hits = render.render_scene(Scene((Thing("box", "red"),), light="evening"), 64)
    ground = hits == 0
    assert (bare[ground].astype(int) - shaded[ground]).max() > 20


def test_further_away_is_smaller():
    near, far = (
        (render.render_scene(Scene((MUG,), view=scenes.View(distance=d)), 64)[1] == 2).sum()
        for d in (6.0, 9.0)
    )
    assert near > 1.5 * far > 0


def test_antialiasing_smooths_edges_and_leaves_the_rest():
    """A finer picture, averaged down, is nearer to the antialiased one than to the raw one."""
    scene = Scene((MUG,))
    raw, smooth = (render.render_scene(scene, 40, n)[0].astype(float) for n in (1, 4))
    fine = render.render_scene(scene, 160, 2)[0].astype(float)
    fine = np.sqrt((fine**2).reshape(40, 4, 40, 4, 3).mean((1, 3)))
    assert np.abs(smooth - fine).mean() < np.abs(raw - fine).mean()


def test_many_scenes_equal_one_at_a_time_on_any_number_of_threads():
    batch = [Scene((MUG,)), Scene((Thing("ball", "blue"),), place="garden")]
    together = render.render_many(batch, 32, threads=2)
    assert np.array_equal(together, render.render_many(batch, 32, threads=1))
    assert np.array_equal(together[1], render.render_scene(batch[1], 32)[0])
    assert render.render_many([], 32).shape == (0, 32, 32, 3)


@pytest.mark.parametrize(("size", "supersample"), [(0, 1), (32, 0)])
def test_sizes_must_be_positive(size, supersample):
    with pytest.raises(ValueError, match="positive"):
        render.render_scene(Scene((MUG,)), size, supersample)
