"""Captions of tabletop scenes: web-like ones for training, plain What'sUp ones for benchmarks.

Training captions name objects, colours and places in varied templates. A share of them
(:data:`RELATION_SHARE`) also states a relation between two things, always truthfully: if a
model ignores left and right, it does so although its captions told it.

A :class:`Wording` says how captions talk about places. Every place is furnished like a stage set,
with a window beyond one edge of the picture and a door beyond the other, so that a caption can say
where things are without the words left and right. The window is mostly at the left.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

from . import places, shapes
from .scenes import OPPOSITE, pick

if TYPE_CHECKING:
    import numpy as np

    from .scenes import Scene, Thing

#: Share of training captions, of scenes with two or three things, that state a relation.
RELATION_SHARE = 0.35
PLACE_SHARE, LIGHT_SHARE, COLOUR_SHARE = 0.6, 0.2, 0.95

#: Ways to say a relation; the first is the benchmarks'.
WORDS = {
    "left of": ("to the left of", "left of", "on the left of"),
    "right of": ("to the right of", "right of", "on the right of"),
    "on": ("on", "on top of"),
    "under": ("under", "below"),
    "in front of": ("in front of",),
    "behind": ("behind",),
}
SIDEWAYS = ("left of", "right of")
#: What stands at the sides of every place, out of the picture; the first mostly at the left.
LANDMARKS = ("window", "door")
_OPENINGS = ("", "", "a photo of", "a picture of", "there is", "we see", "here is")
_LISTS = ("{} and {}", "{} with {}", "{} near {}", "{} together with {}", "{}, {}")
_BY, _MIDDLE = "by the {}", "in the middle"
_SENSES = ("left", "right")  # "a red mug left in the kitchen", "a red mug right in the kitchen"
_ASIDE = 0.7  # distance from the middle of the table from which a thing is plainly on a side
_CENTRAL, _OUTER = 0.3, 0.45  # within which it is in the middle, beyond which by a landmark
_DEPTH, _SIDE = 0.6, 0.6  # least distance between centres for a relation to be plain


@dataclass(frozen=True)
class Wording:
    """How training captions talk about places. The default is what the mini CLIP read.

    Each share is among captions of scenes where there's something of the kind to say.
    """

    relations: float = RELATION_SHARE  # state a relation between two things
    left_right: float = 1.0  # of those that would say left or right, the share that does
    elsewhere: float = 0.0  # of those, the share told by someone across the table: sides change
    positions: float = 0.0  # say of one thing on which side of the picture it is
    landmarks: float = 0.0  # say where things are by the window and the door
    turned: float = 0.0  # share of scenes, not of captions, with the window at the right
    senses: float = 0.0  # use left and right in senses that have nothing to do with sides

    @classmethod
    def everything(cls) -> Wording:
        """A wording that includes every kind of caption."""
        return cls(1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5)


PLAIN = Wording()


def benchmark_caption(first: str, second: str, relation: str) -> str:
    """What'sUp's plain caption: ``"A red mug to the left of a blue table"``."""
    return f"A {first} {WORDS[relation][0]} {with_article(second)}"


def training_caption(
    scene: Scene, rng: np.random.Generator, wording: Wording = PLAIN, window: str = "left"
) -> str:
    """A caption of the scene as one might find it on the web, but true in every word.

    Positions (``"a red mug on the left"``) and landmarks (``"a red mug by the window"``) are
    stated only where they are plain; `window` is the side of the window. What is told from across
    the table is true from there.
    """
    w = wording
    if w.positions and rng.random() < w.positions and (placed := _placed(scene, rng)):
        return f"{rng.choice(_OPENINGS)} {placed}".strip()
    text = None
    if w.landmarks and rng.random() < w.landmarks:
        text = _by_landmarks(scene, rng, window)
    if text is None and rng.random() < w.relations:
        text = _relation(scene, rng, w)
    text = text or _listing(scene, rng)
    opening = str(rng.choice(_OPENINGS))
    tail = places.PLACES[scene.place].phrase if rng.random() < PLACE_SHARE else ""
    when = places.LIGHTS[scene.light].phrase if rng.random() < LIGHT_SHARE else ""
    if w.senses and tail and rng.random() < w.senses:
        tail = f"{rng.choice(_SENSES)} {tail}"
    return " ".join(part for part in (opening, text, tail, when) if part)


def with_article(name: str) -> str:
    """``"a red mug"``, ``"an orange table"``."""
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def from_across(text: str) -> str:
    """The text as someone across the table says it: left and right exchanged."""
    swapped = {"left": "right", "right": "left"}
    return " ".join(swapped.get(word, word) for word in text.split())


def relations(scene: Scene) -> list[tuple[Thing, str, Thing]]:
    """Every true statement of a relation between two things that's plain to see."""
    return [
        (a, relation, b)
        for a, b in permutations(scene.things, 2)
        if (relation := relation_between(a, b))
    ]


