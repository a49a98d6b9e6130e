"""A model, a benchmark and a method: the table of scores."""

from .methods import (
    METHODS,
    Answer,
    BothImages,
    GroupScore,
    Matching,
    Method,
    Options,
    RelativePreference,
    VQAScore,
)

__all__ = [
    "METHODS",
    "Answer",
    "BothImages",
    "GroupScore",
    "Matching",
    "Method",
    "Options",
    "RelativePreference",
    "VQAScore",
]
