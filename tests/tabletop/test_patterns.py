"""Visual patterns: two scenes that differ in one respect, and a question that tells them apart."""

import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from erragree_utils.tabletop import patterns, questions, render, scenes, shapes

N = 24


def draw(pattern, held_out=True, n=N):
    rng = np.random.default_rng((scenes.TEST, 5))
    return [patterns.draw_contrast(pattern, rng, held_out) for _ in range(n)]


@pytest.fixture(scope="module", params=patterns.PATTERNS)
def contrasts(request):
    return draw(request.param)


def differences(contrast):
    """Fields in which the two scenes differ: of the view, or of things by number."""
    first, second = map(asdict, contrast.scenes)
    found = {key for key in first if key != "things" and first[key] != second[key]}
    for a, b in zip(first["things"], second["things"], strict=False):
        found |= {key for key in a if a[key] != b[key]}
    return found | ({"count"} if len(first["things"]) != len(second["things"]) else set())


def test_there_are_mmvps_nine_patterns():
    assert len(patterns.PATTERNS) == 9


def test_the_two_scenes_differ_in_the_named_respect_alone(contrasts):
    allowed = {
        "orientation": {"yaw"}, "feature": {"variant"}, "state": {"variant"},
        "quantity": {"count"}, "relation": {"z"}, "colour": {"colour"},
        "structure": {"variant"}, "text": {"variant"}, "viewpoint": {"view"},
    }  # fmt: skip
    for contrast in contrasts:
        assert differences(contrast) == allowed[contrast.pattern], contrast


def test_the_difference_can_be_seen(contrasts):
    for contrast in contrasts[:8]:
        first, second = render.render_many(contrast.scenes, 80).astype(int)
        changed = (np.abs(first - second).max(-1) > 24).sum()
        assert changed >= 8, contrast


def test_the_options_are_in_the_question_or_yes_and_no(contrasts):
    for contrast in contrasts:
        assert contrast.options[0] != contrast.options[1]
        words = set(re.findall(r"\w+", contrast.question))
        assert contrast.options == ("Yes", "No") or set(contrast.options) <= words


def test_the_question_names_one_thing_of_the_scene(contrasts):
    for contrast in contrasts:
        for scene in contrast.scenes:
            kinds = [thing.kind for thing in scene.things]
            assert len(set(kinds)) == len(kinds)
            if contrast.pattern != "quantity":
                assert kinds[0] in contrast.question


def test_every_word_is_known(contrasts):
    known = {*questions.vocabulary(), *patterns.vocabulary()}
    for contrast in contrasts:
        text = " ".join((contrast.question, *contrast.options)).lower()
        assert set(re.findall(r"\w+|[^\w\s]", text)) <= known


@pytest.mark.parametrize("pattern", patterns.PATTERNS)
def test_training_and_benchmark_share_no_object(pattern):
    for held_out in (True, False):
        for contrast in draw(pattern, held_out):
            for thing in (t for scene in contrast.scenes for t in scene.things):
                assert scenes.is_held_out(thing.instance) == held_out


def test_what_is_asked_is_so():
    """Answers, read from the scene by other means than those that drew it."""
    for contrast in draw("relation"):
        nearer, further = (scene.things for scene in contrast.scenes)
        assert nearer[0].z < nearer[1].z and further[0].z > further[1].z
    for contrast in draw("quantity"):
        assert [len(scene.things) for scene in contrast.scenes] == [2, 3]
    for contrast in draw("colour"):
        assert tuple(scene.things[0].colour for scene in contrast.scenes) == contrast.options
    for contrast in draw("text"):
        assert tuple(scene.things[0].variant for scene in contrast.scenes) == contrast.options
    for contrast in draw("viewpoint"):
        front, above = (scene.view.elevation for scene in contrast.scenes)
        assert front < above
    for contrast in draw("feature"):
        parts = [len(shapes.primitives(t.kind, t.colour, t.instance, t.variant)) for t in
                 (scene.things[0] for scene in contrast.scenes)]  # fmt: skip
        assert contrast.options == ("Yes", "No")
        # an opening takes the place of the teapot's lid and knob
        assert parts[0] > parts[1]


@pytest.mark.parametrize("kind", patterns.DIRECTIONS)
def test_left_is_where_head_spout_or_handle_are_seen(kind):
    """The side on which the thing reaches further from the middle of its mass, in the picture."""
    for contrast in (c for c in draw("orientation", n=80) if f" {kind} " in f" {c.question} "):
        for scene, side in zip(contrast.scenes, contrast.options, strict=True):
            alone = replace(scene, things=scene.things[:1])
            _, hits = render.render_scene(alone, 160)
            rows, columns = np.nonzero(hits == 2)
            if kind == "duck":  # the head is the upper part
                upper = rows < np.quantile(rows, 0.25)
                reach = columns[upper].mean() - columns.mean()
            elif kind == "mug":
                reach = columns.max() + columns.min() - 2 * np.median(columns)
            else:  # spout and handle reach as far: see where the spout, the second part, stands
                thing = alone.things[0]
                x = shapes.primitives(thing.kind, thing.colour, thing.instance)[1, 3]
                reach = x * np.cos(np.radians(thing.yaw))
            assert (reach < 0) == (side == "left"), (kind, side, scene.things[0])


def test_an_unknown_pattern_is_an_error():
    with pytest.raises(KeyError, match="smell"):
        patterns.draw_contrast("smell", np.random.default_rng(0), held_out=True)


@pytest.mark.parametrize("pattern", patterns.PATTERNS)
def test_a_statement_tells_the_two_scenes_apart_in_known_words(pattern):
    rng = np.random.default_rng(3)
    for _ in range(20):
        contrast = patterns.draw_contrast(pattern, rng, held_out=False)
        first, second = (patterns.statement(contrast, which) for which in (0, 1))
        assert first != second
        names = {w for scene in contrast.scenes for t in scene.things for w in t.name.split()}
        known = names | set(patterns.caption_vocabulary())
        assert set(f"{first} {second}".split()) <= known
