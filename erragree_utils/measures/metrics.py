"""Accuracies of predictions, with their uncertainty and chance levels.

The unit of uncertainty is the pair (or the set), not the image: the images of a pair share objects,
background and captions, so their results are not independent. All intervals are 95%.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from .logistic import one_standard_error

LEVEL = 0.95
RESAMPLES = 10_000
#: By which margins of log-likelihoods may be divided before losses are compared.
TEMPERATURES = np.logspace(-1.5, 1.5, 31)
_NEEDED = ("pair_id", "set_id", "image_index", "n_options", "correct")


def summarize(
    pred: pd.DataFrame, by: str | Sequence[str] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Individual and pair accuracy.

    Parameters
    ----------
    pred : pandas.DataFrame
        What `runner.evaluate` returned; tables may be concatenated.
    by : str or list of str, optional
        Columns to group by. A table of several models or methods needs them here.
    seed : int
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        A row for each group, which is the index (``"all"`` without `by`): ``n_pairs``,
        ``n_images``, ``individual_accuracy``, ``individual_accuracy_low``, ``_high``,
        ``individual_chance``, ``pair_accuracy``, ``pair_accuracy_low``, ``_high``, ``pair_chance``.

    Raises
    ------
    ValueError
        If columns are missing, the table is empty, scores are NaN, or an image occurs twice in a
        group.

    Notes
    -----
    Individual accuracy has a percentile bootstrap interval over pairs, or, if all pairs have the
    same share right and every resample is alike, Wilson's for as many pairs. Pair accuracy has
    Wilson's, and is NaN where pairs have one image. Chance is that of independent, uniform guesses.
    """
    return _by_group(_checked(pred), by, lambda group: _pair_row(group, seed))


def summarize_sets(pred: pd.DataFrame, by: str | Sequence[str] | None = None) -> pd.DataFrame:
    """Set accuracy: all images of a set right (What'sUp: four).

    Parameters
    ----------
    pred : pandas.DataFrame
        What `runner.evaluate` returned, for whole sets.
    by : str or list of str, optional
        Columns to group by.

    Returns
    -------
    pandas.DataFrame
        ``n_sets``, ``set_accuracy``, ``set_accuracy_low``, ``_high`` (Wilson), ``set_chance``.

    Raises
    ------
    ValueError
        As in `summarize`; also if sets of different sizes are mixed, as a group by relation would
        leave halves of sets.
    """
    return _by_group(_checked(pred), by, _set_row)


def as_percent(summary: pd.DataFrame) -> pd.DataFrame:
    """A summary for people: each accuracy in per cent with its interval, beside its chance level.

    Parameters
    ----------
    summary : pandas.DataFrame
        What `summarize` or `summarize_sets` returned.

    Returns
    -------
    pandas.DataFrame of str
        The number of pairs or sets, then such columns as ``individual accuracy``
        (``"49.0 [46.5, 51.5]"``) and
        ``chance``; kinds of accuracy that are NaN throughout are left out.

    Raises
    ------
    ValueError
        If the summary has no accuracies.
    """
    kinds = [name.removesuffix("_accuracy") for name in summary if name.endswith("_accuracy")]
    if not kinds:
        raise ValueError("the summary has no accuracies: give what summarize returned")
    table = summary.filter(regex="^n_(pairs|sets)$").astype(int)
    table.columns = [name.removeprefix("n_") for name in table]
    for kind in kinds:
        column = f"{kind}_accuracy"
        if summary[column].isna().all():
            continue
        rows = (100 * summary[[column, f"{column}_low", f"{column}_high"]]).to_numpy()
        table[f"{kind} accuracy"] = [f"{v:.1f} [{low:.1f}, {high:.1f}]" for v, low, high in rows]
        table[f"{kind} chance"] = (100 * summary[f"{kind}_chance"]).map("{:.3g}".format)
    return table


