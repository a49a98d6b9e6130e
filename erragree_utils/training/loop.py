"""What both trainings share: optimizers, steps, and a log and checkpoints that survive a kill."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
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
    device = matrices[0].device
    recorded = {"fused": True, "capturable": True} if device.type == "cuda" else {}
    muon = Muon(
        matrices,
        together=bool(recorded),
        lr=settings.muon_lr,
        weight_decay=settings.weight_decay,
    )
    adam = torch.optim.AdamW(rest, lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.0, **recorded)
    for optimizer in (muon, adam):
        _place_rates(optimizer, device)
    return [muon, adam]


def _place_rates(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """On a GPU a rate is a number in its memory, which a recorded step reads anew each time."""
    if device.type == "cuda":
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(float(group["lr"]), device=device)


class Muon(torch.optim.Muon):
    """PyTorch's Muon, able to treat the matrices of one shape together, which is for GPUs.

    A small model's matrices keep a GPU busy for less time than it takes to start one operation, and
    Muon has dozens for each matrix.
    """

    def __init__(self, matrices: Iterable[torch.Tensor], together: bool, **options: float):
        self.together = together
        super().__init__(matrices, adjust_lr_fn="match_rms_adamw", **options)

    @torch.no_grad()
    def step(self, closure=None):
        if not self.together:
            return super().step(closure)
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape].append(p)
            for matrices in by_shape.values():
                self._step_together(matrices, group)
        return None

    def _step_together(self, matrices: list[torch.Tensor], group: dict) -> None:
        gradients, momentum = [p.grad for p in matrices], group["momentum"]
        for p in matrices:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in matrices]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        moved = torch._foreach_lerp(gradients, buffers, momentum)  # Nesterov's
        rows, columns = matrices[0].shape
        away = orthogonalise(torch.stack(moved), group["ns_coefficients"], group["ns_steps"])
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        rate = group["lr"] * 0.2 * math.sqrt(max(rows, columns))  # "match_rms_adamw"
        torch._foreach_sub_(matrices, list((away * rate).to(matrices[0].dtype).unbind()))


def orthogonalise(
    stack: torch.Tensor, coefficients: tuple[float, float, float], steps: int
) -> torch.Tensor:
    """Newton-Schulz iteration towards the nearest orthogonal matrix of each of a stack (N, a, b).

    As in Muon: in bfloat16, with singular values that end near 1, not at it.
    """
    a, b, c = coefficients
    x = stack.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def update(steppers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """One step of each optimizer at `factor` times its first learning rate; clears gradients."""
    set_rates(steppers, factor)
    for optimizer in steppers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def set_rates(steppers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Set learning rates to `factor` times the first ones."""
    for optimizer in steppers:
        for group in optimizer.param_groups:
            rate = group.setdefault("first_lr", float(group["lr"])) * factor
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


class Step:
    """A training step: `loss` of some inputs, its gradients, and a step of each optimizer.

    On a GPU it is recorded once, as a CUDA graph, and then replayed: a small model's step is a
    thousand short operations, which take longer to start one by one than to run.
    """

    EAGER = 3  # steps before it is recorded, in which what is made once is made

    def __init__(self, loss: Callable[..., torch.Tensor], steppers: list[torch.optim.Optimizer]):
        self.loss, self.steppers = loss, steppers
        self.done, self.graph = 0, None

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The loss, before the step; learning rates are those that `set_rates` set."""
        self.done += 1
        if not inputs[0].is_cuda:
            return self._run(inputs)
        if self.done <= self.EAGER:
            stream, now = torch.cuda.Stream(), torch.cuda.current_stream()
            stream.wait_stream(now)
            with torch.cuda.stream(stream):
                found = self._run(inputs)
            now.wait_stream(stream)
            return found
        if self.graph is None:
            self.inputs = [x.clone() for x in inputs]
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.found = self._run(self.inputs)
        for kept, x in zip(self.inputs, inputs, strict=True):
            kept.copy_(x)
        self.graph.replay()
        return self.found.clone()

    def _run(self, inputs: Iterable[torch.Tensor]) -> torch.Tensor:
        for optimizer in self.steppers:
            optimizer.zero_grad(set_to_none=True)
        loss = self.loss(*inputs)
        loss.backward()
        for optimizer in self.steppers:
            optimizer.step()
        return loss.detach()


class Log:
    """``log.jsonl`` of a run folder: a line a checkpoint, minutes counted over all starts."""

    def __init__(self, run: Path, step: int):
        self.path, self.began, self.losses = run / "log.jsonl", time.time(), []
        self.minutes = forget_after(self.path, step)

    def write(self, step: int, measures: dict[str, float]) -> None:
        """Append the mean of the losses since the last line, the time, and what was measured."""
        minutes = self.minutes + (time.time() - self.began) / 60
        line = {
            "step": step,
            "loss": float(np.mean([float(loss) for loss in self.losses])),
            "minutes": minutes,
            **measures,
        }
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
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["settings"] != asdict(settings):
        raise ValueError(f"{path} belongs to a run with other settings; choose another folder")
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(steppers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
        _place_rates(optimizer, optimizer.param_groups[0]["params"][0].device)
    return state["step"]
