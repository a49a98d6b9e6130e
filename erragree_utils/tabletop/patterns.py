"""The nine visual patterns of MMVP (Tong et al. 2024) as contrasts of two scenes.

A contrast is two scenes that differ in exactly one respect, a question about it, and the two
answers; each function of :data:`PATTERNS` draws one. The first answer of a question is the
*common* one: where the mini LLaVA is trained, it is right most of the time
(:data:`COMMON_SHARE`), as answers are imbalanced by question type in real visual question
answering (Goyal et al. 2017, "Making the V in VQA Matter"). In contrasts both are as frequent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from . import scenes, shapes
from .questions import Question

if TYPE_CHECKING:
    from .scenes import Scene

#: How often the common answer is right in training.
COMMON_SHARE = 0.85

DIRECTIONS = {
    "duck": "Does the {name} look to the left or to the right?",
    "teapot": "Does the spout of the {name} point to the left or to the right?",
    "mug": "Is the handle of the {name} on the left or on the right?",
}
FEATURES = {
    ("snowman", "bare"): "Does the {name} wear a hat?",
    ("trophy", "bare"): "Does the {name} have handles?",
    ("cake", "bare"): "Is there a ball on top of the {name}?",
    ("teapot", "bare"): "Does the {name} have a lid?",
}
STATES = {
    ("candle", "out"): ("Is the {name} burning or out?", ("burning", "out")),
    ("bottle", "open"): ("Is the {name} closed or open?", ("closed", "open")),
    ("box", "open"): ("Is the {name} closed or open?", ("closed", "open")),
}
STRUCTURES = {
    ("table", "square"): ("Is the top of the {name} round or square?", ("round", "square")),
    ("stool", "three legs"): ("Does the {name} have four or three legs?", ("four", "three")),
    ("chair", "low"): ("Is the back of the {name} high or low?", ("high", "low")),
}
QUANTITY = "Are there two or three things in the image?"
DEPTH = "Is the {first} nearer or further away than the {second}?"
COLOUR = "Is the {kind} {common} or {rare}?"
LETTER = "Is the letter on the {name} {common} or {rare}?"
VIEW = "Is the {name} seen from the front or from above?"
#: What a caption says of the answer: by the kind of the first thing, or else by pattern.
STATEMENTS = {
    "duck": "a {name} looking to the {answer}",
    "teapot": "a {name} with the spout to the {answer}",
    "mug": "a {name} with the handle on the {answer}",
    ("snowman", "Yes"): "a {name} with a hat",
    ("snowman", "No"): "a {name} without a hat",
    ("trophy", "Yes"): "a {name} with handles",
    ("trophy", "No"): "a {name} without handles",
    ("cake", "Yes"): "a {name} with a ball on top",
    ("cake", "No"): "a {name} without a ball on top",
    ("teapot", "Yes"): "a {name} with a lid",
    ("teapot", "No"): "a {name} without a lid",
    "table": "a {name} with a {answer} top",
    "stool": "a {name} with {answer} legs",
    "chair": "a {name} with a {answer} back",
    "state": "a {name} that is {answer}",
    "text": "a {name} with the letter {answer}",
    "colour": "a {name}",
    "quantity": "{answer} things",
    "nearer": "a {name} nearer than a {second}",
    "further": "a {name} further away than a {second}",
    "front": "a {name} seen from the front",
    "above": "a {name} seen from above",
}
#: Colours that are easily taken for each other, the common one first.
COLOURS = (("red", "orange"), ("blue", "purple"), ("yellow", "orange"), ("blue", "black"))


@dataclass(frozen=True)
class Contrast:
    """Two scenes that differ in one respect, a question, and the answer that each gives.

    The first scene has the common answer.
    """

    pattern: str
    question: str
    options: tuple[str, str]
    scenes: tuple[Scene, Scene]


def draw_contrast(pattern: str, rng: np.random.Generator, held_out: bool) -> Contrast:
    """A random contrast of a visual pattern.

    Parameters
    ----------
    pattern : str
        A key of :data:`PATTERNS`.
    rng : numpy.random.Generator
    held_out : bool
        Whether objects and pairs of kinds are the benchmark's or training's.

    Raises
    ------
    KeyError
        For a pattern that does not exist.
    """
    return PATTERNS[pattern](rng, held_out)


def training_example(rng: np.random.Generator) -> tuple[Scene, Question]:
    """A scene of a random contrast, the common one :data:`COMMON_SHARE` of the time, and question.

    The question's skill is the pattern.
    """
    names = list(PATTERNS)
    contrast = draw_contrast(names[int(rng.integers(len(names)))], rng, held_out=False)
    which = int(rng.random() >= COMMON_SHARE)
    answer = contrast.options[which]
    return contrast.scenes[which], Question(contrast.pattern, contrast.question, answer)


def statement(contrast: Contrast, which: int) -> str:
    """What is true of one of the two scenes and not of the other, as a caption says it."""
    things, answer = contrast.scenes[which].things, contrast.options[which]
    kind = things[0].kind
    told = {"orientation": kind, "feature": (kind, answer), "structure": kind}
    told |= dict.fromkeys(("relation", "viewpoint"), answer)
    template = STATEMENTS[told.get(contrast.pattern, contrast.pattern)]
    text = template.format(name=things[0].name, second=things[-1].name, answer=answer.lower())
    return text.replace("a orange", "an orange")


def vocabulary() -> tuple[str, ...]:
    """Every word, in lower case, that questions and answers can hold besides names, sorted."""
    pairs = [*STATES.values(), *STRUCTURES.values()]
    texts = [
        *DIRECTIONS.values(), *FEATURES.values(), QUANTITY, DEPTH, COLOUR, LETTER, VIEW,
        *(text for text, _ in pairs), *shapes.LETTERS,
    ]  # fmt: skip
    words: set[str] = set()
    for text in texts:
        fixed = [word for word in text.replace("?", " ?").split() if not word.startswith("{")]
        words |= {word.lower() for word in fixed}
    return tuple(sorted(words))


def caption_vocabulary() -> tuple[str, ...]:
    """Every word, in lower case, that :func:`statement` can use besides names, sorted."""
    answers = [a for _, pair in (*STATES.values(), *STRUCTURES.values()) for a in pair]
    texts = [*STATEMENTS.values(), *answers, *shapes.LETTERS, "an left right two three"]
    words = {word.lower() for text in texts for word in text.split()}
    return tuple(sorted(word for word in words if not word.startswith("{")))


# --- the patterns --------------------------------------------------------------------------------


def _orientation(rng, held_out: bool) -> Contrast:
    kind = _pick(rng, list(DIRECTIONS))
    scene, turn = _close_up(rng, kind, held_out), rng.uniform(-20, 20)
    # spout and head are at the right of the plain shape
    return _contrast(
        "orientation", scene, DIRECTIONS[kind], ("left", "right"),
        {"yaw": turn + 180}, {"yaw": turn},
    )  # fmt: skip


def _feature(rng, held_out: bool) -> Contrast:
    kind, variant = _pick(rng, list(FEATURES))
    scene, text = _close_up(rng, kind, held_out), FEATURES[kind, variant]
    return _contrast("feature", scene, text, ("Yes", "No"), {}, {"variant": variant})


def _state(rng, held_out: bool) -> Contrast:
    return _of_variants("state", STATES, rng, held_out)


def _structure(rng, held_out: bool) -> Contrast:
    return _of_variants("structure", STRUCTURES, rng, held_out)


def _text(rng, held_out: bool) -> Contrast:
    letters = list(shapes.LETTERS)
    i, j = sorted(rng.choice(len(letters), 2, replace=False))
    common, rare = letters[i], letters[j]
    scene = _close_up(rng, "box", held_out)
    text = LETTER.format(common=common, rare=rare, name="{name}")
    return _contrast(
        "text", scene, text, (common, rare), {"variant": common}, {"variant": rare}
    )  # fmt: skip


def _colour(rng, held_out: bool) -> Contrast:
    kind, (common, rare) = _pick(rng, shapes.KINDS), _pick(rng, COLOURS)
    text = COLOUR.format(kind=kind, common=common, rare=rare)
    scene = _close_up(rng, kind, held_out)
    return _contrast(
        "colour", scene, text, (common, rare), {"colour": common}, {"colour": rare}
    )  # fmt: skip


def _quantity(rng, held_out: bool) -> Contrast:
    """The third thing stands well away from the two others."""
    kinds = scenes.draw_kinds(rng, (tuple(shapes.SMALL),) * 3, held_out)
    spots = [(-1.3, 0.1), (0.0, 0.1), (1.3, 0.1)]
    things = [
        replace(scenes.draw_thing(rng, kind, held_out), x=x + rng.uniform(-0.15, 0.15), z=z)
        for kind, (x, z) in zip(kinds, spots, strict=True)
    ]
    things = [things[i] for i in rng.permutation(3)]
    surrounding = scenes.draw_surrounding(rng)
    two, three = (scenes.Scene(tuple(things[:n]), **surrounding) for n in (2, 3))
    return Contrast("quantity", QUANTITY, ("two", "three"), (two, three))


def _relation(rng, held_out: bool) -> Contrast:
    """One thing nearer, the other further away, a step to the side of each other."""
    small = tuple(shapes.SMALL)
    things = [
        scenes.draw_thing(rng, kind, held_out)
        for kind in scenes.draw_kinds(rng, (small, small), held_out)
    ]
    side, step = _pick(rng, (-0.55, 0.55)), rng.uniform(0.7, 1.0)
    surrounding = scenes.draw_surrounding(rng)
    near, far = (
        scenes.Scene(
            (replace(things[0], x=side, z=-z), replace(things[1], x=-side, z=z)), **surrounding
        )
        for z in (step, -step)
    )
    text = DEPTH.format(first=things[0].name, second=things[1].name)
    return Contrast("relation", text, ("nearer", "further"), (near, far))


def _viewpoint(rng, held_out: bool) -> Contrast:
    scene = _close_up(rng, _pick(rng, shapes.KINDS), held_out)
    low = rng.uniform(8, 14)
    front, above = (replace(scene.view, elevation=low + more) for more in (0, 18))
    text = VIEW.format(name=scene.things[0].name)
    pair = replace(scene, view=front), replace(scene, view=above)
    return Contrast("viewpoint", text, ("front", "above"), pair)


#: MMVP's nine visual patterns, in its order.
PATTERNS: dict[str, Callable[[np.random.Generator, bool], Contrast]] = {
    "orientation": _orientation,
    "feature": _feature,
    "state": _state,
    "quantity": _quantity,
    "relation": _relation,
    "colour": _colour,
    "structure": _structure,
    "text": _text,
    "viewpoint": _viewpoint,
}


def _of_variants(pattern: str, table: dict, rng, held_out: bool) -> Contrast:
    kind, variant = _pick(rng, list(table))
    text, options = table[kind, variant]
    return _contrast(
        pattern, _close_up(rng, kind, held_out), text, options, {}, {"variant": variant}
    )


def _contrast(
    pattern: str, scene: Scene, text: str, options: tuple[str, str], common: dict, rare: dict
) -> Contrast:
    """The scene with its first thing changed in two ways."""
    first, *others = scene.things
    pair = tuple(
        replace(scene, things=(replace(first, **change), *others)) for change in (common, rare)
    )
    return Contrast(pattern, text.format(name=first.name), options, pair)


def _close_up(rng, kind: str, held_out: bool) -> Scene:
    """A thing seen from near, every second time, where there are such pairs, with another one."""
    furniture = kind in shapes.FURNITURE
    near = rng.uniform(0.75, 1.0) if furniture else rng.uniform(0.5, 0.7)
    surrounding = scenes.draw_surrounding(rng)
    view = surrounding["view"]
    surrounding["view"] = replace(
        view, distance=view.distance * near, look_y=view.look_y * (0.4 + 0.6 * near)
    )
    thing = replace(
        scenes.draw_thing(rng, kind, held_out), x=rng.uniform(-0.3, 0.3), z=rng.uniform(-0.2, 0.2)
    )
    things = (thing,)
    others = [k for k in shapes.SMALL if k != kind and scenes.is_held_out_pair(k, kind) == held_out]
    if others and rng.random() < 0.5:
        other = scenes.draw_thing(rng, _pick(rng, others), held_out)
        colours = [colour for colour in shapes.COLOURS if colour != thing.colour]
        away = 1.5 if furniture else 1.15
        side = -math.copysign(away, thing.x)
        things += (replace(other, colour=_pick(rng, colours), x=thing.x + side, z=0.5),)
    return scenes.Scene(things, **surrounding)


def _pick(rng: np.random.Generator, options: Sequence):
    return options[int(rng.integers(len(options)))]
