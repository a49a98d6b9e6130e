"""Decoding that depends more on the image: formulas here, models in `streams` and `scaled`."""

from .adaptvis import AdaptVis
from .contrasts import M3ID, VCD, Contrast, TextContrast

__all__ = ["M3ID", "VCD", "AdaptVis", "Contrast", "TextContrast"]
