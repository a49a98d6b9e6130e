"""Benchmarks by name: synthetic ones rendered on the spot, published ones read from files."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..checks import brief
from .base import Benchmark, BenchmarkError, ImageError, ImagePair, QuestionPair

# Module and function of each; imported when asked for: a renderer costs nobody else time.
_LOADERS = {
    "tabletop-a": ("tabletop", "load_tabletop"),
    "tabletop-b": ("tabletop", "load_tabletop"),
    "whatsup-a": ("whatsup", "load_whatsup"),
    "whatsup-b": ("whatsup", "load_whatsup"),
    "coco-spatial": ("spatial", "load_spatial"),
    "gqa-spatial": ("spatial", "load_spatial"),
    "mmvp": ("mmvp", "load_mmvp"),
    "mmvp-vlm": ("mmvp", "load_mmvp_vlm"),
    "winoground": ("winoground", "load_winoground"),
    "naturalbench": ("naturalbench", "load_naturalbench"),
    "sugarcrepe": ("sugarcrepe", "load_sugarcrepe"),
    "vsr": ("vsr", "load_vsr"),
    "cv-bench": ("cvbench", "load_cvbench"),
    "tabletop-mmvp": ("tabletop_mmvp", "load_tabletop_mmvp"),
    "folder": ("folder", "load_folder"),
}

BENCHMARKS = tuple(_LOADERS)

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkError",
    "ImageError",
    "ImagePair",
    "QuestionPair",
    "load_benchmark",
]


def load_benchmark(name: str, **options: Any) -> Benchmark:
    """Load a benchmark, one of `BENCHMARKS`.

    `needs.NEEDS` lists the requirements of each: files, access and licence.

    Parameters
    ----------
    **options
        Passed to the loader. ``tabletop-*``: ``seed``, ``n_sets``, ``size`` (see
        `tabletop.load_tabletop`). All published ones: ``folder``, ``download``,
        ``skip_incomplete``; further ``whatsup-*``: ``labels`` (see `whatsup.load_whatsup`);
        ``coco-spatial`` and ``gqa-spatial``: ``objects`` (see `spatial.load_spatial`); ``mmvp``:
        ``labels``, ``repository``, ``statements`` (see `mmvp.load_mmvp`); ``mmvp-vlm``: ``prefix``
        (see `mmvp.load_mmvp_vlm`); ``sugarcrepe``: ``category``; ``vsr``: ``split``; ``cv-bench``:
        ``task`` (see `sugarcrepe.load_sugarcrepe`, `vsr.load_vsr`, `cvbench.load_cvbench`;
        `winoground.load_winoground` and `naturalbench.load_naturalbench` have no more).
        ``tabletop-mmvp``: ``seed``, ``n_pairs``, ``size``, ``keep``, ``mined``, ``form`` (see
        `tabletop_mmvp.load_tabletop_mmvp`). ``folder``, your own pairs: ``folder``,
        ``skip_incomplete``, ``check_images`` (see `folder.load_folder`).

    Raises
    ------
    BenchmarkError
        If files are missing, are not in the published format, or contradict each other.
    erragree_utils.benchmarks.download.DownloadError
        If files could not be fetched; the message says how to get them by hand.
    """
    if not isinstance(name, str) or name not in _LOADERS:
        raise ValueError(f"unknown benchmark {brief(name)}; choose one of {', '.join(BENCHMARKS)}")
    module, function = _LOADERS[name]
    return getattr(import_module(f".{module}", __name__), function)(name, **options)
