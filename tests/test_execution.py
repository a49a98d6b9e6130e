"""Notebooks are executed through nbmake, once for as long as code and package stay the same."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import execution
import nbformat
import pytest
from execution import NotebookError, execute, executed, package_key


def write(path: Path, *sources: str) -> Path:
    """A notebook with a title and a code cell for each source."""
    cells = [nbformat.v4.new_markdown_cell("# A title\n\nText.")]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, path)
    return path


def printed(notebook: nbformat.NotebookNode) -> str:
    return "".join(o.text for c in notebook.cells[1:] for o in c.outputs if o.name == "stdout")


@pytest.fixture
def cache(tmp_path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


class TestExecute:
    def test_gives_outputs_and_leaves_the_file_alone(self, tmp_path, cache):
        path = write(tmp_path / "a.ipynb", "x = 20", "print(x + 1)")
        before = path.read_bytes()
        assert executed(path, cache) is None
        ran = execute(path, cache)
        assert printed(ran) == "21\n" and ran.cells[0].source.startswith("# A title")
        assert path.read_bytes() == before
        assert printed(executed(path, cache)) == "21\n"

    def test_bars_of_long_work_leave_nothing_in_the_outputs(self, tmp_path, cache):
        source = """
from erragree_utils import bars
bars.DELAY_S = 1e-9
with bars.bar(2, "images") as shown:
    shown.update()
"""
        ran = execute(write(tmp_path / "a.ipynb", source), cache)
        assert ran.cells[1].outputs == []

    def test_runs_once_until_a_code_cell_changes(self, tmp_path, cache):
        log = tmp_path / "log"
        source = f"open({str(log)!r}, 'a').write('x')"
        path = write(tmp_path / "a.ipynb", source)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: execute(path, cache), range(3)))
        assert log.read_text() == "x"
        execute(write(path, source, "1"), cache)
        assert log.read_text() == "xx"

    def test_runs_in_an_empty_folder_with_the_environment_it_is_given(self, tmp_path, cache):
        source = "import os\nprint(os.environ['ERRAGREE_SEED'], os.listdir())"
        ran = execute(
            write(tmp_path / "a.ipynb", source), cache, {**os.environ, "ERRAGREE_SEED": "5"}
        )
        assert printed(ran) == "5 ['notebook.ipynb']\n"

    def test_runs_other_code_before_the_first_cell_and_does_not_show_it(self, tmp_path, cache):
        ran = execute(write(tmp_path / "a.ipynb", "print(y)"), cache, before="y = 3")
        assert printed(ran) == "3\n" and len(ran.cells) == 2

    def test_of_a_failing_cell_raises_with_what_failed_and_keeps_nothing(self, tmp_path, cache):
        path = write(tmp_path / "a.ipynb", "1 / 0")
        with pytest.raises(NotebookError, match="ZeroDivisionError"):
            execute(path, cache)
        assert executed(path, cache) is None

    def test_of_a_kernel_that_dies_raises(self, tmp_path, cache):
        with pytest.raises(NotebookError):
            execute(write(tmp_path / "a.ipynb", "import os\nos._exit(1)"), cache)


class TestPackageKey:
    @pytest.fixture
    def package(self, tmp_path) -> Path:
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / "a.py").write_text("1")
        return tmp_path / "package"

    def test_differs_where_a_file_or_its_name_does(self, package):
        keys = {package_key(package)}
        (package / "a.py").write_text("2")
        keys.add(package_key(package))
        (package / "a.py").rename(package / "b.py")
        keys.add(package_key(package))
        assert len(keys) == 3

    @pytest.mark.parametrize("name", execution.VARIABLES)
    def test_differs_where_the_environment_changes_numbers(self, package, name):
        assert package_key(package, {name: "1"}) != package_key(package, {})

    def test_differs_where_other_code_runs_before(self, package):
        assert package_key(package, before="x = 1") != package_key(package, before="x = 2")

    def test_does_not_depend_on_byte_code(self, package):
        before = package_key(package)
        (package / "__pycache__").mkdir()
        (package / "__pycache__" / "a.pyc").write_text("x")
        assert package_key(package) == before

    def test_of_an_empty_folder_is_refused(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="whole checkout"):
            package_key(tmp_path)


def test_old_caches_go_and_the_newest_stay(tmp_path):
    for age, name in enumerate("abcd"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    execution.remove_old_caches(tmp_path, tmp_path / "d", kept=3)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "d"}
