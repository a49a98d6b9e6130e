"""What a LLaVA takes of the memory: the formula against a real model."""

from __future__ import annotations

import types

import pytest
import torch

from erragree_utils.models import memory, precision
from erragree_utils.study import costs


class TestSize:
    def test_every_parameter_is_counted_once(self, counted_config, counted_llava):
        size = memory.model_size(counted_config)
        assert size.total == sum(p.numel() for p in counted_llava.parameters())
        assert size.tower == sum(p.numel() for p in counted_llava.model.vision_tower.parameters())
        assert size.head == counted_llava.lm_head.weight.numel()

    def test_what_is_held_in_4_bits_is_what_the_loader_quantizes(
        self, counted_config, counted_llava
    ):
        linear = {
            name: module.weight.numel()
            for name, module in counted_llava.named_modules()
            if isinstance(module, torch.nn.Linear) and not name.startswith(tuple(precision.EXACT))
        }
        assert linear and memory.model_size(counted_config).decoder == sum(linear.values())

    def test_llava_has_the_size_that_its_name_says(self):
        size = memory.model_size(costs.llava_15_7b())
        assert size.total == pytest.approx(7.06e9, rel=0.001)
        assert size.tower == pytest.approx(304e6, rel=0.01)

    def test_smolvlm_has_the_size_that_its_name_says_and_64_tokens_a_view(self):
        config = costs.smolvlm_256m()
        size = memory.model_size(config)
        assert size.total == pytest.approx(256e6, rel=0.005)
        assert memory.views(config) == 13 and memory.image_tokens(config) == 13 * 64
        assert memory.places(config) == 1024  # no class token


class TestMemory:
    def test_weights_are_what_the_model_takes(self, counted_config, counted_llava):
        held = sum(p.numel() * p.element_size() for p in counted_llava.parameters())
        assert memory.memory_need(counted_config, "float32")["weights"] == held

    def test_the_cache_is_what_the_model_keeps(self, counted_config, read_image):
        kept, _ = read_image(n_text=memory.TEXT_TOKENS, batch=2)
        held = sum(t.numel() * t.element_size() for x in kept.layers for t in (x.keys, x.values))
        need = memory.memory_need(counted_config, "float32", batch_size=2)
        assert need["cache"] == held

    def test_the_sum_is_what_is_needed(self, counted_config):
        need = memory.memory_need(counted_config, "float16")
        assert need["needed"] == need.drop("needed").sum()

    def test_half_precision_takes_half_of_all_but_the_fixed_part(self, counted_config):
        full, half = (memory.memory_need(counted_config, p) for p in ("float32", "bfloat16"))
        for part in ("weights", "cache", "activations"):
            assert half[part] == full[part] / 2, part
        assert half["fixed"] == full["fixed"]

    def test_more_images_at_a_time_need_more_of_all_but_the_weights(self, counted_config):
        one, four = (memory.memory_need(counted_config, batch_size=n) for n in (1, 4))
        assert one["weights"] == four["weights"]
        assert four["cache"] == 4 * one["cache"]
        assert four["activations"] == 4 * one["activations"]

    def test_4_bits_take_between_a_quarter_and_a_half_of_16(self):
        config = costs.llava_15_7b()
        four, half = (memory.memory_need(config, p)["weights"] for p in ("4bit", "float16"))
        assert 0.25 * half < four < 0.5 * half

    def test_an_unknown_precision_is_refused(self, counted_config):
        with pytest.raises(ValueError, match="unknown precision '3bit'; choose one of float32"):
            memory.memory_need(counted_config, "3bit")

    @pytest.mark.parametrize(
        ("precision", "images", "measured"),
        [("bfloat16", 32, 24.3), ("4bit", 8, 7.3), ("4bit", 32, 15.6)],
    )
    def test_it_lies_a_little_above_the_peak_that_was_measured_on_an_h100(
        self, precision, images, measured
    ):
        need = memory.memory_need(costs.llava_15_7b(), precision, images)["needed"] / memory.GIB
        assert 1.05 < need / measured < 1.2


class TestRowsThatFit:
    """As many images as the GPU has room for beside what it holds."""

    @pytest.fixture
    def gpu(self, monkeypatch):
        """A GPU with so many GiB free, of which our allocator holds some without using them."""

        def see(free: float, kept: float = 0.0) -> torch.device:
            there = (int((free - kept) * memory.GIB), int(80 * memory.GIB))
            monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: there)
            monkeypatch.setattr(
                "torch.cuda.memory_reserved", lambda device: int((5 + kept) * memory.GIB)
            )
            monkeypatch.setattr("torch.cuda.memory_allocated", lambda device: int(5 * memory.GIB))
            return torch.device("cuda")

        return see

    @staticmethod
    def llava(quantized: bool) -> types.SimpleNamespace:
        return types.SimpleNamespace(
            config=costs.llava_15_7b(), is_quantized=quantized, dtype=torch.float16
        )

    @pytest.mark.parametrize("free", [1.0, 4.0, 9.5, 60.0])
    @pytest.mark.parametrize("quantized", [True, False])
    def test_they_fit_and_twice_as_many_do_not(self, gpu, free, quantized):
        model = self.llava(quantized)
        rows = memory.rows_that_fit(model, gpu(free))

        def work(n: int) -> float:
            need = memory.memory_need(model.config, "4bit" if quantized else "float16", n)
            return (need["needed"] - need["weights"]) / memory.GIB

        assert work(2 * rows) > free
        assert work(rows) <= free or rows == 1  # a single one is always tried

    def test_what_our_allocator_keeps_without_using_it_is_room(self, gpu):
        model = self.llava(quantized=True)
        assert memory.rows_that_fit(model, gpu(9.5, kept=9.0)) == memory.rows_that_fit(
            model, gpu(9.5)
        )

    def test_a_t4_beside_clip_has_room_for_sixteen_at_4_bits(self, gpu):
        weights = memory.memory_need(costs.llava_15_7b(), "4bit")["weights"] / memory.GIB
        free = 14.7 - weights - 1.7  # CLIP in float32
        assert memory.rows_that_fit(self.llava(quantized=True), gpu(free)) == 16

    def test_elsewhere_nothing_is_known_before_the_first_try(self, gpu, tiny, tiny_next):
        assert memory.rows_that_fit(tiny.model, torch.device("cpu")) == memory.UNBOUNDED
        # Of models that show an image in several crops the formula knows nothing.
        assert memory.rows_that_fit(tiny_next.model, gpu(9.5)) == memory.UNBOUNDED
