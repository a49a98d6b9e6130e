"""Scenes: which objects stand where, in which place, light and view.

Training and benchmark never share an object, a combination or a seed:

* *objects*: every kind is held out in two of its eight colours (:func:`is_held_out`). Training
  scenes use only the other six; benchmark scenes only these two. CLIP must compose "purple" and
  "mug" to name a purple mug.
* *combinations*: one quarter of the pairs of kinds (:func:`is_held_out_pair`) occurs in the
  benchmark alone.
* *seeds*: the random streams of the two start from different words (:data:`TRAIN`, :data:`TEST`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from . import places, shapes
from .render import OBJECT_WIDTH

TRAIN, TEST = 0x7261, 0x7465  # first words of the two families of random streams

#: Relations of What'sUp, in its two subsets; the order is that of the four images of a set.
RELATIONS_A = ("left of", "right of", "on", "under")
RELATIONS_B = ("left of", "right of", "in front of", "behind")
OPPOSITE = {
    "left of": "right of",
    "right of": "left of",
    "on": "under",
    "under": "on",
    "in front of": "behind",
    "behind": "in front of",
}

SMALL_SCALE = 0.78
FURNITURE_SCALE = 1.45


@dataclass(frozen=True)
class Thing:
    """One object of a scene: kind and colour, where it stands (scene units) and how."""

    kind: str
    colour: str
    x: float = 0.0
    z: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    scale: float = SMALL_SCALE

    @property
    def name(self) -> str:
        """Colour and kind, as captions say it: ``"red mug"``."""
        return f"{self.colour} {self.kind}"


@dataclass(frozen=True)
class View:
    """A camera: where it stands, the height it looks at, and its field of view in degrees."""

    azimuth: float = 0.0
    elevation: float = 21.0
    distance: float = 9.6
    look_x: float = 0.0
    look_y: float = 0.85
    field_of_view: float = 34.0

    def array(self) -> np.ndarray:
        """Position, right, up and forward vectors and half the image plane's width."""
        a, e = math.radians(self.azimuth), math.radians(self.elevation)
        target = np.array([self.look_x, self.look_y, 0.0])
        back = np.array([math.sin(a) * math.cos(e), math.sin(e), -math.cos(a) * math.cos(e)])
        forward = -back
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        up = np.cross(forward, right)
        half = math.tan(math.radians(self.field_of_view) / 2)
        return np.concatenate([target + self.distance * back, right, up, forward, [half]])


@dataclass(frozen=True)
class Scene:
    """Objects in a place, in a light, seen from somewhere.

    `relation` says how the first thing stands to the second; it is None for other scenes.
    """

    things: tuple[Thing, ...]
    place: str = "kitchen"
    light: str = "noon"
    view: View = View()
    relation: str | None = None

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The scene as the arrays that the renderer's kernel reads."""
        place, light = places.PLACES[self.place], places.LIGHTS[self.light]
        direction = np.array(light.direction) / np.linalg.norm(light.direction)
        planes = np.zeros((2, 9))
        for row, plane in zip(planes, (place.ground, place.wall), strict=True):
            row[:8] = (
                plane.pattern,
                plane.size,
                *shapes.linear(plane.first),
                *shapes.linear(plane.second),
            )
        planes[0, 8] = places.WALL_DISTANCE
        pictures = np.zeros((max(1, len(place.pictures)), 12))
        for row, p in zip(pictures, place.pictures, strict=False):
            row[:] = (
                float(p.round), p.x, p.y, p.half_width, p.half_height, p.rim,
                *shapes.linear(p.colour), *shapes.linear(p.rim_colour),
            )  # fmt: skip
        rows, blocks, start = np.zeros((len(self.things), OBJECT_WIDTH)), [], 0
        for row, thing in zip(rows, self.things, strict=True):
            block = shapes.primitives(thing.kind, thing.colour)
            yaw = math.radians(thing.yaw)
            row[:] = (
                thing.x, thing.y, thing.z, math.cos(yaw), math.sin(yaw), thing.scale,
                *shapes.bounding_sphere(thing.kind), start, start + len(block),
            )  # fmt: skip
            blocks.append(block)
            start += len(block)
        blocks = np.concatenate(blocks) if blocks else np.zeros((1, 16))
        lamp = np.concatenate([direction, light.colour, light.sky])
        return self.view.array(), lamp, planes, pictures, rows, blocks


