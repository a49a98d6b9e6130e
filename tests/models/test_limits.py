"""What a chat template may not do: run for ever, or fill the memory."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from erragree_utils.models import ModelError, limits
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
            ("{{ 'a' * 1000000 * 3500 }}", "characters or needs more than"),
            ("{{ 'a' * 1000000 * 2 }}", "writes more than 1000000 characters"),
        ],
        ids=["loops", "loops that write", "doubling", "3.5 GB", "2 MB"],
    )  # fmt: skip
    @pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux alone")
    def test_one_without_end_or_measure_is_stopped_and_named(
        self, mllm, monkeypatch, template, message
    ):
        monkeypatch.setattr(limits, "MAX_SECONDS", 1.0)
        monkeypatch.setattr(mllm.processor, "chat_template", template)
        began = time.monotonic()
        with pytest.raises(ModelError, match=message):
            mllm.prompt("Is it red?")
        assert time.monotonic() - began < 30
        monkeypatch.undo()
        assert "Is it red?" in mllm.prompt("Is it red?")

    def test_one_that_goes_round_at_the_second_prompt_alone_is_stopped_there(
        self, mllm, monkeypatch
    ):
        monkeypatch.setattr(limits, "MAX_SECONDS", 1.0)
        asked = "messages[0].content[-1].text"
        template = f"{{{{ {asked} }}}}{{% if 'blue' in {asked} %}}{loops(3)}{{% endif %}}"
        monkeypatch.setattr(mllm.processor, "chat_template", template)
        assert mllm.prompt("Is it red?") == "Is it red?"
        with pytest.raises(ModelError, match="does not come to an end"):
            mllm.prompt("Is it blue?")
        time.sleep(0.3)  # nothing is thrown into what comes after
        assert mllm.prompt("Is it green?") == "Is it green?"

    def test_it_is_stopped_outside_the_main_thread_too(self, monkeypatch):
        monkeypatch.setattr(limits, "MAX_SECONDS", 0.5)

        def render():
            while True:
                pass

        with ThreadPoolExecutor(1) as pool, pytest.raises(ModelError, match="come to an end"):
            pool.submit(limits.bounded, render, "mine").result(timeout=20)

    @pytest.mark.parametrize(
        "template",
        [
            "{{ (9**(9**9)) % 7 }}",
            "{% set n = namespace(x=9) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}"
            "{% endfor %}",
            "{{ 'a' * 3500000000 }}",
            "{{ 1 | round(9999999999, 'ceil') }}",
            "{{ [1] | map('round', 9999999999, 'ceil') | list }}",
        ],
    )
    def test_arithmetic_that_nothing_could_stop_is_refused(self, mllm, monkeypatch, template):
        monkeypatch.setattr(mllm.processor, "chat_template", template)
        with pytest.raises(ModelError, match=r"of mini.* arithmetic that may not .* \(line 1\)"):
            mllm.prompt("Is it red?")

    def test_what_published_templates_hold_is_let_through(self):
        limits.check_template(
            "{% for m in messages %}{% if loop.index0 % 2 %}{% continue %}{% endif %}{{ '  ' * 2 }}"
            "{% generation %}{{ m.content | trim }}{% endgeneration %}{{ 1.55 | round(1) }}"
            "{{ tools | map(attribute='name') | join(', ') }}{% endfor %}",
            "mine",
        )
