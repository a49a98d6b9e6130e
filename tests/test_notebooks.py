"""Every notebook runs from top to bottom, in an empty folder, and is committed without outputs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS_PER_CELL = 600


def run_through_nbmake(notebook: Path) -> subprocess.CompletedProcess[str]:
    """Execute a notebook with pytest's nbmake plugin, from the folder it lies in."""
    command = [sys.executable, "-m", "pytest", "--nbmake", f"--nbmake-timeout={SECONDS_PER_CELL}"]
    command += ["-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={notebook.parent}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    return subprocess.run(
        [*command, str(notebook)],
        cwd=notebook.parent,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(notebook, tmp_path):
    copy = Path(shutil.copy(notebook, tmp_path))
    result = run_through_nbmake(copy)
    assert result.returncode == 0 and "1 passed" in result.stdout, result.stdout + result.stderr


def test_a_failing_cell_fails_the_run(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "fails.ipynb")
    result = run_through_nbmake(tmp_path / "fails.ipynb")
    assert result.returncode != 0
    assert "ZeroDivisionError" in result.stdout


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_committed_without_outputs(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    dirty = [
        index
        for index, cell in enumerate(cells)
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None)
    ]
    assert not dirty, f"cells {dirty} hold outputs: run `make sync`"


def first_code_cell() -> str:
    """What tools/colab_cell.py writes into every notebook."""
    path = ROOT / "tools" / "colab_cell.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool.cell()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_code_cell_is_the_same_in_every_notebook(notebook):
    first = next(c for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code")
    assert first.source == first_code_cell(), "run `python tools/colab_cell.py` and `make sync`"
    assert first.metadata.tags == ["remove-cell"]
