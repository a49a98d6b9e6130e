"""Which thing is left and which is right, from captions: labels for probes."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from .vqascore import CaptionError, parse_caption


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
