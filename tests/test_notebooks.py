"""Every notebook runs, finds what it claims, and is committed without outputs."""

from __future__ import annotations

from pathlib import Path

import colab_cell
import execution
import nbformat
import pandas as pd
import pytest
from argument import CHAPTERS

from erragree_utils import findings

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_chapter = pytest.mark.parametrize("name", CHAPTERS)
each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks():
    assert NOTEBOOKS


@each_notebook
def test_the_notebook_runs_and_finds_what_it_claims(notebook):
    ran = execution.execute(notebook, execution.current_cache(ROOT))
    found = findings.read(ran)
    assert found
    assert all(finding.holds for finding in found), findings.as_text(found)


@each_notebook
def test_the_margin_of_every_finding_is_on_record(notebook):
    found = findings.read(execution.execute(notebook, execution.current_cache(ROOT)))
    recorded = set(pd.read_csv(ROOT / "book" / "margins.csv")["Finding"])
    missing = [finding.claim for finding in found if finding.claim not in recorded]
    assert not missing, "run `make robust`"


@each_chapter
def test_the_chapter_answers_a_question(name):
    ran = execution.execute(ROOT / "notebooks" / f"{name}.ipynb", execution.current_cache(ROOT))
    assert findings.answers(findings.read(ran)), "give its main finding a `question`"


@each_chapter
def test_the_title_is_followed_by_a_sentence_that_answers(name):
    first = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells[0].source
    title, answer = first.split("\n\n")[:2]
    assert title.startswith("# ") and answer.startswith("**") and answer.endswith("**")


@each_chapter
def test_the_chapter_has_one_key_idea_and_asks_for_a_prediction_first(name):
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert text.count("```{admonition} Key idea\n:class: key-idea\n") == 1
    predictions = text.count("```{admonition} Predict before you go on\n")
    assert predictions and text.count(":class: predict\n") == predictions


@each_notebook
def test_the_notebook_is_committed_without_outputs(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    dirty = [
        index
        for index, cell in enumerate(cells)
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None)
    ]
    assert not dirty, f"cells {dirty} hold outputs: run `make sync`"


@each_notebook
def test_the_first_code_cell_is_the_same_in_every_notebook(notebook):
    first = next(c for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code")
    assert first.source == colab_cell.cell(), "run `python tools/colab_cell.py` and `make sync`"
    assert first.metadata.tags == ["remove-cell"]
