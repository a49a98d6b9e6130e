"""Kinds of objects, their colours and instances: each kind is a short list of primitives.

The parts of each kind, and of its other states and builds, stand in `TABLE`. Objects stand on
``y = 0``, are about one unit tall and look towards the camera (negative z). A part's colour is
``"main"`` (the colour that captions name), ``"shade"`` (a darker main) or one of :data:`TONES`.
"""

from __future__ import annotations

import csv
import functools
import math
from pathlib import Path

import numpy as np

from .trace import BOX, CONE, ELLIPSOID, SUBTRACT, TORUS, UNION

#: The parts of all kinds, one a row: shape, the axis along which a cone, ring or rod stands, if
#: it is cut away, centre x, y, z, sizes a, b, c, rounding, tilt (degrees), gloss, colour. Sizes are
#: half axes of a ball, half sizes of a box, half height, lower and upper radius of a cone, the two
#: radii of a ring, half length and radius of a rod.
TABLE = Path(__file__).parent.parent / "assets" / "tabletop-kinds.csv"
#: The colours that captions name, as sRGB in [0, 1].
COLOURS = {
    "red": (0.85, 0.13, 0.14),
    "orange": (0.97, 0.52, 0.10),
    "yellow": (0.97, 0.85, 0.17),
    "green": (0.16, 0.62, 0.24),
    "blue": (0.15, 0.35, 0.86),
    "purple": (0.52, 0.22, 0.70),
    "white": (0.95, 0.95, 0.93),
    "black": (0.12, 0.12, 0.14),
}
#: Colours of parts that captions never name.
TONES = {
    "metal": (0.66, 0.68, 0.71),
    "wood": (0.55, 0.36, 0.20),
    "cream": (0.96, 0.90, 0.76),
    "ink": (0.16, 0.15, 0.17),
    "leaf": (0.24, 0.50, 0.20),
    "gold": (0.86, 0.67, 0.24),
    "flame": (1.00, 0.72, 0.20),
    "glass": (0.62, 0.80, 0.90),
}
#: Height of the surface on which things stand, in the furniture's own units.
SEAT = {"chair": 0.79, "table": 0.83, "stool": 0.92, "bench": 0.78, "desk": 0.83, "bed": 0.98}
#: Strokes of letters on a square of side 2, as (x, y, half width, half height).
LETTERS = {
    "L": ((-0.6, 0.0, 0.2, 1.0), (0.1, -0.8, 0.7, 0.2)),
    "T": ((0.0, -0.1, 0.2, 0.9), (0.0, 0.8, 0.9, 0.2)),
    "H": ((-0.65, 0.0, 0.2, 1.0), (0.65, 0.0, 0.2, 1.0), (0.0, 0.0, 0.6, 0.2)),
    "F": ((-0.5, 0.0, 0.2, 1.0), (0.1, 0.8, 0.6, 0.2), (0.0, 0.1, 0.5, 0.2)),
    "U": ((-0.65, 0.1, 0.2, 0.9), (0.65, 0.1, 0.2, 0.9), (0.0, -0.8, 0.85, 0.2)),
}
#: Instances of each kind: the same parts, of another build and tone.
INSTANCES = 32
_TALLEST = 1.0  # small kinds are shrunk to this height, so that each fits under furniture

_SHAPES = ("ball", "box", "cone", "ring", "rod")  # by their numbers in the kernel
_AXES = ("up", "deep", "side")  # along which a cone, rod or ring stands
#: A primitive's row up to its tilt, its colour, and its gloss.
_Part = tuple[tuple[float, ...], str, float]


def _read_parts() -> dict[tuple[str, str], list[_Part]]:
    """The parts of each kind and variant; the plain shape's variant is ``""``."""
    parts: dict[tuple[str, str], list[_Part]] = {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)  # the header
        for kind, variant, shape, axis, cut, *numbers, colour in rows:
            *place_and_size, tilt, gloss = map(float, numbers)
            turn = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
            operation = SUBTRACT if cut else UNION
            head = (_SHAPES.index(shape), _AXES.index(axis), operation, *place_and_size, *turn)
            parts.setdefault((kind, variant), []).append((head, colour, gloss))
    for letter, strokes in LETTERS.items():
        parts["box", letter] = [
            parts["box", ""][0],
            _flat_box(0.0, 0.40, -0.40, 0.36, 0.36, 0.03, "cream"),
            *(
                _flat_box(0.28 * x, 0.40 + 0.28 * y, -0.43, 0.28 * a, 0.28 * b, 0.02, "ink")
                for x, y, a, b in strokes
            ),
        ]
    return parts


def _flat_box(x, y, z, a, b, c, colour: str) -> _Part:
    return (BOX, 0, UNION, x, y, z, a, b, c, 0.0, 1.0, 0.0), colour, 0.12


_PARTS = _read_parts()
KINDS = tuple(kind for kind, variant in _PARTS if not variant)
#: Small objects stand beside, on or under furniture, which is large enough for that.
SMALL, FURNITURE = tuple(kind for kind in KINDS if kind not in SEAT), tuple(SEAT)
#: Kinds in another state or build, or with a part more or less: what the visual patterns ask about
#: (:mod:`erragree_utils.tabletop.patterns`). The plain shape is the kind's other state.
VARIANTS = tuple((kind, variant) for kind, variant in _PARTS if variant)


