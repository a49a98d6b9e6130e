"""What every benchmark is made of: image pairs, each with the two captions that tell them apart."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from ..images import ORIENTATIONS, ImageError, orientation_tag, read_image


class BenchmarkError(ValueError):
    """The files of a benchmark are not what its format promises."""


class HasImages:
    """What kinds of pairs share: `images`, opened from their `sources`."""

    pair_id: str
    sources: tuple[Path | Image.Image, ...]
    orientation: str

    @property
    def images(self) -> tuple[Image.Image, ...]:
        """The images, RGB, as a viewer shows them (`images.as_rgb`), opened anew on each access.

        With ``orientation="keep"`` the pixels are taken as they are stored: published benchmarks
        have it, as the official What'sUp script does the same.

        Raises
        ------
        ImageError
            If an image is missing, damaged or of a kind that is not read; the message names the
            pair and the file.
        """
        return tuple(self._open(place, source) for place, source in enumerate(self.sources))

    def _open(self, place: int, source: Path | Image.Image) -> Image.Image:
        if isinstance(source, Image.Image):
            file = getattr(source, "filename", "")
            told = f"image {place} in memory" + (f" ({file})" if file else "")
        else:
            told = f"the image {source}"
        return read_image(source, self.orientation, f"pair {self.pair_id!r}: {told}")

    def _settle(self, **counts: tuple[int, ...]) -> None:
        """Make the named fields tuples, and refuse what is not captions or images.

        Parameters
        ----------
        **counts
            How many entries each field may have.

        Raises
        ------
        BenchmarkError, ImageError
            They name the pair and the entry.
        """
        for field, allowed in counts.items():
            value = getattr(self, field)
            if isinstance(value, str | bytes | Path | Image.Image) or not isinstance(
                value, Iterable
            ):
                value = (value,)
            value = tuple(value)
            if len(value) not in allowed:
                raise BenchmarkError(
                    f"pair {self.pair_id!r} needs {' or '.join(_NUMBERS[n] for n in allowed)} "
                    f"{field}, it has {len(value)}"
                )
            if field == "sources":
                value = tuple(self._source(place, source) for place, source in enumerate(value))
            else:
                for place, text in enumerate(value):
                    if not isinstance(text, str):
                        raise BenchmarkError(
                            f"pair {self.pair_id!r}: {field}[{place}] is a {type(text).__name__}, "
                            "not a text"
                        )
            object.__setattr__(self, field, value)
        if self.orientation not in ORIENTATIONS:
            raise BenchmarkError(
                f"pair {self.pair_id!r}: orientation is 'apply' or 'keep', not {self.orientation!r}"
            )

    def _source(self, place: int, source: Any) -> Path | Image.Image:
        if isinstance(source, str | Path):
            return Path(source)
        if not isinstance(source, Image.Image):
            raise ImageError(
                f"pair {self.pair_id!r}: image {place} is a {type(source).__name__}, not a path or "
                "a PIL image; arrays become images by PIL.Image.fromarray"
            )
        return source


_NUMBERS = {1: "one", 2: "two"}


@dataclass(frozen=True)
class ImagePair(HasImages):
    """Two images that differ in one respect, with the captions that tell them apart.

    Image `i`'s own caption is ``captions[i]``. COCO-spatial and GQA-spatial have single images:
    there `sources` has one entry, ``captions[0]`` is true and ``captions[1]`` is false.

    Parameters
    ----------
    pair_id : str
        Unique in the benchmark.
    set_id : str
        Shared by the pairs of one set (What'sUp: two pairs, four images of the same two objects).
    relation : str
        What the pair is about, such as ``"left/right"``; for single images the true relation.
    captions : tuple of two str
    sources : tuple of one or two pathlib.Path or PIL.Image.Image
        Files are opened when `images` is read, not before.
    orientation : {"apply", "keep"}
        Whether `images` turns photographs as their orientation tags say.

    Raises
    ------
    BenchmarkError, ImageError
        If there are not two captions, or not one or two sources, or they are of other kinds.
    """

    pair_id: str
    set_id: str
    relation: str
    captions: tuple[str, str]
    sources: tuple[Path | Image.Image, ...]
    orientation: str = "apply"

    def __post_init__(self) -> None:
        self._settle(captions=(2,), sources=(1, 2))


@dataclass(frozen=True, repr=False)
class Benchmark(Sequence[ImagePair]):
    """A named sequence of image pairs. A slice, or `select`, gives a smaller benchmark.

    Parameters
    ----------
    name : str
        The name `load_benchmark` knows it by.
    pairs : tuple of ImagePair
    description : str
        One sentence for people.
    source : str
        Where it comes from: a folder and its publisher, or the seed of generated images.

    Raises
    ------
    ValueError
        If two pairs have the same `pair_id`.
    """

    name: str
    pairs: tuple[ImagePair, ...]
    description: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", tuple(self.pairs))
        seen: set[str] = set()
        for pair in self.pairs:
            if pair.pair_id in seen:
                raise ValueError(f"benchmark {self.name!r} has two pairs named {pair.pair_id!r}")
            seen.add(pair.pair_id)

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[ImagePair]:
        return iter(self.pairs)

    @overload
    def __getitem__(self, index: int) -> ImagePair: ...

    @overload
    def __getitem__(self, index: slice) -> Benchmark: ...

    def __getitem__(self, index: int | slice) -> ImagePair | Benchmark:
        if isinstance(index, slice):
            return self._with(self.pairs[index])
        return self.pairs[index]

    def __repr__(self) -> str:
        relations = ", ".join(self.relations)
        return f"<Benchmark {self.name}: {len(self)} pairs, {self.n_sets} sets ({relations})>"

    @property
    def relations(self) -> tuple[str, ...]:
        """The relations that occur, in order of first appearance."""
        return tuple(dict.fromkeys(pair.relation for pair in self.pairs))

    @property
    def n_sets(self) -> int:
        """Number of different sets."""
        return len({pair.set_id for pair in self.pairs})

    def select(self, relation: str) -> Benchmark:
        """The pairs of one relation.

        Raises
        ------
        ValueError
            If no pair has this relation; the message lists those that occur.
        """
        chosen = tuple(pair for pair in self.pairs if pair.relation == relation)
        if not chosen:
            raise ValueError(
                f"benchmark {self.name!r} has no relation {relation!r}; "
                f"choose one of {', '.join(map(repr, self.relations))}"
            )
        return self._with(chosen)

    def with_images(self, images: Iterable[Iterable[Path | Image.Image]]) -> Benchmark:
        """The same captions with other images: for each pair, in order, its own or their files."""
        pairs = zip(self.pairs, images, strict=True)
        return replace(self, pairs=tuple(replace(p, sources=tuple(mine)) for p, mine in pairs))

    def with_wrong_images(self, seed: int = 0) -> Benchmark:
        """The same captions, each with a random image of another set.

        It comes from a pair of the same relation, as either of its two images (for pairs of one
        image: from any other set). A control in which no reader can be better than chance, unless
        the captions alone tell the answer.

        Parameters
        ----------
        seed : int

        Raises
        ------
        ValueError
            If there is no other set to take images from.
        """
        rng, pairs = np.random.default_rng(seed), []
        for pair in self.pairs:
            others = [
                other
                for other in self.pairs
                if other.set_id != pair.set_id
                and (other.relation == pair.relation or len(pair.sources) == 1)
            ]
            if not others:
                raise ValueError(
                    f"benchmark {self.name!r} has no other set with {pair.relation!r} to take "
                    "images from; load more sets"
                )
            drawn = (others[i].sources for i in rng.integers(len(others), size=len(pair.sources)))
            wrong = tuple(sources[int(rng.integers(len(sources)))] for sources in drawn)
            pairs.append(replace(pair, sources=wrong))
        return Benchmark(
            f"{self.name} with wrong images", tuple(pairs), self.description, self.source
        )

    def _with(self, pairs: tuple[ImagePair, ...]) -> Benchmark:
        return Benchmark(self.name, pairs, self.description, self.source)


def read_items(path: Path, item: str) -> list[Any]:
    """The list in a benchmark's JSON file.

    Parameters
    ----------
    path : pathlib.Path
    item : str
        What an entry looks like, for messages.

    Raises
    ------
    BenchmarkError
        If the file is not JSON, or not a list with entries.
    """
    expected = f"expected a JSON list of {item}"
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
    # Both not UTF-8 and not JSON are ValueErrors; thousands of brackets end the recursion.
    except (ValueError, OSError, RecursionError) as error:
        raise BenchmarkError(f"{path} cannot be read as JSON ({error}): {expected}") from error
    if not isinstance(items, list):
        raise BenchmarkError(f"{path} holds a JSON {type(items).__name__}: {expected}")
    if not items:
        raise BenchmarkError(f"{path} holds an empty list: {expected}")
    return items


def report_incomplete(
    problems: list[str], left_out: int, total: int, unit: str, skip: bool, where: Path
) -> None:
    """Refuse what is incomplete, or warn that it is left out.

    Parameters
    ----------
    problems : list of str
        What is missing, an entry each; nothing happens when it is empty.
    left_out, total : int
        How many of how many units are affected.
    unit : str
        Their name in the plural, such as ``"sets"``.
    skip : bool
        Warn instead of raising, unless nothing would be left.
    where : pathlib.Path
        The folder with the images.

    Raises
    ------
    BenchmarkError
    """
    if not problems:
        return
    shown = "\n".join(f"  {problem}" for problem in problems[:10])
    more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
    if skip and left_out < total:
        warnings.warn(
            f"left out {left_out} of {total} {unit} that are not complete:\n{shown}{more}",
            stacklevel=2,
        )
        return
    hint = "" if skip else f"Complete them, or give skip_incomplete=True to leave those {unit} out."
    raise BenchmarkError(
        f"{left_out} of {total} {unit} are not complete (images are looked for in {where}):\n"
        f"{shown}{more}\n{hint}".rstrip()
    )


def warn_of_orientation(name: str, pairs: Iterable[HasImages]) -> None:
    """Warn, once, if a published benchmark has photographs that a viewer would turn.

    Their pixels are kept (``orientation="keep"``). A file that cannot be read is none of them.
    """
    sources = {str(source): source for pair in pairs for source in pair.sources}
    turned = [source for source in sources.values() if _tag(source) != 1]
    if turned:
        example = getattr(turned[0], "name", "an image in memory")
        warnings.warn(
            f"{name}: {len(turned)} of {len(sources)} images have an orientation tag, such as "
            f"{example} ({_tag(turned[0])}). Their pixels are taken as they are stored, as in the "
            "publisher's script; a viewer turns them.",
            stacklevel=3,
        )


def _tag(source: Path | Image.Image) -> int:
    if isinstance(source, Image.Image):
        return orientation_tag(source)
    try:
        with Image.open(source) as image:
            return orientation_tag(image)
    except Exception:  # it is named when its pixels are read
        return 1


def warn_of_count(name: str, found: int, published: int, path: Path) -> None:
    """Warn if a downloaded list does not have the number of entries that was published."""
    if found != published:
        warnings.warn(
            f"{path} has {found} entries, {name} as published has {published}: numbers may differ "
            "from those in papers. If the download is to blame, delete the file and load again.",
            stacklevel=2,
        )