def compare(
    pred_a: pd.DataFrame, pred_b: pd.DataFrame, unit: str = "pair", seed: int = 0
) -> pd.Series:
    """Paired comparison of two methods on the same pairs: exact McNemar test, paired bootstrap.

    Parameters
    ----------
    pred_a, pred_b : pandas.DataFrame
        What `runner.evaluate` returned, each of one model and method, for the same images.
    unit : {"pair", "set"}
        What has to be right as a whole.
    seed : int
        Of the bootstrap.

    Returns
    -------
    pandas.Series
        ``n``, ``accuracy_a``, ``accuracy_b``, ``difference`` (b minus a) with ``_low`` and
        ``_high`` (percentile bootstrap over units), ``only_a`` and ``only_b`` (units right in one
        only), ``p_value`` (two-sided exact McNemar test on those).

    Raises
    ------
    ValueError
        If the tables do not hold the same images, or the unit is unknown.
    """
    if unit not in ("pair", "set"):
        raise ValueError(f"unknown unit {unit!r}; choose 'pair' or 'set'")
    key = ["pair_id", "image_index"]
    tables = [_checked(pred) for pred in (pred_a, pred_b)]
    for table in tables:
        _refuse_duplicates(table, "the table")
    a, b = (set(map(tuple, table[key].to_numpy())) for table in tables)
    if a != b:
        raise ValueError(
            f"the tables hold different images: {len(a - b)} only in the first, {len(b - a)} only "
            f"in the second (for example {next(iter(a ^ b))}); evaluate both on one benchmark"
        )
    right_a, right_b = (table.groupby(f"{unit}_id")["correct"].all() for table in tables)
    right_b = right_b.reindex(right_a.index)
    n, gain = len(right_a), right_b.astype(int) - right_a.astype(int)
    only_a, only_b = int((gain < 0).sum()), int((gain > 0).sum())
    rng = np.random.default_rng(seed)
    share = np.array([only_a, only_b, n - only_a - only_b]) / n
    draws = rng.multinomial(n, share, size=RESAMPLES)
    low, high = _percentiles((draws[:, 1] - draws[:, 0]) / n)
    discordant = only_a + only_b
    p_value = stats.binomtest(only_a, discordant).pvalue if discordant else 1.0
    return pd.Series({
        "n": n,
        "accuracy_a": right_a.mean(),
        "accuracy_b": right_b.mean(),
        "difference": gain.mean(),
        "difference_low": low,
        "difference_high": high,
        "only_a": only_a,
        "only_b": only_b,
        "p_value": p_value,
    }, name=f"b against a, unit {unit}")  # fmt: skip


def compare_each(
    plain: pd.DataFrame, others: Mapping[str, pd.DataFrame], seed: int = 0
) -> pd.DataFrame:
    """Several methods, each compared with a plain one on the same pairs.

    Parameters
    ----------
    plain : pandas.DataFrame
    others : mapping of str to pandas.DataFrame
        Predictions by name.
    seed : int
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        A row for each of `others`: what `compare` returned, as numbers.

    Raises
    ------
    ValueError
        As in `compare`.
    """
    rows = {name: compare(plain, other, seed=seed) for name, other in others.items()}
    return pd.DataFrame(rows).T.astype(float)


def as_points(compared: pd.DataFrame) -> pd.DataFrame:
    """Comparisons for people: the difference in percentage points with its interval, and the test.

    Parameters
    ----------
    compared : pandas.DataFrame
        Rows of `compare`, such as `compare_each` returns.

    Returns
    -------
    pandas.DataFrame of str
        ``difference`` (``"+3.3 [-0.7, +7.4]"``), ``only plain`` and ``only this`` (pairs that one
        alone gets right), ``p``.
    """
    low, high, mean = (
        100 * compared[f"difference{end}"].astype(float) for end in ("_low", "_high", "")
    )
    values = zip(mean, low, high, strict=True)
    return pd.DataFrame(
        {
            "difference": [f"{m:+.1f} [{a:+.1f}, {b:+.1f}]" for m, a, b in values],
            "only plain": compared["only_a"].astype(int),
            "only this": compared["only_b"].astype(int),
            "p": compared["p_value"].astype(float).map("{:.2g}".format),
        },
        index=compared.index,
    )


