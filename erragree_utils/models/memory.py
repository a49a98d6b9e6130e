"""How much of a GPU's memory a LLaVA needs, computed from its config, and how much fits.

The formula also works for SmolVLM's config (Idefics3).

Memory is the sum of four parts (`memory_need`):

- *weights*: parameters times bytes, 2 in half precision. At 4 bits (NF4, Dettmers et al. 2023,
  "QLoRA") a weight takes half a byte, and each block of 64 a scale of 4 bytes; only the linear
  layers of the language model are quantized, everything else stays in half precision
  (`precision`).
- *cache*, the keys and values: 2 x layers x key heads x numbers per head x bytes, for each token.
- *activations*: the largest intermediate results of a forward pass.
- *fixed*: the CUDA context, workspaces of its libraries, what the allocator cannot use.

On one H100 the sum was 8 to 16% above the measured peak (LLaVA-1.5-7B's shape: 26.7 GiB by the
formula and 24.3 measured in half precision with 32 images, 8.4 and 7.3 at 4 bits with 8, 18.1 and
15.6 with 32): an error on the safe side.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    Idefics3Config,
    LlavaConfig,
)

from .device import GIB, format_name

BATCH = 8  # images at a time: 5,000 tokens keep a GPU busy
TEXT_TOKENS = 120  # system line, question and answers, about
BITS4 = 0.5 + 4 / 64  # bytes a weight
#: Rows that a device holds, where nothing is known of it.
UNBOUNDED = sys.maxsize
FIXED = 0.6 * GIB  # an assumption
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


Config = LlavaConfig | Idefics3Config
#: SmolVLM enlarges a photograph of 4:3 to four images of its tower's size by three, and reads these
#: and the whole. That is a setting of its processor, not of the model.
VIEWS = {"idefics3": 4 * 3 + 1}


def views(config: Config) -> int:
    """How many images of the tower's size are read from a 4:3 photograph."""
    return VIEWS.get(config.model_type, 1)


def places(config: Config) -> int:
    """Tokens of the vision tower for one of them: its patches, and CLIP's class token."""
    return patches(config) + (config.model_type == "llava")


def image_tokens(config: Config) -> int:
    """Tokens of a photograph in a prompt."""
    if config.model_type == "llava":
        return config.image_seq_length
    return views(config) * patches(config) // config.scale_factor**2


def model_size(config: Config) -> Size:
    """Count a model's parameters without allocating them."""
    return _model_size(config.to_json_string(use_diff=False))


@lru_cache
def _model_size(config: str) -> Size:
    def count(*modules: torch.nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    settings = json.loads(config)
    with torch.device("meta"):
        made = AutoConfig.for_model(settings.pop("model_type"), **settings)
        model = AutoModelForImageTextToText.from_config(made)
    parts = dict(model.model.named_children())
    tower, projector, language = (
        next(parts[name] for name in names if name in parts)
        for names in (
            ("vision_tower", "vision_model"),
            ("multi_modal_projector", "connector"),
            ("language_model", "text_model"),
        )
    )
    decoder = count(*(m for m in language.modules() if isinstance(m, torch.nn.Linear)))
    matrices = (torch.nn.Linear, torch.nn.Conv2d)
    return Size(
        tower=count(tower),
        projector=count(projector),
        decoder=decoder,
        head=count(model.lm_head),
        rest=count(language) - decoder,
        tower_matrices=sum(m.weight.numel() for m in tower.modules() if isinstance(m, matrices)),
    )


def memory_need(config: Config, precision: str = "float16", batch_size: int = BATCH) -> pd.Series:
    """Estimate the memory that reading `batch_size` images at a time takes, by the formula above.

    `precision` is float32, float16, bfloat16 or 4bit. Returns bytes: ``weights``, ``cache``,
    ``activations``, ``fixed``, and ``needed``, their sum.
    """
    if precision not in _BYTES:
        raise ValueError(f"unknown precision {precision!r}; choose one of {', '.join(_BYTES)}")
    size, each = model_size(config), _BYTES[precision]
    text, vision = config.text_config, config.vision_config
    decoder = size.decoder * (BITS4 if precision == "4bit" else each)
    tokens = image_tokens(config) + TEXT_TOKENS
    # Gate, up and their product; states, and queries, keys and values.
    reading = tokens * (3 * text.intermediate_size + 4 * text.hidden_size)
    # Transformers keeps the output of every layer of the tower.
    seeing = (
        views(config)
        * places(config)
        * ((vision.num_hidden_layers + 4) * vision.hidden_size + 2 * vision.intermediate_size)
    )
    largest = text.hidden_size * text.intermediate_size  # unpacked from 4 bits, one at a time
    unpacked = largest * each if precision == "4bit" else 0
    need = {
        "weights": decoder + (size.total - size.decoder) * each,
        "cache": cache_bytes(config, each) * tokens * batch_size,
        "activations": max(reading, seeing) * batch_size * each + unpacked,
        "fixed": FIXED,
    }
    return pd.Series(need | {"needed": sum(need.values())}, name=precision, dtype=float)


def cache_bytes(config: Config, bytes_each: int = 2) -> int:
    """Bytes of the keys and values of one token."""
    text = config.text_config
    heads = text.num_key_value_heads * text.head_dim
    return 2 * text.num_hidden_layers * heads * bytes_each


def patches(config: Config) -> int:
    """How many patches the vision tower makes from an image."""
    return (config.vision_config.image_size // config.vision_config.patch_size) ** 2


def rows_that_fit(model: torch.nn.Module, device: torch.device) -> int:
    """Images that fit beside what the GPU holds already: a power of two; `UNBOUNDED` if unknown.

    Of what is free now, since another model may be beside this one.
    """
    config = getattr(model, "config", None)
    square = getattr(config, "model_type", "") == "llava" and (
        config.vision_config.model_type == "clip_vision_model"
    )
    if device.type != "cuda" or not square:
        return UNBOUNDED
    precision = "4bit" if getattr(model, "is_quantized", False) else format_name(model.dtype)
    free, _ = torch.cuda.mem_get_info(device)
    # What our allocator keeps without using it is free to us alone.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    rows = 1
    while _work(config, precision, 2 * rows) <= free:
        rows *= 2
    return rows


def _work(config: Config, precision: str, rows: int) -> float:
    """Bytes that reading so many images takes beside the weights."""
    need = memory_need(config, precision, rows)
    return need["needed"] - need["weights"]
