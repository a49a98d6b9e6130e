"""Formulas of contrastive decoding: VCD, M3ID, and a plain baseline.

Each compares two streams of one model: the prompt as it is, and the same prompt with the image
noised (VCD) or left out (M3ID, text contrast). A token that stays likely in the second stream comes
from the language prior, so it's turned down.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

NOISE_STEPS = 1000  # of VCD's diffusion schedule


class Contrast(ABC):
    """How to combine two streams. Frozen, with the published settings as defaults.

    Attributes
    ----------
    noise_step : int or None
        How far the second stream's images are noised (`add_noise`); None if it has no images.
    """

    noise_step: int | None = None

    @abstractmethod
    def combine(self, conditional: torch.Tensor, contrast: torch.Tensor, step: int) -> torch.Tensor:
        """Unnormalised logits of the combined distribution, (B, V); -inf rules a token out.

        `conditional` and `contrast` (B, V) are the two streams' for the next token, token `step` of
        the answer; the first is 1. float32, or float64 if they are.
        """

    @abstractmethod
    def with_strength(self, strength: float) -> Contrast:
        """The same method with another weight of the difference between the streams.

        The combined logits of the first token are ``conditional + strength * (conditional -
        contrast)`` wherever the method corrects at all; 0 switches the correction off.
        """


@dataclass(frozen=True)
class VCD(Contrast):
    """Visual contrastive decoding, against a noised image (Leng et al. 2024, arXiv 2311.16922).

    Parameters
    ----------
    alpha : float
        Weight of the difference; 0 leaves the plain logits.
    beta : float
        Tokens with less than this share of the likeliest token's probability, in the first stream,
        are ruled out ("adaptive plausibility"); 0 rules out none. Options to be scored may be ruled
        out as well: ``beta=0`` gives every one of them a finite score.
    noise_step : int
        How many of the 1000 diffusion steps are taken, 0 to 999.
    """

    alpha: float = 1.0
    beta: float = 0.1
    noise_step: int = 500
    name: str = field(default="VCD", init=False, repr=False)  # for asdict

    def __post_init__(self) -> None:
        _check("alpha", self.alpha)
        _check("beta", self.beta, 1)
        _check_noise_step(self.noise_step)

    def combine(self, conditional: torch.Tensor, contrast: torch.Tensor, step: int) -> torch.Tensor:
        """``(1 + alpha) l(v) - alpha l(v')`` where ``l(v) >= log beta + max l(v)``."""
        conditional, contrast = _streams_checked(conditional, contrast, step)
        mixed = _pushed(conditional, contrast, self.alpha)
        if self.beta == 0:
            return mixed
        cutoff = math.log(self.beta) + conditional.amax(dim=-1, keepdim=True)
        return mixed.masked_fill(conditional < cutoff, -math.inf)

    def with_strength(self, strength: float) -> VCD:
        """As `Contrast.with_strength` says: the strength is ``alpha``."""
        return replace(self, alpha=strength)


@dataclass(frozen=True)
class M3ID(Contrast):
    """Multi-modal mutual-information decoding, against no image (Favero et al. 2024, 2403.14003).

    Parameters
    ----------
    decay : float
        lambda: how fast we assume that the image's influence fades as the answer grows.
    threshold : float
        a: nothing is corrected where the likeliest token has this probability already; 1 corrects
        always.
    t0 : float
        Tokens by which the correction is ahead: 0 for captions, 10 for questions, whose answers are
        over before the correction has grown.
    strength : float
        Factor of the whole correction, not in the paper, so that it can be varied; 0 switches it
        off.

    Notes
    -----
    With ``t0=0`` the first token has weight exp(0.02) - 1 = 0.02 only, with 10 it has 0.25. The
    settings of arXiv 2411.05195 are not stated there. That t is 1 for the first token is our
    reading.
    """

    decay: float = 0.02
    threshold: float = 0.3
    t0: float = 10
    strength: float = 1.0
    name: str = field(default="M3ID", init=False, repr=False)  # for asdict

    def __post_init__(self) -> None:
        _check("decay", self.decay)
        _check("threshold", self.threshold, 1)
        _check("t0", self.t0)
        _check("strength", self.strength)

    def weight(self, step: int) -> float:
        """``strength * (1 - g_t) / g_t`` with ``g_t = exp(-decay * (t + t0))``."""
        return self.strength * math.expm1(self.decay * (step + self.t0))

    def combine(self, conditional: torch.Tensor, contrast: torch.Tensor, step: int) -> torch.Tensor:
        """``l_c + 1[max p_c < a] (1 - g_t)/g_t (l_c - l_u)``, up to a constant."""
        conditional, contrast = _streams_checked(conditional, contrast, step)
        mixed = _pushed(conditional, contrast, self.weight(step))
        if self.threshold == 1:
            return mixed
        unsure = conditional.softmax(dim=-1).amax(dim=-1, keepdim=True) < self.threshold
        return mixed.where(unsure, conditional)

    def with_strength(self, strength: float) -> M3ID:
        """As `Contrast.with_strength` says; later tokens are corrected more, as ever."""
        if self.decay == 0:
            raise ValueError("with decay=0 nothing is ever corrected: give M3ID a positive decay")
        return replace(self, strength=strength / replace(self, strength=1.0).weight(1))


@dataclass(frozen=True)
class TextContrast(Contrast):
    """The plain baseline, against no image: one weight for all tokens, whatever the confidence.

    `strength` is the weight of the difference; 0 leaves the plain logits.
    """

    strength: float = 1.0
    name: str = field(default="TextContrast", init=False, repr=False)  # for asdict

    def __post_init__(self) -> None:
        _check("strength", self.strength)

    def combine(self, conditional: torch.Tensor, contrast: torch.Tensor, step: int) -> torch.Tensor:
        """``l_c + strength (l_c - l_u)``, up to a constant."""
        return _pushed(*_streams_checked(conditional, contrast, step), self.strength)

    def with_strength(self, strength: float) -> TextContrast:
        """As `Contrast.with_strength` says."""
        return replace(self, strength=strength)


def add_noise(pixels: torch.Tensor, step: int, noise: torch.Tensor) -> torch.Tensor:
    """Forward diffusion of normalised images, as VCD's published code distorts them.

    ``sqrt(abar) pixels + sqrt(1 - abar) noise``, abar the product of all ``1 - beta`` up to `step`
    of a schedule with ``betas = sigmoid(linspace(-6, 6)) * (0.5e-2 - 1e-5) + 1e-5``; `noise` is
    standard normal.
    """
    import torch  # so that listing methods needs no PyTorch

    _check_noise_step(step)
    ramp = torch.linspace(-6, 6, NOISE_STEPS, dtype=torch.float64)
    betas = torch.sigmoid(ramp) * (0.5e-2 - 1e-5) + 1e-5
    kept = float(torch.cumprod(1 - betas, dim=0)[step])
    return (math.sqrt(kept) * pixels.float() + math.sqrt(1 - kept) * noise).to(pixels.dtype)


def _streams_checked(
    conditional: torch.Tensor, contrast: torch.Tensor, step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both at full precision: differences of logits in half precision are mostly rounding."""
    if conditional.shape != contrast.shape or conditional.ndim != 2:
        raise ValueError(
            "the two streams need logits of one shape (batch, vocabulary), not "
            f"{tuple(conditional.shape)} and {tuple(contrast.shape)}"
        )
    if step < 1:
        raise ValueError(f"step counts the answer's tokens from 1, and is {step}")
    if conditional.element_size() < 8:
        return conditional.float(), contrast.float()
    return conditional, contrast


def _pushed(conditional: torch.Tensor, contrast: torch.Tensor, weight: float) -> torch.Tensor:
    """``l + weight (l - l')``; what is ruled out already stays so."""
    mixed = conditional + weight * (conditional - contrast)
    return conditional.where(conditional.isneginf(), mixed)


def _check(name: str, value: float, most: float = math.inf) -> None:
    if not 0 <= value <= most or math.isinf(value):
        limit = "0 or above" if math.isinf(most) else f"between 0 and {most}"
        raise ValueError(f"{name} must be a number {limit}, not {value!r}")


def _check_noise_step(step: int) -> None:
    if step != int(step) or not 0 <= step < NOISE_STEPS:
        raise ValueError(
            f"the noise step must be a whole number from 0 to {NOISE_STEPS - 1}, not {step!r}"
        )
