"""What removing a bias should gain, and what it did gain, for the recorded models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from .intervals import bootstrap_crossed

#: Methods of the recorded table that subtract what the text alone says, with names for people.
METHODS = {"m3id-always": "M3ID, always", "text-contrast": "text contrast"}


def predicted_accuracy(pairs: pd.DataFrame, weight: float = 0.0) -> float:
    """Pair accuracy, from the pairs' signals and from how biases are spread in each pattern.

    A pair is right if its signal exceeds its bias. Take each pair's own signal, and biases spread
    normally about their pattern's mean, once ``weight / (1 + weight)`` of the prior is subtracted.

    Parameters
    ----------
    pairs : pandas.DataFrame
        A row for each pair: ``relation`` (the pattern), ``signal``, ``bias``, ``prior``.
    weight : float
        What a contrast adds at the first token; 0 for plain scoring.
    """
    left = pairs["bias"] - weight / (1 + weight) * pairs["prior"]
    by_pattern = left.groupby(pairs["relation"])
    mean, spread = by_pattern.transform("mean"), by_pattern.transform("std")
    signal = pairs["signal"].clip(lower=0)
    ends = [stats.norm.cdf((end - mean) / spread) for end in (signal, -signal)]
    return float(np.mean(ends[0] - ends[1]))


def gains(measures: pd.DataFrame) -> pd.DataFrame:
    """Gain of each model and method in pair accuracy over plain scoring, pooled over draws.

    Parameters
    ----------
    measures : pandas.DataFrame
        As `training.readers` records them.

    Returns
    -------
    pandas.DataFrame
        ``model``, ``method``, ``plain`` (pair accuracy), ``gain`` with ``gain_low`` and
        ``gain_high`` (least and most of the benchmark's draws), ``n`` pairs.
    """
    kept = _of_all_pairs(measures)
    rows = []
    for model, table in kept.groupby("model", sort=False):
        draws = table.pivot_table("value", "seed", "method")
        for method, name in METHODS.items():
            gain = draws[method] - draws["options"]
            rows.append({
                "model": model, "method": name, "plain": draws["options"].mean(),
                "gain": gain.mean(), "gain_low": gain.min(), "gain_high": gain.max(),
                "n": table.loc[table["method"] == method, "n"].sum(),
            })  # fmt: skip
    return pd.DataFrame(rows)


def recorded_gains(
    measures: pd.DataFrame, pairs: pd.DataFrame, weights: dict[str, float]
) -> pd.DataFrame:
    """Predict gains from the pairs of one draw, and measure them on the other draws.

    Parameters
    ----------
    measures, pairs : pandas.DataFrame
        As `training.readers` records them.
    weights : dict
        For each name in :data:`METHODS`, what the method adds at the first token.

    Returns
    -------
    pandas.DataFrame
        As of `gains`, on the draws that `pairs` doesn't have, with ``predicted`` and two other
        guesses: ``constant``, the mean gain by the same method of the *other* models, and
        ``counted``, the gain on the draw that `pairs` has.

    Raises
    ------
    ValueError
        If a model has no pairs.
    """
    known = measures["seed"].isin(pairs["seed"])
    table, first = gains(measures[~known]), gains(measures[known])
    of = dict(list(pairs.groupby("model")))
    if missing := [model for model in table["model"] if model not in of]:
        raise ValueError(f"no pairs of {missing[0]!r}: record them with --parts pairs")
    table["predicted"] = [
        predicted_accuracy(of[row.model], weights[row.method]) - predicted_accuracy(of[row.model])
        for row in table.itertuples()
    ]
    by_method = table.groupby("method")["gain"]
    others = by_method.transform("size") - 1
    table["constant"] = (by_method.transform("sum") - table["gain"]) / others
    counted = first.rename(columns={"gain": "counted"})[["model", "method", "counted"]]
    return table.merge(counted, on=["model", "method"])


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """How well predictions agree with the measured gains, within each method.

    `table` is what `recorded_gains` returned.

    Returns
    -------
    pandas.DataFrame
        A row for each method: ``correlation`` of predicted and measured gain over the models, and
        the mean distances of the three guesses to the measured gain: ``predicted``, ``constant``,
        ``counted``.
    """
    rows = {}
    for method, of in table.groupby("method", sort=False):
        rows[method] = {"correlation": of["predicted"].corr(of["gain"])}
        for guess in ("predicted", "constant", "counted"):
            rows[method][guess] = (of[guess] - of["gain"]).abs().mean()
    return pd.DataFrame(rows).T


def pooled_gains(measures: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Mean gain of each method over plain scoring, with 95% over models and the benchmark's draws.

    `measures` as of `gains`; the models were asked about the same draws.

    Returns
    -------
    pandas.DataFrame
        A row for each method: ``gain``, ``gain_low``, ``gain_high``.
    """
    kept = _of_all_pairs(measures)
    kept = kept[kept["model"].isin(list(models))]
    draws = kept.pivot_table("value", ["method", "model"], "seed")
    rows = {
        name: bootstrap_crossed(draws.loc[method].to_numpy() - draws.loc["options"].to_numpy())
        for method, name in METHODS.items()
    }
    return pd.DataFrame(rows, ["gain", "gain_low", "gain_high"]).T


def _of_all_pairs(measures: pd.DataFrame) -> pd.DataFrame:
    """The pair accuracies over all patterns of the benchmark of visual patterns."""
    benchmark, group = measures["benchmark"] == "tabletop-mmvp", measures["group"] == "all"
    return measures[benchmark & group & (measures["measure"] == "pair")]
