"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.building import turn

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache, LlavaConfig, LlavaForConditionalGeneration

    from erragree_utils.models.mllm import Mllm

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who builds the book comes first, who only reads it last."""
    items.sort(key=lambda item: turn(item.path))


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


@pytest.fixture(scope="session")
def counted_config() -> LlavaConfig:
    """The config of a LLaVA small enough to count what it takes: 64 patches, grouped keys."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    vision = CLIPVisionConfig(
        hidden_size=64, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4,
        image_size=112, patch_size=14, projection_dim=64,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=512,
    )  # fmt: skip
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=5, image_seq_length=64
    )


@pytest.fixture(scope="session")
def counted_llava(counted_config) -> LlavaForConditionalGeneration:
    """It, with random weights, and attention of plain matrix products, which can be counted."""
    import torch
    from transformers import LlavaForConditionalGeneration

    torch.manual_seed(0)
    counted_config._attn_implementation = "eager"
    return LlavaForConditionalGeneration(counted_config).eval()


@pytest.fixture(scope="session")
def read_image(counted_llava) -> Callable[..., tuple[DynamicCache, str]]:
    """Lets it read images with `n_text` tokens around each; its keys and values, and their name."""
    import inspect

    import torch
    from transformers import DynamicCache

    # The name was changed in the course of Transformers 5.
    accepted = inspect.signature(counted_llava.forward).parameters
    name = "cache" if "cache" in accepted else "past_key_values"

    def read(n_text: int, batch: int = 1) -> tuple[DynamicCache, str]:
        ids = torch.full((batch, 64 + n_text), 7)
        ids[:, 2:66] = counted_llava.config.image_token_index
        more: dict[str, Any] = {name: (kept := DynamicCache())}
        with torch.no_grad():
            counted_llava(
                input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True,
                logits_to_keep=1, pixel_values=torch.zeros(batch, 3, 112, 112), **more,
            )  # fmt: skip
        return kept, name

    return read
