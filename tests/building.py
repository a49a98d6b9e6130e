"""The book, built as `make book` builds it; the whole one once for all tests of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
#: Names a built book (`_build/html`) to test instead of building one.
VARIABLE = "BOOK_HTML"


def build(source: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Build a book as the Makefile does, with the package of `source`."""
    command = [sys.executable, str(ROOT / "tools" / "build_book.py")]
    command += ["--source", str(source), "--output", str(output), *options]
    environment = os.environ | {"PYTHONPATH": str(source)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def whole_book(temporary: pytest.TempPathFactory) -> Path:
    """Its pages, from a clean folder with warnings as errors; processes of one run share them."""
    if ready := os.environ.get(VARIABLE):
        return Path(ready).resolve()
    shared = temporary.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    html, log = shared / "book" / "_build" / "html", shared / "book.log"
    with FileLock(shared / "book.lock"):
        if not log.exists():
            result = build(ROOT, shared / "book", "--strict")
            log.write_text(f"{result.returncode}\n{result.stdout}{result.stderr}", "utf-8")
    status, _, text = log.read_text("utf-8").partition("\n")
    assert status == "0", text
    return html


def turn(path: Path) -> int:
    """When a file's tests run: 0 builds the book, 1 does without it, 2 finds it built.

    So one of two workers builds while the other has something else to do, and none waits.
    """
    if path.name == "test_book.py":
        return 0
    return 2 if path.parent.name == "browser" else 1


def pages() -> list[str]:
    """Every page of the table of contents, the first page first."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    return [toc["root"], *(c["file"] for part in toc["parts"] for c in part["chapters"])]
