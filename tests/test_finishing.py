"""Pages load what they use, and say what they show."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from docutils import nodes
from finishing import drop_unfitting_labels, keep_used_icons, use_fewer_scripts

ICONS = (
    'var a={github:[496,512,[],"f09b","M1 2"],monero:[496,512,[],"f3d0","M3 4"]},'
    'b={"file-lines":[384,512,[128441,"file-text"],"f15c",["M5","M6"]],'
    '"turn-up":[384,512,[10548,"level-up-alt"],"f3bf","M7"]};draw(a,b)'
)


@pytest.fixture
def html(tmp_path):
    """A built book of one page, with a script of four icons."""
    (tmp_path / "_static" / "scripts").mkdir(parents=True)
    (tmp_path / "_static" / "scripts" / "fontawesome.js").write_text(ICONS)
    (tmp_path / "index.html").write_text('<i class="fab fa-github"></i><i class="fa-file-text">')
    return tmp_path


def script(html) -> str:
    return (html / "_static" / "scripts" / "fontawesome.js").read_text()


def test_icons_that_no_page_names_go(html):
    keep_used_icons(html)
    assert script(html) == (
        'var a={github:[496,512,[],"f09b","M1 2"],},'
        'b={"file-lines":[384,512,[128441,"file-text"],"f15c",["M5","M6"]],};draw(a,b)'
    )


def test_icons_that_a_script_names_stay(html):
    (html / "_static" / "theme.js").write_text("icon = 'fa-monero'")
    keep_used_icons(html)
    assert "monero" in script(html) and "turn-up" not in script(html)


def test_a_script_of_another_kind_stays_as_it_is(html):
    path = html / "_static" / "scripts" / "fontawesome.js"
    path.write_text("something(else)")
    keep_used_icons(html)
    assert script(html) == "something(else)"


@pytest.mark.parametrize("formula", [True, False])
def test_formulas_alone_load_mathjax_and_nothing_loads_thebe(formula):
    page = nodes.section("", nodes.math("x", "x") if formula else nodes.Text("x"))
    scripts = [
        SimpleNamespace(filename="_static/mathjax/tex-chtml.js", attributes={}),
        SimpleNamespace(filename=None, attributes={"body": "const THEBE_JS_URL = 1"}),
        SimpleNamespace(filename="_static/live.js", attributes={}),
    ]
    context = {"script_files": scripts, "css_files": []}
    use_fewer_scripts(None, "page", "page.html", context, page)
    assert context["script_files"] == ([scripts[0]] if formula else []) + [scripts[2]]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            '<i class="theme-switch fa-solid fa-sun" data-mode="light" title="Light"></i>',
            '<i class="theme-switch fa-solid fa-sun" data-mode="light"></i>',
        ),
        (
            '<button class="btn search-button-field x" title="Search" aria-label="Search" id="s">',
            '<button class="btn search-button-field x" title="Search" id="s">',
        ),
        ('<summary aria-label="Toggle hidden content">', "<summary>"),
        ('<div role="list" class="citation-list">', '<div class="citation-list">'),
        ('<button aria-label="Sidebar">', '<button aria-label="Sidebar">'),
    ],
)
def test_labels_that_do_not_fit_go(tmp_path, before, after):
    (tmp_path / "page.html").write_text(f"<p>é</p>{before}<p title='mine'>", "utf-8")
    drop_unfitting_labels(tmp_path)
    assert (tmp_path / "page.html").read_text("utf-8") == f"<p>é</p>{after}<p title='mine'>"
