"""Time, memory and the rate of matrix products, measured alike by all scripts of this folder."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

GIB = 2.0**30
Result = TypeVar("Result")


def measured(run: Callable[[], Result], device: torch.device) -> tuple[Result, float, float]:
    """Result, seconds, and GiB of memory at the peak, of the GPU or of this process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize(device)
    else:
        with contextlib.suppress(OSError):  # Linux: begin the peak of resident memory anew
            Path("/proc/self/clear_refs").write_text("5")
    began = time.perf_counter()
    result = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - began, peak_memory(device)


def peak_memory(device: torch.device) -> float:
    """GiB at the peak since it was last reset."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    with contextlib.suppress(OSError):  # Linux; getrusage also counts the process that started it
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / GIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int = 8192) -> float:
    """Floating-point operations a second of plain matrix products, the best of ten."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(measured(lambda: a @ b, device)[1] for _ in range(10))
