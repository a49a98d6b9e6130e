"""A benchmark in parts: whole sets, scored and stored together."""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..benchmarks import Benchmark
from ..scoring.embeddings import source_key
from .settings import files_digest


@dataclass(frozen=True)
class Group:
    """The pairs of a set, and its place in the benchmark."""

    name: str
    place: int
    pairs: tuple[Any, ...]

    @property
    def n_images(self) -> int:
        """How many images all its pairs have."""
        return sum(len(pair.sources) for pair in self.pairs)

    @cached_property
    def files(self) -> str:
        """A hash of the contents of its image files."""
        return files_digest(self.pairs)


@dataclass(frozen=True)
class Part:
    """Sets that are scored and stored together."""

    sets: tuple[Group, ...]

    @property
    def n_images(self) -> int:
        """How many images all its sets have."""
        return sum(group.n_images for group in self.sets)

    def benchmark(self, whole: Benchmark) -> Benchmark:
        """The benchmark `whole` with only the pairs of these sets."""
        pairs = tuple(pair for group in self.sets for pair in group.pairs)
        return Benchmark(whole.name, pairs, whole.description, whole.source)


class Album:
    """The images of a part, opened once for all methods."""

    def __init__(self) -> None:
        self._pairs: dict[str, tuple[Any, ...]] = {}
        self._images: dict[Hashable, Any] = {}

    def opened(self, part: Part) -> Part:
        """The part with its images in memory; pairs that share a file share the image.

        Raises
        ------
        ImageError
            If one cannot be read.
        """
        return Part(tuple(replace(group, pairs=self._of(group)) for group in part.sets))

    def _of(self, group: Group) -> tuple[Any, ...]:
        if group.name not in self._pairs:
            self._pairs[group.name] = tuple(map(self._open, group.pairs))
        return self._pairs[group.name]

    def _open(self, pair: Any) -> Any:
        keys = [(source_key(source), pair.orientation) for source in pair.sources]
        for place, key in enumerate(keys):
            if key not in self._images:
                self._images[key] = pair.image(place)
        return replace(pair, sources=tuple(self._images[key] for key in keys))


def groups(bench: Benchmark) -> list[Group]:
    """The sets of a benchmark, in its order."""
    pairs: dict[str, list[Any]] = {}
    for pair in bench:
        pairs.setdefault(pair.set_id, []).append(pair)
    return [Group(name, place, tuple(mine)) for place, (name, mine) in enumerate(pairs.items())]


def parts(sets: Sequence[Group], n_images: int) -> list[Part]:
    """Whole sets in the benchmark's order, about `n_images` to a part.

    Parts don't depend on what is stored. So a resumed run puts the same images into a batch and
    rounds as an uninterrupted run does (unless it was interrupted within a part; then only the
    missing sets are scored).
    """
    made, waiting = [], []
    for group in sets:
        waiting.append(group)
        if sum(w.n_images for w in waiting) >= n_images:
            made.append(Part(tuple(waiting)))
            waiting = []
    return [*made, Part(tuple(waiting))] if waiting else made


@contextmanager
def told_once(told: set[str]) -> Iterator[None]:
    """Pass warnings on, but each only once: parts repeat them with other numbers."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        text = re.split(r"\d", str(warning.message))[0]
        # `models.batches.BatchSizeReduced`, whose number matters.
        text += str(getattr(warning.message, "batch_size", ""))
        if text not in told:
            told.add(text)
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
