"""Truthful questions and answers about tabletop scenes, in natural words.

Each skill is a function of a scene that returns a question, or None where the scene has none that
is plain to answer; :data:`SKILLS` names them. A new attribute of the world needs one more function
there, and its words in :data:`PHRASES`.

Neither the words of a question nor the order of its options gives the answer away: yes/no
questions are balanced, and each relation is as likely as its opposite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from string import Formatter
from typing import TYPE_CHECKING

import numpy as np

from . import captions, places, shapes
from .captions import with_article
from .scenes import OPPOSITE, RELATIONS_A, RELATIONS_B, pick

if TYPE_CHECKING:
    from .scenes import Scene, Thing, View

#: The paper's VQAScore prompt (section 3; Lin et al. 2024).
VQASCORE = 'Does this figure show "{caption}"? Please answer yes or no.'
#: The four-way prompt of later work by the same protocol; `options` is one of :data:`OPTIONS`.
RELATION = "Where is the {first} in relation to the {second}? Answer with {options}."
#: Options of the prompt for What'sUp A and B.
OPTIONS = {"a": "left, right, on or under", "b": "left, right, in front or behind"}
#: The answer that names a relation.
ANSWERS = {
    "left of": "left",
    "right of": "right",
    "on": "on",
    "under": "under",
    "in front of": "in front",
    "behind": "behind",
}
YES = ("No", "Yes")
NUMBERS = ("one", "two", "three")
SIDES = ("left", "middle", "right")
TWO_WAY = {
    "left of": "Is the {first} to the left or to the right of the {second}?",
    "on": "Is the {first} on or under the {second}?",
    "in front of": "Is the {first} in front of or behind the {second}?",
}
TWO_WAY |= {OPPOSITE[relation]: text for relation, text in list(TWO_WAY.items())}
BESIDE = "What is {relation} the {second}?"
CHECK = "Is the {first} {relation} the {second}?"
DESCRIBE = "Describe the image."
CAPTION = "Write a short caption for the image."
EDGE = "What thing is furthest to the {side}?"
PLACE = "Where is the {first} in the image? Answer with left, middle or right."
COLOUR = "What colour is the {kind}?"
KIND = "What kind of object is the {colour} thing?"
PRESENCE = "Is there {first} in the image?"
COUNT = "How many things are in the image?"
SCENERY = "Where was this picture taken?"
#: A question about one of two images, and the skills that it may ask for: simple ones alone.
OF_TWO = "Look at the {which} image. {question}"
WHICH = ("first", "second")
SIMPLE = ("colour", "kind", "presence", "count", "scenery", "describe")
#: Every phrase that questions and answers are made of; their words are the vocabulary.
PHRASES = (
    VQASCORE, RELATION, *OPTIONS.values(), *ANSWERS.values(), *NUMBERS, *SIDES, *TWO_WAY.values(),
    BESIDE, CHECK, DESCRIBE, CAPTION, EDGE, PLACE, COLOUR, KIND, PRESENCE, COUNT, SCENERY,
    OF_TWO, *WHICH, "yes no a an and , \"",
)  # fmt: skip

_COLOUR_SHARE = 0.8  # of mentions that name the colour, not the kind alone
_CLEAR = 0.13  # least distance from a border between left, middle and right, of half the width


@dataclass(frozen=True)
class Question:
    """A question, its true answer, and the skill it asks for."""

    skill: str
    text: str
    answer: str


def ask(scene: Scene, skill: str, rng: np.random.Generator) -> Question | None:
    """A random question of a skill; None if the scene has none that is plain to answer."""
    words = SKILLS[skill](scene, rng)
    return words and Question(skill, *words)


def draw_questions(
    scene: Scene, rng: np.random.Generator, n: int, shares: Mapping[str, float]
) -> list[Question]:
    """Up to `n` random questions about a scene; a question may come twice.

    (Leaving out repetitions would leave out more true statements than false ones.) Fewer come only
    where the scene has next to nothing to ask about. `shares` are the relative frequencies of the
    skills; those absent are not asked.
    """
    names = list(shares)
    chance = np.cumsum(list(shares.values()), dtype=float)
    questions: list[Question] = []
    for _ in range(20 * n):
        skill = names[int(np.searchsorted(chance, rng.random() * chance[-1], side="right"))]
        if question := ask(scene, skill, rng):
            questions.append(question)
        if len(questions) == n:
            break
    return questions


def draw_questions_of_two(
    pair: tuple[Scene, Scene], rng: np.random.Generator, n: int
) -> list[Question]:
    """`n` random simple questions about one or the other of two images shown together."""
    questions = []
    while len(questions) < n:
        which = int(rng.integers(2))
        if question := ask(pair[which], pick(rng, SIMPLE), rng):
            text = OF_TWO.format(which=WHICH[which], question=question.text)
            questions.append(Question("two images", text, question.answer))
    return questions


def vocabulary() -> tuple[str, ...]:
    """Every word, in lower case, that questions and answers can hold, captions included, sorted."""
    words = set(captions.vocabulary())
    for phrase in PHRASES:
        phrase = "".join(fixed for fixed, *_ in Formatter().parse(phrase))
        for mark in '.,?"':
            phrase = phrase.replace(mark, f" {mark} ")
        words |= set(phrase.lower().split())
    return tuple(sorted(words))


def screen_x(thing: Thing, view: View) -> float:
    """Where the middle of a thing is seen, from -1 (left border) to 1 (right border)."""
    eye, right, _, forward, (half,) = np.split(view.array(), (3, 6, 9, 12))
    ray = np.array([thing.x, thing.y + 0.4, thing.z]) - eye
    return float(ray @ right / (ray @ forward * half))


def describe(scene: Scene) -> str:
    """A dense description in a fixed order: from left to right, upper or nearer things first.

    Two things come with their relation, ``"a red mug to the left of a blue table"``.
    """
    if len(scene.things) == 2:
        for first, relation, second in captions.relations(scene):
            if relation not in ("right of", "behind"):
                words = captions.WORDS[relation][0]
                return f"{with_article(first.name)} {words} {with_article(second.name)}"
    return _listing([with_article(thing.name) for thing in _from_left(scene)], "and")


def false_caption(
    scene: Scene, first: Thing, relation: str, second: Thing, rng: np.random.Generator
) -> str:
    """A caption that is wrong in one respect: the relation, the order, a colour or a kind.

    `first`, `relation`, `second` are a true statement about two of the scene's things.
    """
    roll = rng.random()
    if roll < 0.45:
        relation = _other_relation(scene, second, relation, rng)
    elif roll < 0.7:
        first, second = second, first
    elif roll < 0.8 and first.colour != second.colour:
        first, second = replace(first, colour=second.colour), replace(second, colour=first.colour)
    elif rng.random() < 0.5:
        first = _altered(scene, first, rng)
    else:
        second = _altered(scene, second, rng)
    return captions.benchmark_caption(first.name, second.name, relation)


def _verify(scene: Scene, rng) -> tuple[str, str]:
    """Does a caption fit? One time in four, and for a lone thing, the caption names one thing."""
    relations, true = captions.relations(scene), rng.random() < 0.5
    if relations and rng.random() < 0.75:
        first, relation, second = pick(rng, relations)
        caption = (
            captions.benchmark_caption(first.name, second.name, relation)
            if true
            else false_caption(scene, first, relation, second, rng)
        )
    else:
        thing = pick(rng, scene.things)
        caption = with_article((thing if true else _altered(scene, thing, rng)).name).capitalize()
    return VQASCORE.format(caption=caption), YES[true]


def _check(scene: Scene, rng) -> tuple[str, str] | None:
    """The same as a plain question, about the relation alone."""
    relations, true = captions.relations(scene), rng.random() < 0.5
    if not relations:
        return None
    first, relation, second = pick(rng, relations)
    if not true:
        relation = _other_relation(scene, second, relation, rng)
    words = captions.WORDS[relation][0]
    return CHECK.format(relation=words, **_mentions(first, second, rng)), YES[true]


def _relation(scene: Scene, rng) -> tuple[str, str] | None:
    """Four options in the usual order, six times in ten; else in any order, or two of them."""
    relations = captions.relations(scene)
    if not relations:
        return None
    first, relation, second = pick(rng, relations)
    roll = rng.random()
    if roll < 0.7:
        options = list(_family(first, relation, second, rng))
        if roll > 0.6:
            rng.shuffle(options)
    else:
        options = [relation, OPPOSITE[relation]]
        rng.shuffle(options)
    words = _listing([ANSWERS[option] for option in options], "or")
    return RELATION.format(options=words, **_mentions(first, second, rng)), ANSWERS[relation]


def _two_way(scene: Scene, rng) -> tuple[str, str] | None:
    relations = captions.relations(scene)
    if not relations:
        return None
    first, relation, second = pick(rng, relations)
    return TWO_WAY[relation].format(**_mentions(first, second, rng)), ANSWERS[relation]


def _beside(scene: Scene, rng) -> tuple[str, str] | None:
    """What is left of, on, behind ... a thing; only where all others' relations to it are plain."""
    second = pick(rng, scene.things)
    others = [thing for thing in scene.things if thing is not second]
    relations = [captions.relation_between(thing, second) for thing in others]
    single = [i for i, r in enumerate(relations) if relations.count(r) == 1]
    if None in relations or not single:
        return None
    i = pick(rng, single)
    words = captions.WORDS[relations[i]][0]
    return BESIDE.format(relation=words, second=_mention(second, rng)), with_article(others[i].name)


