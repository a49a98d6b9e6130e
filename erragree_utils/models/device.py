"""The device a model runs on, and its number format."""

from __future__ import annotations

import torch

GIB = 2.0**30
#: The number formats of a computation, and their short names.
FORMATS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def format_name(dtype: torch.dtype) -> str:
    """A number format in words, such as ``"float32"``."""
    return str(dtype).removeprefix("torch.")


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The requested device, or the best available: CUDA, Apple's MPS, CPU.

    Raises
    ------
    ValueError
        If the requested device is unknown or absent.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"unknown device {device!r}; use 'cpu', 'cuda', 'cuda:1' or 'mps'"
        ) from error
    present = {"cuda": torch.cuda.device_count, "mps": torch.backends.mps.is_available}
    if picked.type in present and (picked.index or 0) >= present[picked.type]():
        raise ValueError(
            f"there is no device {str(picked)!r} that PyTorch sees; use device='cpu', or check the "
            "driver and that PyTorch was built for it"
        )
    return picked


def pick_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The requested number format; float32 by default.

    Half precision is a choice, not the default: this book measures cosines near 1, and float16 has
    only three decimal digits.

    Raises
    ------
    ValueError
        If the format is unknown, or is float16 on a CPU (slow, and not implemented throughout).
    """
    if dtype is None:
        return torch.float32
    names = {name: each for each, short in FORMATS.items() for name in (short, format_name(each))}
    picked = names.get(dtype, dtype)
    if picked not in FORMATS:
        raise ValueError(f"unknown dtype {dtype!r}; use 'float32', 'float16' or 'bfloat16'")
    if picked == torch.float16 and device.type == "cpu":
        raise ValueError("float16 is for GPUs; on a CPU use dtype='float32' or 'bfloat16'")
    return picked


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory was too small."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "out of memory" in str(error).lower()
