"""What a GPU needs for paper scale: the formulas against real models, and the choice of a scale."""

from __future__ import annotations

import inspect
import os
import sys
import types

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
from erragree_utils.scale import SCALES, VARIABLE, get_scale
from erragree_utils.study import hardware, study

GIB = hardware.GIB
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
        size = hardware.model_size(config)
        assert size.total == sum(p.numel() for p in model.parameters())
        assert size.tower == sum(p.numel() for p in model.model.vision_tower.parameters())
        assert size.head == model.lm_head.weight.numel()

    def test_what_is_held_in_4_bits_is_what_the_loader_quantizes(self, config, model):
        linear = {
            name: module.weight.numel()
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and not name.startswith(tuple(precision.EXACT))
        }
        assert linear and hardware.model_size(config).decoder == sum(linear.values())

    def test_llava_has_the_size_that_its_name_says(self):
        size = hardware.model_size(hardware.llava_15_7b())
        assert size.total == pytest.approx(7.06e9, rel=0.001)
        assert size.tower == pytest.approx(304e6, rel=0.01)


class TestMemory:
    def test_weights_are_what_the_model_takes(self, config, model):
        held = sum(p.numel() * p.element_size() for p in model.parameters())
        assert hardware.memory_need(config, "float32")["weights"] == held

    def test_the_cache_is_what_the_model_keeps(self, config, model):
        kept = read(model, n_text=10, batch=2)
        held = sum(t.numel() * t.element_size() for x in kept.layers for t in (x.keys, x.values))
        need = hardware.memory_need(config, "float32", batch_size=2, text_tokens=10)
        assert need["cache"] == held

    def test_the_sum_is_what_is_needed(self, config):
        need = hardware.memory_need(config, "float16")
        assert need["needed"] == need.drop("needed").sum()

    def test_half_precision_takes_half_of_all_but_the_fixed_part(self, config):
        full, half = (hardware.memory_need(config, p) for p in ("float32", "bfloat16"))
        for part in ("weights", "cache", "activations"):
            assert half[part] == full[part] / 2, part
        assert half["fixed"] == full["fixed"]

    def test_more_images_at_a_time_need_more_of_all_but_the_weights(self, config):
        one, four = (hardware.memory_need(config, batch_size=n) for n in (1, 4))
        assert one["weights"] == four["weights"]
        assert four["cache"] == 4 * one["cache"]
        assert four["activations"] == 4 * one["activations"]

    def test_4_bits_take_between_a_quarter_and_a_half_of_16(self):
        config = hardware.llava_15_7b()
        four, half = (hardware.memory_need(config, p)["weights"] for p in ("4bit", "float16"))
        assert 0.25 * half < four < 0.5 * half

    def test_an_unknown_precision_is_refused(self, config):
        with pytest.raises(ValueError, match="unknown precision '3bit'; choose one of float32"):
            hardware.memory_need(config, "3bit")


class TestTime:
    def test_operations_are_those_that_pytorch_counts(self, config, model):
        with FlopCounterMode(display=False) as counter:
            read(model, n_text=20)
        formula = hardware.image_flops(config) + hardware.text_flops(config, 84)
        assert formula == pytest.approx(counter.get_total_flops(), rel=0.01)

    def test_tokens_that_follow_cost_themselves_and_a_look_back(self, config, model):
        kept = read(model, n_text=20)
        ids = torch.full((1, 9), 7)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(input_ids=ids, attention_mask=torch.ones(1, 93), **{CACHE: kept})
        formula = hardware.text_flops(config, 9, before=84, predictions=9)
        assert formula == pytest.approx(counter.get_total_flops(), rel=0.01)

    def test_reading_takes_operations_over_the_rate_and_writing_bytes_over_the_bandwidth(self):
        config, gpu = hardware.llava_15_7b(), hardware.GPUS[0]
        reading = hardware.seconds_per_image(config, gpu, share=0.5, new_tokens=0)
        operations = hardware.image_flops(config) + hardware.text_flops(
            config, 576 + hardware.TEXT_TOKENS
        )
        assert reading == pytest.approx(operations / (0.5 * gpu.rate))
        writing = hardware.seconds_per_image(config, gpu, new_tokens=1, batch_size=4) - (
            hardware.seconds_per_image(config, gpu, new_tokens=0, batch_size=4)
        )
        weights = hardware.memory_need(config)["weights"]
        assert writing == pytest.approx(weights / gpu.bandwidth / 4)


