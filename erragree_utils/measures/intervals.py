"""95% intervals of shares, means, and any other number computed from independent units.

The unit is the pair (or the set), not the image: the images of a pair share objects, background and
captions, so their results are not independent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95
#: Bootstrap draws behind every interval of an accuracy, a difference or a mean.
RESAMPLES = 10_000
#: The same for `bootstrap`, which has to call a function for each draw.
TABLE_RESAMPLES = 1000


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's interval of a share of `n` independent units (Wilson 1927).

    ``share * n`` need not be whole, as means of half-right pairs are not.
    """
    z2 = stats.norm.ppf(0.5 + LEVEL / 2) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    # Rounding must not leave the share itself out, as it can at 0 and 1.
    return min(share, max(0.0, float(centre - half))), max(share, min(1.0, float(centre + half)))


def bootstrap_share(right: np.ndarray, total: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of ``right.sum() / total.sum()``: right and all answers of each unit.

    If all units have the same share, so do all resamples; then it's Wilson's for N units.
    """
    kinds, counts = np.unique(np.stack([right, total], axis=1), axis=0, return_counts=True)
    n = int(counts.sum())
    if len({r / t for r, t in kinds}) == 1:
        return wilson(float(kinds[0, 0] / kinds[0, 1]), n)
    # Units are of few kinds: resampling units is drawing how often each kind comes.
    draws = np.random.default_rng(seed).multinomial(n, counts / n, size=RESAMPLES)
    return percentiles((draws @ kinds[:, 0]) / (draws @ kinds[:, 1]))


def bootstrap_mean(values: np.ndarray, seed: int = 0) -> pd.Series:
    """``mean`` of independent values, ``mean_low`` and ``mean_high`` (percentile bootstrap)."""
    values = np.asarray(values, float)
    if values.ndim != 1 or len(values) < 2 or np.isnan(values).any():
        raise ValueError(f"a mean with an interval needs two or more numbers, not {values!r}")
    low, high = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES - 1,  # SciPy's default; one more would move the last digits
        batch=1000,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return pd.Series({"mean": values.mean(), "mean_low": low, "mean_high": high})


def bootstrap_ratio(
    part: np.ndarray, whole: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``part.sum(0) / whole.sum()`` with its percentile interval: value, low and high, each (...).

    Parameters
    ----------
    part : numpy.ndarray, shape (N, ...)
        Of independent units.
    whole : numpy.ndarray, shape (N,)
        Its sum, also over resampled units, must not be near 0.
    """
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    if whole.ndim != 1 or len(whole) < 2 or len(part) != len(whole):
        raise ValueError(f"a ratio needs parts and wholes of two or more units, not {whole.shape}")
    n = len(whole)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    flat = part.reshape(n, -1)
    ratios = (draws @ flat) / (draws @ whole)[:, None]
    ends = np.quantile(ratios, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    value = flat.sum(axis=0) / whole.sum()
    # Where the wholes nearly cancel, ratios scatter so widely that the value may fall outside.
    low, high = np.minimum(ends[0], value), np.maximum(ends[1], value)
    value, low, high = (x.reshape(part.shape[1:]) for x in (value, low, high))
    return value, low, high


def bootstrap(
    statistic: Callable[[pd.DataFrame], float], units: pd.DataFrame, within: str | None = None
) -> tuple[float, float, float]:
    """Any number computed from a table of independent units, with its percentile interval.

    Parameters
    ----------
    statistic : callable
        Takes such a table and returns a number.
    units : pandas.DataFrame
        A row for each unit, such as a pair.
    within : str, optional
        Column of groups; each draw has as many units of each group as the table.
    """
    rng = np.random.default_rng(0)
    groups = units.groupby(within).indices.values() if within else [np.arange(len(units))]

    def resampled() -> pd.DataFrame:
        return units.iloc[np.concatenate([rng.choice(group, len(group)) for group in groups])]

    low, high = percentiles(np.array([statistic(resampled()) for _ in range(TABLE_RESAMPLES)]))
    return float(statistic(units)), low, high


def percentiles(draws: np.ndarray) -> tuple[float, float]:
    """The ends of the interval that `LEVEL` of the draws lie in."""
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)
