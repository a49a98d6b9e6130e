"""From stored results to the paper's tables, with the paper's numbers beside ours.

Tables are pandas tables of numbers first (`cells`, `comparisons`), then text (`shown`,
`to_markdown`), CSV (`to_csv`) or pictures (`figures`). A cell that nobody has run says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..measures.metrics import (
    as_percent,
    as_points,
    bootstrap_mean,
    compare,
    summarize,
    summarize_sets,
    wilson,
)
from ..paper import GRADES, PUBLISHED, Published
from ..scale import SCALES
from .store import Results
from .study import METHODS, TABLES, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Kinds of accuracy, each with a chance level of its own. ``relative``: of relative preference, for
#: which the images of a pair are compared and one decision is made.
_KINDS = ("individual", "pair", "set", "relative")
_UNRUN = "not run"
_READERS = {"clip": "CLIP", "mllm": "LLaVA"}


# --- numbers -------------------------------------------------------------------------------------


def cells(results: Results, scale: str) -> pd.DataFrame:
    """Every row of every table of a scale, as numbers.

    Parameters
    ----------
    results : Results
        What `store.read` returned.
    scale : str

    Returns
    -------
    pandas.DataFrame
        ``table``, ``benchmark``, ``relation`` (``"all"`` for all together), ``reader``, ``model``,
        ``method``, ``precision``, ``key``, ``status`` (``"run"``, ``"partly run"``,
        ``"not run"``), ``n_sets`` and ``of_sets``, ``n_skipped``, ``n_unparsed`` (generated answers
        that name no one option; they count as wrong), ``n_ties`` of a relative preference; for each
        kind of accuracy (individual, pair, set, relative) the columns that `metrics.summarize` has,
        and ``paper_KIND`` (a share), ``paper_KIND_text`` (with the grade) and ``difference_KIND``
        (ours minus the paper's: for complete results of the paper's own models and images alone).
        Prompts with two images add ``first_accuracy`` and ``second_accuracy``, of images by their
        place in the prompt, and ``place_bias``, the first less the second, with ``_low`` and
        ``_high``. A relative preference has a relative accuracy and no other, as its chance level
        is another one. Results of different settings have rows of their own.

    Raises
    ------
    ValueError
        If there is no such scale.
    """
    _check_scale(scale)
    rows: list[dict[str, Any]] = []
    for table in TABLES:
        for cell in _table_cells(table, scale):
            head = {
                "table": table.name, "benchmark": cell.benchmark, "reader": _READERS[cell.role],
                "method": cell.method,
            }  # fmt: skip
            keys = _keys(results, cell)
            if not any(_is_default(results, key, scale) for key in keys):
                rows += [head | row for row in _unrun_rows(table, cell, scale)]
            for key in keys:
                rows += [head | row for row in _rows(results, key, table, scale)]
    table = pd.DataFrame(rows).reindex(columns=_COLUMNS)
    return table.astype({name: "Int64" for name in _COUNTS})


_COUNTS = ("n_sets", "of_sets", "n_skipped", "n_unparsed", "n_ties")
_PLACES = ("first_accuracy", "second_accuracy", "place_bias", "place_bias_low", "place_bias_high")
_COLUMNS = [
    "table", "benchmark", "relation", "reader", "model", "method", "precision", "key", "status",
    *_COUNTS,
    *(f"{kind}_{what}" for kind in _KINDS
      for what in ("accuracy", "accuracy_low", "accuracy_high", "chance")),
    *_PLACES,
    *(f"{what}_{kind}{end}" for kind in _KINDS
      for what, end in (("paper", ""), ("paper", "_text"), ("difference", ""))),
]  # fmt: skip


def _check_scale(scale: str) -> None:
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {', '.join(SCALES)}")


@dataclass(frozen=True)
class _Cell:
    """One benchmark read in one way by one kind of model."""

    benchmark: str
    method: str
    role: str

    @staticmethod
    def of(settings: Mapping[str, Any]) -> _Cell:
        """The cell that results of these settings belong to."""
        parts = (settings["benchmark"]["name"], settings["method"]["name"])
        return _Cell(*parts, settings["model"]["role"])


def _table_cells(table: Table, scale: str) -> list[_Cell]:
    return [
        _Cell(benchmark, method, role)
        for benchmark, method in product(table.benchmarks.get(scale, ()), table.methods)
        for role in METHODS[method].roles
    ]


def _keys(results: Results, cell: _Cell) -> list[str]:
    """Settings with results for a cell, those with most of them first."""
    found = [
        key
        for key, settings in results.settings.items()
        if _Cell.of(settings) == cell and results.items.get(key)
    ]
    return sorted(found, key=lambda key: (-len(results.items[key]), key))


def _is_default(results: Results, key: str, scale: str) -> bool:
    """Whether results are of the scale's own model."""
    role = results.settings[key]["model"]["role"]
    return results.about[key]["asked"] == getattr(SCALES[scale], role)


