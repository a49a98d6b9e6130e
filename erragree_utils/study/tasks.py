"""What there is to do: each benchmark of the tables, read by each model in each way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..scale import Scale
from ..scoring import METHODS
from .tables import TABLES

if TYPE_CHECKING:
    from ..models import Clip
    from ..models.mllm import Mllm

ROLES = ("clip", "mllm")


@dataclass(frozen=True)
class ModelChoice:
    """A model to load: its kind (of `ROLES`), its name, and other arguments of its loader."""

    role: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def load(self) -> Clip | Mllm:
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
    """The tasks that fill the tables of a scale, or a part: those named, and models of one's own.

    Model by model, so that each is loaded once. A name that is not part of the study at this scale
    is refused.
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
