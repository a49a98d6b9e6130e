"""Copy the repository's address from pyproject.toml to every file that shows it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = ("README.md", "CITATION.cff", "_config.yml", "book/*.md", "notebooks/*.*")


def repository(root: Path = ROOT) -> str:
    """The repository's address, without a slash at its end."""
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    return settings["project"]["urls"]["Repository"].rstrip("/")


def shown_address(root: Path = ROOT) -> str:
    """The address that the book's settings show at present."""
    match = re.search(r"^  url: (\S+)", (root / "_config.yml").read_text("utf-8"), re.MULTILINE)
    if match is None:
        raise ValueError("_config.yml holds no `repository: url:`; add it.")
    return match[1].rstrip("/")


def replace(path: Path, old: str, new: str) -> bool:
    """Replace ``owner/name`` of one address by another's; returns whether the file changed."""
    host = "https://github.com/"
    pattern = re.compile(re.escape(old.removeprefix(host)) + r"(?![\w-])")
    before = path.read_text("utf-8")
    after = pattern.sub(lambda _: new.removeprefix(host), before)
    if after != before:
        path.write_text(after, "utf-8")
    return after != before


def main(root: Path = ROOT) -> int:
    """Rewrite the address wherever it is shown, and say where that was."""
    new, old = repository(root), shown_address(root)
    for path in sorted(path for pattern in PATTERNS for path in root.glob(pattern)):
        if replace(path, old, new):
            print(f"{path.relative_to(root)}: {new}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
