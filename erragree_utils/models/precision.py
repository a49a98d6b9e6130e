"""The precision of a language model's weights, chosen to fit the device."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

import torch
from transformers import BitsAndBytesConfig

from .device import GIB, format_name, pick_dtype
from .folders import ModelError

# Never quantized: that LLaVA reads the very encoder that CLIP has is the book's point. Names differ
# between families and versions of Transformers.
_EYES = ("vision_tower", "multi_modal_projector", "vision_model", "connector", "visual")
EXACT = ["lm_head", *_EYES, *(f"model.{part}" for part in _EYES)]

SMALL = 500e6  # parameters; below, float32 costs nothing that anyone would notice
_ROOM = 2.5 * GIB  # for activations and the keys and values of a batch
_BITS4 = 0.65  # bytes per weight at 4 bits, with scales and the layers that stay in half precision
# Tokens of an image and a question, and what a desktop CPU multiplies a second.
_TOKENS, _CPU_RATE = 650, (1e11, 5e11)


@dataclass(frozen=True)
class Precision:
    """The precision of a model's weights, and the reason for it."""

    dtype: torch.dtype
    quantization: str | None = None
    reason: str = ""


def plan_precision(
    n_parameters: int,
    device: torch.device,
    dtype: str | torch.dtype | None = None,
    quantization: str | None = None,
    *,
    memory: int | None = None,
    has_bf16: bool | None = None,
    checkpoint: torch.dtype | None = None,
    name: str = "the model",
    insisted: bool = False,
) -> Precision:
    """Choose number format and quantization to fit the device; explicit choices win.

    Parameters
    ----------
    dtype, quantization
        As in `load_mllm`.
    memory : int, optional
        Bytes of the GPU, or of the machine for a CPU; by default what there is. All of it, not
        what is free now: the same card always gets the same numbers.
    has_bf16 : bool, optional
        Whether the GPU computes in bfloat16; by default PyTorch tells.
    checkpoint : torch.dtype, optional
        Number format of the published weights.
    name : str
        For messages.
    insisted : bool
        Whether the user named the device, so that a slow CPU is what they want.

    Raises
    ------
    ModelError
        If the model is too large for the device in any way.
    ValueError
        If the choices are unknown or do not go together.
    """
    if quantization not in (None, "none", "4bit", "8bit"):
        raise ValueError(f"unknown quantization {quantization!r}; use '4bit', '8bit' or 'none'")
    fixed = None if dtype is None else pick_dtype(dtype, device)
    memory = _memory(device) if memory is None else memory
    packed, small = quantization in ("4bit", "8bit"), n_parameters < SMALL
    if device.type != "cuda":
        if packed:
            raise ValueError(
                f"quantization={quantization!r} needs a CUDA GPU, the device is {str(device)!r}"
            )
        if small:
            return Precision(fixed or torch.float32)
        return _plan_without_cuda(n_parameters, device, fixed, memory, name, insisted)
    if has_bf16 is None:
        has_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
    half = torch.bfloat16 if checkpoint == torch.bfloat16 and has_bf16 else torch.float16
    if packed:
        return Precision(fixed or half, quantization)
    size = 2 * n_parameters
    if fixed or small or quantization == "none" or memory >= size + _ROOM:
        return Precision(fixed or (torch.float32 if small else half))
    need = _BITS4 * n_parameters + _ROOM
    if memory < need:
        raise ModelError(
            f"{name} has {n_parameters / 1e9:.1f} billion weights and needs {need / GIB:.0f} GiB "
            f"even at 4 bits; the GPU has {memory / GIB:.0f}. Use a larger GPU or a smaller model, "
            "or load_mllm('mini')."
        )
    return Precision(
        half,
        "4bit",
        f"loaded at 4 bits, since the GPU's {memory / GIB:.0f} GiB do not hold its "
        f"{size / GIB:.0f} GiB of weights in half precision with room to work; scores differ a "
        "little from those in half precision (quantization='none' forbids it)",
    )


def _plan_without_cuda(
    n: int, device: torch.device, fixed: torch.dtype | None, memory: int, name: str, insisted: bool
) -> Precision:
    if device.type == "mps":
        chosen = fixed or torch.float16
    else:
        chosen = fixed or (torch.float32 if 4 * n + _ROOM <= memory else torch.bfloat16)
    need = n * chosen.itemsize + _ROOM
    work = 2 * n * _TOKENS
    slow, fast = (work / rate for rate in _CPU_RATE)
    cost = (
        f"it has {n / 1e9:.1f} billion weights, {need / GIB:.0f} GiB in memory as "
        f"{format_name(chosen)} (this machine has {memory / GIB:.0f}), and works "
        f"{work / 1e12:.0f} TFLOP on each image and question: {fast:.0f} to {slow:.0f} seconds on "
        "a CPU, below one on a GPU"
    )
    ways = "Use a GPU of 15 GB or more (a free Colab has one), or load_mllm('mini')"
    if need > memory:
        raise ModelError(f"{name} is too large for this machine: {cost}. {ways}.")
    if device.type == "cpu" and not insisted:
        raise ModelError(
            f"{name} is slow without a GPU: {cost}. {ways}; or give device='cpu' to run it here."
        )
    return Precision(chosen, None, f"no CUDA GPU is used: {cost}" if device.type == "cpu" else "")


def _memory(device: torch.device) -> int:
    """Bytes of the GPU's memory, or of the machine's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on every system
        return 2**62


def quantization_config(plan: Precision) -> BitsAndBytesConfig:
    """How bitsandbytes packs the weights: NF4 or 8 bits, except for those in `EXACT`."""
    lacking = [p for p in ("bitsandbytes", "accelerate") if importlib.util.find_spec(p) is None]
    if lacking:
        raise ModelError(
            f"loading at {plan.quantization} needs the packages bitsandbytes and accelerate: run "
            f"pip install {' '.join(lacking)}, or give quantization='none' if the GPU's memory "
            "is large enough"
        )
    bits = {"load_in_8bit": True}
    if plan.quantization == "4bit":
        bits = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": plan.dtype,
        }
    return BitsAndBytesConfig(**bits, llm_int8_skip_modules=EXACT)
