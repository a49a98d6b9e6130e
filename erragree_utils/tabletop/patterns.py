"""The nine visual patterns of MMVP (Tong et al. 2024) as contrasts of two scenes.

A contrast is two scenes that differ in exactly one respect, a question about it, and the two
answers; each function of :data:`PATTERNS` draws one. The first answer of a question is the
*common* one: where the mini LLaVA is trained, it is right most of the time, as answers are
imbalanced by question type in real visual question answering (Goyal et al. 2017, "Making the V in
VQA Matter"). In contrasts, both are equally frequent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from . import scenes, shapes
from .scenes import pick

if TYPE_CHECKING:
    from .scenes import Scene

DIRECTIONS = {
    "duck": "Does the {name} look to the left or to the right?",
    "teapot": "Does the spout of the {name} point to the left or to the right?",
    "mug": "Is the handle of the {name} on the left or on the right?",
}
#: By pattern, kind and variant: the question about the plain shape and the variant, its answers.
VARIANTS = {
    "feature": {
        ("snowman", "bare"): ("Does the {name} wear a hat?", ("Yes", "No")),
        ("trophy", "bare"): ("Does the {name} have handles?", ("Yes", "No")),
        ("cake", "bare"): ("Is there a ball on top of the {name}?", ("Yes", "No")),
        ("teapot", "bare"): ("Does the {name} have a lid?", ("Yes", "No")),
    },
    "state": {
        ("candle", "out"): ("Is the {name} burning or out?", ("burning", "out")),
        ("bottle", "open"): ("Is the {name} closed or open?", ("closed", "open")),
        ("box", "open"): ("Is the {name} closed or open?", ("closed", "open")),
    },
    "structure": {
        ("table", "square"): ("Is the top of the {name} round or square?", ("round", "square")),
        ("stool", "three legs"): ("Does the {name} have four or three legs?", ("four", "three")),
        ("chair", "low"): ("Is the back of the {name} high or low?", ("high", "low")),
    },
}
QUANTITY = "Are there two or three things in the image?"
DEPTH = "Is the {first} nearer or further away than the {second}?"
COLOUR = "Is the {kind} {common} or {rare}?"
LETTER = "Is the letter on the {name} {common} or {rare}?"
VIEW = "Is the {name} seen from the front or from above?"
#: What is said of the answer, by the kind of the first thing, or else by pattern: in a caption of
#: training, and as a statement of the benchmark.
STATEMENTS = {
    "duck": ("a {name} looking to the {answer}", "the {name} looks to the {answer}"),
    "teapot": (
        "a {name} with the spout to the {answer}",
        "the spout of the {name} points to the {answer}",
    ),
    "mug": (
        "a {name} with the handle on the {answer}",
        "the handle of the {name} is on the {answer}",
    ),
    ("snowman", "Yes"): ("a {name} with a hat", "the {name} with a hat"),
    ("snowman", "No"): ("a {name} without a hat", "the {name} without a hat"),
    ("trophy", "Yes"): ("a {name} with handles", "the {name} with handles"),
    ("trophy", "No"): ("a {name} without handles", "the {name} without handles"),
    ("cake", "Yes"): ("a {name} with a ball on top", "the {name} with a ball on top"),
    ("cake", "No"): ("a {name} without a ball on top", "the {name} without a ball on top"),
    ("teapot", "Yes"): ("a {name} with a lid", "the {name} with a lid"),
    ("teapot", "No"): ("a {name} without a lid", "the {name} without a lid"),
    "table": ("a {name} with a {answer} top", "the {name} with a {answer} top"),
    "stool": ("a {name} with {answer} legs", "the {name} with {answer} legs"),
    "chair": ("a {name} with a {answer} back", "the {name} with a {answer} back"),
    "state": ("a {name} that is {answer}", "the {name} is {answer}"),
    "text": ("a {name} with the letter {answer}", "the letter on the {name} is {answer}"),
    "colour": ("a {name}", "the {name}"),
    "quantity": ("{answer} things", "{answer} things"),
    "nearer": ("a {name} nearer than a {second}", "the {name} in front of the {second}"),
    "further": ("a {name} further away than a {second}", "the {name} behind the {second}"),
    "front": ("a {name} seen from the front", "the {name} seen from the front"),
    "above": ("a {name} seen from above", "the {name} seen from above"),
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
    """A random contrast of a pattern, of the benchmark's objects (`held_out`) or training's."""
    return PATTERNS[pattern](rng, held_out)


def statement(contrast: Contrast, which: int) -> str:
    """What is true of one scene but not of the other, as a training caption would say it."""
    text = _template(contrast, which)[0].format(
        name=contrast.scenes[which].things[0].name,
        second=contrast.scenes[which].things[-1].name,
        answer=contrast.options[which].lower(),
    )
    return text.replace("a orange", "an orange")


def statements(contrast: Contrast) -> tuple[str, str]:
    """What CLIP reads: the two answers of a contrast as statements, MMVP-VLM's way.

    The mini CLIP's captions mentioned places, counts, colours and relations, but never a state, a
    build, a letter or a viewpoint: it has no words for these.
    """
    return tuple(
        _template(contrast, which)[1].format(
            name=scene.things[0].name, second=scene.things[-1].name, answer=answer
        )
        for which, (scene, answer) in enumerate(zip(contrast.scenes, contrast.options, strict=True))
    )


def _template(contrast: Contrast, which: int) -> tuple[str, str]:
    kind, answer = contrast.scenes[which].things[0].kind, contrast.options[which]
    keys = {"orientation": kind, "feature": (kind, answer), "structure": kind}
    keys |= dict.fromkeys(("relation", "viewpoint"), answer)
    return STATEMENTS[keys.get(contrast.pattern, contrast.pattern)]


def vocabulary() -> tuple[str, ...]:
    """Every word, in lower case, that questions and answers can hold besides names, sorted."""
    about = [question for table in VARIANTS.values() for question, _ in table.values()]
    fixed = (QUANTITY, DEPTH, COLOUR, LETTER, VIEW, *shapes.LETTERS)
    return _words(" ".join((*DIRECTIONS.values(), *about, *fixed)).replace("?", " ?"))


def caption_vocabulary() -> tuple[str, ...]:
    """Every word, in lower case, that :func:`statement` can use besides names, sorted."""
    answers = [
        answer
        for pattern in ("state", "structure")
        for _, options in VARIANTS[pattern].values()
        for answer in options
    ]
    captions = [caption for caption, _ in STATEMENTS.values()]
    return _words(" ".join((*captions, *answers, *shapes.LETTERS, "an left right two three")))


def _words(text: str) -> tuple[str, ...]:
    return tuple(sorted({word for word in text.lower().split() if not word.startswith("{")}))


# --- the patterns --------------------------------------------------------------------------------


def _orientation(rng, held_out: bool) -> Contrast:
    kind = pick(rng, list(DIRECTIONS))
    scene, turn = _close_up(rng, kind, held_out), rng.uniform(-20, 20)
    # spout and head are at the right of the plain shape
    ways = {"yaw": turn + 180}, {"yaw": turn}
    return _contrast("orientation", scene, DIRECTIONS[kind], ("left", "right"), ways)


def _variant(pattern: str, rng, held_out: bool) -> Contrast:
    kind, variant = pick(rng, list(VARIANTS[pattern]))
    text, options = VARIANTS[pattern][kind, variant]
    scene = _close_up(rng, kind, held_out)
    return _contrast(pattern, scene, text, options, ({}, {"variant": variant}))


def _text(rng, held_out: bool) -> Contrast:
    letters = list(shapes.LETTERS)
    options = tuple(letters[i] for i in sorted(rng.choice(len(letters), 2, replace=False)))
    ways = tuple({"variant": letter} for letter in options)
    return _contrast("text", _close_up(rng, "box", held_out), LETTER, options, ways)


def _colour(rng, held_out: bool) -> Contrast:
    kind, options = pick(rng, shapes.KINDS), pick(rng, COLOURS)
    ways = tuple({"colour": colour} for colour in options)
    return _contrast("colour", _close_up(rng, kind, held_out), COLOUR, options, ways)


def _quantity(rng, held_out: bool) -> Contrast:
    """The third thing stands well away from the two others."""
    kinds = scenes.draw_kinds(rng, (shapes.SMALL,) * 3, held_out)
    spots = [(-1.3, 0.1), (0.0, 0.1), (1.3, 0.1)]
    things = [
        replace(scenes.draw_thing(rng, kind, held_out), x=x + rng.uniform(-0.15, 0.15), z=z)
        for kind, (x, z) in zip(kinds, spots, strict=True)
    ]
    things = [things[i] for i in rng.permutation(3)]
    empty = scenes.draw_empty_scene(rng)
    pair = tuple(replace(empty, things=tuple(things[:n])) for n in (2, 3))
    return Contrast("quantity", QUANTITY, ("two", "three"), pair)


def _relation(rng, held_out: bool) -> Contrast:
    """One thing nearer, the other further away, a step to the side of each other."""
    things = [
        scenes.draw_thing(rng, kind, held_out)
        for kind in scenes.draw_kinds(rng, (shapes.SMALL, shapes.SMALL), held_out)
    ]
    side, step = pick(rng, (-0.55, 0.55)), rng.uniform(0.7, 1.0)
    empty = scenes.draw_empty_scene(rng)
    pair = tuple(
        replace(empty, things=(replace(things[0], x=side, z=-z), replace(things[1], x=-side, z=z)))
        for z in (step, -step)
    )
    text = DEPTH.format(first=things[0].name, second=things[1].name)
    return Contrast("relation", text, ("nearer", "further"), pair)


def _viewpoint(rng, held_out: bool) -> Contrast:
    scene = _close_up(rng, pick(rng, shapes.KINDS), held_out)
    low = rng.uniform(8, 14)
    pair = tuple(replace(scene, view=replace(scene.view, elevation=low + more)) for more in (0, 18))
    text = VIEW.format(name=scene.things[0].name)
    return Contrast("viewpoint", text, ("front", "above"), pair)


#: MMVP's nine visual patterns, in its order.
PATTERNS: dict[str, Callable[[np.random.Generator, bool], Contrast]] = {
    "orientation": _orientation,
    "feature": partial(_variant, "feature"),
    "state": partial(_variant, "state"),
    "quantity": _quantity,
    "relation": _relation,
    "colour": _colour,
    "structure": partial(_variant, "structure"),
    "text": _text,
    "viewpoint": _viewpoint,
}


def _contrast(
    pattern: str, scene: Scene, text: str, options: tuple[str, str], ways: tuple[dict, dict]
) -> Contrast:
    """The scene with its first thing changed in two ways."""
    first, *others = scene.things
    pair = tuple(replace(scene, things=(replace(first, **way), *others)) for way in ways)
    common, rare = options
    text = text.format(name=first.name, kind=first.kind, common=common, rare=rare)
    return Contrast(pattern, text, options, pair)


def _close_up(rng, kind: str, held_out: bool) -> Scene:
    """A thing seen from near, every second time, where there are such pairs, with another one."""
    furniture = kind in shapes.FURNITURE
    share = rng.uniform(0.75, 1.0) if furniture else rng.uniform(0.5, 0.7)
    empty = scenes.draw_empty_scene(rng)
    thing = scenes.draw_thing(rng, kind, held_out)
    thing = replace(thing, x=rng.uniform(-0.3, 0.3), z=rng.uniform(-0.2, 0.2))
    things = (thing,)
    others = [k for k in shapes.SMALL if k != kind and scenes.is_held_out_pair(k, kind) == held_out]
    if others and rng.random() < 0.5:
        other = scenes.draw_thing(rng, pick(rng, others), held_out)
        colours = [colour for colour in shapes.COLOURS if colour != thing.colour]
        x = thing.x - math.copysign(1.5 if furniture else 1.15, thing.x)
        things += (replace(other, colour=pick(rng, colours), x=x, z=0.5),)
    return replace(empty, things=things, view=empty.view.closer(share))
