"""What models are given: checked and brought into one form, the same for every kind of model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

from PIL import Image

from ..checks import brief, listed
from ..images import ImageError, as_rgb
from .device import EncodeError


def encodable(image: Any, index: int) -> Image.Image:
    """An image as RGB, the way a viewer shows it.

    Raises
    ------
    EncodeError
        If it is not an image or cannot be read; it names the entry.
    """
    try:
        return as_rgb(image, name=f"image {index}")
    except ImageError as error:
        raise EncodeError(str(error), index) from error


def worded(text: Any, what: str, index: int) -> str:
    """A text, if it has words, in whole characters.

    Raises
    ------
    EncodeError
        It names the entry.
    """
    if not isinstance(text, str) or not text.strip():
        told = repr(text) if isinstance(text, str) or text is None else f"a {type(text).__name__}"
        raise EncodeError(f"{what} is {told}, not a text with words", index)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise EncodeError(
            f"{what}, {brief(text)}, holds half a character: {error}", index
        ) from None
    return text


def options_of_each(options: Iterable[Any]) -> Iterable[Sequence[str]]:
    """Options for each image: the same for all of them if they are texts, else those of each.

    Raises
    ------
    TypeError
        If they are a single text, or texts and lists of texts.
    """
    every = list(listed(options, "options"))
    texts = [isinstance(option, str) for option in every]
    if any(texts):
        if not all(texts):
            raise TypeError("options are texts, or a list of texts for each image, not both")
        return repeat(every)
    return [list(listed(mine, f"entry {i} of options")) for i, mine in enumerate(every)]


def length(items: Any) -> int | None:
    """How many there are, if that is known beforehand."""
    return len(items) if hasattr(items, "__len__") else None


def aligned(images: Iterable[Any], **columns: Any) -> Iterator[tuple]:
    """Images with their entry of each column; a single string stands for all of them."""
    listed(images, "images")
    columns = {k: repeat(v) if isinstance(v, str) else v for k, v in columns.items()}
    for label, column in columns.items():
        if None not in (length(images), length(column)) and len(images) != len(column):
            raise ValueError(f"{len(images)} images, but {len(column)} {label}: give one for each")
    return _zipped(images, columns)


_END = object()


def _zipped(images: Iterable[Any], columns: dict[str, Iterable]) -> Iterator[tuple]:
    sources = [iter(column) for column in columns.values()]
    for number, image in enumerate(images):
        row = [next(source, _END) for source in sources]
        if any(entry is _END for entry in row):
            raise ValueError(f"there are more images than {' and '.join(columns)}: {number + 1}")
        # A group of images may be read more than once, when memory was too small.
        single = image is None or isinstance(image, Image.Image | str | bytes)
        yield image if single or not isinstance(image, Iterable) else list(image), *row
