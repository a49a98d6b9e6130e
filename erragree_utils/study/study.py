"""Which benchmark is read by which model in which way, for the paper's tables; and running that.

`METHODS` and `TABLES` are the study as data. A new protocol is an entry in `METHODS` (a function
that takes a model, a benchmark and a batch size and returns a table as `runner.evaluate` does) and
a name in a `Table`; a new benchmark is a name there. Running, storing, resuming and reporting then
know it.
"""

from __future__ import annotations

import gc
import hashlib
import inspect
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from .. import __version__
from ..benchmarks import Benchmark, ImageError, load_benchmark
from ..scale import SCALES, Scale
from ..scoring import vqascore
from ..scoring.runner import evaluate
from .store import Item, Writer, setting_key

ROLES = ("clip", "mllm")
#: Options of `load_benchmark` that say where files are, and not what is in them.
_PLACES = ("folder", "download")
#: Columns that are the same in every row, and stand in the settings.
_CONSTANT = ("model", "method")
_PACKAGES = ("torch", "torchvision", "transformers", "open_clip_torch", "accelerate",
             "bitsandbytes", "numpy", "pandas", "pillow")  # fmt: skip


class ItemError(ValueError):
    """An image is damaged, or a score is not a number; the message names it."""


@dataclass(frozen=True)
class Method:
    """A way to read a benchmark.

    Parameters
    ----------
    roles : tuple of str
        Kinds of models that it is for: among `ROLES`. A method for several is run, filed and shown
        for each.
    run : callable
        Takes a model, a benchmark and ``batch_size``; returns a table as `runner.evaluate` does.
        Images of a set come together, and nothing may depend on other sets or on the place of an
        item in the call: a protocol with noise draws it from a seed and the item's name.
    settings : callable
        Takes the role; returns what decides its results beside model and benchmark, such as
        prompts, decoding, a seed: plain values, by which results are filed.
    decides : {"image", "pair"}
        What a row of its table is about: an image's own text, or (once for each pair) which of two
        images goes with which of two texts. The chance levels are not the same.
    weight : int
        How many images with a prompt an entry of a batch stands for, such as two where a second
        stream runs along: its batches are as many times smaller.
    """

    roles: tuple[str, ...]
    run: Callable[..., pd.DataFrame]
    settings: Callable[[str], Mapping[str, Any]] = lambda role: {}
    decides: str = "image"
    weight: int = 1


def _evaluated(
    name: str, role: str, settings: Callable[[str], Mapping[str, Any]] = lambda role: {}
) -> Method:
    """A method of `runner.evaluate`."""
    return Method((role,), partial(evaluate, method=name), settings)


def _vqascore_settings(role: str) -> dict[str, Any]:
    return {"question": vqascore.QUESTION, "answer": "Yes"}


def _options_settings(role: str) -> dict[str, Any]:
    return {"question": vqascore.RELATION_QUESTION, "answers": vqascore.ANSWERS, "normalize": True}


def _prompted_settings(role: str) -> dict[str, Any]:
    from ..models.mllm import Mllm

    return {
        "question": vqascore.RELATION_QUESTION, "answers": vqascore.ANSWERS,
        "decoding": "greedy", "max_new_tokens": _default(Mllm.generate, "max_new_tokens"),
    }  # fmt: skip


def _default(function: Callable[..., Any], name: str) -> Any:
    return inspect.signature(function).parameters[name].default


# Methods for pairs with a question of their own. What computes them is imported when it is needed:
# listing and reporting need no model.


def _answered(name: str | None = None) -> Method:
    """Answers in words: greedily, or by a class of `decoding` with its published settings."""

    def run(model: Any, bench: Benchmark, batch_size: int) -> pd.DataFrame:
        from ..scoring.answers import answer_pairs

        table = answer_pairs(model, bench, contrast(), batch_size=batch_size)
        return table.drop(columns="pattern")  # the relation again

    def contrast() -> Any:
        from ..decoding import contrast as decoding

        return None if name is None else getattr(decoding, name)()

    def settings(role: str) -> dict[str, Any]:
        from ..scoring.answers import answer_pairs

        how = "greedy" if name is None else {"name": name, **asdict(contrast())}
        return {
            "asked": "the pair's prompt", "decoding": how,
            "max_new_tokens": _default(answer_pairs, "max_new_tokens"),
        }  # fmt: skip

    return Method(("mllm",), run, settings, weight=1 if name is None else 2)


