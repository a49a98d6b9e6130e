"""Models behind one interface: a mini one trained for this book, and the published ones."""

from __future__ import annotations

from .clip import Clip, ModelError, load_clip
from .device import EncodeError, memory_report, pick_device, pick_dtype

__all__ = [
    "Clip",
    "EncodeError",
    "ModelError",
    "load_clip",
    "memory_report",
    "pick_device",
    "pick_dtype",
]
