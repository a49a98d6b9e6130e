"""Which scale suits a GPU, and what is said of it."""

from __future__ import annotations

import os
import re
import sys
import types

import pytest

from erragree_utils.models.device import GIB
from erragree_utils.scale import SCALES, VARIABLE, get_scale
from erragree_utils.study.auto_scale import choose_scale, describe, start


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


def test_small_scale_says_what_its_language_model_takes():
    text = describe(choose_scale(), "small")
    assert re.search(r"SmolVLM-256M needs about \d\.\d GiB in 16 bits with 8 images", text)


class TestStart:
    @pytest.fixture(autouse=True)
    def nothing_chosen(self, monkeypatch):
        """No scale in the environment, no GPU."""
        monkeypatch.setenv(VARIABLE, "")  # so that it is put back whatever is set
        monkeypatch.delenv(VARIABLE)
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    @pytest.fixture
    def colab(self, monkeypatch):
        """A module by which this is taken for Colab, with a scale that an earlier run chose."""
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
        monkeypatch.setenv(VARIABLE, "paper")

    @pytest.fixture
    def card(self, monkeypatch):
        """Lets PyTorch see a GPU."""

        def see(name: str, memory: int, major: int) -> None:
            properties = types.SimpleNamespace(name=name, total_memory=memory, major=major)
            monkeypatch.setattr("torch.cuda.is_available", lambda: True)
            monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: properties)

        return see

    def test_outside_colab_the_environment_decides_and_nothing_is_said(self, monkeypatch, capsys):
        assert start() == SCALES["mini"]
        assert VARIABLE not in os.environ
        monkeypatch.setenv(VARIABLE, "paper")
        assert start("auto") == SCALES["paper"]
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("name", SCALES)
    def test_a_name_chooses_and_how_to_change_it_is_said(self, name, capsys):
        assert start(name) == get_scale() == SCALES[name]
        out = capsys.readouterr().out
        assert f"scale: {name}" in out and f'start("{name}")' not in out
        assert all(f'start("{other}")' in out for other in SCALES if other != name)
        assert ("Scores are stored below" in out) == (name != "mini")

    def test_on_colab_without_a_gpu_it_is_mini(self, colab, capsys):
        assert start() == get_scale() == SCALES["mini"]
        assert "GPU: none" in capsys.readouterr().out

    def test_on_colab_with_a_t4_it_is_paper_in_4_bits(self, colab, card, capsys):
        card("Tesla T4", 15_828_320_256, 7)
        assert start() == get_scale() == SCALES["paper"]
        out = capsys.readouterr().out
        assert "Tesla T4, 14.7 GiB" in out and "4 bits" in out

    def test_a_name_overrules_the_gpu(self, colab, card):
        card("H100", 85_000_000_000, 9)
        assert start("mini") == get_scale() == SCALES["mini"]

    def test_an_unknown_name_is_refused(self):
        with pytest.raises(ValueError, match="unknown scale 'huge'; choose one of auto, mini"):
            start("huge")
