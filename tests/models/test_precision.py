"""Number format and quantization, chosen from what the device has."""

from __future__ import annotations

import pytest
import torch
from transformers.quantizers.quantizers_utils import should_convert_module

from erragree_utils.models import ModelError, precision
from erragree_utils.models.mllm import load_mllm
from erragree_utils.models.precision import Precision, plan_precision

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
BILLION, GIB = 10**9, 2**30


def on_gpu(gib: float, n: float = 7.06, **choices) -> Precision:
    options = {"has_bf16": True, "checkpoint": torch.float16} | choices
    return plan_precision(int(n * BILLION), CUDA, memory=int(gib * GIB), **options)


class TestPrecision:
    """Cards report less than their name says: a T4 of 16 GB has 14.7 GiB, a 3090 23.7."""

    @pytest.mark.parametrize("gib", [7.8, 11.6, 14.7, 15.6])
    def test_small_gpus_hold_7b_at_4_bits_and_say_so(self, gib):
        plan = on_gpu(gib)
        assert (plan.quantization, plan.dtype) == ("4bit", torch.float16)
        assert f"GPU's {gib:.0f} GiB do not hold its 13 GiB" in plan.reason

    @pytest.mark.parametrize("gib", [19.7, 23.7, 39.4, 79.1])
    def test_large_gpus_hold_it_in_half_precision(self, gib):
        assert on_gpu(gib) == Precision(torch.float16)

    def test_half_precision_is_the_checkpoints_kind_where_the_gpu_has_it(self):
        assert on_gpu(24, checkpoint=torch.bfloat16).dtype == torch.bfloat16
        assert on_gpu(24, checkpoint=torch.bfloat16, has_bf16=False).dtype == torch.float16

    def test_small_models_are_float32(self):
        assert on_gpu(8, n=0.004) == Precision(torch.float32)
        assert plan_precision(4_000_000, CPU) == Precision(torch.float32)

    def test_explicit_choices_win(self):
        assert on_gpu(14.7, quantization="none") == Precision(torch.float16)
        assert on_gpu(14.7, dtype="bf16") == Precision(torch.bfloat16)
        assert on_gpu(79, quantization="4bit").quantization == "4bit"
        assert on_gpu(79, quantization="8bit", dtype="bfloat16") == Precision(
            torch.bfloat16, "8bit"
        )

    def test_models_that_do_not_fit_at_all(self):
        with pytest.raises(ModelError, match="needs 22 GiB even at 4 bits; the GPU has 15"):
            on_gpu(14.7, n=33)

    def test_without_a_gpu_time_and_memory_are_told_before_anything_is_fetched(self):
        with pytest.raises(ModelError) as error:
            plan_precision(int(7.06e9), CPU, memory=64 * GIB, name="llava")
        text = str(error.value)
        assert "llava is slow without a GPU: it has 7.1 billion weights, 29 GiB" in text
        assert "9 TFLOP on each image and question: 18 to 92 seconds" in text
        assert "give device='cpu'" in text

    def test_who_insists_on_the_cpu_gets_it_in_the_format_that_fits(self):
        plans = {
            gib: plan_precision(int(7.06e9), CPU, memory=gib * GIB, insisted=True)
            for gib in (64, 23)
        }
        assert [plan.dtype for plan in plans.values()] == [torch.float32, torch.bfloat16]
        assert "no CUDA GPU is used" in plans[23].reason

    def test_a_machine_that_is_too_small_is_told_so_even_then(self):
        with pytest.raises(ModelError, match="too large for this machine.*16 GiB.*has 8"):
            plan_precision(int(7.06e9), CPU, memory=8 * GIB, insisted=True)

    def test_choices_that_make_no_sense(self):
        with pytest.raises(ValueError, match="unknown quantization '2bit'"):
            on_gpu(24, quantization="2bit")
        with pytest.raises(ValueError, match="'4bit' needs a CUDA GPU, the device is 'cpu'"):
            plan_precision(1000, CPU, quantization="4bit")
        with pytest.raises(ValueError, match="float16 is for GPUs"):
            plan_precision(1000, CPU, dtype="float16")

    def test_the_encoder_and_the_projector_are_never_quantized(self):
        small = load_mllm("mini", device="cpu")
        layers = [n for n, m in small.model.named_modules() if isinstance(m, torch.nn.Linear)]
        chosen = {name for name in layers if should_convert_module(name, precision.EXACT)}
        assert chosen == {name for name in layers if "language_model.layers" in name} != set()

    def test_missing_packages_for_quantization_are_named(self, monkeypatch):
        monkeypatch.setattr(precision.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ModelError, match="pip install bitsandbytes accelerate, or give"):
            precision.quantization_config(Precision(torch.float16, "4bit"))
