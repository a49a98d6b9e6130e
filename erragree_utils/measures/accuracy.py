"""Individual, pair and set accuracy, with 95% intervals and chance levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from .decisions import predict
from .intervals import bootstrap_mean, bootstrap_share, wilson
from .predictions import refuse_duplicates, validate


def summarize(
    table: pd.DataFrame, by: str | Sequence[str] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Individual and pair accuracy; of relative preferences, the share of pairs that are right.

    Parameters
    ----------
    table : pandas.DataFrame
        What `score`, `evaluate`, `predict`, `prefer` or `match` returned; tables may be
        concatenated.
    by : str or list of str, optional
        Columns to group by. A table of several models or methods needs them here.
    seed : int
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        A row for each group, which is the index (``"all"`` without `by`): ``n_pairs``,
        ``n_images``, ``individual_accuracy`` and ``pair_accuracy``, each with ``_low`` and
        ``_high``, ``individual_chance`` and ``pair_chance``. Of preferences ``n_pairs``,
        ``n_ties``, ``relative_accuracy`` with ``_low`` and ``_high``, ``relative_chance``. Of
        matches in both directions ``n_pairs``, and ``text_score``, ``image_score`` and
        ``group_score``, each with ``_low`` and ``_high``, with ``text_chance`` and so on.

    Notes
    -----
    Individual accuracy has `bootstrap_share`'s interval over pairs. Pair and relative accuracy have
    Wilson's, and so have scores; the first is NaN where pairs have one image. Chance is that of
    independent, uniform guesses; of scores, that of four random numbers, of which the two right
    ones are above both others in one of six orders.
    """
    if "own" in table:
        table = predict(table)
    if "signal" in table:
        return _by_group(table, by, _preference_row)
    if "text_correct" in table:
        return _by_group(table, by, _match_row)
    return _by_group(table, by, lambda group: _pair_row(group, seed))


def summarize_sets(pred: pd.DataFrame, by: str | Sequence[str] | None = None) -> pd.DataFrame:
    """Set accuracy: all images of a set right (What'sUp: four).

    Takes what `summarize` takes, for whole sets, and returns ``n_sets``, ``set_accuracy`` with
    ``_low`` and ``_high`` (Wilson), and ``set_chance``. A group by relation would leave halves of
    sets, and is refused.
    """
    return _by_group(pred, by, _set_row)


def summarize_questions(pred: pd.DataFrame, by: str | Sequence[str] | None = None) -> pd.DataFrame:
    """NaturalBench's accuracies of sets with two questions about the same two images.

    Takes what `summarize` takes, and returns ``n_sets`` and, each with ``_low``, ``_high`` and its
    chance level: ``question_accuracy`` (both images right), ``image_accuracy`` (both questions) and
    ``group_accuracy`` (all four). Intervals are Wilson's for the group; for questions and images,
    two of a set, those of `bootstrap_share` over sets.
    """
    if "own" in pred:
        pred = predict(pred)
    return _by_group(pred, by, _question_row)


def summarize_draws(tables: Sequence[pd.DataFrame], seed: int = 0) -> dict[str, float]:
    """Individual and pair accuracy over several draws of sampled answers to the same questions.

    Parameters
    ----------
    tables : sequence of pandas.DataFrame
        What `predict` returned for each draw, of the same pairs.

    Returns
    -------
    dict
        What a row of `summarize` has, where each accuracy is the mean over draws and its interval
        is a bootstrap over pairs of each pair's mean (Wilson's where all pairs are alike); further
        ``_lowest`` and ``_highest``, the least and the greatest accuracy of one draw, and
        ``n_draws``.
    """
    rows = pd.concat([summarize(table) for table in tables], ignore_index=True)
    pairs = [set(table["pair_id"]) for table in tables]
    if any(mine != pairs[0] for mine in pairs):
        raise ValueError("the draws are of different pairs: give tables of the same ones")
    right = pd.concat(
        [table.groupby("pair_id")["correct"].agg(["mean", "all"]) for table in tables]
    )
    of_pair = right.astype(float).groupby(level=0).mean()
    out = rows.iloc[0].to_dict() | {"n_draws": len(tables)}
    for kind, column in (("individual", "mean"), ("pair", "all")):
        name = f"{kind}_accuracy"
        if rows[name].isna().any() or len(of_pair) < 2:
            continue
        values = of_pair[column].to_numpy()
        low, high = bootstrap_mean(values, seed)[["mean_low", "mean_high"]]
        if len(set(values)) == 1:  # every resample is alike
            low, high = wilson(float(values[0]), len(values))
        out |= {name: values.mean(), f"{name}_low": low, f"{name}_high": high}
        out |= {f"{name}_lowest": rows[name].min(), f"{name}_highest": rows[name].max()}
    return out


