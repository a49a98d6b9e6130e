"""Refuses scores and logits that aren't numbers, and names their entry."""

from __future__ import annotations

import torch
from transformers import LogitsProcessor

from .inputs import EncodeError

_TOO_COARSE = "the weights are damaged, or dtype is too coarse (try dtype='bfloat16' or 'float32')"


class NumbersOnly(LogitsProcessor):
    """Notes which rows had a logit that is no number: ``generate()`` would take some token.

    Use it as the first processor. A token ruled out by -inf is no error.
    """

    def __init__(self) -> None:
        self.bad: torch.Tensor | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
        # Kept on the device: reading it here would make each token wait for the GPU.
        bad = (scores.isnan() | scores.isposinf()).any(dim=-1)
        self.bad = bad if self.bad is None else self.bad | bad
        return scores

    def check(self, n: int, first: int) -> None:
        """Refuse the first of `n` entries with such a logit; rows are those of all streams."""
        if self.bad is not None and self.bad.any():
            index = first + int(self.bad.int().argmax()) % n
            raise EncodeError(f"the logits for entry {index} are not numbers: {_TOO_COARSE}", index)


def finite(value: float, index: int, ruled_out: bool = False) -> float:
    """A score, if it is a number; -inf may be one of an answer that a method rules out.

    Raises
    ------
    EncodeError
        It names the entry.
    """
    if value != value or value == float("inf") or (value == float("-inf") and not ruled_out):
        raise EncodeError(f"the score of entry {index} is not finite: {_TOO_COARSE}", index)
    return value
