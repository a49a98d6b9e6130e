"""What captions say: two objects and the relation between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

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


def one_of(phrases: dict[str, str]) -> re.Pattern[str]:
    """Finds any of the phrases, as whole words; ``lastgroup`` of a match is the phrase's name."""
    parts = (rf"(?P<{name}>\b(?:{words})\b)" for name, words in phrases.items())
    return re.compile("|".join(parts), re.IGNORECASE)


_IN_CAPTION = one_of(_STATED)
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
    """The two things of a caption, without articles, and the one relation it states.

    Such as ``"A red mug to the left of a blue table"``.
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


def side_examples(captions: Sequence[str]) -> pd.DataFrame:
    """Labels for probes of left and right, from the captions of images.

    Parameters
    ----------
    captions : sequence of str
        Each image's own, such as ``"A red mug to the left of a blue table"``.

    Returns
    -------
    pandas.DataFrame
        A row for each caption: ``named`` and ``other`` object, ``side`` (``"left"`` or ``"right"``)
        on which the named one is, and ``group``: the two kinds of objects (the last word of each),
        in alphabetical order, so that sets in other colours are in one group.

    Notes
    -----
    The side is a function of the image alone where captions name objects of one class first, as
    those of What'sUp A do (a small object, then furniture). Where they name either of two small
    objects first (What'sUp B), it depends on which is named: give `probe` a `condition`.
    """
    rows = []
    for caption in captions:
        try:
            statement = parse_caption(caption)
        except CaptionError:
            statement = None
        if statement is None or statement.relation not in ("left", "right"):
            raise ValueError(
                f"the caption {caption!r} does not say that one thing is to the left or right of "
                "another; select the left/right pairs first"
            )
        named, other = statement.first.lower(), statement.second.lower()
        kinds = sorted(text.split()[-1] for text in (named, other))
        rows.append((named, other, statement.relation, " | ".join(kinds)))
    return pd.DataFrame(rows, columns=["named", "other", "side", "group"])


def scene_examples(captions: Sequence[str]) -> pd.DataFrame:
    """As `side_examples`, with the thing whose kind is first in the alphabet as the ``named`` one.

    Its side is a fact of the scene, whichever thing a caption names first. A text says it only if
    it binds things to sides: neither the word *left* nor the order of names gives it away.
    """
    table = side_examples(captions)
    things = table[["named", "other"]].to_numpy(str)
    turned = [first.split()[-1] > second.split()[-1] for first, second in things]
    table.loc[turned, ["named", "other"]] = things[turned][:, ::-1]
    table.loc[turned, "side"] = table.loc[turned, "side"].map({"left": "right", "right": "left"})
    return table
