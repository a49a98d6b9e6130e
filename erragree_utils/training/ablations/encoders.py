"""What reads images and texts in the ablations: small new towers, and the shipped mini LLaVA."""

from __future__ import annotations

import math

import torch
from open_clip.transformer import Transformer, VisionTransformer
from torch import nn
from transformers import LlavaForConditionalGeneration as Llava

from .. import clip, llava
from ..llava_model import shared_tokenizer
from .experiments import Settings


def vision_tower(s: Settings) -> VisionTransformer:
    """A ViT that gives its class token and its patch tokens after the last layer norm."""
    tower = VisionTransformer(
        s.image_size, s.patch, s.width, s.layers, s.width // 32, 4.0,
        output_dim=s.embed_dim, output_tokens=True,
    )  # fmt: skip
    tower.proj = None  # models project on their own
    if not s.positions:
        tower.positional_embedding.data.zero_()
        tower.positional_embedding.requires_grad_(False)
    return tower


class TextTower(nn.Module):
    """CLIP's causal text transformer. Image tokens may come before the words."""

    def __init__(self, s: Settings):
        super().__init__()
        self.width = s.width
        self.words = nn.Embedding(len(shared_tokenizer()), s.width)
        self.places = nn.Parameter(0.01 * torch.randn(s.context, s.width))
        self.transformer = Transformer(s.width, s.text_layers, s.width // 32)
        self.last = nn.LayerNorm(s.width)
        nn.init.normal_(self.words.weight, std=0.02)

    def forward(self, texts: torch.Tensor, prefix: torch.Tensor | None = None) -> torch.Tensor:
        """States (N, length, width) of texts (N, length), the prefix's left out."""
        x = self.words(texts) + self.places[: texts.shape[1]]
        if prefix is not None:
            x = torch.cat([prefix, x], dim=1)
        mask = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)
        return self.last(self.transformer(x, attn_mask=mask))[:, -texts.shape[1] :]


class LlamaText(nn.Module):
    """The mini LLaVA's language model as a text encoder."""

    def __init__(self):
        super().__init__()
        model = mini_llava()
        self.llama = model.model.language_model
        self.width = model.config.text_config.hidden_size

    def forward(self, texts: torch.Tensor) -> torch.Tensor:
        """States (N, length, width) of texts (N, length)."""
        return self.llama(texts, use_cache=False).last_hidden_state  # causal: padding is not seen


def mini_llava() -> Llava:
    """The shipped mini LLaVA in float32."""
    if not (llava.ASSETS / "model.safetensors").exists():
        raise FileNotFoundError(
            f"no mini LLaVA in {llava.ASSETS}; train it: python -m erragree_utils.training.llava"
        )
    return Llava.from_pretrained(llava.ASSETS, dtype=torch.float32)


def untaught_llava(seed: int) -> Llava:
    """The mini LLaVA before its training: all but its frozen vision encoder is random."""
    model = llava.build_model(llava.Settings(seed=seed), clip.ASSETS, shared_tokenizer())
    model.model.language_model.set_attn_implementation("sdpa")
    return model


def text_ends(texts: torch.Tensor) -> torch.Tensor:
    """Place (N,) of the end token of each text (N, length)."""
    return (texts != shared_tokenizer().pad_token_id).sum(1) - 1


def at_end(states: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """States (N, D) of the end tokens of texts (N, length)."""
    return states[torch.arange(len(texts)), text_ends(texts)]


def rotate(patches: torch.Tensor) -> torch.Tensor:
    """Rotate patch vectors (N, P, D) by their place: half the numbers by column, half by row.

    Rotary position embedding (Su et al. 2021, equation 34) with slower frequencies, since a row of
    patches is short.
    """
    _, n, width = patches.shape
    side, quarter = math.isqrt(n), width // 4
    speed = 100.0 ** (-torch.arange(quarter) / quarter)
    row, column = (a.flatten() for a in torch.meshgrid(*[torch.arange(side)] * 2, indexing="ij"))
    angle = torch.cat([column[:, None] * speed, row[:, None] * speed], dim=1)
    a, b = patches[..., 0::2], patches[..., 1::2]
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
