"""Score whatever is missing from a store, and store it as it comes in.

All of a model's methods go through a benchmark together, part by part. Each image is opened once
for all of them, and encoded once, since the model caches what it computes.
"""

from __future__ import annotations

import gc
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import bars
from ..benchmarks import Benchmark, ImageError, load_benchmark
from ..scoring.scores import score
from .parts import Album, Group, Part, groups, parts, told_once
from .settings import about, job_settings, provenance
from .store import Item, Writer, setting_key
from .tasks import Task

#: Columns that are the same in every row, and are kept in the settings.
_CONSTANT = ("benchmark", "model", "method")


class ItemError(ValueError):
    """An image is damaged, or a score is not a number; the message names it."""


@dataclass
class Outcome:
    """What a run did: sets scored now, sets that were already stored, and sets skipped, by name."""

    scored: int = 0
    stored: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


def run(
    tasks: Sequence[Task],
    folder: str | Path,
    *,
    scale: str = "",
    limit: int | None = None,
    batch_size: int = 32,
    skip_bad: bool = False,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    share: tuple[int, int] = (0, 1),
    progress: bool = False,
) -> Outcome:
    """Score the tasks that are missing from a store, and store the results as they come in.

    Parameters
    ----------
    tasks : sequence of Task
        What `plan` returned.
    folder : str or pathlib.Path
        The store. Results with the same settings and the same image files are not scored again.
    scale : str
        Name of the scale, for the report.
    limit : int, optional
        Number of sets of each benchmark, from the first.
    batch_size : int
        At most this many images are read at a time, and about as many are stored at a time.
    skip_bad : bool
        Instead of stopping, leave out sets with a damaged image or a score that is not a number,
        and list them. The next run tries them again.
    options : mapping of str to mapping, optional
        Options of `load_benchmark` for benchmarks by name.
    share : tuple of two int
        Number of this process, and how many share the tasks. A part's place alone decides which
        process gets it, so processes need not talk to each other.
    progress : bool
        Show a progress bar for each benchmark that a model reads.

    Returns
    -------
    Outcome
        What this process did.

    Raises
    ------
    ItemError
        If an image is damaged or a score is not a number, unless `skip_bad`.
    store.StoreError
        If the store cannot be written, or if what was written has disappeared.
    ValueError, RuntimeError
        What loading and scoring raise.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be a positive number of sets, not {limit}")
    benches = cache(lambda name: load_benchmark(name, **(options or {}).get(name, {})))
    outcome, turn = Outcome(), 0
    with Writer(folder, lambda: {"scale": scale, **provenance(share)}, *share) as writer:
        for choice, mine in groupby(tasks, key=lambda task: task.model):
            model = None
            _free_memory()
            model = choice.load()
            by_bench: dict[str, list[Task]] = {}
            for task in mine:
                by_bench.setdefault(task.benchmark, []).append(task)
            # All methods of a part find its images still there; a part has a batch and a set.
            with getattr(model, "remembering", nullcontext)(2 * batch_size):
                for name, some in by_bench.items():
                    bench, how = benches(name), (options or {}).get(name, {})
                    jobs = [_Job(task, model, bench, how, batch_size) for task in some]
                    sets = groups(bench)
                    all_parts = parts(sets[:limit], batch_size)
                    todo = [p for i, p in enumerate(all_parts, turn) if i % share[1] == share[0]]
                    turn += len(all_parts)
                    rest = sets[limit:] if limit and share[0] == 0 else []
                    for job in jobs:
                        _withdraw(job, [*(g for part in todo for g in part.sets), *rest], writer)
                    _run_jobs(jobs, todo, writer, outcome, skip_bad, progress)
            del jobs
    return outcome


def _free_memory() -> None:
    """Free the device memory of the previous model."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


class _Job:
    """A task with its model and benchmark loaded, and the settings of its results."""

    def __init__(
        self, task: Task, model: Any, bench: Benchmark, options: Mapping[str, Any], batch_size: int
    ):
        self.task, self.model, self.bench = task, model, bench
        self.batch_size = batch_size
        self.settings = job_settings(task, model, bench, options)
        self.key = setting_key(self.settings)
        self.about = about(model, bench, task.model.name)
        self._told: set[str] = set()

    def score(self, part: Part, album: Album) -> list[Item]:
        """The results of whole sets. Their time includes only what no earlier method has computed.

        Raises
        ------
        ItemError
            If an image is damaged or a score is not a number.
        """
        start = time.perf_counter()
        try:
            bench = album.opened(part).benchmark(self.bench)
            # The run has a bar of its own.
            with told_once(self._told), bars.hidden():
                table = score(self.model, bench, self.task.methods, batch_size=self.batch_size)
        except ValueError as error:
            # Errors about one item have an index, including those of models (`models.EncodeError`).
            if not isinstance(error, ImageError) and getattr(error, "index", None) is None:
                raise
            raise ItemError(f"{self.task}: {error}") from error
        _check_numbers(table, self.task)
        each = (time.perf_counter() - start) / len(part.sets)
        if len(self.task.methods) > 1:  # of a sweep
            table = table.rename(columns={"method": "setting"})
        table = table.drop(columns=[name for name in _CONSTANT if name in table])
        by_set = dict(list(table.groupby("set_id", sort=False)))
        return [
            Item(
                group.name, group.place, _columns(by_set[group.name]), round(each, 4),
                images=group.files,
            )
            for group in part.sets
        ]  # fmt: skip


