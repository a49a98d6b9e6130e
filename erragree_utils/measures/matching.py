"""From embeddings to scores and choices: CLIP's matching score is the cosine.

Everything here takes arrays of unit rows. A tie is never correct, and the order of the options
decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .inputs import pair_arrays


def own_and_other(
    images: np.ndarray, texts: np.ndarray, own: np.ndarray, others: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Score of each image's own text, and of the best of the other texts.

    Parameters
    ----------
    images : numpy.ndarray, shape (N, D)
    texts : numpy.ndarray, shape (M, D)
    own : array of int, shape (N,)
        Row of each image's own text.
    others : sequence of N sequences of int
        Rows of the texts it competes with, one at least.

    Returns
    -------
    score_own, score_other : numpy.ndarray, shape (N,)
        Cosines; the image is matched correctly if ``score_own > score_other``.
    """
    texts, best = texts.astype(np.float64), []
    for index, (image, mine, rivals) in enumerate(zip(images, own, others, strict=True)):
        if not len(rivals):
            raise ValueError(f"image {index} has no other text to compete with its own")
        # Summed in the same order for each text, so that equal texts tie to the last bit.
        scores = (texts[[mine, *rivals]] * image.astype(np.float64)).sum(axis=1)
        best.append((scores[0], scores[1:].max()))
    score_own, score_other = np.array(best).reshape(-1, 2).T
    return score_own, score_other


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
