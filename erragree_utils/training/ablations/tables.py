"""Recorded runs of the ablations, and their summaries over seeds and pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from ...measures.intervals import wilson
from .experiments import EXPERIMENTS, FAMILIES

TABLES = Path(__file__).parents[2] / "assets" / "ablations"
RESAMPLES = 4000
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
    found = pd.read_csv(path, dtype=dict.fromkeys(texts, str))
    return found.fillna(dict.fromkeys(texts, ""))


def results(family: str | None = None, folder: Path = TABLES) -> pd.DataFrame:
    """The recorded runs of a family, or of all.

    Parameters
    ----------
    family : str, optional
        One of :data:`FAMILIES`.
    folder : pathlib.Path
        Where the tables are; by default those that ship with this package.

    Returns
    -------
    pandas.DataFrame
        A row for each run, benchmark and metric: ``family``, ``experiment``, ``factor``,
        ``setting``, ``base``, ``seed``, ``benchmark``, ``metric``, ``value``, ``low``, ``high``
        (95%, over pairs), ``n`` (pairs), ``per_pair``, ``steps``, ``seconds``, ``threads``,
        ``hardware``, ``command``, ``settings_hash``.

    Raises
    ------
    ValueError
        If there is no such family.
    FileNotFoundError
        If there is no table.
    """
    if family is not None and family not in FAMILIES:
        raise ValueError(f"no family {family!r}; there are {', '.join(FAMILIES)}")
    names = [family] if family else [f for f in FAMILIES if (folder / f"{f}.csv").exists()]
    paths = [folder / f"{name}.csv" for name in names]
    missing = [path for path in paths if not path.exists()]
    if missing or not paths:
        raise FileNotFoundError(
            f"no table {missing[0] if missing else folder / 'FAMILY.csv'}; make it: "
            f"python -m erragree_utils.training.ablations --only {family or 'tokens'} "
            f"--tables {folder}"
        )
    tables = [read_rows(path) for path in paths]
    for name, table in zip(names, tables, strict=True):
        table.insert(0, "family", name)
    return pd.concat(tables, ignore_index=True)


def missing_runs(table: pd.DataFrame, seeds: tuple[int, ...] = (0, 1, 2)) -> pd.DataFrame:
    """Experiments and seeds of all families that have no rows in a table.

    Returns
    -------
    pandas.DataFrame
        ``family``, ``experiment``, ``seed``; empty if all is recorded.
    """
    there = set(table[["family", "experiment", "seed"]].itertuples(index=False, name=None))
    wanted = [
        (family, name, seed)
        for family in FAMILIES
        for name in FAMILIES[family]
        for seed in seeds
        if (family, name, seed) not in there
    ]
    return pd.DataFrame(wanted, columns=["family", "experiment", "seed"])


def summarise(table: pd.DataFrame, metric: str = "pair", seed: int = 0) -> pd.DataFrame:
    """Mean of a metric over seeds, with its interval over seeds and pairs.

    Parameters
    ----------
    table : pandas.DataFrame
        What `results` returned.
    metric : str
        One of those that :func:`evaluate.measure` gives, such as ``"pair"``.
    seed : int
        Of the bootstrap.

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
    for key, group in _runs(table, metric).groupby(["experiment", "benchmark"], sort=False):
        values = _values(group, metric)
        low, high = _interval(values, seed)
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

    Parameters
    ----------
    table : pandas.DataFrame
        What `results` returned.
    names : iterable of str, optional
        Experiments, in the order wanted; by default all that are there.

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
        rows = means[["value", "value_low", "value_high"]].itertuples(name=None)
        columns[title] = pd.Series({
            name: f"{mean:.0f}" + (f" [{low:.0f}, {high:.0f}]" if metric in _OF_SIDES else "")
            for name, mean, low, high in rows
        })  # fmt: skip
    return pd.DataFrame(columns).reindex(order)


