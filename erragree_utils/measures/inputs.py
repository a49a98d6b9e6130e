"""Inputs of many measures: embeddings of pairs, and a group for each example."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pair_arrays(images: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (N, 2, D) of the images and of the texts of pairs, as float64."""
    images, texts = np.asarray(images, np.float64), np.asarray(texts, np.float64)
    if images.shape != texts.shape or images.ndim != 3 or images.shape[1] != 2 or not len(images):
        raise ValueError(
            f"images and texts must both have the shape (N, 2, D), not {images.shape} and "
            f"{texts.shape}"
        )
    if not np.isfinite([images, texts]).all():
        raise ValueError("images or texts hold NaN or infinity")
    return images, texts


def group_numbers(groups: Sequence, n: int, least: int) -> np.ndarray:
    """The groups of `n` examples as numbers from 0, at least so many different ones."""
    names, numbers = np.unique(np.asarray(groups), return_inverse=True)
    if len(numbers) != n or len(names) < least:
        raise ValueError(
            f"give a group for each of {n} examples, {least} groups or more; there are "
            f"{len(numbers)} of {len(names)} groups"
        )
    return numbers


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows of any shape (..., D), brought to unit length."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
