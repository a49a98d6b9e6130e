"""From embeddings to scores and choices: CLIP's matching score is the cosine.

Everything here takes arrays and returns arrays. A tie is never correct, and the order of the
options decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def _rows(array: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 2:
        raise ValueError(f"{name} must have shape (N, D), not {array.shape}")
    return array


def own_and_other(
    images: np.ndarray, texts: np.ndarray, own: np.ndarray, others: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Score of each image's own text, and of the best of the other texts.

    Parameters
    ----------
    images : numpy.ndarray, shape (N, D)
        Unit rows.
    texts : numpy.ndarray, shape (M, D)
        Unit rows.
    own : array of int, shape (N,)
        Row of each image's own text.
    others : sequence of N sequences of int
        Rows of the texts it competes with, one at least.

    Returns
    -------
    score_own, score_other : numpy.ndarray, shape (N,)
        Cosines; the image is matched correctly if ``score_own > score_other``.

    Raises
    ------
    ValueError
        If shapes do not fit, or an image has no text to compete with.
    """
    images, texts = _rows(images, "images"), _rows(texts, "texts")
    if not len(images) == len(own) == len(others):
        raise ValueError(
            f"{len(images)} images, {len(own)} own texts, {len(others)} lists of other texts: "
            "each image needs one of each"
        )
    lonely = [index for index, rows in enumerate(others) if len(rows) == 0]
    if lonely:
        raise ValueError(f"image {lonely[0]} has no other text to compete with its own")
    score_own = np.empty(len(images), np.float64)
    score_other = np.empty(len(images), np.float64)
    for index, (image, mine, rows) in enumerate(zip(images, own, others, strict=True)):
        # One product for all options, so that equal texts get equal scores to the last bit.
        scores = _scores(image, texts[[mine, *rows]])
        score_own[index], score_other[index] = scores[0], scores[1:].max()
    return score_own, score_other


def _scores(image: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Cosines of one image with several texts, (M,), summed in the same order for each text."""
    return (texts.astype(np.float64) * image.astype(np.float64)).sum(axis=1)


def retrieval(
    images: np.ndarray, texts: np.ndarray, captions: Sequence[str]
) -> tuple[np.ndarray, int]:
    """Rank of each image's own text among all texts.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, D)
        Unit rows; text `i` is image `i`'s own.
    captions : sequence of N str
        The texts as strings: an equal string is the same option, not a rival.

    Returns
    -------
    ranks : numpy.ndarray of int, shape (N,)
        1 is best. A rival with the same score ranks first.
    n_options : int
        Number of different texts.

    Raises
    ------
    ValueError
        If shapes do not fit, or there is only one text.
    """
    images, texts = _rows(images, "images"), _rows(texts, "texts")
    if images.shape != texts.shape or len(captions) != len(texts):
        raise ValueError(
            f"images {images.shape}, texts {texts.shape} and {len(captions)} captions must agree"
        )
    names, first, own = np.unique(np.asarray(captions), return_index=True, return_inverse=True)
    if len(names) < 2:
        raise ValueError("retrieval needs at least two different captions to choose from")
    scores = images @ texts[first].T
    mine = scores[np.arange(len(images)), own]
    ranks = (scores >= mine[:, None]).sum(axis=1)  # counts the own text itself: 1 is best
    return ranks, len(names)


def classify(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Index of the nearest class embedding for each image.

    Parameters
    ----------
    images : numpy.ndarray, shape (N, D)
    classes : numpy.ndarray, shape (C, D)

    Returns
    -------
    numpy.ndarray of int, shape (N,)
    """
    return (_rows(images, "images") @ _rows(classes, "classes").T).argmax(axis=1)


def class_embeddings(texts: np.ndarray, n_templates: int) -> np.ndarray:
    """Mean of each class's templates, brought back to unit length (Radford et al. 2021, 3.1.4).

    Parameters
    ----------
    texts : numpy.ndarray, shape (C * n_templates, D)
        Unit rows, a class's templates one after another.
    n_templates : int

    Returns
    -------
    numpy.ndarray, shape (C, D)
    """
    texts = _rows(texts, "texts")
    means = texts.reshape(-1, n_templates, texts.shape[1]).mean(axis=1)
    return means / np.linalg.norm(means, axis=1, keepdims=True)
