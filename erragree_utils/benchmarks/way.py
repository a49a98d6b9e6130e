"""The way from one image of a pair to the other: a small object goes round the furniture."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ..tabletop.captions import benchmark_caption
from ..tabletop.render import render_scene
from ..tabletop.scenes import GAP_FURNITURE, Scene
from .tabletop import MODEL_SIZE, pictures, tabletop_sets

#: How far in front of the furniture the way passes, in scene units.
DEPTH = 1.1
SIDE = 160  # pixels of the pictures in which we look for what moves


@dataclass(frozen=True)
class Way:
    """Scenes from left to right; the first and the last are a pair of the benchmark."""

    scenes: tuple[Scene, ...]

    @property
    def mover(self) -> str:
        """What moves, such as ``"red mug"``."""
        return self.scenes[0].things[0].name

    @property
    def captions(self) -> tuple[str, str]:
        """The captions of the first and of the last scene."""
        names = [thing.name for thing in self.scenes[0].things]
        return tuple(benchmark_caption(*names, side) for side in ("left of", "right of"))

    @property
    def places(self) -> list[float]:
        """Where the middle of what moves is in each picture, in shares of its width."""
        shown = map(_columns_of_the_mover, self.scenes)
        return [float((np.flatnonzero(seen).mean() + 0.5) / SIDE) for seen in shown]

    def images(self, size: int = MODEL_SIZE, supersample: int = 2) -> list[Image.Image]:
        """A picture of each scene, so many pixels a side."""
        return pictures(self.scenes, size, supersample)


def _columns_of_the_mover(scene: Scene) -> np.ndarray:
    """Which columns of a picture, of `SIDE`, show a scene's first thing."""
    first = 2  # its number among what pixels show
    return (render_scene(scene, SIDE, 1)[1] == first).any(axis=0)


def way(number: int = 0, seed: int = 0, n_frames: int = 33) -> Way:
    """From left of the furniture, in front of it, round to the right.

    `number` is that of a set of ``tabletop-a`` with this `seed`.
    """
    scene = tabletop_sets("tabletop-a", seed, number + 1)[number][0]
    mover, furniture = scene.things
    angles = np.linspace(math.pi, 2 * math.pi, n_frames)
    return Way(tuple(
        replace(scene, things=(
            replace(mover, x=GAP_FURNITURE * math.cos(a), z=DEPTH * math.sin(a)), furniture,
        ))
        for a in angles.tolist()
    ))  # fmt: skip


def at_the_edge(seed: int = 0, size: int = 400) -> Image.Image:
    """A landscape of 4:3, `size` pixels wide: what moves stands in its leftmost tenth.

    A square cut out of its centre leaves just that out.
    """
    scene = tabletop_sets("tabletop-a", seed, 1)[0][0]
    mover, furniture = scene.things
    wide = replace(scene.view, field_of_view=1.8 * scene.view.field_of_view)
    for x in np.arange(mover.x, -20, -0.1).tolist():
        shown = replace(scene, view=wide, things=(replace(mover, x=x), furniture))
        if not _columns_of_the_mover(shown)[SIDE // 10 :].any():
            break
    (picture,) = pictures([shown], size, 3)
    return picture.crop((0, size // 8, size, size // 8 + size * 3 // 4))
