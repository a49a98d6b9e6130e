"""Decoding that sharpens or smooths attention to the image, depending on confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AdaptVis:
    """Attention to the image by confidence (AdaptVis; Chen et al. 2025, arXiv 2503.01773).

    Before the softmax, what the tokens that predict the answer attend to in an image is multiplied
    by a factor, in all heads: below 1 it smooths, above 1 it sharpens. With one factor for both it
    is the paper's ScalingVis; 1 leaves attention as it is.

    Parameters
    ----------
    smooth : float
        Factor where the model, unchanged, gives no first token of the answer `threshold`.
    sharpen : float
        Factor where it does.
    threshold : float
        Probability of the likeliest first token.
    first_layer, last_layer : int
        Decoder layers that are changed, counted from 0; -1 is the last.

    Notes
    -----
    After the authors' code (github.com/shiqichen17/AdaptVis). The defaults are what its ``run.sh``
    sets for LLaVA-1.5-7B on What'sUp A; its README tries 0.5 and 0.8, and 1.2, 1.5 and 2, chosen on
    a fifth of each benchmark. There all layers are changed, but only what the last token of the
    prompt attends to: later tokens of an answer attend as usual, here as the first one does. The
    first token is the same, up to the two digits to which the code rounds the probability.
    """

    smooth: float = 0.5
    sharpen: float = 1.5
    threshold: float = 0.4
    first_layer: int = 0
    last_layer: int = -1
    name: str = field(default="AdaptVis", init=False, repr=False)  # for asdict

    def __post_init__(self) -> None:
        for name in ("smooth", "sharpen"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number 0 or above, not {value!r}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be a number between 0 and 1, not {self.threshold!r}")
        for name in ("first_layer", "last_layer"):
            value = getattr(self, name)
            if value != int(value):
                raise ValueError(f"{name} must be a whole number, not {value!r}")

    def factor(self, confidence: float) -> float:
        """What attention to the image is multiplied by."""
        return self.sharpen if confidence >= self.threshold else self.smooth
