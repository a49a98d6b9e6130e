"""The book builds without a warning, shows what it should, and never shows stale outputs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

from tests.building import build, pages, whole_book

ROOT = Path(__file__).resolve().parents[1]


PAGES = pages()
each_page = pytest.mark.parametrize("page", PAGES)


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> Path:
    """The whole book."""
    return whole_book(tmp_path_factory)


def soup(html: Path, page: str) -> BeautifulSoup:
    """A page's parsed HTML."""
    return BeautifulSoup((html / f"{page}.html").read_text("utf-8"), "html.parser")


def local_target(page: Path, link: str) -> Path | None:
    """The file that a link of a page leads to, or None for a link to elsewhere."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or not parts.path:
        return None
    return page.parent / unquote(parts.path)


class TestPages:
    def test_every_notebook_is_a_chapter(self):
        notebooks = {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")}
        assert notebooks and notebooks <= set(PAGES)

    def test_the_folder_opens_at_the_first_page(self, html):
        assert f"url={PAGES[0]}.html" in (html / "index.html").read_text("utf-8")

    @each_page
    def test_the_page_has_one_title_and_some_text(self, html, page):
        article = soup(html, page).find("article")
        assert article.find("h1") and len(article.get_text()) > 200

    @each_page
    def test_every_link_and_picture_inside_the_book_is_there(self, html, page):
        document = soup(html, page)
        links = [tag["href"] for tag in document.find_all(href=True)]
        links += [tag["src"] for tag in document.find_all(src=True)]
        targets = {link: local_target(html / f"{page}.html", link) for link in links}
        assert not [link for link, path in targets.items() if path and not path.exists()]

    @each_page
    def test_the_page_needs_no_network(self, html, page):
        document = soup(html, page)
        loaded = [tag["src"] for tag in document.find_all(["script", "img", "iframe"], src=True)]
        loaded += [tag["href"] for tag in document.find_all("link", rel="stylesheet")]
        assert not [link for link in loaded if urlsplit(link).netloc]

    @each_page
    def test_every_picture_has_a_description(self, html, page):
        pictures = soup(html, page).find("article").find_all("img")
        missing = [
            picture["src"]
            for picture in pictures
            if not picture.get("alt") or picture["alt"].endswith((".png", ".svg"))
        ]
        assert not missing, 'describe it: `# %% mystnb={"image": {"alt": "..."}}`'

    @pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("notebooks/")])
    def test_every_picture_of_a_chapter_has_a_caption_with_its_number(self, html, page):
        article = soup(html, page).find("article")
        chapter = article.select_one("h1 .section-number").get_text().rstrip(". ")
        captions = article.select(".cell_output figure.align-default > figcaption")
        numbers = [tag.select_one(".caption-number").get_text().strip() for tag in captions]
        assert numbers == [f"Figure {chapter}.{k + 1}" for k in range(len(numbers))]
        assert all(len(tag.get_text()) > 30 for tag in captions)
        pictures = article.select(".cell_output :is(picture, img, figure.live, figure.reads)")
        bare = [tag for tag in pictures if not tag.find_parent("figure", class_="align-default")]
        assert not bare, 'tell the takeaway: `# %% mystnb={..., "figure": {"caption": "..."}}`'

    @each_page
    def test_no_output_shows_an_error(self, html, page):
        outputs = soup(html, page).select(".cell_output")
        assert not [out.get_text() for out in outputs if "Traceback" in out.get_text()]

    def test_chapters_have_a_button_that_opens_them_in_colab(self, html):
        chapters = [page for page in PAGES if page.startswith("notebooks/")]
        for page in chapters:
            links = [tag["href"] for tag in soup(html, page).find_all("a", href=True)]
            assert [x for x in links if "colab" in x and x.endswith(f"/blob/main/{page}.ipynb")]

    @each_page
    def test_no_table_has_more_than_five_columns(self, html, page):
        rows = soup(html, page).select("article table tr")
        wide = [row.get_text(" ", strip=True) for row in rows if len(row(["td", "th"])) > 5]
        assert wide == []

    def test_the_margins_of_every_chapter_are_on_record(self, html):
        titles = [soup(html, page).find("h1").get_text() for page in PAGES if "notebooks" in page]
        recorded = soup(html, "book/findings").find(id=lambda name: name and "other-draws" in name)
        links = [tag.get_text() for tag in recorded.find_all("a")]
        assert [title for title in titles if not any(link in title for link in links)] == []

    def test_the_findings_of_every_chapter_are_on_their_page(self, html):
        tables = soup(html, "book/findings").select("table.findings")
        rows = [row.get_text() for table in tables for row in table.select("tbody tr")]
        shown = [
            row.select("td")[0].get_text()
            for page in PAGES
            for row in soup(html, page).select(".cell_output table.findings tbody tr")
        ]
        assert shown and [claim for claim in shown if not any(claim in row for row in rows)] == []


@pytest.fixture
def small_book(tmp_path) -> Path:
    """A book of two pages and a notebook, with a package of its own that the notebook prints."""
    book = tmp_path / "small"
    for folder in ("notebooks", "book/_static", "erragree_utils"):
        (book / folder).mkdir(parents=True)
    shutil.copy(ROOT / "_config.yml", book)
    shutil.copytree(ROOT / "tools", book / "tools")
    shutil.copy(ROOT / "book" / "references.bib", book / "book")
    for module in ("findings", "paper"):
        shutil.copy(ROOT / "erragree_utils" / f"{module}.py", book / "erragree_utils")
    files = ["notebooks/a", "book/findings"]
    toc = {"format": "jb-book", "root": "book/index", "chapters": [{"file": f} for f in files]}
    (book / "_toc.yml").write_text(yaml.safe_dump(toc))
    (book / "book" / "index.md").write_text("# First page\n")
    (book / "book" / "findings.md").write_text("# Findings\n\n```{findings}\n```\n")
    (book / "book" / "_static" / "custom.css").write_text("")
    write_notebook(book, "import erragree_utils\n\nprint(erragree_utils.VALUE)")
    write_value(book, "one")
    return book


def write_notebook(book: Path, source: str) -> None:
    """Make the small book's notebook of one code cell."""
    cells = [nbformat.v4.new_markdown_cell("# Chapter A"), nbformat.v4.new_code_cell(source)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, book / "notebooks" / "a.ipynb")