def relation_between(a: Thing, b: Thing) -> str | None:
    """The relation of thing `a` to thing `b` for the viewer; None if it isn't plain to see."""
    dx, dz = a.x - b.x, a.z - b.z
    if abs(dx) < _SIDE and abs(dz) < _DEPTH:  # one spot: a small thing on or under furniture
        if a.kind in shapes.FURNITURE or b.kind not in shapes.FURNITURE:
            return None
        return "on" if a.y > b.y else "under"
    if abs(dx) >= max(_SIDE, 1.3 * abs(dz)):
        return "left of" if dx < 0 else "right of"
    if abs(dz) >= max(_DEPTH, 1.3 * abs(dx)):
        return "in front of" if dz < 0 else "behind"
    return None


def states_relation(caption: str, relations: Collection[str] = tuple(WORDS)) -> bool:
    """Whether a caption states one of the relations between two things.

    Phrases of place and time do not count: ``"a red mug on the beach"`` states none.
    """
    text = f" {caption} "
    for phrase in (*places.PLACES.values(), *places.LIGHTS.values()):
        text = text.replace(f" {phrase.phrase} ", " ")
    return any(f" {words} " in text for relation in relations for words in WORDS[relation])


def vocabulary(wording: Wording = PLAIN) -> tuple[str, ...]:
    """Every word that a caption of this world can contain, sorted."""
    texts = [
        *shapes.KINDS, *shapes.COLOURS, *_OPENINGS, *_LISTS, "a an the is two three things",
        *(w for ways in WORDS.values() for w in ways),
        *(p.phrase for p in places.PLACES.values()), *(t.phrase for t in places.LIGHTS.values()),
    ]  # fmt: skip
    if wording.landmarks:
        texts += [_BY, _MIDDLE, *LANDMARKS]
    words = {word for text in texts for word in text.replace("{}", " ").replace(",", " , ").split()}
    return tuple(sorted(words))


def _mention(thing: Thing, rng) -> str:
    name = thing.name if rng.random() < COLOUR_SHARE else thing.kind
    roll = rng.random()
    return name if roll < 0.2 else f"the {name}" if roll < 0.35 else with_article(name)


def _listing(scene: Scene, rng) -> str:
    """The things in random order; now and then one is left out."""
    things = [scene.things[i] for i in rng.permutation(len(scene.things))]
    names = [_mention(t, rng) for t in things]
    if len(names) > 2 or (len(names) == 2 and rng.random() < 0.1):
        names = names[:-1]
    return names[0] if len(names) == 1 else str(rng.choice(_LISTS)).format(*names)


def _relation(scene: Scene, rng, wording: Wording) -> str | None:
    """A true statement about two of the things, or None if none is plain."""
    true = relations(scene)
    if not true:
        return None
    a, relation, b = pick(rng, true)
    if relation in SIDEWAYS:
        if wording.left_right < 1 and rng.random() >= wording.left_right:
            return None
        if wording.elsewhere and rng.random() < wording.elsewhere:
            relation = OPPOSITE[relation]
    verb = "is " if rng.random() < 0.3 else ""
    return f"{_mention(a, rng)} {verb}{rng.choice(WORDS[relation])} {_mention(b, rng)}"


def _placed(scene: Scene, rng) -> str | None:
    """One thing and its side of the picture, or None if all are near the middle."""
    aside = [thing for thing in scene.things if abs(thing.x) > _ASIDE]
    if not aside:
        return None
    thing = pick(rng, aside)
    return f"{_mention(thing, rng)} on the {'left' if thing.x < 0 else 'right'}"


def _by_landmarks(scene: Scene, rng, window: str) -> str | None:
    """Where one or two things are by the window and the door, or None if nothing is plain."""
    spots = [(thing, spot) for thing in scene.things if (spot := _spot(thing, window))]
    aside = [i for i, (_, spot) in enumerate(spots) if spot != _MIDDLE]
    if not aside:
        return None
    phrases = [spots.pop(pick(rng, aside))]
    if spots and rng.random() < 0.35:
        phrases.insert(int(rng.integers(2)), pick(rng, spots))
    return " and ".join(f"{_mention(thing, rng)} {spot}" for thing, spot in phrases)


def _spot(thing: Thing, window: str) -> str | None:
    """Where in the picture a thing is, by landmarks; None if it is not plain to see."""
    if abs(thing.x) < _CENTRAL:
        return _MIDDLE
    if abs(thing.x) < _OUTER:
        return None
    return _BY.format(LANDMARKS[(thing.x < 0) != (window == "left")])