def predictions(results: Results, key: str) -> pd.DataFrame:
    """The table of a key as `runner.evaluate` returned it, with model and method."""
    settings = results.settings[key]
    table = results.table(key)
    table.insert(4, "model", settings["model"]["name"])
    table.insert(5, "method", settings["method"]["name"])
    return table


def _rows(results: Results, key: str, table: Table, scale: str) -> Iterator[dict[str, Any]]:
    settings, pred = results.settings[key], predictions(results, key)
    of_sets, n_sets = settings["benchmark"]["n_sets"], pred["set_id"].nunique()
    head = {
        "model": settings["model"]["name"],
        "precision": settings["model"]["quantization"] or settings["model"]["dtype"],
        "key": key,
        "status": "run" if n_sets == of_sets else "partly run",
        "of_sets": of_sets,
        "n_skipped": len(results.skipped.get(key, ())),
    }
    cell = _Cell.of(settings)
    for relation in [*_relations(pred, table), "all"]:
        part = pred if relation == "all" else pred[pred["relation"] == relation]
        row = head | {"relation": relation, "n_sets": part["set_id"].nunique()}
        if "parsed" in part:
            row["n_unparsed"] = int((~part["parsed"]).sum())
        row |= _accuracies(part, METHODS[cell.method].decides)
        if table.sets and relation == "all":
            row |= summarize_sets(part).iloc[0].to_dict()
        if _is_default(results, key, scale):
            row |= _paper(row, table, cell, scale)
        yield row


def _relations(pred: pd.DataFrame, table: Table) -> list[str]:
    """Relations that a table tells apart. MMVP has one, "not annotated", which tells nothing."""
    names = list(pred["relation"].unique()) if table.relations else []
    return names if table.relations == "rows" or len(names) > 1 else []


def _accuracies(part: pd.DataFrame, decides: str) -> dict[str, Any]:
    """The numbers of a row, by what was decided."""
    if decides == "pair":
        share = part["correct"].mean()
        low, high = wilson(share, len(part))
        return {
            "n_ties": int((part["score_own"] == part["score_other"]).sum()),
            "relative_accuracy": share, "relative_accuracy_low": low,
            "relative_accuracy_high": high, "relative_chance": (1 / part["n_options"]).mean(),
        }  # fmt: skip
    row = summarize(part).iloc[0].to_dict()
    if "correct_first" not in part:
        return row
    places = [part["correct_first"], part["correct_second"]]
    row |= {"first_accuracy": places[0].mean(), "second_accuracy": places[1].mean()}
    gain = (places[0].astype(float) - places[1]).groupby(part["pair_id"]).mean()
    if len(gain) > 1:
        bias = bootstrap_mean(gain.to_numpy())
        row |= {name.replace("mean", "place_bias"): value for name, value in bias.items()}
    return row


def _unrun_rows(table: Table, cell: _Cell, scale: str) -> Iterator[dict[str, Any]]:
    """Rows for a cell without results: one for each relation of which the paper has a number."""
    model = getattr(SCALES[scale], cell.role)
    known = [number.relation for number in _reported(table, cell, scale)]
    for relation in dict.fromkeys([*known, "all"]):
        row = {"relation": relation, "model": model, "status": _UNRUN}
        yield row | _paper(row, table, cell, scale)


def _reported(table: Table, cell: _Cell, scale: str) -> list[Published]:
    """The paper's numbers for a cell, or for that of the paper's benchmark which it mirrors."""
    place = table.benchmarks[scale].index(cell.benchmark)
    theirs = table.benchmarks.get("paper", table.benchmarks[scale])[place]
    return [
        number
        for number in PUBLISHED
        if (number.benchmark, number.role) == (theirs, cell.role) and cell.method in number.methods
    ]


