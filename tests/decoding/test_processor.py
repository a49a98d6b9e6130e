"""The step of contrastive decoding in ``generate()``, and its random numbers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import LogitsProcessorList

from erragree_utils.decoding import VCD, TextContrast, processor
from erragree_utils.decoding.processor import (
    ContrastiveLogitsProcessor,
    Seeds,
    named_seed,
    pair_seeds,
)


class TestProcessor:
    def test_both_halves_get_the_combined_logits(self):
        scores, ids = torch.randn(4, 7), torch.zeros(4, 3, dtype=torch.long)
        found = ContrastiveLogitsProcessor(TextContrast(), 3)(ids, scores)
        expected = TextContrast().combine(scores[:2], scores[2:], 1)
        assert torch.equal(found, torch.cat([expected, expected]))

    def test_streams_that_part_are_an_error(self, tiny):
        inputs = tiny.processor(text=[tiny.prompt("Why?", 0)] * 8, return_tensors="pt")
        processor = ContrastiveLogitsProcessor(TextContrast(), inputs["input_ids"].shape[1])
        torch.manual_seed(0)
        with pytest.raises(RuntimeError, match="needs do_sample=False and num_beams=1"):
            tiny.model.generate(
                **inputs, logits_processor=LogitsProcessorList([processor]), max_new_tokens=8,
                do_sample=True, temperature=5.0,
            )  # fmt: skip

    def test_a_batch_of_an_odd_number_of_rows(self):
        with pytest.raises(RuntimeError, match="each prompt in both halves"):
            ContrastiveLogitsProcessor(VCD(), 1)(torch.zeros(3, 1).long(), torch.zeros(3, 5))

    def test_a_number_next_to_1_draws_no_impossible_token(self):
        p = torch.tensor([[0.25, 0.0, 0.75, 0.0]])
        numbers = (0.0, 0.2499, 0.25, 0.9999999, 1.0)
        drawn = [processor._drawn(p, torch.tensor([[u]])).item() for u in numbers]
        assert drawn == [0, 0, 2, 2, 2]


class TestSeeds:
    def test_an_image_has_its_own_noise_whatever_batch_it_is_in(self):
        pixels = torch.zeros(1, 3, 5, 5)
        places = [(0, 0), (1, 0), (1, 1), (3, 0)]
        one, again, two = ([Seeds(s).normals(p, pixels) for p in places] for s in (1, 1, 2))
        assert all(map(torch.equal, one, again)) and not any(map(torch.equal, one, two))
        assert len({float(noise.sum()) for noise in one}) == 4

    def test_an_image_that_is_read_as_two_frames_has_the_same_noise_in_both(self):
        noise = Seeds(1).normals((0, 0), torch.zeros(6, 3 * 2 * 16), frames=2)
        first, second = noise.view(6, 3, 2, 16).unbind(2)
        assert torch.equal(first, second) and 0.8 < noise.std() < 1.2

    def test_a_seed_follows_from_the_pairs_name_and_the_images_place(self):
        pairs = [
            SimpleNamespace(pair_id=name, sources=range(n)) for name, n in (("p", 2), ("q", 1))
        ]
        seeds = pair_seeds(pairs)
        assert seeds == [named_seed("p", 0), named_seed("p", 1), named_seed("q", 0)]
        assert len(set(seeds)) == 3 and pair_seeds(pairs[1:]) == seeds[2:]
        assert named_seed("p", 0) == named_seed("p", 0) != named_seed("p0")

    def test_there_must_be_one_for_each_entry(self):
        with pytest.raises(ValueError, match="there are 1 seeds, and more entries"):
            Seeds([3]).uniforms(0, 2, 1)