def _scored_options(model: Any, bench: Benchmark, batch_size: int) -> pd.DataFrame:
    from ..scoring.two_images import image_predictions, single_image_scores

    return _tidy(image_predictions(single_image_scores(model, bench, batch_size=batch_size)))


def _both_images(model: Any, bench: Benchmark, batch_size: int) -> pd.DataFrame:
    from ..scoring.two_images import image_predictions, two_image_scores

    return _tidy(image_predictions(two_image_scores(model, bench, batch_size=batch_size)))


def _relative(model: Any, bench: Benchmark, batch_size: int) -> pd.DataFrame:
    from ..scoring.two_images import relative_preference, single_image_scores

    table = relative_preference(single_image_scores(model, bench, batch_size=batch_size))
    # What is compared here is one image's preference with the other's.
    names = {"preference_0": "score_own", "preference_1": "score_other"}
    return _tidy(table.rename(columns=names))


_TIDY = ["pair_id", "set_id", "relation", "image_index", "model", "method", "n_options",
         "score_own", "score_other", "correct"]  # fmt: skip


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that `runner.evaluate` returns, and whether an image was right in each place."""
    return table[[*_TIDY, *(name for name in table if name.startswith("correct_"))]]


def _scored_options_settings(role: str) -> dict[str, Any]:
    from ..scoring.two_images import single_image_scores

    if role == "clip":
        return {"texts": "the pair's captions"}
    return {
        "asked": "the pair's question", "normalize": _default(single_image_scores, "normalize")
    }  # fmt: skip


def _both_images_settings(role: str) -> dict[str, Any]:
    from ..scoring.two_images import two_image_scores

    return {
        "prompt": _default(two_image_scores, "prompt"), "orders": "both, averaged",
        "normalize": _default(two_image_scores, "normalize"),
    }  # fmt: skip


METHODS: dict[str, Method] = {
    "matching": _evaluated("matching", "clip"),
    "matching-all": _evaluated("matching-all", "clip"),
    "matching-text-to-image": _evaluated("matching-text-to-image", "clip"),
    "vqascore": _evaluated("vqascore", "mllm", _vqascore_settings),
    "vqascore-all": _evaluated("vqascore-all", "mllm", _vqascore_settings),
    "options": _evaluated("options", "mllm", _options_settings),
    "prompted": _evaluated("prompted", "mllm", _prompted_settings),
    "prompted-4way": _evaluated("prompted-4way", "mllm", _prompted_settings),
    "question-options": Method(("mllm",), _scored_options, _scored_options_settings),
    "greedy": _answered(),
    "vcd": _answered("VCD"),
    "m3id": _answered("M3ID"),
    "text-contrast": _answered("TextContrast"),
    "two-images": Method(("mllm",), _both_images, _both_images_settings, weight=2),
    "relative-preference": Method(ROLES, _relative, _scored_options_settings, decides="pair"),
}


@dataclass(frozen=True)
class Table:
    """One table of the report.

    Parameters
    ----------
    name, title : str
    benchmarks : mapping of str to tuple of str
        Scale to the names of its benchmarks; those of the mini scale mirror those of the paper's,
        in the same order.
    methods : tuple of str
        Keys of `METHODS`; either all decide about images, or all about pairs.
    relations : {"rows", "apart", ""}
        Whether relations have rows of their own, a table of their own with a column for each
        method, or are not told apart.
    sets : bool
        Whether set accuracy is shown.
    compare : tuple of (str, str)
        Methods whose results on the same images are compared, the second with the first; a method
        with itself: its models, one kind with the other.
    """

    name: str
    title: str
    benchmarks: Mapping[str, tuple[str, ...]]
    methods: tuple[str, ...]
    relations: str = "rows"
    sets: bool = False
    compare: tuple[tuple[str, str], ...] = ()


_WHATSUP = {name: (scale.whatsup_a, scale.whatsup_b) for name, scale in SCALES.items()}
_MMVP = {name: (scale.mmvp,) for name, scale in SCALES.items()}
_MMVP_VLM = {name: (scale.mmvp_vlm,) for name, scale in SCALES.items()}

TABLES = (
    Table(
        "two-way", "What'sUp, two captions: its own, and the pair's other one", _WHATSUP,
        ("matching", "vqascore", "options", "prompted"), sets=True,
        compare=(("matching", "vqascore"), ("matching", "options"), ("matching", "prompted")),
    ),
    Table(
        "four-way", "What'sUp, the four captions of the set", _WHATSUP,
        ("matching-all", "vqascore-all", "prompted-4way"), sets=True,
        compare=(("matching-all", "vqascore-all"), ("matching-all", "prompted-4way")),
    ),
    Table(
        "spatial", "COCO-spatial and GQA-spatial, two captions for a single image",
        {"paper": ("coco-spatial", "gqa-spatial")}, ("matching", "vqascore"), relations="",
        compare=(("matching", "vqascore"),),
    ),
    Table(
        "mmvp", "MMVP, one question about two images with opposite answers", _MMVP,
        ("matching", "question-options", "greedy", "vcd", "m3id", "text-contrast", "two-images"),
        relations="apart",
        compare=(
            ("matching", "greedy"), ("matching", "question-options"), ("greedy", "vcd"),
            ("greedy", "m3id"), ("greedy", "text-contrast"), ("question-options", "two-images"),
        ),
    ),
    Table(
        "mmvp-relative", "MMVP, relative preference: one decision a pair, chance 50%", _MMVP,
        ("relative-preference",), relations="apart",
        compare=(("relative-preference", "relative-preference"),),
    ),
    Table(
        "mmvp-vlm", "MMVP-VLM, from text to image: which of two images a statement is about",
        _MMVP_VLM, ("matching-text-to-image",),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class ModelChoice:
    """A model to load.

    Parameters
    ----------
    role : str
        ``"clip"`` or ``"mllm"``.
    name : str
        For `load_clip` or `load_mllm`.
    options : mapping
        Their other arguments.
    """

    role: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def load(self) -> Any:
        """The model."""
        if self.role == "clip":
            from ..models import load_clip

            return load_clip(self.name, **self.options)
        from ..models.mllm import load_mllm

        return load_mllm(self.name, **self.options)


@dataclass(frozen=True)
class Task:
    """One benchmark read by one model in one way."""

    benchmark: str
    model: ModelChoice
    method: str

    def __str__(self) -> str:
        return f"{self.benchmark}, {self.model.role} {self.model.name}, {self.method}"


@dataclass
class Outcome:
    """What a run did: sets scored now, sets that were stored before, and those skipped, by name."""

    scored: int = 0
    stored: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


def default_models(scale: Scale) -> tuple[ModelChoice, ...]:
    """The models of a scale."""
    return (
        ModelChoice("clip", scale.clip, {"dtype": scale.clip_dtype}),
        ModelChoice("mllm", scale.mllm),
    )


def plan(
    scale: Scale,
    benchmarks: Sequence[str] = (),
    models: Sequence[ModelChoice] = (),
    methods: Sequence[str] = (),
) -> list[Task]:
    """The tasks that fill the tables of a scale, or a part of them.

    Parameters
    ----------
    scale : Scale
    benchmarks, methods : sequence of str
        Those to keep; all of the scale if empty.
    models : sequence of ModelChoice
        By default those of the scale.

    Returns
    -------
    list of Task
        Model by model, so that each is loaded once.

    Raises
    ------
    ValueError
        If a name is not part of the study at this scale, or nothing is left.
    """
    cells = dict.fromkeys(
        (benchmark, method)
        for table in TABLES
        for benchmark in table.benchmarks.get(scale.name, ())
        for method in table.methods
    )
    _check_names("benchmark", benchmarks, [b for b, _ in cells], scale)
    _check_names("method", methods, [m for _, m in cells], scale)
    tasks = [
        Task(benchmark, model, method)
        for model in models or default_models(scale)
        for benchmark, method in cells
        if model.role in METHODS[method].roles
        if benchmark in (benchmarks or (benchmark,)) and method in (methods or (method,))
    ]
    if not tasks:
        raise ValueError(
            "nothing to do: none of the methods chosen is for the models and benchmarks chosen"
        )
    return tasks


def _check_names(what: str, asked: Sequence[str], known: Sequence[str], scale: Scale) -> None:
    for name in asked:
        if name not in known:
            raise ValueError(
                f"no {what} {name!r} in the study at scale {scale.name!r}; "
                f"choose among {', '.join(dict.fromkeys(known))}"
            )


def run(
    tasks: Sequence[Task],
    folder: str | Path,
    *,
    scale: str = "",
    limit: int | None = None,
    batch_size: int = 32,
    skip_bad: bool = False,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    share: tuple[int, int] = (0, 1),
    progress: bool = False,
) -> Outcome:
    """Score what a store lacks of the tasks, and store it as it comes.

    Parameters
    ----------
    tasks : sequence of Task
        What `plan` returned.
    folder : str or pathlib.Path
        The store. What it holds under the same settings and of the same image files is not scored
        again.
    scale : str
        Name of the scale, for the report.
    limit : int, optional
        Sets of each benchmark, from its first.
    batch_size : int
        Images that a model reads at a time, and about as many that are stored at a time. Out of
        memory halves the former for the rest of the task.
    skip_bad : bool
        Leave out sets with a damaged image or a score that is no number, and note them, instead of
        stopping. They are tried again by the next run.
    options : mapping of str to mapping, optional
        Options of `load_benchmark` for benchmarks by name.
    share : tuple of two int
        Number of this process and how many share the tasks. Parts go to processes by their place,
        whatever is stored, so that processes need not talk to each other.
    progress : bool
        Show a progress bar for each task.

    Returns
    -------
    Outcome
        Of this process.

    Raises
    ------
    ItemError
        If an image is damaged or a score is not a number, unless `skip_bad`.
    store.StoreError
        If the store cannot be written, or what was written is gone.
    ValueError, RuntimeError
        What loading and scoring raise.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be a positive number of sets, not {limit}")
    benches = cache(lambda name: load_benchmark(name, **(options or {}).get(name, {})))
    outcome, turn = Outcome(), 0
    with Writer(folder, lambda: {"scale": scale, **provenance(share)}, *share) as writer:
        for choice, mine in groupby(tasks, key=lambda task: task.model):
            model = None
            _free_memory()
            model = choice.load()
            for task in mine:
                bench = benches(task.benchmark)
                job = _Job(task, model, bench, (options or {}).get(task.benchmark, {}), batch_size)
                sets = _sets(bench)
                parts = _parts(sets[:limit], batch_size)
                todo = [p for i, p in enumerate(parts, turn) if i % share[1] == share[0]]
                turn += len(parts)
                rest = sets[limit:] if limit and share[0] == 0 else []
                _withdraw(job, [*(group for part in todo for group in part.sets), *rest], writer)
                _run_job(job, todo, writer, outcome, skip_bad, progress)
            del job
    return outcome


