"""Recorded runs of the ablations, and their summaries over seeds and pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...measures.comparison import holm
from ...measures.intervals import bootstrap_crossed, crossed_means, wilson
from .experiments import EXPERIMENTS, FAMILIES

TABLES = Path(__file__).parents[2] / "assets" / "ablations"
COLUMNS = [
    "experiment", "factor", "setting", "base", "seed", "benchmark", "metric", "value", "low",
    "high", "n", "per_pair", "steps", "seconds", "threads", "hardware", "command", "settings_hash",
]  # fmt: skip
#: Columns of :func:`overview`: metric and benchmark.
OVERVIEW = {
    "pair A": ("pair", "tabletop-a"),
    "pair B": ("pair", "tabletop-b"),
    "relative A": ("relative", "tabletop-a"),
    "relative B": ("relative", "tabletop-b"),
    "objects A": ("retrieval", "tabletop-a"),
    "probe A": ("probe", "tabletop-a"),
}
_OF_SIDES = ("individual", "pair", "relative")
_DIGITS = (*_OF_SIDES, "retrieval")


def read_rows(path: Path) -> pd.DataFrame:
    """A table of results as it was written: texts stay texts, also those of digits alone."""
    texts = ("experiment", "factor", "setting", "base", "per_pair", "settings_hash")
    rows = pd.read_csv(path, dtype=dict.fromkeys(texts, str))
    return rows.fillna(dict.fromkeys(texts, ""))


def results(family: str | None = None, folder: Path = TABLES) -> pd.DataFrame:
    """The recorded runs of a family, or of all, in `folder`; by default those of this package.

    Returns
    -------
    pandas.DataFrame
        A row for each run, benchmark and metric: ``family``, ``experiment``, ``factor``,
        ``setting``, ``base``, ``seed``, ``benchmark``, ``metric``, ``value``, ``low``, ``high``
        (95%, over pairs), ``n`` (pairs), ``per_pair``, ``steps``, ``seconds``, ``threads``,
        ``hardware``, ``command``, ``settings_hash``.
    """
    if family is not None and family not in FAMILIES:
        raise ValueError(f"no family {family!r}; there are {', '.join(FAMILIES)}")
    names = [name for name in FAMILIES if family in (None, name)]
    paths = {name: folder / f"{name}.csv" for name in names}
    tables = {name: read_rows(path) for name, path in paths.items() if path.exists()}
    if not tables:
        raise FileNotFoundError(
            f"no table of {family or 'any family'} in {folder}; make it: python -m "
            f"erragree_utils.training.ablations --only {family or 'tokens'} --tables {folder}"
        )
    return pd.concat(tables, names=["family"]).reset_index("family").reset_index(drop=True)


def missing_runs(table: pd.DataFrame) -> pd.DataFrame:
    """``family``, ``experiment`` and ``seed`` (0 to 2) of the runs without a row in a table."""
    columns = ["family", "experiment", "seed"]
    there = set(table[columns].itertuples(index=False, name=None))
    runs = [(family, name, s) for family in FAMILIES for name in FAMILIES[family] for s in range(3)]
    return pd.DataFrame([run for run in runs if run not in there], columns=columns)


def summarise(table: pd.DataFrame, metric: str = "pair") -> pd.DataFrame:
    """Mean of a metric over seeds, with its interval over seeds and pairs.

    `table` is what :func:`results` returned, `metric` one of those of :func:`evaluate.measure`.

    Returns
    -------
    pandas.DataFrame
        A row for each experiment and benchmark (the index): ``value``, ``value_low``,
        ``value_high``, ``n_seeds``, ``n`` (pairs), ``lowest`` and ``highest`` of the seeds.

    Notes
    -----
    Accuracies: percentiles of 4000 resamples of seeds and, independently, of pairs, which are the
    same for all seeds. A resample of three seeds says little of how seeds differ: ``lowest`` and
    ``highest`` stand beside it. Where no pair of any seed differs, Wilson's interval for the pairs.
    Cosines and probes: resamples of the seeds' means alone, NaN for a single seed.
    """
    rows = {}
    for key, group in _grouped(_runs(table, metric)).items():
        values = _values(group, metric)
        _, low, high = bootstrap_crossed(values)
        if metric in _DIGITS and values.min() == values.max():  # resamples have nothing to vary
            low, high = wilson(values.min(), values.shape[1])
        rows[key] = {
            "value": group["value"].mean(), "value_low": low, "value_high": high,
            "n_seeds": len(group), "n": int(group["n"].iloc[0]), "lowest": group["value"].min(),
            "highest": group["value"].max(),
        }  # fmt: skip
    return _indexed(rows)


def overview(table: pd.DataFrame, names: Iterable[str] | None = None) -> pd.DataFrame:
    """Experiments for people: measures in per cent, with intervals for those of sides.

    `table` is what :func:`results` returned, `names` the experiments in the order wanted; by
    default all that are there.

    Returns
    -------
    pandas.DataFrame of str
        A row for each experiment, the columns of :data:`OVERVIEW`: pair accuracy (chance 25) and
        relative preference (chance 50), each with its interval over seeds and pairs, retrieval of
        objects (chance 1 of 100 sets), and a linear probe on the pair's two vectors (chance 50).
    """
    order = list(table["experiment"].unique() if names is None else names)
    table = table[table["experiment"].isin(order)]
    columns = {}
    for title, (metric, benchmark) in OVERVIEW.items():
        if metric not in set(table["metric"]):  # a probe needs many pairs
            continue
        means = 100 * summarise(table, metric).xs(benchmark, level="benchmark")
        text = "{:.0f} [{:.0f}, {:.0f}]" if metric in _OF_SIDES else "{:.0f}"
        rows = means[["value", "value_low", "value_high"]].to_numpy()
        columns[title] = pd.Series([text.format(*row) for row in rows], list(means.index))
    return pd.DataFrame(columns).reindex(order)


def effects(table: pd.DataFrame, metric: str = "pair") -> pd.DataFrame:
    """What each change does: difference to the experiment's base, same seeds, same pairs.

    Arguments and intervals as in :func:`summarise`. Seeds that base and experiment do not share are
    left out; so are experiments whose base is not in the table.

    Returns
    -------
    pandas.DataFrame
        A row for each experiment and benchmark (the index): ``base``, ``factor``, ``setting``,
        ``difference``, ``difference_low``, ``difference_high``, ``n_seeds``, ``n``.
    """
    groups, rows = _grouped(_runs(table, metric)), {}
    for (name, bench), group in groups.items():
        base = groups.get((EXPERIMENTS[name].base, bench))
        shared = [] if base is None else sorted({*group["seed"]} & {*base["seed"]})
        if not shared:
            continue
        own, its_base = (_values(g.set_index("seed").loc[shared], metric) for g in (group, base))
        _, low, high = bootstrap_crossed(own - its_base)
        first = group.iloc[0]
        rows[name, bench] = {
            "base": EXPERIMENTS[name].base, "factor": first["factor"], "setting": first["setting"],
            "difference": float((own - its_base).mean()), "difference_low": low,
            "difference_high": high, "n_seeds": len(shared), "n": int(first["n"]),
        }  # fmt: skip
    return _indexed(rows)


def ranking(table: pd.DataFrame, metric: str = "relative") -> pd.DataFrame:
    """All changes by their mean effect on A and B, the largest first, corrected for their number.

    Arguments, seeds and pairs as in :func:`effects`.

    Returns
    -------
    pandas.DataFrame
        A row for each experiment (the index): ``base``, ``difference``, ``difference_low``,
        ``difference_high``, ``n_seeds``, ``p`` (two-sided, from the resamples behind the interval)
        and ``p_holm`` (corrected for all changes in the table, by `holm`).
    """
    runs, rows = dict(iter(_runs(table, metric).groupby("experiment", sort=False))), {}
    for name, group in runs.items():
        base = runs.get(EXPERIMENTS[name].base, group[:0])
        shared = sorted({*group["seed"]} & {*base["seed"]})
        if not shared:
            continue
        own, its_base = (_side_by_side(part, shared, metric) for part in (group, base))
        value, low, high = bootstrap_crossed(own - its_base)
        draws = crossed_means(own - its_base)
        tail = min((draws <= 0).sum(), (draws >= 0).sum())
        rows[name] = {
            "base": EXPERIMENTS[name].base, "difference": value, "difference_low": low,
            "difference_high": high, "n_seeds": len(shared),
            "p": min(1.0, 2 * (tail + 1) / (len(draws) + 1)),
        }  # fmt: skip
    ranked = pd.DataFrame.from_dict(rows, orient="index").rename_axis("experiment")
    ranked["p_holm"] = holm(ranked["p"])
    return ranked.sort_values("difference", ascending=False)


def difference(
    table: pd.DataFrame, metric: str, names: Sequence[str], others: Sequence[str] = ()
) -> tuple[float, float, float]:
    """Mean of a measure of sides over some experiments, less that over others if there are any.

    `table` is what :func:`results` returned; all of its benchmarks count alike. `metric` is
    ``"individual"``, ``"pair"`` or ``"relative"``. The experiments have the same seeds.

    Returns
    -------
    value, low, high : float
        95% over seeds and, independently, over the pairs of all benchmarks. Of three seeds such an
        interval is somewhat too narrow.
    """
    runs = _runs(table, metric).sort_values("seed")
    groups, benchmarks = _grouped(runs), runs["benchmark"].unique()

    def mean(names: Sequence[str]) -> np.ndarray:
        each = [
            np.hstack([_values(groups[name, bench], metric) for bench in benchmarks])
            for name in names
        ]
        return np.mean(each, axis=0)

    values = mean(names) - (mean(others) if others else 0)
    return bootstrap_crossed(values)


def _runs(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of a metric, one for each experiment, benchmark and seed."""
    rows = table[table["metric"] == metric]
    if rows.empty:
        there = ", ".join(table["metric"].unique())
        raise ValueError(f"no rows of metric {metric!r}; there are {there}")
    return rows.drop_duplicates(["experiment", "seed", "benchmark"])  # families share runs


def _grouped(runs: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    return dict(iter(runs.groupby(["experiment", "benchmark"], sort=False)))


def _values(group: pd.DataFrame, metric: str) -> np.ndarray:
    """Values (seeds, pairs), or (seeds, 1) where runs keep a mean alone."""
    if metric not in _DIGITS:
        return group["value"].to_numpy()[:, None]
    right = np.array([[int(digit) for digit in text] for text in group["per_pair"]])
    if metric == "relative":  # one decision a pair
        return right.astype(float)
    return (right == 2).astype(float) if metric == "pair" else right / 2


def _side_by_side(runs: pd.DataFrame, seeds: list[int], metric: str) -> np.ndarray:
    """Values (seeds, pairs of all benchmarks) of one experiment."""
    parts = [part.set_index("seed").loc[seeds] for _, part in runs.groupby("benchmark")]
    return np.hstack([_values(part, metric) for part in parts])


def _indexed(rows: dict) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(rows, names=["experiment", "benchmark"])
    return pd.DataFrame(list(rows.values()), index=index)
