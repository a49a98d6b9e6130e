"""The questions that models are asked about images: templates, and how captions fill them in."""

from __future__ import annotations

from collections.abc import Iterable

from .captions import ANSWERS, Statement

#: VQAScore's question, in the paper's words (section 3; Lin et al. 2024, section 3).
VQA_QUESTION = 'Does this figure show "{caption}"? Please answer yes or no.'
#: The prompted protocols' question (What'sUp in later work of the paper's authors).
RELATION_QUESTION = "Where is the {first} in relation to the {second}? Answer with {options}."


def relation_question(template: str, statement: Statement, options: Iterable[str]) -> str:
    """The question about a statement's two things; it does not tell their relation.

    Parameters
    ----------
    template : str
        Of ``{first}``, ``{second}`` and ``{options}``.
    options : iterable of str
        Relations on offer (keys of `ANSWERS`); they are listed in the order of `ANSWERS`.

    Returns
    -------
    str
        Such as ``"Where is the mug in relation to the chair? Answer with left or right."``
    """
    words = [word for relation, word in ANSWERS.items() if relation in set(options)]
    listed = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    return template.format(first=statement.first, second=statement.second, options=listed)
