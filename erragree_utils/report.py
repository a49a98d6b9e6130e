"""From stored results to the paper's tables, with the paper's numbers beside ours.

Tables are pandas tables of numbers first (`cells`, `comparisons`), then text (`shown`,
`to_markdown`), CSV (`to_csv`) or pictures (`figures`). A cell that nobody has run says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .metrics import as_percent, compare, summarize, summarize_sets
from .scale import SCALES
from .store import Results
from .study import METHODS, TABLES, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What the letters behind reported numbers mean.
GRADES = {
    "P": "the authors' or an official repository",
    "H": "the paper's public reviews",
    "S": "second-hand notes that quote the paper",
}
_KINDS = ("individual", "pair", "set")
_UNRUN = "not run"
_READERS = {"clip": "CLIP", "mllm": "LLaVA"}


@dataclass(frozen=True)
class Reported:
    """A published number.

    Parameters
    ----------
    benchmark, relation : str
        As `load_benchmark` names them; ``"all"`` for all relations.
    role : str
        ``"clip"``: ViT-L/14 at 336 px; ``"mllm"``: LLaVA-1.5-7B.
    methods : tuple of str
        Those of our methods that it may stand beside.
    kind : {"individual", "pair", "set"}
    value : float
        A share, 0 to 1.
    grade : str
        A key of `GRADES`.
    source : str
    """

    benchmark: str
    relation: str
    role: str
    methods: tuple[str, ...]
    kind: str
    value: float
    grade: str
    source: str


_NOTES = "notes that quote arXiv 2411.05195"
_EITHER = f"{_NOTES}; whether by VQAScore or by prompted answers is not known"
_LATER = f"{_NOTES}, of its later version"

#: The paper's numbers, as far as we found them. One that was not found is not in here.
PAPER = (
    Reported("whatsup-a", "left/right", "clip", ("matching",), "individual", 0.490, "S", _NOTES),
    Reported("whatsup-a", "left/right", "clip", ("matching",), "pair", 0.019, "S", _NOTES),
    Reported("whatsup-b", "left/right", "clip", ("matching",), "pair", 0.108, "S", _LATER),
    Reported(
        "whatsup-a", "left/right", "mllm", ("vqascore", "prompted"), "individual", 0.990, "S",
        _EITHER,
    ),
    Reported(
        "whatsup-a", "left/right", "mllm", ("vqascore", "prompted"), "pair", 0.981, "S", _EITHER
    ),
    Reported("mmvp", "all", "clip", ("matching",), "pair", 0.140, "S", _NOTES),
    Reported("mmvp", "all", "mllm", ("greedy",), "pair", 0.253, "S", _NOTES),
    Reported(
        "mmvp", "all", "mllm", ("greedy",), "pair", 0.247, "P", "MMVP's figure, arXiv 2401.06209"
    ),
    Reported("mmvp", "all", "mllm", ("m3id",), "pair", 0.313, "S", _NOTES),
    Reported(
        "mmvp", "all", "clip", ("relative-preference",), "pair", 0.640, "S",
        f"{_NOTES}; both images are shown, chance is 50%",
    ),
    Reported(
        "mmvp", "all", "mllm", ("relative-preference",), "pair", 0.733, "S",
        f"{_NOTES}; both images are shown, chance is 50%",
    ),
)  # fmt: skip


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
        that name no one option; they count as wrong); for each kind of accuracy the
        columns of `metrics.summarize` and `summarize_sets`, and ``paper_KIND`` (a share),
        ``paper_KIND_text`` (with the grade) and ``difference_KIND`` (ours minus the paper's: for
        complete results of the paper's own models and images alone). Results of different settings
        have rows of their own.

    Raises
    ------
    ValueError
        If there is no such scale.
    """
    _check_scale(scale)
    rows: list[dict[str, Any]] = []
    for table in TABLES:
        for benchmark, method in product(table.benchmarks.get(scale, ()), table.methods):
            role = METHODS[method].role
            head = {
                "table": table.name, "benchmark": benchmark, "reader": _READERS[role],
                "method": method,
            }  # fmt: skip
            keys = _keys(results, benchmark, method)
            if not any(_is_default(results, key, scale) for key in keys):
                rows += [head | row for row in _unrun_rows(table, benchmark, method, scale)]
            for key in keys:
                rows += [head | row for row in _rows(results, key, table, scale)]
    table = pd.DataFrame(rows).reindex(columns=_COLUMNS)
    return table.astype({name: "Int64" for name in _COUNTS})


