"""Scripts for the page from the npm registry: pinned, checked, and fetched without Node.

Where npm is installed it fetches, since it knows the reader's registry, proxy and certificates;
elsewhere a plain download does. Nothing is fetched twice.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

REGISTRY = "https://registry.npmjs.org"
#: Names another registry, as npm's own variable of that name does.
VARIABLE = "NPM_CONFIG_REGISTRY"
SECONDS = 300


class PackageError(RuntimeError):
    """A package is not to be had, or is not the one that was pinned."""


@dataclass(frozen=True)
class Package:
    """One version of a package, with the sha512 of its archive as the registry states it."""

    name: str
    version: str
    sha512: str

    @property
    def archive(self) -> str:
        """The archive's file name."""
        return f"{self.name}-{self.version}.tgz"


ONNX_RUNTIME = Package(
    "onnxruntime-web", "1.30.0",
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
)  # fmt: skip
AXE = Package(
    "axe-core", "4.14.1",
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)  # fmt: skip


def fetch(package: Package, cache: Path) -> Path:
    """The package's archive in the folder `cache`, fetched if it is not there.

    A `PackageError` says why it is not to be had.
    """
    path = cache / package.archive
    if path.is_file() and _sha512(path) == package.sha512:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache) as folder:
        found = Path(folder) / package.archive
        (_pack if shutil.which("npm") else _download)(package, found)
        if _sha512(found) != package.sha512:
            raise PackageError(f"{package.archive} is not the archive that was pinned")
        found.replace(path)
    return path


def extract(archive: Path, members: dict[str, str], folder: Path) -> None:
    """Write files of an archive, by their path in the package, into a folder under new names."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as opened:
        for member, name in members.items():
            (folder / name).write_bytes(opened.extractfile(f"package/{member}").read())


def _sha512(path: Path) -> str:
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode("ascii")


def _pack(package: Package, target: Path) -> None:
    command = ["npm", "pack", f"{package.name}@{package.version}"]
    command += ["--loglevel=error", "--fetch-retries=0"]
    try:
        run = subprocess.run(
            command, cwd=target.parent, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise PackageError(f"npm did not fetch {package.archive} in {SECONDS} s") from error
    if run.returncode or not target.is_file():
        reason = (run.stderr.strip().splitlines() or ["no file"])[0]
        raise PackageError(f"npm could not fetch {package.archive}: {reason}")


def _download(package: Package, target: Path) -> None:
    registry = os.environ.get(VARIABLE, REGISTRY).rstrip("/")
    address = f"{registry}/{package.name}/-/{package.archive}"
    try:
        answer = requests.get(address, timeout=(10, SECONDS))
        answer.raise_for_status()
    except requests.RequestException as error:
        raise PackageError(
            f"{package.archive} could not be fetched ({type(error).__name__}): with a network, or "
            f"with a registry's address in {VARIABLE}, the next build tries again"
        ) from error
    target.write_bytes(answer.content)