def is_held_out(kind: str, colour: str) -> bool:
    """Whether this coloured kind is kept for the benchmark (two colours of each kind are)."""
    return (list(shapes.COLOURS).index(colour) + 3 * shapes.KINDS.index(kind)) % 4 == 0


def is_held_out_pair(first: str, second: str) -> bool:
    """Whether this pair of kinds, in either order, is kept for the benchmark (a quarter is)."""
    i, j = sorted((shapes.KINDS.index(first), shapes.KINDS.index(second)))
    return (i + 2 * j) % 4 == 0


def colours_of(kind: str, held_out: bool) -> list[str]:
    """The colours in which a kind occurs in the benchmark (`held_out`) or in training."""
    return [c for c in shapes.COLOURS if is_held_out(kind, c) == held_out]


def arrange(
    first: Thing, second: Thing, relation: str, gap: float | None = None
) -> tuple[Thing, Thing]:
    """Place two things so that `first` is in `relation` to `second`, about the middle of the table.

    `gap` is the distance between their centres in scene units; furniture stays in the middle, of
    two small objects each takes half of it.

    Raises
    ------
    ValueError
        For an unknown relation, or "on"/"under" without furniture.
    """
    furniture = second.kind in shapes.FURNITURE
    if relation in ("on", "under"):
        if not furniture:
            raise ValueError(f"{relation!r} needs furniture, not a {second.kind}")
        height = shapes.SEAT[second.kind] * second.scale if relation == "on" else 0.0
        return replace(first, x=0.0, z=-0.05, y=height), replace(second, x=0.0, z=0.0)
    steps = {
        "left of": (-1.0, 0.0), "right of": (1.0, 0.0),
        "in front of": (0.0, -1.0), "behind": (0.0, 1.0),
    }  # fmt: skip
    if relation not in steps:
        raise ValueError(f"no relation {relation!r}; there are {', '.join(OPPOSITE)}")
    dx, dz = steps[relation]
    gap = gap or (1.85 if furniture else 1.5)
    near, far = (gap, 0.0) if furniture else (gap / 2, gap / 2)
    # in depth, a step to the side keeps the thing behind in sight
    side = 0.22 if dz else 0.0
    return (
        replace(first, x=dx * near - side, z=dz * near),
        replace(second, x=-dx * far + side, z=-dz * far),
    )


def draw_surrounding(rng: np.random.Generator) -> dict:
    """A random place, light and view, as keyword arguments of :class:`Scene`."""
    view = View(
        azimuth=rng.uniform(-6, 6),
        elevation=rng.uniform(18, 25),
        distance=rng.uniform(9.2, 10.2),
        look_x=rng.uniform(-0.25, 0.25),
        look_y=rng.uniform(0.75, 0.95),
    )
    return {
        "place": str(rng.choice(list(places.PLACES))),
        "light": str(rng.choice(list(places.LIGHTS))),
        "view": view,
    }


def draw_thing(rng: np.random.Generator, kind: str, held_out: bool) -> Thing:
    """A thing of this kind in one of the colours of the benchmark or of training."""
    furniture = kind in shapes.FURNITURE
    scale = FURNITURE_SCALE if furniture else SMALL_SCALE
    return Thing(
        kind,
        str(rng.choice(colours_of(kind, held_out))),
        yaw=rng.uniform(-20, 20),
        scale=scale * rng.uniform(0.93, 1.07),
    )
