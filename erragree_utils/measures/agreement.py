"""How alike embeddings are: cosines and their relatives, and the distance between two clouds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import GroupKFold

from .inputs import group_numbers
from .intervals import bootstrap

FOLDS = 5


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine between the rows of two arrays (N, D); a zero row is an error."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"a and b must have the same shape (N, D), not {a.shape} and {b.shape}")
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    pointless = ~(np.isfinite(lengths) & (lengths > 0))
    if pointless.any():
        raise ValueError(
            f"row {pointless.argmax()} is zero or not finite, so it has no direction to compare"
        )
    return np.clip((a * b).sum(axis=1) / lengths, -1.0, 1.0)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation between the rows of two arrays (N, D), over their D numbers.

    With few numbers it says little: two random rows of three have the same order one time in six.
    """
    ranks = [stats.rankdata(np.asarray(rows, np.float64), axis=1) for rows in (a, b)]
    return cosine(*(r - r.mean(axis=1, keepdims=True) for r in ranks))


def agreement_table(first: np.ndarray, second: np.ndarray) -> pd.DataFrame:
    """How alike the two images of each pair are, by four measures.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (N, D)
        Embeddings of the two images of each pair.

    Returns
    -------
    pandas.DataFrame
        A row for each pair: ``cosine``; ``centred``, the cosine after removing the mean, which all
        embeddings share; ``whitened``, the cosine after making the covariance the identity, so that
        directions of little variance count as much as others; ``rank``, Spearman's correlation.

    Notes
    -----
    The covariance is shrunk as Ledoit and Wolf (2004) do, since there may be fewer embeddings than
    dimensions.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    cosines = cosine(first, second)
    both = np.concatenate([first, second])
    mean, whiten = both.mean(axis=0), _inverse_root(LedoitWolf().fit(both).covariance_)
    return pd.DataFrame({
        "cosine": cosines,
        "centred": cosine(first - mean, second - mean),
        "whitened": cosine((first - mean) @ whiten, (second - mean) @ whiten),
        "rank": rank_correlation(first, second),
    })  # fmt: skip


def normalised_agreement(first: np.ndarray, second: np.ndarray) -> pd.Series:
    """How alike a pair's two images are, on a scale from images of other pairs to equal ones.

    That is (cosine - random) / (1 - random), where "random" is the mean cosine of the first image
    of a pair and the second of another. Where all embeddings share a large part, a raw cosine is
    near 1 for any two images; here 0 is what images of other pairs have, and 1 is equality.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (N, D)
        Embeddings of the two images of each pair, three pairs or more.

    Returns
    -------
    pandas.Series
        ``cosine`` and ``random``, both means; ``agreement``, with ``agreement_low`` and
        ``agreement_high`` (95%, bootstrap over pairs, "random" taken anew in each draw).
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    own = cosine(first, second)
    n = len(own)
    if n < 3:
        raise ValueError(f"give three pairs or more, so that there are others, not {n}")
    first, second = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second))

    def means(times: np.ndarray) -> tuple[float, float]:
        # Each pair counts as often as it was drawn, and is never "another" to its own copies.
        weight = times**2
        across = (times @ first) @ (times @ second) - weight @ own
        return times @ own / n, across / (n**2 - weight.sum())

    def agreement(drawn: pd.DataFrame) -> float:
        pairs, random = means(np.bincount(drawn["pair"], minlength=n).astype(float))
        return (pairs - random) / (1 - random)

    pairs, random = means(np.ones(n))
    if random > 1 - 1e-12:
        raise ValueError("all embeddings are equal: no two pairs can be told apart")
    value, low, high = bootstrap(agreement, pd.DataFrame({"pair": np.arange(n)}))
    return pd.Series({
        "cosine": pairs, "random": random,
        "agreement": value, "agreement_low": low, "agreement_high": high,
    })  # fmt: skip


def separation(first: np.ndarray, second: np.ndarray, groups: Sequence) -> pd.Series:
    """Distance between two clouds in units of their spread (d'), along a direction found elsewhere.

    The direction comes from the pairs of other groups. Where it comes from the same pairs, two
    clouds that differ in nothing look apart, since in many dimensions some direction always fits.
    It is Fisher's (1936): the difference of the means times the inverse covariance within the
    clouds (shrunk after Ledoit and Wolf), which prefers directions of little spread.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (N, D)
        For each pair its two images, such as left and right.
    groups : sequence, length N
        Pairs of one group are never on both sides of a fold.

    Returns
    -------
    pandas.Series
        ``d_prime``, the mean over folds of (mean of second - mean of first) / root mean variance of
        the two; ``d_prime_seen``, the same on the pairs that gave the direction; ``accuracy``, what
        the best threshold would reach if the clouds were normal, the normal distribution function
        at d'/2.
    """
    first, second = _two_clouds(first, second)
    groups = group_numbers(groups, len(first), FOLDS)
    unseen, seen = [], []
    for train, test in GroupKFold(FOLDS).split(first, groups=groups):
        a, b = first[train], second[train]
        within = np.concatenate([a - a.mean(axis=0), b - b.mean(axis=0)])
        difference = b.mean(axis=0) - a.mean(axis=0)
        axis = np.linalg.solve(LedoitWolf().fit(within).covariance_, difference)
        unseen.append(_d_prime(first[test] @ axis, second[test] @ axis))
        seen.append(_d_prime(a @ axis, b @ axis))
    mean = float(np.mean(unseen))
    accuracy = stats.norm.cdf(mean / 2)
    return pd.Series({"d_prime": mean, "d_prime_seen": np.mean(seen), "accuracy": accuracy})


def variance_shares(first: np.ndarray, second: np.ndarray) -> pd.Series:
    """How much of the embeddings' variance is about what tells a pair's images apart.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (N, D)

    Returns
    -------
    pandas.Series
        ``direction``: share of the total variance that lies along the mean difference of the
        images; ``within_pairs``: share that lies within pairs, in any direction (the rest is
        between pairs); ``equal``: 1 / D, what every direction would carry if all carried the same.
    """
    first, second = _two_clouds(first, second)
    both = np.concatenate([first, second])
    both = both - both.mean(axis=0)
    total = (both**2).sum()
    if total == 0:
        raise ValueError("all embeddings are equal: there is no variance to share")
    axis = second.mean(axis=0) - first.mean(axis=0)
    length = np.linalg.norm(axis)
    along = 0.0 if length == 0 else ((both @ (axis / length)) ** 2).sum()
    within = ((second - first) ** 2).sum() / 2
    return pd.Series({
        "direction": along / total, "within_pairs": within / total, "equal": 1 / first.shape[1]
    })  # fmt: skip


def _two_clouds(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 2 or len(first) < 2:
        raise ValueError(
            f"give the images of two or more pairs, (N, D) each, not {first.shape} and "
            f"{second.shape}"
        )
    return first, second


def _d_prime(first: np.ndarray, second: np.ndarray) -> float:
    spread = np.sqrt((first.var() + second.var()) / 2)
    gap = second.mean() - first.mean()
    return float(gap / spread) if spread > 0 else float(np.sign(gap) * np.inf if gap else 0.0)


def _inverse_root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 1e-12 * values[-1])
    return vectors / np.sqrt(values) @ vectors.T
