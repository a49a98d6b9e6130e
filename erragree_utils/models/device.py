"""Where and how precisely a model computes, and what to do when the memory is too small."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

import torch
from tqdm.auto import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

_DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
}


class EncodeError(ValueError):
    """An item cannot be encoded; `index` is its place in the list that was given."""

    def __init__(self, message: str, index: int):
        super().__init__(message)
        self.index = index


class BatchSizeReduced(UserWarning):
    """Memory was too small; `batch_size` is what `in_batches` goes on with."""

    def __init__(self, batch_size: int):
        super().__init__(f"out of memory: batch size reduced to {batch_size}")
        self.batch_size = batch_size


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device that was asked for, or the best there is: CUDA, Apple's MPS, CPU.

    Raises
    ------
    ValueError
        If the device that was asked for is unknown or absent.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"unknown device {device!r}; use 'cpu', 'cuda', 'cuda:1' or 'mps'"
        ) from error
    count = torch.cuda.device_count() if picked.type == "cuda" else None
    if count == 0 or (count is not None and (picked.index or 0) >= count):
        raise ValueError(
            f"device {str(picked)!r} was asked for, but PyTorch sees {count} CUDA devices; "
            "use device='cpu', or check the driver and that PyTorch was built for CUDA"
        )
    if picked.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device 'mps' was asked for, but is not available; use device='cpu'")
    return picked


def pick_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The number format that was asked for; float32 by default.

    Half precision is a choice, not a default: cosines near 1 are what this book measures, and a
    float16 has three decimal digits.

    Raises
    ------
    ValueError
        If the format is unknown, or is float16 on a CPU (slow, and not implemented throughout).
    """
    picked = torch.float32 if dtype is None else _DTYPES.get(dtype, dtype)
    if picked not in _DTYPES.values():
        raise ValueError(f"unknown dtype {dtype!r}; use 'float32', 'float16' or 'bfloat16'")
    if picked == torch.float16 and device.type == "cpu":
        raise ValueError("float16 is for GPUs; on a CPU use dtype='float32' or 'bfloat16'")
    return picked


def memory_report(device: str | torch.device | None = None) -> str:
    """One line on the memory of a GPU, or the statement that there is none."""
    device = pick_device(device)
    if device.type != "cuda":
        return f"{device}: computing in the machine's main memory"
    free, total = torch.cuda.mem_get_info(device)
    peak = torch.cuda.max_memory_allocated(device)
    gib = 2.0**30
    return (
        f"{device} ({torch.cuda.get_device_name(device)}): {free / gib:.1f} of {total / gib:.1f} "
        f"GiB free, peak of this process {peak / gib:.1f} GiB"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory was too small."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "out of memory" in str(error).lower()


def in_batches(
    items: Iterable[Item],
    batch_size: int,
    encode: Callable[[list[Item], int], Result],
    *,
    total: int | None = None,
    progress: str | None = None,
) -> list[Result]:
    """Apply a function to batches of items; out of memory halves the batch and goes on from there.

    Items are drawn a batch at a time, so a generator that opens images holds one batch in memory.

    Parameters
    ----------
    items : iterable
    batch_size : int
    encode : callable
        Takes a list of items and the index of the first.
    total : int, optional
        Number of items, for the progress bar.
    progress : str, optional
        Label of the progress bar; no bar without one.

    Returns
    -------
    list
        What `encode` returned for each batch.

    Warns
    -----
    BatchSizeReduced
        When a batch is halved.

    Raises
    ------
    ValueError
        If the batch size is not a positive integer.
    RuntimeError
        If the memory is too small for one item.
    """
    if batch_size != int(batch_size) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer, not {batch_size!r}")
    results: list[Result] = []
    source, waiting, done = iter(items), [], 0
    with tqdm(total=total, desc=progress, disable=progress is None, leave=False) as bar:
        while True:
            waiting += islice(source, max(0, batch_size - len(waiting)))
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
            else:
                del waiting[: len(batch)]
                done += len(batch)
                bar.update(len(batch))
                continue
            # Outside the handler: the error's traceback held the tensors of the failed batch.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            warnings.warn(BatchSizeReduced(batch_size), stacklevel=5)
