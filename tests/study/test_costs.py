"""What a LLaVA costs: the formulas against a real model."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    CLIPVisionConfig,
    DynamicCache,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from erragree_utils.models import precision
from erragree_utils.study import costs

IMAGE = 5


@pytest.fixture(scope="module")
def config() -> LlavaConfig:
    """A LLaVA small enough to run: 64 patches, grouped keys."""
    vision = CLIPVisionConfig(
        hidden_size=64, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4,
        image_size=112, patch_size=14, projection_dim=64,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=512,
    )  # fmt: skip
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, image_seq_length=64
    )


@pytest.fixture(scope="module")
def model(config) -> LlavaForConditionalGeneration:
    """It, with random weights, and attention of plain matrix products, which can be counted."""
    torch.manual_seed(0)
    config._attn_implementation = "eager"
    return LlavaForConditionalGeneration(config).eval()


# The name was changed in the course of Transformers 5.
CACHE = next(
    name
    for name in ("cache", "past_key_values")
    if name in inspect.signature(LlavaForConditionalGeneration.forward).parameters
)


def read(model, n_text: int, batch: int = 1):
    """Read an image with `n_text` tokens around it; returns its keys and values."""
    ids = torch.full((batch, 64 + n_text), 7)
    ids[:, 2:66] = IMAGE
    with torch.no_grad():
        model(
            input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True, logits_to_keep=1,
            pixel_values=torch.zeros(batch, 3, 112, 112), **{CACHE: (kept := DynamicCache())},
        )  # fmt: skip
    return kept


class TestSize:
    def test_every_parameter_is_counted_once(self, config, model):
        size = costs.model_size(config)
        assert size.total == sum(p.numel() for p in model.parameters())
        assert size.tower == sum(p.numel() for p in model.model.vision_tower.parameters())
        assert size.head == model.lm_head.weight.numel()

    def test_what_is_held_in_4_bits_is_what_the_loader_quantizes(self, config, model):
        linear = {
            name: module.weight.numel()
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and not name.startswith(tuple(precision.EXACT))
        }
        assert linear and costs.model_size(config).decoder == sum(linear.values())

    def test_llava_has_the_size_that_its_name_says(self):
        size = costs.model_size(costs.llava_15_7b())
        assert size.total == pytest.approx(7.06e9, rel=0.001)
        assert size.tower == pytest.approx(304e6, rel=0.01)


class TestMemory:
    def test_weights_are_what_the_model_takes(self, config, model):
        held = sum(p.numel() * p.element_size() for p in model.parameters())
        assert costs.memory_need(config, "float32")["weights"] == held

    def test_the_cache_is_what_the_model_keeps(self, config, model):
        kept = read(model, n_text=costs.TEXT_TOKENS, batch=2)
        held = sum(t.numel() * t.element_size() for x in kept.layers for t in (x.keys, x.values))
        need = costs.memory_need(config, "float32", batch_size=2)
        assert need["cache"] == held

    def test_the_sum_is_what_is_needed(self, config):
        need = costs.memory_need(config, "float16")
        assert need["needed"] == need.drop("needed").sum()

    def test_half_precision_takes_half_of_all_but_the_fixed_part(self, config):
        full, half = (costs.memory_need(config, p) for p in ("float32", "bfloat16"))
        for part in ("weights", "cache", "activations"):
            assert half[part] == full[part] / 2, part
        assert half["fixed"] == full["fixed"]

    def test_more_images_at_a_time_need_more_of_all_but_the_weights(self, config):
        one, four = (costs.memory_need(config, batch_size=n) for n in (1, 4))
        assert one["weights"] == four["weights"]
        assert four["cache"] == 4 * one["cache"]
        assert four["activations"] == 4 * one["activations"]

    def test_4_bits_take_between_a_quarter_and_a_half_of_16(self):
        config = costs.llava_15_7b()
        four, half = (costs.memory_need(config, p)["weights"] for p in ("4bit", "float16"))
        assert 0.25 * half < four < 0.5 * half

    def test_an_unknown_precision_is_refused(self, config):
        with pytest.raises(ValueError, match="unknown precision '3bit'; choose one of float32"):
            costs.memory_need(config, "3bit")


class TestOperations:
    def test_they_are_those_that_pytorch_counts(self, config, model):
        with FlopCounterMode(display=False) as counter:
            read(model, n_text=20)
        formula = costs.image_flops(config) + costs.text_flops(config, 84)
        assert formula == pytest.approx(counter.get_total_flops(), rel=0.01)

    def test_tokens_that_follow_cost_themselves_and_a_look_back(self, config, model):
        kept = read(model, n_text=20)
        ids = torch.full((1, 9), 7)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(input_ids=ids, attention_mask=torch.ones(1, 93), **{CACHE: kept})
        formula = costs.text_flops(config, 9, before=84, predictions=9)
        assert formula == pytest.approx(counter.get_total_flops(), rel=0.01)
