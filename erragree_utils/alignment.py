"""Whether texts answer to what changes in images, and whether a linear map can make them.

For a pair with image embeddings a, b and its texts' s, t the margins of CLIP's matching add up to
(a - b) . (s - t): the two images are told apart as far as the two differences point the same way.
Arrays only; embeddings of pairs have the shape (N, 2, D), image i belonging to text i.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from .agreement import cosine

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # relative to the kernel's mean diagonal
INNER_FOLDS = 3
SIDES = ("text", "image")


def difference_angles(images: np.ndarray, texts: np.ndarray) -> pd.DataFrame:
    """Angle between the image difference and the text difference of each pair.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
        Of unit length, as `Clip` gives them.

    Returns
    -------
    pandas.DataFrame
        A row for each pair: ``cosine`` of the angle between the differences, the ``angle`` in
        degrees (90: the text does not answer to what changes in the image), the lengths
        ``image_difference`` and ``text_difference``, and ``margin_sum``, the product of these three
        (cosine and lengths): the sum of the pair's two matching margins.

    Raises
    ------
    ValueError
        If the shapes are not (N, 2, D), or two images or texts of a pair are equal.
    """
    images, texts = _checked(images, texts)
    moved, asked = images[:, 0] - images[:, 1], texts[:, 0] - texts[:, 1]
    cosines = cosine(moved, asked)
    return pd.DataFrame({
        "cosine": cosines,
        "angle": np.degrees(np.arccos(cosines)),
        "image_difference": np.linalg.norm(moved, axis=1),
        "text_difference": np.linalg.norm(asked, axis=1),
        "margin_sum": (moved * asked).sum(axis=1),
    })  # fmt: skip


def turned_scores(
    images: np.ndarray, texts: np.ndarray, degrees: Sequence[float]
) -> dict[float, np.ndarray]:
    """Images along a direction that turns from what the texts ask to where the images differ.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
        Of unit length, as `Clip` gives them; at least four pairs.
    degrees : sequence of float
        0 is the mean text difference of the pairs; 90 the part of the mean image difference that is
        at a right angle to it.

    Returns
    -------
    dict of float to numpy.ndarray, shape (M, 2)
        For each angle, both images of every second pair along the direction, with the mean of the
        pair removed. The direction comes from the other pairs.

    Raises
    ------
    ValueError
        If the shapes are not (N, 2, D), there are fewer than four pairs, or a mean difference is
        zero.
    """
    images, texts = _checked(images, texts)
    if len(images) < 4:
        raise ValueError(f"give at least four pairs, not {len(images)}")
    moved, asked = (x[::2, 0].mean(axis=0) - x[::2, 1].mean(axis=0) for x in (images, texts))
    length = np.linalg.norm(asked)
    if not length:
        raise ValueError(
            "the texts do not differ on average, so there is no direction to turn from"
        )
    asked = asked / length
    across = moved - (moved @ asked) * asked
    length = np.linalg.norm(across)
    if not length:
        raise ValueError("the images do not differ on average beside what the texts ask")
    shown = images[1::2] - images[1::2].mean(axis=1, keepdims=True)
    turned = {a: np.cos(np.radians(a)) * asked + np.sin(np.radians(a)) * across / length
              for a in degrees}  # fmt: skip
    return {a: shown @ direction for a, direction in turned.items()}


def fit_map(images: np.ndarray, texts: np.ndarray, strength: float) -> np.ndarray:
    """The linear map that makes texts answer to their images, as near to the identity as may be.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
    strength : float
        Of the penalty on the distance from the identity; larger changes less.

    Returns
    -------
    numpy.ndarray, shape (D, D)
        M, such that ``image @ M @ text`` scores a match.

    Notes
    -----
    Ridge regression of all 2N matching margins on twice their spread before the repair, with the
    penalty on the distance of M from the identity, solved in its dual of 2N numbers.
    ``image @ M @ text`` can be read as a map of the text (``M @ text``) or of the image (``M.T @
    image``): choosing between two texts, the two are the same but for the length of the mapped
    text.
    """
    images, texts = _checked(images, texts)
    size = images.shape[-1]
    own = images.reshape(-1, size)
    asked = texts[:, 0] - texts[:, 1]
    ahead = np.stack([asked, -asked], axis=1).reshape(-1, size)
    margins = (own * ahead).sum(axis=1)
    kernel = (own @ own.T) * (ahead @ ahead.T)
    penalty = max(strength * np.trace(kernel) / len(kernel), 1e-12)
    missing = 2 * margins.std() - margins
    weights = np.linalg.solve(kernel + penalty * np.eye(len(kernel)), missing)
    return np.eye(size) + (own * weights[:, None]).T @ ahead


def cross_fitted_maps(
    images: np.ndarray,
    texts: np.ndarray,
    groups: Sequence,
    folds: int = 5,
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[np.ndarray, np.ndarray]:
    """`fit_map` for each fold, from the pairs of other groups.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
    groups : sequence, length N
        Pairs of one group are never on both sides.
    folds : int
    strengths : sequence of float
        The one with the most right matches is chosen on inner folds, of equals the strongest.

    Returns
    -------
    maps : numpy.ndarray, shape (folds, D, D)
    fold : numpy.ndarray of int, shape (N,)
        Which map has not seen the pair.

    Raises
    ------
    ValueError
        If shapes or lengths do not agree, or there are too few groups.
    """
    images, texts = _checked(images, texts)
    groups = np.asarray(groups)
    least = max(folds, INNER_FOLDS + 1)
    if len(groups) != len(images) or folds < 2 or len(np.unique(groups)) < least:
        raise ValueError(
            f"give a group for each of the {len(images)} pairs, {least} groups or more, and two "
            f"folds or more; there are {len(groups)} of {len(np.unique(groups))} groups"
        )
    maps, fold_of = [], np.zeros(len(images), int)
    for k, (train, test) in enumerate(GroupKFold(folds).split(images, groups=groups)):
        inner = list(GroupKFold(INNER_FOLDS).split(train, groups=groups[train]))
        right = {}
        for strength in sorted(strengths, reverse=True):
            right[strength] = sum(
                _right(images[train[b]], texts[train[b]],
                       fit_map(images[train[a]], texts[train[a]], strength))
                for a, b in inner
            )  # fmt: skip
        best = max(right, key=right.get)
        maps.append(fit_map(images[train], texts[train], best))
        fold_of[test] = k
    return np.stack(maps), fold_of


def matching_table(
    images: np.ndarray,
    texts: np.ndarray,
    maps: np.ndarray | None = None,
    fold: np.ndarray | None = None,
    side: str = "text",
    pair_ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """CLIP's matching between the two texts of each pair, with or without repaired embeddings.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
    maps, fold : optional
        What `cross_fitted_maps` returned.
    side : {"text", "image"}
        Which embeddings are mapped; they are scaled to length one again.
    pair_ids : sequence of str, optional

    Returns
    -------
    pandas.DataFrame
        As from `runner.evaluate`, for `metrics.summarize`: ``pair_id``, ``set_id``,
        ``image_index``, ``n_options``, ``score_own``, ``score_other``, ``correct``.

    Raises
    ------
    ValueError
        If shapes do not agree, or the side is unknown.
    """
    images, texts = _mapped(images, texts, maps, fold, side)
    scores = np.einsum("nid,njd->nij", images, texts)
    own = scores[:, [0, 1], [0, 1]]
    return _table(own, scores[:, [0, 1], [1, 0]], 2, pair_ids)


def retrieval_table(
    images: np.ndarray,
    texts: np.ndarray,
    maps: np.ndarray | None = None,
    fold: np.ndarray | None = None,
    side: str = "text",
    pair_ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The own text of each image among those of the same place in all pairs: all left, all right.

    Parameters and errors are those of `matching_table`; so are the columns, with as many options as
    there are pairs, and as ``score_other`` the highest score of another text. Each image is
    searched with the map that has not seen its pair.
    """
    images, texts = _checked(images, texts)
    n = len(images)
    own, other = np.zeros((n, 2)), np.zeros((n, 2))
    fold = np.zeros(n, int) if maps is None else fold
    for k in np.unique(fold):
        rows = np.flatnonzero(fold == k)
        one = None if maps is None else maps[[k]]
        all_images, all_texts = _mapped(images, texts, one, np.zeros(n, int), side)
        scores = np.einsum("nid,mid->nim", all_images[rows], all_texts)
        own[rows] = scores[np.arange(len(rows)), :, rows]
        scores[np.arange(len(rows)), :, rows] = -np.inf
        other[rows] = scores.max(axis=2)
    return _table(own, other, n, pair_ids)


