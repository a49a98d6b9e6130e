"""The last touch to the theme's pages: what they load without use, and labels that do not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes

#: An icon in Font Awesome's script: its name, size, other names, code and outline.
_ICON = re.compile(
    r'(?:"([a-z0-9-]+)"|([a-z0-9]+)):\[\d+,\d+,\[([^\]]*)\],"[0-9a-f]+",'
    r'(?:"[^"]*"|\["[^"]*","[^"]*"\])\],?'
)
_USED = re.compile(r"\bfa-([a-z0-9-]+)")
#: Buttons that are announced by other words than they show, and a list without list items.
_UNFITTING = re.compile(
    r'(<i class="theme-switch [^>]*) title="[^"]*"'
    r'|(<button class="btn search-button-field[^>]*) aria-label="[^"]*"'
    r'|(<summary) aria-label="Toggle hidden content"'
    r'|(<div) role="list"(?= class="citation-list")'
)


def use_fewer_scripts(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
    """Leave Thebe out, and MathJax where there is no formula; an ``html-page-context`` handler.

    Thebe would come from a CDN, and is not offered here; its settings come twice, which is an error
    in the console. MathJax is over a megabyte.
    """
    unused = ["thebe"]
    kinds = (nodes.math, nodes.math_block)
    if doctree is None or not any(isinstance(node, kinds) for node in doctree.findall()):
        unused.append("mathjax")
    for kind in ("script_files", "css_files"):
        context[kind] = [
            file
            for file in context[kind]
            if not any(word in f"{file.filename} {file.attributes}".lower() for word in unused)
        ]


def keep_used_icons(html: Path) -> None:
    """Cut Font Awesome's two thousand icons down to those that the book's pages name.

    A script in another format than expected stays as it is.
    """
    script = html / "_static" / "scripts" / "fontawesome.js"
    if not script.is_file():
        return
    pages = [path for path in html.rglob("*.html")]
    pages += [path for path in (html / "_static").rglob("*.js") if path != script]
    used = {name for path in pages for name in _USED.findall(path.read_text("utf-8", "replace"))}

    def kept(icon: re.Match) -> str:
        names = {icon[1] or icon[2], *re.findall(r'"([a-z0-9-]+)"', icon[3])}
        return icon[0] if names & used else ""

    script.write_text(_ICON.sub(kept, script.read_text("utf-8")), "utf-8")


def drop_unfitting_labels(html: Path) -> None:
    """Take labels and roles out of the book's pages that tell screen readers what is not there."""
    for path in html.rglob("*.html"):
        text = path.read_text("utf-8")
        changed = _UNFITTING.sub(lambda tag: tag[1] or tag[2] or tag[3] or tag[4], text)
        if changed != text:
            path.write_text(changed, "utf-8")