def linear(rgb):
    """Linear light from the displayed colour (gamma 2, the inverse of the renderer's)."""
    return tuple(c * c for c in rgb)


def build(kind: str, instance: int) -> tuple[float, float]:
    """Girth and height of an instance, as factors on the plain shape (furniture: girth only)."""
    rng = np.random.default_rng((0x6B, KINDS.index(kind), instance))
    girth, height = rng.uniform(0.88, 1.14), rng.uniform(0.88, 1.10)
    return (rng.uniform(0.92, 1.06), 1.0) if kind in FURNITURE else (girth, height)


def _stretch(rows: np.ndarray, girth: float, height: float) -> np.ndarray:
    """Primitive rows of a wider or taller object; tubes and tilted parts keep round sections."""
    rows = rows.copy()
    rows[:, 3:6] *= (girth, height, girth)
    mean = math.sqrt(girth * height)
    for row in rows:
        kind, upright = row[0], row[1] == 0
        if kind in (ELLIPSOID, BOX):
            row[6:9] *= (girth, height, girth)
        elif kind == CONE:
            row[6] *= height if upright else girth
            row[7:9] *= girth if upright else mean
        else:
            row[6] *= girth if (kind == TORUS) == upright else height
            row[7] *= mean
    return rows


@functools.lru_cache(maxsize=4096)
def primitives(kind: str, colour: str, instance: int = 0, variant: str = "") -> np.ndarray:
    """Primitive rows of one object, float64 (n, 16), read-only."""
    parts = _PARTS.get((kind, variant))
    if kind not in KINDS:
        raise ValueError(f"no kind {kind!r}; there are {', '.join(KINDS)}")
    if parts is None:
        variants = ", ".join(repr(v) for k, v in VARIANTS if k == kind) or "none"
        raise ValueError(f"no variant {variant!r} of a {kind}; there are: {variants}")
    if colour not in COLOURS:
        raise ValueError(f"no colour {colour!r}; there are {', '.join(COLOURS)}")
    if not 0 <= instance < INSTANCES:
        raise ValueError(f"no instance {instance}; there are 0 to {INSTANCES - 1}")
    rng = np.random.default_rng((0x7C, KINDS.index(kind), instance))
    main = np.clip(np.array(COLOURS[colour]) * rng.uniform(0.88, 1.06, size=3), 0.0, 1.0)
    palette = {
        name: np.clip(np.array(c) * rng.uniform(0.8, 1.15), 0, 1) for name, c in TONES.items()
    }
    palette |= {"main": main, "shade": 0.72 * main}
    rows = np.array([(*head, *linear(palette[tone]), gloss) for head, tone, gloss in parts])
    rows = _stretch(rows, *build(kind, instance))
    if kind in SMALL:
        rows[:, 3:10] *= _shrink(kind, instance)
    rows.flags.writeable = False
    return rows


def _shrink(kind: str, instance: int) -> float:
    """The factor that fits the plain shape under furniture; a variant keeps its size."""
    heads = np.array([head for head, _, _ in _PARTS[kind, ""]], float)
    return min(1.0, _TALLEST / _height(_stretch(heads, *build(kind, instance))))


def _reach(rows: np.ndarray) -> np.ndarray:
    """Radius of a sphere about each primitive's centre that holds it, (n,)."""
    size = rows[:, 6:9]
    kinds = [rows[:, 0] == kind for kind in (ELLIPSOID, BOX, CONE)]
    radii = [size.max(1), np.linalg.norm(size, axis=1), np.hypot(size[:, 0], size[:, 1:].max(1))]
    return np.select(kinds, radii, size[:, 0] + size[:, 1])


def _half_sizes(rows: np.ndarray) -> np.ndarray:
    """Half the extent of each primitive along x, y and z, (n, 3); tilted ones by their reach."""
    size, kind, axis = rows[:, 6:9], rows[:, 0, None], rows[:, 1].astype(int)
    across = np.where(
        kind == CONE,
        size[:, 1:].max(1, keepdims=True),
        np.where(kind == TORUS, size[:, :1] + size[:, 1:2], size[:, 1:2]),
    )
    along = np.select(
        [rows[:, 0] == CONE, rows[:, 0] == TORUS], [size[:, 0], size[:, 1]], size[:, 0] + size[:, 1]
    )
    half = np.where((kind == ELLIPSOID) | (kind == BOX), size, across)
    turned = np.flatnonzero(~np.isin(rows[:, 0], (ELLIPSOID, BOX)))
    half[turned, np.array([1, 2, 0])[axis[turned]]] = along[turned]  # UP, DEPTH, SIDE
    return np.where(rows[:, 11:12] != 0.0, _reach(rows)[:, None], half)


def _height(rows: np.ndarray) -> float:
    """Height of the top of an object (tilted parts counted generously)."""
    solid = rows[:, 2] == UNION
    return float((rows[:, 4] + _half_sizes(rows)[:, 1])[solid].max())


@functools.lru_cache(maxsize=4096)
def bounding_box(kind: str, instance: int = 0, variant: str = "") -> tuple[float, ...]:
    """Lowest and highest x, y, z of an object in its own units (six numbers)."""
    rows = primitives(kind, "red", instance, variant)
    rows = rows[rows[:, 2] == UNION]
    half = _half_sizes(rows) + 0.005
    low, high = (rows[:, 3:6] - half).min(0), (rows[:, 3:6] + half).max(0)
    return (*map(float, low), *map(float, high))
