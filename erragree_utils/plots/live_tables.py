"""Live tables: what fits on a GPU, and effects filtered by a causal diagram."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from . import live_html, style
from .charts import check_diagram
from .live_parts import Live, as_json

PARTS = ("weights", "cache", "activations", "fixed")


def calculator(choices: pd.DataFrame, start: tuple[str, int] = ("4 bits", 8)) -> Live:
    """Which GPU can hold the model, at which precision and batch size, and how long it takes.

    `choices` has a row for each ``gpu``, ``precision`` and ``batch``, with `PARTS` and ``memory``
    in GiB, and ``time`` in words; `start` is the precision and the batch shown first.
    """
    columns = ["gpu", "precision", "batch", *PARTS, "memory", "time"]
    style.check_tables({"choices": choices}, columns, "hardware.choices")
    precisions, batches = (list(choices[name].unique()) for name in ("precision", "batch"))
    if start[0] not in precisions or start[1] not in batches:
        raise ValueError(f"no rows for {start[0]}, {start[1]} at a time: start with others")
    gpus = list(choices["gpu"].unique())
    table = choices.set_index(["precision", "batch", "gpu"]).sort_index()
    states = [[_holds(table.loc[(p, b)].loc[gpus], f"{p}, {b}") for b in batches]
              for p in precisions]  # fmt: skip
    data = {"states": states}
    first = precisions.index(start[0]), batches.index(start[1])
    html = live_html.CALCULATOR.render(
        data=as_json(data), gpus=gpus, parts=PARTS, precisions=precisions, batches=batches,
        first=first, shown=states[first[0]][first[1]],
    )  # fmt: skip
    return Live(html, f"{len(gpus)} GPUs, {len(precisions) * len(batches)} settings")


def _holds(rows: pd.DataFrame, name: str) -> dict:
    """One setting on each GPU: the parts in per cent of its memory, and a description."""
    needed = rows[list(PARTS)].sum(axis=1)
    fits = needed <= rows["memory"]
    left = (100 * rows[list(PARTS)].div(rows["memory"], axis=0)).round(2)
    able = [gpu for gpu, yes in fits.items() if yes]
    where = f"fits {', '.join(able)}" if able else "fits none of these GPUs"
    return {
        "bars": left.to_numpy().tolist(),
        "needs": [
            f"{need:.1f} of {memory:.1f} GiB"
            for need, memory in zip(needed, rows["memory"], strict=True)
        ],
        "fits": ["✓ fits" if yes else "✗ does not fit" for yes in fits],
        "times": [time if yes else "–" for time, yes in zip(rows["time"], fits, strict=True)],
        "summary": f"{name} at a time: {needed.iloc[0]:.1f} GiB, {where}",
    }


def effects(
    table: pd.DataFrame,
    boxes: Mapping[str, tuple[float, float, str]],
    arrows: Iterable[tuple[str, str]],
    unit: str = "points",
) -> Live:
    """Effects and a causal diagram: a click on a box leaves only those that act through it.

    Parameters
    ----------
    table : pandas.DataFrame
        A row for each effect: ``name``, ``factor`` (the text of a box), ``estimate``, ``low``,
        ``high`` and ``paper`` (NaN if the paper has none), all in `unit`.
    boxes, arrows
        As for `causal_diagram`.
    """
    arrows = list(arrows)
    check_diagram(boxes, arrows)
    style.check_tables(
        {"effects": table}, ["name", "factor", "estimate", "low", "high", "paper"], "the ladder"
    )
    if odd := sorted(set(table["factor"]) - set(boxes)):
        raise ValueError(f"{odd[0]!r} is no box of the diagram: name the factors as the boxes")
    through = {box: _before(box, arrows) for box in boxes}
    shown = [list(np.flatnonzero(table["factor"].isin(through[box]))) for box in boxes]
    ends = np.append(table[["estimate", "low", "high", "paper"]].to_numpy(float).ravel(), 0.0)
    low, high = np.nanmin(ends), np.nanmax(ends)
    reach = (high - low) * 1.08 or 1.0
    middle = (low + high) / 2

    def place(value: float) -> float:
        return round(float(100 * ((value - middle) / reach + 0.5)), 2)

    rows = [
        {
            "name": row.name_, "factor": " ".join(row.factor.split()),
            "told": f"{_signed(row.estimate)} [{_signed(row.low)}, {_signed(row.high)}]",
            "paper": "" if np.isnan(row.paper) else _signed(row.paper),
            "dot": place(row.estimate), "low": place(row.low), "high": place(row.high),
            "diamond": None if np.isnan(row.paper) else place(row.paper),
        }
        for row in table.rename(columns={"name": "name_"}).itertuples()
    ]  # fmt: skip
    names = [" ".join(box.split()) for box in boxes]
    data = {
        "rows": [[int(k) for k in chosen] for chosen in shown],
        "summary": [
            f"{len(chosen)} of {len(rows)} effects act through: {name}"
            for name, chosen in zip(names, shown, strict=True)
        ],
    }
    html = live_html.EFFECTS.render(
        data=as_json(data), rows=rows, unit=unit, zero=place(0.0),
        any_paper=table["paper"].notna().any(),
        boxes=[
            (name, 100 * x, 100 - 100 * y, kind, len(chosen))
            for name, (x, y, kind), chosen in zip(names, boxes.values(), shown, strict=True)
        ],
        arrows=[(boxes[a], boxes[b]) for a, b in arrows],
    )  # fmt: skip
    return Live(html, f"{len(rows)} effects in a diagram of {len(boxes)} boxes")


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _before(box: str, arrows: list[tuple[str, str]]) -> set[str]:
    """The box and every box from which arrows lead to it."""
    found, new = {box}, {box}
    while new:
        new = {start for start, end in arrows if end in new} - found
        found |= new
    return found
