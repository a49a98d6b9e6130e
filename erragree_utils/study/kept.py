"""Scores that survive a lost connection: beyond mini scale, they are stored as they come in.

`score` and `evaluate` do what their namesakes in `scoring.scores` do. Beyond mini scale, where a
call may take an hour, they store the scores batch by batch, in the folder named by the environment
variable ``ERRAGREE_RESULTS`` (by default ``results``). The same call continues where the last one
stopped, and also uses what `run` stored there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import __version__, bars
from ..benchmarks import Benchmark
from ..scale import get_scale
from ..scoring import scores
from ..scoring.methods import Method, name_of, named_methods, role_of
from .parts import Part, groups, parts, told_once
from .settings import about, bench_settings, model_settings, provenance, without_options
from .store import Item, Results, Writer, read, setting_key

VARIABLE = "ERRAGREE_RESULTS"
#: Separate from the results of `run`, since chapters also score parts of benchmarks.
CHAPTERS = "chapters"
_LIBRARIES = ("accelerate", "bitsandbytes", "torch", "transformers")
_CONSTANT = ["benchmark", "model", "method"]


def results_folder() -> Path:
    """The folder where results beyond mini scale are stored and looked up."""
    return Path(os.environ.get(VARIABLE) or "results")


def evaluate(models: Any, benchmarks: Any, methods: Any = "matching", **options: Any):
    """As `scoring.scores.evaluate`; beyond mini scale, the scores are stored as they come in."""
    decide = scores.decider(methods, **options)
    return decide(score(models, benchmarks, methods, **options))


def score(
    models: Any,
    benchmarks: Any,
    methods: Any = "matching",
    batch_size: int = 32,
    folder: Path | None = None,
    **options: Any,
) -> pd.DataFrame:
    """As `scoring.scores.score`; beyond mini scale, the scores are stored as they come in.

    If you name a `folder`, they are stored there at any scale.
    """
    if folder is None and get_scale().name == "mini":
        return scores.score(models, benchmarks, methods, batch_size, **options)
    chosen, tables = named_methods(methods, **options), []
    for bench_name, bench in scores.named(benchmarks).items():
        for model_name, model in scores.named(models).items():
            if isinstance(bench, Benchmark) and len(bench) and _has_settings(model):
                table = _kept(model, bench, chosen, batch_size, folder or results_folder())
                table["benchmark"], table["model"] = bench_name, model_name
            else:
                table = scores.score({model_name: model}, {bench_name: bench}, chosen, batch_size)
            tables.append(table)
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def _has_settings(model: Any) -> bool:
    """Whether the settings alone determine what a model does: hooks change it unseen."""
    network = getattr(model, "model", None)
    if network is None:
        return False
    hooks = [
        hook
        for module in network.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]
    # Libraries leave hooks of their own, but those change nothing.
    return all(str(hook.__module__).partition(".")[0] in _LIBRARIES for hook in hooks)


def _kept(
    model: Any, bench: Benchmark, methods: Mapping[str, Method], batch_size: int, folder: Path
) -> pd.DataFrame:
    """The table of one model and benchmark; only what isn't stored yet is scored."""
    role, sets = role_of(model), groups(bench)
    shared = {
        "package": __version__,
        "benchmark": bench_settings(bench, {}),
        "model": model_settings(model, role),
    }
    settings = {
        name: shared | {"method": {"name": name_of(m), **asdict(m.underlying(role))}}
        for name, m in methods.items()
    }
    files = {group.name: group.files for group in sets}
    done: dict[str, dict[str, Item]] = {name: {} for name in methods}
    for results in (read(folder), read(folder / CHAPTERS)):
        for key, found in results.settings.items():
            same = [name for name, own in settings.items() if own == without_options(found)]
            for name in same:
                # If a file has been replaced since, its stored results no longer apply.
                stored = results.items[key].items()
                done[name] |= {k: x for k, x in stored if files.get(k) == x.images}
    todo = [
        part
        for part in parts(sets, batch_size)
        if any(group.name not in done[name] for group in part.sets for name in methods)
    ]
    if todo:
        told: set[str] = set()
        scale = get_scale().name
        with (
            Writer(folder / CHAPTERS, lambda: {"scale": scale, **provenance()}) as writer,
            bars.bar(sum(part.n_images for part in todo), "images") as shown,
        ):
            for part in todo:
                lacking = {
                    name: method
                    for name, method in methods.items()
                    if any(group.name not in done[name] for group in part.sets)
                }
                with told_once(told), bars.hidden():
                    items = _scored(model, part.benchmark(bench), part, lacking, batch_size)
                for name, mine in items.items():
                    writer.add(
                        setting_key(settings[name]),
                        settings[name],
                        mine,
                        about(model, bench, model.name),
                    )
                    done[name] |= {item.name: item for item in mine}
                shown.update(part.n_images)
    return _table(bench, done)


def _scored(
    model: Any, bench: Benchmark, part: Part, methods: Mapping[str, Method], batch_size: int
) -> dict[str, list[Item]]:
    """The results of a part's sets, by method; methods that can share a pass still do."""
    start = time.perf_counter()
    table = scores.score(model, bench, methods, batch_size)
    each = round((time.perf_counter() - start) / len(part.sets) / len(methods), 4)
    # A method may rule an option out (minus infinity), and JSON has no infinity.
    values = table["score"].astype(object)
    table["score"] = values.where(np.isfinite(table["score"]), values.astype(str))
    rows = dict(list(table.drop(columns=_CONSTANT).groupby([table["method"], table["set_id"]])))
    return {
        name: [
            Item(group.name, group.place, _columns(rows[name, group.name]), each,
                 images=group.files)
            for group in part.sets
        ]
        for name in methods
    }  # fmt: skip


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Leave out the columns of other methods, such as those that `concat` adds."""
    return {str(name): column.tolist() for name, column in table.items() if column.notna().all()}


def _table(bench: Benchmark, done: Mapping[str, dict[str, Item]]) -> pd.DataFrame:
    """The scores of all methods, in the order of the benchmark's pairs."""
    order = {pair.pair_id: place for place, pair in enumerate(bench)}
    tables = []
    for name, items in done.items():
        table = Results(items={name: items}).table(name)
        table = table.sort_values("pair_id", key=lambda ids: ids.map(order), kind="stable")
        table["score"] = table["score"].astype(float)
        for column in reversed(_CONSTANT):
            table.insert(0, column, name if column == "method" else "")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
