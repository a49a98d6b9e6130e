"""A chapter's findings as records: a claim, its value and interval, and the bound it must keep.

A chapter ends its measurement with `show([finding(...), ...])`. The page then says in one line how
many of them hold, and opens to show each. The same records are stored in the notebook's outputs
(under `MIME`), where the page *Findings*, the tests and the check on other draws find them. A
finding that doesn't hold raises no error: the book is built all the same, and says so.
"""

from __future__ import annotations

import html
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from .paper import Published

#: Key of the records in a notebook cell's outputs.
MIME = "application/vnd.erragree.findings+json"
HALF_WIDTH = 1.96  # standard errors in half of a 95% interval
#: Per unit: the factor to what is shown, and its digits.
UNITS = {"%": (100, 1), "points": (100, 1), "cosine": (1, 4), "": (1, 3)}


@dataclass(frozen=True)
class Finding:
    """One claim of a chapter, with what was measured and what it must keep.

    Parameters
    ----------
    claim : str
        A sentence that the numbers make true or false.
    value, low, high : float
        The estimate and its 95% interval; both ends equal the value where nothing was sampled.
    above, below : float or None
        Bounds. The claim holds if the *interval* keeps them, not just the value.
    unit : str
        A key of `UNITS`.
    seed : int or None
        Of the benchmark's draw; None where the images are published ones.
    paper : str
        What the paper reports beside it, with its protocol; empty if it reports nothing.
    question : str
        The chapter's question, if this is its answer; empty otherwise. Findings of a chapter that
        answer it together, such as those of two models, have the same.
    who : str
        Whose number it is where a question has several answers, such as ``"LLaVA"``.
    chance : float or None
        What guessing would give, in the value's unit; None where nothing is guessed.
    """

    claim: str
    value: float
    low: float
    high: float
    above: float | None
    below: float | None
    unit: str
    seed: int | None
    paper: str
    question: str = ""
    who: str = ""
    chance: float | None = None

    @property
    def holds(self) -> bool:
        over = self.above is None or self.low > self.above
        return over and (self.below is None or self.high < self.below)

    @property
    def margin(self) -> float:
        """Distance of the value to the nearer bound in standard errors; negative beyond it.

        An interval that ends at 0 or 100% is lopsided, so the half towards the bound counts.
        Infinite where the value has no uncertainty of its own.
        """
        sides = []
        if self.above is not None:
            sides.append((self.value - self.above, self.value - self.low))
        if self.below is not None:
            sides.append((self.below - self.value, self.high - self.value))
        return min(
            distance * HALF_WIDTH / half if half else math.copysign(math.inf, distance)
            for distance, half in sides
        )

    @property
    def bound(self) -> str:
        """The bound in words, such as ``"above 99"``."""
        ends = {"above": self.above, "below": self.below}
        factor, _ = UNITS[self.unit]
        return ", ".join(f"{word} {factor * b:.6g}" for word, b in ends.items() if b is not None)

    @property
    def measured(self) -> str:
        """The value with its interval, as text."""
        if self.low == self.high:
            return self.number(self.value)
        return f"{self.number(self.value)} [{self.number(self.low)}, {self.number(self.high)}]"

    def number(self, x: float) -> str:
        factor, digits = UNITS[self.unit]
        small = x and abs(x * factor) < 10**-digits
        return f"{x * factor:.1e}" if small else f"{x * factor:.{digits}f}"


def finding(
    claim: str,
    value: float | tuple[float, float, float],
    *,
    above: float | None = None,
    below: float | None = None,
    unit: str = "%",
    seed: int | None = None,
    paper: Published | str = "",
    question: str = "",
    who: str = "",
    chance: float | None = None,
) -> Finding:
    """A `Finding`; `value` is a number, or the triple of `estimate`.

    The `question` makes it the chapter's answer: the card on top of the page, and a row of the
    first page's table, are made from it.

    NaN is refused, as what was not measured cannot hold; so is an interval without width: a sample
    that is all alike has an uncertainty too, which a bootstrap does not see.
    """
    sampled = np.ndim(value) > 0
    value, low, high = map(float, value if sampled else (value,) * 3)
    if above is None and below is None:
        raise ValueError(f"{claim!r} has no bound: give above, below or both")
    if unit not in UNITS:
        raise ValueError(f"unknown unit {unit!r}; choose one of {', '.join(map(repr, UNITS))}")
    if not low <= value <= high:
        raise ValueError(f"{claim!r}: {value} is not inside its interval [{low}, {high}]")
    if sampled and low == high:
        raise ValueError(f"{claim!r}: the interval [{low}, {high}] has no width")
    return Finding(
        claim, value, low, high, above, below, unit, seed, str(paper), question, who, chance
    )


