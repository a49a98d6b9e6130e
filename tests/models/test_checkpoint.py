"""Checkpoints of language models: what a folder may lack, hold wrongly, or ask to run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, LlamaConfig

from erragree_utils.models import ModelError, checkpoint
from erragree_utils.models.mllm import load_mllm


@pytest.fixture(scope="module")
def small(llava_folder):
    return load_mllm(llava_folder, device="cpu")


def noise(n: int, seed: int = 0) -> list[Image.Image]:
    """Images of different sizes, in which patches differ."""
    rng = np.random.default_rng(seed)
    return [
        Image.fromarray(rng.integers(0, 255, (3, 4 + i % 3, 3), dtype=np.uint8)).resize(
            (90 + 10 * i, 120)
        )
        for i in range(n)
    ]


class TestOlderProcessors:
    """Checkpoints saved before the processor knew how many tokens an image has."""

    FIELDS = ("patch_size", "vision_feature_select_strategy", "num_additional_image_tokens")

    def without(self, folder: Path, *fields: str) -> Path:
        path = folder / "processor_config.json"
        settings = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in settings.items() if k not in fields}))
        return folder

    @pytest.mark.parametrize("fields", [FIELDS, *((field,) for field in FIELDS)], ids=str)
    def test_what_they_lack_comes_from_the_models_config(self, small, spoilt_llava, fields):
        filled = load_mllm(self.without(spoilt_llava, *fields), device="cpu")
        for field in self.FIELDS:
            assert getattr(filled.processor, field) == getattr(small.processor, field)
        found = filled.option_logprobs(noise(2), "Where?", ["left", "right"])
        expected = small.option_logprobs(noise(2), "Where?", ["left", "right"])
        np.testing.assert_array_equal(found, expected)

    def test_a_processor_without_any_settings_of_its_own(self, small, spoilt_llava):
        (spoilt_llava / "processor_config.json").unlink()
        assert load_mllm(spoilt_llava, device="cpu").processor.patch_size == 14

    def test_a_count_of_tokens_that_is_not_the_models_is_told_at_load(self, spoilt_llava):
        path = spoilt_llava / "processor_config.json"
        settings = json.loads(path.read_text()) | {"num_additional_image_tokens": 0}
        path.write_text(json.dumps(settings))
        with pytest.raises(ModelError, match="makes 575 tokens of an image, the model 576"):
            load_mllm(spoilt_llava)


class TestFolders:
    @pytest.mark.parametrize("name", [None, 3, b"mini", "", ["mini"]])
    def test_what_is_no_name(self, name):
        with pytest.raises(ModelError, match="unknown model: .* is not a name"):
            load_mllm(name)

    @pytest.mark.parametrize("name", ["./" + "x" * 300, "a\0b", "~nobody/x", Path("x" * 300)])
    def test_names_that_no_file_system_takes(self, name):
        with pytest.raises(ModelError):
            load_mllm(name)

    @pytest.mark.parametrize(
        ("kind", "width", "port"),
        [
            ("llava_llama", 4096, "llava-1.5-7b-hf"),
            ("llava_llama", 5120, "llava-1.5-13b-hf"),
            ("llava", 4096, "llava-1.5-7b-hf"),
        ],
    )
    def test_llavas_original_layout_leads_to_its_port(self, spoilt_llava, kind, width, port):
        settings = {
            "model_type": kind, "architectures": ["LlavaLlamaForCausalLM"], "hidden_size": width,
            "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        }  # fmt: skip
        (spoilt_llava / "config.json").write_text(json.dumps(settings))
        with pytest.raises(ModelError, match=rf"load_mllm\('llava-hf/{port}'\)") as error:
            load_mllm(spoilt_llava)
        assert "delete" not in str(error.value).lower()

    def test_a_clip_leads_to_its_own_loader(self, spoilt_llava):
        CLIPVisionConfig().save_pretrained(spoilt_llava)
        with pytest.raises(ModelError, match="is a 'clip_vision_model'.*loaded by load_clip"):
            load_mllm(spoilt_llava)

    @pytest.mark.parametrize(
        ("file", "kind"),
        [
            ("config.json", "AutoConfig"),
            ("tokenizer_config.json", "AutoTokenizer"),
            ("processor_config.json", "AutoProcessor"),
            ("preprocessor_config.json", "AutoImageProcessor"),
            ("generation_config.json", "GenerationConfig"),
        ],
    )
    def test_no_file_makes_it_run_code(self, spoilt_llava, tmp_path, monkeypatch, file, kind):
        mark, path = tmp_path / "was_here", spoilt_llava / file
        (spoilt_llava / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: ...\n")
        settings = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**settings, "auto_map": {kind: "own.Own"}}))
        monkeypatch.setattr("builtins.input", lambda _: "y")
        with pytest.raises(ModelError, match=rf"{file} asks for code.*never run"):
            load_mllm(spoilt_llava)
        assert not mark.exists()

    def test_unknown_names(self):
        with pytest.raises(ModelError, match="unknown model 'llava': names are 'mini'"):
            load_mllm("llava")

    def test_folders_that_are_not_there(self, tmp_path):
        with pytest.raises(ModelError, match=r"nowhere lacks config\.json"):
            load_mllm(tmp_path / "nowhere")

    def test_a_revision_of_a_folder(self, llava_folder):
        with pytest.raises(ModelError, match="revision='main' makes no sense"):
            load_mllm(llava_folder, revision="main")

    def test_missing_weights_are_named(self, spoilt_llava):
        (spoilt_llava / "model-00002-of-00002.safetensors").unlink()
        with pytest.raises(ModelError, match="lacks model-00002-of-00002.safetensors"):
            load_mllm(spoilt_llava)

    def test_weights_that_could_run_code_are_not_read(self, spoilt_llava):
        for file in spoilt_llava.glob("model*"):
            file.unlink()
        torch.save({}, spoilt_llava / "pytorch_model.bin")
        with pytest.raises(ModelError, match="lacks model.safetensors.*can run code"):
            load_mllm(spoilt_llava)

    def test_truncated_weights(self, spoilt_llava):
        file = spoilt_llava / "model-00001-of-00002.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(ModelError, match="weights are damaged or were not copied whole"):
            load_mllm(spoilt_llava)

    def test_tensors_that_are_missing_are_not_made_up(self, spoilt_llava):
        name, path = (
            "multi_modal_projector.linear_1.weight",
            spoilt_llava / "model.safetensors.index.json",
        )
        index = json.loads(path.read_text())
        file = spoilt_llava / index["weight_map"].pop(name)
        path.write_text(json.dumps(index))
        weights = load_file(file)
        del weights[name]
        save_file(weights, file, metadata={"format": "pt"})
        with pytest.raises(ModelError, match="1 tensors are missing, such as .*linear_1.weight"):
            load_mllm(spoilt_llava)

    def test_weights_that_the_config_leaves_unused_are_told(self, spoilt_llava):
        path = spoilt_llava / "config.json"
        settings = json.loads(path.read_text())
        settings["text_config"]["num_hidden_layers"] = 1
        path.write_text(json.dumps(settings))
        with pytest.warns(UserWarning, match=r"spoilt: 9 tensors in .* not used.*layers\.1\.") as w:
            load_mllm(spoilt_llava, device="cpu")
        assert w[-1].filename == __file__

    def test_preprocessing_that_does_not_fit_the_tower_is_told_at_load(self, spoilt_llava):
        path = spoilt_llava / "preprocessor_config.json"
        settings = json.loads(path.read_text())
        path.write_text(json.dumps({**settings, "do_center_crop": False}))
        with pytest.raises(ModelError, match=r"makes pictures of 336 x \d+ pixels.* reads 336"):
            load_mllm(spoilt_llava)

    @pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "preprocessor_config.json"])
    def test_broken_settings(self, spoilt_llava, file):
        (spoilt_llava / file).write_text('{"model_type": ')
        with pytest.raises(ModelError, match="cannot be read.*fetch it again"):
            load_mllm(spoilt_llava)

    def test_models_of_other_families(self, spoilt_llava):
        LlamaConfig(hidden_size=32).save_pretrained(spoilt_llava)
        with pytest.raises(ModelError, match="is a 'llama', not one of the families"):
            load_mllm(spoilt_llava)

    def test_code_of_a_checkpoint_is_not_run(self, spoilt_llava):
        config = json.loads((spoilt_llava / "config.json").read_text())
        config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
        (spoilt_llava / "config.json").write_text(json.dumps(config))
        (spoilt_llava / "own.py").write_text("raise SystemExit('code of the checkpoint was run')")
        with pytest.raises(ModelError, match=r"config\.json asks for code.*never run"):
            load_mllm(spoilt_llava)

    def test_out_of_memory_while_loading_says_what_to_do(self, llava_folder, monkeypatch):
        def full(*_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(checkpoint.AutoModelForImageTextToText, "from_pretrained", full)
        with pytest.raises(ModelError, match="out of memory while loading small-llava.*4bit"):
            load_mllm(llava_folder, device="cpu")

    def test_the_papers_model_is_pinned_to_a_commit(self):
        commit = checkpoint.REVISIONS["llava-hf/llava-1.5-7b-hf"]
        assert re.fullmatch(r"[0-9a-f]{40}", commit)
