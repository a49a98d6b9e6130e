"""Bounds for what a chat template may ask of this machine: it is a program of a stranger's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .folders import ModelError

#: Lines of Python run, bytes of memory, characters written.
MAX_LINES, MAX_BYTES, MAX_LENGTH = 2_000_000, 1 << 30, 1_000_000


def bounded(render: Callable[[], str], name: str) -> str:
    """What a chat template writes, unless it takes too many steps, too much memory or paper.

    Parameters
    ----------
    render : callable
    name : str
        Of the model, for messages.

    Raises
    ------
    ModelError
    """
    left, before = MAX_LINES, sys.gettrace()

    def count(frame: Any, event: str, argument: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ModelError(
                f"the chat template of {name} does not come to an end: it is damaged, or not meant "
                "well"
            )
        return count

    too_long = ModelError(
        f"the chat template of {name} writes more than {MAX_LENGTH} characters or needs more than "
        f"{MAX_BYTES >> 20} MiB: it is damaged, or not meant well"
    )
    try:
        with _memory_limit():
            sys.settrace(count)
            text = render()
    except MemoryError:
        raise too_long from None
    finally:
        sys.settrace(before)
    if len(text) > MAX_LENGTH:
        raise too_long
    return text


@contextmanager
def _memory_limit() -> Iterator[None]:
    """No more than `MAX_BYTES` on top of what is in use; on Linux alone."""
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + MAX_BYTES
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
