"""What a LLaVA costs: the formulas against a real model."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

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
