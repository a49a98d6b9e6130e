"""Every page in a browser: nothing fails, nothing comes from outside, nothing is cut off."""

from __future__ import annotations

import pytest
from npm_package import AXE, PackageError, extract, fetch

from tests.building import ROOT, pages

PAGES = pages()
each_page = pytest.mark.parametrize("page", PAGES)
each_theme = pytest.mark.parametrize("theme", ["light", "dark"])
each_width = pytest.mark.parametrize("width", [1440, 390])


@each_page
@each_theme
@each_width
def test_the_page_loads_whole_and_fits(visit, page, theme, width):
    found = visit(page, width, theme)
    assert found.errors == [] and found.outside == []
    assert found.wider() == [] and found.cut() == []


@each_page
def test_on_a_wide_screen_no_code_is_cut(visit, page):
    found = visit(page)
    found.unfold()
    assert found.cut("pre") == []


@each_page
def test_nothing_is_cut_or_folded_away_in_print(visit, page):
    found = visit(page)
    found.print()
    assert found.wider() == [] and found.cut("table, pre") == []
    assert found.page.locator(".bd-article details:not([open])").count() == 0


@pytest.fixture(scope="session")
def axe(tmp_path_factory) -> str:
    """The script of axe-core."""
    folder = tmp_path_factory.mktemp("axe")
    try:
        extract(fetch(AXE, ROOT / "_build" / "npm"), {"axe.min.js": "axe.js"}, folder)
    except PackageError as error:
        pytest.skip(f"accessibility is not tested: {error}")
    return (folder / "axe.js").read_text("utf-8")


@each_page
@each_theme
@each_width
def test_axe_finds_nothing_serious(visit, axe, page, theme, width):
    assert visit(page, width, theme).violations(axe) == []


def test_the_first_page_is_light(visit):
    assert visit(PAGES[0]).bytes < 2_000_000


def test_icons_are_drawn(visit):
    assert visit(PAGES[0]).page.locator("button.theme-switch-button svg").count() > 0


WIDE_TABLE = """() => {
  const row = (tag) => [1, 2, 3, 4].map((k) => `<${tag}>a_long_column_name_${k}</${tag}>`).join("");
  document.querySelector("article").insertAdjacentHTML("beforeend",
    `<div style="overflow-x: auto"><table id="wide"><thead><tr><th></th>${row("th")}</tr></thead>
     <tbody><tr><th>a row</th>${row("td")}</tr></tbody></table></div>`);
}"""


def test_a_table_that_is_too_wide_is_shown_row_by_row_with_its_columns_names(visit):
    page = visit(PAGES[0], 1440).page
    page.evaluate(WIDE_TABLE)
    page.set_viewport_size({"width": 390, "height": 900})
    page.locator("#wide.stacked").wait_for()
    names = page.locator("#wide td").evaluate_all("cells => cells.map(c => c.dataset.column)")
    assert names == [f"a_long_column_name_{k}" for k in (1, 2, 3, 4)]
    page.set_viewport_size({"width": 1440, "height": 900})
    page.locator("#wide:not(.stacked)").wait_for()
