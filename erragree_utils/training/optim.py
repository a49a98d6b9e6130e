"""Optimizers, learning rates and training steps, which a GPU records and replays."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import torch
from torch.optim import Optimizer


def optimizers(model: torch.nn.Module, settings, blocks: Sequence[str]) -> list[Optimizer]:
    """Muon for the matrices in the parts named by `blocks`, AdamW for everything else.

    `settings` holds the learning rates ``muon_lr`` and ``lr`` and the ``weight_decay`` of matrices.
    """
    matrices, rest = [], []
    for name, p in model.named_parameters():
        if p.requires_grad:
            inside = p.ndim == 2 and any(block in name for block in blocks)
            (matrices if inside else rest).append(p)
    on_gpu = matrices[0].is_cuda
    muon = Muon(matrices, on_gpu, lr=settings.muon_lr, weight_decay=settings.weight_decay)
    options = {"fused": True, "capturable": True} if on_gpu else {}
    adam = torch.optim.AdamW(rest, lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.0, **options)
    place_rates([muon, adam])
    return [muon, adam]


def place_rates(steppers: Iterable[Optimizer]) -> None:
    """On a GPU, keep the rates in its memory, where a recorded step reads them each time."""
    for group in (group for optimizer in steppers for group in optimizer.param_groups):
        if group["params"][0].is_cuda:
            group["lr"] = torch.tensor(float(group["lr"]), device=group["params"][0].device)


def set_rates(steppers: Iterable[Optimizer], factor: float) -> None:
    """Set the learning rates to `factor` times the initial ones."""
    for group in (group for optimizer in steppers for group in optimizer.param_groups):
        rate = group.setdefault("first_lr", float(group["lr"])) * factor
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


class Schedule:
    """Settings of a training whose learning rate rises and falls over its `steps`."""

    def rate(self, step: int) -> float:
        """Factor on the learning rates: linear warm-up, then linear decay to zero."""
        return min((step + 1) / self.warmup, 1.0) * (1.0 - step / self.steps)


class Muon(torch.optim.Muon):
    """PyTorch's Muon, but on GPUs it can treat all matrices of one shape together.

    With a small model's matrices, a GPU finishes an operation in less time than it takes to launch
    it, and Muon needs dozens for each matrix.
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
    """Newton-Schulz iteration towards the nearest orthogonal matrix, for each of a stack (N, a, b).

    As in Muon, it's in bfloat16, and singular values end near 1 but not at it.
    """
    a, b, c = coefficients
    tall = stack.shape[1] > stack.shape[2]
    x = stack.bfloat16().mT if tall else stack.bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Step:
    """A training step: the `loss` of some inputs, its gradients, and a step of each optimizer.

    On a GPU it's recorded once, as a CUDA graph, and then replayed. A small model's step has a
    thousand short operations, which take longer to launch one by one than to run.
    """

    EAGER = 3  # steps before recording, for one-time allocations

    def __init__(self, loss: Callable[..., torch.Tensor], steppers: list[Optimizer]):
        self.loss, self.steppers = loss, steppers
        self.done, self.graph = 0, None

    def __call__(self, factor: float, *inputs) -> torch.Tensor:
        """The loss of `inputs` before a step at `factor` times the initial learning rates.

        The first input is a tensor; on a GPU, all inputs are.
        """
        set_rates(self.steppers, factor)
        self.done += 1
        if not inputs[0].is_cuda:
            return self._run(inputs)
        if self.done <= self.EAGER:
            stream, now = torch.cuda.Stream(), torch.cuda.current_stream()
            stream.wait_stream(now)
            with torch.cuda.stream(stream):
                loss = self._run(inputs)
            now.wait_stream(stream)
            return loss
        if self.graph is None:
            self.inputs = [x.clone() for x in inputs]
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.recorded_loss = self._run(self.inputs)
        for kept, x in zip(self.inputs, inputs, strict=True):
            kept.copy_(x)
        self.graph.replay()
        return self.recorded_loss.clone()

    def _run(self, inputs: Iterable) -> torch.Tensor:
        for optimizer in self.steppers:
            optimizer.zero_grad(set_to_none=True)
        loss = self.loss(*inputs)
        loss.backward()
        for optimizer in self.steppers:
            optimizer.step()
        return loss.detach()
