"""Which tokens of a tree attend to which, as layers with and without a window need it."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedConfig


def window_of(text: PreTrainedConfig) -> int | None:
    """How far back attention reaches, in all layers or in some; None if it reaches all tokens."""
    kinds = getattr(text, "layer_types", None)
    slides = kinds is None or "sliding_attention" in kinds
    return getattr(text, "sliding_window", None) if slides else None


def added(
    text: PreTrainedConfig,
    mask: torch.Tensor,
    own: torch.Tensor,
    places: torch.Tensor,
    dtype: torch.dtype,
) -> Any:
    """What is added to attention, as every kind of it takes it; by layer, if layers differ.

    `mask` (B, T) tells what is real of the tokens read before, `own` (B, n, n) which tokens of the
    tree attend to which; they are tokens number `places` (B, n) of their rows.
    """
    allowed = torch.cat([mask[:, None].bool().expand(-1, own.shape[1], -1), own], dim=2)

    def hidden(allowed: torch.Tensor) -> torch.Tensor:
        zeros = torch.zeros(allowed[:, None].shape, dtype=dtype, device=mask.device)
        return zeros.masked_fill_(~allowed[:, None], torch.finfo(dtype).min)

    window = window_of(text)
    if window is None:
        return hidden(allowed)
    keys = torch.cat([mask.cumsum(dim=1) - 1, places], dim=1)
    near = hidden(allowed & (places[:, :, None] - keys[:, None] < window))
    if getattr(text, "layer_types", None) is None:
        return near
    return {"full_attention": hidden(allowed), "sliding_attention": near}
