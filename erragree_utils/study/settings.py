"""The settings that identify results, so that different ones never mix, and their provenance."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from PIL import Image

from .. import __version__
from ..benchmarks import Benchmark
from ..scoring import METHODS
from .tasks import Task

#: Options of `load_benchmark` that say where files are, not what is in them.
_PLACES = ("folder", "download")
_PACKAGES = ("torch", "torchvision", "transformers", "open_clip_torch", "accelerate",
             "bitsandbytes", "numpy", "pandas", "pillow")  # fmt: skip


def method_settings(task: Task) -> dict[str, Any]:
    """What determines a method's results for a kind of model; the sweep's settings by name."""
    filed = {n: asdict(m.underlying(task.model.role)) for n, m in task.methods.items()}
    return {"name": task.method, **filed.get(task.method, {"settings": filed})}


def changed_settings(method: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Where stored settings of a method differ from those that its name stands for."""
    if method["name"] not in METHODS:
        return {}
    usual = _flat(asdict(METHODS[method["name"]].underlying(role)))
    return {k: v for k, v in _flat(method).items() if k in usual and v != usual[k]}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A method's fields, with those of its contrast on the same level."""
    inner = settings.get("contrast") or {}
    return {k: v for k, v in {**inner, **settings}.items() if k not in ("contrast", "name")}


def job_settings(
    task: Task, model: Any, bench: Benchmark, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that determines the results of a task, and so identifies them."""
    return {
        "package": __version__,
        "benchmark": bench_settings(bench, options),
        "model": model_settings(model, task.model.role),
        "method": method_settings(task),
    }


def about(model: Any, bench: Benchmark, asked: str) -> dict[str, str]:
    """Other facts to store with results; `asked` is the name by which the model was requested."""
    return {
        "asked": asked,
        "weights": getattr(model, "weights", ""),
        "device": str(getattr(model, "device", "")),
        "benchmark_source": bench.source,
    }


def without_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without a benchmark's options, since the hash of its items covers those anyway."""
    return {**settings, "benchmark": {**settings["benchmark"], "options": {}}}


def model_settings(model: Any, role: str) -> dict[str, Any]:
    """What determines a model's results, including a hash of its weights and its prompt format."""
    quantization = getattr(model, "quantization", None)
    network = getattr(model, "model", None)
    return {
        "role": role,
        "name": model.name,
        "revision": getattr(model, "revision", None),
        "dtype": str(getattr(model, "dtype", "")).removeprefix("torch."),
        "quantization": quantization,
        "square": getattr(model, "square", None),
        "weights": None if network is None else weights_digest(network),
        "prompt": model.prompt("{question}") if hasattr(model, "prompt") else None,
    }


def weights_digest(network: Any, samples: int = 64) -> str:
    """A hash that tells trained weights apart, from a few numbers of each tensor.

    Quantized tensors are left out: their packing may differ between devices, and the other tensors
    suffice to tell models apart.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not tensor.is_floating_point():
            continue
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // samples)][:samples]
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(some.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def bench_settings(bench: Benchmark, options: Mapping[str, Any]) -> dict[str, Any]:
    """What determines a benchmark: its name and options, and a hash of its items.

    Images in memory are hashed whole, files only by name. The contents of files are hashed set by
    set (`files_digest`), so that fetching one file again leaves the results of the others valid.
    """
    digest = hashlib.sha256()
    for pair in bench:
        digest.update(repr((pair.pair_id, pair.set_id, pair.relation, pair.captions)).encode())
        if hasattr(pair, "question"):
            digest.update(repr((pair.question, pair.options, pair.prompt)).encode())
        digest.update(getattr(pair, "orientation", "").encode())
        for source in pair.sources:
            digest.update(_identity(source))
    return {
        "name": bench.name,
        "options": {k: v for k, v in sorted(options.items()) if k not in _PLACES},
        "items": digest.hexdigest()[:16],
        "n_sets": bench.n_sets,
        "text": _text(bench),
    }


def _text(bench: Benchmark) -> str:
    """What CLIP reads."""
    if not any(hasattr(pair, "question") for pair in bench):
        return "captions"
    stated = all(pair.statements is not None for pair in bench)
    return "statements" if stated else "question with answer"


def _identity(source: Path | Image.Image) -> bytes:
    if not isinstance(source, Image.Image):
        return Path(source).name.encode()
    try:
        return repr((source.mode, source.size)).encode() + source.tobytes()
    except (OSError, SyntaxError, ValueError):  # damaged: scoring it names the pair
        return b"damaged"


def files_digest(pairs: Iterable[Any]) -> str:
    """A hash of the contents of pairs' image files; images in memory are left out.

    Empty if a file cannot be read, since nothing is known about it then.
    """
    digest = hashlib.sha256()
    for pair in pairs:
        for source in pair.sources:
            if isinstance(source, Image.Image):
                continue
            try:
                found = os.stat(source)
                digest.update(_file_digest(str(source), found.st_size, found.st_mtime_ns))
            except OSError:  # if it has to be scored, scoring names the pair
                return ""
    return digest.hexdigest()[:16]


@cache
def _file_digest(path: str, size: int, mtime_ns: int) -> bytes:
    """Read once for all methods, and again if size or time show that the file has changed."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


# --- provenance ---------------------------------------------------------------------------------


def provenance(share: tuple[int, int] = (0, 1)) -> dict[str, Any]:
    """Where and with what this process computes; identifies nothing. `source` hashes our code."""
    torch = sys.modules.get("torch")  # if it isn't loaded, it computes nothing
    on_gpu = torch is not None and torch.cuda.is_available()
    hardware = torch.cuda.get_device_name() if on_gpu else f"CPU, {platform.machine()}"
    return {
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "hardware": hardware,
        "threads": torch.get_num_threads() if torch is not None else None,
        "process": f"{share[0] + 1} of {share[1]}",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _PACKAGES if _version(name)},
        "source": _source_digest(),
    }


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _source_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