def _paper(row: dict[str, Any], table: Table, cell: _Cell, scale: str) -> dict[str, Any]:
    """The paper's numbers for a row, and how far ours are from them."""
    found: dict[str, Any] = {}
    for kind in _KINDS:
        numbers = [
            number
            for number in _reported(table, cell, scale)
            if (number.relation, number.kind) == (row["relation"], kind)
        ]
        if not numbers:
            continue
        found[f"paper_{kind}"] = numbers[0].value
        found[f"paper_{kind}_text"] = ", ".join(f"{100 * n.value:.1f} [{n.grade}]" for n in numbers)
        if scale == "paper" and row["status"] == "run":
            found[f"difference_{kind}"] = row[f"{kind}_accuracy"] - numbers[0].value
    return found


def comparisons(results: Results, scale: str) -> pd.DataFrame:
    """Two readers on the same images, for the pairs of methods that the tables name.

    Parameters
    ----------
    results : Results
    scale : str

    Returns
    -------
    pandas.DataFrame
        ``table``, ``benchmark``, ``relation``, ``first``, ``second``, ``key_first``,
        ``key_second``, and the columns of `metrics.compare` (second minus first, unit pair, on the
        sets that both have), and ``chance``, that of both accuracies.
    """
    _check_scale(scale)
    rows = []
    for table in TABLES:
        for benchmark, contest in product(table.benchmarks.get(scale, ()), table.compare):
            for a, b in _contestants(benchmark, *contest):
                keys = product(_keys(results, a), _keys(results, b))
                rows += _contests(results, table, benchmark, keys)
    columns = ["table", "benchmark", "relation", "first", "second", "key_first", "key_second"]
    return pd.DataFrame(rows, columns=None if rows else columns)


def _contestants(benchmark: str, first: str, second: str) -> list[tuple[_Cell, _Cell]]:
    """The cells that are compared; of a method with itself, the kinds of models."""
    sides = [[_Cell(benchmark, name, r) for r in METHODS[name].roles] for name in (first, second)]
    return list(combinations(sides[0], 2) if first == second else product(*sides))


