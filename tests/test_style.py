"""Lint, notebook pairs, badges, the repository's address, and names that texts mention."""

from __future__ import annotations

import ast
import importlib
import io
import pkgutil
import re
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import jupytext
import nbformat
import pytest
import set_address
import sync_notebooks
import yaml

import erragree_utils

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COLAB = "https://colab.research.google.com"


ADDRESS = set_address.repository(ROOT)

each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def cells_of(notebook: nbformat.NotebookNode) -> list[tuple]:
    """What must be equal in a pair: type, source, tags and picture descriptions of each cell."""
    return [
        (cell.cell_type, cell.source, cell.metadata.get("tags"), cell.metadata.get("mystnb"))
        for cell in notebook.cells
    ]


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_finds_nothing(arguments):
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", str(ROOT)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, f"{result.stdout}{result.stderr}\nTry `make format`."


class TestNotebookPairs:
    def test_every_notebook_has_its_pair_and_every_script_its_notebook(self):
        scripts = {path.stem for path in (ROOT / "notebooks").glob("*.py")}
        assert scripts == {path.stem for path in NOTEBOOKS}

    @each_notebook
    def test_a_pair_has_the_same_cells(self, notebook):
        script = jupytext.read(notebook.with_suffix(".py"))
        assert cells_of(script) == cells_of(nbformat.read(notebook, 4)), "run `make sync`"

    @each_notebook
    def test_the_notebook_holds_no_metadata_of_an_editor(self, notebook):
        present = nbformat.read(notebook, 4)
        assert present.metadata == sync_notebooks.METADATA, "run `make sync`"

    def test_sync_carries_an_edit_over_and_strips_outputs(self, tmp_path):
        (tmp_path / "notebooks").mkdir()
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        script = tmp_path / "notebooks" / "a.py"
        script.write_text('# %% [markdown]\n# # Title\n\n# %% tags=["hide-input"]\nprint(1)\n')
        sync_notebooks.main(script.parent)

        notebook = nbformat.read(script.with_suffix(".ipynb"), 4)
        notebook.cells[1].source = "print(2)"
        notebook.cells[1].execution_count = 7
        notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="2\n")]
        nbformat.write(notebook, script.with_suffix(".ipynb"))
        sync_notebooks.main(script.parent)

        assert "print(2)" in script.read_text()
        synced = nbformat.read(script.with_suffix(".ipynb"), 4)
        assert cells_of(synced) == cells_of(jupytext.read(script))
        assert synced.cells[1].metadata.tags == ["hide-input"]
        assert synced.cells[1].outputs == [] and synced.cells[1].execution_count is None


class TestAddress:
    def test_the_book_names_the_repository(self):
        settings = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
        assert settings["repository"]["url"] == ADDRESS
        assert settings["launch_buttons"]["colab_url"] == COLAB

    def test_the_citation_names_the_repository(self):
        assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["repository-code"] == ADDRESS

    @each_notebook
    def test_the_first_cell_has_a_title_and_the_badge_of_this_very_notebook(self, notebook):
        title = nbformat.read(notebook, 4).cells[0]
        place = ADDRESS.removeprefix("https://github.com/")
        target = f"{COLAB}/github/{place}/blob/main/notebooks/{notebook.name}"
        badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({target})"
        assert title.source.startswith("# ") and badge in title.source

    @each_notebook
    def test_the_second_cell_installs_the_package_on_colab_alone(self, notebook):
        cell = nbformat.read(notebook, 4).cells[1]
        assert 'if "google.colab" in sys.modules:' in cell.source
        assert f'git+{ADDRESS}@main"' in cell.source
        assert "remove-cell" in cell.metadata.tags

    def test_the_readme_gives_the_command_that_clones_it(self):
        assert f"git clone {ADDRESS}\n" in (ROOT / "README.md").read_text("utf-8")

    def test_no_file_shows_another_address(self):
        name = re.escape(ADDRESS.rsplit("/", 1)[1])
        pattern = re.compile(rf"github(?:\.com)?/([\w.-]+/{name})(?![\w-])")
        paths = [path for pattern_ in set_address.PATTERNS for path in ROOT.glob(pattern_)]
        shown = {match for path in paths for match in pattern.findall(path.read_text("utf-8"))}
        assert shown == {ADDRESS.removeprefix("https://github.com/")}

    def test_a_new_address_is_carried_to_every_file(self, tmp_path):
        shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
        for name in ("pyproject.toml", "README.md", "CITATION.cff", "_config.yml"):
            shutil.copy(ROOT / name, tmp_path)
        settings = (tmp_path / "pyproject.toml").read_text("utf-8")
        new = "https://github.com/someone/a-fork"
        (tmp_path / "pyproject.toml").write_text(settings.replace(ADDRESS, new), "utf-8")

        set_address.main(tmp_path)

        old_place, new_place = (u.removeprefix("https://github.com/") for u in (ADDRESS, new))
        for path in [*tmp_path.glob("*.*"), *tmp_path.glob("notebooks/*.*")]:
            text = path.read_text("utf-8")
            assert new_place in text and old_place not in text, path.name


