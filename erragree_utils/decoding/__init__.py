"""Decoding by two streams: VCD, M3ID and a plain text contrast."""

from .contrast import M3ID, VCD, Contrast, TextContrast

__all__ = ["M3ID", "VCD", "Contrast", "TextContrast"]
