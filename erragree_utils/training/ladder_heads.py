"""Heads on frozen image vectors: what of an image and of a text is compared, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

PATCHES = 25  # a picture's patch tokens, averaged over 2 x 2 places
WIDTH = 128
SHARPNESS = 10.0
PAD = 0  # of word numbers


@dataclass(frozen=True)
class Reading:
    """What a head reads, and what it is trained to do.

    `image` is CLIP's final embedding (``"vector"``), its ``"patches"``, or the last state of the
    LLaVA that has read these (``"llava"``); `positions` are rotary ones, of the flattened patches
    (1) or of row and column (2). `text` is what the frozen models give, ``"vector"``,
    ``"quarters"`` (several vectors) or ``"language model"``, or it's the ``"words"``, which a small
    transformer learns to read or, if the head `writes`, to predict. With `negatives`, each caption
    of left or right comes with the opposite one as a wrong answer. In `stages`, as LLaVA, a head
    that writes learns words without images first, then the projector alone, then both.
    """

    image: Literal["vector", "patches", "llava"] = "patches"
    positions: int = 0
    text: Literal["vector", "quarters", "language model", "words"] = "vector"
    writes: bool = False
    temperature: float = 0.1  # the authors'; its inverse is the logit scale
    negatives: bool = False
    stages: bool = False


#: The authors' ladder; those after the second each change that one alone.
LADDER = {
    "patch tokens": Reading(),
    "rotary positions": Reading(positions=1),
    "several text tokens": Reading(positions=1, text="quarters"),
    "language model as text encoder": Reading(positions=1, text="language model"),
    "rotary positions in 2-D": Reading(positions=2),
}
#: Objective by what is read of the image, with one text transformer: all four cells.
CROSSED = {
    "matching, one vector": Reading("vector", text="words"),
    "matching, patch tokens": Reading(text="words"),
    "captioning, one vector": Reading("vector", text="words", writes=True),
    "captioning, patch tokens": Reading(text="words", writes=True),
}
#: The captioners again, trained in LLaVA's stages.
STAGED = {
    "LLaVA's stages, one vector": Reading("vector", text="words", writes=True, stages=True),
    "LLaVA's stages, patch tokens": Reading(text="words", writes=True, stages=True),
}
#: Changes of what is matched, one at a time: CLIP's own logit scale, and with it wrong answers.
CONTROLS = {
    "one vector, logit scale 100": Reading("vector", text="words", temperature=0.01),
    "patch tokens, logit scale 100": Reading(text="words", temperature=0.01),
    "one vector, hard negatives": Reading("vector", 0, "words", False, 0.01, negatives=True),
    "patch tokens, hard negatives": Reading("patches", 0, "words", False, 0.01, negatives=True),
}
#: LLaVA turned into an encoder whose vectors are matched; it reads the hidden model alone.
CONVERTED = {"LLaVA's last state": Reading("llava", text="words")}
RUNGS = {**LADDER, **CROSSED, **STAGED, **CONTROLS, **CONVERTED}


def rotate(tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Rotary embedding (Su et al. 2021, equation 34) of tokens (N, P, D) at places (P,)."""
    half = tokens.shape[-1] // 2
    speed = 10_000.0 ** (-torch.arange(half) / half)
    angle = places[:, None] * speed
    a, b = tokens.split(half, dim=-1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


def small_llama(words: int) -> LlamaConfig:
    """The text transformer of heads that read or write words."""
    return LlamaConfig(
        vocab_size=words, hidden_size=WIDTH, intermediate_size=3 * WIDTH, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=128, pad_token_id=PAD,
    )  # fmt: skip


class TextEncoder(nn.Module):
    """The state (N, 1, WIDTH) of the last of words (N, L)."""

    def __init__(self, words: int):
        super().__init__()
        self.llama = LlamaModel(small_llama(words))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        states = self.llama(words, use_cache=False)[0]  # causal: padding behind is not seen
        last = (words != PAD).sum(1) - 1
        return states[torch.arange(len(words)), last][:, None]


class Heads(nn.Module):
    """Trained projections of an image's vectors and of a text's, after the authors.

    Vision: layer norm, dropout, and the sum of a linear map and one with a hidden layer; text:
    layer norm, dropout, linear. Rotary positions come before the projection. `text_size` is the
    width of text vectors, or the number of words there are.
    """

    def __init__(self, reading: Reading, text_size: int):
        super().__init__()
        self.reading = reading
        self.image_norm = nn.Sequential(nn.LayerNorm(WIDTH), nn.Dropout(0.1))
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.deep = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        reads_words = reading.text == "words"
        width = WIDTH if reads_words else text_size
        self.text = nn.Sequential(
            TextEncoder(text_size) if reads_words else nn.Identity(),
            nn.LayerNorm(width), nn.Dropout(0.1), nn.Linear(width, WIDTH),
        )  # fmt: skip

    def stages(self, steps: int) -> list[tuple[nn.Module, int, bool]]:
        """All is trained at once: itself, for so many steps, seeing images."""
        return [(self, steps, True)]

    def images(self, tokens: torch.Tensor) -> torch.Tensor:
        """Image vectors (N, P, D) of unit length of what is read (N, P, D)."""
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
        """Text vectors (M, T, D) of unit length, of vectors (M, T, width) or words (M, L)."""
        return F.normalize(self.text(vectors), dim=-1)

    def loss(
        self, tokens: torch.Tensor, vectors: torch.Tensor, wrong: torch.Tensor | None = None
    ) -> torch.Tensor:
        """CLIP's symmetric loss of a batch, image i with text i; `wrong` are texts of no image."""
        texts = vectors if wrong is None else torch.cat([vectors, wrong])
        logits = self.scores(tokens, texts) / self.reading.temperature
        target = torch.arange(len(logits))
        back = logits.T[: len(logits)]
        return (F.cross_entropy(logits, target) + F.cross_entropy(back, target)) / 2

    def scores(self, tokens: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Scores (N, M) of images (N, P, D) and texts."""
        return scores(self.images(tokens), self.texts(vectors))

    def vectors(self, tokens: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """What each text selects of its own image: (N, D)."""
        return chosen(self.images(tokens), self.texts(texts))


class Captioner(nn.Module):
    """A projector and a small language model, both new, that write the caption of an image."""

    def __init__(self, reading: Reading, words: int):
        super().__init__()
        self.reading = reading
        self.projector = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH)
        )
        self.llama = LlamaForCausalLM(small_llama(words))

    def stages(self, steps: int) -> list[tuple[nn.Module, int, bool]]:
        """What is trained after what: the part, its steps, and whether it sees images.

        Reading them takes the given steps; the language model alone half as many, the projector
        alone a quarter.
        """
        whole = (self, steps, True)
        if not self.reading.stages:
            return [whole]
        return [(self.llama, steps // 2, False), (self.projector, steps // 4, True), whole]

    def log_likelihoods(self, tokens: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Log-likelihood (N,), in nats, of each text (N, L) for its image (N, P, D), P may be 0."""
        before = self.projector(tokens)
        rows = torch.cat([before, self.llama.get_input_embeddings()(words[:, :-1])], dim=1)
        logits = self.llama(inputs_embeds=rows, use_cache=False).logits[:, before.shape[1] :]
        target = words[:, 1:]
        nats = F.cross_entropy(logits.mT, target, reduction="none", ignore_index=PAD)
        return -nats.sum(1)

    def loss(self, tokens: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Mean over the words of a batch."""
        return -self.log_likelihoods(tokens, words).sum() / (words[:, 1:] != PAD).sum()

    def scores(self, tokens: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods (N, M) of texts (M, L) for images (N, P, D)."""
        each = [image.expand(len(words), -1, -1) for image in tokens]
        return torch.stack([self.log_likelihoods(image, words) for image in each])

    def vectors(self, tokens: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Mean of what the language model is given of each image: (N, D)."""
        return F.normalize(self.projector(tokens).mean(1), dim=-1)


def weights(images: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines (N, P, M) of image vectors (N, P, D) and text vectors (M, D), and their weights."""
    cosines = (images.flatten(0, 1) @ texts.T).unflatten(0, images.shape[:2])
    return cosines, torch.sigmoid(SHARPNESS * cosines)


def scores(images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """Scores (N, M) of image vectors (N, P, D) and text vectors (M, T, D).

    Each text vector weights the image's vectors by sigmoid(10 cos) and is compared with their sum
    by cosine (PACL); the cosines of a text's vectors are averaged. Of single vectors it's the
    cosine.
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
