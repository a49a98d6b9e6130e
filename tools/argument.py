"""The argument as a map on top of every page: its chapters in order, the present one lit."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

#: The steps of the argument, and the chapters of each with a few words for what it finds.
ARGUMENT = {
    "One encoder, two readers": {
        "01_cosine_agreement": "nearly equal",
        "02_clip_matching": "CLIP can't",
        "03_same_encoder_new_reader": "LLaVA can",
    },
    "Hidden or lost": {
        "04_is_it_there": "one symptom",
        "05_does_the_text_ask": "text's part",
    },
    "Where LLaVA fails": {
        "06_clip_blind_pairs": "blind pairs",
        "07_contrastive_decoding": "decoding",
        "08_two_images": "compared",
    },
    "Why, and yours": {
        "09_why": "what helps",
        "10_your_own_pairs": "your pairs",
    },
}
#: The files of the chapters, in order.
CHAPTERS = [name for step in ARGUMENT.values() for name in step]


def map_html(page: str, to: Callable[[str], str]) -> str:
    """The map, as a list of links; `to` gives the address of a page as seen from this one."""
    steps, number = [], 0
    for step, chapters in ARGUMENT.items():
        nodes = []
        for name, words in chapters.items():
            number += 1
            current = ' aria-current="page"' if f"notebooks/{name}" == page else ""
            nodes.append(
                f'<li><a href="{escape(to(f"notebooks/{name}"))}"{current}>'
                f"<b>{number}</b> <span>{escape(words)}</span></a></li>"
            )
        # A list counts its items itself for screen readers, from the step's first number.
        start = number - len(nodes) + 1
        steps.append(
            f'<li style="--nodes: {len(nodes)}"><span>{escape(step)}</span>'
            f'<ol start="{start}">{"".join(nodes)}</ol></li>'
        )
    return f'<nav class="argument" aria-label="The argument"><ol>{"".join(steps)}</ol></nav>'


def show_map(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
    """Put the map above a page's text; an ``html-page-context`` handler."""
    # A search page has no text, and a book of other chapters another argument.
    if doctree is not None and {f"notebooks/{name}" for name in CHAPTERS} <= app.env.found_docs:
        context["body"] = map_html(page, context["pathto"]) + context["body"]
