"""Items in batches, whose size is halved whenever the device runs out of memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

import torch

from ..bars import bar
from .device import is_out_of_memory
from .memory import UNBOUNDED

Item = TypeVar("Item")
Result = TypeVar("Result")


class BatchSizeReduced(UserWarning):
    """The device ran out of memory; `in_batches` continues with `batch_size`."""

    def __init__(self, batch_size: int):
        super().__init__(f"out of memory: batch size reduced to {batch_size}")
        self.batch_size = batch_size


class Room:
    """How many rows fit on a model's device at a time, as far as we know.

    Each model has one for each kind of work, so that nothing is tried twice that didn't fit.
    """

    def __init__(self, rows: int = UNBOUNDED):
        self.rows = rows


def in_batches(
    items: Iterable[Item],
    batch_size: int,
    encode: Callable[[list[Item], int], Result],
    *,
    room: Room | None = None,
    rows_each: int = 1,
    total: int | None = None,
    label: str = "images",
    prepare: Callable[[list[Item], int], list[Item]] | None = None,
) -> list[Result]:
    """The result of `encode` for each batch; a batch is halved if the memory runs out.

    Items are drawn a batch at a time, so a generator that opens images holds one batch in memory.
    A progress bar shows the time left, if the work is long (`bars`).

    Parameters
    ----------
    batch_size : int
        At most this many items at a time; fewer if `room` is known to be smaller.
    encode : callable
        Takes a list of items and the index of the first.
    room : Room, optional
        Remembers what fitted, for later calls.
    rows_each : int
        Rows of `room` that each item takes.
    total, label
        Of the progress bar: number of items, and what they are.
    prepare : callable, optional
        Applied to the items before `encode`, once to each, with the index of the first.

    Raises
    ------
    RuntimeError
        If even one item doesn't fit into memory.
    """
    if batch_size != int(batch_size) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer, not {batch_size!r}")
    room = room or Room()
    batch_size = min(batch_size, max(1, room.rows // rows_each))
    results: list[Result] = []
    source, drawn, waiting, done = iter(items), 0, [], 0
    with bar(total, label) as shown:
        while True:
            more = list(islice(source, max(0, batch_size - len(waiting))))
            waiting += prepare(more, drawn) if prepare and more else more
            drawn += len(more)
            if not waiting:
                return results
            batch = waiting[:batch_size]
            try:
                results.append(encode(batch, done))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise RuntimeError(
                        "out of memory with a batch of one: close other programs that use the "
                        "device, choose dtype='float16', a smaller model or device='cpu'"
                    ) from error
                batch_size = len(batch) // 2
                room.rows = batch_size * rows_each
            else:
                del waiting[: len(batch)]
                done += len(batch)
                shown.update(len(batch))
                continue
            # Outside the handler: the error's traceback held the tensors of the failed batch.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            warnings.warn(BatchSizeReduced(batch_size), stacklevel=5)
