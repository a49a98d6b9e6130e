"""Tabletop benchmarks have the shape of What'sUp."""

import numpy as np
import pytest

from erragree_utils.benchmarks import load_benchmark
from erragree_utils.benchmarks.tabletop import load_changes, tabletop_sets, tabletop_things
from erragree_utils.scoring.captions import parse_caption
from erragree_utils.tabletop import scenes, shapes


@pytest.mark.parametrize(
    ("name", "relations"),
    [("tabletop-a", {"left/right", "on/under"}), ("tabletop-b", {"left/right", "front/behind"})],
)
def test_a_set_is_two_pairs(name, relations):
    bench = load_benchmark(name, n_sets=5)
    assert len(bench) == 10
    for i in range(0, 10, 2):
        first, second = bench[i], bench[i + 1]
        assert first.set_id == second.set_id
        assert {first.relation, second.relation} == relations
    assert len({p.pair_id for p in bench}) == 10


def test_captions_say_what_the_images_show():
    bench = load_benchmark("tabletop-a", n_sets=3)
    for four, pair in zip(
        tabletop_sets("tabletop-a", n_sets=3), bench.select("left/right"), strict=True
    ):
        names = [t.name for t in four[0].things]
        assert [s.relation for s in four[:2]] == ["left of", "right of"]
        for caption, word in zip(pair.captions, ("left", "right"), strict=True):
            assert word in caption and all(name in caption for name in names)


def test_every_set_shows_other_objects():
    sets = tabletop_sets("tabletop-b", n_sets=100)
    assert len({tuple(t.name for t in four[0].things) for four in sets}) == 100


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others():
    def pixels(seed):
        return np.stack([p.images[0] for p in load_benchmark("tabletop-a", seed=seed, n_sets=2)])

    assert np.array_equal(pixels(0), pixels(0))
    assert not np.array_equal(pixels(0), pixels(1))


def test_size_is_that_of_the_model_or_the_one_asked_for():
    assert load_benchmark("tabletop-a", n_sets=1)[0].images[0].size == (80, 80)
    assert load_benchmark("tabletop-a", n_sets=1, size=120)[0].images[0].size == (120, 120)


def test_the_gap_moves_things_and_nothing_else():
    near, far = (tabletop_sets("tabletop-b", n_sets=2, gap=gap)[0][0].things for gap in (1.2, 1.6))
    assert far[1].x - far[0].x > near[1].x - near[0].x == pytest.approx(1.2)
    assert [t.name for t in near] == [t.name for t in far]


def test_one_relation_alone_is_what_select_would_choose():
    whole = load_benchmark("tabletop-b", n_sets=2, size=24).select("front/behind")
    alone = load_benchmark("tabletop-b", n_sets=2, size=24, relation="front/behind")
    assert [p.pair_id for p in alone] == [p.pair_id for p in whole]
    assert [p.captions for p in alone] == [p.captions for p in whole]
    for a, b in zip(alone, whole, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
    with pytest.raises(ValueError, match="'tabletop-b' has no relation 'on/under'"):
        load_benchmark("tabletop-b", n_sets=2, relation="on/under")


def test_streams_of_benchmark_and_training_start_differently():
    assert scenes.TEST != scenes.TRAIN


def test_wrong_numbers_and_names_are_refused():
    with pytest.raises(ValueError, match="n_sets"):
        load_benchmark("tabletop-a", n_sets=0)
    for gap in (0, -1.6):  # a negative gap would swap the sides under unchanged captions
        with pytest.raises(ValueError, match="gap"):
            load_benchmark("tabletop-b", n_sets=1, gap=gap)
    with pytest.raises(ValueError, match="n_sets"):
        load_benchmark("tabletop-a", n_sets=10**6)
    with pytest.raises(ValueError, match="positive"):
        load_benchmark("tabletop-a", n_sets=1, size=0)
    with pytest.raises(ValueError, match="tabletop-c"):
        tabletop_sets("tabletop-c")


def test_things_are_every_small_kind_in_every_colour():
    images, labels = tabletop_things(size=32)
    assert len(images) == len(labels) == len(shapes.SMALL) * len(shapes.COLOURS)
    assert not labels.duplicated().any()
    assert {image.size for image in images} == {(32, 32)}


@pytest.mark.parametrize("what", ["colour", "kind"])
def test_changes_are_of_one_word_in_one_place(what):
    plain = load_benchmark("tabletop-a", n_sets=4).select("left/right")
    bench = load_changes("tabletop-a", what, n_sets=4)
    assert bench.relations == (what,) and len(bench) == 4
    for pair, left_right in zip(bench, plain, strict=True):
        first, second = (text.split() for text in pair.captions)
        assert pair.captions[0] == left_right.captions[0]
        assert [a != b for a, b in zip(first, second, strict=True)].index(True) == (
            1 if what == "colour" else 2
        )
        assert sum(a != b for a, b in zip(first, second, strict=True)) == 1
        before, after = (np.asarray(image, int) for image in pair.images)
        np.testing.assert_array_equal(before, np.asarray(left_right.images[0]))
        moved = np.abs(before - after).max(axis=2) > 0
        assert moved.any() and not moved[:, 60:].any()  # what stands on the right stays


@pytest.mark.parametrize("what", ["camera", "shift", "light"])
def test_changes_of_the_whole_scene_are_seen_and_not_told(what):
    plain = load_benchmark("tabletop-a", n_sets=4).select("left/right")
    bench = load_changes("tabletop-a", what, n_sets=4)
    assert bench.relations == (what,)
    for pair, left_right in zip(bench, plain, strict=True):
        assert pair.captions == (left_right.captions[0],) * 2
        before, after = (np.asarray(image, int) for image in pair.images)
        np.testing.assert_array_equal(before, np.asarray(left_right.images[0]))
        moved = np.abs(before - after).max(axis=2) > 0
        assert moved.mean() > 0.02 and (moved.mean() > 0.9) == (what == "light")


@pytest.mark.parametrize("name", ["tabletop-a", "tabletop-b"])
def test_a_changed_kind_makes_no_combination_that_training_shows(name):
    bench = load_changes(name, "kind", n_sets=60, size=8)
    assert len(bench) == 60 and len({pair.pair_id for pair in bench}) == 60
    for pair in bench:
        for text in pair.captions:
            said = parse_caption(text)
            kinds = [phrase.split()[-1] for phrase in (said.first, said.second)]
            assert scenes.is_held_out_pair(*kinds), text


def test_sets_in_which_nothing_can_become_another_kind_are_left_out():
    # Beside a lamp or a teapot training shows every small kind but the bottle.
    def stuck(text):
        return "bottle" in text and ("lamp" in text or "teapot" in text)

    every = [pair.captions[0] for pair in load_benchmark("tabletop-b", seed=1, n_sets=4, size=8)]
    assert stuck(every[0])
    bench = load_changes("tabletop-b", "kind", seed=1, n_sets=3, size=8)
    assert [pair.captions[0] for pair in bench] == every[2::2]


def test_changes_of_something_else_are_refused():
    with pytest.raises(ValueError, match="cannot change 'size'"):
        load_changes("tabletop-a", "size")
