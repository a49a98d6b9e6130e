"""Choose the scale for this machine: paper if LLaVA-1.5-7B fits on its GPU in some precision."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

import pandas as pd

from ..models.device import GIB
from ..models.memory import BATCH, memory_need, model_size
from ..scale import SCALES, VARIABLE, Scale, get_scale
from .costs import llava_15_7b, smolvlm_256m
from .hardware import chosen_precision
from .kept import VARIABLE as RESULTS
from .kept import results_folder


def start(name: str = "auto") -> Scale:
    """Start a chapter: find out its scale, and show the texts of tables in full.

    By default, Colab gets the scale that suits its GPU, and any other machine gets that of
    `get_scale`. A scale named here applies everywhere, and is also set in ``ERRAGREE_SCALE``.
    """
    pd.set_option("display.max_colwidth", None)
    if name == "auto" and "google.colab" not in sys.modules:
        return get_scale()
    if name not in ("auto", *SCALES):
        raise ValueError(f"unknown scale {name!r}; choose one of auto, {', '.join(SCALES)}")
    choice = choose_scale()
    os.environ[VARIABLE] = chosen = choice.scale if name == "auto" else name
    print(describe(choice, chosen))
    others = " or ".join(f'start("{scale}")' for scale in SCALES if scale != chosen)
    print(f"For another scale, write scale = {others} and run all cells again.")
    return get_scale(chosen)


@dataclass(frozen=True)
class Choice:
    """How `load_mllm` would load LLaVA-1.5-7B here: in which precision, or why it would refuse."""

    gpu: str = "none"
    precision: str | None = None
    reason: str = ""

    @property
    def scale(self) -> str:
        """The scale that suits this GPU."""
        return "paper" if self.precision else "mini"


def choose_scale() -> Choice:
    """Look at the first CUDA GPU, if there is one."""
    import torch

    from ..models.folders import ModelError

    if not torch.cuda.is_available():
        return Choice(reason="PyTorch sees no CUDA GPU.")
    device = torch.cuda.get_device_properties(0)
    gpu = f"{device.name}, {device.total_memory / GIB:.1f} GiB"
    try:
        return Choice(gpu, chosen_precision(llava_15_7b(), device.total_memory, device.major >= 8))
    except ModelError as error:
        return Choice(gpu, reason=str(error))


def describe(choice: Choice, scale: str | None = None) -> str:
    """Describe the GPU in a few lines, and what it means for `scale`, by default the chosen one."""
    scale = scale or choice.scale
    lines = [f"GPU: {choice.gpu}", f"scale: {scale}, which needs {SCALES[scale].hardware}"]
    if choice.reason:
        lines.append(choice.reason)
    if scale == "mini":
        lines.append("The small models of this package are used.")
    elif scale == "small":
        needed = memory_need(smolvlm_256m(), "float16")["needed"] / GIB
        lines.append(
            f"SmolVLM-256M needs about {needed:.1f} GiB in 16 bits with {BATCH} images at a time "
            "(an estimate). Chapters that look into LLaVA's own layers can't use it."
        )
    elif choice.precision is None:
        lines.append("LLaVA-1.5-7B will be refused here. Chapters with CLIP alone run, but slowly.")
    else:
        config = llava_15_7b()
        precision = "4 bits" if choice.precision == "4bit" else choice.precision
        needed = memory_need(config, choice.precision)["needed"] / GIB
        lines.append(
            f"LLaVA-1.5-7B is loaded in {precision} and needs about {needed:.0f} GiB with {BATCH} "
            f"images at a time (an estimate); its weights are "
            f"{2 * model_size(config).total / 1e9:.0f} GB to fetch."
        )
    if scale != "mini":
        lines.append(
            f"Scores are stored below {results_folder()} ({RESULTS}) as they come in: an "
            "interrupted cell continues from there."
        )
    return "\n".join(lines)
