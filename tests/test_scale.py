"""The scales: which names stand for mini and for paper."""

from __future__ import annotations

import open_clip
import pytest
import timm

from erragree_utils.benchmarks import BENCHMARKS
from erragree_utils.models.checkpoint import REVISIONS
from erragree_utils.scale import SCALES, SEED_VARIABLE, VARIABLE, get_scale


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
    assert scale.clip in {"mini", *open_clip.list_models()}
    named = {scale.whatsup_a, scale.whatsup_b, scale.mmvp, scale.mmvp_vlm}
    assert named <= set(BENCHMARKS)
    assert scale.vision == "mini" or timm.is_model_pretrained(scale.vision)
    # Of SmolVLM's repository no commit is known to us.
    assert scale.mllm in ["mini-prior", *REVISIONS] or scale.name == "small"


def test_small_scale_reads_the_papers_benchmarks_by_other_models():
    small, paper = get_scale("small"), get_scale("paper")
    for benchmark in ("whatsup_a", "whatsup_b", "mmvp", "mmvp_vlm"):
        assert getattr(small, benchmark) == getattr(paper, benchmark)
    for model in ("clip", "mllm", "vision"):
        assert getattr(small, model) != getattr(paper, model)


def test_an_unknown_scale_is_refused_and_its_origin_said(monkeypatch):
    with pytest.raises(ValueError, match=r"unknown scale 'huge'; choose one of mini, small, paper"):
        get_scale("huge")
    monkeypatch.setenv(VARIABLE, "papre")
    with pytest.raises(ValueError, match=f"'papre' .*{VARIABLE}"):
        get_scale()


@pytest.mark.parametrize("name", ["small", "paper"])
def test_beyond_mini_scale_the_environment_names_other_models_or_folders(monkeypatch, name):
    monkeypatch.setenv("ERRAGREE_MLLM", "/models/llava")
    monkeypatch.setenv("ERRAGREE_CLIP", "")
    scale = get_scale(name)
    assert (scale.mllm, scale.clip) == ("/models/llava", SCALES[name].clip)
    assert get_scale("mini").mllm == SCALES["mini"].mllm
    monkeypatch.setenv("ERRAGREE_CLIP", "/models/clip")
    assert get_scale("paper").clip == "/models/clip"


def test_the_environment_chooses_the_draw_of_rendered_scenes_alone(monkeypatch):
    monkeypatch.delenv(SEED_VARIABLE, raising=False)
    assert get_scale("mini").seed == 0
    monkeypatch.setenv(SEED_VARIABLE, "11")
    assert get_scale("mini").draw == {"seed": 11}
    assert get_scale("paper").draw == {} and get_scale("paper").seed is None
    monkeypatch.setenv(SEED_VARIABLE, "-1")
    with pytest.raises(ValueError, match=f"{SEED_VARIABLE} is '-1'"):
        get_scale("mini")
