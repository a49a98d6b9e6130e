"""How many operations a LLaVA needs, computed from its config alone.

We count the operations of matrix products (2 x parameters x tokens) and of attention (4 x tokens^2
x width in each layer), with a multiplication and an addition as two. `models.memory` estimates the
memory it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..models.memory import model_size, patches, places, views

if TYPE_CHECKING:
    from transformers import Idefics3Config, LlavaConfig

    from ..models.memory import Config


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


def smolvlm_256m() -> Idefics3Config:
    """The architecture of SmolVLM-256M-Instruct: no weights, no download.

    SmolLM2-135M (30 layers of width 576) behind SigLIP's ViT-B/16 at 512 px; every 16 of its 1024
    patches become one token.
    """
    from transformers import Idefics3Config

    vision = {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "image_size": 512, "patch_size": 16,
    }  # fmt: skip
    text = {
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64,
        "vocab_size": 49280, "max_position_embeddings": 8192,
    }  # fmt: skip
    return Idefics3Config(vision_config=vision, text_config=text, scale_factor=4)


def image_flops(config: Config) -> float:
    """Floating-point operations of the vision tower and the projector for one photograph."""
    size, vision, n = model_size(config), config.vision_config, places(config)
    attention = 4 * vision.num_hidden_layers * n**2 * vision.hidden_size
    # Idefics3's projector merges several patches into one token.
    projected = patches(config) / getattr(config, "scale_factor", 1) ** 2
    each = 2.0 * (size.tower_matrices * n + size.projector * projected) + attention
    return views(config) * each


def text_flops(config: Config, tokens: int, before: int = 0, predictions: int = 1) -> float:
    """Floating-point operations of the language model for `tokens`, including those of an image.

    `before` tokens are already cached, and `predictions` of the new ones predict the token after
    them. Attention is counted in full, as if it weren't causal.
    """
    size, text = model_size(config), config.text_config
    width = text.num_attention_heads * text.head_dim
    attention = 4 * text.num_hidden_layers * tokens * (before + tokens) * width
    return 2.0 * (size.decoder * tokens + size.head * predictions) + attention