def _contests(
    results: Results, table: Table, benchmark: str, keys: Iterable[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    for key_a, key_b in keys:
        if results.settings[key_a]["benchmark"] != results.settings[key_b]["benchmark"]:
            continue
        head = {
            "table": table.name, "benchmark": benchmark, "first": _label(results, key_a),
            "second": _label(results, key_b), "key_first": key_a, "key_second": key_b,
        }  # fmt: skip
        yield from (head | row for row in _compared(results, key_a, key_b, table))


def _compared(results: Results, key_a: str, key_b: str, table: Table) -> Iterator[dict[str, Any]]:
    first, second = predictions(results, key_a), predictions(results, key_b)
    common = set(first["set_id"]) & set(second["set_id"])
    if not common:
        return
    first, second = (pred[pred["set_id"].isin(common)] for pred in (first, second))
    relations = _relations(first, table) if table.relations == "rows" else []
    for relation in [*relations, "all"]:
        parts = [p if relation == "all" else p[p["relation"] == relation] for p in (first, second)]
        guesses = (1 / parts[0]["n_options"]).groupby(parts[0]["pair_id"]).prod()
        compared = compare(*parts).to_dict()
        yield {"relation": relation} | compared | {"chance": guesses.mean()}


def _label(results: Results, key: str) -> str:
    model, method = results.settings[key]["model"], results.settings[key]["method"]["name"]
    return f"{_READERS[model['role']]} {method}"


def provenance(results: Results, keys: Iterable[str] | None = None) -> pd.DataFrame:
    """What each key stands for, and where and when its results were made.

    Parameters
    ----------
    results : Results
    keys : iterable of str, optional
        By default all that have results.

    Returns
    -------
    pandas.DataFrame
        A row for each key, of text.
    """
    rows = []
    for key in [k for k in results.settings if results.items.get(k)] if keys is None else keys:
        settings = results.settings[key]
        model, bench = settings["model"], settings["benchmark"]
        runs = results.provenance(key)
        options = ", ".join(f"{k}={v}" for k, v in bench["options"].items())
        revision = (model["revision"] or "")[:8]
        rows.append({
            "key": key[:8],
            "benchmark": f"{bench['name']}{f' ({options})' if options else ''}",
            "method": settings["method"]["name"],
            "model": f"{model['name']}{f' @ {revision}' if revision else ''}",
            "weights": model["weights"] or "",
            "precision": " ".join(filter(None, (model["dtype"], model["quantization"]))),
            "package": settings["package"],
            "code": _distinct(run["source"] for run in runs),
            "hardware": _distinct(run["hardware"] for run in runs),
            "time": _distinct(run["time"][:10] for run in runs),
            "seconds": f"{results.seconds(key):.1f}",
            "skipped": len(results.skipped.get(key, ())),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _distinct(values: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def without_protocol() -> list[Published]:
    """Reported numbers that no table of this version can hold a measurement beside."""
    held = {cell for table in TABLES for scale in SCALES for cell in _table_cells(table, scale)}
    return [
        n
        for n in PUBLISHED
        if not any(_Cell(n.benchmark, method, n.role) in held for method in n.methods)
    ]


# --- text ----------------------------------------------------------------------------------------


def shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `cells` for people: per cent, with 95% intervals, beside chance and the paper.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one table.

    Returns
    -------
    pandas.DataFrame of str
        Columns without a number are left out.
    """
    ran = rows["status"] != _UNRUN
    out = rows[["benchmark", "relation", "reader", "model", "method"]].copy()
    # Only told apart where there is more than one.
    cell = ["benchmark", "relation", "reader", "method"]
    if rows.loc[ran].duplicated(cell).any():
        out["precision"] = rows["precision"].fillna("")
        out["key"] = rows["key"].fillna("").str[:8]
    out["sets"] = [
        "" if status == _UNRUN else f"{n}" if status == "run" else f"{n} of {of}"
        for status, n, of in zip(rows["status"], rows["n_sets"], rows["of_sets"], strict=True)
    ]
    first = _first_kind(rows)
    for kind in _KINDS:
        if rows[f"{kind}_accuracy"].notna().any():
            text = _percent(rows, kind)
            out[f"{kind} accuracy"] = text[f"{kind} accuracy"]
            out["chance" if kind == "individual" else f"{kind} chance"] = text[f"{kind} chance"]
        elif kind == first:
            out[f"{kind} accuracy"] = ""
        _add_paper(out, rows, kind)
    for count in ("unparsed", "ties"):
        if rows[f"n_{count}"].fillna(0).any():
            out[count] = rows[f"n_{count}"].astype(object)
    if rows["first_accuracy"].notna().any():
        out["right where first, second"] = _places_text(rows)
    out.loc[~ran, f"{first} accuracy"] = _UNRUN
    return out.fillna("") if ran.any() else out.drop(columns="sets")


def _first_kind(rows: pd.DataFrame) -> str:
    """The kind of accuracy that comes first in a table."""
    of_pairs = [METHODS[name].decides == "pair" for name in rows["method"]]
    return "relative" if of_pairs and all(of_pairs) else "individual"


def _percent(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Text of a kind of accuracy and its chance level, empty where there is none."""
    column = f"{kind}_accuracy"
    names = [column, f"{column}_low", f"{column}_high", f"{kind}_chance"]
    return as_percent(rows[names].astype(float)).where(rows[column].notna(), "")


def _places_text(rows: pd.DataFrame) -> list[str]:
    """Accuracies by the image's place in a prompt of two, and their difference."""
    return [
        ""
        if np.isnan(first)
        else f"{first:.1f}, {second:.1f}: {bias:+.1f} [{low:+.1f}, {high:+.1f}]"
        for first, second, bias, low, high in 100 * rows[list(_PLACES)].to_numpy(float)
    ]


def shown_relations(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by relation, a column for each method: pair accuracy, or the relative one.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of `cells`, of one table and one benchmark.

    Returns
    -------
    pandas.DataFrame of str
        Per cent with 95% intervals; empty if no method has results by relation.
    """
    kind = "relative" if _first_kind(rows) == "relative" else "pair"
    rows = rows[(rows["relation"] != "all") & rows[f"{kind}_accuracy"].notna()]
    label = rows["reader"] + " " + rows["method"]
    cell = ["benchmark", "relation", "reader", "method"]
    if rows.duplicated(cell).any():
        label += " (" + rows["key"].str[:8] + ")"
    table = pd.DataFrame({
        "relation": rows["relation"], "sets": rows["n_sets"], "label": label,
        "text": _percent(rows, kind)[f"{kind} accuracy"] if len(rows) else "",
    })  # fmt: skip
    # Unlike pivot, this keeps the order of relations and methods.
    wide = table.set_index(["relation", "label"])["text"].unstack("label")
    wide = wide.reindex(index=table["relation"].unique(), columns=table["label"].unique())
    wide.insert(0, "sets", table.groupby("relation")["sets"].max())
    return wide.fillna("").rename_axis("relation").reset_index()


def _add_paper(out: pd.DataFrame, rows: pd.DataFrame, kind: str) -> None:
    if rows[f"paper_{kind}"].notna().any():
        out[f"paper, {kind}"] = rows[f"paper_{kind}_text"].fillna("")
    difference = rows[f"difference_{kind}"]
    if difference.notna().any():
        out[f"difference, {kind}"] = [
            "" if np.isnan(d) else f"{100 * d:+.1f}" for d in difference.astype(float)
        ]


def shown_comparisons(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `comparisons` for people: pair accuracies and their difference, in per cent."""
    if len(rows) == 0:  # results of one method alone
        return pd.DataFrame()
    points = as_points(rows)
    return pd.DataFrame({
        "benchmark": rows["benchmark"], "relation": rows["relation"],
        "first": rows["first"], "second": rows["second"], "pairs": rows["n"].astype(int),
        "chance": (100 * rows["chance"].astype(float)).map("{:.3g}".format),
        "first, pair": (100 * rows["accuracy_a"].astype(float)).map("{:.1f}".format),
        "second, pair": (100 * rows["accuracy_b"].astype(float)).map("{:.1f}".format),
        "difference": points["difference"], "p": points["p"],
    })  # fmt: skip


def to_markdown(results: Results, scale: str) -> str:
    """The whole report of a scale.

    Parameters
    ----------
    results : Results
    scale : str

    Returns
    -------
    str
        Markdown: the tables, the readers compared, what was not run, sources, and provenance.
    """
    rows = cells(results, scale)
    parts = [
        f"# Results at {scale} scale",
        "Accuracies in per cent with 95% intervals, beside the chance level. "
        "Numbers of the paper carry the grade of their source; those that we did not find are left "
        "out. A set is four images in What'sUp, a pair of images in MMVP, elsewhere one image."
        + _about_scale(scale),
    ]
    for table in TABLES:
        if scale in table.benchmarks:
            parts += _table_text(table, rows[rows["table"] == table.name])
    compared = comparisons(results, scale)
    if len(compared):
        parts += [
            "## Readers compared on the same images",
            "Pair accuracy (for single images: individual accuracy; of a relative preference: "
            "relative accuracy); chance: of either; difference: the second minus the first, with "
            "a paired bootstrap interval; p: exact McNemar test.",
            markdown_table(shown_comparisons(compared)),
        ]
    parts += [*_unrun_text(rows), *_sources_text(scale), *_provenance_text(results, rows)]
    return "\n\n".join(parts) + "\n"


def _table_text(table: Table, rows: pd.DataFrame) -> list[str]:
    parts = [f"## {table.title}"]
    if table.relations != "apart":
        return [*parts, markdown_table(shown(rows))]
    parts.append(markdown_table(shown(rows[rows["relation"] == "all"])))
    for benchmark, mine in rows.groupby("benchmark", sort=False):
        apart = shown_relations(mine)
        if len(apart):
            kind = "Relative" if _first_kind(mine) == "relative" else "Pair"
            chance = 100 * mine[f"{kind.lower()}_chance"].mean()
            parts += [
                f"{kind} accuracy by visual pattern in {benchmark}, chance {chance:.3g}:",
                markdown_table(apart),
            ]
    return parts


def _about_scale(scale: str) -> str:
    if scale == "paper":
        return ""
    return (
        " The models and images here are not the paper's, so its numbers are for comparison of "
        "kind, not of size; they are those of the benchmark that each of ours mirrors: "
        + ", ".join(
            f"{ours} mirrors {theirs}"
            for ours, theirs in dict.fromkeys(
                pair
                for table in TABLES
                if scale in table.benchmarks
                for pair in zip(table.benchmarks[scale], table.benchmarks["paper"], strict=True)
            )
        )
        + "."
    )


def _unrun_text(rows: pd.DataFrame) -> list[str]:
    unrun, partial = rows[rows["status"] == _UNRUN], rows[rows["status"] == "partly run"]
    parts = []
    if len(unrun):
        names = [f"- {r.benchmark}, {r.reader} {r.model}, {r.method}" for r in unrun.itertuples()]
        parts += ["## Not run", "\n".join(dict.fromkeys(names))]
    if len(partial):
        parts.append("Some cells are run in part: their column *sets* says how many of how many.")
    skipped = rows.drop_duplicates("key")["n_skipped"].sum()
    if skipped:
        parts.append(
            "Sets without results, as an image was damaged or replaced, or a score was no number: "
            f"{skipped}."
        )
    return parts


def _sources_text(scale: str) -> list[str]:
    numbers = without_protocol() if scale == "paper" else []
    lines = [f"- [{grade}] {meaning}" for grade, meaning in GRADES.items()]
    held = [number for number in PUBLISHED if number not in without_protocol()]
    lines += [f"- {number}" for number in held]
    parts = ["## Sources of the paper's numbers", "\n".join(lines)]
    if numbers:
        texts = [f"- {number}" for number in numbers]
        parts += ["Published for what is not part of this study:", "\n".join(texts)]
    return parts


def _provenance_text(results: Results, rows: pd.DataFrame) -> list[str]:
    keys = list(dict.fromkeys(rows["key"].dropna()))
    if not keys:
        return []
    table = provenance(results, keys)
    parts = ["## Settings and provenance", markdown_table(table.drop(columns="code"))]
    codes = dict.fromkeys(run["source"] for key in keys for run in results.provenance(key))
    if len(codes) > 1:
        parts.append(
            f"The package's code was changed between the runs ({len(codes)} states, "
            f"{', '.join(codes)}) without a new version number: check whether the change matters, "
            "or run into a new folder."
        )
    return parts


def markdown_table(table: pd.DataFrame) -> str:
    """A table as Markdown, without its index."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(
        "| " + " | ".join(str(value).replace("|", "\\|") for value in line) + " |" for line in lines
    )


def to_csv(results: Results, scale: str) -> str:
    """The numbers of `cells` as CSV: shares between 0 and 1, in full precision."""
    return cells(results, scale).to_csv(index=False)


# --- pictures ------------------------------------------------------------------------------------


def figures(rows: pd.DataFrame) -> dict[str, Figure]:
    """A picture of each table that has results: dots with intervals, chance, the paper's numbers.

    Parameters
    ----------
    rows : pandas.DataFrame
        What `cells` returned.

    Returns
    -------
    dict of str to matplotlib.figure.Figure
        By the table's name.
    """
    from ..plots import accuracy_bars

    found = {}
    apart = {table.name for table in TABLES if table.relations == "apart"}
    rows = rows[
        (rows["status"] != _UNRUN) & ((rows["relation"] == "all") | ~rows["table"].isin(apart))
    ]
    for name, mine in rows.groupby("table", sort=False):
        kinds = ["relative"] if _first_kind(mine) == "relative" else _KINDS[:-1]
        mine = mine.set_axis(_row_labels(mine))
        others = "|".join(kind for kind in _KINDS if kind not in kinds)
        mine = mine.drop(columns=list(mine.filter(regex=f"^(paper_)?({others})")))
        paper = {
            label: {
                f"{kind}_accuracy": row[f"paper_{kind}"]
                for kind in kinds
                if pd.notna(row[f"paper_{kind}"])
            }
            for label, row in mine.iterrows()
        }
        found[str(name)] = accuracy_bars(mine, paper={k: v for k, v in paper.items() if v} or None)
    return found


def _row_labels(rows: pd.DataFrame) -> Sequence[str]:
    cell = ["benchmark", "relation", "reader", "method"]
    labels = rows[cell].agg(", ".join, axis=1)
    several = labels.duplicated(keep=False)
    return labels.where(~several, labels + " (" + rows["key"].str[:8] + ")").tolist()
