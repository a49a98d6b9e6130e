"""How many operations a LLaVA takes, computed from its config alone.

Operations are those of matrix products and attention, a multiplication and an addition counted as
two: 2 x parameters x tokens, and per layer 4 x tokens^2 x width. What it takes of the memory is in
`models.memory`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..models.memory import model_size, patches

if TYPE_CHECKING:
    from transformers import LlavaConfig


def llava_15_7b() -> LlavaConfig:
    """The architecture of LLaVA-1.5-7B (Liu et al. 2024): no weights, no download.

    Vicuna-7B, which is Llama's architecture (32 layers of width 4096, 32,064 tokens), behind
    CLIP's ViT-L/14 at 336 px (576 patch tokens).
    """
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=336, patch_size=14, projection_dim=768,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
        vocab_size=32064, max_position_embeddings=4096,
    )  # fmt: skip
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=32000, image_seq_length=576
    )


def image_flops(config: LlavaConfig) -> float:
    """Floating-point operations of the vision tower and the projector for one image."""
    size, vision, n = model_size(config), config.vision_config, patches(config)
    attention = 4 * vision.num_hidden_layers * (n + 1) ** 2 * vision.hidden_size
    return 2.0 * (size.tower_matrices * (n + 1) + size.projector * n) + attention


def text_flops(config: LlavaConfig, tokens: int, before: int = 0, predictions: int = 1) -> float:
    """Floating-point operations of the language model for `tokens`, those of an image included.

    `before` tokens are cached already; the next token is predicted at `predictions` of the new
    ones. Attention is counted in full, as if tokens looked ahead too.
    """
    size, text = model_size(config), config.text_config
    width = text.num_attention_heads * text.head_dim
    attention = 4 * text.num_hidden_layers * tokens * (before + tokens) * width
    return 2.0 * (size.decoder * tokens + size.head * predictions) + attention
