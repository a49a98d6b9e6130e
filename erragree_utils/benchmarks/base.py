"""The building blocks of every benchmark: pairs of images, with two texts that tell them apart.

An :class:`ImagePair` has captions; a :class:`QuestionPair` has a question and two answers, and
works wherever an image pair does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image

from ..images import ORIENTATIONS, ImageError, read_image

Source = Path | Image.Image


class BenchmarkError(ValueError):
    """A benchmark's files aren't in their published format."""


class HasImages:
    """What both kinds of pairs share: `images`, opened from their `sources`."""

    pair_id: str
    sources: tuple[Source, ...]
    orientation: str

    @property
    def images(self) -> tuple[Image.Image, ...]:
        """The images, RGB, opened anew on each access; an ImageError names the pair and the file.

        With ``orientation="keep"`` the pixels are taken as they are stored, as the official
        What'sUp script does; otherwise a photograph is turned as a viewer would turn it.
        """
        return tuple(self.image(place) for place in range(len(self.sources)))

    def image(self, place: int) -> Image.Image:
        """One of the `images`."""
        source = self.sources[place]
        if isinstance(source, Path):
            name = f"the image {source}"
        else:
            file = getattr(source, "filename", "")
            name = f"image {place} in memory" + (f" ({file})" if file else "")
        return read_image(source, self.orientation, f"pair {self.pair_id!r}: {name}")

    def _settle(self, **counts: range) -> None:
        """Make the named fields tuples; refuse a wrong count, or what is no text or image."""
        where = f"pair {self.pair_id!r}"
        for field, allowed in counts.items():
            value = getattr(self, field)
            single = isinstance(value, str | bytes | Path | Image.Image)
            value = (value,) if single or not isinstance(value, Iterable) else tuple(value)
            if len(value) not in allowed:
                needed = " or ".join(("one", "two")[n - 1] for n in allowed)
                raise BenchmarkError(f"{where} needs {needed} {field}, it has {len(value)}")
            for place, entry in enumerate(value):
                kind = type(entry).__name__
                if field == "sources" and not isinstance(entry, str | Path | Image.Image):
                    raise ImageError(
                        f"{where}: image {place} is a {kind}, not a path or a PIL image; arrays "
                        "become images by PIL.Image.fromarray"
                    )
                if field != "sources" and not isinstance(entry, str):
                    raise BenchmarkError(f"{where}: {field}[{place}] is a {kind}, not a text")
            if field == "sources":
                value = tuple(Path(entry) if isinstance(entry, str) else entry for entry in value)
            object.__setattr__(self, field, value)
        if self.orientation not in ORIENTATIONS:
            raise BenchmarkError(
                f"{where}: orientation is 'apply' or 'keep', not {self.orientation!r}"
            )


@dataclass(frozen=True)
class ImagePair(HasImages):
    """Two images that differ in one respect, with the captions that tell them apart.

    Image `i`'s own caption is ``captions[i]``. COCO-spatial and GQA-spatial have single images:
    there `sources` has one entry, ``captions[0]`` is true and ``captions[1]`` is false.

    Parameters
    ----------
    set_id : str
        Shared by the pairs of one set (What'sUp: two pairs, four images of the same two objects).
    relation : str
        What the pair is about, such as ``"left/right"``; for single images the true relation.
    sources : tuple of one or two pathlib.Path or PIL.Image.Image
        Files are opened when `images` is read, not before.
    orientation : {"apply", "keep"}
        Whether `images` turns photographs as their orientation tags say.
    """

    pair_id: str
    set_id: str
    relation: str
    captions: tuple[str, str]
    sources: tuple[Source, ...]
    orientation: str = "apply"

    def __post_init__(self) -> None:
        self._settle(captions=range(2, 3), sources=range(1, 3))


@dataclass(frozen=True)
class QuestionPair(HasImages):
    """Two images that differ in one respect, a question about it, and the answer each image has.

    Image `i`'s answer is ``options[i]``. VSR and CV-Bench have single images: there ``options[0]``
    is right and ``options[1]`` is wrong.

    Parameters
    ----------
    pattern : str
        Visual pattern, such as ``"orientation"``; also the pair's `relation`.
    question : str
        Empty where there are statements alone (MMVP-VLM).
    sources, orientation
        As in `ImagePair`.
    statements : tuple of two str, optional
        The answers as statements, for models that match an image with a text.
    first_listed : {0, 1}
        Which option is listed first: (a) in print. It must not depend on the image.
    lettered : bool
        Whether a model is asked the `multiple_choice`, with letters for its options, or the
        question alone, which then has to name them.
    set_id : str
        Shared by questions about the same images (NaturalBench: two); by default a set of its own.
    """

    pair_id: str
    pattern: str
    question: str
    options: tuple[str, str]
    sources: tuple[Source, ...]
    statements: tuple[str, str] | None = None
    first_listed: int = 0
    lettered: bool = True
    orientation: str = "apply"
    set_id: str = ""

    def __post_init__(self) -> None:
        two = range(2, 3)
        statements = {} if self.statements is None else {"statements": two}
        self._settle(options=two, sources=range(1, 3), **statements)
        object.__setattr__(self, "set_id", self.set_id or self.pair_id)
        if plain(self.options[0]) == plain(self.options[1]):
            raise BenchmarkError(
                f"pair {self.pair_id!r} needs two different options, not {self.options!r}"
            )
        if self.first_listed not in (0, 1):
            raise BenchmarkError(f"pair {self.pair_id!r}: first_listed is 0 or 1")

    @property
    def relation(self) -> str:
        """The pattern, by which tables are grouped."""
        return self.pattern

    @property
    def captions(self) -> tuple[str, str]:
        """What CLIP reads: the statements or, without them, the question followed by the answer."""
        if self.statements is not None:
            return self.statements
        return tuple(f"{self.question} {option}" for option in self.options)

    @property
    def listed(self) -> tuple[str, str]:
        """The options in their printed order, the same for both images."""
        return self.options if self.first_listed == 0 else self.options[::-1]

    @property
    def multiple_choice(self) -> str:
        """The question with its options, as the publisher's script asks it."""
        return f"{self.question} (a) {self.listed[0]} (b) {self.listed[1]}".strip()

    @property
    def prompt(self) -> str:
        """What a multimodal language model is asked; the same for both images."""
        return self.multiple_choice if self.lettered else self.question


def plain(text: str) -> str:
    """A text without case, spacing and final punctuation, to see whether two texts are the same."""
    return " ".join(text.casefold().split()).rstrip(" .?!")


@dataclass(frozen=True, repr=False)
class Benchmark(Sequence[ImagePair]):
    """A named sequence of image pairs. A slice, or `select`, gives a smaller benchmark.

    Parameters
    ----------
    name : str
        The name `load_benchmark` knows it by.
    pairs : tuple of ImagePair or QuestionPair
        With different `pair_id`.
    source : str
        Where it comes from: a folder and its publisher, or the seed of generated images.
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

    @overload
    def __getitem__(self, index: int) -> ImagePair: ...

    @overload
    def __getitem__(self, index: slice) -> Benchmark: ...

    def __getitem__(self, index: int | slice) -> ImagePair | Benchmark:
        if isinstance(index, slice):
            return replace(self, pairs=self.pairs[index])
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
        """The pairs of one relation."""
        if relation not in self.relations:
            raise ValueError(
                f"benchmark {self.name!r} has no relation {relation!r}; "
                f"choose one of {', '.join(map(repr, self.relations))}"
            )
        return replace(self, pairs=tuple(p for p in self.pairs if p.relation == relation))

    def with_images(self, images: Iterable[Iterable[Path | Image.Image]]) -> Benchmark:
        """The same captions with other images or files, an entry for each pair in order."""
        pairs = zip(self.pairs, images, strict=True)
        return replace(self, pairs=tuple(replace(p, sources=tuple(mine)) for p, mine in pairs))

    def with_wrong_images(self, seed: int = 0) -> Benchmark:
        """The same captions, each with a random image of another set.

        It comes from a pair of the same relation, as either of its two images (for pairs of one
        image: from any other set). A control in which no reader can be better than chance, unless
        the captions alone tell the answer.
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
            chosen = (others[i].sources for i in rng.integers(len(others), size=len(pair.sources)))
            wrong = tuple(sources[int(rng.integers(len(sources)))] for sources in chosen)
            pairs.append(replace(pair, sources=wrong))
        return replace(self, name=f"{self.name} with wrong images", pairs=tuple(pairs))
