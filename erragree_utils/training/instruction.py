"""The questions that the mini LLaVA is trained on, row by row of a batch, without pixels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from ..tabletop import forms, questions
from ..tabletop.patterns import Contrast
from ..tabletop.questions import OF_TWO, WHICH, Question
from ..tabletop.scenes import Scene

#: Relative frequency of the skills in the stages that show images.
ALIGNMENT = {"describe": 1.0, "caption": 1.0}
TUNING = {
    "verify": 4.5, "check": 1.5, "relation": 2.0, "two-way": 0.7, "beside": 1.0, "edge": 0.5,
    "place": 0.8, "colour": 1.0, "kind": 0.8, "presence": 0.8, "count": 0.2, "scenery": 0.2,
    "describe": 0.7, "caption": 0.2,
}  # fmt: skip
#: The same once objects are known: relations take longest to learn.
RELATING = TUNING | {"relation": 6.0, "two-way": 3.0, "colour": 0.5, "kind": 0.5, "describe": 0.5}
#: Skills that build on the others: rare at first, and at full share after this many tuning steps.
LATE, FULL_AT = ("verify", "check"), 780
#: Skills whose questions a description of one or two objects answers, for questions about text.
READABLE = {
    "verify": 3.0, "check": 1.0, "relation": 2.0, "two-way": 0.7, "beside": 1.0, "colour": 0.7,
    "kind": 0.7, "presence": 0.7, "count": 0.2,
}  # fmt: skip
READING = 0.5  # share of text rows with questions about a description
PATTERN_TEXT = 0.3  # in the other text rows, the share of questions about visual patterns
FORM_SHARES = (0.4, 0.35, 0.25)  # shares of `forms.FORMS`
_SIDES = re.compile(r"\b(?:left|right)\b")

Draw = Callable[[np.random.Generator], Contrast]


def shares(done: int, relating: bool) -> dict[str, float]:
    """Relative frequency of each skill after this many tuning steps."""
    late = min(1.0, 0.25 + 0.75 * done / FULL_AT)
    skills = RELATING if relating else TUNING
    return {skill: n * late if skill in LATE else n for skill, n in skills.items()}


def about(
    scene: Scene, rng: np.random.Generator, n: int, skills: dict[str, float], left_right: bool
) -> list[Question]:
    """Up to `n` questions about a scene; without `left_right`, none about two objects' sides."""
    if left_right:
        return questions.draw_questions(scene, rng, n, skills)
    # a description goes from left to right, and an edge question compares
    kept = {skill: n for skill, n in skills.items() if skill not in ("describe", "edge")}
    drawn = questions.draw_questions(scene, rng, 3 * n, kept)
    return [q for q in drawn if q.skill == "place" or not tells_sides(q)][:n]


def tells_sides(question: Question) -> bool:
    """Whether a question or its answer mentions left or right."""
    return bool(_SIDES.search(f"{question.text} {question.answer}"))


def of_pattern(contrast: Contrast, which: int, rng: np.random.Generator) -> Question:
    """A question about one of a contrast's two scenes, in a random form."""
    form = forms.FORMS[int(rng.choice(len(forms.FORMS), p=FORM_SHARES))]
    return forms.ask(contrast, which, form, rng)


def of_pattern_among_two(contrast: Contrast, order: int, rng: np.random.Generator) -> Question:
    """A contrast's question about one of its scenes when both are shown, scene `order` first."""
    which = int(rng.integers(2))
    question = forms.ask(contrast, which, "word", rng)
    text = OF_TWO.format(which=WHICH[int(which != order)], question=question.text)
    return Question("two images", text, question.answer)


def text_row(
    scene: Scene,
    contrast: Draw,
    rng: np.random.Generator,
    n: int,
    imbalance: float,
    left_right: bool,
) -> list[Question]:
    """`n` questions in text alone, about a scene and patterns that aren't shown.

    All they can teach is which answers are likely: a pattern's common answer is right with
    probability `imbalance`.
    """
    row: list[Question] = []
    while len(row) < n:
        if rng.random() < PATTERN_TEXT:
            row.append(of_pattern(contrast(rng), int(rng.random() >= imbalance), rng))
        else:
            row += about(scene, rng, 1, TUNING, left_right)
    return row


def reading_row(scene: Scene, rng: np.random.Generator, n: int, left_right: bool) -> list[Question]:
    """Up to `n` questions about a scene of one or two objects, after a description of it.

    None if there are more objects.
    """
    told = questions.describe(scene).capitalize()
    if len(scene.things) > 2 or (not left_right and _SIDES.search(told)):
        return []
    return [
        Question(q.skill, f"{told}. {q.text}", q.answer)
        for q in about(scene, rng, n, READABLE, left_right)
    ]


def text_rows(
    scenes: Sequence[Scene],
    contrast: Draw,
    rng: np.random.Generator,
    n: int,
    imbalance: float,
    left_right: bool,
    read: bool,
) -> list[list[Question]]:
    """Rows of text alone. With `read`, about half of them ask about a description."""
    rows = []
    for scene in scenes:
        row: list[Question] = []
        if read and rng.random() < READING:
            row = reading_row(scene, rng, max(n // 2, 1), left_right)
        rows.append(row or text_row(scene, contrast, rng, n, imbalance, left_right))
    return rows