_COUNTS = ("n_sets", "of_sets", "n_skipped", "n_unparsed")
_COLUMNS = [
    "table", "benchmark", "relation", "reader", "model", "method", "precision", "key", "status",
    "n_sets", "of_sets", "n_skipped", "n_unparsed",
    *(f"{kind}_{what}" for kind in _KINDS
      for what in ("accuracy", "accuracy_low", "accuracy_high", "chance")),
    *(f"{what}_{kind}{end}" for kind in _KINDS
      for what, end in (("paper", ""), ("paper", "_text"), ("difference", ""))),
]  # fmt: skip


def _check_scale(scale: str) -> None:
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {', '.join(SCALES)}")


def _keys(results: Results, benchmark: str, method: str) -> list[str]:
    """Settings with results for a cell, those with most of them first."""
    found = [
        key
        for key, settings in results.settings.items()
        if settings["benchmark"]["name"] == benchmark and settings["method"]["name"] == method
        if results.items.get(key)
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
    paired = pred.groupby("pair_id").size().max() > 1
    relations = list(pred["relation"].unique()) if table.by_relation and paired else []
    for relation in [*relations, "all"]:
        part = pred if relation == "all" else pred[pred["relation"] == relation]
        row = head | {"relation": relation, "n_sets": part["set_id"].nunique()}
        if "parsed" in part:
            row["n_unparsed"] = int((~part["parsed"]).sum())
        row |= summarize(part).iloc[0].to_dict()
        if table.sets and relation == "all":
            row |= summarize_sets(part).iloc[0].to_dict()
        if _is_default(results, key, scale):
            cell = settings["benchmark"]["name"], settings["method"]["name"]
            row |= _paper(row, table, *cell, scale)
        yield row


def _unrun_rows(table: Table, benchmark: str, method: str, scale: str) -> Iterator[dict[str, Any]]:
    """Rows for a cell without results: one for each relation of which the paper has a number."""
    model = getattr(SCALES[scale], METHODS[method].role)
    known = [number.relation for number in _reported(table, benchmark, method, scale)]
    for relation in dict.fromkeys([*known, "all"]):
        row = {"relation": relation, "model": model, "status": _UNRUN}
        yield row | _paper(row, table, benchmark, method, scale)


def _reported(table: Table, benchmark: str, method: str, scale: str) -> list[Reported]:
    """The paper's numbers for a cell, or for that of the paper's benchmark which it mirrors."""
    place = table.benchmarks[scale].index(benchmark)
    theirs = table.benchmarks.get("paper", table.benchmarks[scale])[place]
    return [
        number
        for number in PAPER
        if number.benchmark == theirs
        and method in number.methods
        and number.role == METHODS[method].role
    ]


def _paper(
    row: dict[str, Any], table: Table, benchmark: str, method: str, scale: str
) -> dict[str, Any]:
    """The paper's numbers for a row, and how far ours are from them."""
    found: dict[str, Any] = {}
    for kind in _KINDS:
        numbers = [
            number
            for number in _reported(table, benchmark, method, scale)
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
        sets that both have).
    """
    _check_scale(scale)
    rows = []
    for table in TABLES:
        for benchmark, (a, b) in product(table.benchmarks.get(scale, ()), table.compare):
            keys = product(_keys(results, benchmark, a), _keys(results, benchmark, b))
            for key_a, key_b in keys:
                if results.settings[key_a]["benchmark"] != results.settings[key_b]["benchmark"]:
                    continue
                head = {
                    "table": table.name, "benchmark": benchmark, "first": _label(results, key_a),
                    "second": _label(results, key_b), "key_first": key_a, "key_second": key_b,
                }  # fmt: skip
                rows += [head | row for row in _compared(results, key_a, key_b, table)]
    columns = ["table", "benchmark", "relation", "first", "second", "key_first", "key_second"]
    return pd.DataFrame(rows, columns=None if rows else columns)


def _compared(results: Results, key_a: str, key_b: str, table: Table) -> Iterator[dict[str, Any]]:
    first, second = predictions(results, key_a), predictions(results, key_b)
    common = set(first["set_id"]) & set(second["set_id"])
    if not common:
        return
    first, second = (pred[pred["set_id"].isin(common)] for pred in (first, second))
    paired = first.groupby("pair_id").size().max() > 1
    relations = list(first["relation"].unique()) if table.by_relation and paired else []
    for relation in [*relations, "all"]:
        parts = (p if relation == "all" else p[p["relation"] == relation] for p in (first, second))
        yield {"relation": relation} | compare(*parts).to_dict()


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
        runs = [results.runs[name] for name in sorted(results.sources[key])]
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


def without_protocol() -> list[Reported]:
    """Reported numbers that no table of this version can hold a measurement beside."""
    held = {
        (benchmark, method)
        for table in TABLES
        for names in table.benchmarks.values()
        for benchmark, method in product(names, table.methods)
    }
    return [n for n in PAPER if not any((n.benchmark, method) in held for method in n.methods)]


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
        "" if not yes else f"{n}" if n == of else f"{n} of {of}"
        for yes, n, of in zip(ran, rows["n_sets"], rows["of_sets"], strict=True)
    ]
    for kind in _KINDS:
        column = f"{kind}_accuracy"
        if rows[column].notna().any():
            names = [column, f"{column}_low", f"{column}_high", f"{kind}_chance"]
            text = as_percent(rows[names].astype(float)).where(rows[column].notna(), "")
            out[f"{kind} accuracy"] = text[f"{kind} accuracy"]
            out["chance" if kind == "individual" else f"{kind} chance"] = text[f"{kind} chance"]
        elif kind == "individual":
            out["individual accuracy"] = ""
        _add_paper(out, rows, kind)
    if rows["n_unparsed"].fillna(0).any():
        out["unparsed"] = rows["n_unparsed"].astype(object)
    out.loc[~ran, "individual accuracy"] = _UNRUN
    return out.fillna("") if ran.any() else out.drop(columns="sets")


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
    low, high, mean = (
        100 * rows[f"difference{end}"].astype(float) for end in ("_low", "_high", "")
    )
    differences = zip(mean, low, high, strict=True)
    return pd.DataFrame({
        "benchmark": rows["benchmark"], "relation": rows["relation"],
        "first": rows["first"], "second": rows["second"], "pairs": rows["n"].astype(int),
        "first, pair": (100 * rows["accuracy_a"].astype(float)).map("{:.1f}".format),
        "second, pair": (100 * rows["accuracy_b"].astype(float)).map("{:.1f}".format),
        "difference": [f"{m:+.1f} [{a:+.1f}, {b:+.1f}]" for m, a, b in differences],
        "p": rows["p_value"].astype(float).map("{:.2g}".format),
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
        "out." + _about_scale(scale),
    ]
    for table in TABLES:
        if scale in table.benchmarks:
            mine = rows[rows["table"] == table.name]
            parts += [f"## {table.title}", markdown_table(shown(mine))]
    compared = comparisons(results, scale)
    if len(compared):
        parts += [
            "## Readers compared on the same images",
            "Pair accuracy (for single images: individual accuracy); difference: the second minus "
            "the first, with a paired bootstrap interval; p: exact McNemar test.",
            markdown_table(shown_comparisons(compared)),
        ]
    parts += [*_unrun_text(rows), *_sources_text(scale), *_provenance_text(results, rows)]
    return "\n\n".join(parts) + "\n"


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
            f"Sets that were skipped, as an image was damaged or a score no number: {skipped}."
        )
    return parts


def _sources_text(scale: str) -> list[str]:
    numbers = without_protocol() if scale == "paper" else []
    lines = [f"- [{grade}] {meaning}" for grade, meaning in GRADES.items()]
    held = [number for number in PAPER if number not in without_protocol()]
    lines += [f"- {_number(number)}: [{number.grade}] {number.source}" for number in held]
    parts = ["## Sources of the paper's numbers", "\n".join(lines)]
    if numbers:
        texts = [f"- {_number(n)}: {100 * n.value:.1f} [{n.grade}] {n.source}" for n in numbers]
        parts += ["Reported, for protocols that are not part of this study:", "\n".join(texts)]
    return parts


def _number(number: Reported) -> str:
    relation = "" if number.relation == "all" else f" {number.relation}"
    return (
        f"{number.benchmark}{relation}, {_READERS[number.role]}, "
        f"{' or '.join(number.methods)}, {number.kind}"
    )


def _provenance_text(results: Results, rows: pd.DataFrame) -> list[str]:
    keys = list(dict.fromkeys(rows["key"].dropna()))
    if not keys:
        return []
    table = provenance(results, keys)
    parts = ["## Settings and provenance", markdown_table(table.drop(columns="code"))]
    names = {name for key in keys for name in results.sources[key]}
    codes = dict.fromkeys(results.runs[name]["source"] for name in sorted(names))
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
    from .plots import accuracy_bars

    found = {}
    for name, mine in rows[rows["status"] != _UNRUN].groupby("table", sort=False):
        mine = mine.set_axis(_row_labels(mine))
        paper = {
            label: {
                f"{kind}_accuracy": row[f"paper_{kind}"]
                for kind in _KINDS
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
