"""Checks on arguments, shared by many functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from PIL import Image


def brief(value: Any, limit: int = 200) -> str:
    """A value as an error shows it: a file's bytes or a long list are not poured out."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def listed(items: Iterable[Any], what: str) -> Iterable[Any]:
    """`items`, unless a single image or text stands where several belong.

    Raises
    ------
    TypeError
    """
    if isinstance(items, Image.Image | str | bytes) or not isinstance(items, Iterable):
        raise TypeError(
            f"{what} is a list, not a single {type(items).__name__}: wrap the single one in [ ]"
        )
    return items
