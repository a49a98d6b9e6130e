"""MMVP made of rendered scenes: nine visual patterns, each pair with a question and two answers.

Candidates are drawn at random and numbered. *Mined* pairs are the candidates whose images CLIP can
hardly tell apart but a vision-only encoder can (Tong et al. 2024, section 3.1). A file in the
package records which these are (``tools/mine_tabletop.py`` writes it), so loading the benchmark
needs no model.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from PIL import Image

from ..measures.agreement import cosine
from ..tabletop import forms, patterns, scenes
from .base import Benchmark, BenchmarkError, QuestionPair
from .tabletop import MODEL_SIZE, pictures

#: The numbers of the mined candidates, by seed and pattern.
RECORD = Path(__file__).parent.parent / "assets" / "tabletop-mmvp.json"
#: A word of the candidates' random streams, which no other benchmark's have.
STREAM = 0x6D6D
#: Candidates of a pattern to look at before giving up, for each pair that is wanted.
TRIES = 400

Images = Sequence[tuple[Image.Image, Image.Image]]
Keep = Callable[[Images], Sequence[bool]]


class Encoder(Protocol):
    """What mining needs from `Clip`, `Vision` or similar."""

    def embed_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Embeddings, float (N, D)."""


def load_tabletop_mmvp(
    name: str = "tabletop-mmvp",
    seed: int = 0,
    n_pairs: int = 40,
    size: int = MODEL_SIZE,
    supersample: int = 2,
    keep: Keep | None = None,
    mined: bool = True,
    form: str = "word",
) -> Benchmark:
    """Question pairs of MMVP's nine visual patterns, rendered; `n_pairs` for each in turn.

    `pair_id` is the pattern and the candidate's number; `source` says whether the pairs are mined.

    Parameters
    ----------
    size : int
        Pixels per side. Figures use 336 and more; pairs that are on record stay the same.
    supersample : int
        Rays per side of a pixel at edges.
    keep : callable, optional
        Chooses among candidates instead of the record: takes a list of pairs of images, at the size
        the mini models read, and returns for each whether to keep it. See `keep_blind`.
    mined : bool
        False gives the first candidates as they come; so does, with a warning, a seed of which no
        mined pairs are on record.
    form : {"word", "sentence", "letter"}
        What the question asks for: just the answer, a sentence, or the letter of an option. The
        options are in that form (with letters, they are the answers alone).
    """
    if n_pairs < 1:
        raise ValueError(f"n_pairs must be positive, got {n_pairs}")
    if form not in forms.FORMS:
        raise ValueError(f"unknown form {form!r}; choose one of {', '.join(forms.FORMS)}")
    numbers, how = {p: list(range(n_pairs)) for p in patterns.PATTERNS}, "not mined"
    if keep is not None:
        numbers, how = {p: _search(p, seed, n_pairs, keep) for p in numbers}, "mined now"
    elif mined and (record := _record(seed, n_pairs)):
        numbers = {p: record["seeds"][str(seed)][p][:n_pairs] for p in numbers}
        how = "mined: cosine above {clip_above} under {clip}, below {vision_below} under {vision}"
        how = how.format(**record)
    pairs = [
        pair
        for pattern in numbers
        for pair in candidates(pattern, numbers[pattern], seed, size, supersample, form)
    ]
    return Benchmark(
        name,
        tuple(pairs),
        f"{n_pairs} rendered pairs with a question for each of nine visual patterns, after MMVP",
        f"tabletop world, seed {seed}, {size} px, {how}",
    )


def _record(seed: int, n_pairs: int) -> dict | None:
    """The record, if it has enough mined pairs of this seed; None, with a warning, if none."""
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.is_file() else {"seeds": {}}
    numbers = record["seeds"].get(str(seed))
    if numbers is None:
        warnings.warn(
            f"no mined pairs of seed {seed} are on record (seeds with them: "
            f"{', '.join(record['seeds']) or 'none'}): the first candidates are given. Give "
            "keep=keep_blind(clip, vision) to mine now, or mined=False if you want candidates",
            stacklevel=4,
        )
        return None
    if set(numbers) != set(patterns.PATTERNS):
        raise BenchmarkError(
            f"{RECORD} was written for other patterns: run python tools/mine_tabletop.py again"
        )
    few = [p for p in patterns.PATTERNS if len(numbers[p]) < n_pairs]
    if few:
        raise BenchmarkError(
            f"{RECORD.name} has {len(numbers[few[0]])} mined pairs of the pattern {few[0]!r} for "
            f"seed {seed}: ask for no more, give keep=keep_blind(clip, vision), or record more "
            "with tools/mine_tabletop.py"
        )
    return record


