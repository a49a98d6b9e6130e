"""Look up stored results: the keys of a cell, their scores, and which settings were unusual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..benchmarks import Benchmark
from ..measures.decisions import predict, prefer
from ..scale import SCALES, get_scale
from ..scoring import METHODS
from ..scoring.methods import role_of
from .settings import changed_settings, job_settings, method_settings, without_options
from .store import Results, read
from .tables import SEEDS, TABLES
from .tasks import ModelChoice, Task


@dataclass(frozen=True)
class Cell:
    """One benchmark, one method and one kind of model."""

    benchmark: str
    method: str
    role: str

    @staticmethod
    def of(settings: Mapping[str, Any]) -> Cell:
        """The cell that results with these settings belong to."""
        parts = (settings["benchmark"]["name"], settings["method"]["name"])
        return Cell(*parts, settings["model"]["role"])


def keys_of(results: Results, cell: Cell) -> list[str]:
    """Settings with results for a cell, those with the most results first."""
    found = [
        key
        for key, settings in results.settings.items()
        if Cell.of(settings) == cell and results.items.get(key)
    ]
    return sorted(found, key=lambda key: (-len(results.items[key]), key))


def draws_of(results: Results, cell: Cell) -> list[tuple[str, ...]]:
    """The keys of a cell, grouped if they differ only in the seed of the draw."""
    if cell.method not in SEEDS:
        return [(key,) for key in keys_of(results, cell)]
    groups: dict[str, list[str]] = {}
    for key in keys_of(results, cell):
        settings = results.settings[key]
        same = repr(settings | {"method": {**settings["method"], "seed": None}})
        groups.setdefault(same, []).append(key)
    return [tuple(keys) for keys in groups.values()]


def changes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that differ from a method's usual ones, apart from seeds that the study varies."""
    changed = changed_settings(settings["method"], settings["model"]["role"])
    if settings["method"]["name"] in SEEDS:
        changed.pop("seed", None)
    return changed


def settings_text(settings: Mapping[str, Any]) -> str:
    """The differences from a method's usual settings and a benchmark's usual options."""
    differing = changes(settings) | settings["benchmark"]["options"]
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in differing.items()
    )


def clip_text(settings: Mapping[str, Any]) -> str:
    """What CLIP read for pairs with questions, which have more than one kind of text."""
    text = settings["benchmark"].get("text", "captions")
    return text if settings["model"]["role"] == "clip" and text != "captions" else ""


def scores(results: Results, key: str) -> pd.DataFrame:
    """The table of scores of a key, as `score` returned it; for a sweep, those of all settings."""
    settings, table = results.settings[key], results.table(key)
    method = table.pop("setting") if "setting" in table else settings["method"]["name"]
    names = {"benchmark": settings["benchmark"]["name"], "model": settings["model"]["name"]}
    for place, (part, name) in enumerate((names | {"method": method}).items()):
        table.insert(place, part, name)
    return table


def predictions(results: Results, key: str) -> pd.DataFrame:
    """The predictions of a key, as `evaluate` returned them."""
    method = METHODS.get(results.settings[key]["method"]["name"])  # the sweep is none of them
    of_pairs = method is not None and method.decides == "pair"
    return (prefer if of_pairs else predict)(scores(results, key))


def stored_sets(results: Results, task: Task) -> str:
    """How many sets of a task are stored, for each combination of settings it was run with."""
    counts, wanted = [], (task.benchmark, method_settings(task), task.model.role, task.model.name)
    for key, settings in results.settings.items():
        benchmark, method, model = (settings[part] for part in ("benchmark", "method", "model"))
        if (benchmark["name"], method, model["role"], results.about[key]["asked"]) == wanted:
            counts.append(f"{len(results.items[key])} of {benchmark['n_sets']} sets")
    return ", ".join(counts) or "-"


def stored_scores(
    folder: str | Path, model: Any, bench: Benchmark, method: str
) -> pd.DataFrame | None:
    """The scores that a run has stored for exactly this, or None if some are missing.

    `method` is a method of the study by name, or its sweep.
    """
    task = Task(bench.name, ModelChoice(role_of(model), model.name), method)
    wanted, results = job_settings(task, model, bench, {}), read(folder)
    for key, settings in results.settings.items():
        if without_options(settings) == wanted and len(results.items.get(key, ())) == bench.n_sets:
            return scores(results, key)
    return None


def scales_of(results: Results) -> list[str]:
    """The scales that the results belong to; the default if there are none."""
    found = {_scale_of(results, key) for key in results.settings}
    return [name for name in SCALES if name in found] or [get_scale().name]


def _scale_of(results: Results, key: str) -> str | None:
    """The scale at which they were run, if known; otherwise the last one with the benchmark."""
    name = results.settings[key]["benchmark"]["name"]
    with_it = [s for s in SCALES if any(name in t.benchmarks.get(s, ()) for t in TABLES)]
    told = [run["scale"] for run in results.provenance(key) if run.get("scale") in with_it]
    return told[0] if told else next(reversed(with_it), None)
