"""The report for people: text, CSV and pictures of the numbers that `report` has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..measures.accuracy import as_percent
from ..measures.comparison import as_points
from ..scoring import METHODS
from .report import (
    KINDS,
    PLACES,
    UNRUN,
    cells,
    comparisons,
    provenance,
)
from .sections import (
    disagreements_text,
    markdown_table,
    not_here_text,
    sources_text,
    sweep_text,
)
from .store import Results
from .tables import TABLES, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: How many methods stand side by side in a table of relations.
AT_ONCE = 3


def shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `cells` for people: a column for each kind of accuracy, with the paper's number.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one table.

    Returns
    -------
    pandas.DataFrame of str
        ``benchmark`` (with relation and number of sets), ``read by`` (what told rows apart) and the
        accuracies in per cent, with 95% intervals. Kinds without a number are left out; what else
        `cells` has, `remarks` says.
    """
    out = pd.DataFrame({"benchmark": _places(rows), "read by": _readers(rows)})
    first = _first_kind(rows)
    for kind in KINDS:
        text = _accuracy_text(rows, kind, first)
        if kind == first or (text != "").any():
            out[f"{kind} accuracy{_chance_text(rows, kind)}"] = text
    return out


def remarks(rows: pd.DataFrame) -> list[str]:
    """What else there is to say about rows of `cells`, a line of Markdown for each."""
    lines = []
    for place, reader, row in zip(_places(rows), _readers(rows), rows.itertuples(), strict=True):
        said = []
        if pd.notna(row.n_unparsed) and row.n_unparsed:
            said.append(f"{row.n_unparsed} answers that name no one option, and count as wrong")
        if pd.notna(row.n_ties) and row.n_ties:
            said.append(f"{row.n_ties} ties, which count as wrong")
        if pd.notna(row.first_accuracy):
            first, second, bias, low, high = (100 * getattr(row, name) for name in PLACES)
            said.append(
                f"right for {first:.1f}% of images in the first place and {second:.1f}% in the "
                f"second: {bias:+.1f} [{low:+.1f}, {high:+.1f}]"
            )
        lines += [f"- {place}, {reader}: {'; '.join(said)}"] if said else []
    return lines


def _places(rows: pd.DataFrame) -> pd.Series:
    """Benchmark and relation, with the number of sets that were scored."""
    places = rows["benchmark"] + (", " + rows["relation"]).where(rows["relation"] != "all", "")
    whole = rows["status"] != "partly run"
    of_all = (" of " + rows["of_sets"].astype(str)).where(~whole, "")
    counts = " (" + rows["n_sets"].astype(str) + of_all + " sets)"
    return places + counts.where(rows["status"] != UNRUN, "")


def _readers(rows: pd.DataFrame) -> pd.Series:
    """Reader and method, and what else tells rows apart: text, settings, model, number format."""
    names = rows["reader"] + ", " + rows["method"]
    ran = rows[rows["status"] != UNRUN]
    details = ["text", "settings"]
    if (ran.groupby("reader")["model"].nunique() > 1).any():
        details.append("model")
    # Only told apart where there is more than one.
    if ran.duplicated(["benchmark", "relation", "reader", "method", *details]).any():
        details += ["precision", "key"]
    told = rows[details].astype(object).where(rows[details].notna(), "")
    told["text"] = told["text"].map(lambda text: f"reads {text}" if text else "")
    if "key" in told:
        told["key"] = told["key"].str[:8]
    inside = ["; ".join(filter(None, line)) for line in told.to_numpy()]
    return names + [f" ({text})" if text else "" for text in inside]


def _accuracy_text(rows: pd.DataFrame, kind: str, first: str) -> pd.Series:
    """A kind of accuracy with its interval and the paper's number, or that nobody has run it."""
    ours = _percent(rows, kind)[f"{kind} accuracy"] if _has(rows, kind) else ""
    ours = pd.Series(ours, rows.index) + _draws_text(rows, kind)
    if kind == first:
        ours = ours.where(rows["status"] != UNRUN, UNRUN)
    paper = "paper " + rows[f"paper_{kind}_text"].astype(object)
    paper = paper.where(rows[f"paper_{kind}"].notna(), "")
    return ours + ["; " if a and b else "" for a, b in zip(ours, paper, strict=True)] + paper


def _chance_text(rows: pd.DataFrame, kind: str) -> str:
    """The chance levels of a column, for its title."""
    if not _has(rows, kind):
        return ""
    levels = (100 * rows[f"{kind}_chance"].dropna().astype(float)).map("{:.3g}".format).unique()
    return f" (chance {' or '.join(levels)})"


def _has(rows: pd.DataFrame, kind: str) -> bool:
    return bool(rows[f"{kind}_accuracy"].notna().any())


def _first_kind(rows: pd.DataFrame) -> str:
    """The kind of accuracy that comes first in a table."""
    of_pairs = [METHODS[name].decides == "pair" for name in rows["method"]]
    return "relative" if of_pairs and all(of_pairs) else "individual"


