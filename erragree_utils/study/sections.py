"""The parts of the report that aren't the paper's tables, as Markdown."""

from __future__ import annotations

import pandas as pd

from ..measures.comparison import as_points
from ..paper import BENCHMARKS, GRADES, KINDS, NOT_HERE, PUBLISHED, subject_not_here
from .report import disagreements, sweeps, without_protocol
from .store import Results
from .sweep import FAMILIES


def markdown_table(table: pd.DataFrame) -> str:
    """A table as Markdown, without its index."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(
        "| " + " | ".join(str(value).replace("|", "\\|") for value in line) + " |" for line in lines
    )


def sweep_text(results: Results, scale: str) -> list[str]:
    """Contrastive decoding with settings chosen on other pairs; empty if no sweep is stored."""
    rows = sweeps(results, scale)
    if "family" not in rows:
        return []
    chosen = [
        " or ".join(f"{setting} for {share:.0%} of pairs" for setting, share in shares.items())
        for shares in rows["chosen"]
    ]
    counts = " (" + rows["model"] + ", " + rows["n"].astype(int).astype(str) + " pairs)"
    plain, best = ((100 * rows[name]).map("{:.1f}".format) for name in ("accuracy_a", "accuracy_b"))
    table = pd.DataFrame({
        "contrast": rows["family"] + counts, "chosen": chosen,
        "pair accuracy": "plain " + plain + ", chosen " + best,
        **as_points(rows)[["difference", "p"]],
    })  # fmt: skip
    return [
        "## Contrastive decoding with a setting that was chosen on other pairs",
        f"Of {sum(map(len, FAMILIES.values()))} settings, of which 0 is no correction; options are "
        f"scored, not written, for {', '.join(rows['benchmark'].unique())}. No pair takes part in "
        "choosing its own setting; pair accuracy in per cent.",
        markdown_table(table),
    ]


def disagreements_text(rows: pd.DataFrame, scale: str) -> list[str]:
    """Where the paper's number lies outside our interval, from the rows of `report.cells`."""
    found = disagreements(rows)
    if len(found) == 0:
        return []
    relations = (", " + found["relation"]).where(found["relation"] != "all", "")
    table = pd.DataFrame({
        "benchmark": found["benchmark"] + relations,
        "read by": found["reader"] + ", " + found["method"], "accuracy": found["kind"],
        "ours": [
            f"{v:.1f} [{low:.1f}, {high:.1f}]" for v, low, high in
            100 * found[["accuracy", "accuracy_low", "accuracy_high"]].to_numpy(float)
        ],
        "paper": found["paper_text"],
    })  # fmt: skip
    why = ""
    if scale == "mini":
        why = (
            " The mini models were made to show how things can happen, and differ from the paper's "
            "models where their training does."
        )
        if "prompted-v1" in set(found["method"]):
            why += (
                " The mini LLaVA never learned how prompted-v1 words on/under and front/behind: "
                "see how many of its answers name no one option."
            )
    return [
        "## Where ours and the paper's disagree",
        f"The paper's number lies outside the 95% interval of ours.{why}",
        markdown_table(table),
    ]


def sources_text() -> list[str]:
    """The published numbers beside ours, each with its protocol, version and grade."""
    lines = [f"- [{grade}] {meaning}" for grade, meaning in GRADES.items()]
    lines += [f"- {number}" for number in PUBLISHED if number not in without_protocol()]
    return ["## Sources of the paper's numbers", "\n".join(lines)]


def not_here_text() -> list[str]:
    """What the study cannot reproduce and why, with the published numbers in question."""
    numbers: dict[str, list[str]] = {}
    for number in without_protocol():
        numbers.setdefault(subject_not_here(number), []).append(f"  - {number}")
    lines = [
        line
        for subject, reason in NOT_HERE.items()
        for line in (f"- {BENCHMARKS.get(subject, KINDS.get(subject, subject))}: "
                     f"{reason}.", *numbers.get(subject, ()))
    ]  # fmt: skip
    return ["## What cannot be produced here, and why", "\n".join(lines)]
