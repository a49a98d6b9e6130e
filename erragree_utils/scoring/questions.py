"""The questions we ask models about images: templates, filled in from captions."""

from __future__ import annotations

from collections.abc import Iterable

from .captions import ANSWERS, Statement

#: VQAScore's question, in the paper's words (section 3; Lin et al. 2024, section 3).
VQA_QUESTION = 'Does this figure show "{caption}"? Please answer yes or no.'
#: The prompted protocols' question (What'sUp in later work of the paper's authors).
RELATION_QUESTION = "Where is the {first} in relation to the {second}? Answer with {options}."
#: A question in the form of the same authors' published code (`lst627/CLIP-Embeds`): the nearest we
#: found to how the paper's first version prompted, whose own words we have not found.
CHOICE_QUESTION = "Is the {first} {choices}?"
# As that code says them, in its order.
_CHOICES = {
    "left": "to the left of",
    "right": "to the right of",
    "under": "at the bottom of",
    "on": "at the top of",
    "behind": "in the back of",
    "front": "in the front of",
    "above": "above",
    "below": "below",
}


def relation_question(template: str, statement: Statement, options: Iterable[str]) -> str:
    """The question about a statement's two things; it doesn't give their relation away.

    Parameters
    ----------
    template : str
        Of ``{first}``, ``{second}``, ``{options}`` (``left or right``) and ``{choices}`` (``to the
        left of or to the right of the chair``).
    options : iterable of str
        Relations to choose from (keys of `ANSWERS`), listed in the order of `ANSWERS`.

    Returns
    -------
    str
        Such as ``"Where is the mug in relation to the chair? Answer with left or right."``
    """
    offer = set(options)
    words = [word for relation, word in ANSWERS.items() if relation in offer]
    places = [place for relation, place in _CHOICES.items() if relation in offer]
    if offer != {"left", "right"}:  # which share the thing that follows them
        places[:-1] = [f"{place} the {statement.second}" for place in places[:-1]]
    return template.format(
        first=statement.first, second=statement.second, options=_listed(words),
        choices=f"{_listed(places)} the {statement.second}",
    )  # fmt: skip


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
