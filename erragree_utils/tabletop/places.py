"""Named places and lights, which all four images of a set share."""

from __future__ import annotations

from dataclasses import dataclass

from .trace import BRICKS, CHECKER, DOTS, HILLS, PLAIN, PLANKS, SPECKLE, STRIPES

WALL_DISTANCE = 3.4  # of the wall behind the objects, from the middle of the table


@dataclass(frozen=True)
class Plane:
    """A textured plane: pattern, size of the pattern (scene units) and two sRGB colours."""

    pattern: int
    size: float
    first: tuple[float, float, float]
    second: tuple[float, float, float]


@dataclass(frozen=True)
class Picture:
    """A flat shape on the wall: window, frame, sun. Lengths in scene units, colours sRGB."""

    round: bool
    x: float
    y: float
    half_width: float
    half_height: float
    rim: float
    colour: tuple[float, float, float]
    rim_colour: tuple[float, float, float]


@dataclass(frozen=True)
class Place:
    """A named place: what things stand on, what's behind them, and what hangs on the wall."""

    name: str
    phrase: str
    ground: Plane
    wall: Plane
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Light:
    """A named light: direction towards it, its colour, and the colour of the sky (linear RGB)."""

    name: str
    phrase: str
    direction: tuple[float, float, float]
    colour: tuple[float, float, float]
    sky: tuple[float, float, float]


_WHITE = (0.97, 0.97, 0.95)
_WOOD = (0.48, 0.31, 0.18)
_SKY = (0.66, 0.83, 0.95)

