"""Which option a written answer names, parsed strictly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pandas as pd

from ..checks import brief
from .captions import one_of

# In answers, which may name the relation alone.
_ANSWERED = {
    "left": r"(?:(?:to|on) (?:the|its) )?left(?: side)?",
    "right": r"(?:(?:to|on) (?:the|its) )?right(?: side)?",
    "front": r"(?:in[ -])?front",
    "behind": r"behind|back",
    # "On the bottom of the chair" is one place, of which "on" isn't another; "on the bottom shelf"
    # may be either, and is left unparsed.
    "under": r"under|underneath|beneath|(?:on (?:the|its) )?bottom(?= of\b|\s*(?:[.,;!]|$))|bottom",
    "above": r"above",
    "below": r"below",
    "on": r"on top|on|top",
}
_IN_ANSWER = one_of(_ANSWERED)
# What turns an answer around.
_DENIAL = re.compile(r"\b(?:not|neither|nor|cannot)\b|n['’]t\b", re.IGNORECASE)
# A letter that begins an answer: in parentheses or set off, as "A dog" begins with an article.
_FIRST = re.compile(r"(?:\(\s*([ab])\s*\)|([ab])(?=[.:,)]|$))[.:,)]?", re.IGNORECASE)
_ANYWHERE = re.compile(r"\(\s*([ab])\s*\)", re.IGNORECASE)
# A letter that the word before it makes one: "Option B", "options a and b". A small "a" is an
# article, "the best option a person has", unless something follows that no article has after it.
_NO_ARTICLE = (
    r"(?=\s*(?:$|[^\s\w'-])|\s+(?:and|or|nor|is|was|would|should|must|seems|looks|shows|because|"
    r"since|as)\b)"
)
_LETTER = rf"\(?((?-i:A(?!\s+[A-Z]{{2}}))|b|a{_NO_ARTICLE})\b\)?"
_CALLED = re.compile(
    rf"\b(?:option|choice|letter)s?:?\s+{_LETTER}"
    r"(?:\s*(?:,|/|&|\band\b|\bor\b|\bnor\b)\s*(?:(?:option|choice|letter)\s+)?\(?([ab])\b\)?)?",
    re.IGNORECASE,
)
# The same where an article could follow, "the answer is a dog": set off again.
_GIVEN = re.compile(
    r"\b(?:(?:answer|option|choice|letter|one|it)(?:['’]s|\s+(?:is|(?:would|should|must|has\s+to)"
    r"\s+be))|answer|choose|pick|select|go\s+with|think|believe)\s*:?\s*([ab])"
    r"(?:\s*(?:/|,?\s*(?:and|or|nor)\s|,)\s*([ab]))?(?=[.:,)]|\s*$)",
    re.IGNORECASE,
)
# A letter of which the words after it say that it is the one.
_CORRECT = re.compile(
    r"(?:\b([ab])\s*(?:,|/|\b(?:and|or|nor)\b)\s*)?"
    r"\b([ab])\s+(?:is|(?:would|must|should)\s+be)\s+(?:correct\b|right(?=[.,;!]|\s*$)|"
    r"the\s+(?:(?:correct|right|best)\s+)?(?:answer|option|choice|one)\b)",
    re.IGNORECASE,
)
_REJECTED = re.compile(r"\b(?:incorrect|wrong)\b", re.IGNORECASE)


def parse_answer(answer: str, options: Iterable[str]) -> str | None:
    """The one option (a key of `captions.ANSWERS`) that an answer names, or None.

    Strict: an answer isn't parsed if it names none of the options or two of them, or denies
    something ("not on the left"). It may be a sentence: "The mug is on the left" names left.
    """
    if _DENIAL.search(answer):
        return None
    named = {match.lastgroup for match in _IN_ANSWER.finditer(answer)} & set(options)
    return named.pop() if len(named) == 1 else None


def parse_option(
    answer: str, options: Sequence[str], listed: Sequence[str] | None = None
) -> int | None:
    """Which of two options an answer names, strictly.

    Parameters
    ----------
    answer : str
    options : sequence of two str
    listed : sequence of two str, optional
        The options in the order of their letters (a) and (b), if the question gave letters: an
        answer may then begin with one, hold one in parentheses, or call it one ("Option B", "the
        answer is b", "B is correct").

    Returns
    -------
    int or None
        Index of the option; None where the answer names none or both, denies something ("not
        open") without saying yes or no or beginning with a letter, or gives a letter and the other
        letter's option. Case, articles and punctuation do not matter; words must be whole.

    Raises
    ------
    ValueError
        If there are not two options, or those listed are others.
    """
    options = _two(options, "options")
    listed = None if listed is None else _two(listed, "listed")
    # Emphasis and quotes around an answer say nothing.
    text, letters, begins = re.sub('[*_`"]+', "", answer).strip(" '"), set(), False
    if listed is not None:
        first = _FIRST.match(text)
        begins = first is not None
        if first:
            letters.add((first[1] or first[2]).lower())
            text = text[first.end() :]
        for pattern in (_CALLED, _GIVEN, _CORRECT, _ANYWHERE):
            found = [letter for match in pattern.finditer(text) for letter in match.groups()]
            letters |= {letter.lower() for letter in found if letter}
            text = pattern.sub(" ", text)
        if letters and not begins and _REJECTED.search(text):
            return None
    named, denied = _named(text, options)
    if not letters:
        return named.pop() if len(named) == 1 and not denied else None
    if len(letters) > 1 or (denied and not begins):
        return None
    chosen = options.index(listed["ab".index(letters.pop())])
    # The words may say the same or nothing of the kind; "not closed" says nothing of a letter.
    return chosen if denied or named <= {chosen} else None


def _two(options: Iterable[str], name: str) -> list[str]:
    options = list(options)
    if len(options) != 2:
        raise ValueError(f"{name} must be two, not {brief(options)}")
    return options


def unparsed(table: pd.DataFrame) -> pd.DataFrame:
    """The answers that didn't name exactly one option, most frequent first, for you to look at.

    Of what `evaluate` returned for a method that writes answers; ``n`` says how often each was
    given, ``pair_id`` names the first.
    """
    missing = [name for name in ("answer", "parsed", "pair_id") if name not in table]
    if missing:
        raise ValueError(f"the table lacks {', '.join(missing)}: give one of answers in words")
    rows = table[~table["parsed"].astype(bool)]
    found = rows.groupby("answer", sort=False, as_index=False).agg(
        n=("answer", "size"), pair_id=("pair_id", "first")
    )
    return found.sort_values("n", ascending=False, kind="stable", ignore_index=True)


def _named(text: str, options: Sequence[str]) -> tuple[set[int], bool]:
    """Options that a text names, and whether what else it says denies something.

    Where one option holds the other ("not open"), the longer one counts.
    """
    words = [_words(option) for option in options]
    found: set[int] = set()
    rest = _words(text)
    for place in sorted((0, 1), key=lambda k: -len(words[k])):
        pattern = rf"\b{re.escape(words[place])}\b"
        if words[place] and re.search(pattern, rest):
            found.add(place)
            rest = re.sub(pattern, " ", rest)
    return found, bool(_DENIAL.search(rest)) and not set(words) & {"yes", "no"}


def _words(text: str) -> str:
    plain = re.sub(r"[^\w\s'-]+", " ", text.lower())
    return " ".join(re.sub(r"^(?:an?|the) (?=\w)", "", plain.strip()).split())
