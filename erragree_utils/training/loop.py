"""What both trainings share: optimizers, steps, and a log and checkpoints that survive a kill."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch


def command_line(description: str, run: str, settings) -> argparse.ArgumentParser:
    """A training's options: ``--run``, ``--out``, and one for each field of `settings`.

    `run` is the default folder; `settings` a dataclass whose values are the other defaults.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--run", type=Path, default=Path(run), help="checkpoints, log")
    parser.add_argument("--out", type=Path, help="where the weights go (default: RUN/model)")
    for name, default in asdict(settings).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser


def optimizers(
    model: torch.nn.Module, settings, blocks: tuple[str, ...] = ("resblocks",)
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the parts named in `blocks`, AdamW for everything else.

    `settings` holds the learning rates ``muon_lr`` and ``lr`` and the ``weight_decay`` of matrices.
    """
    matrices, rest = [], []
    for name, p in model.named_parameters():
        if p.requires_grad:
            inside = p.ndim == 2 and any(block in name for block in blocks)
            (matrices if inside else rest).append(p)
    return [
        torch.optim.Muon(
            matrices,
            lr=settings.muon_lr,
            weight_decay=settings.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(rest, lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def update(steppers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """One step of each optimizer at `factor` times its first learning rate; clears gradients."""
    for optimizer in steppers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("first_lr", group["lr"]) * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


class Log:
    """``log.jsonl`` of a run folder: a line a checkpoint, minutes counted over all starts."""

    def __init__(self, run: Path, step: int):
        self.path, self.began, self.losses = run / "log.jsonl", time.time(), []
        self.minutes = forget_after(self.path, step)

    def write(self, step: int, measures: dict[str, float]) -> None:
        """Append the mean of the losses since the last line, the time, and what was measured."""
        minutes = self.minutes + (time.time() - self.began) / 60
        line = {"step": step, "loss": float(np.mean(self.losses)), "minutes": minutes, **measures}
        with self.path.open("a") as log:
            log.write(json.dumps({k: round(v, 4) for k, v in line.items()}) + "\n")
        self.losses = []


def forget_after(log: Path, step: int) -> float:
    """Drop lines that a killed run wrote beyond its checkpoint; minutes that the others took."""
    lines = [json.loads(text) for text in log.read_text().splitlines()] if log.exists() else []
    kept = [line for line in lines if line["step"] <= step]
    log.write_text("".join(json.dumps(line) + "\n" for line in kept))
    return kept[-1]["minutes"] if kept else 0.0


def save_checkpoint(run: Path, settings, model, steppers, step: int) -> None:
    """Write settings (a dataclass), step, weights and optimizer states to ``checkpoint.pt``."""
    state = {
        "settings": asdict(settings),
        "step": step,
        "model": model.state_dict(),
        "optimizers": [o.state_dict() for o in steppers],
    }
    torch.save(state, run / "checkpoint.tmp")
    (run / "checkpoint.tmp").replace(run / "checkpoint.pt")  # a kill leaves the old or the new one


def resume(run: Path, settings, model, steppers) -> int:
    """Load the folder's checkpoint, if there is one, and return the step to go on with.

    Raises
    ------
    ValueError
        If the checkpoint belongs to a run with other settings.
    """
    path = run / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if state["settings"] != asdict(settings):
        raise ValueError(f"{path} belongs to a run with other settings; choose another folder")
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(steppers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["step"]
