"""Score what a store lacks of the study's tasks, and store it as it comes.

All methods by which a model reads a benchmark go through it together, a part at a time: each image
is opened once for all of them, and read once by the model, which remembers what it saw.
"""

from __future__ import annotations

import gc
import re
import sys
import time
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import __version__
from ..benchmarks import Benchmark, ImageError, load_benchmark
from ..scoring import METHODS
from ..scoring.embeddings import source_key
from ..scoring.scores import score
from .settings import bench_settings, files_digest, method_settings, model_settings, provenance
from .store import Item, Writer, setting_key
from .tasks import Task

#: Columns that are the same in every row, and stand in the settings.
_CONSTANT = ("benchmark", "model", "method")


class ItemError(ValueError):
    """An image is damaged, or a score is not a number; the message names it."""


@dataclass
class Outcome:
    """What a run did: sets scored now, sets that were stored before, and those skipped, by name."""

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
    """Score what a store lacks of the tasks, and store it as it comes.

    Parameters
    ----------
    tasks : sequence of Task
        What `plan` returned.
    folder : str or pathlib.Path
        The store. What it holds under the same settings and of the same image files is not scored
        again.
    scale : str
        Name of the scale, for the report.
    limit : int, optional
        Sets of each benchmark, from its first.
    batch_size : int
        Images that a model reads at a time, and about as many that are stored at a time. Out of
        memory halves the former for the rest of the task.
    skip_bad : bool
        Leave out sets with a damaged image or a score that is no number, and note them, instead of
        stopping. They are tried again by the next run.
    options : mapping of str to mapping, optional
        Options of `load_benchmark` for benchmarks by name.
    share : tuple of two int
        Number of this process and how many share the tasks. Parts go to processes by their place,
        whatever is stored, so that processes need not talk to each other.
    progress : bool
        Show a progress bar for each benchmark that a model reads.

    Returns
    -------
    Outcome
        Of this process.

    Raises
    ------
    ItemError
        If an image is damaged or a score is not a number, unless `skip_bad`.
    store.StoreError
        If the store cannot be written, or what was written is gone.
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
            with getattr(model, "remembering", nullcontext)():
                for name, some in by_bench.items():
                    bench, how = benches(name), (options or {}).get(name, {})
                    jobs = [_Job(task, model, bench, how, batch_size) for task in some]
                    sets = _sets(bench)
                    parts = _parts(sets[:limit], batch_size)
                    todo = [p for i, p in enumerate(parts, turn) if i % share[1] == share[0]]
                    turn += len(parts)
                    rest = sets[limit:] if limit and share[0] == 0 else []
                    for job in jobs:
                        _withdraw(job, [*(g for part in todo for g in part.sets), *rest], writer)
                    _run_jobs(jobs, todo, writer, outcome, skip_bad, progress)
            del jobs
    return outcome


def _free_memory() -> None:
    """Give the memory of the model before back to the device."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


class _Job:
    """A task with its model and benchmark at hand, and the settings that its results have."""

    def __init__(
        self, task: Task, model: Any, bench: Benchmark, options: Mapping[str, Any], batch_size: int
    ):
        self.task, self.model, self.bench = task, model, bench
        self.batch_size = batch_size
        self.settings = {
            "package": __version__,
            "benchmark": bench_settings(bench, options),
            "model": model_settings(model, task.model.role),
            "method": method_settings(task.method, task.model.role),
        }
        self.key = setting_key(self.settings)
        self.about = {
            "asked": task.model.name,
            "weights": getattr(model, "weights", ""),
            "device": str(getattr(model, "device", "")),
            "benchmark_source": bench.source,
        }
        self._told: set[str] = set()

    def score(self, part: _Part, album: _Album) -> list[Item]:
        """The results of whole sets. Their time counts what no method before has read.

        Raises
        ------
        ItemError
            If an image is damaged or a score is not a number.
        """
        start = time.perf_counter()
        try:
            pairs = tuple(pair for group in part.sets for pair in album.opened(group))
            bench = Benchmark(self.bench.name, pairs, self.bench.description, self.bench.source)
            table = self._run(bench)
        except ValueError as error:
            # Errors about one item have an index, those of models too (`models.EncodeError`).
            if not isinstance(error, ImageError) and getattr(error, "index", None) is None:
                raise
            raise ItemError(f"{self.task}: {error}") from error
        _check_numbers(table, self.task)
        each = (time.perf_counter() - start) / len(part.sets)
        by_set = dict(list(table.drop(columns=list(_CONSTANT)).groupby("set_id", sort=False)))
        return [
            Item(
                group.name, group.place, _columns(by_set[group.name]), round(each, 4),
                images=group.files,
            )
            for group in part.sets
        ]  # fmt: skip

    def _run(self, bench: Benchmark) -> pd.DataFrame:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            table = score(self.model, bench, self.task.method, batch_size=self.batch_size)
        for warning in caught:
            self._take(warning)
        return table

    def _take(self, warning: warnings.WarningMessage) -> None:
        """Pass a warning on, once a task; what it says of memory holds for all that comes."""
        # In a text, what follows a number differs from part to part.
        told = re.split(r"\d", str(warning.message))[0]
        # `models.batches.BatchSizeReduced`, which need not have been imported.
        size = getattr(warning.message, "batch_size", None)
        if size is not None:  # or every part would fail first
            self.batch_size = min(self.batch_size, size * METHODS[self.task.method].weight)
            told += str(size)
        if told not in self._told:
            self._told.add(told)
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


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


