"""What a release needs: ``python tools/release.py check|pin|notes v0.1.0``.

``check`` compares the tag with the versions that the project states, ``pin`` lets badges and setup
cells point to the tag instead of main, ``notes`` prints the tag's section of the change log.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
#: What points to a state of the repository: badges, the setup cells, and the book's own buttons.
POINTERS = {
    "README.md": ("/blob/{}/",),
    "notebooks/*.*": ("/blob/{}/", '@{}\\"', '@{}"'),
    "_config.yml": ("branch: {}\n",),
}


def versions(root: Path = ROOT) -> dict[str, str]:
    """The version that each file states; of the change log, the newest one's."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    citation = yaml.safe_load((root / "CITATION.cff").read_text("utf-8"))
    newest = re.search(r"^## (\d\S*)", (root / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    return {
        "pyproject.toml": project["version"],
        "CITATION.cff": str(citation["version"]),
        "CHANGELOG.md": newest[1] if newest else "none",
    }


def check(tag: str, root: Path = ROOT) -> None:
    """ValueError if a file states another version than the tag."""
    wrong = {file: v for file, v in versions(root).items() if f"v{v}" != tag}
    if wrong:
        found = ", ".join(f"{file} states {version}" for file, version in wrong.items())
        raise ValueError(f"the tag is {tag}, but {found}: change what is wrong, and tag again")


def pin(tag: str, root: Path = ROOT) -> list[Path]:
    """Let all pointers at main point to the tag; returns the files that changed."""
    changed = []
    for pattern, pointers in POINTERS.items():
        for path in sorted(root.glob(pattern)):
            before = after = path.read_text("utf-8")
            for pointer in pointers:
                after = after.replace(pointer.format("main"), pointer.format(tag))
            if after != before:
                path.write_text(after, "utf-8")
                changed.append(path)
    return changed


def notes(tag: str, root: Path = ROOT) -> str:
    """The section of the change log that is about the tag's version."""
    text = (root / "CHANGELOG.md").read_text("utf-8")
    section = re.search(
        rf"^## {re.escape(tag.removeprefix('v'))}\b[^\n]*\n(.*?)(?=^## |\Z)", text, re.M | re.S
    )
    if section is None:
        raise ValueError(f"CHANGELOG.md has no section for {tag}: write one before the tag")
    return section[1].strip()


def main(arguments: list[str] | None = None) -> int:
    """Command line; 1, with the reason, where something does not fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("check", "pin", "notes"))
    parser.add_argument("tag", help="such as v0.1.0")
    options = parser.parse_args(arguments)
    try:
        if options.what == "check":
            check(options.tag)
        elif options.what == "pin":
            print(*(path.relative_to(ROOT) for path in pin(options.tag)), sep="\n")
        else:
            print(notes(options.tag))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
