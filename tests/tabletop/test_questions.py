"""Questions: truthful, varied, and not answerable from their words alone."""

import re
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from erragree_utils.tabletop import captions, questions, render, scenes, shapes
from erragree_utils.tabletop.scenes import Scene, Thing

N = 600


@pytest.fixture(scope="module")
def asked():
    """Training scenes, each with one question of every skill that it has."""
    rng = np.random.default_rng((scenes.TRAIN, 1))
    drawn = [scenes.training_scene(rng) for _ in range(N)]
    return [
        (scene, question)
        for scene in drawn
        for skill in questions.SKILLS
        if (question := questions.ask(scene, skill, rng))
    ]


def of_skill(asked, *skills):
    return [(scene, question) for scene, question in asked if question.skill in skills]


def find(scene, words):
    """The thing that words such as "the red mug" name; None if there is none."""
    words = words.split()
    kinds = [t for t in scene.things if t.kind == words[-1]]
    colour = words[-2] if len(words) > 1 and words[-2] in shapes.COLOURS else None
    return kinds[0] if kinds and colour in (None, kinds[0].colour) else None


def stands(a, b, words):
    """Whether `a` stands to `b` as these words say, read from positions alone."""
    return {
        "left": a.x < b.x,
        "right": a.x > b.x,
        "on": a.y > b.y,
        "under": b.kind in shapes.FURNITURE and a.y == 0 and abs(a.x - b.x) + abs(a.z - b.z) < 0.2,
        "in front": a.z < b.z,
        "behind": a.z > b.z,
    }[words]


def test_every_word_is_in_the_vocabulary(asked):
    texts = " ".join(f"{q.text} {q.answer}" for _, q in asked).lower()
    assert set(re.findall(r"\w+|[^\w\s]", texts)) <= set(questions.vocabulary())


def test_no_word_of_the_vocabulary_is_idle(asked):
    texts = " ".join(f"{q.text} {q.answer}" for _, q in asked).lower()
    idle = set(questions.vocabulary()) - set(re.findall(r"\w+|[^\w\s]", texts))
    assert idle <= set(captions.vocabulary()) | {"look", *questions.WHICH}


def test_every_skill_is_asked_often(asked):
    counts = Counter(question.skill for _, question in asked)
    assert set(counts) == set(questions.SKILLS)
    assert min(counts.values()) > N / 4


def test_scenes_of_one_thing_have_no_relations_to_ask_about():
    scene, rng = Scene((Thing("mug", "red"),)), np.random.default_rng(0)
    for skill in ("check", "relation", "two-way", "beside", "edge"):
        assert questions.ask(scene, skill, rng) is None
    texts = [questions.ask(scene, "verify", rng).text for _ in range(40)]
    assert not any(captions.states_relation(text) for text in texts)


def test_relations_are_as_the_things_stand(asked):
    for scene, question in of_skill(asked, "relation"):
        first, second = re.match(
            r"Where is the (.+) in relation to the (.+)\? Answer", question.text
        ).groups()
        assert stands(find(scene, first), find(scene, second), question.answer), question


def test_options_hold_the_answer_and_come_in_any_order(asked):
    places = defaultdict(list)
    for _, question in of_skill(asked, "relation"):
        options = re.split(r", | or ", question.text.split("Answer with ")[1][:-1])
        assert len(set(options)) == len(options)
        places[len(options)].append(options.index(question.answer))
    assert abs(np.mean(places[2]) - 0.5) < 0.2  # named first half of the time
    assert set(places[4]) == {0, 1, 2, 3}


def test_the_usual_options_are_the_protocols(asked):
    texts = Counter(q.text.split("Answer with ")[-1] for _, q in of_skill(asked, "relation"))
    assert texts["left, right, on or under."] > 20
    assert texts["left, right, in front or behind."] > 20


def test_yes_means_that_the_caption_is_true(asked):
    """Read captions of relations by their words alone and compare with where the things stand."""
    checked = Counter()
    for scene, question in of_skill(asked, "verify"):
        caption = re.fullmatch(
            r'Does this figure show "An? (.+)"\? Please answer yes or no\.', question.text
        ).group(1)
        parts = re.split(
            r" (?:to the )?(left|right|on|under|in front|behind) (?:of )?an? ", caption
        )
        things = [find(scene, name) for name in parts[::2]]
        true = None not in things and (len(things) == 1 or stands(*things, parts[1]))
        assert question.answer == ("Yes" if true else "No"), (question, scene)
        checked[len(things), true] += 1
    assert len(checked) == 4 and min(checked.values()) > 40


@pytest.mark.parametrize("skill", ["verify", "check", "presence"])
def test_yes_and_no_are_balanced(asked, skill):
    share = np.mean([question.answer == "Yes" for _, question in of_skill(asked, skill)])
    n = len(of_skill(asked, skill))
    assert abs(share - 0.5) < 3.3 * 0.5 / np.sqrt(n)


def test_answers_of_relations_are_balanced(asked):
    counts = Counter(q.answer for _, q in of_skill(asked, "relation", "two-way"))
    for one, other in (("left", "right"), ("on", "under"), ("in front", "behind")):
        n = counts[one] + counts[other]
        assert abs(counts[one] - counts[other]) < 3.3 * np.sqrt(n)


