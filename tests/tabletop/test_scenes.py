"""Scenes: sets that differ in one respect, and a training stream that never meets them."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from erragree_utils.tabletop import captions, scenes, shapes
from erragree_utils.tabletop.scenes import Thing


def benchmark_sets(family, n=60, seed=0):
    rng = np.random.default_rng((scenes.TEST, seed))
    return [scenes.benchmark_set(family, rng) for _ in range(n)]


def training_scenes(n=400, seed=0):
    rng = np.random.default_rng((scenes.TRAIN, seed))
    return [scenes.training_scene(rng) for _ in range(n)]


@pytest.mark.parametrize(
    ("family", "relations"), [("a", scenes.RELATIONS_A), ("b", scenes.RELATIONS_B)]
)
def test_a_set_differs_in_the_relation_alone(family, relations):
    for four in benchmark_sets(family, 10):
        assert tuple(s.relation for s in four) == relations
        plain = {
            replace(s, relation=None, things=tuple(replace(t, x=0, y=0, z=0) for t in s.things))
            for s in four
        }
        assert len(plain) == 1


def test_family_a_needs_furniture_and_family_b_has_none():
    assert all(s[0].things[1].kind in shapes.FURNITURE for s in benchmark_sets("a"))
    assert all(t.kind in shapes.SMALL for s in benchmark_sets("b") for t in s[0].things)


def test_no_object_of_the_benchmark_is_shown_in_training():
    shown = {(t.kind, t.instance) for s in training_scenes() for t in s.things}
    kept = {(t.kind, t.instance) for f in "ab" for s in benchmark_sets(f) for t in s[0].things}
    assert shown and kept and not shown & kept


def test_no_combination_of_the_benchmark_is_shown_in_training():
    pairs = {
        frozenset((a.kind, b.kind)) for s in training_scenes() for a, b in combinations(s.things, 2)
    }
    kept = {frozenset(t.kind for t in s[0].things) for f in "ab" for s in benchmark_sets(f)}
    assert pairs and kept and not pairs & kept


def test_about_a_quarter_of_the_combinations_is_kept():
    held = [scenes.is_held_out_pair(a, b) for a, b in combinations(shapes.KINDS, 2)]
    assert 0.2 < np.mean(held) < 0.3


def test_the_same_stream_gives_the_same_scenes():
    assert training_scenes(5, seed=3) == training_scenes(5, seed=3)
    assert training_scenes(5, seed=3) != training_scenes(5, seed=4)


def test_scattered_things_do_not_touch():
    for scene in training_scenes():
        if scene.relation is None:
            for a, b in combinations(scene.things, 2):
                assert np.hypot(a.x - b.x, a.z - b.z) > 1.0


def test_on_and_under_need_furniture():
    with pytest.raises(ValueError, match="furniture"):
        scenes.arrange(Thing("mug", "red"), Thing("ball", "blue"), "on")


def test_an_unknown_relation_is_named():
    with pytest.raises(ValueError, match="beside"):
        scenes.arrange(Thing("mug", "red"), Thing("ball", "blue"), "beside")


@pytest.mark.parametrize("relation", scenes.OPPOSITE)
def test_the_opposite_of_a_scene_is_a_scene_in_the_opposite_relation(relation):
    rng = np.random.default_rng((scenes.TRAIN, 8))
    drawn = [s for s in (scenes.training_scene(rng) for _ in range(400)) if s.relation == relation]
    for scene in drawn[:20]:
        other = scenes.opposite(scene)
        assert other.relation == scenes.OPPOSITE[relation]
        assert captions.relation_between(*other.things[:2]) == other.relation
        assert scenes.opposite(other).relation == relation
        if scene.things[1].kind in shapes.FURNITURE:
            assert scene.things[1] == other.things[1]
        else:
            middles = [np.mean([(t.x, t.z) for t in s.things], axis=0) for s in (scene, other)]
            assert np.allclose(*middles)
    lone = next(s for s in (scenes.training_scene(rng) for _ in range(50)) if s.relation is None)
    with pytest.raises(ValueError, match="no opposite"):
        scenes.opposite(lone)
