"""Checks of arguments that many functions share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from PIL import Image


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