def effects(table: pd.DataFrame, metric: str = "pair", seed: int = 0) -> pd.DataFrame:
    """What each change does: difference to the experiment's base, same seeds, same pairs.

    Parameters and intervals as in `summarise`. Seeds that base and experiment do not share are left
    out; so are experiments whose base is not in the table.

    Returns
    -------
    pandas.DataFrame
        A row for each experiment and benchmark (the index): ``base``, ``factor``, ``setting``,
        ``difference``, ``difference_low``, ``difference_high``, ``n_seeds``, ``n``.
    """
    runs = _runs(table, metric)
    by = {key: group for key, group in runs.groupby(["experiment", "benchmark"], sort=False)}
    rows = {}
    for (name, bench), group in by.items():
        base = by.get((EXPERIMENTS[name].base, bench))
        if base is None:
            continue
        shared = sorted(set(group["seed"]) & set(base["seed"]))
        if not shared:
            continue
        mine, theirs = (
            _values(g.set_index("seed").loc[shared].reset_index(), metric) for g in (group, base)
        )
        low, high = _interval(mine - theirs, seed)
        rows[name, bench] = {
            "base": EXPERIMENTS[name].base, "factor": group["factor"].iloc[0],
            "setting": group["setting"].iloc[0], "difference": float((mine - theirs).mean()),
            "difference_low": low, "difference_high": high, "n_seeds": len(shared),
            "n": int(group["n"].iloc[0]),
        }  # fmt: skip
    return _indexed(rows)


def difference(
    table: pd.DataFrame,
    metric: str,
    mine: Sequence[str],
    others: Sequence[str] = (),
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean of a measure of sides over some experiments, less that over others if there are any.

    Parameters
    ----------
    table : pandas.DataFrame
        What `results` returned; all of its benchmarks count alike.
    metric : str
        ``"individual"``, ``"pair"`` or ``"relative"``.
    mine, others : sequence of str
        Experiments with the same seeds.
    seed : int
        Of the bootstrap.

    Returns
    -------
    value, low, high : float
        95% over seeds and, independently, over the pairs of all benchmarks. Of three seeds such an
        interval is somewhat too narrow.
    """
    runs = _runs(table, metric).sort_values("seed")
    groups = runs.groupby(["experiment", "benchmark"], sort=False)
    found = {key: _values(group, metric) for key, group in groups}
    benchmarks = runs["benchmark"].unique()

    def mean(names: Sequence[str]) -> np.ndarray:
        each = [np.hstack([found[name, bench] for bench in benchmarks]) for name in names]
        return np.mean(each, axis=0)

    values = mean(mine) - (mean(others) if others else 0)
    low, high = _interval(values, seed)
    return float(values.mean()), float(low), float(high)


def _runs(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    found = table[table["metric"] == metric]
    if found.empty:
        known = ", ".join(table["metric"].unique())
        raise ValueError(f"no rows of metric {metric!r}; there are {known}")
    return found.drop_duplicates(["experiment", "seed", "benchmark"])  # families share runs


def _values(group: pd.DataFrame, metric: str) -> np.ndarray:
    """Values (seeds, pairs), or (seeds, 1) where runs keep a mean alone."""
    if metric not in _DIGITS:
        return group["value"].to_numpy()[:, None]
    right = np.array([[int(digit) for digit in text] for text in group["per_pair"]])
    if metric == "relative":  # one decision a pair
        return right.astype(float)
    return (right == 2).astype(float) if metric == "pair" else right / 2


def _interval(values: np.ndarray, seed: int) -> np.ndarray:
    """95% of the means of resampled rows and columns of values (seeds, pairs): low, high.

    NaN for a single value.
    """
    if values.size == 1:
        return np.array([np.nan, np.nan])
    rows, columns = _weights(*values.shape, seed)
    return np.percentile(((rows @ values) * columns).sum(1), (2.5, 97.5))


@lru_cache
def _weights(seeds: int, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How much each row and each column counts in each resample."""
    rng = np.random.default_rng(seed)
    return tuple(rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n for n in (seeds, pairs))


def _indexed(rows: dict) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(rows, names=["experiment", "benchmark"])
    return pd.DataFrame(list(rows.values()), index=index)
