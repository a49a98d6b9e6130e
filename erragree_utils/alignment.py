"""Whether texts answer to what changes in images, and whether a linear map can make them.

For a pair with image embeddings a, b and its texts' s, t the margins of CLIP's matching add up to
(a - b) . (s - t): the two images are told apart as far as the two differences point the same way.
Arrays only; embeddings of pairs have the shape (N, 2, D), image i belonging to text i.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.model_selection import GroupKFold

from .agreement import cosine

STRENGTHS = (1e-4, 1e-2, 1.0)
INNER_FOLDS = 3
STEPS = 40  # of the optimiser: stopping early regularises too, and unseen groups are the judge
SPLITS = 100  # of groups into halves, for differences of means
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


def mean_difference(
    images: np.ndarray, texts: np.ndarray, groups: Sequence, seed: int = 0
) -> pd.Series:
    """Whether the *mean* image difference and the *mean* text difference point the same way.

    The angles within single pairs cannot tell: most of an image difference belongs to its own pair,
    so that even a text difference exactly along the mean image difference is nearly at a right
    angle to it (``ceiling``).

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
        Of unit length, as `Clip` gives them.
    groups : sequence, length N
        Pairs of one group are always in the same half.
    seed : int

    Returns
    -------
    pandas.Series
        ``cosine`` between the mean image difference of one half of the groups and the mean text
        difference of the other half, the mean over random halves, with ``cosine_low`` and
        ``cosine_high`` (95%, jackknife over groups); ``image_reliability`` and
        ``text_reliability``, the cosine between the mean differences of the two halves;
        ``reachable``, the cosine to expect if the two true directions were the same: the root of
        the product of the reliabilities, 0 if one is not positive (there is no common direction to
        speak of); ``ceiling``, the mean angle in degrees between the image difference of a pair
        and the mean image difference of the half that the pair is not in.

    Raises
    ------
    ValueError
        If shapes or lengths do not agree, there are fewer than four groups, or two images or texts
        of a pair are equal.

    Notes
    -----
    Images and texts come from different halves, since those of one pair differ by the same objects:
    noise that both means share would look like agreement. The root is Spearman's (1904)
    attenuation. The interval is a jackknife's (each group left out once; Efron and Stein 1981): a
    bootstrap would add noise to noisy means and so pull their cosine towards zero.
    """
    images, texts = _checked(images, texts)
    names, number = np.unique(np.asarray(groups), return_inverse=True)
    if len(number) != len(images) or len(names) < 4:
        raise ValueError(
            f"give a group for each of the {len(images)} pairs, four groups or more; there are "
            f"{len(number)} of {len(names)} groups"
        )
    moved, asked = images[:, 0] - images[:, 1], texts[:, 0] - texts[:, 1]
    cosine(moved, asked)  # refuses differences of zero
    members = np.eye(len(names))[number].T
    moved_sums, asked_sums = members @ moved, members @ asked
    rng = np.random.default_rng(seed)
    one, two = _halves(len(names), SPLITS, rng)
    images_agree, texts_agree = (
        float(cosine(one @ sums, two @ sums).mean()) for sums in (moved_sums, asked_sums)
    )
    across = _across(one, two, moved_sums, asked_sums)
    margin = 1.96 * _jackknife_error([
        _across(np.delete(one, k, 1), np.delete(two, k, 1), np.delete(moved_sums, k, 0),
                np.delete(asked_sums, k, 0))
        for k in range(len(names))
    ])  # fmt: skip
    far = [_unit(half @ moved_sums) for half in (two, one)]
    units = _unit(moved)
    angles = [np.degrees(np.arccos(np.clip(units @ f.T, -1, 1))) for f in far]
    inside = (one[:, number].T, two[:, number].T)
    return pd.Series({
        "cosine": across,
        "cosine_low": max(across - margin, -1.0),
        "cosine_high": min(across + margin, 1.0),
        "image_reliability": images_agree,
        "text_reliability": texts_agree,
        "reachable": np.sqrt(max(images_agree, 0.0) * max(texts_agree, 0.0)),
        "ceiling": np.mean(angles[0] * inside[0] + angles[1] * inside[1]),
    })  # fmt: skip


def turned_scores(
    images: np.ndarray, texts: np.ndarray, groups: Sequence, degrees: Sequence[float]
) -> dict[float, np.ndarray]:
    """Images along a direction that turns from what the texts ask to where the images differ.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
        Of unit length, as `Clip` gives them.
    groups : sequence, length N
        Pairs of one group are never on both sides.
    degrees : sequence of float
        0 is the mean text difference of the pairs; 90 the part of the mean image difference that is
        at a right angle to it.

    Returns
    -------
    dict of float to numpy.ndarray, shape (M, 2)
        For each angle, both images of the pairs of one half of the groups along the direction, with
        the mean of the pair removed. The direction comes from the other half.

    Raises
    ------
    ValueError
        If the shapes are not (N, 2, D), there is not a group for each pair or one group alone, or a
        mean difference is zero.
    """
    images, texts = _checked(images, texts)
    groups = np.asarray(groups)
    if len(groups) != len(images) or len(np.unique(groups)) < 2:
        raise ValueError(
            f"give a group for each of the {len(images)} pairs, two groups or more; there are "
            f"{len(groups)} of {len(np.unique(groups))} groups"
        )
    found, shown = next(GroupKFold(2).split(images, groups=groups))
    moved, asked = (x[found, 0].mean(axis=0) - x[found, 1].mean(axis=0) for x in (images, texts))
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
    places = images[shown] - images[shown].mean(axis=1, keepdims=True)
    turned = {a: np.cos(np.radians(a)) * asked + np.sin(np.radians(a)) * across / length
              for a in degrees}  # fmt: skip
    return {a: places @ direction for a, direction in turned.items()}


def planted(images: np.ndarray, texts: np.ndarray, length: float, seed: int = 0) -> np.ndarray:
    """Images with a side planted along one random direction, at a right angle to what texts ask.

    A positive control for repairs: what the images then hold is known, and known not to be aligned.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
        Of unit length, as `Clip` gives them.
    length : float
        Of the planted difference between the two images of a pair.
    seed : int

    Returns
    -------
    numpy.ndarray, shape (N, 2, D)
        Of unit length.
    """
    images, texts = _checked(images, texts)
    asked = _unit((texts[:, 0] - texts[:, 1]).mean(axis=0))
    axis = np.random.default_rng(seed).normal(size=images.shape[-1])
    axis = _unit(axis - (axis @ asked) * asked)
    return _unit(images + np.array([0.5, -0.5])[:, None] * length * axis)


def fit_map(
    images: np.ndarray, texts: np.ndarray, strength: float, side: str = "text"
) -> np.ndarray:
    """A linear map of texts, or of images, that makes matching right, as near to 1 as may be.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
        Of unit length, as `Clip` gives them.
    strength : float
        Of the penalty on the distance from the identity; larger changes less.
    side : {"text", "image"}
        Which embeddings are mapped.

    Returns
    -------
    numpy.ndarray, shape (D, D)
        M, such that ``M @ text``, or ``M @ image``, scaled to length one, replaces the embedding.

    Raises
    ------
    ValueError
        If shapes do not agree, or the side is unknown.

    Notes
    -----
    Logistic loss of the 2N matching margins, with the mapped embeddings scaled to length one, in
    units of the margins' spread before the repair, plus `strength` times the squared distance of M
    from the identity; minimised by L-BFGS from the identity, in at most `STEPS` steps.
    """
    images, texts = _checked(images, texts)
    _check_side(side)
    size = images.shape[-1]
    fixed, mapped = (images, texts) if side == "text" else (texts, images)
    rows = mapped.reshape(-1, size)
    spread = max(float(_margins(images, texts).std()), 1e-12)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        away = flat.reshape(size, size) - np.eye(size)
        raw = rows + rows @ away.T
        lengths = np.linalg.norm(raw, axis=1, keepdims=True)
        unit = raw / lengths
        pair = unit.reshape(mapped.shape)
        margins = _margins(*((fixed, pair) if side == "text" else (pair, fixed))) / spread
        pull = -expit(-margins)[..., None] / spread / margins.size
        # Of a mapped text both images' margins speak; of a mapped image its own alone.
        if side == "text":
            slope = pull * fixed - (pull * fixed)[:, ::-1]
        else:
            slope = pull * (fixed - fixed[:, ::-1])
        slope = slope.reshape(-1, size)
        slope = (slope - (slope * unit).sum(axis=1, keepdims=True) * unit) / lengths
        value = np.logaddexp(0, -margins).mean() + strength * (away**2).sum()
        return value, (slope.T @ rows + 2 * strength * away).ravel()

    start = np.eye(size).ravel()
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    return found.x.reshape(size, size)


def cross_fitted_maps(
    images: np.ndarray,
    texts: np.ndarray,
    groups: Sequence,
    side: str = "text",
    folds: int = 5,
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[np.ndarray, np.ndarray]:
    """`fit_map` for each fold, from the pairs of other groups.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
    groups : sequence, length N
        Pairs of one group are never on both sides.
    side : {"text", "image"}
    folds : int
    strengths : sequence of float
        The one with the most right matches on a third of the training groups, after a fit to the
        others, is taken; of equals the strongest.

    Returns
    -------
    maps : numpy.ndarray, shape (folds, D, D)
    fold : numpy.ndarray of int, shape (N,)
        Which map has not seen the pair.

    Raises
    ------
    ValueError
        If shapes or lengths do not agree, there are too few groups, or the side is unknown.
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
        a, b = (train[i] for i in next(GroupKFold(INNER_FOLDS).split(train, groups=groups[train])))
        right = {}
        for strength in sorted(strengths, reverse=True):
            one = fit_map(images[a], texts[a], strength, side)[None]
            tried = _mapped(images[b], texts[b], one, np.zeros(len(b), int), side)
            right[strength] = (_margins(*tried) > 0).sum()
        maps.append(fit_map(images[train], texts[train], max(right, key=right.get), side))
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