def as_percent(summary: pd.DataFrame) -> pd.DataFrame:
    """A summary as text: each accuracy in per cent with its interval, beside its chance level.

    Takes what `summarize` or `summarize_sets` returned, and gives the number of pairs or sets, then
    columns such as ``individual accuracy`` (``"49.0 [46.5, 51.5]"``) and ``individual chance``;
    kinds of accuracy that are NaN throughout are left out.
    """
    names = [name for name in summary if name.endswith(("_accuracy", "_score"))]
    if not names:
        raise ValueError("the summary has no accuracies: give what summarize returned")
    table = summary.filter(regex="^n_(pairs|sets)$").astype(int)
    table.columns = [name.removeprefix("n_") for name in table]
    for column in names:
        if summary[column].isna().all():
            continue
        kind = column.rpartition("_")[0]
        table[column.replace("_", " ")] = _with_interval(summary, column)
        table[f"{kind} chance"] = (100 * summary[f"{kind}_chance"]).map("{:.3g}".format)
    return table


def in_percent(table: pd.DataFrame, names: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Shares as text in per cent, with their intervals where the table has them.

    `names` maps columns to how readers know them, by default to themselves; ends of intervals are
    the columns with ``_low`` and ``_high``. A share that was not measured is empty.
    """
    names = names or {column: column for column in table}
    shown = {f"{name} (%)": _with_interval(table, column) for column, name in names.items()}
    return pd.DataFrame(shown, index=table.index)


def in_digits(table: pd.DataFrame, names: Mapping[str, str], digits: int = 3) -> pd.DataFrame:
    """Numbers that are no shares, such as cosines, as text: what `in_percent` is to shares."""
    shown = {name: _with_interval(table, column, 1, digits) for column, name in names.items()}
    return pd.DataFrame(shown, index=table.index)


def _with_interval(
    table: pd.DataFrame, column: str, factor: int = 100, digits: int = 1
) -> pd.Series:
    """A number as text, by default in per cent, with its interval where the table has one."""

    def text(name: str) -> pd.Series:
        return (factor * table[name].astype(float)).map(f"{{:.{digits}f}}".format)

    number = text(column)
    if f"{column}_low" in table:
        number += " [" + text(f"{column}_low") + ", " + text(f"{column}_high") + "]"
    return number.where(table[column].notna(), "")


def _by_group(
    pred: pd.DataFrame,
    by: str | Sequence[str] | None,
    row: Callable[[pd.DataFrame], dict[str, float]],
) -> pd.DataFrame:
    pred = validate(pred)
    columns = [by] if isinstance(by, str) else [] if by is None else list(by)
    missing = [name for name in columns if name not in pred]
    if missing:
        raise ValueError(f"no column {missing[0]!r} to group by; there are {', '.join(pred)}")
    by = columns[0] if len(columns) == 1 else columns
    groups = pred.groupby(by, sort=False, dropna=False, observed=True) if by else [("all", pred)]
    rows = {}
    for key, group in groups:
        refuse_duplicates(group)
        rows[key] = row(group)
    return pd.DataFrame(rows.values(), index=pd.Index(list(rows))).rename_axis(columns or None)


def _pair_row(group: pd.DataFrame, seed: int) -> dict[str, float]:
    pairs = _units(group, "pair_id")
    right, total = pairs["right"].to_numpy(int), pairs["total"].to_numpy(int)
    individual = group["correct"].mean(), *bootstrap_share(right, total, seed)
    both = (np.nan,) * 4
    if not (total == 1).all():
        if (total != 2).any():
            odd = pairs[total != 2].iloc[0]
            raise ValueError(
                f"pair {odd.name!r} has {odd['total']:.0f} rows where others have two images: rows "
                "are missing, or single images are among pairs; group by a column that tells them "
                "apart"
            )
        share = (right == total).mean()
        both = share, *wilson(share, len(pairs)), pairs["chance"].mean()
    return {
        "n_pairs": len(pairs),
        "n_images": len(group),
        **_columns("individual", *individual, (1 / group["n_options"]).mean()),
        **_columns("pair", *both),
    }


def _preference_row(group: pd.DataFrame) -> dict[str, float]:
    share, n = group["correct"].mean(), len(group)
    columns = _columns("relative", share, *wilson(share, n), group["chance"].mean())
    return {"n_pairs": n, "n_ties": int(group["tie"].sum())} | columns


def _match_row(group: pd.DataFrame) -> dict[str, float]:
    row: dict[str, float] = {"n_pairs": len(group)}
    chances = {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6}
    for kind, chance in chances.items():
        share = group["correct" if kind == "group" else f"{kind}_correct"].mean()
        low, high = wilson(share, len(group))
        name = f"{kind}_score"
        row |= {name: share, f"{name}_low": low, f"{name}_high": high, f"{kind}_chance": chance}
    return row


def _question_row(group: pd.DataFrame) -> dict[str, float]:
    shapes = group.groupby("set_id").agg(
        questions=("pair_id", "nunique"),
        images=("image_index", "nunique"),
        rows=("correct", "size"),
    )
    odd = shapes[(shapes != [2, 2, 4]).any(axis=1)]
    if len(odd):
        raise ValueError(
            f"set {odd.index[0]!r} has {odd.iloc[0]['rows']} answers, not those to two questions "
            "about each of two images: give a table of NaturalBench, of one model and method"
        )
    row: dict[str, float] = {"n_sets": len(shapes)}
    for kind, unit in (("question", "pair_id"), ("image", "image_index")):
        both = group.groupby(["set_id", unit])["correct"].all().groupby("set_id").sum().to_numpy()
        share = bootstrap_share(both, np.full(len(both), 2))
        row |= _columns(kind, both.mean() / 2, *share, 1 / 4)
    share = group.groupby("set_id")["correct"].all().mean()
    return row | _columns("group", share, *wilson(share, len(shapes)), 1 / 16)


def _set_row(group: pd.DataFrame) -> dict[str, float]:
    sets = _units(group, "set_id")
    sizes = sorted(sets["total"].unique())
    if len(sizes) > 1:
        raise ValueError(
            f"sets of {' and '.join(map(str, sizes))} images are mixed: group by model or method, "
            "not by relation, and drop incomplete sets"
        )
    share = (sets["right"] == sets["total"]).mean()
    columns = _columns("set", share, *wilson(share, len(sets)), sets["chance"].mean())
    return {"n_sets": len(sets)} | columns


def _units(group: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Right and all images of each pair or set, and how often guesses get all of them right."""
    return group.assign(chance=1 / group["n_options"]).groupby(unit).agg(
        right=("correct", "sum"), total=("correct", "size"), chance=("chance", "prod")
    )  # fmt: skip


def _columns(kind: str, share: float, low: float, high: float, chance: float) -> dict[str, float]:
    name = f"{kind}_accuracy"
    return {name: share, f"{name}_low": low, f"{name}_high": high, f"{kind}_chance": chance}
