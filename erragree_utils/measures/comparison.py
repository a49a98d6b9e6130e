"""Compares methods on the same pairs, and chooses settings on pairs other than the tested ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from .intervals import RESAMPLES, percentiles, wilson
from .logistic import one_standard_error
from .predictions import refuse_duplicates, validate

#: By which margins of log-likelihoods may be divided before losses are compared.
TEMPERATURES = np.logspace(-1.5, 1.5, 31)
SPLITS = 20  # of pairs into halves that choose for each other


def compare(pred_a: pd.DataFrame, pred_b: pd.DataFrame, seed: int = 0) -> pd.Series:
    """Paired comparison of two methods on the same pairs: exact McNemar test, paired bootstrap.

    Parameters
    ----------
    pred_a, pred_b : pandas.DataFrame
        What `evaluate` returned, each for one model and method, for the same images.
    seed : int
        Of the bootstrap.

    Returns
    -------
    pandas.Series
        ``n`` pairs, ``accuracy_a``, ``accuracy_b``, ``difference`` (b minus a) with ``_low`` and
        ``_high`` (95%, percentiles; where all pairs are alike in this, as far as Wilson's interval
        of none in n), ``only_a`` and ``only_b`` (pairs right in one only), ``p_value`` (two-sided
        exact McNemar test on those).
    """
    tables = [validate(pred) for pred in (pred_a, pred_b)]
    for table in tables:
        refuse_duplicates(table)
    a, b = (set(zip(table["pair_id"], table["image_index"], strict=True)) for table in tables)
    if a != b:
        raise ValueError(
            f"the tables hold different images: {len(a - b)} only in the first, {len(b - a)} only "
            f"in the second (for example {next(iter(a ^ b))}); evaluate both on one benchmark"
        )
    right_a, right_b = (table.groupby("pair_id")["correct"].all() for table in tables)
    gain = right_b.astype(int) - right_a.astype(int)
    n, only_a, only_b = len(gain), int((gain < 0).sum()), int((gain > 0).sum())
    share = np.array([only_a, only_b, n - only_a - only_b]) / n
    if share.max() < 1:
        draws = np.random.default_rng(seed).multinomial(n, share, size=RESAMPLES)
        low, high = percentiles((draws[:, 1] - draws[:, 0]) / n)
    else:  # every resample is alike
        unseen = wilson(0, n)[1]
        low, high = max(-1.0, gain.mean() - unseen), min(1.0, gain.mean() + unseen)
    either = only_a + only_b
    return pd.Series({
        "n": n,
        "accuracy_a": right_a.mean(),
        "accuracy_b": right_b.mean(),
        "difference": gain.mean(),
        "difference_low": low,
        "difference_high": high,
        "only_a": only_a,
        "only_b": only_b,
        "p_value": stats.binomtest(only_a, either).pvalue if either else 1.0,
    }, name="b against a")  # fmt: skip


def compare_each(plain: pd.DataFrame, others: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Several methods, each compared with a plain one: a row of `compare` for each name."""
    rows = {name: compare(plain, other) for name, other in others.items()}
    return pd.DataFrame(rows).T.astype(float)


def as_points(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Rows of `compare` as text: the difference in percentage points with its interval, the test.

    Columns are ``difference`` (``"+3.3 [-0.7, +7.4]"``), ``only plain`` and ``only this`` (pairs
    that one alone gets right), and ``p``.
    """
    ends = ["difference", "difference_low", "difference_high"]
    rows = (100 * comparisons[ends].astype(float)).to_numpy()
    return pd.DataFrame(
        {
            "difference": [f"{m:+.1f} [{low:+.1f}, {high:+.1f}]" for m, low, high in rows],
            "only plain": comparisons["only_a"].astype(int),
            "only this": comparisons["only_b"].astype(int),
            "p": comparisons["p_value"].astype(float).map("{:.2g}".format),
        },
        index=comparisons.index,
    )


def choose_held_out(pred: pd.DataFrame, setting: str, seed: int = 0) -> pd.DataFrame:
    """Predictions with a setting chosen on *other* pairs; no pair chooses its own.

    Pairs are split in halves at random, evenly within each relation, again and again. Each half
    chooses by log loss with the one-standard-error rule (Breiman et al. 1984, section 3.4.3): the
    first setting in the table, which should be the weakest, whose loss exceeds the lowest one by no
    more than the standard error of that difference over pairs. A pair then gets the setting that
    most of the halves without it have chosen.

    Parameters
    ----------
    pred : pandas.DataFrame
        Predictions of the same images under several settings, the weakest first, named in the
        column `setting`; scores are log-likelihoods.
    setting : str
        That column, such as ``"strength"``.
    seed : int
        Of the splits.

    Returns
    -------
    pandas.DataFrame
        A row for each image, with the setting that was chosen for it; its ``attrs["chosen"]`` has
        the share of pairs that got each setting.

    Notes
    -----
    Before losses are compared, the margins of each setting are divided by the temperature (of
    `TEMPERATURES`) that gives it the lowest loss on the choosing half: a setting that sharpens or
    flattens all answers alike changes none of them, and is neither rewarded nor punished for it.
    """
    pred = validate(pred)
    if setting not in pred:
        raise ValueError(f"the table lacks the column {setting!r}")
    refuse_duplicates(pred[pred[setting] == pred[setting].iloc[0]])
    margins = pred.assign(margin=pred["score_own"] - pred["score_other"]).pivot(
        index=["pair_id", "image_index"], columns=setting, values="margin"
    )[list(pred[setting].unique())]  # fmt: skip
    if margins.isna().any(axis=None):
        raise ValueError(f"the values of {setting!r} hold different images: evaluate all on one")
    pairs, place = np.unique(margins.index.get_level_values("pair_id"), return_inverse=True)
    if len(pairs) < 4:
        raise ValueError(f"{len(pairs)} pairs cannot choose for each other: give 4 or more")
    losses = np.logaddexp(0.0, -margins.to_numpy()[..., None] / TEMPERATURES)
    of_pair = np.zeros((len(pairs), *losses.shape[1:]))  # (pairs, settings, temperatures)
    np.add.at(of_pair, place, losses)
    of_pair /= np.bincount(place)[:, None, None]
    relation = pred.groupby("pair_id")["relation"].first()[pairs]
    rng, votes = np.random.default_rng(seed), np.zeros(of_pair.shape[:2], int)
    for _ in range(SPLITS):
        order = relation.iloc[rng.permutation(len(pairs))].sort_values(kind="stable")
        half = pd.Series(np.arange(len(pairs)) % 2, order.index)[pairs].to_numpy()
        for k in (0, 1):
            choosing = of_pair[half == k]
            coolest = choosing.mean(axis=0).argmin(axis=1)
            fitted = choosing[:, np.arange(choosing.shape[1]), coolest]
            votes[half != k, one_standard_error(fitted.T)] += 1
    choice = pd.Series(margins.columns[votes.argmax(axis=1)], index=pairs)
    table = pred[pred[setting] == pred["pair_id"].map(choice)].reset_index(drop=True)
    table.attrs["chosen"] = choice.value_counts(normalize=True).to_dict()
    return table


def holm(p: Sequence[float]) -> np.ndarray:
    """P-values of several tests, corrected so that any false one has the stated chance (Holm 1979).

    The smallest is multiplied by the number of tests, the next by one less, and so on.
    """
    p = np.asarray(p, float)
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(steps, 1)
    return corrected
