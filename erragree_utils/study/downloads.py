"""Fetch the models and benchmarks of the study, or say what to save where by hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from ..benchmarks import BenchmarkError, load_benchmark
from ..benchmarks.download import DownloadError
from ..scale import get_scale
from .by_hand import CLIP_FILES, IN_PLACE, LLAVA_FILES, VISION_FILES, for_benchmark, for_model
from .tasks import ModelChoice


def fetch_all(
    benchmarks: Iterable[str], models: Iterable[ModelChoice], encoders: Iterable[str], by_hand: bool
) -> bool:
    """Fetch what can be fetched and report on each download; returns whether all succeeded.

    `encoders` are vision-only encoders. `by_hand` fetches nothing and prints instructions instead.
    """
    jobs = [
        *((f"benchmark {name}", _benchmark, name) for name in benchmarks),
        *((f"{choice.role} {choice.name}", _model, choice) for choice in models),
        *((f"vision {name}", _vision, name) for name in encoders),
    ]
    failed = []
    for name, fetch, what in jobs:
        try:
            print(f"{name}: {fetch(what, by_hand)}", flush=True)
        except (ValueError, DownloadError) as error:
            failed.append(name)
            print(f"error: {name}: {error}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {len(jobs)} could not be had: {', '.join(failed)}")
    return not failed


def _benchmark(name: str, by_hand: bool) -> str:
    options = {"download": False} if by_hand and not name.startswith("tabletop") else {}
    try:
        bench = load_benchmark(name, **options)
    except BenchmarkError as error:
        if not by_hand:
            raise
        lines = for_benchmark(name)
        return lines if IN_PLACE not in lines else f"{error}\n{lines}"
    return f"{len(bench)} pairs, {bench.source}"


def _model(choice: ModelChoice, by_hand: bool) -> str:
    """Fetch a language model's files without loading it: it may not fit into memory here."""
    from ..models import checkpoint, hub

    if choice.role == "clip":
        repository = _clip_repository(choice.name) if by_hand else ""
        if repository:
            return for_model("clip", repository, "main", CLIP_FILES)
        here = ModelChoice("clip", choice.name, {**choice.options, "device": "cpu"})
        return f"weights {here.load().weights}"
    folder = checkpoint.local_folder(choice.name)
    if folder is not None:
        return f"in {folder}"
    revision = choice.options.get("revision") or checkpoint.REVISIONS.get(choice.name, "main")
    if by_hand:
        known = choice.name == get_scale("paper").mllm
        return for_model("mllm", choice.name, revision, LLAVA_FILES if known else ())
    files = [*checkpoint.SETTINGS_FILES, *checkpoint.WEIGHTS_FILES]
    folder, commit = hub.fetch(choice.name, revision, files)
    return f"commit {commit[:7]}, in {folder}"


def _clip_repository(name: str) -> str:
    """Where the hub has the weights that `load_clip` uses by default; empty if it doesn't."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    tags = open_clip.list_pretrained_tags_by_model(name)
    tag = "openai" if "openai" in tags else next(iter(tags), None)
    return get_pretrained_cfg(name, tag).get("hf_hub", "").rpartition("/")[0] if tag else ""


def _vision(name: str, by_hand: bool) -> str:
    from ..models.vision import load_vision

    if by_hand and name != get_scale("mini").vision and not os.path.isdir(name):
        return for_model("vision", f"timm/{name}", "main", VISION_FILES)
    return f"{load_vision(name, device='cpu').embed_dim} numbers an image"
