"""Fixtures that several test files share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch

    from erragree_utils.models.mllm import Mllm

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the checkout."""
    return ROOT


def random_llava(dtype: torch.dtype | None = None, shapes: list | None = None) -> Mllm:
    """A LLaVA of two layers, 16 image tokens and the mini's words, with random weights.

    With shapes, a LLaVA-NeXT, whose images have as many tokens as their shape asks for.
    """
    import torch
    import transformers as t

    from erragree_utils.models.mllm import Mllm
    from erragree_utils.training import llava

    tokenizer = llava.build_tokenizer()
    parts = {
        "vision_config": t.CLIPVisionConfig(
            hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
            image_size=40, patch_size=10, projection_dim=16,
        ),
        "text_config": t.LlamaConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            vocab_size=len(tokenizer), max_position_embeddings=256,
        ),
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
    }  # fmt: skip
    torch.manual_seed(0)
    if shapes is None:
        model = t.LlavaForConditionalGeneration(t.LlavaConfig(image_seq_length=16, **parts))
        processor = llava.build_processor(model, tokenizer)
    else:
        config = t.LlavaNextConfig(image_grid_pinpoints=shapes, **parts)
        model = t.LlavaNextForConditionalGeneration(config)
        processor = t.LlavaNextProcessor(
            t.LlavaNextImageProcessor(
                size={"shortest_edge": 40}, crop_size={"height": 40, "width": 40},
                image_grid_pinpoints=shapes,
            ),
            tokenizer, patch_size=10, vision_feature_select_strategy="default",
            num_additional_image_tokens=1, chat_template=llava.TEMPLATE,
        )  # fmt: skip
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data *= 5  # nothing was learnt, but answers shall depend on images
    dtype = dtype or torch.float32
    return Mllm("tiny", model.to(dtype), processor, torch.device("cpu"), dtype)


@pytest.fixture(scope="session")
def build_tiny():
    """Makes such a model: in another precision, or to be changed."""
    return random_llava


@pytest.fixture(scope="session")
def tiny() -> Mllm:
    """One such model; whoever changes it changes it back."""
    return random_llava()


@pytest.fixture(scope="session")
def tiny_next() -> Mllm:
    """The same as a LLaVA-NeXT."""
    return random_llava(shapes=[[40, 80], [80, 40], [80, 80]])
