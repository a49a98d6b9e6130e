"""What the head of each chapter says it takes at paper scale."""

from __future__ import annotations

import re
from pathlib import Path

import needs
import pytest

from erragree_utils.scoring import METHODS
from erragree_utils.study import hardware

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
each_chapter = pytest.mark.parametrize("name", needs.CHAPTERS)


def code(name: str) -> str:
    """The chapter's code, without text and comments."""
    lines = (NOTEBOOKS / f"{name}.py").read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def test_every_chapter_that_has_two_scales_says_it():
    scaled = {p.stem for p in NOTEBOOKS.glob("*.py") if "start()" in code(p.stem)}
    assert scaled - {"11_paper_scale"} == set(needs.CHAPTERS)


@each_chapter
def test_the_head_says_what_is_computed(name):
    text = (NOTEBOOKS / f"{name}.py").read_text("utf-8")
    found = [line for line in text.splitlines() if line.startswith(needs.HEAD)]
    assert found == [needs.line(needs.CHAPTERS[name])], "run `python tools/needs.py`, `make sync`"
    assert text.index(found[0]) < text.index("## ")


@each_chapter
def test_what_the_code_lets_llava_read_is_counted(name):
    used = {how for how in METHODS if "mllm" in METHODS[how].roles and f'"{how}"' in code(name)}
    used |= {how for how in needs.FUNCTIONS if f"{how}(" in code(name)}
    counted = {how for how, _ in needs.CHAPTERS[name].mllm}
    # Without an image, as "question-options" is asked in chapter 7, nothing is read.
    read = {how for how in used if not blind_or_single(how, code(name))}
    assert counted == read


def blind_or_single(how: str, text: str) -> bool:
    """Whether a method is named for one pair, without images, at mini scale or of the paper."""
    lines = [line for line in text.splitlines() if f'"{how}"' in line]
    return bool(lines) and all(
        "blind=True" in line or "[pair]" in line or line.startswith("    method = ")
        or "published" in line or line.startswith("methods = (")
        for line in lines
    )  # fmt: skip


def test_gradients_and_second_streams_count_as_passes():
    reads = needs.Reads(0, (("greedy", 10), ("vcd", 10), ("answer_saliency", 10)))
    assert reads.passes == 10 + 20 + 20


def test_a_larger_gpu_is_faster_and_llava_takes_more_than_clip_alone():
    t4, h100 = hardware.GPUS[0], hardware.GPUS[-1]
    small, large = (hardware.chapter_needs(gpu, 1000, 1000) for gpu in (t4, h100))
    assert small[1] > 5 * large[1] and small[1] < small[2]
    alone = hardware.chapter_needs(t4, 0, 1000)
    assert alone[0] < small[0] / 2 and alone[1] < small[1]


def test_the_line_is_written_once_and_in_its_place(tmp_path):
    script = tmp_path / "a.py"
    script.write_text("# **You need** a CPU.\n#\n# ## The question\n")
    assert needs.write(script, f"{needs.HEAD}1 min.")
    assert not needs.write(script, f"{needs.HEAD}1 min.")
    assert needs.write(script, f"{needs.HEAD}2 min.")
    expected = f"# **You need** a CPU.\n#\n{needs.HEAD}2 min.\n#\n# ## The question\n"
    assert script.read_text() == expected
    script.write_text("# Nothing.\n")
    with pytest.raises(ValueError, match=r"no paragraph that begins with \*\*You need\*\*"):
        needs.write(script, "x")
    assert re.search("T4: .* GiB, .* min", needs.line(needs.Reads(0, (("greedy", 300),))))