def provenance(share: tuple[int, int] = (0, 1)) -> dict[str, Any]:
    """Where and with what this process computes; it decides nothing.

    Returns
    -------
    dict
        ``time`` (UTC), ``hardware``, ``threads``, ``process``, ``python``, ``platform``,
        ``versions`` of packages, and ``source``, a hash of this package's code.
    """
    torch = sys.modules.get("torch")  # not loaded, it computes nothing
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


def _free_memory() -> None:
    """Give the memory of the model before back to the device."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


# --- settings ------------------------------------------------------------------------------------


def model_settings(model: Any, role: str) -> dict[str, Any]:
    """What decides a model's results.

    Parameters
    ----------
    model : Clip or Mllm
    role : str

    Returns
    -------
    dict
        Name, revision, dtype, quantization, a hash of samples of all weights, and for a `Mllm` the
        prompt around a question.
    """
    quantization = getattr(model, "quantization", None)
    network = getattr(model, "model", None)
    return {
        "role": role,
        "name": model.name,
        "revision": getattr(model, "revision", None),
        "dtype": str(getattr(model, "dtype", "")).removeprefix("torch."),
        "quantization": quantization,
        "weights": None if network is None else weights_digest(network),
        "prompt": model.prompt("{question}") if hasattr(model, "prompt") else None,
    }


def weights_digest(network: Any, samples: int = 64) -> str:
    """A hash by which trained weights are told apart: of some numbers of each tensor.

    Parameters
    ----------
    network : torch.nn.Module
    samples : int
        Numbers of each tensor, evenly spaced. Quantized tensors are left out: their packing may
        differ between devices, and the other tensors tell models apart.

    Returns
    -------
    str
        16 hexadecimal digits.
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
    """What decides a benchmark: its name and options, and a hash of its items.

    Images in memory are hashed whole, files by their names: what is in the files is filed set by
    set (`files_digest`), so that one that is fetched again leaves the results of others valid.
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
    }


def _identity(source: Path | Image.Image) -> bytes:
    if not isinstance(source, Image.Image):
        return Path(source).name.encode()
    try:
        return repr((source.mode, source.size)).encode() + source.tobytes()
    except (OSError, SyntaxError, ValueError):  # damaged: scoring it names the pair
        return b"damaged"


def files_digest(pairs: Iterable[Any]) -> str:
    """A hash of what is in the image files of pairs; images in memory are left out.

    Returns
    -------
    str
        16 hexadecimal digits; empty if a file cannot be read, of which nothing is known then.
    """
    digest = hashlib.sha256()
    for pair in pairs:
        for source in pair.sources:
            if isinstance(source, Image.Image):
                continue
            try:
                found = os.stat(source)
                digest.update(_file_digest(str(source), found.st_size, found.st_mtime_ns))
            except OSError:  # scoring it, if it has to be, names the pair
                return ""
    return digest.hexdigest()[:16]


@cache
def _file_digest(path: str, size: int, mtime_ns: int) -> bytes:
    """Read once for all methods, and again when size or time say that the file is another one."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


