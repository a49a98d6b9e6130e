"""Three forms of an answer to a pattern's question: a word, a sentence, an option's letter.

Each is asked for in its own wording, as visual instruction tuning does (Liu et al. 2023, "Improved
Baselines with Visual Instruction Tuning", section 3.2). A question alone asks for a word; options
with letters, for a letter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .patterns import Contrast
from .questions import Question

IN_A_SENTENCE = "Answer in a sentence."
FORMS = ("word", "sentence", "letter")
#: Answers as sentences, by kind of the first thing, kind and answer, or pattern.
SENTENCES = {
    "duck": "The duck looks to the {answer}.",
    ("teapot", "left"): "The spout points to the left.",
    ("teapot", "right"): "The spout points to the right.",
    "mug": "The handle is on the {answer}.",
    ("snowman", "Yes"): "The snowman wears a hat.",
    ("snowman", "No"): "The snowman wears no hat.",
    ("trophy", "Yes"): "The trophy has handles.",
    ("trophy", "No"): "The trophy has no handles.",
    ("cake", "Yes"): "The cake has a ball on top.",
    ("cake", "No"): "The cake has no ball on top.",
    ("teapot", "Yes"): "The teapot has a lid.",
    ("teapot", "No"): "The teapot has no lid.",
    "table": "The top of the table is {answer}.",
    "stool": "The stool has {answer} legs.",
    "chair": "The back of the chair is {answer}.",
    "state": "The {kind} is {answer}.",
    "text": "The letter on the {kind} is {answer}.",
    "colour": "The {kind} is {answer}.",
    "quantity": "There are {answer} things in the image.",
    "nearer": "The {kind} is nearer.",
    "further": "The {kind} is further away.",
    "front": "The {kind} is seen from the front.",
    "above": "The {kind} is seen from above.",
}


def sentence(contrast: Contrast, which: int) -> str:
    """The answer of one of a contrast's two scenes, as a sentence of four to eight words."""
    kind, answer = contrast.scenes[which].things[0].kind, contrast.options[which]
    keys = {"orientation": kind, "structure": kind, "relation": answer, "viewpoint": answer}
    key = keys.get(contrast.pattern, contrast.pattern)
    text = SENTENCES.get((kind, answer)) or SENTENCES[key]
    return text.format(kind=kind, answer=answer)


def lettered(question: str, listed: Sequence[str]) -> str:
    """A question with two options in their printed order, as MMVP's own script asks it."""
    return f"{question} (a) {listed[0]} (b) {listed[1]}"


def ask(contrast: Contrast, which: int, form: str, rng: np.random.Generator) -> Question:
    """A contrast's question about one of its scenes, asked so that the answer has one of `FORMS`.

    Its skill is the pattern. Letters go to the options at random.
    """
    text, answer = contrast.question, contrast.options[which]
    if form == "sentence":
        text, answer = f"{text} {IN_A_SENTENCE}", sentence(contrast, which)
    elif form == "letter":
        first = int(rng.integers(2))
        text = lettered(text, (contrast.options[first], contrast.options[1 - first]))
        answer = "(a)" if which == first else "(b)"
    return Question(contrast.pattern, text, answer)


def vocabulary() -> tuple[str, ...]:
    """Every word, in lower case, that these forms use, sorted."""
    text = " ".join((IN_A_SENTENCE, *SENTENCES.values(), lettered("", ("", ""))))
    for mark in ".()":
        text = text.replace(mark, f" {mark} ")
    words = {word for word in text.lower().split() if not word.startswith("{")}
    return tuple(sorted(words))
