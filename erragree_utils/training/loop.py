"""A training run: its command line, and a run folder whose log and checkpoint survive a kill."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from .optim import Schedule, Step, optimizers, place_rates


def command_line(description: str, name: str, settings) -> argparse.ArgumentParser:
    """A training's options: ``--run``, ``--out``, and one for each field of `settings`.

    `name` is the model's name; the fields of the dataclass `settings` are the other defaults.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--run", type=Path, default=Path("runs", name), help="checkpoints, log")
    parser.add_argument("--out", type=Path, help="where the weights go (default: RUN/model)")
    for field, default in asdict(settings).items():
        parser.add_argument(f"--{field.replace('_', '-')}", type=type(default), default=default)
    return parser


def parse(parser: argparse.ArgumentParser, kind: type, arguments: list[str] | None):
    """The options of a :func:`command_line`, and the settings among them, as a `kind`."""
    options = parser.parse_args(arguments)
    options.out = options.out or options.run / "model"
    return options, kind(**{name: getattr(options, name) for name in kind.__dataclass_fields__})


def write_json(path: Path, content: dict) -> None:
    """Write JSON that people can read too."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def copy_log(run: Path, out: Path) -> None:
    """Put a run's log beside its weights."""
    shutil.copy(run / "log.jsonl", out / "training_log.jsonl")


class Run:
    """A training and its folder; if there's a checkpoint, it's loaded into the model.

    `settings` is a dataclass, `blocks` names the parts that Muon trains, and `start` is the step to
    continue with. A folder of a run with other settings raises ValueError. If a folder has no
    checkpoint, the run continues from `origin`, which may come from a run with other settings.
    """

    def __init__(
        self,
        folder: Path,
        settings: Schedule,
        model: torch.nn.Module,
        blocks: Sequence[str],
        origin: Path | None = None,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.log, self.checkpoint = folder / "log.jsonl", folder / "checkpoint.pt"
        self.settings, self.model = settings, model
        self.steppers = optimizers(model, settings, blocks)
        self.start = 0
        if self.checkpoint.exists():
            self.start = self._resume(self.checkpoint, asdict(settings))
        elif origin is not None:
            self.start = self._resume(origin)

    def fit(
        self,
        loss: Callable[..., torch.Tensor],
        draw: Callable[[int], tuple],
        validate: Callable[[], dict[str, float]],
        every: int,
        until: int | None = None,
    ) -> None:
        """Minimise the `loss` of the batches that `draw` returns, for each remaining step.

        Steps from `until` on are left to another call, whose inputs may have other shapes. At
        regular intervals and after the last step, it logs the mean loss since the previous line,
        the minutes over all starts, and what `validate` measures, and then writes a checkpoint.
        """
        minutes, began, losses = self._forget(), time.time(), []
        steps, step_once = until or self.settings.steps, Step(loss, self.steppers)
        name = self.log.parent.name
        for step in tqdm(range(self.start, steps), initial=self.start, total=steps, desc=name):
            losses.append(step_once(self.settings.rate(step), *draw(step)))
            if (step + 1) % every == 0 or step + 1 == steps:
                measures = validate()
                line = {
                    "step": step + 1,
                    "loss": float(np.mean([float(value) for value in losses])),
                    "minutes": minutes + (time.time() - began) / 60,
                    **measures,
                }
                with self.log.open("a") as log:
                    log.write(json.dumps({k: round(v, 4) for k, v in line.items()}) + "\n")
                losses, self.start = [], step + 1
                self._save(step + 1)

    def _forget(self) -> float:
        """Drop lines that a killed run wrote after its checkpoint; returns the minutes so far."""
        texts = self.log.read_text().splitlines() if self.log.exists() else []
        lines = [line for line in map(json.loads, texts) if line["step"] <= self.start]
        self.log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return lines[-1]["minutes"] if lines else 0.0

    def _save(self, step: int) -> None:
        state = {
            "settings": asdict(self.settings),
            "step": step,
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.steppers],
        }
        partial = self.checkpoint.with_suffix(".tmp")
        torch.save(state, partial)
        partial.replace(self.checkpoint)  # a kill leaves either the old or the new one

    def _resume(self, checkpoint: Path, settings: dict | None = None) -> int:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        if settings not in (None, state["settings"]):
            raise ValueError(
                f"{checkpoint} belongs to a run with other settings; choose another folder"
            )
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.steppers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        place_rates(self.steppers)
        return state["step"]
