"""Benchmarks by name: synthetic ones made on the spot, published ones read from files."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..checks import brief
from .base import Benchmark, BenchmarkError, ImageError, ImagePair

# Loaders are imported when asked for: a renderer or a download library costs nobody else time.
_LOADERS = {
    "tabletop-a": ("erragree_utils.benchmarks.tabletop", "load_tabletop"),
    "tabletop-b": ("erragree_utils.benchmarks.tabletop", "load_tabletop"),
    "whatsup-a": ("erragree_utils.benchmarks.whatsup", "load_whatsup"),
    "whatsup-b": ("erragree_utils.benchmarks.whatsup", "load_whatsup"),
    "coco-spatial": ("erragree_utils.benchmarks.spatial", "load_spatial"),
    "gqa-spatial": ("erragree_utils.benchmarks.spatial", "load_spatial"),
    "mmvp": ("erragree_utils.benchmarks.mmvp", "load_mmvp"),
    "mmvp-vlm": ("erragree_utils.benchmarks.mmvp", "load_mmvp_vlm"),
    "tabletop-mmvp": ("erragree_utils.benchmarks.tabletop_mmvp", "load_tabletop_mmvp"),
}

BENCHMARKS = tuple(_LOADERS)

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkError",
    "ImageError",
    "ImagePair",
    "load_benchmark",
]


def load_benchmark(name: str, **options: Any) -> Benchmark:
    """Load a benchmark.

    Parameters
    ----------
    name : str
        One of `BENCHMARKS`.
    **options
        Passed to the loader. ``tabletop-*``: ``seed``, ``n_sets``, ``size`` (see
        `tabletop.load_tabletop`). ``whatsup-*``: ``folder``, ``download``, ``skip_incomplete``
        (see `whatsup.load_whatsup`). ``coco-spatial`` and ``gqa-spatial``: the same and
        ``objects`` (see `spatial.load_spatial`). ``mmvp``: the same and ``labels``, ``repository``
        (see `mmvp.load_mmvp`); ``mmvp-vlm``: the same and ``prefix`` (see `mmvp.load_mmvp_vlm`).
        ``tabletop-mmvp``: ``seed``, ``n_pairs``, ``size``, ``keep`` (see
        `tabletop_mmvp.load_tabletop_mmvp`).

    Returns
    -------
    Benchmark

    Raises
    ------
    ValueError
        If the name is unknown; the message lists the known ones.
    BenchmarkError
        If files are missing or are not in the published format.
    erragree_utils.benchmarks.download.DownloadError
        If files could not be fetched; the message says how to get them by hand.
    """
    if not isinstance(name, str) or name not in _LOADERS:
        raise ValueError(f"unknown benchmark {brief(name)}; choose one of {', '.join(BENCHMARKS)}")
    module, function = _LOADERS[name]
    return getattr(import_module(module), function)(name, **options)
