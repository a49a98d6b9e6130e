"""Make each notebook and its .py pair equal, and strip the notebook of outputs.

jupytext lets the newer file of a pair win. Outputs, execution counts and editor metadata go: the
book executes the notebooks itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from jupytext.cli import jupytext

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
CELL_METADATA = ("tags", "mystnb")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def strip(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove, in place, all that is not source: outputs, counts and editor metadata."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        kept = {key: cell.metadata[key] for key in CELL_METADATA if key in cell.metadata}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def strip_file(path: Path) -> bool:
    """Strip a notebook file; returns whether that changed it."""
    old = path.read_text("utf-8")
    new = nbformat.writes(strip(nbformat.reads(old, as_version=4)), indent=1) + "\n"
    if new != old:
        path.write_text(new, "utf-8")
    return new != old


def main(folder: Path = NOTEBOOKS) -> int:
    """Sync and strip every pair of a folder."""
    scripts = sorted(folder.glob("*.py"))
    unpaired = [p for p in sorted(folder.glob("*.ipynb")) if not p.with_suffix(".py").exists()]
    status = jupytext(["--sync", "--quiet", *(str(path) for path in scripts + unpaired)])
    for path in sorted(folder.glob("*.ipynb")):
        if strip_file(path):
            print(f"Stripped {path.name}")
        # Jupyter refuses to open a notebook that is newer than its pair.
        path.with_suffix(".py").touch()
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
