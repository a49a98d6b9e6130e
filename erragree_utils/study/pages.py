"""The readable report: text, CSV and figures of the numbers that `report` computes."""

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


def shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `cells` as text: per cent, with 95% intervals, beside chance and the paper.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of one table.

    Returns
    -------
    pandas.DataFrame of str
        Columns without any number are left out.
    """
    ran = rows["status"] != UNRUN
    out = rows[["benchmark", "relation", "reader", "model", "method"]].copy()
    for column, title in (("settings", "settings"), ("text", "CLIP reads")):
        known = rows[column].where(rows[column].notna(), "")
        if (known != "").any():
            out[title] = known
    # Shown only if there is more than one.
    cell = ["benchmark", "relation", "reader", "method"]
    if rows.loc[ran].duplicated(cell).any():
        out["precision"] = rows["precision"].fillna("")
        out["key"] = rows["key"].fillna("").str[:8]
    out["sets"] = [
        "" if status == UNRUN else f"{n}" if status == "run" else f"{n} of {of}"
        for status, n, of in zip(rows["status"], rows["n_sets"], rows["of_sets"], strict=True)
    ]
    first = _first_kind(rows)
    for kind in KINDS:
        if rows[f"{kind}_accuracy"].notna().any():
            text = _percent(rows, kind)
            out[f"{kind} accuracy"] = text[f"{kind} accuracy"] + _draws_text(rows, kind)
            out["chance" if kind == "individual" else f"{kind} chance"] = text[f"{kind} chance"]
        elif kind == first:
            out[f"{kind} accuracy"] = ""
        _add_paper(out, rows, kind)
    for count in ("unparsed", "ties"):
        if rows[f"n_{count}"].fillna(0).any():
            out[count] = rows[f"n_{count}"].astype(object)
    if rows["first_accuracy"].notna().any():
        out["right where first, second"] = _places_text(rows)
    out.loc[~ran, f"{first} accuracy"] = UNRUN
    return out.fillna("") if ran.any() else out.drop(columns="sets")


def _first_kind(rows: pd.DataFrame) -> str:
    """The kind of accuracy that comes first in a table."""
    of_pairs = [METHODS[name].decides == "pair" for name in rows["method"]]
    return "relative" if of_pairs and all(of_pairs) else "individual"


def _percent(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """A kind of accuracy and its chance level as text, empty if there is none."""
    column = f"{kind}_accuracy"
    names = [column, f"{column}_low", f"{column}_high", f"{kind}_chance"]
    return as_percent(rows[names].astype(float)).where(rows[column].notna(), "")


def _draws_text(rows: pd.DataFrame, kind: str) -> list[str]:
    """For sampled answers, the range of accuracies over the draws."""
    if f"{kind}_accuracy_lowest" not in rows:
        return [""] * len(rows)
    ends = 100 * rows[[f"{kind}_accuracy_lowest", f"{kind}_accuracy_highest"]].astype(float)
    return [
        "" if np.isnan(low) else f", {n} draws: {low:.1f} to {high:.1f}"
        for n, low, high in zip(rows["n_draws"], *ends.to_numpy().T, strict=True)
    ]


def _places_text(rows: pd.DataFrame) -> list[str]:
    """Accuracies by the image's place in a prompt of two, and their difference."""
    return [
        ""
        if np.isnan(first)
        else f"{first:.1f}, {second:.1f}: {bias:+.1f} [{low:+.1f}, {high:+.1f}]"
        for first, second, bias, low, high in 100 * rows[list(PLACES)].to_numpy(float)
    ]


def shown_relations(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by relation, a column for each method: pair accuracy or relative preference.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of `cells`, of one table and one benchmark.

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


def _add_paper(out: pd.DataFrame, rows: pd.DataFrame, kind: str) -> None:
    if rows[f"paper_{kind}"].notna().any():
        out[f"paper, {kind}"] = rows[f"paper_{kind}_text"].fillna("")
    difference = rows[f"difference_{kind}"]
    if difference.notna().any():
        out[f"difference, {kind}"] = [
            "" if np.isnan(d) else f"{100 * d:+.1f}" for d in difference.astype(float)
        ]


def shown_comparisons(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `comparisons` as text: pair accuracies and their difference, in per cent."""
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
        "The paper's numbers have the grade of their source; those that we did not find are left "
        "out. A set is four images in What'sUp, a pair of images in MMVP, otherwise one image."
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
    parts += [*sweep_text(results, scale), *disagreements_text(rows, scale)]
    parts += [*_unrun_text(rows), *sources_text(), *not_here_text()]
    parts += _provenance_text(results, rows)
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
    if scale != "mini":
        return (
            " The images are the paper's, but the models are smaller and of another kind. Compare "
            "the pattern of the paper's numbers, not their size."
        )
    return (
        " The models and images here are not the paper's, so compare the pattern of its numbers, "
        "not their size. They are those of the benchmark that each of ours mirrors: "
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
        parts.append("Some cells have only been run in part: the column *sets* says how far.")
    skipped = rows.drop_duplicates("key")["n_skipped"].sum()
    if skipped:
        parts.append(
            f"Sets in which an image was damaged or replaced, or a score was no number: {skipped}."
        )
    return parts


def _provenance_text(results: Results, rows: pd.DataFrame) -> list[str]:
    keys = list(dict.fromkeys(key for keys in rows["key"].dropna() for key in keys.split()))
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


def to_csv(results: Results, scale: str) -> str:
    """The numbers of `cells` as CSV: shares between 0 and 1, in full precision."""
    return cells(results, scale).to_csv(index=False)


# --- pictures ------------------------------------------------------------------------------------


def figures(rows: pd.DataFrame) -> dict[str, Figure]:
    """A figure of each table that has results: dots with intervals, chance, the paper's numbers.

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
    """What distinguishes the rows of one cell, for their labels."""
    settings = rows["settings"].where(rows["settings"].notna(), "")
    return " (" + settings + settings.map(lambda text: "; " if text else "") + (
        rows["key"].str[:8] + ")"
    )  # fmt: skip