def estimate(row: Mapping[str, Any] | pd.Series, name: str) -> tuple[float, float, float]:
    """Value, low and high of a quantity in a row with the columns NAME, NAME_low, NAME_high."""
    return row[name], row[f"{name}_low"], row[f"{name}_high"]


class Findings:
    """The findings of a page; a notebook shows one line that opens, and keeps the records."""

    def __init__(self, findings: Iterable[Finding]):
        self.findings = list(findings)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {
            MIME: [asdict(f) for f in self.findings],
            "text/html": as_one_line(self.findings),
            "text/plain": as_text(self.findings),
        }


def show(findings: Iterable[Finding]) -> Findings:
    """The last line of a chapter's finding cell.

    No two may make the same claim, as margins on other draws are kept by claim; and a chapter asks
    one question, each of whose answers says whose it is.
    """
    page = Findings(findings)
    claims = Counter(f.claim for f in page.findings)
    if not claims:
        raise ValueError("a page without findings shows nothing: give one or more")
    if twice := [claim for claim, count in claims.items() if count > 1]:
        raise ValueError(f"two findings make the same claim: {'; '.join(twice)}")
    answers(page.findings)
    return page


def answers(page: Iterable[Finding]) -> list[Finding]:
    """Those of a chapter's findings that answer its question."""
    found = [f for f in page if f.question]
    if len(asked := {f.question for f in found}) > 1:
        raise ValueError(f"a chapter answers one question, not {len(asked)}: {'; '.join(asked)}")
    if len({f.who for f in found}) < len(found):
        raise ValueError("several findings answer the question: give each a `who` of its own")
    return found


def as_text(findings: Iterable[Finding]) -> str:
    """A line for each finding, for a terminal."""
    return "\n".join(
        f"{'holds' if f.holds else 'DOES NOT HOLD HERE'}: {f.claim} ({f.measured}; {f.bound})"
        for f in findings
    )


def as_one_line(findings: Sequence[Finding]) -> str:
    """How many hold, in one line that opens to their table; it stands open where one does not."""
    holding, every = sum(f.holds for f in findings), len(findings)
    if holding < every:
        line, state = f"{holding} of {every} findings hold here", " open"
    else:
        line, state = f"{every} findings hold" if every > 1 else "1 finding holds", ""
    return (
        f'<details class="checked"{state}><summary>Checked: {line}</summary>'
        f"{as_html(findings)}</details>"
    )


def as_html(findings: Sequence[Finding], margins: bool = False) -> str:
    """A table with a line for each finding; optionally with its margin in standard errors."""
    names = ["Finding", "Measured", "Bound", *(["Margin"] if margins else []), "Paper"]
    rows = [{name: _texts(f)[name] for name in names} for f in findings]
    return html_table(rows, ["holds" if f.holds else "fails" for f in findings])


def html_table(rows: Sequence[Mapping[str, str]], classes: Sequence[str] = ()) -> str:
    """Texts by column as a table that stacks on a phone; `classes` are of its rows."""
    head = "".join(f"<th>{name}</th>" for name in rows[0])
    body = "".join(
        f'<tr class="{name}">'
        + "".join(f'<td data-name="{n}">{html.escape(text)}</td>' for n, text in row.items())
        + "</tr>"
        for row, name in zip_longest(rows, classes, fillvalue="")
    )
    return f'<table class="findings"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _texts(f: Finding) -> dict[str, str]:
    """What each column says."""
    return {
        "Finding": f"✓ {f.claim}" if f.holds else f"✗ Does not hold here: {f.claim}",
        "Measured": f"{f.measured} {f.unit}".strip(),
        "Bound": f.bound,
        "Margin": "no sampling" if math.isinf(f.margin) else f"{f.margin:.1f}\u00a0s.e.",
        "Paper": f.paper,
    }


def read(notebook: Mapping[str, Any]) -> list[Finding]:
    """The findings in the outputs of an executed notebook (its JSON, or an nbformat node)."""
    bundles = [
        output["data"][MIME]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
        if MIME in output.get("data", {})
    ]
    records = [json.loads(b) if isinstance(b, str) else b for b in bundles]
    return [Finding(**record) for page in records for record in page]