class _Job:
    """A task with its model and benchmark at hand, and the settings that its results have."""

    def __init__(
        self, task: Task, model: Any, bench: Benchmark, options: Mapping[str, Any], batch_size: int
    ):
        self.task, self.model, self.bench = task, model, bench
        self.method = METHODS[task.method]
        self.batch_size = max(1, batch_size // self.method.weight)
        self.settings = {
            "package": __version__,
            "benchmark": bench_settings(bench, options),
            "model": model_settings(model, task.model.role),
            "method": {"name": task.method, **self.method.settings(task.model.role)},
        }
        self.key = setting_key(self.settings)
        self.about = {
            "asked": task.model.name,
            "weights": getattr(model, "weights", ""),
            "device": str(getattr(model, "device", "")),
            "benchmark_source": bench.source,
        }
        self._told: set[str] = set()

    def score(self, part: _Part) -> list[Item]:
        """The results of whole sets.

        Raises
        ------
        ItemError
            If an image is damaged or a score is not a number.
        """
        pairs = tuple(pair for group in part.sets for pair in group.pairs)
        bench = Benchmark(self.bench.name, pairs, self.bench.description, self.bench.source)
        start = time.perf_counter()
        try:
            table = self._run(bench)
        except ValueError as error:
            # Errors about one item have an index, those of models too (`models.EncodeError`).
            if not isinstance(error, ImageError) and getattr(error, "index", None) is None:
                raise
            raise ItemError(f"{self.task}: {error}") from error
        _check_numbers(table, self.task)
        each = (time.perf_counter() - start) / len(part.sets)
        by_set = dict(list(table.drop(columns=list(_CONSTANT)).groupby("set_id", sort=False)))
        return [
            Item(
                group.name, group.place, _columns(by_set[group.name]), round(each, 4),
                images=group.files,
            )
            for group in part.sets
        ]  # fmt: skip

    def _run(self, bench: Benchmark) -> pd.DataFrame:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            table = self.method.run(self.model, bench, batch_size=self.batch_size)
        for warning in caught:
            self._take(warning)
        return table

    def _take(self, warning: warnings.WarningMessage) -> None:
        """Pass a warning on, once a task; what it says of memory holds for all that comes."""
        # In a text, what follows a number differs from part to part.
        told = re.split(r"\d", str(warning.message))[0]
        # `models.batches.BatchSizeReduced`, which need not have been imported.
        size = getattr(warning.message, "batch_size", None)
        if size is not None:  # or every part would fail first
            self.batch_size = min(self.batch_size, size)
            told += str(size)
        if told not in self._told:
            self._told.add(told)
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _check_numbers(table: pd.DataFrame, task: Task) -> None:
    scores = table[["score_own", "score_other"]].to_numpy(float)
    bad = ~np.isfinite(scores).all(axis=1)
    if bad.any():
        row = table.iloc[int(bad.argmax())]
        raise ItemError(
            f"{task}: the score of image {row['image_index']} of pair {row['pair_id']!r} is not a "
            "number: the weights are damaged, or dtype is too coarse"
        )


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): table[name].tolist() for name in table}


