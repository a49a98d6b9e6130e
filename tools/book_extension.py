"""Sphinx extension of the book: an execution cache that follows the package, and an offline badge.

Jupyter Book's execution cache is keyed by the code cells and the kernel alone, so a change in the
helper package or its weights would leave stale outputs in the pages. Here the cache's folder is
named by a hash of the package's files and of the installed versions.
"""

from __future__ import annotations

import hashlib
import shutil
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.transforms import SphinxTransform

PACKAGE = "erragree_utils"
CACHES_KEPT = 3
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
LOCAL_BADGE = "/book/_static/colab-badge.svg"


def package_key(package: Path) -> str:
    """Hash the files of a package together with the versions of everything installed.

    Parameters
    ----------
    package : Path
        Folder of the package; byte code and numba caches (``__pycache__``) do not count.

    Returns
    -------
    str
        Sixteen hexadecimal digits.

    Raises
    ------
    FileNotFoundError
        If there is no file in the folder.
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
    return digest.hexdigest()[:16]


def remove_old_caches(caches: Path, current: Path, kept: int = CACHES_KEPT) -> None:
    """Keep the current cache and the most recently used others, `kept` in all."""
    others = [path for path in caches.iterdir() if path.is_dir() and path != current]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[kept - 1 :]:
        shutil.rmtree(path)


def use_package_cache(app: Any, config: Any) -> None:
    """Point the notebooks' execution cache at the folder of the package's present state."""
    source = Path(app.srcdir)
    caches = source / "_build" / ".jupyter_cache"
    current = caches / package_key(source / PACKAGE)
    current.mkdir(parents=True, exist_ok=True)
    current.touch()
    remove_old_caches(caches, current)
    config.nb_execution_cache_path = str(current)


class LocalBadge(SphinxTransform):
    """Show the Colab badge from the book's own files, so that it is there without a network."""

    default_priority = 100

    def apply(self, **kwargs: Any) -> None:
        for image in self.document.findall(nodes.image):
            if image["uri"] == BADGE:
                image["uri"] = LOCAL_BADGE


def setup(app: Any) -> dict[str, Any]:
    """Register the extension's parts with Sphinx."""
    app.connect("config-inited", use_package_cache)
    app.add_transform(LocalBadge)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
