"""Can a linear map make CLIP's texts respond to what changes in images, and at what price?

Embeddings of pairs are arrays of unit rows, (N, 2, D), as `Clip` gives them; image i belongs to
text i.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from .inputs import group_numbers, pair_arrays, unit_rows
from .intervals import bootstrap_share
from .logistic import fit_logistic, one_standard_error

PENALTIES = tuple(np.logspace(1, -3.5, 10))  # from next to no change to no retrieval left
FOLDS = 5
SIDES = ("texts", "images")  # what may be mapped


def plant_side(
    images: np.ndarray, texts: np.ndarray, length: float, groups: Sequence | None = None
) -> np.ndarray:
    """Images with a side planted along one random direction, at a right angle to what texts ask.

    A positive control for probes and repairs: what the images then hold is known, and known not to
    be aligned. `length` is that of the planted difference between the two images of a pair. With
    `groups`, one for each pair, every group has a direction of its own: the side is there, and
    nothing that is learned from other groups finds it.
    """
    images, texts = pair_arrays(images, texts)
    number = np.zeros(len(images), int) if groups is None else group_numbers(groups, len(images), 2)
    along = unit_rows((texts[:, 0] - texts[:, 1]).mean(axis=0))
    axes = np.random.default_rng(0).normal(size=(number.max() + 1, images.shape[-1]))
    axes = unit_rows(axes - (axes @ along)[:, None] * along)
    return unit_rows(images + np.array([0.5, -0.5])[:, None] * length * axes[number][:, None])


def turn_down(images: np.ndarray, strength: float) -> np.ndarray:
    """An invertible linear map (D, D) that shrinks the directions in which pairs (N, 2, D) differ.

    A direction with `r` times the mean square difference is divided by sqrt(1 + strength * r). It
    raises the pairs' cosine, and what can be read linearly before can be read linearly after.
    """
    differences = np.asarray(images[:, 0] - images[:, 1], np.float64)
    energy, axes = np.linalg.eigh(differences.T @ differences / len(differences))
    return axes / np.sqrt(1 + strength * energy / energy.mean()) @ axes.T


def fit_maps(
    images: np.ndarray, texts: np.ndarray, penalties: Sequence[float] = PENALTIES
) -> np.ndarray:
    """Linear maps between images and texts that make matching right, as close to 1 as possible.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
    penalties : sequence of float
        On the squared distance from the identity; larger changes less.

    Returns
    -------
    numpy.ndarray, shape (penalties, D, D)
        M for each penalty: ``image @ M @ text`` is the repaired score. It may be read as a map of
        the texts or of the images, which are the same scores.

    Notes
    -----
    Mean logistic loss of the 2N matching margins, in units of their spread before the repair, plus
    the penalty. The loss is convex (mapped vectors are not scaled to length one again: then it
    would not be), and the best M differs from 1 by a sum of outer products of the examples' images
    and text differences; so it is found in the coordinates of their kernel matrix, 2N numbers
    instead of D^2.
    """
    images, texts = pair_arrays(images, texts)
    rows = images.reshape(-1, images.shape[-1])
    differences = (texts - texts[:, ::-1]).reshape(rows.shape) / _spread(images, texts)
    values, vectors = np.linalg.eigh((rows @ rows.T) * (differences @ differences.T))
    keep = values > 1e-9 * values[-1]
    root, vectors = np.sqrt(values[keep]), vectors[:, keep]
    before = (rows * differences).sum(axis=1)
    maps, weights = [], None
    for penalty in penalties:
        strength = np.full(len(root), 2 * penalty * len(rows))
        weights = fit_logistic(vectors * root, strength, weights, before)
        shares = vectors @ (weights / root)
        maps.append(np.eye(rows.shape[1]) + (shares[:, None] * rows).T @ differences)
    return np.stack(maps)


def repair_curve(
    images: np.ndarray,
    texts: np.ndarray,
    groups: Sequence,
    penalties: Sequence[float] = PENALTIES,
    splits: int = 3,
) -> pd.DataFrame:
    """What linear repairs recover on unseen groups, and what they cost, from no change to a lot.

    A map of the texts and one of the images differ in this alone: CLIP compares directions, so
    what was mapped is scaled to length one again.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
    groups : sequence, length N
        Five or more; pairs of one group are never on both sides of a fold.
    penalties : sequence of float
        As in `fit_maps`, from the largest on.
    splits : int
        How often groups are split into folds at random; shares are means over splits.

    Returns
    -------
    pandas.DataFrame
        A row for each ``side`` that is mapped, ``"texts"`` or ``"images"``, and each ``penalty``,
        the index; the first is infinite, which is no repair. On held-out pairs: ``relative``
        preference, ``pair`` accuracy, ``retrieval`` (each image's own text among those of the same
        place in all pairs) and ``cost``, the retrieval lost; each with ``_low`` and ``_high`` (95%,
        bootstrap over groups), ``log_loss``, and ``named``, true for the largest penalty within one
        standard error of the least held-out log loss.
    """
    images, texts = pair_arrays(images, texts)
    number = group_numbers(groups, len(images), FOLDS)
    shape = (len(SIDES), len(penalties) + 1, splits, len(images), 2)
    margins, hits, losses = np.zeros(shape), np.zeros(shape, bool), np.zeros(shape)
    for i in range(splits):
        folds = GroupKFold(FOLDS, shuffle=True, random_state=i)
        for train, test in folds.split(images, groups=number):
            spread = _spread(images[train], texts[train])
            maps = fit_maps(images[train], texts[train], penalties)
            for k, repair in enumerate([np.eye(images.shape[-1]), *maps]):
                mapped = {
                    "texts": (images[test], unit_rows(texts @ repair.T)),
                    "images": (unit_rows(images[test] @ repair), texts),
                }
                for s, side in enumerate(SIDES):
                    seen, asked = mapped[side]
                    at = s, k, i, test
                    margins[at] = _margins(seen, asked[test])
                    losses[at] = np.logaddexp(0, -margins[at] / spread)
                    hits[at] = _finds(seen, asked, test)
    tables = [_recovered(*of_side, number) for of_side in zip(margins, hits, losses, strict=True)]
    penalty = pd.Index([np.inf, *penalties], name="penalty")
    return pd.concat([table.set_index(penalty) for table in tables], keys=SIDES, names=["side"])


def _recovered(
    margins: np.ndarray, hits: np.ndarray, losses: np.ndarray, number: np.ndarray
) -> pd.DataFrame:
    """Shares with their intervals, from arrays (penalties, splits, pairs, 2) and pairs' groups."""
    n_hits, splits = hits.sum(axis=-1), hits.shape[1]
    right = {  # (penalties, splits, pairs), and how many answers a pair has
        "relative": (margins.sum(axis=-1) > 0, 1),
        "pair": ((margins > 0).all(axis=-1), 1),
        "retrieval": (n_hits, 2),
        "cost": (n_hits[0] - n_hits, 2),
    }
    members = np.eye(number.max() + 1)[number].T
    totals = splits * members.sum(axis=1).astype(int)
    table = pd.DataFrame(index=range(len(margins)))
    for name, (values, each) in right.items():
        sums = (values.sum(axis=1) @ members.T).astype(int)
        table[name] = sums.sum(axis=1) / totals.sum() / each
        table[[f"{name}_low", f"{name}_high"]] = [
            # Where no group has lost anything, there is nothing to resample.
            bootstrap_share(row, totals * each) if name != "cost" or row.any() else (0.0, 0.0)
            for row in sums
        ]
    choice = one_standard_error(losses.sum(axis=(1, 3)) @ members.T)
    return table.assign(
        log_loss=[of_map.mean() for of_map in losses], named=np.arange(len(table)) == choice
    )


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
