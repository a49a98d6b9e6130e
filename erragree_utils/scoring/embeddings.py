"""A benchmark's images embedded once, and the cosines between them within and across pairs."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from ..bars import Counted
from ..measures.agreement import cosine

if TYPE_CHECKING:
    from ..benchmarks import ImagePair
    from ..models.clip import Clip
    from ..models.vision import Vision

    Encoder = Clip | Vision
    Pairs = Sequence[ImagePair]


def image_embeddings(model: Encoder, bench: Pairs, batch_size: int = 64) -> dict[str, np.ndarray]:
    """Embed every image of a benchmark once, even if several pairs share it.

    Returns
    -------
    dict
        ``pair_id`` to an array of shape (images of the pair, D).
    """
    pairs = list(bench)  # held, so that an image in memory keeps its identity
    n = len({source_key(source) for pair in pairs for source in pair.sources})
    rows: dict[Hashable, int] = {}
    names: list[str] = []

    def fresh() -> Iterator[Image.Image]:
        for pair in pairs:
            keys = [source_key(source) for source in pair.sources]
            if all(key in rows for key in keys):
                continue  # its images need not be opened again
            for index, (key, image) in enumerate(zip(keys, pair.images, strict=True)):
                if key not in rows:
                    rows[key] = len(rows)
                    names.append(f"image {index} of pair {pair.pair_id!r}")
                    yield image

    with naming(names):
        embedded = model.embed_images(Counted(fresh(), n), batch_size=batch_size)
    return {
        pair.pair_id: embedded[[rows[source_key(source)] for source in pair.sources]]
        for pair in pairs
    }


@contextmanager
def naming(names: Sequence[str]) -> Iterator[None]:
    """Add the item to an error that says which entry it is about (`models.EncodeError`)."""
    try:
        yield
    except ValueError as error:
        index = getattr(error, "index", None)
        if index is not None:
            error.args = (f"{names[index]}: {error}",)
        raise


def source_key(source: str | Path | Image.Image) -> Hashable:
    """Equal for the same file, or the same image in memory."""
    return source if isinstance(source, (str, Path)) else id(source)


def pair_cosines(
    clip: Encoder, bench: Pairs, embeddings: dict[str, np.ndarray] | None = None
) -> pd.DataFrame:
    """Cosine between the two images of each pair (section 3 of the paper).

    Parameters
    ----------
    clip : Clip or similar
    bench : Benchmark or sequence of ImagePair
    embeddings : dict, optional
        What `image_embeddings` returned, if you already have it.

    Returns
    -------
    pandas.DataFrame
        ``pair_id``, ``relation``, ``cosine``; a row for each pair.
    """
    if len(bench) == 0:
        raise ValueError("the benchmark has no pairs")
    single = next((pair.pair_id for pair in bench if len(pair.sources) != 2), None)
    if single is not None:
        raise ValueError(
            f"{single!r} has one image, and a cosine needs two: use a benchmark of image pairs"
        )
    by_pair = image_embeddings(clip, bench) if embeddings is None else embeddings
    both = np.stack([by_pair[pair.pair_id] for pair in bench])
    return pd.DataFrame({
        "pair_id": [pair.pair_id for pair in bench],
        "relation": [pair.relation for pair in bench],
        "cosine": cosine(both[:, 0], both[:, 1]),
    })  # fmt: skip


def random_pair_cosines(
    clip: Encoder,
    bench: Pairs,
    n: int | None = None,
    seed: int = 0,
    embeddings: dict[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Cosine between images of different sets, drawn at random, to compare with `pair_cosines`.

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


def asked_about(clip: Clip, examples: pd.DataFrame) -> np.ndarray:
    """Tells a probe which of two things to find the side of, if the image doesn't: (N, D).

    The text embedding of the ``named`` thing minus that of the ``other``, from `side_examples`.
    """
    named, other = ([f"a {thing}" for thing in examples[name]] for name in ("named", "other"))
    return clip.embed_texts(named) - clip.embed_texts(other)