@pytest.fixture(scope="module")
def table():
    """Requirements of the whole study."""
    return hardware.requirements()


class TestRequirements:
    def test_a_t4_takes_4_bits_and_larger_ones_half_precision(self, table):
        assert table.loc["T4", "precision"] == "4bit"
        assert (table.drop("T4")["precision"] == "float16").all()
        assert table["fits"].all()

    def test_half_precision_does_not_fit_a_t4(self):
        forced = hardware.requirements(passes=1, precision="float16")
        assert not forced.loc["T4", "fits"]
        assert forced.loc["T4", "largest_batch"] < hardware.BATCH
        assert forced.drop("T4")["fits"].all()

    def test_the_largest_batch_fits_and_twice_as_many_do_not(self, table):
        config = hardware.llava_15_7b()
        for name, row in table.iterrows():
            n, room = int(row["largest_batch"]), row["memory"] * GIB
            assert hardware.memory_need(config, row["precision"], n)["needed"] <= room, name
            if n < 32:
                assert hardware.memory_need(config, row["precision"], 2 * n)["needed"] > room, name

    def test_hours_are_seconds_times_passes(self, table):
        passes = hardware.study_images()["passes"].sum()
        hours = table["seconds_high"] * passes / 3600
        assert table["hours_high"].tolist() == pytest.approx(hours.tolist())
        assert (table["hours_low"] < table["hours_high"]).all()

    def test_for_people_numbers_are_short(self, table):
        shown = hardware.shown(table)
        assert shown.loc["T4", "precision"] == "4bit" and shown.loc["T4", "fits"] == "yes"
        assert shown["the whole study"].str.fullmatch(r"[\d.]+ (h|min) to [\d.]+ (h|min)").all()


class TestStudyImages:
    def test_every_task_of_the_language_model_is_there(self):
        table = hardware.study_images()
        tasks = [t for t in study.plan(SCALES["paper"]) if t.model.role == "mllm"]
        assert list(table["benchmark"]) == [task.benchmark for task in tasks]
        assert (table["passes"] >= table["images"]).all()

    def test_images_are_counted_as_published(self):
        assert hardware.published_images("whatsup-a") == 412
        assert hardware.published_images("coco-spatial") == 2247 + 440
        with pytest.raises(ValueError, match="'tabletop-a' is not known"):
            hardware.published_images("tabletop-a")


class TestChoice:
    @pytest.mark.parametrize(
        ("memory", "has_bf16", "scale", "precision"),
        [
            (6.0, True, "mini", None),
            (14.7, False, "paper", "4bit"),
            (22.0, True, "paper", "float16"),
            (39.4, True, "paper", "float16"),
            (79.2, True, "paper", "float16"),
        ],
        ids=["small", "T4", "L4", "A100", "H100"],
    )
    def test_a_gpu_has_its_scale(self, memory, has_bf16, scale, precision):
        choice = hardware.choose_scale("a GPU", int(memory * GIB), has_bf16)
        assert (choice.scale, choice.precision) == (scale, precision)
        assert f"a GPU, {memory} GiB" in hardware.describe(choice)

    def test_without_a_gpu_it_is_mini(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        assert hardware.choose_scale().scale == "mini"

    def test_a_name_alone_is_not_enough(self):
        with pytest.raises(ValueError, match="give memory and has_bf16"):
            hardware.choose_scale("a GPU")

    def test_paper_scale_where_it_does_not_fit_is_said(self):
        text = hardware.describe(hardware.choose_scale("small", int(6 * GIB), True), "paper")
        assert "scale: paper" in text and "will be refused" in text


class TestStart:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch):
        """No scale chosen, no GPU."""
        monkeypatch.setenv(VARIABLE, "")
        monkeypatch.delenv(VARIABLE)
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    def test_auto_leaves_all_as_it_is_outside_colab(self, capsys):
        assert hardware.start() == "mini"
        assert VARIABLE not in os.environ
        assert capsys.readouterr().out == ""

    def test_auto_on_colab_overrules_what_an_earlier_run_chose(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
        monkeypatch.setenv(VARIABLE, "paper")
        assert hardware.start("auto") == get_scale().name == "mini"

    def test_a_choice_is_told_and_how_to_change_it(self, capsys):
        assert hardware.start("mini") == get_scale().name == "mini"
        assert 'SCALE = "paper"' in capsys.readouterr().out

    def test_an_unknown_scale_is_refused(self):
        with pytest.raises(ValueError, match="unknown scale 'huge'; choose one of auto, mini"):
            hardware.start("huge")
