"""What a LLaVA costs: the formulas against a real model."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Idefics3ForConditionalGeneration

from erragree_utils.models import memory
from erragree_utils.study import costs


class TestOperations:
    def test_they_are_those_that_pytorch_counts(self, counted_config, read_image):
        with FlopCounterMode(display=False) as counter:
            read_image(n_text=20)
        formula = costs.image_flops(counted_config) + costs.text_flops(counted_config, 84)
        assert formula == pytest.approx(counter.get_total_flops(), rel=0.01)

    def test_tokens_that_follow_cost_themselves_and_a_look_back(
        self, counted_config, counted_llava, read_image
    ):
        kept, name = read_image(n_text=20)
        ids = torch.full((1, 9), 7)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            counted_llava(input_ids=ids, attention_mask=torch.ones(1, 93), **{name: kept})
        formula = costs.text_flops(counted_config, 9, before=84, predictions=9)
        assert formula == pytest.approx(counter.get_total_flops(), rel=0.01)

    def test_smolvlms_are_those_that_pytorch_counts(self):
        config = costs.smolvlm_256m()
        config.vision_config.update({"hidden_size": 64, "intermediate_size": 128,
                                     "num_hidden_layers": 3, "num_attention_heads": 4,
                                     "image_size": 64, "patch_size": 8})  # fmt: skip
        config.text_config.update({"hidden_size": 96, "intermediate_size": 200,
                                   "num_hidden_layers": 2, "num_attention_heads": 3,
                                   "num_key_value_heads": 1, "head_dim": 32,
                                   "vocab_size": 600})  # fmt: skip
        config.image_token_id, config._attn_implementation = 5, "eager"
        torch.manual_seed(0)
        model = Idefics3ForConditionalGeneration(config).eval()
        n, views = memory.image_tokens(config), memory.views(config)
        ids = torch.full((1, n + 20), 7)
        ids[0, :n] = 5
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(
                input_ids=ids, attention_mask=torch.ones_like(ids),
                pixel_values=torch.randn(1, views, 3, 64, 64), logits_to_keep=1,
            )  # fmt: skip
        formula = costs.image_flops(config) + costs.text_flops(config, n + 20)
        assert formula == pytest.approx(counter.get_total_flops(), rel=0.01)
