"""A notebook's figures as a page shows them: narrow on a phone, in lighter tones on a dark page.

The narrow drawing travels in the notebook's outputs, beside the wide one that is shown elsewhere.
"""

from __future__ import annotations

import hashlib
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from execution import executed
from sphinx.transforms.post_transforms import SphinxPostTransform

from erragree_utils.plots.phone import NARROW, dark

FOLDER = "_images"
#: As wide as in the style sheets.
PHONE = "(max-width: 600px)"


def drawings(notebook: nbformat.NotebookNode) -> dict[str, dict[str, str]]:
    """SVGs by the name of the wide one's file, wide first; the narrow one where there is one."""
    found = {}
    outputs = (o for cell in notebook.cells for o in cell.get("outputs", ()) if "data" in o)
    for data in (output.data for output in outputs):
        if "image/svg+xml" in data:
            wide = "\n".join(data["image/svg+xml"].splitlines())
            name = hashlib.sha256(wide.encode()).hexdigest()  # as myst-nb names its files
            found[name] = {"wide": wide} | ({"narrow": data[NARROW]} if NARROW in data else {})
    return found


def picture(files: dict[str, str], alt: str, theme: str) -> str:
    """The HTML of one theme; `files` are addresses, by width."""
    source = f'<source media="{PHONE}" srcset="{files["narrow"]}">' if "narrow" in files else ""
    kind = "figure-fits" if source else "figure-scrolls"
    image = f'<img src="{files["wide"]}" alt="{escape(alt)}" loading="lazy">'
    return f'<picture class="only-{theme} {kind}">{source}{image}</picture>'


class FigureVariants(SphinxPostTransform):
    """Replace each figure of a notebook by its variants."""

    default_priority = 0  # before images are collected
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        path = Path(self.env.doc2path(self.env.docname))
        if path.suffix != ".ipynb":
            return
        notebook = executed(path, Path(self.config.nb_execution_cache_path))
        drawn = {} if notebook is None else drawings(notebook)
        folder = Path(self.app.outdir) / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        up = "../" * self.env.docname.count("/")
        for image in list(self.document.findall(nodes.image)):
            name = Path(image["uri"]).stem
            if name not in drawn:
                continue
            html = ""
            for theme, recolour in {"light": str, "dark": dark}.items():
                files = {}
                for width, svg in drawn[name].items():
                    file = f"{name[:16]}-{width}-{theme}.svg"
                    (folder / file).write_text(recolour(svg), "utf-8")
                    files[width] = f"{up}{FOLDER}/{file}"
                html += picture(files, image.get("alt", ""), theme)
            # In a box, since the theme hides captions beside a picture of the other theme.
            image.replace_self(nodes.raw("", f"<div>{html}</div>", format="html"))
