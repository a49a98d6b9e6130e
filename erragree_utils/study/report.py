"""Turn stored results into the numbers of the paper's tables, with the paper's own beside ours.

Cells without results are marked as not run. `pages` makes text and figures of the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, product
from typing import Any

import pandas as pd

from ..measures.accuracy import summarize, summarize_draws, summarize_sets
from ..measures.comparison import compare
from ..measures.intervals import bootstrap_mean
from ..paper import PUBLISHED, Published
from ..scale import SCALES
from ..scoring import METHODS
from .store import Results
from .stored import (
    Cell,
    changes,
    clip_text,
    draws_of,
    keys_of,
    predictions,
    scores,
    settings_text,
)
from .sweep import SWEEP, held_out
from .tables import SEEDS, TABLES, Table
from .tasks import default_models

#: Kinds of accuracy, each with its own chance level. ``relative`` is that of relative preference,
#: which compares the images of a pair and makes one decision.
KINDS = ("individual", "pair", "set", "relative")
UNRUN = "not run"
_READERS = {"clip": "CLIP", "mllm": "MLLM"}  # at small scale it isn't a LLaVA


def cells(results: Results, scale: str) -> pd.DataFrame:
    """Every row of every table of a scale, as numbers.

    Returns
    -------
    pandas.DataFrame
        ``table``, ``benchmark``, ``relation`` (``"all"`` for all together), ``reader``, ``model``,
        ``method``, ``settings`` (those that differ from the usual ones), ``text`` (what CLIP read
        for pairs with questions), ``precision``, ``key`` (several, separated by spaces, if answers
        were drawn with several seeds), ``status`` (``"run"``, ``"partly run"``, ``"not run"``),
        ``n_draws``, ``n_sets`` and ``of_sets``, ``n_skipped``, ``n_unparsed`` (written answers that
        don't name exactly one option; they count as wrong), ``n_ties`` of a relative preference;
        for each kind of accuracy (individual, pair, set, relative) the columns that `summarize`
        has, and ``paper_KIND`` (a share), ``paper_KIND_text`` (with the grade) and
        ``difference_KIND`` (ours minus the paper's, only for complete results of the paper's own
        models and images). Over several draws, accuracies are means, and ``_lowest`` and
        ``_highest`` are the extremes. Prompts with two images add ``first_accuracy`` and
        ``second_accuracy``, of images by their place in the prompt, and ``place_bias``, the first
        less the second, with ``_low`` and ``_high``. A relative preference has only a relative
        accuracy, since its chance level differs. Results of different settings have their own rows.
    """
    _check_scale(scale)
    rows: list[dict[str, Any]] = []
    for table in TABLES:
        for cell in _table_cells(table, scale):
            head = {
                "table": table.name, "benchmark": cell.benchmark, "reader": _READERS[cell.role],
                "method": cell.method,
            }  # fmt: skip
            draws = draws_of(results, cell)
            if not any(_is_default(results, keys[0], scale) for keys in draws):
                rows += [head | row for row in _unrun_rows(table, cell, scale)]
            for keys in draws:
                rows += [head | row for row in _rows(results, keys, table, scale)]
    table = pd.DataFrame(rows).reindex(columns=_COLUMNS)
    return table.astype({name: "Int64" for name in _COUNTS})


_COUNTS = ("n_draws", "n_sets", "of_sets", "n_skipped", "n_unparsed", "n_ties")
PLACES = ("first_accuracy", "second_accuracy", "place_bias", "place_bias_low", "place_bias_high")
_COLUMNS = [
    "table", "benchmark", "relation", "reader", "model", "method", "settings", "text", "precision",
    "key", "status", *_COUNTS,
    *(f"{kind}_{what}" for kind in KINDS
      for what in ("accuracy", "accuracy_low", "accuracy_high", "chance")),
    *(f"{kind}_accuracy_{end}" for kind in KINDS[:2] for end in ("lowest", "highest")),
    *PLACES,
    *(f"{what}_{kind}{end}" for kind in KINDS
      for what, end in (("paper", ""), ("paper", "_text"), ("difference", ""))),
]  # fmt: skip


def _check_scale(scale: str) -> None:
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {', '.join(SCALES)}")


def _table_cells(table: Table, scale: str) -> list[Cell]:
    return [
        Cell(benchmark, method, role)
        for benchmark, method in product(table.benchmarks.get(scale, ()), table.methods)
        for role in METHODS[method].roles
    ]


def _is_default(results: Results, key: str, scale: str) -> bool:
    """Whether the results are those of the scale's own model with the method's usual settings."""
    role = results.settings[key]["model"]["role"]
    usual = not changes(results.settings[key])
    return usual and results.about[key]["asked"] == _usual_model(scale, role)


def _usual_model(scale: str, role: str) -> str:
    return next(x.name for x in default_models(SCALES[scale]) if x.role == role)


def _rows(
    results: Results, keys: Sequence[str], table: Table, scale: str
) -> Iterator[dict[str, Any]]:
    """The rows of one combination of settings; several keys if answers were drawn several times."""
    settings, preds = results.settings[keys[0]], [predictions(results, key) for key in keys]
    cell, of_sets = Cell.of(settings), settings["benchmark"]["n_sets"]
    # Only draws that have got as far as the first, which has got furthest.
    sets = [set(pred["set_id"]) for pred in preds]
    keys = [key for key, mine in zip(keys, sets, strict=True) if mine == sets[0]]
    preds = [pred for pred, mine in zip(preds, sets, strict=True) if mine == sets[0]]
    whole = len(sets[0]) == of_sets and len(keys) >= SEEDS.get(cell.method, 1)
    head = {
        "model": settings["model"]["name"],
        "settings": settings_text(settings),
        "text": clip_text(settings),
        "precision": settings["model"]["quantization"] or settings["model"]["dtype"],
        "key": " ".join(keys),
        "status": "run" if whole else "partly run",
        "of_sets": of_sets,
        "n_skipped": sum(len(results.skipped.get(key, ())) for key in keys),
    }
    for relation in [*_relations(preds[0], table), "all"]:
        parts = [p if relation == "all" else p[p["relation"] == relation] for p in preds]
        row = head | {"relation": relation, "n_sets": parts[0]["set_id"].nunique()}
        if "parsed" in parts[0]:
            row["n_unparsed"] = sum(int((~part["parsed"]).sum()) for part in parts)
        one = len(parts) == 1
        row |= summarize(parts[0]).iloc[0].to_dict() if one else summarize_draws(parts)
        if "correct_first" in parts[0]:
            row |= _places(parts[0])
        if table.sets and relation == "all":
            row |= summarize_sets(parts[0]).iloc[0].to_dict()
        if _is_default(results, keys[0], scale):
            row |= _paper(row, table, cell, scale)
        yield row


def _relations(pred: pd.DataFrame, table: Table) -> list[str]:
    """Relations that a table distinguishes. MMVP's only one, "not annotated", says nothing."""
    names = list(pred["relation"].unique()) if table.relations else []
    return names if table.relations == "rows" or len(names) > 1 else []


def _places(part: pd.DataFrame) -> dict[str, float]:
    """Accuracies by the image's place in a prompt of two, and their difference."""
    first, second = part["correct_first"], part["correct_second"]
    row = {"first_accuracy": first.mean(), "second_accuracy": second.mean()}
    gain = (first.astype(float) - second).groupby(part["pair_id"]).mean()
    if len(gain) > 1:
        bias = bootstrap_mean(gain.to_numpy())
        row |= {name.replace("mean", "place_bias"): value for name, value in bias.items()}
    return row


def _unrun_rows(table: Table, cell: Cell, scale: str) -> Iterator[dict[str, Any]]:
    """Rows for a cell without results: one for each relation for which the paper has a number."""
    model = _usual_model(scale, cell.role)
    known = [number.relation for number in _reported(table, cell, scale)]
    for relation in dict.fromkeys([*known, "all"]):
        row = {"relation": relation, "model": model, "status": UNRUN}
        yield row | _paper(row, table, cell, scale)


def _reported(table: Table, cell: Cell, scale: str) -> list[Published]:
    """The paper's numbers for a cell, or for the paper's benchmark that the cell mirrors."""
    place = table.benchmarks[scale].index(cell.benchmark)
    theirs = table.benchmarks.get("paper", table.benchmarks[scale])[place]
    return [
        number
        for number in PUBLISHED
        if (number.benchmark, number.role) == (theirs, cell.role) and cell.method in number.methods
    ]


def _paper(row: dict[str, Any], table: Table, cell: Cell, scale: str) -> dict[str, Any]:
    """The paper's numbers for a row, and how far ours are from them."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        numbers = [
            number
            for number in _reported(table, cell, scale)
            if (number.relation, number.kind) == (row["relation"], kind)
            # If CLIP read another text, a number doesn't apply.
            if row["status"] == UNRUN or number.text in ("", row["text"])
        ]
        if not numbers:
            continue
        found[f"paper_{kind}"] = numbers[0].value
        found[f"paper_{kind}_text"] = ", ".join(f"{100 * n.value:.1f} [{n.grade}]" for n in numbers)
        if scale == "paper" and row["status"] == "run":
            found[f"difference_{kind}"] = row[f"{kind}_accuracy"] - numbers[0].value
    return found


def comparisons(results: Results, scale: str) -> pd.DataFrame:
    """Compare two readers on the same images, for the pairs of methods that the tables name.

    Parameters
    ----------
    results : Results
    scale : str

    Returns
    -------
    pandas.DataFrame
        ``table``, ``benchmark``, ``relation``, ``first``, ``second``, ``key_first``,
        ``key_second``, and the columns of `compare` (second minus first, unit pair, on the sets
        that both have), and ``chance``, which is the same for both accuracies.
    """
    _check_scale(scale)
    rows = []
    for table in TABLES:
        for benchmark, contest in product(table.benchmarks.get(scale, ()), table.compare):
            for a, b in _contestants(benchmark, *contest):
                keys = product(keys_of(results, a), keys_of(results, b))
                rows += _contests(results, table, benchmark, keys)
    columns = ["table", "benchmark", "relation", "first", "second", "key_first", "key_second"]
    return pd.DataFrame(rows, columns=None if rows else columns)


def _contestants(benchmark: str, first: str, second: str) -> list[tuple[Cell, Cell]]:
    """The cells to compare; for a method with itself, one for each kind of model."""
    sides = [[Cell(benchmark, name, r) for r in METHODS[name].roles] for name in (first, second)]
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
    settings = results.settings[key]
    changed = settings_text(settings | {"benchmark": {"options": {}}})
    name = f"{_READERS[settings['model']['role']]} {settings['method']['name']}"
    return f"{name} ({changed})" if changed else name


def sweeps(results: Results, scale: str) -> pd.DataFrame:
    """Contrastive decoding with a setting chosen on other pairs, compared with no correction.

    Returns
    -------
    pandas.DataFrame
        The columns of `sweep.held_out` (second minus first, unit pair), with ``benchmark``,
        ``model``, ``key``, ``status`` and ``family``.
    """
    _check_scale(scale)
    tables = []
    for key in keys_of(results, Cell(SCALES[scale].mmvp, SWEEP, "mllm")):
        settings, whole = results.settings[key], results.settings[key]["benchmark"]["n_sets"]
        table = held_out(scores(results, key))
        if len(table) == 0:  # too few pairs so far
            continue
        table = table.rename_axis("family").reset_index()
        head = {
            "benchmark": settings["benchmark"]["name"], "model": settings["model"]["name"],
            "key": key, "status": "run" if len(results.items[key]) == whole else "partly run",
        }  # fmt: skip
        tables.append(table.assign(**head))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def disagreements(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `cells` where the paper's number lies outside the 95% interval of ours.

    Returns
    -------
    pandas.DataFrame
        A row for each kind of accuracy: ``benchmark``, ``relation``, ``reader``, ``method``,
        ``kind``, ``accuracy`` with ``_low`` and ``_high``, ``paper`` and ``paper_text``.
    """
    found = []
    for kind in KINDS:
        ours = [f"{kind}_accuracy{end}" for end in ("", "_low", "_high")]
        part = rows[[*_WHERE, *ours, f"paper_{kind}", f"paper_{kind}_text"]]
        part = part.set_axis([*_WHERE, *(n.removeprefix(f"{kind}_") for n in ours), "paper",
                              "paper_text"], axis=1)  # fmt: skip
        found.append(part[
            (part["paper"] < part["accuracy_low"]) | (part["paper"] > part["accuracy_high"])
        ].assign(kind=kind))  # fmt: skip
    return pd.concat(found).sort_index(kind="stable").reset_index(drop=True)


_WHERE = ["benchmark", "relation", "reader", "method"]


def provenance(results: Results, keys: Iterable[str] | None = None) -> pd.DataFrame:
    """What each key stands for, and where and when its results were computed.

    Parameters
    ----------
    results : Results
    keys : iterable of str, optional
        By default all that have results.

    Returns
    -------
    pandas.DataFrame
        A row of text for each key.
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
    """Reported numbers for which no table of this version has a measurement."""
    held = {cell for table in TABLES for scale in SCALES for cell in _table_cells(table, scale)}
    return [
        n
        for n in PUBLISHED
        if not any(Cell(n.benchmark, method, n.role) in held for method in n.methods)
    ]
