"""A release: one version everywhere, pointers to its tag, and notes from the change log."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import release
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
VERSION = release.versions()["pyproject.toml"]


@pytest.fixture
def copy(tmp_path) -> Path:
    """The files that a release looks at and rewrites."""
    for pattern in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md", *release.POINTERS):
        for path in ROOT.glob(pattern):
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)
    return tmp_path


def test_all_files_state_one_version():
    release.check(f"v{VERSION}")


def test_a_file_that_states_another_version_is_named(copy):
    citation = copy / "CITATION.cff"
    citation.write_text(citation.read_text().replace(f"version: {VERSION}", "version: 9.9.9"))
    with pytest.raises(ValueError, match=r"CITATION.cff states 9\.9\.9"):
        release.check(f"v{VERSION}", copy)


def test_pinned_pointers_lead_to_the_tag_and_none_to_main(copy):
    release.pin("v0.1.0", copy)
    for pattern in release.POINTERS:
        for path in copy.glob(pattern):
            text = path.read_text("utf-8")
            assert "/blob/main/" not in text and "@main" not in text, path
    assert yaml.safe_load((copy / "_config.yml").read_text())["repository"]["branch"] == "v0.1.0"
    notebook = next(copy.glob("notebooks/01*.ipynb")).read_text()
    assert "/blob/v0.1.0/notebooks/01" in notebook and "@v0.1.0" in notebook


def test_notes_are_the_section_of_the_version_alone(copy):
    log = copy / "CHANGELOG.md"
    log.write_text("# Changes\n\n## 0.2.0 (soon)\n\nNew.\n\n## 0.1.0\n\nFirst.\n")
    assert release.notes("v0.2.0", copy) == "New."
    assert release.notes("v0.1.0", copy) == "First."
    with pytest.raises(ValueError, match=r"no section for v3"):
        release.notes("v3", copy)


def test_the_command_line_ends_with_the_reason(capsys):
    assert release.main(["check", f"v{VERSION}"]) == 0
    assert release.main(["check", "v99.0"]) == 1
    assert "the tag is v99.0, but pyproject.toml states" in capsys.readouterr().err


class TestWorkflows:
    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
    def test_what_they_run_is_there(self, path):
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        jobs = yaml.safe_load(path.read_text())["jobs"].values()
        commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
        for command in commands:
            made = re.match(r"make ([a-z ]+)$", command)
            assert not made or set(made[1].split()) <= set(targets), command
            scripts = re.findall(r"(?:tools/\w+\.py|\.ci/run)", command)
            assert all((ROOT / script).is_file() for script in scripts), command

    def test_tests_run_from_the_oldest_python_that_the_package_allows(self):
        job = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["test"]
        oldest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
        assert job["strategy"]["matrix"]["python"][0] == oldest[1]
