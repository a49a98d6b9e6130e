"""The first code cell of the notebooks: what it installs on Colab, and that elsewhere it does not.

Colab is stood in for by a module of its name, by a recorded `subprocess.run`, and, where pip itself
has to decide, by an empty environment that claims to hold what Colab holds.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
import types
import venv
import zipfile
from pathlib import Path

import colab_cell
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
KEPT = ("torch", "torchvision", "numpy")
# As published in June 2026: github.com/googlecolab/backend-info, pip-freeze.gpu.txt.
COLAB = {"torch": "2.11.0+cu128", "torchvision": "0.26.0+cu128", "numpy": "2.0.2"}


@pytest.fixture(scope="module")
def cell() -> str:
    """The cell's text."""
    return colab_cell.cell()


class Runs:
    """In the place of `subprocess.run`: notes commands, and answers with one exit code."""

    def __init__(self, returncode: int = 0, stderr: str = ""):
        self.commands: list[list[str]] = []
        self.returncode, self.stderr = returncode, stderr

    def __call__(self, command, **_):
        self.commands.append(command)
        return subprocess.CompletedProcess(command, self.returncode, "", self.stderr)


@pytest.fixture
def runs(monkeypatch) -> Runs:
    """The recorder."""
    recorder = Runs()
    monkeypatch.setattr(subprocess, "run", recorder)
    return recorder


@pytest.fixture
def colab(monkeypatch, tmp_path):
    """A module that makes the cell take this for Colab, and a folder to write into."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))


def run(cell: str) -> None:
    """Run the cell."""
    exec(cell, {"__name__": "__main__"})


class TestWriting:
    def test_the_cell_takes_the_place_of_the_old_one_and_of_nothing_else(self, tmp_path):
        script = tmp_path / "a.py"
        before, after = "# %% [markdown]\n# # Title\n\n", "\n# %%\nprint(1)\n"
        script.write_text(f"{before}{colab_cell.HEAD}import sys\n\nold = 1\n{after}")
        assert colab_cell.write(script, "new = 2")
        assert script.read_text() == f"{before}{colab_cell.HEAD}new = 2\n{after}"
        assert not colab_cell.write(script, "new = 2")

    def test_a_notebook_without_the_cell_is_refused(self, tmp_path):
        (tmp_path / "a.py").write_text("# %%\nprint(1)\n")
        with pytest.raises(ValueError, match="has no cell that begins with"):
            colab_cell.write(tmp_path / "a.py", "new = 2")


class TestElsewhere:
    def test_nothing_is_installed_written_or_said(self, cell, runs, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        run(cell)
        assert not runs.commands
        assert not list(tmp_path.iterdir())
        assert capsys.readouterr().out == ""


class TestOnColab:
    def test_the_package_is_installed_under_constraints(self, cell, runs, colab, tmp_path):
        run(cell)
        (command,) = runs.commands
        assert command[:4] == [sys.executable, "-m", "pip", "install"]
        file = tmp_path / command[command.index("--constraint") + 1]
        address = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
        assert command[-1] == f"erragree-utils[gpu,mmvp] @ git+{address['Repository']}@main"
        installed = [f"{name}=={importlib.metadata.version(name)}" for name in KEPT]
        assert file.read_text().split() == installed

    def test_a_failure_shows_what_pip_said_and_what_to_do(self, cell, runs, colab):
        runs.returncode, runs.stderr = 1, "ERROR: the tail of what pip said"
        with pytest.raises(RuntimeError, match="tail of what pip said") as error:
            run(cell)
        assert "Change runtime type" in str(error.value)
        assert f"torch=={importlib.metadata.version('torch')}" in str(error.value)


def claim(site: Path, name: str, version: str) -> None:
    """Let an environment claim to hold a package."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "RECORD").write_text("")


def wheel(folder: Path, name: str, version: str, more: str = "") -> None:
    """An empty package that pip may choose."""
    stem = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as file:
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}"
        file.writestr(f"{stem}.dist-info/METADATA", about)
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        file.writestr(f"{stem}.dist-info/WHEEL", tags)
        file.writestr(f"{stem}.dist-info/RECORD", "")


def requirements_of_the_package() -> tuple[str, list[Requirement]]:
    """The package's requirements as a wheel states them, and those that the cell asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines, asked = [], list(project["dependencies"])
    lines += [f"Requires-Dist: {text}" for text in asked]
    for extra in ("gpu", "mmvp"):
        lines.append(f"Provides-Extra: {extra}")
        wanted = project["optional-dependencies"][extra]
        asked += wanted
        lines += [f'Requires-Dist: {text}; extra == "{extra}"' for text in wanted]
    return "\n".join(lines) + "\n", [Requirement(text) for text in asked]


class TestWithPip:
    """pip itself resolves what the cell asks for, without a network."""

    @pytest.fixture
    def install(self, monkeypatch, tmp_path):
        """Takes what Colab holds; returns the recorder that lets pip decide, and its report."""
        stated, asked = requirements_of_the_package()
        missing = {"open-clip-torch", "open_clip_torch", "bitsandbytes"}  # on Colab
        offered = tmp_path / "offered"
        offered.mkdir()
        wheel(offered, "erragree-utils", "0.1.0", stated)
        for requirement in asked:  # of everything a newer one is on offer
            wheel(offered, requirement.name, "99.0")
        env, real = tmp_path / "env", subprocess.run
        venv.create(env, with_pip=False)
        site = next(env.rglob("site-packages"))

        def prepare(holds: dict[str, str]) -> Path:
            for requirement in {r.name: r for r in asked}.values():
                least = next(s.version for s in requirement.specifier if s.operator == ">=")
                if requirement.name not in missing:
                    claim(site, requirement.name, holds.get(requirement.name, least))
            report = tmp_path / "report.json"

            def let_pip_decide(command, **options):
                python = next(p for p in (env / "bin" / "python", env / "Scripts" / "python.exe")
                              if p.exists())  # fmt: skip
                wanted, at, _ = command[-1].partition(" @ ")
                assert at, "the cell installs from the repository"
                pip = [command[0], "-m", "pip", "--python", str(python), *command[3:-1]]
                pip += ["--dry-run", "--no-index", "--find-links", str(offered)]
                pip += ["--report", str(report), wanted]
                # No settings of this machine, such as other places to find packages.
                clean = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
                return real(pip, env=clean | {"PIP_CONFIG_FILE": os.devnull}, **options)

            monkeypatch.setattr(subprocess, "run", let_pip_decide)
            monkeypatch.setattr(importlib.metadata, "version", holds.__getitem__)
            return report

        return prepare

    def test_colabs_torch_and_numpy_stay_and_what_is_missing_comes(self, cell, colab, install):
        report = install(COLAB)
        run(cell)
        chosen = {item["metadata"]["name"] for item in json.loads(report.read_text())["install"]}
        assert chosen == {"erragree-utils", "open_clip_torch", "bitsandbytes"}

    def test_a_torch_too_old_is_said_and_not_replaced(self, cell, colab, install):
        report = install(COLAB | {"torch": "2.6.0+cu124"})
        with pytest.raises(RuntimeError, match=r"torch==2\.6\.0\+cu124") as error:
            run(cell)
        assert "choose the latest version" in str(error.value)
        assert not report.exists()
