"""What a LLaVA costs, computed from its config alone: parameters, memory, operations.

Memory is the sum of four parts (`memory_need`):

- *weights*: parameters times bytes, 2 in half precision. At 4 bits (NF4, Dettmers et al. 2023,
  "QLoRA") a weight takes half a byte, and each block of 64 a scale of 4 bytes; only the linear
  layers of the language model are quantized, everything else stays in half precision
  (`models.precision`).
- *cache*, the keys and values: 2 x layers x key heads x numbers per head x bytes, for each token.
- *activations*: the largest intermediate results of a forward pass.
- *fixed*: the CUDA context, workspaces of its libraries, what the allocator cannot use.

Operations are those of matrix products and attention, a multiplication and an addition counted as
two: 2 x parameters x tokens, and per layer 4 x tokens^2 x width.

These are estimates. `speed/paper_scale.py` measures on a real GPU.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from transformers import LlavaConfig

GIB = 2.0**30
BATCH = 8  # images at a time: 5,000 tokens keep a GPU busy
TEXT_TOKENS = 120  # system line, question and answers, about
BITS4 = 0.5 + 4 / 64  # bytes a weight
_FIXED = 0.6 * GIB  # an assumption
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "4bit": 2}  # all but the weights, at 4 bits


@dataclass(frozen=True)
class Size:
    """Parameters of a LLaVA's parts.

    `decoder` are the linear layers of the language model, `head` the layer that predicts tokens,
    `rest` embeddings and norms; `tower_matrices` are the tower's without its embeddings and norms.
    """

    tower: int
    projector: int
    decoder: int
    head: int
    rest: int
    tower_matrices: int

    @property
    def total(self) -> int:
        """All parameters."""
        return self.tower + self.projector + self.decoder + self.head + self.rest


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


def model_size(config: LlavaConfig) -> Size:
    """Count a LLaVA's parameters without allocating them."""
    return _model_size(config.to_json_string(use_diff=False))


@lru_cache
def _model_size(config: str) -> Size:
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    def count(*modules: torch.nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    with torch.device("meta"):
        llava = LlavaForConditionalGeneration(LlavaConfig(**json.loads(config)))
    tower, language = llava.model.vision_tower, llava.model.language_model
    decoder = count(*(m for m in language.modules() if isinstance(m, torch.nn.Linear)))
    matrices = (torch.nn.Linear, torch.nn.Conv2d)
    return Size(
        tower=count(tower),
        projector=count(llava.model.multi_modal_projector),
        decoder=decoder,
        head=count(llava.lm_head),
        rest=count(language) - decoder,
        tower_matrices=sum(m.weight.numel() for m in tower.modules() if isinstance(m, matrices)),
    )


def memory_need(
    config: LlavaConfig, precision: str = "float16", batch_size: int = BATCH
) -> pd.Series:
    """Estimate the memory that reading `batch_size` images at a time takes, by the formula above.

    `precision` is float32, float16, bfloat16 or 4bit. Returns bytes: ``weights``, ``cache``,
    ``activations``, ``fixed``, and ``needed``, their sum.
    """
    if precision not in _BYTES:
        raise ValueError(f"unknown precision {precision!r}; choose one of {', '.join(_BYTES)}")
    size, each = model_size(config), _BYTES[precision]
    text, vision = config.text_config, config.vision_config
    decoder = size.decoder * (BITS4 if precision == "4bit" else each)
    tokens = config.image_seq_length + TEXT_TOKENS
    patches = _patches(config) + 1  # and the class token
    # Gate, up and their product; states, and queries, keys and values.
    reading = tokens * (3 * text.intermediate_size + 4 * text.hidden_size)
    # Transformers keeps the output of every layer of the tower.
    seeing = patches * (
        (vision.num_hidden_layers + 4) * vision.hidden_size + 2 * vision.intermediate_size
    )
    largest = text.hidden_size * text.intermediate_size  # unpacked from 4 bits, one at a time
    unpacked = largest * each if precision == "4bit" else 0
    need = {
        "weights": decoder + (size.total - size.decoder) * each,
        "cache": cache_bytes(config, each) * tokens * batch_size,
        "activations": max(reading, seeing) * batch_size * each + unpacked,
        "fixed": _FIXED,
    }
    return pd.Series(need | {"needed": sum(need.values())}, name=precision, dtype=float)


def cache_bytes(config: LlavaConfig, bytes_each: int = 2) -> int:
    """Bytes of the keys and values of one token."""
    text = config.text_config
    heads = text.num_key_value_heads * text.head_dim
    return 2 * text.num_hidden_layers * heads * bytes_each


def _patches(config: LlavaConfig) -> int:
    return (config.vision_config.image_size // config.vision_config.patch_size) ** 2


def image_flops(config: LlavaConfig) -> float:
    """Floating-point operations of the vision tower and the projector for one image."""
    size, vision, patches = model_size(config), config.vision_config, _patches(config)
    attention = 4 * vision.num_hidden_layers * (patches + 1) ** 2 * vision.hidden_size
    return 2.0 * (size.tower_matrices * (patches + 1) + size.projector * patches) + attention


def text_flops(config: LlavaConfig, tokens: int, before: int = 0, predictions: int = 1) -> float:
    """Floating-point operations of the language model for `tokens`, those of an image included.

    `before` tokens are cached already; the next token is predicted at `predictions` of the new
    ones. Attention is counted in full, as if tokens looked ahead too.
    """
    size, text = model_size(config), config.text_config
    width = text.num_attention_heads * text.head_dim
    attention = 4 * text.num_hidden_layers * tokens * (before + tokens) * width
    return 2.0 * (size.decoder * tokens + size.head * predictions) + attention
