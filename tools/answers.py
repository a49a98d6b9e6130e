"""What the chapters answer: a card on top of each, and the first page's table, from the findings.

Nothing is written by hand: a finding with a `question` is its chapter's answer, wherever the
notebook was executed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from erragree_utils import findings
from erragree_utils.findings import Finding

NOT_THERE = "not measured there"


def ours(f: Finding) -> str:
    """Our number, its interval and whose it is."""
    low, high = f.number(f.low), f.number(f.high)
    sampled = f' <span class="answer-interval">[{low}, {high}]</span>' if f.low != f.high else ""
    failed = "" if f.holds else ' <span class="answer-fails">✗ does not hold here</span>'
    who = f'<span class="answer-who">{escape(f.who)}</span> ' if f.who else ""
    return f"{who}<b>{_with_unit(f.number(f.value), f)}</b>{sampled}{failed}"


def papers(f: Finding) -> tuple[str, str]:
    """What the paper reports beside it, and of what by which protocol."""
    number, _, protocol = f.paper.partition(": ")
    return f"<b>{escape(_with_unit(number, f))}</b>", escape(protocol)


def chance(f: Finding) -> str:
    """What guessing would give; empty where nothing is guessed."""
    return "" if f.chance is None else _with_unit(f"{f.chance * findings.UNITS[f.unit][0]:g}", f)


def card(answers: Sequence[Finding]) -> str:
    """The card of a chapter: its question; our numbers, the paper's and chance."""
    question = answers[0].question
    mine = [f'<p>{ours(f)}</p><p class="answer-note">{escape(f.claim)}.</p>' for f in answers]
    rows = [
        ("This book", "".join(mine)),
        ("The paper", _numbers([papers(f) for f in answers if f.paper])),
    ]
    if guesses := list(dict.fromkeys(filter(None, map(chance, answers)))):
        rows.append(("Guessing", f"<p>{', '.join(guesses)}</p>"))
    parts = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows)
    return (
        '<section class="answer" aria-label="The answer of this chapter">'
        f'<p class="answer-question">{escape(question)}</p><dl>{parts}</dl></section>'
    )


def table(
    answers: Mapping[str, Sequence[Finding]], titles: Mapping[str, str], links: Mapping[str, str]
) -> str:
    """A row for each chapter: what it finds and asks, our numbers, the paper's and chance."""
    rows = []
    for number, (name, found) in enumerate(answers.items(), 1):
        question = f'<p class="answer-note">{escape(found[0].question)}</p>' if found else ""
        link = f'<a href="{escape(links[name])}">{number} {escape(titles[name])}</a>'
        known = [papers(f) for f in found if f.paper]
        cells = {
            "This book": "".join(f"<p>{ours(f)}</p>" for f in found),
            "The paper": _numbers(known) if found else "",
            "Guessing": ", ".join(dict.fromkeys(filter(None, map(chance, found)))),
        }
        rows.append(
            f'<tr><th scope="row">{link}{question}</th>'
            + "".join(f'<td data-column="{n}"><div>{text}</div></td>' for n, text in cells.items())
            + "</tr>"
        )
    head = "".join(f"<th>{n}</th>" for n in ("Chapter", "This book", "The paper", "Guessing"))
    head = f"<thead><tr>{head}</tr></thead>"
    return f'<table class="answers">{head}<tbody>{"".join(rows)}</tbody></table>'


def two_readers(
    clip: Finding, llava: Finding, images: Sequence[str], captions: Sequence[str], cosine: float
) -> str:
    """A pair of images, and how often each reader gets both images of such a pair right.

    `images` are addresses, `cosine` is CLIP's of the two; the findings are those of chapters 2 and
    3.
    """
    shown = "".join(
        f'<div><img src="{source}" alt="{escape(caption)}"><p>{escape(caption)}</p></div>'
        for source, caption in zip(images, captions, strict=True)
    )
    readers = {
        "clip": ("CLIP's matching score", clip),
        "llava": ("LLaVA, on the same frozen encoder", llava),
    }
    bars = []
    for kind, (name, f) in readers.items():
        paper = f" (published: {papers(f)[0]})" if f.paper else ""
        bars.append(
            f'<div class="reader-{kind}"><p>{name}: {ours(f)}{paper}</p>'
            f'<div class="reader-bar"><i style="width: {100 * f.value:.1f}%"></i></div></div>'
        )
    return (
        f'<figure class="two-readers"><div class="two-images">{shown}'
        f'<p class="two-alike">CLIP gives the two nearly the same vector: cosine '
        f"<b>{cosine:.3f}</b>, where 1 is equal.</p></div>"
        f'<div class="readers" style="--chance: {100 * clip.chance:g}%">'
        f"<p><b>Which caption fits? Right for both images of a pair:</b></p>{''.join(bars)}"
        f'<p class="answer-note">The line is guessing, {chance(clip)}; one answer '
        "for both images gets no pair right. Our numbers, with 95% intervals, are of left/right "
        "pairs of rendered scenes; the paper's of photographs, with models hundreds of times as "
        "large.</p></div></figure>"
    )


def _numbers(known: Sequence[tuple[str, str]]) -> str:
    """The paper's numbers, each above its protocol."""
    lines = [f'<p>{n}</p><p class="answer-note">{protocol}</p>' for n, protocol in known]
    return "".join(lines) or f"<p>{NOT_THERE}</p>"


def _with_unit(number: str, f: Finding) -> str:
    """Per cent directly behind the number, points as a word; cosines stand alone."""
    return number + {"%": "%", "points": " points"}.get(f.unit, "")
