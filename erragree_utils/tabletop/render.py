"""Pictures of scenes: one ray per pixel, and several where neighbours differ.

Scenes render in parallel on plain threads, since the kernel (:mod:`.trace`) releases the GIL.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from .trace import trace_rays

if TYPE_CHECKING:
    from .scenes import Scene

CONTRAST = 0.09  # neighbouring pixels that differ by more are supersampled


def render_scene(
    scene: Scene, size: int = 96, supersample: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Render one scene.

    Parameters
    ----------
    size : int
        Height and width in pixels.
    supersample : int
        Rays per side of a pixel at edges (``1`` turns antialiasing off; figures use 4).

    Returns
    -------
    image : uint8 array (size, size, 3)
        sRGB-like colours (gamma 2).
    hits : int16 array (size, size)
        What each pixel's centre shows: 0 ground, 1 wall, ``2 + i`` the i-th object of the scene.
    """
    if size < 1 or supersample < 1:
        raise ValueError(f"size and supersample must be positive, got {size} and {supersample}")
    arrays = scene.arrays()
    rows, columns = (places.ravel() for places in np.mgrid[:size, :size])
    light, hits = _light(arrays, rows + 0.5, columns + 0.5, size)
    pixels, hits = np.sqrt(light).reshape(size, size, 3), hits.reshape(size, size)
    image = (255.0 * pixels + 0.5).astype(np.uint8)
    if supersample > 1:
        rows, columns = np.nonzero(_edges(pixels, hits))
        total = np.zeros((len(rows), 3))
        for a, b in np.ndindex(supersample, supersample):
            y, x = rows + (a + 0.5) / supersample, columns + (b + 0.5) / supersample
            total += _light(arrays, y, x, size)[0]
        image[rows, columns] = (255.0 * np.sqrt(total / supersample**2) + 0.5).astype(np.uint8)
    return image, hits


def _light(
    arrays: tuple[np.ndarray, ...], y: np.ndarray, x: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Linear RGB in [0, 1] of the rays through points of the image in pixels, and what they hit."""
    points = np.stack([2.0 * x / size - 1.0, 1.0 - 2.0 * y / size], axis=1)
    colours, hits = np.empty((len(points), 3)), np.empty(len(points), np.int16)
    trace_rays(*arrays, points, colours, hits)
    return colours.clip(0.0, 1.0), hits


def _edges(pixels: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Which pixels differ from a neighbour, in what they show or in their colour."""
    edges = np.zeros(hits.shape, bool)
    # Transposed views: first neighbours above and below, then to the left and right.
    for view, colour, hit in ((edges, pixels, hits), (edges.T, pixels.swapaxes(0, 1), hits.T)):
        change = np.abs(np.diff(colour, axis=0))
        differ = change[..., 0] + change[..., 1] + change[..., 2] > 3.0 * CONTRAST
        differ |= np.diff(hit, axis=0) != 0
        view[:-1] |= differ
        view[1:] |= differ
    return edges


def render_many(
    scenes: Iterable[Scene], size: int = 96, supersample: int = 2, threads: int | None = None
) -> np.ndarray:
    """Render scenes on all cores; uint8 array (N, size, size, 3), in the order given."""
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        images = list(pool.map(lambda s: render_scene(s, size, supersample)[0], scenes))
    return np.stack(images) if images else np.empty((0, size, size, 3), np.uint8)
