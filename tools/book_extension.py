"""Sphinx extension of the book: execution cache, findings, answers, map, figures, offline."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import answers
import pandas as pd
from argument import CHAPTERS, show_map
from docutils import nodes
from docutils.statemachine import StringList
from execution import chapters, current_cache, executed, title
from figure_variants import FigureVariants
from finishing import drop_unfitting_labels, keep_used_icons, use_fewer_scripts
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

from erragree_utils import findings

BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
LOCAL_BADGE = "/book/_static/colab-badge.svg"


def use_package_cache(app: Any, config: Any) -> None:
    """Point the notebooks' execution cache at the folder of the package's present state."""
    config.nb_execution_cache_path = str(current_cache(Path(app.srcdir)))


class ByChapter(SphinxDirective):
    """A table for each chapter, with a link to it above."""

    def table(self, path: Path, rows: str) -> list[nodes.Node]:
        """Link to a notebook, and HTML."""
        here = Path(self.env.doc2path(self.env.docname)).parent
        link = Path(os.path.relpath(path, here)).as_posix()
        paragraph = nodes.paragraph()
        self.state.nested_parse(StringList([f"**[]({link})**"]), 0, paragraph)
        return [*paragraph.children, nodes.raw("", rows, format="html")]


class FindingsDirective(ByChapter):
    """``{findings}``: what each executed notebook found."""

    def run(self) -> list[nodes.Node]:
        source, cache = Path(self.env.srcdir), Path(self.config.nb_execution_cache_path)
        tables: list[nodes.Node] = []
        for path in chapters(source):
            notebook = executed(path, cache)
            page = findings.read(notebook) if notebook is not None else []
            if page:
                tables += self.table(path, findings.as_html(page, margins=True))
        return tables or [nodes.paragraph(text="No notebook has been executed yet: `make book`.")]


class MarginsDirective(ByChapter):
    """``{margins}``: what `make robust` recorded of each chapter."""

    def run(self) -> list[nodes.Node]:
        source = Path(self.env.srcdir)
        path = source / "book" / "margins.csv"
        self.env.note_dependency(str(path))
        recorded = pd.read_csv(path, dtype=str, keep_default_na=False)
        rows = {
            chapter: [compact(row) for row in part.to_dict("records")]
            for chapter, part in recorded.groupby("Chapter")
        }
        shown = [(notebook, rows.get(title(notebook))) for notebook in chapters(source)]
        return sum((self.table(p, findings.html_table(r)) for p, r in shown if r), [])


def compact(row: dict[str, str]) -> dict[str, str]:
    """A row of the margins' table in five columns."""
    mean, ends = row["Mean (sd) over seeds"], row["Range"]
    changes = {"other paths": row["Other paths"], "noise": row["Noise"]}
    same = row["Margin"].startswith("same")
    return {
        "Finding": row["Finding"],
        "Bound": row["Bound"],
        "Over seeds": mean if same else f"{mean}; {ends}",
        "Margin": row["Margin"] if same else f"{row['Margin']} sd, {row['Least s.e.']} s.e.",
        "Changes": "; ".join(f"{name} {value}" for name, value in changes.items() if value),
    }


def answers_of(app: Any, name: str) -> list[findings.Finding]:
    """What a chapter, named by its file, answered when it was executed."""
    path = Path(app.srcdir) / "notebooks" / f"{name}.ipynb"
    notebook = executed(path, Path(app.config.nb_execution_cache_path))
    return [] if notebook is None else findings.answers(findings.read(notebook))


class AnswersDirective(SphinxDirective):
    """``{answers}``: the argument's chapters, with our numbers beside the paper's."""

    def run(self) -> list[nodes.Node]:
        here = Path(self.env.doc2path(self.env.docname)).parent
        files = {name: Path(self.env.srcdir) / "notebooks" / f"{name}.ipynb" for name in CHAPTERS}
        html = answers.table(
            {name: answers_of(self.env.app, name) for name in CHAPTERS},
            {name: title(path) for name, path in files.items()},
            {n: Path(os.path.relpath(p, here)).with_suffix(".html").as_posix()
             for n, p in files.items()},
        )  # fmt: skip
        return [nodes.raw("", html, format="html")]


class AnswerCard(SphinxTransform):
    """Put a chapter's card below its title and the sentence that answers it."""

    default_priority = 100

    def apply(self, **kwargs: Any) -> None:
        folder, _, name = self.env.docname.rpartition("/")
        if folder != "notebooks" or not (found := answers_of(self.app, name)):
            return
        card = nodes.raw("", answers.card(found), format="html")
        next(self.document.findall(nodes.section)).insert(2, card)


class TwoReaders(SphinxDirective):
    """``{two-readers}``: a pair of images, and who gets such pairs right."""

    def run(self) -> list[nodes.Node]:
        from first_page import pair  # loads the models

        readers = ("02_clip_matching", "03_same_encoder_new_reader")
        found = [answers_of(self.env.app, name) for name in readers]
        if not all(found):
            return []
        html = answers.two_readers(found[0][0], found[1][0], *pair())
        return [nodes.raw("", html, format="html")]


class WhoReadsWhat(SphinxDirective):
    """``{who-reads-what}``: CLIP and LLaVA as a diagram, over a caption."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        from erragree_utils.plots import who_reads_what  # loads matplotlib

        return [nodes.raw("", who_reads_what(" ".join(self.content)).html, format="html")]


class FirstPageFigure(SphinxDirective):
    """``{first-page-figure}``: an object to drag across a scene, as CLIP and LLaVA see it."""

    def run(self) -> list[nodes.Node]:
        from first_page import kept_figure  # loads the models

        source, cache = Path(self.env.srcdir), Path(self.config.nb_execution_cache_path)
        html, self.env.first_page_files = kept_figure(cache, source / "_build" / "npm")
        return [nodes.raw("", html, format="html")]


def finish_static_files(app: Any, error: Exception | None) -> None:
    """Put what "Run it live" loads among the static files, and finish the theme's pages."""
    if error is not None:
        return
    if files := getattr(app.env, "first_page_files", None):
        shutil.copytree(files, Path(app.outdir) / "_static" / "live", dirs_exist_ok=True)
    keep_used_icons(Path(app.outdir))
    drop_unfitting_labels(Path(app.outdir))


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
    app.connect("html-page-context", use_fewer_scripts, priority=900)
    app.connect("html-page-context", show_map)
    app.connect("build-finished", finish_static_files)
    app.add_directive("findings", FindingsDirective)
    app.add_directive("margins", MarginsDirective)
    app.add_directive("first-page-figure", FirstPageFigure)
    app.add_directive("answers", AnswersDirective)
    app.add_directive("two-readers", TwoReaders)
    app.add_directive("who-reads-what", WhoReadsWhat)
    app.add_transform(LocalBadge)
    app.add_transform(AnswerCard)
    app.add_post_transform(FigureVariants)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
