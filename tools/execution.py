"""Execute notebooks through nbmake, each once: outputs are kept while code and package stay.

The outputs go to Jupyter Book's execution cache, whose key covers the code cells and the kernel
alone. So its folder is named by a hash of the package's files, of what is installed,
of the environment variables that change numbers, and of code that runs before the first cell.
"""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import yaml
from filelock import FileLock
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

PACKAGE = "erragree_utils"
CACHES_KEPT = 20  # `make robust` fills nine
SECONDS_PER_CELL = 600
#: Environment variables on which the numbers of a page depend.
VARIABLES = (
    "ERRAGREE_SCALE",
    "ERRAGREE_SEED",
    "ATEN_CPU_CAPABILITY",
    "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE",
)


class NotebookError(RuntimeError):
    """A notebook raised; the message is nbmake's report."""


def package_key(
    package: Path, environment: Mapping[str, str] = os.environ, before: str = ""
) -> str:
    """Sixteen hexadecimal digits that differ where a package's files, or what is installed, do.

    Byte code and numba caches (``__pycache__``) do not count; `VARIABLES` of the environment and
    code that runs `before` a notebook do.
    """
    files = sorted(
        path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    if not files:
        raise FileNotFoundError(f"No files in {package}: build the book from a whole checkout.")
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for name, version in sorted({(d.name, d.version) for d in distributions()}):
        digest.update(f"{name}=={version}\n".encode())
    for name in VARIABLES:
        digest.update(f"{name}={environment.get(name, '')}\n".encode())
    digest.update(f"{sys.version_info}\n{before}".encode())
    return digest.hexdigest()[:16]


def current_cache(
    source: Path, environment: Mapping[str, str] = os.environ, before: str = ""
) -> Path:
    """The execution cache of a book's sources for the package as it is; makes it if need be."""
    caches = source / "_build" / ".jupyter_cache"
    current = caches / package_key(source / PACKAGE, environment, before)
    current.mkdir(parents=True, exist_ok=True)
    current.touch()
    remove_old_caches(caches, current)
    return current


def remove_old_caches(caches: Path, current: Path, kept: int = CACHES_KEPT) -> None:
    """Keep the current cache and the most recently used others, `kept` in all."""
    others = [path for path in caches.iterdir() if path.is_dir() and path != current]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[kept - 1 :]:
        shutil.rmtree(path, ignore_errors=True)  # another build may be removing it, too


def chapters(source: Path) -> list[Path]:
    """The notebooks of a book, in the order of its table of contents."""
    toc = yaml.safe_load((source / "_toc.yml").read_text("utf-8"))
    parts = toc.get("parts", [toc])
    files = [source / f"{c['file']}.ipynb" for part in parts for c in part["chapters"]]
    return [path for path in files if path.is_file()]


def title(notebook: Path) -> str:
    """A notebook's first heading."""
    first = nbformat.read(notebook, as_version=4).cells[0].source
    return first.splitlines()[0].removeprefix("# ")


def executed(notebook: Path, cache: Path) -> nbformat.NotebookNode | None:
    """A notebook with its outputs, or None if it has not been executed since it changed."""
    with FileLock(cache / "records.lock"):
        try:
            _, merged = get_cache(cache).merge_match_into_notebook(nbformat.read(notebook, 4))
        except KeyError:
            return None
    return merged


def execute(
    notebook: Path,
    cache: Path,
    environment: Mapping[str, str] = os.environ,
    before: str = "",
) -> nbformat.NotebookNode:
    """A notebook with its outputs, from the cache or through nbmake, in an empty folder.

    The kernel runs the code `before` ahead of the first cell; give `current_cache` the same. A
    `NotebookError` means that a cell raised, or the kernel died.
    """
    # Tests in several processes ask for the same notebooks: the second one waits for the outputs.
    with FileLock(cache / f"{notebook.stem}.lock"):
        if (earlier := executed(notebook, cache)) is not None:
            return earlier
        began = time.monotonic()
        finished = with_outputs(nbformat.read(notebook, as_version=4), environment, before)
        seconds = {"execution_seconds": time.monotonic() - began}
        bundle = CacheBundleIn(finished, str(notebook), data=seconds)
        with FileLock(cache / "records.lock"):
            get_cache(cache).cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
        return finished


def with_outputs(
    notebook: nbformat.NotebookNode, environment: Mapping[str, str], before: str
) -> nbformat.NotebookNode:
    """A copy with the outputs that nbmake gives it; all else, the cache's key, stays as it was."""
    notebook = copy.deepcopy(notebook)
    first = nbformat.v4.new_code_cell(before)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "notebook.ipynb"
        to_run = copy.deepcopy(notebook)
        to_run.cells.insert(0, first)
        nbformat.write(to_run, path)
        run = run_nbmake(path, environment)
        if run.returncode or "1 passed" not in run.stdout:
            raise NotebookError(run.stdout + run.stderr)
        ran = nbformat.read(path, as_version=4)
    for cell, source in zip(notebook.cells, ran.cells[1:], strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = source.outputs, source.execution_count
    if "widgets" in ran.metadata:
        notebook.metadata["widgets"] = ran.metadata["widgets"]
    return notebook


def run_nbmake(path: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Execute a notebook in place with pytest's nbmake plugin, from the folder it lies in."""
    command = [sys.executable, "-m", "pytest", "--nbmake", "--overwrite", "-p", "no:cacheprovider"]
    command += [f"--nbmake-timeout={SECONDS_PER_CELL}", "-c", os.devnull]
    command += [f"--rootdir={path.parent}"]
    # No bars in the book: they tell how long is left, to nobody. Figures are drawn for phones, too.
    environment = {**environment, "PYTEST_ADDOPTS": "", "TQDM_DISABLE": "1", "ERRAGREE_NARROW": "1"}
    return subprocess.run(
        [*command, str(path)], cwd=path.parent, env=environment, capture_output=True, text=True
    )


def execute_all(
    notebooks: Sequence[Path], cache: Path, workers: int
) -> Iterator[tuple[Path, nbformat.NotebookNode | NotebookError]]:
    """`execute` for several notebooks at a time; each comes with its outputs or its error."""

    def attempt(notebook: Path) -> nbformat.NotebookNode | NotebookError:
        try:
            return execute(notebook, cache)
        except NotebookError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        yield from zip(notebooks, pool.map(attempt, notebooks), strict=True)
