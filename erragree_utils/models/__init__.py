"""Models behind one interface: a mini one trained for this book, and the published ones."""

from __future__ import annotations

from .clip import Clip, load_clip
from .device import pick_device, pick_dtype
from .folders import ASSETS, ModelError
from .inputs import EncodeError

__all__ = [
    "ASSETS",
    "Clip",
    "EncodeError",
    "ModelError",
    "load_clip",
    "pick_device",
    "pick_dtype",
]
