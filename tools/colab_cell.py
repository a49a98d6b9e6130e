"""Write the first code cell into every notebook: one text, kept here.

On Colab it installs what is missing, tells the GPU and chooses the scale; elsewhere it does nothing
unless SCALE is edited. What it does with the scale is `erragree_utils.study.hardware.start`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = '# %% tags=["remove-cell"]\n'
TEMPLATE = r"""
# @title Setup: on Colab, install what is missing; choose the scale { display-mode: "form" }
SCALE = "auto"  # @param ["auto", "mini", "paper"]

import sys

if "google.colab" in sys.modules:
    import subprocess
    from importlib.metadata import version
    from pathlib import Path

    # Colab's own stay: they fit its GPU, and are in use already.
    names = ("torch", "torchvision", "numpy")
    kept = [f"{name}=={version(name)}" for name in names]
    Path("constraints.txt").write_text("\n".join(kept))
    package = "git+REPOSITORY@main"
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    pip += ["--constraint", "constraints.txt", f"erragree-utils[gpu,mmvp] @ {package}"]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{done.stderr[-2000:]}\npip could not install the package, see above. "
            f"If it names one of {', '.join(kept)}: choose the latest version under "
            "Runtime > Change runtime type. Else run this cell again."
        )

from erragree_utils.study import hardware

_ = hardware.start(SCALE)
"""


def cell(root: Path = ROOT) -> str:
    """The cell's text, with the repository's address from pyproject.toml."""
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    address = settings["project"]["urls"]["Repository"].rstrip("/")
    return TEMPLATE.replace("REPOSITORY", address).strip()


def write(script: Path, text: str) -> bool:
    """Replace a notebook's first cell with the tag; returns whether the file changed.

    Raises
    ------
    ValueError
        If the notebook has no cell with that tag.
    """
    before = script.read_text("utf-8")
    found = re.search(re.escape(HEAD) + r".*?(?=\n# %%|\Z)", before, re.DOTALL)
    if found is None:
        raise ValueError(f"{script} has no cell that begins with {HEAD.strip()!r}")
    after = f"{before[: found.start()]}{HEAD}{text}\n{before[found.end() :]}"
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