def _edge(scene: Scene, rng) -> tuple[str, str] | None:
    """The thing furthest to one side, where the next is clearly further in."""
    things, left = _from_left(scene), rng.random() < 0.5
    if len(things) < 2:
        return None
    outer, inner = things[:2] if left else things[:-3:-1]
    if abs(screen_x(outer, scene.view) - screen_x(inner, scene.view)) < 0.15:
        return None
    return EDGE.format(side="left" if left else "right"), with_article(outer.name)


def _place(scene: Scene, rng) -> tuple[str, str] | None:
    thing = pick(rng, scene.things)
    x = screen_x(thing, scene.view)
    if abs(abs(x) - 1 / 3) < _CLEAR:
        return None
    side = SIDES[int(np.digitize(x, (-1 / 3, 1 / 3)))]
    if side == "middle" and rng.random() < 0.6:  # most things are there: ask less often
        return None
    return PLACE.format(first=_mention(thing, rng)), side


def _colour(scene: Scene, rng) -> tuple[str, str]:
    thing = pick(rng, scene.things)
    return COLOUR.format(kind=thing.kind), thing.colour


def _kind(scene: Scene, rng) -> tuple[str, str] | None:
    colours = [thing.colour for thing in scene.things]
    single = [thing for thing in scene.things if colours.count(thing.colour) == 1]
    if not single:
        return None
    thing = pick(rng, single)
    return KIND.format(colour=thing.colour), thing.kind