def test_false_captions_differ_in_the_relation_the_order_a_colour_or_a_kind():
    rng = np.random.default_rng(0)
    mug, table = scenes.arrange(Thing("mug", "red"), Thing("table", "blue"), "left of")
    scene = Scene((mug, table), relation="left of")
    texts = {questions.false_caption(scene, mug, "left of", table, rng) for _ in range(400)}
    assert captions.benchmark_caption("red mug", "blue table", "left of") not in texts
    assert {
        "A red mug to the right of a blue table",
        "A red mug on a blue table",
        "A blue table to the left of a red mug",
        "A blue mug to the left of a red table",
    } <= texts
    assert any(text.endswith("left of a blue chair") for text in texts)
    assert any(re.fullmatch(r"A \w+ mug to the left of a blue table", text) for text in texts)


def test_what_is_beside_a_thing_is_the_only_thing_there(asked):
    for scene, question in of_skill(asked, "beside"):
        words, second = re.match(
            r"What is (?:to the )?(left|right|on|under|in front|behind) (?:of )?the (.+)\?",
            question.text,
        ).groups()
        second = find(scene, second)
        there = [
            t
            for t in scene.things
            if t is not second
            and (captions.relation_between(t, second) or "").removesuffix(" of") == words
        ]
        assert [f"{t.colour} {t.kind}" for t in there] == [question.answer.split(" ", 1)[1]]


def test_colours_and_kinds(asked):
    for scene, question in of_skill(asked, "colour"):
        assert find(scene, question.text[:-1].split("the ")[1]).colour == question.answer
    for scene, question in of_skill(asked, "kind"):
        colour = question.text.split()[-2]
        assert [t.kind for t in scene.things if t.colour == colour] == [question.answer]


def test_count_and_scenery(asked):
    for scene, question in of_skill(asked, "count"):
        assert questions.NUMBERS.index(question.answer) + 1 == len(scene.things)
    for scene, question in of_skill(asked, "scenery"):
        assert question.answer.split()[-1] == scene.place


def test_left_middle_and_right_are_where_the_picture_shows_the_thing(asked):
    """Compare answers with the pixels that change when the thing comes to an empty place."""
    chosen = of_skill(asked, "place")[:60]
    sides = Counter()
    for scene, question in chosen:
        thing = find(scene, question.text.split("the ")[1].split(" in")[0])
        empty = replace(scene, things=(), place="cellar", light="noon")  # no bright wall
        alone = replace(empty, things=(thing,))
        with_it, without = render.render_many([alone, empty], 48).astype(int)
        changed = (np.abs(with_it - without).max(-1) > 50).any(0)  # the thing, hardly its shadow
        middle = np.flatnonzero(changed).mean() / 24 - 1
        assert abs(middle - questions.screen_x(thing, scene.view)) < 0.2, (question, scene)
        side = "left" if middle < -1 / 6 else "right" if middle > 1 / 6 else "middle"
        sides[question.answer, side] += 1
    assert sides["left", "left"] > 3 and sides["right", "right"] > 3
    assert not {("left", "right"), ("right", "left")} & set(sides)


def test_descriptions_go_from_left_to_right():
    mug, table = scenes.arrange(Thing("mug", "red"), Thing("table", "orange"), "right of")
    assert questions.describe(Scene((mug, table), relation="right of")) == (
        "an orange table to the left of a red mug"
    )
    mug, ball = scenes.arrange(Thing("mug", "red"), Thing("ball", "blue"), "behind")
    assert questions.describe(Scene((mug, ball), relation="behind")) == (
        "a blue ball in front of a red mug"
    )
    three = Thing("hat", "white", x=1), Thing("mug", "red", x=-1), Thing("ball", "blue")
    assert questions.describe(Scene(three)) == "a red mug, a blue ball and a white hat"
    assert questions.describe(Scene(three[:1])) == "a white hat"


def test_questions_come_as_often_as_asked_for():
    rng = np.random.default_rng(3)
    scene = next(s for s in iter(lambda: scenes.training_scene(rng), None) if s.relation)
    drawn = questions.draw_questions(scene, rng, 400, {"colour": 3, "count": 1})
    counts = Counter(question.skill for question in drawn)
    assert len(drawn) == 400 and set(counts) == {"colour", "count"}
    assert 0.65 < counts["colour"] / 400 < 0.85


def test_a_scene_that_has_no_such_questions_ends_the_search():
    scene = Scene((Thing("mug", "red"),))
    assert questions.draw_questions(scene, np.random.default_rng(0), 5, {"relation": 1}) == []


def test_of_two_images_one_is_asked_about():
    rng = np.random.default_rng(4)
    pair = Scene((Thing("mug", "red"),)), Scene((Thing("mug", "blue"), Thing("hat", "white", x=1)))
    drawn = questions.draw_questions_of_two(pair, rng, 200)
    answers = defaultdict(set)
    for question in drawn:
        answers[question.text].add(question.answer)
    assert answers["Look at the first image. What colour is the mug?"] == {"red"}
    assert answers["Look at the second image. What colour is the mug?"] == {"blue"}
    assert answers["Look at the first image. How many things are in the image?"] == {"one"}
    words = {w for q in drawn for w in re.findall(r"\w+", q.text.lower())}
    assert words <= set(questions.vocabulary())


def test_the_same_seed_asks_the_same():
    scene = scenes.training_scene(np.random.default_rng(5))
    shares = dict.fromkeys(questions.SKILLS, 1.0)
    one, two = (
        questions.draw_questions(scene, np.random.default_rng(7), 20, shares) for _ in range(2)
    )
    assert one == two
