"""Build the book: execute its notebooks, then make its pages from a clean build folder.

A notebook that raises fails the build. A finding that does not hold does not: its page and the page
*Findings* mark it, and it is named at the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import nbformat
import yaml
from execution import NotebookError, chapters, current_cache, execute_all, executed, title
from jupyter_book.cli.main import main as jupyter_book

from erragree_utils import findings

ROOT = Path(__file__).resolve().parents[1]
#: Notebooks executed at a time; each kernel takes about 1 GB.
WORKERS = min(4, os.cpu_count() or 1)


def remove_old_build(build: Path) -> None:
    """Remove pages and parsed sources, not the execution cache.

    An incremental build can keep pages made with an older package.
    """
    for name in ("html", ".doctrees", "jupyter_execute"):
        shutil.rmtree(build / name, ignore_errors=True)


def run_jupyter_book(source: Path, output: Path, strict: bool) -> int:
    """Run ``jupyter-book build``; returns its exit status."""
    options = ["-n", "-W", "--keep-going"] if strict else []
    arguments = ["build", str(source), "--path-output", str(output), *options]
    try:
        jupyter_book.main(args=arguments, prog_name="jupyter-book", standalone_mode=False)
    except SystemExit as stop:
        return int(stop.code or 0)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run_notebooks(source: Path, workers: int) -> dict[Path, nbformat.NotebookNode] | None:
    """Execute what has changed; the notebooks with their outputs, or None if one raised."""
    cache, notebooks = current_cache(source), chapters(source)
    stale = [path for path in notebooks if executed(path, cache) is None]
    failed = []
    if stale:
        print(f"Executing {len(stale)} notebooks, {workers} at a time.", flush=True)
    for done, (path, outcome) in enumerate(execute_all(stale, cache, workers), 1):
        print(f"  {done}/{len(stale)} {path.relative_to(source).as_posix()}", flush=True)
        if isinstance(outcome, NotebookError):
            failed.append(path.name)
            print(f"\nThe notebook {path.name} failed:\n\n{outcome}", file=sys.stderr)
    if failed:
        print(f"The book was not built: {', '.join(failed)}.", file=sys.stderr)
        return None
    return {path: executed(path, cache) for path in notebooks}


def report_findings(ran: dict[Path, nbformat.NotebookNode]) -> None:
    """Print how many findings hold, and each that does not with its page."""
    by_page = {path: findings.read(notebook) for path, notebook in ran.items()}
    every = [f for page in by_page.values() for f in page]
    holding = sum(f.holds for f in every)
    print(f"{holding} of {len(every)} findings hold.")
    for path, page in by_page.items():
        if missed := [f for f in page if not f.holds]:
            print(f"On the page “{title(path)}”:\n{findings.as_text(missed)}")


def first_page(source: Path, html: Path) -> Path:
    """The page that the table of contents names as its root."""
    toc = yaml.safe_load((source / "_toc.yml").read_text("utf-8"))
    return html / f"{Path(toc['root']).with_suffix('').as_posix()}.html"


def build(source: Path, output: Path, strict: bool = False, workers: int = WORKERS) -> int:
    """Build the book of `source` into ``output/_build/html``; returns an exit status.

    The execution cache stays in ``source/_build``. If `strict`, every warning is an error.
    """
    html = output / "_build" / "html"
    remove_old_build(html.parent)
    ran = run_notebooks(source, workers)
    if ran is None:
        return 1
    if status := run_jupyter_book(source, output, strict):
        print("The book was not built: see the messages above.", file=sys.stderr)
        return status
    report_findings(ran)
    print(f"The book is ready. Its first page: {first_page(source, html).as_uri()}")
    return 0


def main() -> int:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=ROOT, help="the book's sources")
    parser.add_argument("--output", type=Path, help="where to put _build (default: the sources)")
    parser.add_argument("--strict", action="store_true", help="warnings are errors")
    parser.add_argument(
        "--workers", type=int, default=WORKERS, help="notebooks executed at a time (%(default)s)"
    )
    options = parser.parse_args()
    source = options.source.resolve()
    return build(source, (options.output or source).resolve(), options.strict, options.workers)


if __name__ == "__main__":
    sys.exit(main())