# --- parts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Set:
    name: str
    place: int
    pairs: tuple[Any, ...]

    @property
    def n_images(self) -> int:
        return sum(len(pair.sources) for pair in self.pairs)

    @cached_property
    def files(self) -> str:
        return files_digest(self.pairs)


@dataclass(frozen=True)
class _Part:
    """Sets that are scored and stored together."""

    sets: tuple[_Set, ...]

    @property
    def n_images(self) -> int:
        return sum(group.n_images for group in self.sets)


class _Album:
    """The images of a part, opened once for all methods."""

    def __init__(self) -> None:
        self._pairs: dict[str, tuple[Any, ...]] = {}
        self._images: dict[Hashable, Any] = {}

    def opened(self, group: _Set) -> tuple[Any, ...]:
        """The pairs of a set with their images in memory; pairs that share a file share that.

        Raises
        ------
        ImageError
            If one cannot be read.
        """
        if group.name not in self._pairs:
            self._pairs[group.name] = tuple(map(self._open, group.pairs))
        return self._pairs[group.name]

    def _open(self, pair: Any) -> Any:
        keys = [(source_key(source), pair.orientation) for source in pair.sources]
        for place, key in enumerate(keys):
            if key not in self._images:
                self._images[key] = pair.image(place)
        return replace(pair, sources=tuple(self._images[key] for key in keys))


def _sets(bench: Benchmark) -> list[_Set]:
    pairs: dict[str, list[Any]] = {}
    for pair in bench:
        pairs.setdefault(pair.set_id, []).append(pair)
    return [_Set(name, place, tuple(group)) for place, (name, group) in enumerate(pairs.items())]


def _parts(sets: Sequence[_Set], n_images: int) -> list[_Part]:
    """Whole sets in the benchmark's order, about `n_images` a part.

    Parts do not depend on what is stored: a resumed run puts the same images into a batch, and so
    rounds as an undisturbed one does (unless a part was torn; then its missing sets alone are
    scored).
    """
    parts, waiting = [], []
    for group in sets:
        waiting.append(group)
        if sum(w.n_images for w in waiting) >= n_images:
            parts.append(_Part(tuple(waiting)))
            waiting = []
    return [*parts, _Part(tuple(waiting))] if waiting else parts


def _withdraw(job: _Job, sets: Sequence[_Set], writer: Writer) -> None:
    """Take back results of image files that have been replaced since; settings lost come back."""
    known = writer.stored.items.get(job.key, {})
    # A file that cannot be read now, as on a drive that is not there, was not replaced.
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
    parts: Sequence[_Part],
    writer: Writer,
    outcome: Outcome,
    skip_bad: bool,
    progress: bool,
) -> None:
    done = [writer.stored.items.get(job.key, {}) for job in jobs]
    # For each part, what each job lacks of it.
    lacking = [
        [_Part(tuple(g for g in part.sets if g.name not in known)) for known in done]
        for part in parts
    ]
    n_sets = len(jobs) * sum(len(part.sets) for part in parts)
    outcome.stored += n_sets - sum(len(part.sets) for row in lacking for part in row)
    n_images = len(jobs) * sum(part.n_images for part in parts)
    to_do = sum(part.n_images for row in lacking for part in row)
    # Where output goes to a file, a line now and then is enough.
    pause = 0.1 if sys.stderr.isatty() else 15.0
    with tqdm(
        total=n_images, initial=n_images - to_do, desc=_described(jobs), unit="image",
        disable=not progress, mininterval=pause, dynamic_ncols=True,
    ) as bar:  # fmt: skip
        for row in lacking:
            album = _Album()
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


def _scored(job: _Job, part: _Part, album: _Album, skip_bad: bool) -> Iterator[list[Item]]:
    """The items of a part; if one is bad and may be skipped, of its halves, until it is alone."""
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
                yield from _scored(job, _Part(sets), album, skip_bad)
            return
    yield items
