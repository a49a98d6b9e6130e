"""What a chat template may not do: run for ever, or fill the memory."""

from __future__ import annotations

import sys
import time

import pytest

from erragree_utils.models import ModelError
from erragree_utils.models.mllm import load_mllm


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
