"""Whether texts respond to what changes in images.

For a pair with image embeddings a, b and text embeddings s, t, the margins of CLIP's matching add
up to (a - b) . (s - t). So matching tells the two images apart as far as both differences point the
same way. Embeddings of pairs are arrays of unit rows, (N, 2, D), as `Clip` gives them; image i
belongs to text i.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from .agreement import cosine
from .inputs import group_numbers, pair_arrays, unit_rows

SPLITS = 100  # of groups into halves, for differences of means


def difference_angles(images: np.ndarray, texts: np.ndarray) -> pd.DataFrame:
    """Angle between the image difference and the text difference of each pair.

    Returns
    -------
    pandas.DataFrame
        A row for each pair: ``cosine`` of the angle between the differences, the ``angle`` in
        degrees (90: the text doesn't respond to what changes in the image), the lengths
        ``image_difference`` and ``text_difference``, and ``margin_sum``, the product of these three
        (cosine and lengths): the sum of the pair's two matching margins.
    """
    of_images, of_texts = _differences(images, texts)
    cosines = cosine(of_images, of_texts)
    return pd.DataFrame({
        "cosine": cosines,
        "angle": np.degrees(np.arccos(cosines)),
        "image_difference": np.linalg.norm(of_images, axis=1),
        "text_difference": np.linalg.norm(of_texts, axis=1),
        "margin_sum": (of_images * of_texts).sum(axis=1),
    })  # fmt: skip


def mean_difference(images: np.ndarray, texts: np.ndarray, groups: Sequence) -> pd.Series:
    """Whether the *mean* image difference and the *mean* text difference point the same way.

    The angles within single pairs cannot tell: most of an image difference belongs to its own pair,
    so that even a text difference exactly along the mean image difference is nearly at a right
    angle to it (``ceiling``).

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
    groups : sequence, length N
        Four or more; pairs of one group are always in the same half.

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

    Notes
    -----
    Images and texts come from different halves, since those of one pair differ by the same objects:
    noise that both means share would look like agreement. The root is Spearman's (1904)
    attenuation. The interval is a jackknife's (each group left out once; Efron and Stein 1981): a
    bootstrap would add noise to noisy means and so pull their cosine towards zero.
    """
    of_images, of_texts = _differences(images, texts)
    cosine(of_images, of_texts)  # refuses differences of zero
    number = group_numbers(groups, len(of_images), 4)
    members = np.eye(number.max() + 1)[number].T
    sums = members @ of_images, members @ of_texts
    one, two = _halves(len(members))
    whole = _agreements(one, two, *sums)
    jackknife = pd.DataFrame(
        _agreements(*(np.delete(half, k, 1) for half in (one, two)),
                    *(np.delete(sum_, k, 0) for sum_ in sums))
        for k in range(len(members))
    )  # fmt: skip
    row = {}
    for name in ("cosine", "image_reliability", "share"):
        left_out = jackknife[name].to_numpy()
        margin = 1.96 * np.sqrt((len(left_out) - 1) * np.var(left_out))
        row |= {name: whole[name]}
        row |= {f"{name}_low": whole[name] - margin, f"{name}_high": whole[name] + margin}
    directions = unit_rows(of_images)
    angles = [
        np.degrees(np.arccos(np.clip(directions @ unit_rows(half @ sums[0]).T, -1, 1)))
        for half in (two, one)
    ]
    return pd.Series({
        **row,
        "text_reliability": whole["text_reliability"],
        "reachable": whole["reachable"],
        "ceiling": np.mean(angles[0] * one[:, number].T + angles[1] * two[:, number].T),
    })  # fmt: skip


def turned_scores(
    images: np.ndarray, texts: np.ndarray, groups: Sequence, degrees: Sequence[float]
) -> dict[float, np.ndarray]:
    """Images along a direction that turns from what the texts ask for to where images differ.

    Parameters
    ----------
    images, texts : numpy.ndarray, shape (N, 2, D)
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
    """
    images, texts = pair_arrays(images, texts)
    groups = group_numbers(groups, len(images), 2)
    train, test = next(GroupKFold(2).split(images, groups=groups))
    of_images, of_texts = (
        x[train, 0].mean(axis=0) - x[train, 1].mean(axis=0) for x in (images, texts)
    )
    if not of_texts.any():
        raise ValueError("the texts do not differ on average: there is no direction to turn from")
    along = unit_rows(of_texts)
    across = of_images - (of_images @ along) * along
    if not across.any():
        raise ValueError("the images do not differ on average beside what the texts ask")
    places = images[test] - images[test].mean(axis=1, keepdims=True)
    length = np.linalg.norm(across)
    return {
        angle: places
        @ (np.cos(np.radians(angle)) * along + np.sin(np.radians(angle)) * across / length)
        for angle in degrees
    }


def _differences(images: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images, texts = pair_arrays(images, texts)
    return images[:, 0] - images[:, 1], texts[:, 0] - texts[:, 1]


def _halves(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of n groups are in the one half and in the other, (splits, n) each."""
    order = np.argsort(np.random.default_rng(0).random((SPLITS, n)), axis=1)
    one = (order < n // 2).astype(float)
    return one, 1 - one


def _agreements(
    one: np.ndarray, two: np.ndarray, image_sums: np.ndarray, text_sums: np.ndarray
) -> dict[str, float]:
    """Cosines of mean differences in one half with those in the other: see `mean_difference`."""
    images, texts = ((one @ sums, two @ sums) for sums in (image_sums, text_sums))
    across = float(np.mean([cosine(images[0], texts[1]), cosine(images[1], texts[0])]))
    of_images, of_texts = float(cosine(*images).mean()), float(cosine(*texts).mean())
    reachable = (max(of_images, 0.0) * max(of_texts, 0.0)) ** 0.5
    return {
        "cosine": across,
        "image_reliability": of_images,
        "text_reliability": of_texts,
        "reachable": reachable,
        "share": across / reachable if reachable else np.nan,
    }