PLACES = {
    place.name: place
    for place in (
        Place(
            "kitchen", "in the kitchen",
            Plane(CHECKER, 0.9, (0.90, 0.88, 0.84), (0.52, 0.60, 0.62)),
            Plane(BRICKS, 0.55, (0.80, 0.87, 0.86), (0.95, 0.95, 0.93)),
            (Picture(False, -1.5, 2.5, 0.8, 0.6, 0.10, _SKY, _WHITE),),
        ),
        Place(
            "library", "in the library",
            Plane(PLANKS, 0.55, (0.52, 0.34, 0.20), (0.36, 0.22, 0.13)),
            Plane(STRIPES, 0.42, (0.40, 0.22, 0.17), (0.56, 0.44, 0.30)),
            (Picture(False, 0.0, 1.55, 4.5, 0.07, 0.0, _WOOD, _WOOD),
             Picture(False, 0.0, 2.85, 4.5, 0.07, 0.0, _WOOD, _WOOD)),
        ),
        Place(
            "garden", "in the garden",
            Plane(SPECKLE, 0.22, (0.30, 0.55, 0.20), (0.44, 0.66, 0.27)),
            Plane(HILLS, 1.0, _SKY, (0.28, 0.50, 0.26)),
            (Picture(True, 1.9, 3.2, 0.36, 0.36, 0.0, (1.0, 0.93, 0.55), (1.0, 0.93, 0.55)),),
        ),
        Place(
            "beach", "on the beach",
            Plane(SPECKLE, 0.30, (0.93, 0.83, 0.60), (0.86, 0.74, 0.50)),
            Plane(PLAIN, 1.0, (0.70, 0.88, 0.97), (0.70, 0.88, 0.97)),
            (Picture(False, 0.0, 0.5, 9.0, 0.75, 0.0, (0.20, 0.55, 0.72), (0.2, 0.55, 0.72)),
             Picture(True, -2.0, 3.1, 0.45, 0.45, 0.0, (1.0, 0.95, 0.70), (1.0, 0.95, 0.70))),
        ),
        Place(
            "bathroom", "in the bathroom",
            Plane(CHECKER, 0.5, (0.94, 0.95, 0.96), (0.72, 0.84, 0.90)),
            Plane(CHECKER, 0.6, (0.86, 0.93, 0.96), (0.78, 0.88, 0.93)),
            (Picture(True, 0.7, 2.4, 0.75, 0.9, 0.10, (0.80, 0.88, 0.90), (0.75, 0.62, 0.35)),),
        ),
        Place(
            "classroom", "in the classroom",
            Plane(PLANKS, 0.8, (0.78, 0.62, 0.40), (0.66, 0.50, 0.30)),
            Plane(PLAIN, 1.0, (0.93, 0.90, 0.78), (0.93, 0.90, 0.78)),
            (Picture(False, 0.1, 2.2, 1.9, 0.85, 0.10, (0.14, 0.33, 0.26), _WOOD),),
        ),
        Place(
            "nursery", "in the nursery",
            Plane(PLAIN, 1.0, (0.85, 0.75, 0.85), (0.85, 0.75, 0.85)),
            Plane(DOTS, 0.8, (0.98, 0.90, 0.80), (0.95, 0.65, 0.62)),
            (Picture(False, 1.5, 2.5, 0.6, 0.6, 0.08, (0.75, 0.87, 0.70), _WHITE),),
        ),
        Place(
            "cellar", "in the cellar",
            Plane(SPECKLE, 0.5, (0.46, 0.45, 0.44), (0.36, 0.35, 0.34)),
            Plane(BRICKS, 0.5, (0.52, 0.30, 0.24), (0.70, 0.64, 0.58)),
        ),
        Place(
            "museum", "in the museum",
            Plane(CHECKER, 1.3, (0.86, 0.80, 0.70), (0.74, 0.66, 0.56)),
            Plane(PLAIN, 1.0, (0.38, 0.42, 0.55), (0.38, 0.42, 0.55)),
            (Picture(False, -1.3, 2.3, 0.75, 0.95, 0.12, (0.80, 0.55, 0.35), (0.80, 0.65, 0.30)),
             Picture(False, 1.4, 2.3, 0.85, 0.65, 0.12, (0.45, 0.65, 0.62), (0.80, 0.65, 0.30))),
        ),
        Place(
            "workshop", "in the workshop",
            Plane(SPECKLE, 0.9, (0.62, 0.60, 0.55), (0.54, 0.52, 0.48)),
            Plane(PLANKS, 0.5, (0.70, 0.55, 0.36), (0.55, 0.41, 0.26)),
            (Picture(False, 1.2, 2.3, 0.9, 0.65, 0.07, (0.30, 0.34, 0.38), (0.2, 0.2, 0.22)),),
        ),
        Place(
            "snow", "in the snow",
            Plane(SPECKLE, 0.8, (0.93, 0.95, 0.98), (0.86, 0.90, 0.96)),
            Plane(HILLS, 1.0, (0.62, 0.72, 0.86), (0.90, 0.93, 0.97)),
        ),
        Place(
            "gym", "in the gym",
            Plane(PLANKS, 0.4, (0.88, 0.68, 0.42), (0.80, 0.58, 0.34)),
            Plane(STRIPES, 2.2, (0.30, 0.45, 0.62), (0.90, 0.90, 0.88)),
            (Picture(False, 0.0, 0.45, 9.0, 0.45, 0.06, (0.24, 0.30, 0.42), (0.15, 0.18, 0.28)),),
        ),
    )
}  # fmt: skip

LIGHTS = {
    light.name: light
    for light in (
        Light(
            "morning", "in the morning",
            (-0.62, 0.66, -0.42), (0.92, 0.84, 0.68), (0.32, 0.36, 0.46),
        ),
        Light("noon", "at noon", (-0.12, 0.90, -0.42), (0.88, 0.88, 0.86), (0.42, 0.44, 0.46)),
        Light(
            "evening", "in the evening",
            (0.70, 0.52, -0.48), (1.05, 0.66, 0.36), (0.30, 0.25, 0.32),
        ),
        Light("night", "at night", (0.30, 0.84, -0.46), (0.40, 0.46, 0.62), (0.20, 0.23, 0.34)),
    )
}  # fmt: skip