def choose_held_out(
    pred: pd.DataFrame, setting: str, splits: int = 20, seed: int = 0
) -> pd.DataFrame:
    """Predictions with a setting that was chosen on *other* pairs; no pair chooses for itself.

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
    splits : int
    seed : int
        Of the splits.

    Returns
    -------
    pandas.DataFrame
        A row for each image, with the setting that was chosen for it; its ``attrs["chosen"]`` has
        the share of pairs that got each setting.

    Raises
    ------
    ValueError
        If a column is missing, settings hold different images, or there are fewer than 4 pairs.

    Notes
    -----
    Before losses are compared, the margins of each setting are divided by the temperature (of
    `TEMPERATURES`) that gives it the lowest loss on the choosing half: a setting that sharpens or
    flattens all answers alike changes none of them, and is neither rewarded nor punished for it.
    """
    pred = _checked(pred)
    if setting not in pred:
        raise ValueError(f"the table lacks the column {setting!r}")
    _refuse_duplicates(pred[pred[setting] == pred[setting].iloc[0]], f"{setting} of the first row")
    margins = pred.assign(margin=pred["score_own"] - pred["score_other"]).pivot(
        index=["pair_id", "image_index"], columns=setting, values="margin"
    )[list(pred[setting].unique())]  # fmt: skip
    if margins.isna().any(axis=None):
        raise ValueError(f"the values of {setting!r} hold different images: evaluate all on one")
    losses = np.logaddexp(0.0, -margins.to_numpy()[..., None] / TEMPERATURES)
    pairs, place = np.unique(margins.index.get_level_values("pair_id"), return_inverse=True)
    of_pair = np.zeros((len(pairs), *losses.shape[1:]))
    np.add.at(of_pair, place, losses)
    of_pair /= np.bincount(place)[:, None, None]
    relation = pred.groupby("pair_id")["relation"].first()[pairs]
    if len(pairs) < 4:
        raise ValueError(
            f"{len(pairs)} pairs cannot choose a setting for each other: give 4 or more"
        )
    rng, votes = np.random.default_rng(seed), np.zeros(of_pair.shape[:2], int)
    for _ in range(splits):
        shuffled = relation.iloc[rng.permutation(len(pairs))].sort_values(kind="stable")
        half = pd.Series(np.arange(len(pairs)) % 2, shuffled.index)[pairs].to_numpy()
        for k in (0, 1):
            choosing = of_pair[half == k]
            coolest = choosing.mean(axis=0).argmin(axis=1)
            fitted = choosing[:, np.arange(choosing.shape[1]), coolest]
            votes[half != k, one_standard_error(fitted.T)] += 1
    chosen = pd.Series(margins.columns[votes.argmax(axis=1)], index=pairs)
    table = pred[pred[setting] == pred["pair_id"].map(chosen)].reset_index(drop=True)
    table.attrs["chosen"] = chosen.value_counts(normalize=True).to_dict()
    return table


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion (Wilson 1927).

    Parameters
    ----------
    share : float
        Observed, 0 to 1; ``share * n`` need not be whole, as means of half-right pairs are not.
    n : int
        Independent units.

    Returns
    -------
    low, high : float
    """
    z2 = stats.norm.ppf(0.5 + LEVEL / 2) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    # Rounding must not leave the share itself out, as it can at 0 and 1.
    return min(share, max(0.0, float(centre - half))), max(share, min(1.0, float(centre + half)))


def bootstrap_share(right: np.ndarray, total: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95% interval of ``right.sum() / total.sum()``, resampling units.

    Parameters
    ----------
    right, total : numpy.ndarray of int, shape (N,)
        Right and all answers of each unit.
    seed : int

    Returns
    -------
    low, high : float
        Percentiles of the resampled shares; Wilson's interval for N units if all units agree.
    """
    kinds, counts = np.unique(np.stack([right, total], axis=1), axis=0, return_counts=True)
    n = int(counts.sum())
    if len({r / t for r, t in kinds}) == 1:
        return wilson(float(kinds[0, 0] / kinds[0, 1]), n)
    # Units are of few kinds: resampling units is drawing how often each kind comes.
    draws = np.random.default_rng(seed).multinomial(n, counts / n, size=RESAMPLES)
    return _percentiles((draws @ kinds[:, 0]) / (draws @ kinds[:, 1]))


def bootstrap_mean(values: np.ndarray, seed: int = 0) -> pd.Series:
    """Mean of independent values, such as the cosines of pairs, with its 95% interval.

    Parameters
    ----------
    values : numpy.ndarray, shape (N,)
    seed : int
        Of the bootstrap (percentiles, `scipy.stats.bootstrap`).

    Returns
    -------
    pandas.Series
        ``mean``, ``mean_low``, ``mean_high``.

    Raises
    ------
    ValueError
        With fewer than two values, or NaN among them.
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or len(values) < 2 or np.isnan(values).any():
        raise ValueError(f"a mean with an interval needs two or more numbers, not {values!r}")
    interval = stats.bootstrap(
        (values,), np.mean, confidence_level=LEVEL, method="percentile",
        rng=np.random.default_rng(seed), batch=1000,
    ).confidence_interval  # fmt: skip
    return pd.Series({
        "mean": values.mean(), "mean_low": interval.low, "mean_high": interval.high
    })  # fmt: skip


def bootstrap(
    statistic: Callable[[pd.DataFrame], float],
    units: pd.DataFrame,
    within: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Any number that independent units give, with its 95% interval.

    Parameters
    ----------
    statistic : callable
        Takes a table of units, such as pairs, and returns a number.
    units : pandas.DataFrame
        A row for each.
    within : str, optional
        Column of groups; as many units of each are drawn as it has.
    resamples, seed : int
        Of the bootstrap (percentiles).

    Returns
    -------
    value, low, high : float
    """
    rng = np.random.default_rng(seed)
    groups = units.groupby(within).indices.values() if within else [np.arange(len(units))]

    def resampled() -> pd.DataFrame:
        return units.iloc[np.concatenate([rng.choice(group, len(group)) for group in groups])]

    low, high = _percentiles(np.array([statistic(resampled()) for _ in range(resamples)]))
    return float(statistic(units)), low, high


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)


