"""Fetching models and benchmarks, or saying what goes where."""

from __future__ import annotations

import re

import pytest

from erragree_utils.study import cli, downloads
from erragree_utils.study.cli import main


@pytest.fixture
def wanted(monkeypatch) -> list[str]:
    names = []
    for function in ("_benchmark", "_vision"):
        monkeypatch.setattr(downloads, function, lambda name, _: names.append(name) or "had")
    monkeypatch.setattr(downloads, "_model", lambda c, _: names.append(c.name) or "had")
    return names


def test_every_benchmark_and_model_is_fetched_once(wanted, capsys):
    assert main(["download", "--scale", "paper"]) == cli.OK
    assert wanted == [
        "whatsup-a", "whatsup-b", "coco-spatial", "gqa-spatial", "mmvp", "mmvp-vlm",
        "ViT-L-14-336", "llava-hf/llava-1.5-7b-hf", "vit_large_patch14_dinov2.lvd142m",
    ]  # fmt: skip
    out = capsys.readouterr().out
    assert "(ERRAGREE_CACHE)" in out and "(HF_HOME)" in out


def test_the_vision_only_encoder_can_be_had_alone(wanted):
    assert main(["download", "--scale", "paper", "--model", "vision"]) == cli.OK
    assert wanted == ["vit_large_patch14_dinov2.lvd142m"]
    assert main(["download", "--model", "vision=vit_small_patch14_dinov2.lvd142m"]) == cli.OK
    assert wanted[1:] == ["vit_small_patch14_dinov2.lvd142m"]
    command = ["download", "--scale", "paper", "--model", "clip", "--benchmark", "mmvp"]
    assert main(command) == cli.OK
    assert wanted[2:] == ["mmvp", "ViT-L-14-336"]


def test_one_that_fails_does_not_stop_the_others(whatsup, models, monkeypatch, capsys):
    monkeypatch.setenv("ERRAGREE_CACHE", str(whatsup.parent))
    command = ["download", "--scale", "paper", "--benchmark", "whatsup-a",
               "--model", models[0], "mllm=owner/name"]  # fmt: skip
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(command) == cli.MISSING
    out, err = capsys.readouterr()
    assert "benchmark whatsup-a: 6 pairs" in out and "tiny-clip: weights from" in out
    assert "1 of 3 could not be had: mllm owner/name" in out
    assert "error: mllm owner/name: the files of owner/name" in err
    assert "warning: " in err and "has 12 entries, whatsup-a as published has 412" in err


def test_by_hand_every_file_and_its_place_is_told_and_nothing_fetched(
    tmp_path, monkeypatch, capsys
):
    def refuse(*_, **__):
        raise AssertionError("something was fetched")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setenv("ERRAGREE_CACHE", str(tmp_path / "cache"))
    assert main(["download", "--scale", "paper", "--by-hand"]) == cli.OK
    told = dict(re.findall(r"^(\w+ [\w./-]+): ((?:.|\n(?!\w+ [\w./-]+:))*)",
                           capsys.readouterr().out, re.M))  # fmt: skip
    for name, files in {
        "whatsup-a": ["controlled_images_dataset.json", "controlled_images.tar.gz"],
        "whatsup-b": ["controlled_clevr_dataset.json", "controlled_clevr.tar.gz"],
        "coco-spatial": ["coco_qa_one_obj.json", "coco_qa_two_obj.json", "val2017.zip"],
        "gqa-spatial": ["vg_qa_one_obj.json", "vg_qa_two_obj.json", "vg_images.tar.gz"],
        "mmvp": ["Questions.csv", "MMVP Images/1.jpg to 300.jpg", "Questions-clip.csv"],
        "mmvp-vlm": ["Questions.csv", "MLLM_VLM Images/TYPE/1.jpg"],
    }.items():
        text = told[f"benchmark {name}"]
        assert str(tmp_path / "cache") in text and "https://" in text
        assert all(file in text for file in files), text
    for name, option in {
        "clip ViT-L-14-336": "hf download timm/vit_large_patch14_clip_336.openai --local-dir F",
        "mllm llava-hf/llava-1.5-7b-hf": "--model mllm=FOLDER",
        "vision vit_large_patch14_dinov2.lvd142m": "load_vision('FOLDER')",
    }.items():
        assert "hf download" in told[name] and option in told[name]
    assert "--revision b234b80" in told["mllm llava-hf/llava-1.5-7b-hf"]


def test_by_hand_what_is_there_already_is_told(whatsup, models, monkeypatch, capsys):
    monkeypatch.setenv("ERRAGREE_CACHE", str(whatsup.parent))
    command = ["download", "--scale", "paper", "--benchmark", "whatsup-a", "--by-hand"]
    assert main([*command, "--model", *models]) == cli.OK
    out = capsys.readouterr().out
    assert "benchmark whatsup-a: 6 pairs" in out and "tiny-llava: in " in out
