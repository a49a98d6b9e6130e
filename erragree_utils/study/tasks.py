"""The study's tasks: each benchmark of the tables, for each model and each method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from ..scale import Scale
from ..scoring import METHODS, Method
from .sweep import SWEEP, swept
from .tables import SEEDS, TABLES

if TYPE_CHECKING:
    from ..models import Clip
    from ..models.mllm import Mllm

ROLES = ("clip", "mllm")
#: Settings for drawing answers, with the smallest value of each.
_DRAWING = {"temperature": 0, "seed": 0, "max_new_tokens": 1}


@dataclass(frozen=True)
class ModelChoice:
    """A model to load: its kind (one of `ROLES`), its name, and other arguments of its loader."""

    role: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def load(self) -> Clip | Mllm:
        """Load the model."""
        if self.role == "clip":
            from ..models import load_clip

            return load_clip(self.name, **self.options)
        from ..models.mllm import load_mllm

        return load_mllm(self.name, **self.options)


@dataclass(frozen=True)
class Task:
    """One benchmark, one model and one method.

    Parameters
    ----------
    method : str
        One of `METHODS`, or `SWEEP`.
    decoding : tuple of (str, value)
        Decoding settings that differ from those of `METHODS`.
    """

    benchmark: str
    model: ModelChoice
    method: str
    decoding: tuple[tuple[str, Any], ...] = ()

    @property
    def methods(self) -> dict[str, Method]:
        """The methods for `score`, by name: a single one, or the settings of the sweep."""
        if self.method == SWEEP:
            return swept()
        return {self.method: with_decoding(self.method, dict(self.decoding))}

    @property
    def passes(self) -> int:
        """How often each image is read; a sweep's settings with one second stream share a pass."""
        streams = {getattr(getattr(m, "contrast", None), "noise_step", None): m.weight
                   for m in self.methods.values()}  # fmt: skip
        return sum(streams.values())

    @property
    def label(self) -> str:
        """The method with its settings."""
        return self.method + "".join(f", {name}={value:g}" for name, value in self.decoding)

    def __str__(self) -> str:
        return f"{self.benchmark}, {self.model.role} {self.model.name}, {self.label}"


def with_decoding(name: str, settings: Mapping[str, float]) -> Method:
    """A method with other decoding settings.

    These are the fields of its contrast (for M3ID ``t0``, ``threshold``, ...), ``temperature``,
    ``seed`` and ``max_new_tokens``.

    Raises
    ------
    ValueError
        If the method has no such setting, or the value isn't valid for it.
    """
    method = METHODS[name]
    contrast = getattr(method, "contrast", None)
    inner = {f.name: f.type for f in fields(contrast) if f.init} if contrast else {}
    own = {f.name: f.type for f in fields(method) if f.name in _DRAWING}
    changed: dict[str, float] = {}
    for key, value in settings.items():
        if key not in inner | own:
            known = ", ".join(inner | own)
            raise ValueError(
                f"{name} has no setting {key!r} of its decoding; "
                + (f"choose among {known}" if known else "it does not decode")
            )
        whole, least = (inner | own)[key] == "int", _DRAWING.get(key, -math.inf)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and value >= least and whole <= (value % 1 == 0)):
            limit = f" from {least} on" if key in _DRAWING else ""
            what = "a whole number" if whole else "a number"
            raise ValueError(f"{name}.{key} must be {what}{limit}, not {value!r}")
        # A value equal to the default stays the default, so that results get the default's key.
        if value != getattr(contrast if key in inner else method, key):
            changed[key] = int(value) if whole else float(value)
    of_contrast = {key: value for key, value in changed.items() if key in inner}
    if of_contrast:
        method = replace(method, contrast=replace(contrast, **of_contrast))
    return replace(method, **{key: changed[key] for key in changed.keys() - inner.keys()})


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
    decoding: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Task]:
    """The tasks that fill the tables of a scale, or only those that are named.

    They go model by model, so that each is loaded once. A name that isn't part of the study at this
    scale is refused; models may be your own. `decoding` maps methods to settings that replace their
    own (`with_decoding`); a method in `SEEDS` is run with each seed, unless the settings name one.
    """
    decoding = decoding or {}
    cells = dict.fromkeys(
        (benchmark, method)
        for table in TABLES
        for benchmark in table.benchmarks.get(scale.name, ())
        for method in table.methods
    )
    cells[scale.mmvp, SWEEP] = None
    known = [m for _, m in cells]
    _check_names("benchmark", benchmarks, [b for b, _ in cells], scale)
    _check_names("method", methods, known, scale)
    _check_names("method", list(decoding), [m for m in known if m in (methods or known)], scale)
    for name, settings in decoding.items():
        if name == SWEEP:
            raise ValueError(f"{SWEEP} has all its settings already: change those of a method")
        with_decoding(name, settings)
    tasks = [
        Task(benchmark, model, method, tuple(sorted(settings.items())))
        for model in models or default_models(scale)
        for benchmark, method in cells
        if model.role in roles(method)
        if benchmark in (benchmarks or (benchmark,)) and method in (methods or (method,))
        for settings in _draws(method, decoding.get(method, {}))
    ]
    if not tasks:
        raise ValueError(
            "nothing to do: none of the methods chosen is for the models and benchmarks chosen"
        )
    return tasks


def roles(method: str) -> tuple[str, ...]:
    """The kinds of models that a method, or the sweep, works with."""
    return ("mllm",) if method == SWEEP else METHODS[method].roles


def _draws(method: str, settings: Mapping[str, float]) -> list[dict[str, float]]:
    if method not in SEEDS or "seed" in settings:
        return [dict(settings)]
    return [{**settings, "seed": seed} for seed in range(SEEDS[method])]


def _check_names(what: str, asked: Sequence[str], known: Sequence[str], scale: Scale) -> None:
    for name in asked:
        if name not in known:
            raise ValueError(
                f"no {what} {name!r} in the study at scale {scale.name!r}; "
                f"choose among {', '.join(dict.fromkeys(known))}"
            )