def _checked(images: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images, texts = np.asarray(images, np.float64), np.asarray(texts, np.float64)
    if images.shape != texts.shape or images.ndim != 3 or images.shape[1] != 2 or not len(images):
        raise ValueError(
            f"images and texts must both have the shape (N, 2, D), not {images.shape} and "
            f"{texts.shape}"
        )
    return images, texts


def _mapped(images, texts, maps, fold, side: str) -> tuple[np.ndarray, np.ndarray]:
    images, texts = _checked(images, texts)
    if side not in SIDES:
        raise ValueError(f"unknown side {side!r}; choose 'text' or 'image'")
    if maps is None:
        return images, texts
    mine = maps[np.asarray(fold)]
    if side == "text":
        return images, _unit(np.einsum("nde,nie->nid", mine, texts))
    return _unit(np.einsum("nde,nid->nie", mine, images)), texts


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _right(images: np.ndarray, texts: np.ndarray, repair: np.ndarray) -> int:
    mapped = _unit(texts @ repair.T)
    scores = np.einsum("nid,njd->nij", images, mapped)
    return int((scores[:, [0, 1], [0, 1]] > scores[:, [0, 1], [1, 0]]).sum())


def _table(own, other, n_options: int, pair_ids) -> pd.DataFrame:
    names = [f"{i:04d}" for i in range(len(own))] if pair_ids is None else list(pair_ids)
    if len(names) != len(own):
        raise ValueError(f"{len(names)} pair_ids for {len(own)} pairs: give one for each")
    return pd.DataFrame({
        "pair_id": np.repeat(names, 2),
        "set_id": np.repeat(names, 2),
        "image_index": np.tile([0, 1], len(own)),
        "n_options": n_options,
        "score_own": own.ravel(),
        "score_other": other.ravel(),
        "correct": (own > other).ravel(),
    })  # fmt: skip