def _check_side(side: str) -> None:
    if side not in SIDES:
        raise ValueError(f"unknown side {side!r}; choose 'text' or 'image'")


def _mapped(images, texts, maps, fold, side: str) -> tuple[np.ndarray, np.ndarray]:
    images, texts = _checked(images, texts)
    _check_side(side)
    if maps is None:
        return images, texts
    mapped = texts if side == "text" else images
    mapped = _unit(np.einsum("nde,nie->nid", maps[np.asarray(fold)], mapped))
    return (images, mapped) if side == "text" else (mapped, texts)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _margins(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Score of each image's own text minus that of the other, (N, 2)."""
    return (images * (texts - texts[:, ::-1])).sum(axis=2)


def _halves(n: int, splits: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which of n groups are in the one half and in the other, (splits, n) each."""
    order = np.argsort(rng.random((splits, n)), axis=1)
    one = (order < n // 2).astype(float)
    return one, 1 - one


def _across(one: np.ndarray, two: np.ndarray, moved: np.ndarray, asked: np.ndarray) -> float:
    """Mean cosine of the images' difference in one half with the texts' in the other."""
    both = cosine(one @ moved, two @ asked), cosine(two @ moved, one @ asked)
    return float(np.mean(both))


def _jackknife_error(without: Sequence[float]) -> float:
    """Standard error, from the values that come of leaving each unit out."""
    return float(np.sqrt((len(without) - 1) * np.var(without)))


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
