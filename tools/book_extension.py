"""Sphinx extension of the book: its execution cache, the table of findings, an offline badge."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from execution import chapters, current_cache, executed
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

from erragree_utils import findings

BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
LOCAL_BADGE = "/book/_static/colab-badge.svg"


def use_package_cache(app: Any, config: Any) -> None:
    """Point the notebooks' execution cache at the folder of the package's present state."""
    config.nb_execution_cache_path = str(current_cache(Path(app.srcdir)))


class FindingsDirective(SphinxDirective):
    """``{findings}``: what each executed notebook found, a table per chapter."""

    def run(self) -> list[nodes.Node]:
        source, cache = Path(self.env.srcdir), Path(self.config.nb_execution_cache_path)
        here = Path(self.env.doc2path(self.env.docname)).parent
        tables: list[nodes.Node] = []
        for path in chapters(source):
            notebook = executed(path, cache)
            page = findings.read(notebook) if notebook is not None else []
            if page:
                tables += self._title(os.path.relpath(path, here))
                tables.append(nodes.raw("", findings.as_html(page, margins=True), format="html"))
        return tables or [nodes.paragraph(text="No notebook has been executed yet: `make book`.")]

    def _title(self, link: str) -> list[nodes.Node]:
        paragraph = nodes.paragraph()
        self.state.nested_parse(StringList([f"**[]({Path(link).as_posix()})**"]), 0, paragraph)
        return paragraph.children


class LocalBadge(SphinxTransform):
    """Show the Colab badge from the book's own files, so that it is there without a network."""

    default_priority = 100

    def apply(self, **kwargs: Any) -> None:
        for image in self.document.findall(nodes.image):
            if image["uri"] == BADGE:
                image["uri"] = LOCAL_BADGE


def setup(app: Any) -> dict[str, Any]:
    """Register the extension's parts with Sphinx."""
    app.connect("config-inited", use_package_cache)
    app.add_directive("findings", FindingsDirective)
    app.add_transform(LocalBadge)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