def _pair_row(group: pd.DataFrame, seed: int) -> dict[str, float]:
    pairs = group.assign(chance=1 / group["n_options"]).groupby("pair_id").agg(
        right=("correct", "sum"), total=("correct", "size"), chance=("chance", "prod")
    )  # fmt: skip
    right, total = pairs["right"].to_numpy(int), pairs["total"].to_numpy(int)
    low, high = bootstrap_share(right, total, seed)
    row = {
        "n_pairs": len(pairs),
        "n_images": len(group),
        "individual_accuracy": group["correct"].mean(),
        "individual_accuracy_low": low,
        "individual_accuracy_high": high,
        "individual_chance": (1 / group["n_options"]).mean(),
    }
    if (total == 1).all():
        return row | dict.fromkeys(
            ("pair_accuracy", "pair_accuracy_low", "pair_accuracy_high", "pair_chance"), np.nan
        )
    if (total != 2).any():
        odd = pairs.index[total != 2][0]
        raise ValueError(
            f"pair {odd!r} has {int(pairs.loc[odd, 'total'])} rows where others have two images: "
            "rows are missing, or benchmarks of pairs and of single images are mixed; group by "
            "a column that tells them apart"
        )
    share = (right == total).mean()
    low, high = wilson(share, len(pairs))
    return row | {
        "pair_accuracy": share,
        "pair_accuracy_low": low,
        "pair_accuracy_high": high,
        "pair_chance": pairs["chance"].mean(),
    }


def _set_row(group: pd.DataFrame) -> dict[str, float]:
    sets = group.assign(chance=1 / group["n_options"]).groupby("set_id").agg(
        right=("correct", "all"), total=("correct", "size"), chance=("chance", "prod")
    )  # fmt: skip
    sizes = sorted(sets["total"].unique())
    if len(sizes) > 1:
        raise ValueError(
            f"sets of {' and '.join(map(str, sizes))} images are mixed: set accuracy needs whole "
            "sets, so group by model or method, not by relation, and drop incomplete sets"
        )
    low, high = wilson(sets["right"].mean(), len(sets))
    return {
        "n_sets": len(sets),
        "set_accuracy": sets["right"].mean(),
        "set_accuracy_low": low,
        "set_accuracy_high": high,
        "set_chance": sets["chance"].mean(),
    }


def _by_group(pred: pd.DataFrame, by: str | Sequence[str] | None, row) -> pd.DataFrame:
    columns = [] if by is None else [by] if isinstance(by, str) else list(by)
    missing = [name for name in columns if name not in pred]
    if missing:
        raise ValueError(f"no column {missing[0]!r} to group by; there are {', '.join(pred)}")
    if not columns:
        _refuse_duplicates(pred, "the table")
        return pd.DataFrame([row(pred)], index=["all"])
    keys, rows = [], []
    for key, group in pred.groupby(columns, sort=False, dropna=False, observed=True):
        _refuse_duplicates(group, f"group {key}")
        keys.append(key)
        rows.append(row(group))
    names = pd.MultiIndex.from_tuples(keys, names=columns)
    return pd.DataFrame(rows, index=names.get_level_values(0) if len(columns) == 1 else names)


def _checked(pred: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in _NEEDED if name not in pred]
    if missing:
        raise ValueError(
            f"the table lacks {', '.join(missing)}: give what evaluate returned, "
            f"it has {', '.join(map(str, pred.columns)) or 'no columns'}"
        )
    if len(pred) == 0:
        raise ValueError("the table of predictions is empty")
    scores = [name for name in ("score_own", "score_other", *_NEEDED) if name in pred]
    holes = pred[scores].isna().any(axis=1)
    if holes.any():
        raise ValueError(
            f"{int(holes.sum())} rows have missing or NaN values, the first for pair "
            f"{pred.loc[holes, 'pair_id'].iloc[0]!r}: a NaN score is neither right nor wrong"
        )
    if not pred["correct"].isin([True, False]).all():
        raise ValueError("column 'correct' must hold True and False only")
    return pred.assign(correct=pred["correct"].astype(bool))


def _refuse_duplicates(pred: pd.DataFrame, where: str) -> None:
    double = pred.duplicated(["pair_id", "image_index"])
    if not double.any():
        return
    varying = [name for name in ("model", "method") if name in pred and pred[name].nunique() > 1]
    hint = (
        f"it holds several of {' and '.join(varying)}: add that to by="
        if varying
        else "if it joins several benchmarks, add a column that tells them apart to it and to by="
    )
    first = pred.loc[double].iloc[0]
    raise ValueError(
        f"{where} has image {first['image_index']} of pair {first['pair_id']!r} twice; {hint}"
    )