# --- parts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Set:
    name: str
    place: int
    pairs: tuple[Any, ...]

    @property
    def n_images(self) -> int:
        return sum(len(pair.sources) for pair in self.pairs)

    @cached_property
    def files(self) -> str:
        return files_digest(self.pairs)


@dataclass(frozen=True)
class _Part:
    """Sets that are scored and stored together."""

    sets: tuple[_Set, ...]

    @property
    def n_images(self) -> int:
        return sum(group.n_images for group in self.sets)


def _sets(bench: Benchmark) -> list[_Set]:
    pairs: dict[str, list[Any]] = {}
    for pair in bench:
        pairs.setdefault(pair.set_id, []).append(pair)
    return [_Set(name, place, tuple(group)) for place, (name, group) in enumerate(pairs.items())]


def _parts(sets: Sequence[_Set], n_images: int) -> list[_Part]:
    """Whole sets in the benchmark's order, about `n_images` a part.

    Parts do not depend on what is stored: a resumed run puts the same images into a batch, and so
    rounds as an undisturbed one does (unless a part was torn; then its missing sets alone are
    scored).
    """
    parts, waiting = [], []
    for group in sets:
        waiting.append(group)
        if sum(w.n_images for w in waiting) >= n_images:
            parts.append(_Part(tuple(waiting)))
            waiting = []
    return [*parts, _Part(tuple(waiting))] if waiting else parts


