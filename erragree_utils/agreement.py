"""How alike two images are to a model: cosines between their embeddings.

A model here is anything with ``embed_images(images) -> (N, D)``, a benchmark any sequence of pairs
with ``pair_id``, ``set_id``, ``relation``, ``sources`` and ``images``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine between the rows of two arrays.

    Parameters
    ----------
    a, b : numpy.ndarray, shape (N, D)
        Of any length but zero.

    Returns
    -------
    numpy.ndarray, float64, shape (N,)
        Between -1 and 1.

    Raises
    ------
    ValueError
        If the shapes differ, or a row is zero or not finite: it has no direction.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"a and b must have the same shape (N, D), not {a.shape} and {b.shape}")
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        row = int((~(np.isfinite(lengths) & (lengths > 0))).argmax())
        raise ValueError(f"row {row} is zero or not finite, so it has no direction to compare")
    return np.clip((a * b).sum(axis=1) / lengths, -1.0, 1.0)


def image_embeddings(
    clip: Any, bench: Any, batch_size: int = 64, progress: bool = False
) -> dict[str, np.ndarray]:
    """Embed every image of a benchmark once, also when several pairs share it.

    Parameters
    ----------
    clip : Clip or alike
    bench : Benchmark or alike
    batch_size : int
    progress : bool

    Returns
    -------
    dict
        ``pair_id`` to an array of shape (images of the pair, D).
    """
    pairs = list(bench)  # held, so that an image in memory keeps its identity
    rows: dict[Hashable, int] = {}
    names: list[str] = []

    def fresh() -> Iterator[Any]:
        for pair in pairs:
            keys = [source_key(source) for source in pair.sources]
            if all(key in rows for key in keys):
                continue
            for index, (key, image) in enumerate(zip(keys, pair.images, strict=True)):
                if key not in rows:
                    rows[key] = len(rows)
                    names.append(f"image {index} of pair {pair.pair_id!r}")
                    yield image

    try:
        embedded = clip.embed_images(fresh(), batch_size=batch_size, progress=progress)
    except ValueError as error:
        index = getattr(error, "index", None)
        if index is not None:
            error.args = (f"{names[index]}: {error}",)
        raise
    return {
        pair.pair_id: embedded[[rows[source_key(source)] for source in pair.sources]]
        for pair in pairs
    }


def source_key(source: Any) -> Hashable:
    """Equal for the same file, or the same image in memory."""
    return source if isinstance(source, (str, Path)) else id(source)


def pair_cosines(
    clip: Any, bench: Any, embeddings: dict[str, np.ndarray] | None = None
) -> pd.DataFrame:
    """Cosine between the two images of each pair (section 3 of the paper).

    Parameters
    ----------
    clip : Clip or alike
    bench : Benchmark or alike
    embeddings : dict, optional
        What `image_embeddings` returned, if it is at hand.

    Returns
    -------
    pandas.DataFrame
        ``pair_id``, ``relation``, ``cosine``; a row for each pair.

    Raises
    ------
    ValueError
        If the benchmark is empty, or has single images instead of pairs.
    """
    _need_pairs(bench)
    by_pair = image_embeddings(clip, bench) if embeddings is None else embeddings
    both = np.stack([by_pair[pair.pair_id] for pair in bench])
    return pd.DataFrame({
        "pair_id": [pair.pair_id for pair in bench],
        "relation": [pair.relation for pair in bench],
        "cosine": cosine(both[:, 0], both[:, 1]),
    })  # fmt: skip


def random_pair_cosines(
    clip: Any,
    bench: Any,
    n: int | None = None,
    seed: int = 0,
    embeddings: dict[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Cosine between images of different sets, drawn at random: what `pair_cosines` compares with.

    Parameters
    ----------
    clip, bench, embeddings
        As in `pair_cosines`; a benchmark of single images will do.
    n : int, optional
        Number of draws, with replacement; by default as many as the benchmark has pairs.
    seed : int

    Returns
    -------
    pandas.DataFrame
        ``pair_id`` (the two pairs the images come from), ``relation`` ("random"), ``cosine``.

    Raises
    ------
    ValueError
        If there are fewer than two sets, or `n` is not positive.
    """
    n = len(bench) if n is None else n
    sets, set_of_pair = np.unique([pair.set_id for pair in bench], return_inverse=True)
    if len(sets) < 2 or n < 1:
        raise ValueError(
            f"random pairs need two sets and n >= 1; there are {len(sets)} sets, n={n}"
        )
    by_pair = image_embeddings(clip, bench) if embeddings is None else embeddings
    pairs = [pair.pair_id for pair in bench]
    owner = np.repeat(np.arange(len(pairs)), [len(by_pair[name]) for name in pairs])
    images, set_of_image = np.concatenate([by_pair[name] for name in pairs]), set_of_pair[owner]

    rng = np.random.default_rng(seed)
    first = rng.integers(len(images), size=n)
    second = rng.integers(len(images), size=n)
    while (same := set_of_image[first] == set_of_image[second]).any():
        second[same] = rng.integers(len(images), size=int(same.sum()))
    return pd.DataFrame({
        "pair_id": [
            f"{pairs[owner[i]]} | {pairs[owner[j]]}" for i, j in zip(first, second, strict=True)
        ],
        "relation": "random",
        "cosine": cosine(images[first], images[second]),
    })  # fmt: skip


def _need_pairs(bench: Any) -> None:
    if len(bench) == 0:
        raise ValueError("the benchmark has no pairs")
    single = next((pair.pair_id for pair in bench if len(pair.sources) != 2), None)
    if single is not None:
        raise ValueError(
            f"{single!r} has one image, and a cosine needs two: use a benchmark of image pairs"
        )