def write_value(book: Path, value: str) -> None:
    """Set what the small book's package holds."""
    (book / "erragree_utils" / "__init__.py").write_text(f"VALUE = 'value {value}'\n")


class TestOutputs:
    def test_follow_the_package_and_are_taken_from_the_cache_otherwise(self, small_book):
        page = small_book / "_build" / "html" / "notebooks" / "a.html"
        first = build(small_book, small_book)
        assert first.returncode == 0 and "1/1 notebooks/a.ipynb" in first.stdout, first.stderr
        assert "value one" in page.read_text("utf-8")
        assert (small_book / "_build" / "html" / "book" / "index.html").as_uri() in first.stdout

        again = build(small_book, small_book)
        assert "Executing" not in again.stdout + again.stderr
        assert "value one" in page.read_text("utf-8")

        write_value(small_book, "two")
        assert build(small_book, small_book).returncode == 0
        assert "value two" in page.read_text("utf-8")

    def test_of_a_failing_notebook_fail_the_build_and_show_where(self, small_book):
        write_notebook(small_book, "ratio = 1 / 0")
        for _ in range(2):
            result = build(small_book, small_book)
            assert result.returncode != 0
            assert "ratio = 1 / 0" in result.stderr and "ZeroDivisionError" in result.stderr
            assert "The book is ready" not in result.stdout

    def test_of_a_notebook_whose_kernel_dies_fail_the_build(self, small_book):
        write_notebook(small_book, "import os\n\nos._exit(1)")
        assert build(small_book, small_book).returncode != 0


PLANTED = """
from erragree_utils.findings import finding, show

show([
    finding("Two is more than one", 2.0, above=1.0, unit="", question="Is two more?"),
    finding("Half of them are right", (0.4, 0.3, 0.55), above=0.5),
])
"""


class TestAFindingThatDoesNotHold:
    def test_is_marked_on_its_page_on_that_of_findings_and_in_the_terminal(self, small_book):
        write_notebook(small_book, PLANTED)
        result = build(small_book, small_book)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "1 of 2 findings hold." in result.stdout
        assert "On the page “Chapter A”:\nDOES NOT HOLD HERE: Half of them" in result.stdout
        assert "The book is ready" in result.stdout
        html = small_book / "_build" / "html"
        for page in ("notebooks/a", "book/findings"):
            rows = soup(html, page).select("table.findings tr.fails")
            assert len(rows) == 1 and "Half of them are right" in rows[0].get_text()
            assert "Does not hold here" in rows[0].get_text()
        titles = [tag.get_text() for tag in soup(html, "book/findings").select("article a")]
        assert "Chapter A" in titles
        card = soup(html, "notebooks/a").select_one("section.answer").get_text(" ", strip=True)
        assert card.startswith("Is two more? This book 2.000 Two is more than one.")

    def test_fails_the_tests(self, small_book):
        write_notebook(small_book, PLANTED)
        (small_book / "tests").mkdir()
        tests = shutil.copy(ROOT / "tests" / "test_notebooks.py", small_book / "tests")
        shutil.copy(ROOT / "pyproject.toml", small_book)
        command = [sys.executable, "-m", "pytest", tests, "-k", "finds_what_it_claims"]
        environment = os.environ | {"PYTHONPATH": str(small_book)}
        result = subprocess.run(
            command, cwd=small_book, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 1 and "1 failed" in result.stdout
        assert "DOES NOT HOLD HERE: Half of them are right" in result.stdout
