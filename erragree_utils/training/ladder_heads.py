"""Heads on frozen tokens: what of an image and of a text is compared, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

PATCHES = 25  # a picture's patch tokens, averaged over 2 x 2 places
WIDTH = 128
SHARPNESS, TEMPERATURE = 10.0, 0.1


@dataclass(frozen=True)
class Reading:
    """What a rung reads: patch tokens, with which positions, and which text.

    `text` is ``"vector"``, ``"quarters"`` (several vectors) or ``"language model"``.
    """

    positions: int = 0  # rotary positions: of the flattened patches (1), of row and column (2)
    text: str = "vector"


#: Rungs in the order of the ladder. Those after the second each change that one alone.
RUNGS = {
    "patch tokens": Reading(),
    "rotary positions": Reading(1),
    "several text tokens": Reading(1, "quarters"),
    "language model as text encoder": Reading(1, "language model"),
    "rotary positions in 2-D": Reading(2),
}


def rotate(tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Rotary embedding (Su et al. 2021, equation 34) of tokens (N, P, D) at places (P,)."""
    half = tokens.shape[-1] // 2
    speed = 10_000.0 ** (-torch.arange(half) / half)
    angle = places[:, None] * speed
    a, b = tokens.split(half, dim=-1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


class Heads(nn.Module):
    """Trained projections of an image's tokens and of a text's vectors, after the authors.

    Vision: layer norm, dropout, and the sum of a linear map and one with a hidden layer; text:
    layer norm, dropout, linear. Rotary positions come before the projection.
    """

    def __init__(self, reading: Reading, text_width: int):
        super().__init__()
        self.reading = reading
        self.image_norm = nn.Sequential(nn.LayerNorm(WIDTH), nn.Dropout(0.1))
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.deep = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.text = nn.Sequential(
            nn.LayerNorm(text_width), nn.Dropout(0.1), nn.Linear(text_width, WIDTH)
        )

    def images(self, tokens: torch.Tensor) -> torch.Tensor:
        """Image vectors (N, P, D) of unit length of patch tokens (N, P, D)."""
        x = tokens
        if self.reading.positions == 1:
            x = rotate(x, torch.arange(PATCHES))
        elif self.reading.positions == 2:
            side, half = math.isqrt(PATCHES), WIDTH // 2
            row, column = torch.arange(PATCHES) // side, torch.arange(PATCHES) % side
            x = torch.cat([rotate(x[..., :half], row), rotate(x[..., half:], column)], dim=-1)
        x = self.image_norm(x)
        return F.normalize(self.linear(x) + self.deep(x), dim=-1)

    def texts(self, vectors: torch.Tensor) -> torch.Tensor:
        """Text vectors (M, T, D) of unit length."""
        return F.normalize(self.text(vectors), dim=-1)


def weights(images: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines (N, P, M) of image vectors (N, P, D) and text vectors (M, D), and their weights."""
    cosines = (images.flatten(0, 1) @ texts.T).unflatten(0, images.shape[:2])
    return cosines, torch.sigmoid(SHARPNESS * cosines)


def scores(images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """Scores (N, M) of image vectors (N, P, D) and text vectors (M, T, D).

    Each text vector weights the image's vectors by sigmoid(10 cos) and is compared with their sum
    by cosine (PACL); the cosines of a text's vectors are averaged.
    """
    flat = texts.flatten(0, 1)
    cosines, weight = weights(images, flat)
    # The vectors' products give the length of a sum: no table (N, M T, D) is needed.
    gram = images @ images.mT
    length = (weight * (gram @ weight)).sum(1).clamp(min=1e-8).sqrt()
    each = (weight * cosines).sum(1) / length
    return each.unflatten(1, texts.shape[:2]).mean(-1)


def chosen(images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """What each text (N, T, D) selects of its own image (N, P, D): unit vectors (N, D)."""
    cosines = torch.einsum("npd,ntd->npt", images, texts)
    summed = torch.einsum("npt,npd->ntd", torch.sigmoid(SHARPNESS * cosines), images)
    return F.normalize(F.normalize(summed, dim=-1).mean(1), dim=-1)


def contrastive_loss(images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric loss of a batch, image i with text i."""
    logits = scores(images, texts) / TEMPERATURE
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
