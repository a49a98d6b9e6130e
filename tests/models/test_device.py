"""Device and number format."""

from __future__ import annotations

import pytest
import torch

from erragree_utils.models.device import pick_device, pick_dtype

CPU = torch.device("cpu")


def test_a_device_that_is_asked_for_is_taken():
    assert pick_device("cpu") == CPU
    assert pick_device(torch.device("cpu")) == CPU


def test_without_a_wish_the_fastest_there_is():
    expected = "cuda" if torch.cuda.is_available() else pick_device().type
    assert pick_device().type == expected
    assert torch.zeros(1, device=pick_device()).item() == 0


def test_absent_and_unknown_devices_are_refused():
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        pick_device("gpu")
    with pytest.raises(ValueError, match=r"no device 'cuda:99'.*; use device='cpu'"):
        pick_device("cuda:99")


def test_float32_is_the_default_and_names_are_understood():
    assert pick_dtype(None, CPU) == torch.float32
    assert pick_dtype("bf16", CPU) == pick_dtype(torch.bfloat16, CPU) == torch.bfloat16
    assert pick_dtype("float16", torch.device("cuda")) == torch.float16


def test_formats_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="float16 is for GPUs"):
        pick_dtype("fp16", CPU)
    with pytest.raises(ValueError, match="unknown dtype 'int8'"):
        pick_dtype("int8", CPU)
