"""From embeddings to scores and choices: CLIP's matching score is the cosine.

Everything here takes arrays of unit rows. A tie is never correct, and the order of the options
doesn't matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from .inputs import pair_arrays


def option_scores(queries: Iterable[np.ndarray], options: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Cosines, float64, of each query (D,) with its own options (K, D).

    Summed in the same order for each option, so that equal ones tie to the last bit.
    """
    return [
        (rows.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
        for query, rows in zip(queries, options, strict=True)
    ]


def matching_table(
    images: np.ndarray, texts: np.ndarray, pair_ids: Sequence[str] | None = None
) -> pd.DataFrame:
    """CLIP's matching between the two texts of each pair.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
        Image i of a pair belongs to text i.
    pair_ids : sequence of str, optional

    Returns
    -------
    pandas.DataFrame
        What `accuracy.summarize` takes: ``pair_id``, ``set_id``, ``image_index``, ``n_options``,
        ``score_own``, ``score_other``, ``correct``.
    """
    images, texts = pair_arrays(images, texts)
    names = [f"{i:04d}" for i in range(len(images))] if pair_ids is None else list(pair_ids)
    if len(names) != len(images):
        raise ValueError(f"{len(names)} pair_ids for {len(images)} pairs: give one for each")
    scores = np.einsum("nid,njd->nij", images, texts)
    own, other = scores[:, [0, 1], [0, 1]].ravel(), scores[:, [0, 1], [1, 0]].ravel()
    return pd.DataFrame({
        "pair_id": np.repeat(names, 2),
        "set_id": np.repeat(names, 2),
        "image_index": np.tile([0, 1], len(names)),
        "n_options": 2,
        "score_own": own,
        "score_other": other,
        "correct": own > other,
    })  # fmt: skip


def retrieval(
    images: np.ndarray, texts: np.ndarray, captions: Sequence[str]
) -> tuple[np.ndarray, int]:
    """Rank of each image's own text among all texts.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, D)
        Text `i` is image `i`'s own.
    captions : sequence of N str
        The texts as strings: an equal string is the same option, not a rival.

    Returns
    -------
    ranks : numpy.ndarray of int, shape (N,)
        1 is best. A rival with the same score ranks first.
    n_options : int
        Number of different texts.
    """
    names, first, own = np.unique(np.asarray(captions), return_index=True, return_inverse=True)
    if len(names) < 2:
        raise ValueError("retrieval needs at least two different captions to choose from")
    scores = images @ texts[first].T
    own_scores = scores[np.arange(len(images)), own]
    ranks = (scores >= own_scores[:, None]).sum(axis=1)  # counts the own text itself: 1 is best
    return ranks, len(names)


def classify(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Index of the nearest class embedding, (C, D), for each image, (N, D)."""
    return (images @ classes.T).argmax(axis=1)


def class_embeddings(texts: np.ndarray, n_templates: int) -> np.ndarray:
    """Mean of each class's templates, brought back to unit length (Radford et al. 2021, 3.1.4).

    `texts` are (C * n_templates, D), a class's templates one after another; classes are (C, D).
    """
    means = texts.reshape(-1, n_templates, texts.shape[1]).mean(axis=1)
    return means / np.linalg.norm(means, axis=1, keepdims=True)
