"""Fetching models and benchmarks, or saying what goes where."""

from __future__ import annotations

import re

import pytest

from erragree_utils.benchmarks import mmvp_statements
from erragree_utils.study import by_hand, cli, downloads
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


class TestByHand:
    """What to save where, for someone who has only a browser."""

    @pytest.fixture
    def told(self, tmp_path, monkeypatch, capsys):
        """Asks for it, and gives the lines by what they are about; nothing may be fetched."""

        def refuse(*_, **__):
            raise AssertionError("something was fetched")

        def ask(*arguments: str) -> dict[str, str]:
            assert main(["download", "--scale", "paper", "--by-hand", *arguments]) == cli.OK
            found = re.findall(
                r"^(\w+ [\w./-]+): ((?:.*\n)(?:  .*\n)*)", capsys.readouterr().out, re.M
            )
            return dict(found)

        monkeypatch.setattr("socket.socket.connect", refuse)
        monkeypatch.setenv("ERRAGREE_CACHE", str(tmp_path / "cache"))
        return ask

    @staticmethod
    def places(text: str) -> list[str]:
        lines = [line for line in text.splitlines() if line.startswith("  save ")]
        assert all(re.search("https?://.* as /", line) for line in lines)
        return [line.rpartition(" as ")[2] for line in lines]

    def test_every_file_of_a_benchmark_has_a_line(self, told, tmp_path):
        lines = told()
        for name, files in {
            "whatsup-a": ["controlled_images_dataset.json", "controlled_images.tar.gz"],
            "whatsup-b": ["controlled_clevr_dataset.json", "controlled_clevr.tar.gz"],
            "coco-spatial": ["coco_qa_one_obj.json", "coco_qa_two_obj.json", "val2017.zip"],
            "gqa-spatial": ["vg_qa_one_obj.json", "vg_qa_two_obj.json", "vg_images.tar.gz"],
            "mmvp": ["Questions.csv", "MMVP Images/N.jpg", "Questions-clip.csv"],
            "mmvp-vlm": ["Questions.csv", "MLLM_VLM Images/TYPE/NUMBER.jpg"],
        }.items():
            folder = tmp_path / "cache" / (name if "mmvp" in name else "whatsup")
            text = lines[f"benchmark {name}"]
            assert self.places(text) == [str(folder / file) for file in files]
            assert f"then: python -m erragree_utils download --scale paper --benchmark {name}" in (
                text
            )

    def test_every_file_of_a_model_has_a_line(self, told, tmp_path):
        lines = told("--model", "clip", "mllm", "vision")
        for name, role in {
            "clip ViT-L-14-336": "clip",
            "mllm llava-hf/llava-1.5-7b-hf": "mllm",
            "vision vit_large_patch14_dinov2.lvd142m": "vision",
        }.items():
            places = self.places(lines[name])
            (folder,) = {place.rpartition("/")[0] for place in places}
            assert folder.startswith(str(tmp_path / "cache" / "models"))
            assert any(place.endswith(".safetensors") for place in places)
            assert f"export ERRAGREE_{role.upper()}={folder} for the chapters" in lines[name]
            assert role == "vision" or f"--model {role}={folder} for `run`" in lines[name]
        text = lines["mllm llava-hf/llava-1.5-7b-hf"]
        assert "/resolve/b234b804b114d9e37bb655e11cbbb5f5e971b7a9/config.json as" in text

    def test_of_another_model_its_page_is_named(self, told):
        lines = told("--model", "mllm=llava-hf/llava-1.5-13b-hf")
        (text,) = (text for name, text in lines.items() if name.startswith("mllm"))
        assert "https://huggingface.co/llava-hf/llava-1.5-13b-hf/tree/main as " in text

    def test_what_is_there_already_has_none(self, told, tmp_path):
        folder = tmp_path / "cache" / "whatsup"
        folder.mkdir(parents=True)
        (folder / "controlled_images.tar.gz").write_bytes(b"saved, not yet unpacked")
        (text,) = (t for n, t in told("--benchmark", "whatsup-a").items() if "whatsup" in n)
        assert self.places(text) == [str(folder / "controlled_images_dataset.json")]

    def test_files_that_are_there_and_damaged_are_named(self, told, whatsup, monkeypatch):
        monkeypatch.setenv("ERRAGREE_CACHE", str(whatsup.parent))
        (whatsup / "controlled_images_dataset.json").write_text("{}")
        (text,) = (t for n, t in told("--benchmark", "whatsup-a").items() if "whatsup" in n)
        assert "expected a JSON list" in text and "  save " not in text


def test_by_hand_what_is_there_already_is_told(whatsup, models, monkeypatch, capsys):
    monkeypatch.setenv("ERRAGREE_CACHE", str(whatsup.parent))
    command = ["download", "--scale", "paper", "--benchmark", "whatsup-a", "--by-hand"]
    assert main([*command, "--model", *models]) == cli.OK
    out = capsys.readouterr().out
    assert "benchmark whatsup-a: 6 pairs" in out and "tiny-llava: in " in out


def test_who_saves_mmvp_as_one_file_is_told_of_the_statements_too():
    page, _, note = by_hand.for_benchmark("mmvp").rpartition("\n")
    assert ".parquet" in note and mmvp_statements.LIST.page in note
