"""Progress bars with the time left, for work that turns out to be long."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

#: Work that is done sooner shows no bar.
DELAY_S = 3.0
_hidden = ContextVar("hidden", default=False)


def bar(total: int | None, label: str) -> tqdm:
    """A bar that appears after `DELAY_S` and goes with the work. ``TQDM_DISABLE=1`` hides it."""
    # In a notebook tqdm itself does not look at the variable.
    disable = _hidden.get() or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(total=total, desc=label, delay=DELAY_S, leave=False, disable=disable)


@contextmanager
def hidden() -> Iterator[None]:
    """No bars inside: whoever calls shows one of its own."""
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)


@dataclass(frozen=True)
class Counted:
    """Items that are drawn one by one, and how many will come: a bar can tell the time left."""

    items: Iterable[Any]
    n: int

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)