def draw_candidate(pattern: str, number: int, seed: int = 0) -> patterns.Contrast:
    """Candidate `number` of a pattern: the same whichever others are drawn."""
    if pattern not in patterns.PATTERNS:
        raise KeyError(f"no pattern {pattern!r}; there are {', '.join(patterns.PATTERNS)}")
    place = list(patterns.PATTERNS).index(pattern)
    rng = np.random.default_rng((scenes.TEST, seed, STREAM, place, number))
    return patterns.draw_contrast(pattern, rng, held_out=True)


def candidates(
    pattern: str,
    numbers: Iterable[int],
    seed: int = 0,
    size: int = MODEL_SIZE,
    supersample: int = 2,
    form: str = "word",
) -> list[QuestionPair]:
    """The candidates of these numbers, rendered."""
    contrasts = {number: draw_candidate(pattern, number, seed) for number in numbers}
    flat = [scene for contrast in contrasts.values() for scene in contrast.scenes]
    images = pictures(flat, size, supersample)
    return [
        QuestionPair(
            pair_id=f"{pattern}-{number:04d}",
            pattern=pattern,
            **_asked(contrast, number, form),
            sources=tuple(images[2 * place : 2 * place + 2]),
            statements=patterns.statements(contrast),
        )
        for place, (number, contrast) in enumerate(contrasts.items())
    ]


def _asked(contrast: patterns.Contrast, number: int, form: str) -> dict[str, Any]:
    """What is asked and what can be answered; the letters do not tell which is common."""
    if form == "sentence":
        question = f"{contrast.question} {forms.IN_A_SENTENCE}"
        options = forms.sentence(contrast, 0), forms.sentence(contrast, 1)
        return {"question": question, "options": options, "lettered": False}
    asked = {"question": contrast.question, "options": contrast.options}
    letter = form == "letter"
    return asked | {"lettered": letter, "first_listed": number % 2 if letter else 0}


def blind_cosines(pairs: Iterable[QuestionPair], clip: Encoder, vision: Encoder) -> pd.DataFrame:
    """Cosine between the two images of each pair under two encoders.

    Returns
    -------
    pandas.DataFrame
        ``pair_id``, ``pattern``, ``clip_cosine``, ``vision_cosine``; a row for each pair.
    """
    pairs = list(pairs)
    by_clip, by_vision = _cosines([pair.images for pair in pairs], clip, vision)
    return pd.DataFrame({
        "pair_id": [pair.pair_id for pair in pairs],
        "pattern": [pair.pattern for pair in pairs],
        "clip_cosine": by_clip,
        "vision_cosine": by_vision,
    })  # fmt: skip


def keep_blind(
    clip: Encoder, vision: Encoder, clip_above: float = 0.95, vision_below: float = 0.6
) -> Keep:
    """What `load_tabletop_mmvp` takes as `keep`: which pairs `clip` alone takes for nearly alike.

    Their cosines are strictly above and below; by default as Tong et al. 2024, section 3.1.
    """

    def keep(images: Images) -> np.ndarray:
        by_clip, by_vision = _cosines(images, clip, vision)
        return (by_clip > clip_above) & (by_vision < vision_below)

    return keep


def find_blind(pattern: str, seed: int, n_pairs: int, keep: Keep) -> tuple[list[int], int]:
    """Numbers of the first candidates that `keep` keeps, and how many were looked at.

    Fewer than `n_pairs` if `TRIES` candidates for each pair do not hold as many.
    """
    kept: list[int] = []
    looked, step = 0, max(8, 2 * n_pairs)
    while len(kept) < n_pairs and looked < TRIES * n_pairs:
        numbers = range(looked, min(looked + step, TRIES * n_pairs))
        decisions = np.asarray(keep([pair.images for pair in candidates(pattern, numbers, seed)]))
        if decisions.shape != (len(numbers),):
            raise ValueError(
                f"keep must return a decision for each of {len(numbers)} pairs of images, it "
                f"returned an array of shape {decisions.shape}"
            )
        kept += [number for number, good in zip(numbers, decisions, strict=True) if good]
        looked = numbers.stop
    if len(kept) >= n_pairs:
        looked = kept[n_pairs - 1] + 1
    return kept[:n_pairs], looked


def _search(pattern: str, seed: int, n_pairs: int, keep: Keep) -> list[int]:
    numbers, looked = find_blind(pattern, seed, n_pairs, keep)
    if len(numbers) < n_pairs:
        raise BenchmarkError(
            f"keep found {len(numbers)} of {n_pairs} pairs of the pattern {pattern!r} among "
            f"{looked} candidates: loosen its thresholds, or ask for fewer pairs"
        )
    return numbers


def _cosines(images: Images, clip: Encoder, vision: Encoder) -> tuple[np.ndarray, np.ndarray]:
    flat = [image for pair in images for image in pair]
    embedded = (model.embed_images(flat) for model in (clip, vision))
    return tuple(cosine(rows[::2], rows[1::2]) for rows in embedded)
