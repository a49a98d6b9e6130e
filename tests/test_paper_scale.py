"""At paper scale every chapter runs, on small stand-ins under the published names.

The notebooks are the shipped ones, and so is what loads models and benchmarks. What comes out says
nothing of the real models: findings may fail, cells may not.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import execution
import nbformat
import pandas as pd
import pytest

from erragree_utils import findings
from tests.standins import benchmarks, world

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
#: Chapters that draw from recorded runs, at either scale.
WITHOUT_SCALE = {"09_why"}
CHAPTERS = [name for name in NOTEBOOKS if name not in WITHOUT_SCALE]
#: A chapter about the study itself, which shows a small run at mini scale.
ABOUT_BOTH = "11_paper_scale"
CLIP, LLAVA = "ViT-L-14-336:openai", "llava-hf/llava-1.5-7b-hf"
#: What a chapter has to name where it names models and benchmarks.
NAMED = {
    "01_cosine_agreement": (CLIP, "whatsup-a", "whatsup-b"),
    "02_clip_matching": (CLIP,),
    "03_same_encoder_new_reader": (
        CLIP,
        f"{LLAVA}: weights of the hub, commit b234b80",
        "576 patch tokens",
    ),
    "06_clip_blind_pairs": ("tsb0601/MMVP", "for CLIP the authors' statements", *benchmarks.TYPES),
    "07_contrastive_decoding": (LLAVA, "<Benchmark mmvp: "),
}
MINI_ONLY = "At mini scale only"
each_chapter = pytest.mark.parametrize("name", CHAPTERS)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Executes a chapter at paper scale; the stand-ins are built when the first one has to."""
    root = tmp_path_factory.mktemp("paper")
    before, environment = world.before(), world.variables(root)
    cache = execution.current_cache(ROOT, environment, before)
    with ExitStack() as stack:

        def execute(name: str) -> nbformat.NotebookNode:
            if (earlier := execution.executed(NOTEBOOKS[name], cache)) is not None:
                return earlier
            if "HF_ENDPOINT" not in environment:
                environment.update(stack.enter_context(world.built(root)))
            return execution.execute(NOTEBOOKS[name], cache, environment, before)

        yield execute


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [out for cell in notebook.cells for out in cell.get("outputs", [])]


def lines(notebook: nbformat.NotebookNode) -> list[str]:
    """What the cells print, but for warnings, and the tables they show."""
    shown = [out for out in outputs(notebook) if out.get("name") != "stderr"]
    texts = (out.get("text") or out.get("data", {}).get("text/plain", "") for out in shown)
    return [line for text in texts for line in text.splitlines()]


def test_every_chapter_has_two_scales_or_is_known_to_have_one():
    for name, path in NOTEBOOKS.items():
        asks = "scale = start()" in path.with_suffix(".py").read_text("utf-8")
        assert asks == (name not in WITHOUT_SCALE), name


@each_chapter
def test_every_cell_runs(ran, name):
    cells = [cell for cell in ran(name).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert not [out for out in outputs(ran(name)) if out.output_type == "error"]


@each_chapter
def test_findings_are_those_on_record_and_none_is_of_a_draw_or_of_mini_models(ran, name):
    found = findings.read(ran(name))
    recorded = set(pd.read_csv(ROOT / "book" / "margins.csv")["Finding"])
    assert found and {finding.claim for finding in found} <= recorded
    if name != ABOUT_BOTH:
        assert not [finding.claim for finding in found if finding.seed is not None]
        assert not [finding.claim for finding in found if "mini" in finding.claim]


@each_chapter
def test_what_is_shown_is_about_the_papers_models_and_benchmarks(ran, name):
    shown = lines(ran(name))
    for expected in NAMED.get(name, ()):
        assert any(expected in line for line in shown), expected
    if name != ABOUT_BOTH:
        strangers = [line for line in shown if re.search("mini|tabletop", line)]
        assert not [line for line in strangers if not line.startswith(MINI_ONLY)]


def test_both_towers_hold_the_same_weights(ran):
    found = findings.read(ran("03_same_encoder_new_reader"))
    (same,) = (finding for finding in found if finding.claim.startswith("Both loaders"))
    assert same.holds and same.value < 1e-4


@each_chapter
def test_exercises_do_not_let_the_pages_models_read_rendered_pairs(name):
    """At paper scale the page's models are the published ones."""
    text = NOTEBOOKS[name].with_suffix(".py").read_text("utf-8").partition("# ## Exercises")[2]
    for solution in re.findall(r"(?:^#     .*\n(?:^#\n)?)+", text, re.MULTILINE):
        if "tabletop" in solution:
            assert not re.search(r"(?<![\w\"])(clip|mllm)\b(?! =)", solution), solution