def _percent(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Text of a kind of accuracy and its chance level, empty where there is none."""
    column = f"{kind}_accuracy"
    names = [column, f"{column}_low", f"{column}_high", f"{kind}_chance"]
    return as_percent(rows[names].astype(float))


def _draws_text(rows: pd.DataFrame, kind: str) -> list[str]:
    """Of sampled answers, between which accuracies the draws lie."""
    if f"{kind}_accuracy_lowest" not in rows:
        return [""] * len(rows)
    ends = 100 * rows[[f"{kind}_accuracy_lowest", f"{kind}_accuracy_highest"]].astype(float)
    return [
        "" if np.isnan(low) else f", {n} draws: {low:.1f} to {high:.1f}"
        for n, low, high in zip(rows["n_draws"], *ends.to_numpy().T, strict=True)
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
        label += _apart(rows)
    table = pd.DataFrame({
        "relation": rows["relation"], "sets": rows["n_sets"], "label": label,
        "text": _percent(rows, kind)[f"{kind} accuracy"] if len(rows) else "",
    })  # fmt: skip
    # Unlike pivot, this keeps the order of relations and methods.
    wide = table.set_index(["relation", "label"])["text"].unstack("label")
    wide = wide.reindex(index=table["relation"].unique(), columns=table["label"].unique())
    wide.insert(0, "sets", table.groupby("relation")["sets"].max())
    return wide.fillna("").rename_axis("relation").reset_index()


def shown_comparisons(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `comparisons` for people: pair accuracies and their difference, in per cent."""
    if len(rows) == 0:  # results of one method alone
        return pd.DataFrame()
    places = rows["benchmark"] + (", " + rows["relation"]).where(rows["relation"] != "all", "")
    chance = (100 * rows["chance"].astype(float)).map("{:.3g}".format)
    counts = " (" + rows["n"].astype(int).astype(str) + " pairs, chance " + chance + ")"
    ends = {"first": "accuracy_a", "second": "accuracy_b"}
    sides = {
        side: rows[side] + ": " + (100 * rows[column].astype(float)).map("{:.1f}".format)
        for side, column in ends.items()
    }
    points = as_points(rows)[["difference", "p"]]
    return pd.DataFrame({"benchmark": places + counts, **sides}).join(points)


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
        "Accuracies in per cent with 95% intervals; the chance level is in the title of a column. "
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
            "Pair accuracy in per cent (for single images: individual accuracy; of a relative "
            "preference: relative accuracy); difference: the second minus the first, with "
            "a paired bootstrap interval; p: exact McNemar test.",
            markdown_table(shown_comparisons(compared)),
        ]
    parts += [*sweep_text(results, scale), *disagreements_text(rows, scale)]
    parts += [*_unrun_text(rows), *sources_text(), *not_here_text()]
    parts += _provenance_text(results, rows)
    return "\n\n".join(parts) + "\n"


def _table_text(table: Table, rows: pd.DataFrame) -> list[str]:
    whole = rows[rows["relation"] == "all"] if table.relations == "apart" else rows
    parts = [f"## {table.title}", markdown_table(shown(whole))]
    if said := remarks(whole):
        parts.append("\n".join(said))
    if table.relations != "apart":
        return parts
    for benchmark, mine in rows.groupby("benchmark", sort=False):
        apart = shown_relations(mine)
        if len(apart):
            kind = "Relative" if _first_kind(mine) == "relative" else "Pair"
            chance = 100 * mine[f"{kind.lower()}_chance"].mean()
            parts.append(f"{kind} accuracy by visual pattern in {benchmark}, chance {chance:.3g}:")
            parts += [
                markdown_table(apart.iloc[:, [0, 1, *range(k, min(k + AT_ONCE, apart.shape[1]))]])
                for k in range(2, apart.shape[1], AT_ONCE)
            ]
    return parts


def _about_scale(scale: str) -> str:
    if scale == "paper":
        return ""
    if scale != "mini":
        return (
            " The images are the paper's, the models are smaller and of another kind: its numbers "
            "are for comparison of kind, not of size."
        )
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
    unrun, partial = rows[rows["status"] == UNRUN], rows[rows["status"] == "partly run"]
    parts = []
    if len(unrun):
        names = [f"- {r.benchmark}, {r.reader} {r.model}, {r.method}" for r in unrun.itertuples()]
        parts += ["## Not run", "\n".join(dict.fromkeys(names))]
    if len(partial):
        parts.append("Some cells are run in part: they say how many sets of how many.")
    skipped = rows.drop_duplicates("key")["n_skipped"].sum()
    if skipped:
        parts.append(
            "Sets without results, as an image was damaged or replaced, or a score was no number: "
            f"{skipped}."
        )
    return parts


def _provenance_text(results: Results, rows: pd.DataFrame) -> list[str]:
    keys = list(dict.fromkeys(key for keys in rows["key"].dropna() for key in keys.split()))
    if not keys:
        return []
    parts = ["## Settings and provenance", "\n".join(
        f"- {row.key}: {row.benchmark}, {row.method}; {row.model}, {row.precision}, weights "
        f"{row.weights or 'unknown'}; package {row.package}; {row.hardware}, {row.time}, "
        f"{row.seconds} s; {row.skipped} sets skipped"
        for row in provenance(results, keys).itertuples()
    )]  # fmt: skip
    codes = dict.fromkeys(run["source"] for key in keys for run in results.provenance(key))
    if len(codes) > 1:
        parts.append(
            f"The package's code was changed between the runs ({len(codes)} states, "
            f"{', '.join(codes)}) without a new version number: check whether the change matters, "
            "or run into a new folder."
        )
    return parts


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
        (rows["status"] != UNRUN) & ((rows["relation"] == "all") | ~rows["table"].isin(apart))
    ]
    for name, mine in rows.groupby("table", sort=False):
        kinds = ["relative"] if _first_kind(mine) == "relative" else KINDS[:-1]
        mine = mine.set_axis(_row_labels(mine))
        others = "|".join(kind for kind in KINDS if kind not in kinds)
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
    return labels.where(~several, labels + _apart(rows)).tolist()


def _apart(rows: pd.DataFrame) -> pd.Series:
    """What tells rows of one cell apart, for their labels."""
    settings = rows["settings"].where(rows["settings"].notna(), "")
    return " (" + settings + settings.map(lambda text: "; " if text else "") + (
        rows["key"].str[:8] + ")"
    )  # fmt: skip
