"""The package installs with everything in it: modules and weights."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "erragree_utils"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy of the sources, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(PACKAGE, source / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    result = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(source)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = folder.glob("*.whl")
    return built


def files_in(wheel: Path) -> dict[str, int]:
    """Size of each file of a wheel by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.file_size for info in archive.infolist()}


def files_of_checkout(pattern: str) -> dict[str, int]:
    """Size of each of the package's files, by its name in a wheel."""
    return {
        path.relative_to(ROOT).as_posix(): path.stat().st_size
        for path in PACKAGE.glob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_every_module(wheel):
    modules = files_of_checkout("**/*.py")
    assert modules and modules.items() <= files_in(wheel).items()


def test_the_wheel_holds_every_asset_whole(wheel):
    assets = files_of_checkout("assets/**/*")
    assert any(name.endswith(".safetensors") for name in assets)
    assert assets.items() <= files_in(wheel).items()


def test_the_wheel_holds_nothing_but_the_package(wheel):
    tops = {name.split("/")[0] for name in files_in(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {PACKAGE.name}
