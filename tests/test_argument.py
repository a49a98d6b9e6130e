"""The map on top of every page: all chapters of the argument, in order, the present one lit."""

from __future__ import annotations

from types import SimpleNamespace

import yaml
from argument import CHAPTERS, map_html, show_map
from bs4 import BeautifulSoup


def links(page: str) -> list:
    return BeautifulSoup(map_html(page, lambda name: f"../{name}.html"), "html.parser").select("a")


def test_the_map_follows_the_table_of_contents(root):
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))
    numbered = next(part for part in toc["parts"] if part.get("numbered"))
    assert [f"notebooks/{name}" for name in CHAPTERS] == [c["file"] for c in numbered["chapters"]]


def test_every_node_is_a_link_with_its_number_and_words():
    shown = links("book/index")
    assert [tag["href"] for tag in shown] == [f"../notebooks/{name}.html" for name in CHAPTERS]
    assert [tag.b.get_text() for tag in shown] == [str(k) for k in range(1, len(CHAPTERS) + 1)]
    assert all(1 <= len(tag.span.get_text().split()) <= 2 for tag in shown)


def test_the_present_chapter_alone_is_lit():
    for name in CHAPTERS:
        lit = [tag for tag in links(f"notebooks/{name}") if tag.get("aria-current") == "page"]
        assert [tag["href"] for tag in lit] == [f"../notebooks/{name}.html"]
    assert not [tag for tag in links("book/index") if tag.get("aria-current")]


def test_pages_without_text_and_books_of_other_chapters_have_no_map():
    found = {f"notebooks/{name}" for name in CHAPTERS}

    def body(found_docs: set, doctree: object) -> str:
        app = SimpleNamespace(env=SimpleNamespace(found_docs=found_docs))
        context = {"body": "text", "pathto": lambda name: name}
        show_map(app, "book/index", "page.html", context, doctree)
        return context["body"]

    assert body(found, object()).startswith('<nav class="argument"')
    assert body(found, None) == body({"notebooks/a"}, object()) == "text"
