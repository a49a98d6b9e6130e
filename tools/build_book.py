"""Build the book from a clean build folder, and fail when a notebook does.

Jupyter Book alone exits 0 when a notebook raises, and an incremental build can keep pages made
with an older package. The execution cache makes a clean build cheap.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import yaml
from jupyter_book.cli.main import main as jupyter_book

ROOT = Path(__file__).resolve().parents[1]


def remove_old_build(build: Path) -> None:
    """Remove pages and parsed sources, not the execution cache."""
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


def failures(html: Path) -> dict[str, str]:
    """Traceback of each notebook that failed, by page name."""
    reports = html / "reports"
    return {
        path.relative_to(reports).as_posix().removesuffix(".err.log"): path.read_text("utf-8")
        for path in sorted(reports.rglob("*.err.log"))
    }


def first_page(source: Path, html: Path) -> Path:
    """The page that the table of contents names as its root."""
    toc = yaml.safe_load((source / "_toc.yml").read_text("utf-8"))
    return html / f"{Path(toc['root']).with_suffix('').as_posix()}.html"


def build(source: Path, output: Path, strict: bool = False) -> int:
    """Build the book of `source` into ``output/_build/html``; returns an exit status.

    Parameters
    ----------
    source : Path
        Folder with ``_config.yml`` and ``_toc.yml``.
    output : Path
        Folder in which ``_build`` is made. The execution cache stays in ``source/_build``.
    strict : bool
        Count every warning, missing references included, as an error.
    """
    html = output / "_build" / "html"
    remove_old_build(html.parent)
    status = run_jupyter_book(source, output, strict)
    failed = failures(html)
    for page, report in failed.items():
        print(f"\nThe notebook {page}.ipynb failed:\n\n{report}", file=sys.stderr)
    if failed or status:
        names = ", ".join(f"{page}.ipynb" for page in failed)
        print(f"The book was not built: {names or 'see the messages above'}.", file=sys.stderr)
        return status or 1
    print(f"The book is ready. Its first page: {first_page(source, html).as_uri()}")
    return 0


def main() -> int:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=ROOT, help="the book's sources")
    parser.add_argument("--output", type=Path, help="where to put _build (default: the sources)")
    parser.add_argument("--strict", action="store_true", help="warnings are errors")
    options = parser.parse_args()
    source = options.source.resolve()
    return build(source, (options.output or source).resolve(), options.strict)


if __name__ == "__main__":
    sys.exit(main())
