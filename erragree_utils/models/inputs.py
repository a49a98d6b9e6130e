"""Inputs of models: checked and brought into one form, the same for every kind of model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

from PIL import Image

from ..checks import brief, listed
from ..images import ImageError, as_rgb


class EncodeError(ValueError):
    """An item cannot be encoded; `index` is its place in the list it came from."""

    def __init__(self, message: str, index: int):
        super().__init__(message)
        self.index = index


def encodable(image: Image.Image, index: int) -> Image.Image:
    """An image as RGB, the way a viewer shows it; an `EncodeError` names what is no image."""
    try:
        return as_rgb(image, name=f"image {index}")
    except ImageError as error:
        raise EncodeError(str(error), index) from error


def worded(text: str, what: str, index: int) -> str:
    """A text with words, in whole characters; an `EncodeError` names any other entry."""
    if not isinstance(text, str) or not text.strip():
        raise EncodeError(f"{what} is {brief(text)}, not a text with words", index)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise EncodeError(
            f"{what}, {brief(text)}, holds half a character: {error}", index
        ) from None
    return text


def options_of_each(options: Iterable[Any]) -> Iterable[Sequence[str]]:
    """Options for each image: the same for all of them if they are texts, else those of each."""
    entries = list(listed(options, "options"))
    texts = [isinstance(entry, str) for entry in entries]
    if not any(texts):
        return [list(listed(entry, f"entry {i} of options")) for i, entry in enumerate(entries)]
    if not all(texts):
        raise TypeError("options are texts, or a list of texts for each image, not both")
    return repeat(entries)


def length(*columns: Iterable[Any]) -> int | None:
    """The number of rows, if a column tells before we read it; a text stands for all rows."""
    sized = (c for c in columns if hasattr(c, "__len__") and not isinstance(c, str))
    return next(map(len, sized), None)


def aligned(images: Iterable[Any], **columns: Iterable[Any]) -> Iterator[tuple]:
    """Images with their entry of each column; a single string stands for all of them."""
    listed(images, "images")
    columns = {k: repeat(v) if isinstance(v, str) else v for k, v in columns.items()}
    for label, column in columns.items():
        if None not in (length(images), length(column)) and len(images) != len(column):
            raise ValueError(f"{len(images)} images, but {len(column)} {label}: give one for each")
    return _rows(images, columns)


_END = object()


def _rows(images: Iterable[Any], columns: dict[str, Iterable[Any]]) -> Iterator[tuple]:
    sources = [iter(column) for column in columns.values()]
    for number, image in enumerate(images, 1):
        row = [next(source, _END) for source in sources]
        if any(entry is _END for entry in row):
            raise ValueError(f"there are more images than {' and '.join(columns)}: {number}")
        # A group of images may be read more than once, when memory was too small.
        single = isinstance(image, Image.Image | str | bytes) or not isinstance(image, Iterable)
        yield image if single else list(image), *row
