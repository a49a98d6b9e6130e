"""What a model's files may not do: run for ever, fill the memory, build a million layers."""

from __future__ import annotations

import json
import shutil
import sys
import time

import pytest

from erragree_utils.models import ModelError
from erragree_utils.models.limits import MAX_LAYERS, check_layers
from erragree_utils.models.mllm import load_mllm, local_folder


@pytest.fixture(scope="module")
def mllm():
    return load_mllm("mini", device="cpu")


def loops(depth: int) -> str:
    return "{% for i in range(99999) %}" * depth + "{% endfor %}" * depth


class TestChatTemplates:
    def test_one_that_is_meant_well_is_not_changed(self, mllm):
        prompt = mllm.prompt("Is it red?")
        assert "Is it red?" in prompt and sys.gettrace() is None

    @pytest.mark.parametrize(
        ("template", "message"),
        [
            (loops(3), "of mini.* does not come to an end"),
            (loops(1) + "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}"
             "{% endfor %}", "does not come to an end"),
            ("{% set ns = namespace(x='a' * 1000) %}{% for i in range(32) %}"
             "{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}", "characters or needs more than"),
            ("{{ 'a' * 3500000000 }}", "characters or needs more than"),
            ("{{ 'a' * 2000000 }}", "writes more than 1000000 characters"),
        ],
        ids=["loops", "loops that write", "doubling", "3.5 GB", "2 MB"],
    )  # fmt: skip
    @pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux alone")
    def test_one_without_end_or_measure_is_stopped_and_named(
        self, mllm, monkeypatch, template, message
    ):
        monkeypatch.setattr(mllm.processor, "chat_template", template)
        began = time.monotonic()
        with pytest.raises(ModelError, match=message):
            mllm.prompt("Is it red?")
        assert time.monotonic() - began < 30
        monkeypatch.undo()
        assert "Is it red?" in mllm.prompt("Is it red?")


class TestLayers:
    @pytest.mark.parametrize("part", ["text_config", "vision_config"])
    def test_a_million_of_them_are_refused_at_once(self, tmp_path, part):
        folder = tmp_path / "model"
        shutil.copytree(local_folder("mini"), folder)
        config = json.loads((folder / "config.json").read_text())
        config[part]["num_hidden_layers"] = 10**6
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError, match=r"config\.json: num_hidden_layers is 1000000, more"):
            load_mllm(folder, device="cpu")

    @pytest.mark.parametrize("name", ["layers", "n_layer", "depth", "num_hidden_layers"])
    def test_whatever_they_are_called(self, tmp_path, name):
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"vision_cfg": {name: MAX_LAYERS}}))
        check_layers(path)
        for count in (MAX_LAYERS + 1, [2, 10**9], 1e300):
            path.write_text(json.dumps({"model_cfg": [{"vision_cfg": {name: count}}]}))
            with pytest.raises(ModelError, match=f"{name} is "):
                check_layers(path)

    def test_a_file_that_is_no_json_is_left_to_those_who_read_it(self, tmp_path):
        for text in ("{", "[" * 100_000, "3"):
            (tmp_path / "config.json").write_text(text)
            check_layers(tmp_path / "config.json")
        check_layers(tmp_path / "none.json")