def test_every_file_that_the_readme_points_to_is_there():
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text("utf-8"))
    local = [link for link in links if not link.startswith("https://")]
    assert local and not [link for link in local if not (ROOT / link).exists()]


# --- names that texts mention --------------------------------------------------------------------

FOLDERS = ("erragree_utils", "notebooks", "speed", "tests", "tools")
SCRIPTS = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
PAGES = [ROOT / "README.md", *ROOT.glob("book/*.md"), *ROOT.glob("erragree_utils/**/*.md")]
FOREIGN = {"head", "numpy.memmap", "open_clip"}  # a command and two libraries


def words_and_texts(path: Path) -> tuple[set[str], list[str]]:
    """The words of a script's code, and what its comments and docstrings say."""
    source = path.read_text("utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts = [token.string for token in tokens if token.type == tokenize.COMMENT]
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and (text := ast.get_docstring(node)):
            texts.append(text)
            node.body.pop(0)
    return {path.stem, *re.findall(r"\w+", ast.unparse(tree))}, texts


@pytest.fixture(scope="module")
def owners() -> dict[str, list]:
    """The package's modules and classes, by each of their names in lower case."""
    found: dict[str, list] = {"erragree_utils": [erragree_utils]}
    for info in pkgutil.walk_packages(erragree_utils.__path__, "erragree_utils."):
        if not info.name.endswith("__main__"):
            module = importlib.import_module(info.name)
            classes = [thing for thing in vars(module).values() if isinstance(thing, type)]
            for thing in (module, *classes):
                found.setdefault(thing.__name__.rpartition(".")[2].lower(), []).append(thing)
    return found


def has(owner: object, path: list[str]) -> bool:
    """Whether an attribute can be reached; fields of dataclasses and annotations count."""
    if not path or path[0] in getattr(owner, "__dataclass_fields__", {}):
        return True
    return hasattr(owner, path[0]) and has(getattr(owner, path[0]), path[1:])


def test_every_name_that_a_text_mentions_is_there(owners):
    """Names in backticks, alone or after their module or class, and full names anywhere."""
    scripts = {path: words_and_texts(path) for path in SCRIPTS}
    pages = {path: (set(), [path.read_text("utf-8")]) for path in PAGES}
    files = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")}
    known = FOREIGN.union(files, *(words for words, _ in scripts.values()))
    gone = []
    for path, (words, texts) in (scripts | pages).items():
        for text in texts:
            names = re.findall(r"(?<![`}])`([A-Za-z_]\w*(?:\.\w+)*)(?:\(\))?`", text)
            for name in [*names, *re.findall(r"\berragree_utils(?:\.[a-z_]\w*)+", text)]:
                head, *rest = name.split(".")
                ours = owners.get(head.lower(), ())
                here = not ours and rest and head in (words or known)  # a variable, a library
                if name not in known and not here and not any(has(owner, rest) for owner in ours):
                    gone.append(f"{path.relative_to(ROOT)}: {name}")
    assert not gone


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_script_that_a_page_points_to_is_there(page):
    named = set(re.findall(r"[\w/]+\.py\b", page.read_text("utf-8"))) - {"notebooks/NN_name.py"}
    folders = {ROOT, *(path.parent for path in SCRIPTS if path.parts[-2] != "notebooks")}
    assert not [name for name in named if not any((folder / name).exists() for folder in folders)]