def _withdraw(job: _Job, sets: Sequence[_Set], writer: Writer) -> None:
    """Take back results of image files that have been replaced since; settings lost come back."""
    known = writer.stored.items.get(job.key, {})
    # A file that cannot be read now, as on a drive that is not there, was not replaced.
    stale = [g for g in sets if g.name in known and g.files not in ("", known[g.name].images)]
    reason = "its image files were replaced after it was scored"
    if stale or (known and job.key not in writer.stored.settings):
        items = [Item(g.name, g.place, skipped=reason, images=g.files) for g in stale]
        writer.add(job.key, job.settings, items, job.about)
    if stale:
        warnings.warn(
            f"{job.task}: image files of {len(stale)} sets were replaced after they were scored "
            f"({', '.join(repr(g.name) for g in stale[:5])}{', ...' * (len(stale) > 5)}): their "
            "results are withdrawn, and they are scored again",
            stacklevel=3,
        )
    for group in stale:
        del known[group.name]


def _run_job(
    job: _Job,
    parts: Sequence[_Part],
    writer: Writer,
    outcome: Outcome,
    skip_bad: bool,
    progress: bool,
) -> None:
    done = writer.stored.items.get(job.key, {})
    open_parts = [_Part(tuple(g for g in p.sets if g.name not in done)) for p in parts]
    n_sets, n_images = (
        [sum(f(p) for p in which) for which in (parts, open_parts)]
        for f in (lambda p: len(p.sets), lambda p: p.n_images)
    )
    outcome.stored += n_sets[0] - n_sets[1]
    # Where output goes to a file, a line now and then is enough.
    pause = 0.1 if sys.stderr.isatty() else 15.0
    with tqdm(
        total=n_images[0], initial=n_images[0] - n_images[1], desc=str(job.task), unit="image",
        disable=not progress, mininterval=pause, dynamic_ncols=True,
    ) as bar:  # fmt: skip
        for part in open_parts:
            for items in _scored(job, part, skip_bad):
                writer.add(job.key, job.settings, items, job.about)
                outcome.scored += sum(item.skipped is None for item in items)
                outcome.skipped |= {
                    f"{job.task}, set {item.name!r}": item.skipped
                    for item in items
                    if item.skipped is not None
                }
            bar.update(part.n_images)


def _scored(job: _Job, part: _Part, skip_bad: bool) -> Iterator[list[Item]]:
    """The items of a part; if one is bad and may be skipped, of its halves, until it is alone."""
    if not part.sets:
        return
    try:
        items = job.score(part)
    except ItemError as error:
        if not skip_bad:
            raise
        if len(part.sets) == 1:
            (group,) = part.sets
            items = [Item(group.name, group.place, skipped=str(error), images=group.files)]
        else:
            half = len(part.sets) // 2
            for sets in (part.sets[:half], part.sets[half:]):
                yield from _scored(job, _Part(sets), skip_bad)
            return
    yield items
