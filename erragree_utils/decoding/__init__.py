"""Contrastive decoding: the formulas here, models decoded by them in `streams`."""

from .contrasts import M3ID, VCD, Contrast, TextContrast

__all__ = ["M3ID", "VCD", "Contrast", "TextContrast"]
