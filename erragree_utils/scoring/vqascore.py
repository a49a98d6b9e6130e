"""Ask a multimodal language model which caption fits: VQAScore, options, prompted answers.

Captions are parsed for their two things and the relation they state, so that the same benchmark
that CLIP matches can be asked as a question. A model here is a `Mllm`, or anything with its
`answer_logprobs`, `option_logprobs` and `generate`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import listed

#: VQAScore's question, in the paper's words (section 3; Lin et al. 2024, section 3).
QUESTION = 'Does this figure show "{caption}"? Please answer yes or no.'
#: The prompted protocols' question (What'sUp in later work of the paper's authors).
RELATION_QUESTION = "Where is the {first} in relation to the {second}? Answer with {options}."
#: The word that names a relation in questions and answers, in the order in which they are offered.
ANSWERS = {
    "left": "left",
    "right": "right",
    "on": "on",
    "under": "under",
    "front": "in front",
    "behind": "behind",
    "above": "above",
    "below": "below",
}
# In captions, between two things. Longer phrases first: "on the left of" is not an "on".
_STATED = {
    "left": r"(?:to|on) the left(?: side)? of|left of",
    "right": r"(?:to|on) the right(?: side)? of|right of",
    "front": r"in[ -]front of|front of",
    "behind": r"behind",
    "under": r"under|underneath|beneath",
    "above": r"above",
    "below": r"below",
    "on": r"on top of|on",
}
# In answers, which may name the relation alone.
_ANSWERED = {
    "left": r"(?:(?:to|on) (?:the|its) )?left(?: side)?",
    "right": r"(?:(?:to|on) (?:the|its) )?right(?: side)?",
    "front": r"(?:in[ -])?front",
    "behind": r"behind",
    "under": r"under|underneath|beneath",
    "above": r"above",
    "below": r"below",
    "on": r"on top|on",
}


def _scan(phrases: dict[str, str]) -> re.Pattern[str]:
    parts = (rf"(?P<{name}>\b(?:{words})\b)" for name, words in phrases.items())
    return re.compile("|".join(parts), re.IGNORECASE)


_IN_CAPTION, _IN_ANSWER = _scan(_STATED), _scan(_ANSWERED)
#: What turns an answer around.
DENIAL = re.compile(r"\b(?:not|neither|nor|cannot)\b|n['’]t\b", re.IGNORECASE)
_SIDE = re.compile(r"(?:left|right|top|bottom)(?: side)?", re.IGNORECASE)  # of the image itself
_OPENING = re.compile(r"(?:an? )?(?:photo|picture|image) of ", re.IGNORECASE)


class CaptionError(ValueError):
    """A caption does not say how one thing stands to another."""


@dataclass(frozen=True)
class Statement:
    """What a caption says: `first` is `relation` (a key of `ANSWERS`) of `second`."""

    first: str
    relation: str
    second: str


def parse_caption(caption: str) -> Statement:
    """The two things of a caption, without articles, and the relation between them.

    Parameters
    ----------
    caption : str
        Such as ``"A red mug to the left of a blue table"``.

    Raises
    ------
    CaptionError
        If it does not state exactly one relation between two things.
    """
    text = " ".join(caption.split())
    found = list(_IN_CAPTION.finditer(text))
    parts = [text[: found[0].start()], text[found[0].end() :]] if len(found) == 1 else []
    things = [_thing(part) for part in parts]
    if not things or not all(things) or _SIDE.fullmatch(things[1]):
        raise CaptionError(
            f"the caption {caption!r} does not state one relation between two things, as 'A mug to "
            "the left of a plate' does: use method 'vqascore', which asks about whole captions"
        )
    return Statement(things[0], found[0].lastgroup or "", things[1])


def _thing(text: str) -> str:
    text = re.sub(r"[\s.]+", " ", text).strip()
    text = _OPENING.sub("", text, count=1)
    text = re.sub(r" (?:is|are)$", "", text)
    return re.sub(r"^(?:an?|the) ", "", text, flags=re.IGNORECASE)


def relation_question(statement: Statement, options: Sequence[str]) -> str:
    """The prompted question about a statement's two things; it does not tell their relation.

    Parameters
    ----------
    statement : Statement
    options : sequence of str
        Relations on offer (keys of `ANSWERS`); they are listed in the order of `ANSWERS`, whatever
        their order here.

    Returns
    -------
    str
        Such as ``"Where is the mug in relation to the chair? Answer with left or right."``
    """
    words = [ANSWERS[relation] for relation in in_order(options)]
    listed = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    return RELATION_QUESTION.format(first=statement.first, second=statement.second, options=listed)


def in_order(relations: Iterable[str]) -> list[str]:
    """Relations without repetition, in the order of `ANSWERS`."""
    known = set(relations)
    return [relation for relation in ANSWERS if relation in known]


def parse_answer(answer: str, options: Iterable[str]) -> str | None:
    """The one option that an answer names, or None.

    Strict: an answer that names two of the options, none, or denies something ("not on the left")
    is not parsed. It may be a sentence: "The mug is on the left" names left alone.

    Parameters
    ----------
    answer : str
    options : iterable of str
        Relations on offer (keys of `ANSWERS`).

    Returns
    -------
    str or None
    """
    if DENIAL.search(answer):
        return None
    named = {match.lastgroup for match in _IN_ANSWER.finditer(answer)} & set(options)
    return named.pop() if len(named) == 1 else None


def _captions(captions: Iterable[Iterable[str]]) -> list[list[str]]:
    """Captions of each image; they are read more than once."""
    return [
        list(listed(row, f"captions of image {i}"))
        for i, row in enumerate(listed(captions, "captions"))
    ]


def vqascores(
    mllm: Any,
    images: Iterable[Any],
    captions: Sequence[Sequence[str]],
    batch_size: int = 32,
    progress: bool = False,
) -> list[np.ndarray]:
    """VQAScore: P("Yes") as the answer to whether the image shows the caption.

    Parameters
    ----------
    mllm : Mllm
    images : iterable of PIL.Image.Image
    captions : sequence of sequences of str
        For each image, the captions to score. The image is encoded once for all of them.
    batch_size : int
        Images at a time.
    progress : bool

    Returns
    -------
    list of numpy.ndarray, float64
        For each image, a probability for each of its captions.
    """
    captions = _captions(captions)
    branches = [[(QUESTION.format(caption=text), "Yes") for text in row] for row in captions]
    found = mllm.answer_logprobs(images, branches, batch_size=batch_size, progress=progress)
    return [np.exp(np.array([score.total for score in row], np.float64)) for row in found]


def caption_scores(
    model: Any,
    images: Iterable[Any],
    captions: Sequence[Sequence[str]],
    batch_size: int = 32,
    progress: bool = False,
) -> list[np.ndarray]:
    """How well captions fit images, by a model of either kind: CLIP's cosine, or VQAScore.

    One interface for both, so that like is compared with like: each image with the same captions,
    each caption scored by itself. Scores of the two kinds have different scales: compare their
    order, not their size.

    Parameters
    ----------
    model : Clip or Mllm
    images : iterable of PIL.Image.Image
    captions : sequence of sequences of str
        For each image, the captions to score.
    batch_size : int
    progress : bool

    Returns
    -------
    list of numpy.ndarray, float64
        For each image, a score for each of its captions.

    Raises
    ------
    TypeError
        If the model is of neither kind.
    """
    if hasattr(model, "answer_logprobs"):
        return vqascores(model, images, captions, batch_size, progress)
    if not hasattr(model, "embed_images"):
        raise TypeError(f"{model!r} is neither a Clip nor a Mllm")
    captions = _captions(captions)
    rows = model.embed_images(images, batch_size=batch_size, progress=progress)
    if len(rows) != len(captions):
        raise ValueError(f"{len(rows)} images, but {len(captions)} lists of captions")
    texts = list(dict.fromkeys(text for row in captions for text in row))
    place = {text: i for i, text in enumerate(texts)}
    embedded = model.embed_texts(texts)
    return [
        (embedded[[place[text] for text in mine]].astype(np.float64) * row).sum(axis=1)
        for row, mine in zip(rows, captions, strict=True)
    ]
