"""Tools for the book "Erroneous Agreements": image pairs, models that read them, and measures.

The names below are imported when first used, so that ``import erragree_utils`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .benchmarks import load_benchmark
    from .measures.accuracy import summarize, summarize_sets
    from .models import load_clip
    from .models.mllm import load_mllm
    from .models.vision import load_vision
    from .scale import get_scale
    from .study.auto_scale import start
    from .study.kept import evaluate, score

try:
    __version__ = version("erragree-utils")
except PackageNotFoundError:  # read from a checkout that is not installed
    __version__ = "0+unknown"

_HOMES = {
    "load_clip": "models",
    "load_mllm": "models.mllm",
    "load_vision": "models.vision",
    "load_benchmark": "benchmarks",
    "evaluate": "study.kept",
    "score": "study.kept",
    "get_scale": "scale",
    "start": "study.auto_scale",
    "summarize": "measures.accuracy",
    "summarize_sets": "measures.accuracy",
}

__all__ = [
    "evaluate",
    "get_scale",
    "load_benchmark",
    "load_clip",
    "load_mllm",
    "load_vision",
    "score",
    "start",
    "summarize",
    "summarize_sets",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
