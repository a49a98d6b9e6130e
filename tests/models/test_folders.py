"""Folders and files of models: names, code, and files that are no weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedConfig

from erragree_utils import load_clip, load_mllm
from erragree_utils.models import ModelError, folders
from erragree_utils.models.folders import (
    ASSETS,
    MAX_LAYERS,
    explained,
    find_folder,
    refuse_code_of,
    refuse_unsafe,
    require,
    what_is_wrong,
)
from erragree_utils.models.vision import load_vision

SHIPPED = {"mini": "mini-clip"}


@pytest.mark.parametrize("name", [None, 3, b"mini", "", "  ", ["mini"]])
def test_what_is_no_name(name):
    with pytest.raises(ModelError, match="is not a name"):
        find_folder(name, SHIPPED)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "gone"])
def test_names_of_no_folder_are_those_of_published_models(name):
    assert find_folder(name, SHIPPED) is None


@pytest.mark.parametrize("name", [Path("x" * 300), "./a\0b", "~nobody/x", Path("gone")])
def test_paths_are_folders_whether_they_exist_or_not(name):
    with pytest.raises(ModelError, match="lacks config.json: give a folder") as error:
        require(find_folder(name, SHIPPED), "config.json")
    assert str(Path(name)) in str(error.value)


def test_folders_are_found_also_at_home_and_after_published_names(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    for name in ("~/model", "model", tmp_path / "model"):
        assert find_folder(name, SHIPPED).samefile(tmp_path / "model")
    assert find_folder("model", SHIPPED, published=True) is None
    assert find_folder("mini", SHIPPED) == ASSETS / "mini-clip"


@pytest.mark.parametrize("kind", ["clip", "llava", "vision"])
def test_a_mini_model_that_is_not_complete_says_how_to_make_it(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "ASSETS", tmp_path)
    load = {"clip": load_clip, "llava": load_mllm, "vision": load_vision}[kind]
    with pytest.raises(ModelError, match=rf"python -m erragree_utils\.training\.{kind}$"):
        load("mini")


class TestCode:
    @pytest.mark.parametrize(
        "settings",
        [
            {"auto_map": {"AutoTokenizer": "own.Own"}},
            {"auto_map": {"AutoConfig": "owner/model--own.Own"}},
            {"a": [{"b": {"auto_map": {}}}]},
            {"_attn_implementation": "owner/kernel"},
            {"text_config": {"attn_implementation": "owner/kernel@main:run"}},
        ],
        ids=str,
    )
    def test_settings_that_name_it_are_refused(self, tmp_path, settings):
        refuse_unsafe(tmp_path)
        (tmp_path / "any.json").write_text(json.dumps(settings))
        with pytest.raises(ModelError, match=r"any\.json asks for code of the model's own"):
            refuse_unsafe(tmp_path)

    def test_others_are_not(self, tmp_path):
        settings = {"architectures": ["CLIPModel"], "_attn_implementation": "sdpa", "x": [1, None]}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        refuse_unsafe(tmp_path)
        refuse_code_of(str(tmp_path))

    def test_nor_is_a_config_on_the_hub_looked_up_by_running_it(self, monkeypatch):
        found = {"auto_map": {"AutoConfig": "own.Own"}}
        monkeypatch.setattr(PreTrainedConfig, "get_config_dict", lambda name: (found, {}))
        with pytest.raises(ModelError, match="owner/tower asks for code"):
            refuse_code_of("owner/tower")

    @pytest.mark.parametrize("advice", ["with weights_only=False", "pass trust_remote_code=True"])
    def test_advice_to_run_it_is_not_passed_on(self, advice):
        for message, text in (("size mismatch", "OSError: size mismatch"), (advice, "")):
            with pytest.raises(ModelError) as error, explained(lambda _, text: f"<{text}>"):
                raise OSError(message)
            assert str(error.value) == f"<{text}>"


class PanicException(BaseException):
    """What compiled code of a tokenizer raises; its own class cannot be imported."""


@pytest.mark.parametrize(
    ("error", "serious"),
    [
        (KeyboardInterrupt(), True),
        (SystemExit(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("size mismatch"), False),
        (PanicException("no entry found for key"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_goes_through_and_what_is_explained(error, serious):
    with pytest.raises(type(error) if serious else ModelError), explained(lambda _, text: text):
        raise error


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"  <!doctype html>", "a web page or a pointer"),
        (b"version https://git-lfs.github.com/spec/v1", "a web page or a pointer"),
        (b"noise", "is damaged, was not copied whole, or holds more than tensors"),
    ],
)
def test_what_is_the_matter_with_a_file(tmp_path, content, told):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    assert told in what_is_wrong(path)


def test_a_file_that_is_not_there_cannot_be_read(tmp_path):
    assert "it cannot be read" in what_is_wrong(tmp_path / "gone.pt")


class TestLayers:
    @pytest.mark.parametrize("name", ["layers", "n_layer", "depth", "num_hidden_layers"])
    def test_more_than_any_model_has_are_refused_whatever_they_are_called(self, tmp_path, name):
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"vision_cfg": {name: MAX_LAYERS}}))
        refuse_unsafe(tmp_path)
        for count in (MAX_LAYERS + 1, [2, 10**9], 1e300):
            path.write_text(json.dumps({"model_cfg": [{"vision_cfg": {name: count}}]}))
            with pytest.raises(ModelError, match=rf"config\.json: {name} is "):
                refuse_unsafe(tmp_path)

    def test_a_word_of_the_vocabulary_is_no_setting(self, tmp_path):
        words = json.dumps({"model": {"vocab": {"layer": 13148, "layers": 29277, "depth": 19488}}})
        (tmp_path / "tokenizer.json").write_text(words)
        refuse_unsafe(tmp_path)
        (tmp_path / "config.json").write_text(words)
        with pytest.raises(ModelError, match=r"config\.json: layer is 13148"):
            refuse_unsafe(tmp_path)

    @pytest.mark.parametrize(
        ("load", "name", "part"),
        [
            (load_mllm, "config.json", "vision_config"),
            (load_clip, "open_clip_config.json", "model_cfg"),
            (load_vision, "config.json", "model_args"),
        ],
    )
    def test_a_million_of_them_are_refused_at_once_for_every_kind_of_model(
        self, tmp_path, load, name, part
    ):
        shipped = {load_mllm: "mini-llava", load_clip: "mini-clip", load_vision: "mini-vision"}
        folder = Path(shutil.copytree(ASSETS / shipped[load], tmp_path / "model"))
        config = json.loads((folder / name).read_text())
        config.setdefault(part, {})["layers"] = 10**6
        (folder / name).write_text(json.dumps(config))
        with pytest.raises(ModelError, match=r"layers is 1000000, more than 1000"):
            load(folder, device="cpu")
