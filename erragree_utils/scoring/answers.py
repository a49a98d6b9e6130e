"""Questions with two options, answered in words: greedily, or by contrastive decoding.

A pair has ``pair_id``, two ``images``, two ``options`` of which option i is the answer for image i,
and a ``prompt``, the same for both images (`benchmarks.mmvp.QuestionPair`). Scoring the options
instead of writing an answer is `two_images.single_image_scores`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from ..checks import brief
from ..decoding.contrast import Contrast, generate_contrastive, pair_seeds
from .two_images import named_errors
from .vqascore import DENIAL

#: The method of a plain answer; of a contrastive one, it is the name of its class.
GREEDY = "greedy"
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
    """The answers that named no one option, the most frequent first: to look at.

    Parameters
    ----------
    table : pandas.DataFrame
        What `answer_pairs`, or `runner.evaluate` with a prompted method, returned.

    Returns
    -------
    pandas.DataFrame
        ``answer``, ``n`` (how often it was given) and ``pair_id`` (of the first one).

    Raises
    ------
    ValueError
        If the table has no answers in words.
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
    return found, bool(DENIAL.search(rest)) and not set(words) & {"yes", "no"}


def _words(text: str) -> str:
    plain = re.sub(r"[^\w\s'-]+", " ", text.lower())
    return " ".join(re.sub(r"^(?:an?|the) (?=\w)", "", plain.strip()).split())


def answer_pairs(
    mllm: Any,
    pairs: Sequence[Any],
    contrast: Contrast | None = None,
    blind: bool = False,
    max_new_tokens: int = 16,
    batch_size: int = 16,
    progress: bool = False,
) -> pd.DataFrame:
    """Ask about each image of each pair, and read the answers strictly.

    Parameters
    ----------
    mllm : Mllm
    pairs : sequence of QuestionPair or alike
    contrast : Contrast, optional
        Decode contrastively. The noise of VCD follows from the pair's name and the image's index.
    blind : bool
        Ask without showing the images: both images of a pair then get the same answer.
    max_new_tokens : int
    batch_size : int
        Images at a time; halved when the device's memory is too small.
    progress : bool

    Returns
    -------
    pandas.DataFrame
        As `runner.evaluate` returns it for prompted methods, a row for each image: ``pair_id``,
        ``set_id``, ``relation`` and ``pattern`` (the visual pattern), ``image_index``, ``model``,
        ``method`` (``"greedy"``, or the contrast's class), ``n_options``, ``score_own`` and
        ``score_other`` (1 for the option that was named), ``correct``, ``answer`` and ``parsed``.
        An answer that names no one option is not correct.

    Raises
    ------
    ValueError
        If there are no pairs, blind answers are to be contrastive, or an item cannot be encoded (it
        is named).
    """
    pairs = list(pairs)
    if not pairs:
        raise ValueError("there are no pairs")
    if blind and contrast is not None:
        raise ValueError("without an image nothing is contrasted: leave out contrast")
    owners = [(pair, i) for pair in pairs for i in (0, 1)]
    asked = [pair.prompt for pair, _ in owners]
    images = (None if blind else image for pair in pairs for image in pair.images)
    settings = {
        "max_new_tokens": max_new_tokens, "batch_size": batch_size, "progress": progress,
    }  # fmt: skip
    with named_errors([f"image {i} of pair {pair.pair_id!r}" for pair, i in owners]):
        if contrast is None:
            answers = mllm.generate(images, asked, **settings)
        else:
            answers = generate_contrastive(
                mllm, images, asked, contrast, seed=pair_seeds(pairs), **settings
            )
    method = GREEDY if contrast is None else type(contrast).__name__
    rows = []
    for (pair, i), answer in zip(owners, answers, strict=True):
        named = parse_option(answer, pair.options, pair.listed if pair.lettered else None)
        rows.append({
            "pair_id": pair.pair_id, "set_id": pair.set_id, "relation": pair.relation,
            "pattern": pair.pattern, "image_index": i, "model": mllm.name, "method": method,
            "n_options": 2, "score_own": float(named == i), "score_other": float(named == 1 - i),
            "correct": named == i, "answer": answer, "parsed": named is not None,
        })  # fmt: skip
    return pd.DataFrame(rows)
