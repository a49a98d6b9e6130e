"""Which scale suits a GPU, and what is said of it."""

from __future__ import annotations

import types

import pytest

from erragree_utils.study.auto_scale import choose_scale, describe
from erragree_utils.study.costs import GIB


@pytest.fixture
def gpu(monkeypatch):
    """Lets PyTorch see a GPU of so many GiB."""

    def see(memory: float, has_bf16: bool) -> None:
        properties = types.SimpleNamespace(
            name="a GPU", total_memory=int(memory * GIB), major=8 if has_bf16 else 7
        )
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: properties)

    return see


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
def test_a_gpu_has_its_scale(gpu, memory, has_bf16, scale, precision):
    gpu(memory, has_bf16)
    choice = choose_scale()
    assert (choice.scale, choice.precision) == (scale, precision)
    assert f"a GPU, {memory} GiB" in describe(choice)


def test_without_a_gpu_it_is_mini(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    choice = choose_scale()
    assert choice.scale == "mini" and "PyTorch sees no CUDA GPU" in describe(choice)


def test_paper_scale_where_it_does_not_fit_is_said(gpu):
    gpu(6.0, True)
    text = describe(choose_scale(), "paper")
    assert "scale: paper" in text and "will be refused" in text and "even at 4 bits" in text
