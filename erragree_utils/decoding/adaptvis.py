"""Decoding that attends more sharply to the image, or less, by how sure the model is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AdaptVis:
    """Attention to the image by confidence (AdaptVis; Chen et al. 2025, arXiv 2503.01773).

    Before the softmax, what the tokens that predict the answer attend to in an image is multiplied
    by a factor: below 1 it smooths, above 1 it sharpens. With one factor for both it is the paper's
    ScalingVis; 1 leaves attention as it is.

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
    The paper chooses both factors and the threshold on held-out data, for each benchmark. The
    defaults are within the ranges as we remember them (0.5 to 0.8, 1.2 to 2, 0.3 to 0.65), not a
    setting of its authors. That heads and layers are changed alike is its setting; the range of
    layers is ours.
    """

    smooth: float = 0.5
    sharpen: float = 1.5
    threshold: float = 0.3
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
