"""Embeddings made by hand, of which it is known where the side is."""

from __future__ import annotations

import numpy as np

N, D = 120, 24
GROUPS = np.arange(N) // 4


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def pairs(turned: bool = True, held: bool = True):
    """Images and texts of objects; the side is in dimension 0 of images and in 1 of texts.

    `turned` False puts both in dimension 0; `held` False takes the side from the images.
    """
    rng = np.random.default_rng(0)
    objects = np.zeros((N, 1, D))
    objects[..., 2:] = unit(rng.normal(size=(N, 1, D - 2)))
    images, texts = np.repeat(objects, 2, axis=1), np.repeat(objects, 2, axis=1)
    images[:, :, 0] = [0.1, -0.1] if held else [0, 0]
    texts[:, :, 1 if turned else 0] += [0.1, -0.1]
    return (unit(x + 0.005 * rng.normal(size=x.shape)) for x in (images, texts))
