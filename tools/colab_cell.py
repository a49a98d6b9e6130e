"""Write the first code cell into every notebook: one text, kept here.

On Colab it installs what is missing, elsewhere it does nothing.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = '# %% tags=["remove-cell"]\n'
TEMPLATE = r"""
# @title Setup: on Colab, install what is missing { display-mode: "form" }
import sys

if "google.colab" in sys.modules:
    import subprocess
    from importlib.metadata import version
    from pathlib import Path

    # Colab's own stay: they fit its GPU, and are in use already.
    kept = [f"{name}=={version(name)}" for name in ("torch", "torchvision", "numpy")]
    Path("constraints.txt").write_text("\n".join(kept))
    package = "erragree-utils[gpu,mmvp] @ git+REPOSITORY@main"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt"]
    done = subprocess.run([*pip, package], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{done.stderr[-2000:]}\npip could not install the package, see above. "
            f"If it names one of {', '.join(kept)}: choose the latest version under "
            "Runtime > Change runtime type. Else run this cell again."
        )
"""


def cell(root: Path = ROOT) -> str:
    """The cell's text, with the repository's address from pyproject.toml."""
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    address = settings["project"]["urls"]["Repository"].rstrip("/")
    return TEMPLATE.replace("REPOSITORY", address).strip()


def write(script: Path, text: str) -> bool:
    """Replace a notebook's first cell with the tag; returns whether the file changed."""
    before = script.read_text("utf-8")
    old = re.search(re.escape(HEAD) + r".*?(?=\n# %%|\Z)", before, re.DOTALL)
    if old is None:
        raise ValueError(f"{script} has no cell that begins with {HEAD.strip()!r}")
    after = f"{before[: old.start()]}{HEAD}{text}\n{before[old.end() :]}"
    if after != before:
        script.write_text(after, "utf-8")
    return after != before


def main(folder: Path = ROOT / "notebooks") -> int:
    """Write the cell into every notebook of a folder; `make sync` then carries it over."""
    for script in sorted(folder.glob("*.py")):
        if write(script, cell()):
            print(f"{script.name}: first code cell written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