def _check_numbers(table: pd.DataFrame, task: Task) -> None:
    bad = ~np.isfinite(table["score"].to_numpy(float))
    if bad.any():
        row = table.iloc[int(bad.argmax())]
        raise ItemError(
            f"{task}: the score of image {row['image_index']} of pair {row['pair_id']!r} is not a "
            "number: the weights are damaged, or dtype is too coarse"
        )


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): table[name].tolist() for name in table}


def _withdraw(job: _Job, sets: Sequence[Group], writer: Writer) -> None:
    """Withdraw results of image files that have been replaced since, and restore lost settings."""
    known = writer.stored.items.get(job.key, {})
    # If a file cannot be read now, such as on an unmounted drive, it was not replaced.
    stale = [g for g in sets if g.name in known and g.files not in ("", known[g.name].images)]
    reason = "its image files were replaced after it was scored"
    if stale or (known and job.key not in writer.stored.settings):
        items = [Item(g.name, g.place, skipped=reason, images=g.files) for g in stale]
        writer.add(job.key, job.settings, items, job.about)
    if stale:
        warnings.warn(
            f"{job.task}: image files of {len(stale)} sets were replaced after they were scored "
            f"({', '.join(repr(g.name) for g in stale[:5])}{', ...' * (len(stale) > 5)}): their "
            "results are withdrawn, and they are scored again",
            stacklevel=3,
        )
    for group in stale:
        del known[group.name]


def _run_jobs(
    jobs: Sequence[_Job],
    mine: Sequence[Part],
    writer: Writer,
    outcome: Outcome,
    skip_bad: bool,
    progress: bool,
) -> None:
    done = [writer.stored.items.get(job.key, {}) for job in jobs]
    # For each part, what each job still lacks.
    lacking = [
        [Part(tuple(g for g in part.sets if g.name not in known)) for known in done]
        for part in mine
    ]
    n_sets = len(jobs) * sum(len(part.sets) for part in mine)
    outcome.stored += n_sets - sum(len(part.sets) for row in lacking for part in row)
    n_images = len(jobs) * sum(part.n_images for part in mine)
    to_do = sum(part.n_images for row in lacking for part in row)
    # If output goes to a file, a line now and then is enough.
    pause = 0.1 if sys.stderr.isatty() else 15.0
    with tqdm(
        total=n_images, initial=n_images - to_do, desc=_described(jobs), unit="image",
        disable=not progress, mininterval=pause, dynamic_ncols=True,
    ) as bar:  # fmt: skip
        for row in lacking:
            album = Album()
            for job, part in zip(jobs, row, strict=True):
                for items in _scored(job, part, album, skip_bad):
                    writer.add(job.key, job.settings, items, job.about)
                    outcome.scored += sum(item.skipped is None for item in items)
                    outcome.skipped |= {
                        f"{job.task}, set {item.name!r}": item.skipped
                        for item in items
                        if item.skipped is not None
                    }
                bar.update(part.n_images)


def _described(jobs: Sequence[_Job]) -> str:
    task = jobs[0].task
    if len(jobs) == 1:
        return str(task)
    return f"{task.benchmark}, {task.model.role} {task.model.name}, {len(jobs)} methods"


def _scored(job: _Job, part: Part, album: Album, skip_bad: bool) -> Iterator[list[Item]]:
    """The items of a part; if bad ones may be skipped, the part is halved to find them."""
    if not part.sets:
        return
    try:
        items = job.score(part, album)
    except ItemError as error:
        if not skip_bad:
            raise
        if len(part.sets) == 1:
            (group,) = part.sets
            items = [Item(group.name, group.place, skipped=str(error), images=group.files)]
        else:
            half = len(part.sets) // 2
            for sets in (part.sets[:half], part.sets[half:]):
                yield from _scored(job, Part(sets), album, skip_bad)
            return
    yield items
