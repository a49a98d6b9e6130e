"""What removing a bias should gain, and what it did gain, for the recorded models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from .intervals import bootstrap_crossed

#: Methods of the recorded table that subtract what the text alone says, with names for people.
METHODS = {"m3id-always": "M3ID, always", "text-contrast": "text contrast"}


def predicted_accuracy(accuracy: float, energy: float, residual: float) -> float:
    """Pair accuracy once the mean square of the bias has fallen from `energy` to `residual`.

    A pair is right if its signal exceeds its bias. Take one signal for all pairs, and biases spread
    normally about 0: the accuracy today tells how large that signal is beside today's biases, and
    so what it gives beside the smaller ones. Nothing is fitted.
    """
    signal = stats.norm.ppf((1 + accuracy) / 2) * np.sqrt(energy)
    return float(2 * stats.norm.cdf(signal / np.sqrt(residual)) - 1)


def recorded_gains(measures: pd.DataFrame) -> pd.DataFrame:
    """Predicted and measured gain of each model and method, in pair accuracy over plain scoring.

    Parameters
    ----------
    measures : pandas.DataFrame
        As `training.readers` records them.

    Returns
    -------
    pandas.DataFrame
        ``model``, ``text_only`` (share of training rows without an image), ``method``, ``plain``
        (pair accuracy), ``predicted``, ``gain`` with ``gain_low`` and ``gain_high`` (least and most
        of the benchmark's draws), ``n`` pairs.
    """
    kept = _of_all_pairs(measures)
    rows = []
    for (model, text_only), table in kept.groupby(["model", "text_only"], sort=False):
        draws = table.pivot_table(index="seed", columns=["method", "measure"], values="value")
        pairs = table[(table["method"] == "options") & (table["measure"] == "pair")]["n"].sum()
        mean = draws.mean()
        for method, name in METHODS.items():
            plain, energy = mean["options", "pair"], mean["options", "bias energy"]
            left = mean[method, "residual energy"]
            gain = draws[method, "pair"] - draws["options", "pair"]
            rows.append({
                "model": model, "text_only": text_only, "method": name, "plain": plain,
                "predicted": predicted_accuracy(plain, energy, left) - plain,
                "gain": gain.mean(), "gain_low": gain.min(), "gain_high": gain.max(), "n": pairs,
            })  # fmt: skip
    return pd.DataFrame(rows)


def pooled_gains(measures: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Mean gain of each method over plain scoring, with 95% over models and the benchmark's draws.

    `measures` as of `recorded_gains`; the models were asked about the same draws.

    Returns
    -------
    pandas.DataFrame
        A row for each method: ``gain``, ``gain_low``, ``gain_high``.
    """
    kept = _of_all_pairs(measures)
    kept = kept[(kept["measure"] == "pair") & kept["model"].isin(list(models))]
    draws = kept.pivot_table("value", ["method", "model"], "seed")
    rows = {
        name: bootstrap_crossed(draws.loc[method].to_numpy() - draws.loc["options"].to_numpy())
        for method, name in METHODS.items()
    }
    return pd.DataFrame(rows, ["gain", "gain_low", "gain_high"]).T


def _of_all_pairs(measures: pd.DataFrame) -> pd.DataFrame:
    """The rows of all pairs of the benchmark of visual patterns."""
    return measures[(measures["benchmark"] == "tabletop-mmvp") & (measures["group"] == "all")]
