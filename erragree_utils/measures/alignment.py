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
from .logistic import fit_logistic, one_standard_error
from .metrics import bootstrap_share

PENALTIES = tuple(np.logspace(1, -3.5, 10))  # from next to no change to no retrieval left
SPLITS = 100  # of groups into halves, for differences of means


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
        difference of the other half, the mean over random halves; ``image_reliability`` and
        ``text_reliability``, the cosine between the mean differences of the two halves;
        ``reachable``, the cosine to expect if the two true directions were the same: the root of
        the product of the reliabilities, 0 if one is not positive (there is no common direction to
        speak of); ``share``, how much of it the cosine is, NaN if it is 0, also without one of the
        groups; ``cosine``, ``image_reliability`` and ``share`` with ``_low`` and ``_high`` (95%,
        jackknife over groups, which may pass -1 and 1); ``ceiling``, the mean angle in degrees
        between the image difference of a pair and the mean image difference of the half that the
        pair is not in.

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
    found = _agreements(one, two, moved_sums, asked_sums)
    without = [
        _agreements(np.delete(one, k, 1), np.delete(two, k, 1), np.delete(moved_sums, k, 0),
                    np.delete(asked_sums, k, 0))
        for k in range(len(names))
    ]  # fmt: skip
    row = {}
    for name in ("cosine", "image_reliability", "share"):
        margin = 1.96 * _jackknife_error([one_less[name] for one_less in without])
        row[name] = found[name]
        row[f"{name}_low"], row[f"{name}_high"] = found[name] - margin, found[name] + margin
    far = [_unit(half @ moved_sums) for half in (two, one)]
    units = _unit(moved)
    angles = [np.degrees(np.arccos(np.clip(units @ f.T, -1, 1))) for f in far]
    inside = (one[:, number].T, two[:, number].T)
    return pd.Series({
        **row,
        "text_reliability": found["text_reliability"],
        "reachable": found["reachable"],
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


def fit_maps(
    images: np.ndarray, texts: np.ndarray, penalties: Sequence[float] = PENALTIES
) -> np.ndarray:
    """Linear maps between images and texts that make matching right, as near to 1 as may be.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
        Of unit length, as `Clip` gives them.
    penalties : sequence of float
        On the squared distance from the identity; larger changes less.

    Returns
    -------
    numpy.ndarray, shape (penalties, D, D)
        M for each penalty: ``image @ M @ text`` is the repaired score. It may be read as a map of
        the texts or of the images, which are the same scores.

    Raises
    ------
    ValueError
        If the shapes are not (N, 2, D).

    Notes
    -----
    Mean logistic loss of the 2N matching margins, in units of their spread before the repair, plus
    the penalty. The loss is convex (mapped vectors are not scaled to length one again: then it
    would not be), and the best M differs from 1 by a sum of outer products of the examples' images
    and text differences; so it is found in the coordinates of their kernel matrix, 2N numbers
    instead of D^2.
    """
    images, texts = _checked(images, texts)
    spread = _spread(images, texts)
    rows = images.reshape(-1, images.shape[-1])
    asked = (texts - texts[:, ::-1]).reshape(rows.shape) / spread
    values, vectors = np.linalg.eigh((rows @ rows.T) * (asked @ asked.T))
    kept = values > 1e-9 * values[-1]
    root, vectors = np.sqrt(values[kept]), vectors[:, kept]
    before = (rows * asked).sum(axis=1)
    maps, weights = [], None
    for penalty in penalties:
        strength = np.full(len(root), 2 * penalty * len(rows))
        weights = fit_logistic(vectors * root, strength, weights, before)
        shares = vectors @ (weights / root)
        maps.append(np.eye(rows.shape[1]) + (shares[:, None] * rows).T @ asked)
    return np.stack(maps)


def repair_curve(
    images: np.ndarray,
    texts: np.ndarray,
    groups: Sequence,
    penalties: Sequence[float] = PENALTIES,
    folds: int = 5,
    splits: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """What linear repairs recover on unseen groups, and what they cost, from no change to much.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
        Of unit length, as `Clip` gives them.
    groups : sequence, length N
        Pairs of one group are never on both sides of a fold.
    penalties : sequence of float
        As in `fit_maps`, from the largest on.
    folds, splits : int
        Groups are split into folds at random, and all of it is done, so many times; shares are
        means over splits.
    seed : int
        Of splits and bootstrap.

    Returns
    -------
    pandas.DataFrame
        A row for each penalty, the index; the first is infinite, which is no repair. On held-out
        pairs: ``relative`` preference, ``pair`` accuracy, ``retrieval`` (each image's own text
        among those of the same place in all pairs) and ``cost``, the retrieval lost; each with
        ``_low`` and ``_high`` (95%, bootstrap over groups), ``log_loss``, and ``named``, true for
        the largest penalty within one standard error of the least held-out log loss.

    Raises
    ------
    ValueError
        If shapes or lengths do not agree, there are fewer groups than folds or two.
    """
    images, texts = _checked(images, texts)
    names, number = np.unique(np.asarray(groups), return_inverse=True)
    if len(number) != len(images) or not 2 <= folds <= len(names):
        raise ValueError(
            f"give a group for each of the {len(images)} pairs, and 2 to {len(names)} folds, the "
            f"number of groups; there are {len(number)} groups' names and {folds} folds"
        )
    shape = (len(penalties) + 1, splits, len(images), 2)
    margins, found, losses = np.zeros(shape), np.zeros(shape, bool), np.zeros(shape)
    parts = [
        (i, *part)
        for i in range(splits)
        for part in GroupKFold(folds, shuffle=True, random_state=seed + i).split(
            images, groups=number
        )
    ]
    for i, train, test in parts:
        spread = _spread(images[train], texts[train])
        identity = np.eye(images.shape[-1])[None]
        maps = np.concatenate([identity, fit_maps(images[train], texts[train], penalties)])
        for k, one in enumerate(maps):
            mapped = images[test] @ one
            margins[k, i, test] = _margins(mapped, texts[test])
            losses[k, i, test] = np.logaddexp(0, -margins[k, i, test] / spread)
            found[k, i, test] = _finds(mapped, texts, test)
    by_group = np.eye(len(names))[number].T
    totals = splits * by_group.sum(axis=1).astype(int)
    rows = []
    for k in range(len(margins)):
        right = {
            "relative": (margins[k].sum(axis=-1) > 0, 1),
            "pair": ((margins[k] > 0).all(axis=-1), 1),
            "retrieval": (found[k].sum(axis=-1), 2),
            "cost": (found[0].sum(axis=-1) - found[k].sum(axis=-1), 2),
        }
        row = {}
        for name, (values, each) in right.items():
            sums = (by_group @ values.sum(axis=0)).astype(int)
            row[name] = sums.sum() / totals.sum() / each
            # Where no group has lost anything, there is nothing to resample.
            lost_none = name == "cost" and not sums.any()
            ends = (0.0, 0.0) if lost_none else bootstrap_share(sums, totals * each, seed)
            row[f"{name}_low"], row[f"{name}_high"] = ends
        rows.append(row | {"log_loss": losses[k].mean()})
    table = pd.DataFrame(rows, index=pd.Index([np.inf, *penalties], name="penalty"))
    named = one_standard_error(losses.sum(axis=(1, 3)) @ by_group.T)
    return table.assign(named=np.arange(len(table)) == named)


def matching_table(
    images: np.ndarray, texts: np.ndarray, pair_ids: Sequence[str] | None = None
) -> pd.DataFrame:
    """CLIP's matching between the two texts of each pair.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
    pair_ids : sequence of str, optional

    Returns
    -------
    pandas.DataFrame
        As from `runner.evaluate`, for `metrics.summarize`: ``pair_id``, ``set_id``,
        ``image_index``, ``n_options``, ``score_own``, ``score_other``, ``correct``.

    Raises
    ------
    ValueError
        If shapes or lengths do not agree.
    """
    images, texts = _checked(images, texts)
    scores = np.einsum("nid,njd->nij", images, texts)
    own, other = scores[:, [0, 1], [0, 1]].ravel(), scores[:, [0, 1], [1, 0]].ravel()
    names = [f"{i:04d}" for i in range(len(images))] if pair_ids is None else list(pair_ids)
    if len(names) != len(images):
        raise ValueError(f"{len(names)} pair_ids for {len(images)} pairs: give one for each")
    return pd.DataFrame({
        "pair_id": np.repeat(names, 2),
        "set_id": np.repeat(names, 2),
        "image_index": np.tile([0, 1], len(names)),
        "n_options": 2,
        "score_own": own,
        "score_other": other,
        "correct": own > other,
    })  # fmt: skip


def _checked(images: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images, texts = np.asarray(images, np.float64), np.asarray(texts, np.float64)
    if images.shape != texts.shape or images.ndim != 3 or images.shape[1] != 2 or not len(images):
        raise ValueError(
            f"images and texts must both have the shape (N, 2, D), not {images.shape} and "
            f"{texts.shape}"
        )
    return images, texts


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _margins(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Score of each image's own text minus that of the other, (N, 2)."""
    return (images * (texts - texts[:, ::-1])).sum(axis=2)


def _spread(images: np.ndarray, texts: np.ndarray) -> float:
    return max(float(_margins(images, texts).std()), 1e-12)


def _finds(mapped: np.ndarray, texts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Whether images (M, 2, D) of the pairs `rows` find their own text among all; a tie is not."""
    scores = np.einsum("nid,mid->nim", mapped, texts)
    places = np.arange(len(rows))
    own = scores[places, :, rows]
    scores[places, :, rows] = -np.inf
    return own > scores.max(axis=2)


def _halves(n: int, splits: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which of n groups are in the one half and in the other, (splits, n) each."""
    order = np.argsort(rng.random((splits, n)), axis=1)
    one = (order < n // 2).astype(float)
    return one, 1 - one


def _agreements(one: np.ndarray, two: np.ndarray, moved: np.ndarray, asked: np.ndarray) -> dict:
    """Cosines of mean differences in one half with those in the other: see `mean_difference`."""
    halves = {name: (one @ sums, two @ sums) for name, sums in (("i", moved), ("t", asked))}
    images, texts = (float(cosine(*halves[name]).mean()) for name in "it")
    both = [cosine(halves["i"][k], halves["t"][1 - k]) for k in (0, 1)]
    across, reachable = float(np.mean(both)), (max(images, 0.0) * max(texts, 0.0)) ** 0.5
    return {
        "cosine": across,
        "image_reliability": images,
        "text_reliability": texts,
        "reachable": reachable,
        "share": across / reachable if reachable else np.nan,
    }


def _jackknife_error(without: Sequence[float]) -> float:
    """Standard error, from the values that come of leaving each unit out."""
    return float(np.sqrt((len(without) - 1) * np.var(without)))
