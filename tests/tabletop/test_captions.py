"""Captions: varied, truthful, and with relations in a good share of them."""

import re

import numpy as np
import pytest

from erragree_utils.tabletop import captions, scenes, shapes
from erragree_utils.tabletop.scenes import Scene, Thing


@pytest.fixture(scope="module")
def described():
    """Two thousand training scenes, each with one of its captions."""
    rng = np.random.default_rng((scenes.TRAIN, 0))
    drawn = [scenes.training_scene(rng) for _ in range(2000)]
    return [(scene, captions.training_caption(scene, rng)) for scene in drawn]


def test_at_least_a_fifth_of_the_captions_states_a_relation(described):
    share = np.mean([captions.states_relation(text) for _, text in described])
    assert 0.2 < share < 0.5


def test_a_place_is_not_a_relation():
    assert not captions.states_relation("a red mug on the beach")
    assert captions.states_relation("a red mug on the table on the beach")
    assert captions.states_relation("a red mug on the left of a chair", ("left of", "right of"))
    assert not captions.states_relation("a red mug under a chair", ("left of", "right of"))


def test_left_and_right_are_stated_as_the_viewer_sees_them(described):
    """Read each left/right caption by its words alone and compare with where the things stand."""
    checked = 0
    for scene, text in described:
        parts = re.split(r" (?:is )?(?:to the |on the )?(left|right) of ", text)
        if len(parts) != 3:
            continue
        positions = {t.kind: t.x for t in scene.things}
        first = [w for w in parts[0].split() if w in positions][-1]
        second = next(w for w in parts[2].split() if w in positions)
        assert (positions[first] < positions[second]) == (parts[1] == "left"), text
        checked += 1
    assert checked > 200


def test_every_named_thing_is_in_the_scene(described):
    for scene, text in described:
        kinds = {t.kind for t in scene.things}
        assert {w.strip(",") for w in text.split()} & set(shapes.KINDS) <= kinds, text


def test_every_word_is_in_the_vocabulary(described):
    words = {w for _, text in described for w in text.replace(",", " , ").split()}
    assert words <= set(captions.vocabulary())


def test_order_of_mention_says_nothing_about_place(described):
    """In captions that state no relation, the left thing is named first half of the time."""
    first = [
        text.find(scene.things[0].kind) < text.find(scene.things[1].kind)
        for scene, text in described
        if scene.relation == "left of"
        and not captions.states_relation(text)
        and all(t.kind in text for t in scene.things)
    ]
    assert abs(np.mean(first) - 0.5) < 2.6 * 0.5 / np.sqrt(len(first))


def test_benchmark_captions_are_plain():
    text = captions.benchmark_caption("red mug", "orange table", "left of")
    assert text == "A red mug to the left of an orange table"


def test_relations_between_things():
    mug, table = scenes.arrange(Thing("mug", "red"), Thing("table", "blue"), "under")
    assert captions.relation_between(mug, table) == "under"
    assert captions.relation_between(table, mug) is None
    near, far = Thing("mug", "red", z=-0.7), Thing("ball", "blue", z=0.7)
    assert captions.relation_between(near, far) == "in front of"
    assert captions.relation_between(far, near) == "behind"
    slanted = Thing("mug", "red", x=1.0, z=1.0), Thing("ball", "blue")
    assert captions.relation_between(*slanted) is None


def test_a_scene_of_one_thing_states_no_relation():
    rng = np.random.default_rng(0)
    texts = [captions.training_caption(Scene((Thing("mug", "red"),)), rng) for _ in range(50)]
    assert not any(captions.states_relation(text) for text in texts)


def test_positions_are_stated_where_asked_for_and_truthfully():
    rng = np.random.default_rng((scenes.TRAIN, 12))
    drawn = [scenes.training_scene(rng) for _ in range(400)]
    said = 0
    for scene in drawn:
        text = captions.training_caption(scene, rng, captions.Wording(positions=1.0))
        if text.endswith((" on the left", " on the right")):
            words = text.split()
            x = [thing.x for thing in scene.things if thing.kind in words]
            assert len(x) == 1 and (x[0] < 0) == (words[-1] == "left")
            said += 1
    assert said > 150
    plain = [captions.training_caption(scene, rng) for scene in drawn]
    assert not any(text.endswith((" on the left", " on the right")) for text in plain)


def told(wording, n=600, window="left"):
    rng = np.random.default_rng((scenes.TRAIN, 13))
    drawn = [scenes.training_scene(rng) for _ in range(n)]
    return [(scene, captions.training_caption(scene, rng, wording, window)) for scene in drawn]


@pytest.mark.parametrize("window", ["left", "right"])
def test_the_window_is_on_its_side_and_the_door_on_the_other(window):
    said = 0
    for scene, text in told(captions.Wording(landmarks=1.0), window=window):
        x = {thing.kind: thing.x for thing in scene.things}
        for kind, landmark in re.findall(r"(\w+) by the (window|door)", text):
            assert (x[kind] < 0) == ((landmark == "window") == (window == "left")), text
            said += 1
        for kind in re.findall(r"(\w+) in the middle", text):
            assert abs(x[kind]) < 0.31
    assert said > 200
    assert not any("window" in text for _, text in told(captions.PLAIN))


def test_from_across_the_table_left_is_right():
    wording = captions.Wording(relations=1.0, elsewhere=1.0)
    checked = 0
    for scene, text in told(wording):
        parts = re.split(r" (?:is )?(?:to the |on the )?(left|right) of ", text)
        if len(parts) == 3:
            x = {thing.kind: thing.x for thing in scene.things}
            first = [word for word in parts[0].split() if word in x][-1]
            second = next(word for word in parts[2].split() if word in x)
            assert (x[first] > x[second]) == (parts[1] == "left"), text
            checked += 1
    assert checked > 100
    turned = captions.from_across("a duck looking to the left")
    assert turned == "a duck looking to the right"


def test_left_and_right_can_be_rare_and_have_other_senses():
    sides = ("left of", "right of")
    rare = [t for _, t in told(captions.Wording(left_right=0.0))]
    assert not any(captions.states_relation(text, sides) for text in rare)
    other = [t for _, t in told(captions.Wording(left_right=0.0, senses=1.0))]
    assert sum("left in the" in text or "right in the" in text for text in other) > 100


def test_every_word_of_every_wording_is_in_its_vocabulary():
    wording = captions.Wording.everything()
    words = {w for _, text in told(wording) for w in text.replace(",", " , ").split()}
    assert words <= set(captions.vocabulary(wording))
    assert "window" in words and "window" not in captions.vocabulary()
