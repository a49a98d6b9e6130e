"""Time, memory and the rate of matrix products, measured alike by all scripts of this folder."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

GIB = 2.0**30
Result = TypeVar("Result")


#: What failed so far: all of it is measured before `finish` ends the script with 1.
FAILURES: list[str] = []


class Disagreement(RuntimeError):
    """Two ways decide differently, or decide too little to tell."""


def told(check: Callable[[], str]) -> str:
    """What a check of agreement says; one that fails is kept for `finish`."""
    try:
        return check()
    except Disagreement as error:
        FAILURES.append(str(error))
        return f"FAILED: {error}"


def finish() -> None:
    """Exit with 1 if any check failed."""
    if FAILURES:
        raise SystemExit("\n".join(["failed:", *FAILURES]))


@dataclass
class Timing:
    """What a way gave, how long it took in each round, and the GiB of memory at its peak."""

    result: Any = None
    rounds: list[float] = field(default_factory=list)
    peak: float = 0.0

    @property
    def seconds(self) -> float:
        """The median."""
        return median(self.rounds)

    def over(self, other: Timing) -> float:
        """The median over rounds of how many times as long as another way it took."""
        return median(a / b for a, b in zip(self.rounds, other.rounds, strict=True))


def alternated(
    ways: Mapping[str, Callable[[], Any]], device: torch.device, rounds: int = 5
) -> dict[str, Timing]:
    """Run all ways in turn, several times: other programs then disturb all of them alike.

    A first turn, which is not measured, warms up.
    """
    timings = {name: Timing(way()) for name, way in ways.items()}
    for _ in range(rounds):
        for name, way in ways.items():
            _, spent, peak = measured(way, device)
            timings[name].rounds.append(spent)
            timings[name].peak = max(timings[name].peak, peak)
    return timings


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
