"""Kinds of objects, their colours and instances: each kind is a short list of primitives.

Objects stand on ``y = 0``, are about one unit tall and look towards the camera (negative z).
A primitive's colour is ``"main"`` (the colour that captions name), ``"shade"`` (a darker main) or
one of :data:`TONES`.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from .render import BOX, CAPSULE, CONE, ELLIPSOID, PRIMITIVE_WIDTH, SUBTRACT, TORUS, UNION

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

UP, DEPTH, SIDE = 0, 1, 2  # the axis along which a cone, capsule or torus stands


def _row(kind, centre, size, colour, *, axis=UP, op=UNION, rounding=0.0, tilt=0.0, gloss=0.12):
    angle = math.radians(tilt)
    head = (kind, axis, op, *centre, *size, rounding, math.cos(angle), math.sin(angle))
    return head, colour, gloss


def _ball(x, y, z, a, b=None, c=None, colour="main", **kw):
    return _row(ELLIPSOID, (x, y, z), (a, b or a, c or a), colour, **kw)


def _box(x, y, z, a, b, c, colour="main", rounding=0.03, **kw):
    return _row(BOX, (x, y, z), (a, b, c), colour, rounding=rounding, **kw)


def _cone(x, y, z, half, low, high, colour="main", rounding=0.015, **kw):
    return _row(CONE, (x, y, z), (half, low, high), colour, rounding=rounding, **kw)


def _torus(x, y, z, ring, tube, colour="main", **kw):
    return _row(TORUS, (x, y, z), (ring, tube, 0.0), colour, **kw)


def _rod(x, y, z, half, radius, colour="main", **kw):
    return _row(CAPSULE, (x, y, z), (half, radius, 0.0), colour, **kw)


def _four_legs(x, z, height, radius, colour="wood"):
    return [
        _cone(sx * x, height / 2, sz * z, height / 2, radius, radius, colour)
        for sx in (-1, 1)
        for sz in (-1, 1)
    ]


#: Small objects: the things that stand beside, on or under furniture.
SMALL = {
    "ball": [_ball(0, 0.46, 0, 0.46, gloss=0.5), _torus(0, 0.46, 0, 0.445, 0.035, "cream")],
    "mug": [
        _cone(0, 0.38, 0, 0.38, 0.33, 0.36),
        _cone(0, 0.55, 0, 0.34, 0.27, 0.30, "cream", op=SUBTRACT),
        _torus(0.40, 0.38, 0, 0.20, 0.06, axis=DEPTH),
    ],
    "bottle": [
        _cone(0, 0.33, 0, 0.33, 0.25, 0.25, rounding=0.06, gloss=0.6),
        _cone(0, 0.75, 0, 0.15, 0.25, 0.085, gloss=0.6),
        _cone(0, 0.95, 0, 0.12, 0.085, 0.085, gloss=0.6),
        _cone(0, 1.09, 0, 0.05, 0.10, 0.10, "metal"),
        _cone(0, 0.32, 0, 0.13, 0.257, 0.257, "cream"),
    ],
    "lamp": [
        _cone(0, 0.05, 0, 0.05, 0.28, 0.24, "metal"),
        _rod(0, 0.35, 0, 0.32, 0.04, "metal"),
        _cone(0, 0.80, 0, 0.26, 0.46, 0.22),
    ],
    "candle": [
        _cone(0, 0.05, 0, 0.05, 0.33, 0.36, "metal"),
        _cone(0, 0.42, 0, 0.36, 0.18, 0.18),
        _rod(0, 0.82, 0, 0.05, 0.015, "ink"),
        _ball(0, 0.95, 0, 0.07, 0.13, 0.07, "flame", gloss=0.9),
    ],
    "teapot": [
        _ball(0, 0.36, 0, 0.42, 0.35, 0.42, gloss=0.5),
        _rod(0.47, 0.45, 0, 0.20, 0.065, tilt=-42, gloss=0.5),
        _torus(-0.43, 0.40, 0, 0.20, 0.05, axis=DEPTH),
        _cone(0, 0.70, 0, 0.04, 0.20, 0.14, "shade"),
        _ball(0, 0.79, 0, 0.07, colour="shade"),
    ],
    "hat": [
        _cone(0, 0.05, 0, 0.05, 0.56, 0.56),
        _cone(0, 0.38, 0, 0.34, 0.33, 0.36),
        _cone(0, 0.17, 0, 0.07, 0.345, 0.347, "cream"),
    ],
    "box": [
        _box(0, 0.40, 0, 0.42, 0.40, 0.42),
        _box(0, 0.40, 0, 0.09, 0.412, 0.432, "gold", rounding=0.0),
        _torus(-0.10, 0.88, 0, 0.10, 0.035, "gold", axis=DEPTH),
        _torus(0.10, 0.88, 0, 0.10, 0.035, "gold", axis=DEPTH),
    ],
    "car": [
        _box(0, 0.30, 0, 0.60, 0.15, 0.28, rounding=0.08, gloss=0.5),
        _box(-0.05, 0.52, 0, 0.32, 0.16, 0.24, "glass", rounding=0.10, gloss=0.6),
        _box(-0.05, 0.66, 0, 0.28, 0.04, 0.22, rounding=0.03),
        *[
            _cone(sx * 0.34, 0.16, sz * 0.26, 0.07, 0.16, 0.16, "ink", axis=DEPTH)
            for sx in (-1, 1)
            for sz in (-1, 1)
        ],
    ],
    "duck": [
        _ball(0, 0.28, 0, 0.44, 0.28, 0.30),
        _ball(-0.34, 0.40, 0, 0.18, 0.14, 0.12, tilt=-30),
        _ball(0.24, 0.66, 0, 0.23),
        _cone(0.50, 0.63, 0, 0.10, 0.09, 0.03, "flame", axis=SIDE),
        _ball(0.33, 0.73, -0.18, 0.045, colour="ink"),
    ],
    "cactus": [
        _cone(0, 0.20, 0, 0.20, 0.27, 0.37),
        _rod(0, 0.68, 0, 0.36, 0.16, "leaf"),
        _rod(0.29, 0.62, 0, 0.13, 0.075, "leaf", axis=SIDE),
        _rod(0.38, 0.76, 0, 0.13, 0.08, "leaf"),
        _rod(-0.27, 0.78, 0, 0.11, 0.07, "leaf", axis=SIDE),
        _rod(-0.34, 0.90, 0, 0.11, 0.075, "leaf"),
    ],
    "clock": [
        _cone(0, 0.48, 0, 0.13, 0.44, 0.44, axis=DEPTH),
        _cone(0, 0.48, -0.11, 0.04, 0.35, 0.35, "cream", axis=DEPTH),
        _box(0, 0.58, -0.16, 0.025, 0.13, 0.02, "ink", rounding=0.01),
        _box(0.09, 0.48, -0.16, 0.10, 0.025, 0.02, "ink", rounding=0.01),
        _ball(-0.22, 0.08, 0, 0.08, colour="metal"),
        _ball(0.22, 0.08, 0, 0.08, colour="metal"),
        _ball(-0.28, 0.92, 0, 0.13, colour="metal"),
        _ball(0.28, 0.92, 0, 0.13, colour="metal"),
    ],
    "drum": [
        _cone(0, 0.28, 0, 0.26, 0.46, 0.46),
        _cone(0, 0.54, 0, 0.04, 0.48, 0.48, "cream"),
        _cone(0, 0.04, 0, 0.04, 0.48, 0.48, "cream"),
        _rod(0.05, 0.65, 0.05, 0.42, 0.035, "wood", tilt=-78),
        _rod(-0.05, 0.65, -0.12, 0.42, 0.035, "wood", tilt=78),
    ],
    "trophy": [
        _box(0, 0.08, 0, 0.26, 0.08, 0.26, "ink"),
        _cone(0, 0.28, 0, 0.16, 0.07, 0.07, gloss=0.8),
        _cone(0, 0.70, 0, 0.28, 0.12, 0.33, gloss=0.8),
        _torus(-0.32, 0.75, 0, 0.16, 0.045, axis=DEPTH, gloss=0.8),
        _torus(0.32, 0.75, 0, 0.16, 0.045, axis=DEPTH, gloss=0.8),
    ],
    "pear": [
        _ball(0, 0.36, 0, 0.38, 0.36, 0.38, gloss=0.3),
        _cone(0, 0.68, 0, 0.28, 0.31, 0.14, rounding=0.12, gloss=0.3),
        _rod(0.03, 1.02, 0, 0.09, 0.028, "wood", tilt=-15),
        _ball(0.17, 1.02, 0, 0.14, 0.05, 0.08, "leaf", tilt=20),
    ],
    "mushroom": [
        _cone(0, 0.26, 0, 0.26, 0.19, 0.14, "cream"),
        _ball(0, 0.52, 0, 0.52, 0.34, 0.52),
        _cone(0, 0.28, 0, 0.20, 0.60, 0.60, "cream", op=SUBTRACT),
        _cone(0, 0.26, 0, 0.26, 0.19, 0.14, "cream"),
        _ball(0.10, 0.78, -0.28, 0.09, colour="cream"),
        _ball(-0.25, 0.70, -0.29, 0.08, colour="cream"),
        _ball(0.36, 0.66, -0.20, 0.08, colour="cream"),
    ],
    "cake": [
        _cone(0, 0.20, 0, 0.20, 0.52, 0.52),
        _cone(0, 0.42, 0, 0.05, 0.54, 0.52, "cream", rounding=0.04),
        _cone(0, 0.58, 0, 0.14, 0.30, 0.30),
        _cone(0, 0.74, 0, 0.04, 0.32, 0.31, "cream", rounding=0.035),
        _ball(0, 0.86, 0, 0.09, colour="flame"),
    ],
    "ring": [
        _torus(0, 0.50, 0, 0.36, 0.125, axis=DEPTH, gloss=0.5),
        _box(0, 0.04, 0, 0.30, 0.04, 0.18, "wood"),
    ],
    "snowman": [
        _ball(0, 0.33, 0, 0.34),
        _ball(0, 0.80, 0, 0.24),
        _cone(0, 0.80, -0.30, 0.09, 0.02, 0.06, "flame", axis=DEPTH),
        _cone(0, 1.02, 0, 0.03, 0.28, 0.28, "ink"),
        _cone(0, 1.13, 0, 0.11, 0.17, 0.17, "ink"),
        _ball(-0.08, 0.88, -0.20, 0.04, colour="ink"),
        _ball(0.08, 0.88, -0.20, 0.04, colour="ink"),
    ],
    "rocket": [
        _cone(0, 0.45, 0, 0.32, 0.24, 0.24),
        _cone(0, 0.95, 0, 0.20, 0.24, 0.03, "cream"),
        _box(-0.25, 0.20, 0, 0.09, 0.20, 0.03, "metal", tilt=-18),
        _box(0.25, 0.20, 0, 0.09, 0.20, 0.03, "metal", tilt=18),
        _cone(0, 0.56, -0.22, 0.04, 0.10, 0.10, "glass", axis=DEPTH),
        _cone(0, 0.09, 0, 0.07, 0.17, 0.12, "ink"),
    ],
    "bell": [
        _cone(0, 0.36, 0, 0.30, 0.44, 0.22, gloss=0.7),
        _ball(0, 0.66, 0, 0.22, 0.17, 0.22, gloss=0.7),
        _cone(0, 0.07, 0, 0.06, 0.54, 0.44, gloss=0.7),
        _rod(0, 0.98, 0, 0.16, 0.06, "wood"),
        _ball(0, 1.17, 0, 0.09, colour="wood"),
    ],
    "boat": [
        _ball(0, 0.28, 0, 0.62, 0.28, 0.26),
        _box(0, 0.55, 0, 0.8, 0.25, 0.5, op=SUBTRACT, colour="wood"),
        _rod(0, 0.62, 0, 0.42, 0.03, "wood"),
        _box(0.21, 0.74, 0, 0.18, 0.26, 0.015, rounding=0.01),
        _box(-0.15, 0.64, 0, 0.12, 0.18, 0.015, "cream", rounding=0.01),
    ],
    "robot": [
        _box(0, 0.46, 0, 0.31, 0.25, 0.22),
        _box(0, 0.86, 0, 0.22, 0.15, 0.18, "metal"),
        _ball(-0.08, 0.89, -0.17, 0.05, colour="flame"),
        _ball(0.08, 0.89, -0.17, 0.05, colour="flame"),
        _rod(0, 1.08, 0, 0.09, 0.02, "ink"),
        _ball(0, 1.18, 0, 0.05, colour="flame"),
        _rod(-0.39, 0.48, 0, 0.16, 0.07, "metal", tilt=-12),
        _rod(0.39, 0.48, 0, 0.16, 0.07, "metal", tilt=12),
        _rod(-0.13, 0.14, 0, 0.09, 0.08, "metal"),
        _rod(0.13, 0.14, 0, 0.09, 0.08, "metal"),
    ],
    "umbrella": [
        _ball(0, 0.72, 0, 0.58, 0.38, 0.58),
        _cone(0, 0.50, 0, 0.22, 0.70, 0.70, op=SUBTRACT, colour="shade"),
        _rod(0, 0.55, 0, 0.50, 0.03, "wood"),
        _torus(0.08, 0.06, 0, 0.08, 0.03, "wood", axis=DEPTH),
    ],
}

#: Furniture: large enough for a small object to stand on and under.
FURNITURE = {
    "chair": [
        _box(0, 0.74, 0, 0.52, 0.05, 0.46),
        _box(0, 1.10, 0.42, 0.52, 0.34, 0.04),
        *_four_legs(0.45, 0.39, 0.72, 0.045),
    ],
    "table": [
        _cone(0, 0.78, 0, 0.05, 0.80, 0.80),
        *_four_legs(0.50, 0.50, 0.76, 0.05),
    ],
    "stool": [
        _cone(0, 0.84, 0, 0.08, 0.48, 0.52, rounding=0.06),
        *_four_legs(0.40, 0.40, 0.78, 0.035, "metal"),
        _torus(0, 0.10, 0, 0.55, 0.025, "metal"),
    ],
    "bench": [
        _box(0, 0.74, -0.20, 0.85, 0.04, 0.14),
        _box(0, 0.74, 0.14, 0.85, 0.04, 0.14),
        _box(0, 0.98, 0.34, 0.85, 0.07, 0.03),
        _box(0, 1.18, 0.34, 0.85, 0.07, 0.03),
        _box(-0.74, 0.62, 0.34, 0.04, 0.62, 0.04, "metal"),
        _box(0.74, 0.62, 0.34, 0.04, 0.62, 0.04, "metal"),
        _box(-0.74, 0.36, -0.24, 0.04, 0.36, 0.04, "metal"),
        _box(0.74, 0.36, -0.24, 0.04, 0.36, 0.04, "metal"),
    ],
    "desk": [
        _box(0, 0.78, 0, 0.86, 0.05, 0.46),
        _box(-0.78, 0.38, 0, 0.05, 0.38, 0.44),
        _box(0.78, 0.38, 0, 0.05, 0.38, 0.44),
        _box(0, 0.67, 0.42, 0.76, 0.09, 0.03, "wood"),
    ],
    "bed": [
        _box(0, 0.80, 0, 0.84, 0.09, 0.50),
        _box(0.20, 0.92, 0, 0.60, 0.06, 0.46, rounding=0.06),
        _box(-0.55, 0.94, 0, 0.22, 0.07, 0.36, "cream", rounding=0.06),
        _box(-0.84, 0.66, 0, 0.05, 0.66, 0.52, "wood"),
        _box(0.84, 0.50, 0, 0.05, 0.50, 0.52, "wood"),
    ],
}

#: Height of the surface on which things stand, in the furniture's own units.
SEAT = {"chair": 0.79, "table": 0.83, "stool": 0.92, "bench": 0.78, "desk": 0.83, "bed": 0.98}

KINDS = tuple(SMALL) + tuple(FURNITURE)


def _without(kind, *numbers):
    return [part for i, part in enumerate(SMALL[kind]) if i not in numbers]


#: Strokes of letters on a square of side 2, as (x, y, half width, half height).
LETTERS = {
    "L": ((-0.6, 0.0, 0.2, 1.0), (0.1, -0.8, 0.7, 0.2)),
    "T": ((0.0, -0.1, 0.2, 0.9), (0.0, 0.8, 0.9, 0.2)),
    "H": ((-0.65, 0.0, 0.2, 1.0), (0.65, 0.0, 0.2, 1.0), (0.0, 0.0, 0.6, 0.2)),
    "F": ((-0.5, 0.0, 0.2, 1.0), (0.1, 0.8, 0.6, 0.2), (0.0, 0.1, 0.5, 0.2)),
    "U": ((-0.65, 0.1, 0.2, 0.9), (0.65, 0.1, 0.2, 0.9), (0.0, -0.8, 0.85, 0.2)),
}


def _lettered(letter):
    panel = _box(0, 0.40, -0.40, 0.36, 0.36, 0.03, "cream", rounding=0.0)
    strokes = [
        _box(0.28 * x, 0.40 + 0.28 * y, -0.43, 0.28 * a, 0.28 * b, 0.02, "ink", rounding=0.0)
        for x, y, a, b in LETTERS[letter]
    ]
    return [_box(0, 0.40, 0, 0.42, 0.40, 0.42), panel, *strokes]


#: Kinds in another state or build, or with a part more or less: what the visual patterns ask about
#: (:mod:`erragree_utils.tabletop.patterns`). The plain shape is the kind's other state.
VARIANTS = {
    ("candle", "out"): _without("candle", 3),
    ("bottle", "open"): _without("bottle", 3),
    ("box", "open"): [
        _box(0, 0.40, 0, 0.42, 0.40, 0.42),
        _box(0, 0.72, 0, 0.36, 0.20, 0.36, "ink", op=SUBTRACT),
        _box(-0.50, 0.98, 0, 0.03, 0.26, 0.42, tilt=20),
    ],
    ("snowman", "bare"): _without("snowman", 3, 4),
    ("trophy", "bare"): _without("trophy", 3, 4),
    ("cake", "bare"): _without("cake", 4),
    ("teapot", "bare"): [
        SMALL["teapot"][0],
        _cone(0, 0.66, 0, 0.14, 0.17, 0.17, "ink", op=SUBTRACT),
        *SMALL["teapot"][1:3],
    ],
    ("table", "square"): [
        _box(0, 0.78, 0, 0.72, 0.05, 0.72),
        *_four_legs(0.62, 0.62, 0.76, 0.05),
    ],
    ("stool", "three legs"): [
        FURNITURE["stool"][0],
        *[
            _cone(x, 0.39, z, 0.39, 0.035, 0.035, "metal")
            for x, z in ((0, -0.46), (-0.4, 0.3), (0.4, 0.3))
        ],
        FURNITURE["stool"][-1],
    ],
    ("chair", "low"): [
        FURNITURE["chair"][0],
        _box(0, 0.90, 0.42, 0.52, 0.13, 0.04),
        *FURNITURE["chair"][2:],
    ],
    **{("box", letter): _lettered(letter) for letter in LETTERS},
}


#: Instances of each kind: the same parts, of another build and tone.
INSTANCES = 32
_TALLEST = 1.0  # small kinds are shrunk to this height, so that each fits under furniture


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
        kind, upright = row[0], row[1] == UP
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
    """Primitive rows of one object, float64 (n, 16), read-only.

    Raises
    ------
    ValueError
        For a kind, a colour, an instance or a variant (:data:`VARIANTS`) that does not exist.
    """
    plain = SMALL.get(kind) or FURNITURE.get(kind)
    if plain is None:
        raise ValueError(f"no kind {kind!r}; there are {', '.join(KINDS)}")
    parts = VARIANTS.get((kind, variant)) if variant else plain
    if parts is None:
        known = ", ".join(repr(v) for k, v in VARIANTS if k == kind) or "none"
        raise ValueError(f"no variant {variant!r} of a {kind}; there are: {known}")
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
    assert rows.shape[1] == PRIMITIVE_WIDTH
    rows = _stretch(rows, *build(kind, instance))
    if kind in SMALL:
        rows[:, 3:10] *= _shrink(kind, instance)
    rows.flags.writeable = False
    return rows


def _shrink(kind: str, instance: int) -> float:
    """The factor that fits the plain shape under furniture; a variant keeps its size."""
    heads = np.array([head for head, _, _ in SMALL[kind]], float)
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
