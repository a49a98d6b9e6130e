"""The scales: which names stand for mini and for paper."""

from __future__ import annotations

import os
import sys
import types

import open_clip
import pytest
import timm

from erragree_utils.benchmarks import BENCHMARKS
from erragree_utils.models.checkpoint import REVISIONS
from erragree_utils.scale import SCALES, SEED_VARIABLE, VARIABLE, get_scale, start


def test_mini_is_the_default(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert get_scale().name == "mini"
    monkeypatch.setenv(VARIABLE, "")
    assert get_scale().name == "mini"


def test_the_environment_chooses_and_an_argument_overrules_it(monkeypatch):
    monkeypatch.setenv(VARIABLE, "paper")
    assert get_scale().name == "paper"
    assert get_scale("mini").name == "mini"


def test_paper_scale_is_the_encoder_of_llava_and_the_published_benchmark():
    scale = get_scale("paper")
    assert (scale.clip, scale.whatsup_a, scale.whatsup_b) == (
        "ViT-L-14-336",
        "whatsup-a",
        "whatsup-b",
    )


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_every_name_is_one_that_can_be_loaded(scale):
    assert scale.clip in ["mini", *open_clip.list_models()]
    named = {scale.whatsup_a, scale.whatsup_b, scale.mmvp, scale.mmvp_vlm}
    assert named <= set(BENCHMARKS)
    assert scale.vision == "mini" or timm.is_model_pretrained(scale.vision)
    assert scale.mllm in ["mini", *REVISIONS]


def test_an_unknown_scale_is_refused_and_its_origin_said(monkeypatch):
    with pytest.raises(ValueError, match=r"unknown scale 'huge'; choose one of mini, paper"):
        get_scale("huge")
    monkeypatch.setenv(VARIABLE, "papre")
    with pytest.raises(ValueError, match=f"'papre' .*{VARIABLE}"):
        get_scale()


def test_the_environment_chooses_the_draw_of_rendered_scenes_alone(monkeypatch):
    monkeypatch.delenv(SEED_VARIABLE, raising=False)
    assert get_scale("mini").seed == 0
    monkeypatch.setenv(SEED_VARIABLE, "11")
    assert get_scale("mini").draw == {"seed": 11}
    assert get_scale("paper").draw == {} and get_scale("paper").seed is None
    monkeypatch.setenv(SEED_VARIABLE, "-1")
    with pytest.raises(ValueError, match=f"{SEED_VARIABLE} is '-1'"):
        get_scale("mini")


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
    def gpu(self, monkeypatch):
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

    @pytest.mark.parametrize(("name", "other"), [("mini", "paper"), ("paper", "mini")])
    def test_a_name_chooses_and_how_to_change_it_is_said(self, name, other, capsys):
        assert start(name) == get_scale() == SCALES[name]
        out = capsys.readouterr().out
        assert f"scale: {name}" in out and f'start("{other}")' in out

    def test_on_colab_without_a_gpu_it_is_mini(self, colab, capsys):
        assert start() == get_scale() == SCALES["mini"]
        assert "GPU: none" in capsys.readouterr().out

    def test_on_colab_with_a_t4_it_is_paper_in_4_bits(self, colab, gpu, capsys):
        gpu("Tesla T4", 15_828_320_256, 7)
        assert start() == get_scale() == SCALES["paper"]
        out = capsys.readouterr().out
        assert "Tesla T4, 14.7 GiB" in out and "4 bits" in out

    def test_a_name_overrules_the_gpu(self, colab, gpu):
        gpu("H100", 85_000_000_000, 9)
        assert start("mini") == get_scale() == SCALES["mini"]

    def test_an_unknown_name_is_refused(self):
        with pytest.raises(ValueError, match="unknown scale 'huge'; choose one of auto, mini"):
            start("huge")