def _presence(scene: Scene, rng) -> tuple[str, str]:
    thing, true = pick(rng, scene.things), rng.random() < 0.5
    if not true:
        thing = _altered(scene, thing, rng)
    # a wrong colour shows only where the colour is named
    by_kind = thing.kind not in {t.kind for t in scene.things} or true
    name = thing.kind if by_kind and rng.random() > _COLOUR_SHARE else thing.name
    return PRESENCE.format(first=with_article(name)), YES[true]


#: What can be asked, by name.
SKILLS: dict[str, Callable[[Scene, np.random.Generator], tuple[str, str] | None]] = {
    "verify": _verify,
    "check": _check,
    "relation": _relation,
    "two-way": _two_way,
    "beside": _beside,
    "edge": _edge,
    "place": _place,
    "colour": _colour,
    "kind": _kind,
    "presence": _presence,
    "count": lambda scene, rng: (COUNT, NUMBERS[len(scene.things) - 1]),
    "scenery": lambda scene, rng: (SCENERY, places.PLACES[scene.place].phrase),
    "describe": lambda scene, rng: (DESCRIBE, describe(scene)),
    "caption": lambda scene, rng: (CAPTION, captions.training_caption(scene, rng)),
}


def _other_relation(scene: Scene, second: Thing, relation: str, rng) -> str:
    """A relation that does not hold: mostly the opposite.

    Other ones are surely wrong only in scenes that were arranged in one relation, and not for
    things behind each other, which stand a little to the side too.
    """
    in_depth = relation in ("in front of", "behind")
    if scene.relation is None or in_depth or rng.random() < 0.7:
        return OPPOSITE[relation]
    family = RELATIONS_A if second.kind in shapes.FURNITURE else RELATIONS_B
    return pick(rng, [other for other in family if other != relation])


def _family(first: Thing, relation: str, second: Thing, rng) -> tuple[str, ...]:
    """The four relations among which this one is asked for."""
    if relation in ("on", "under"):
        return RELATIONS_A
    if relation in ("in front of", "behind"):
        return RELATIONS_B
    usual = bool({first.kind, second.kind} & set(shapes.FURNITURE))
    return RELATIONS_A if usual == (rng.random() < 0.8) else RELATIONS_B


def _altered(scene: Scene, thing: Thing, rng) -> Thing:
    """The thing in another colour, often one that is elsewhere in the scene, or of another kind."""
    if rng.random() < 0.5:
        elsewhere = [t.colour for t in scene.things if t.colour != thing.colour]
        if not elsewhere or rng.random() < 0.5:
            elsewhere = [colour for colour in shapes.COLOURS if colour != thing.colour]
        return replace(thing, colour=pick(rng, elsewhere))
    pool = shapes.FURNITURE if thing.kind in shapes.FURNITURE else shapes.SMALL
    present = {t.kind for t in scene.things}
    return replace(thing, kind=pick(rng, [kind for kind in pool if kind not in present]))


def _from_left(scene: Scene) -> list[Thing]:
    return sorted(scene.things, key=lambda thing: screen_x(thing, scene.view))


def _mention(thing: Thing, rng) -> str:
    return thing.name if rng.random() < _COLOUR_SHARE else thing.kind


def _mentions(first: Thing, second: Thing, rng) -> dict[str, str]:
    return {"first": _mention(first, rng), "second": _mention(second, rng)}


def _listing(words: Sequence[str], last: str) -> str:
    return f" {last} ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
