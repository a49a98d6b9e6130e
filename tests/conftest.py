"""Fixtures that several test files share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from erragree_utils.models.mllm import Mllm

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def build_tiny():
    """Makes a LLaVA of two layers, 16 image tokens and the mini's words, with random weights."""
    import torch
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    from erragree_utils.models.mllm import Mllm
    from erragree_utils.training import llava

    def build(dtype: torch.dtype = torch.float32, seed: int = 0) -> Mllm:
        tokenizer = llava.build_tokenizer()
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                image_size=40, patch_size=10, projection_dim=16,
            ),
            text_config=LlamaConfig(
                hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                vocab_size=len(tokenizer), max_position_embeddings=256,
            ),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"), image_seq_length=16,
        ))  # fmt: skip
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data *= 5  # nothing was learnt, but answers shall depend on images
        processor = llava.build_processor(model.to(dtype), tokenizer)
        return Mllm("tiny", model, processor, torch.device("cpu"), dtype)

    return build


@pytest.fixture(scope="session")
def tiny(build_tiny) -> Mllm:
    """One such model; whoever changes it changes it back."""
    return build_tiny()
