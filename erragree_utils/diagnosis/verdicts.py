"""Rules that turn measurements into verdicts on where the answer is lost, and how sure they are.

A rule looks at intervals, never just at a value. If an interval doesn't decide, the verdict is
*undecided*. We set the thresholds on models whose fault is known by construction, and tested them
on other seeds and kinds of change (see `training.zoo`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

ANSWERED, UNDECIDED, BLIND = "answered", "undecided", "encoder blind"
MISALIGNED, POOLED = "matching misaligned", "lost in pooling"
PRIOR, IGNORES = "prior wins", "reader ignores"
CLIP_VERDICTS = (ANSWERED, MISALIGNED, POOLED, BLIND, UNDECIDED)
MLLM_VERDICTS = (ANSWERED, PRIOR, IGNORES, BLIND, UNDECIDED)

#: What to try, and the chapter that explains it.
ADVICE = {
    ANSWERED: "Nothing: most pairs are answered rightly.",
    MISALIGNED: "The embedding tells the images apart and the captions don't ask for it: let "
    "something else read it, such as a linear probe or a language model, or fit a map of the texts "
    "(chapters 4 and 5).",
    POOLED: "The patch tokens tell the images apart and the pooled embedding doesn't: read the "
    "patch tokens, as LLaVA does; no text will find it in the embedding (chapters 3 and 4).",
    BLIND: "Nothing that was tried reads the difference from the patch tokens: try another "
    "encoder, a higher resolution, or more pairs before believing it (chapter 6).",
    PRIOR: "The model prefers the right answer more for the right image, but a habit outweighs it: "
    "compare the two images' scores, or decode against a stream without the image (chapters 7 and "
    "8); fine-tuning on balanced answers is the lasting cure.",
    IGNORES: "The tokens that the language model gets tell the images apart, and its answers "
    "don't: no decoding brings back what was not read; ask in other words, or fine-tune the "
    "projector and the reader (chapters 3 and 9).",
    UNDECIDED: "The pairs don't decide: add pairs of this kind (about a hundred), or look at the "
    "evidence.",
}  # fmt: skip


@dataclass(frozen=True)
class Thresholds:
    """Where an interval has to lie for a rule to apply; shares of images or pairs."""

    answered: float = 0.5  # pair accuracy above it: most pairs are right
    single: float = 0.62  # a reader of one image above it: the features tell; below it, they don't
    compared: float = 0.85  # the same of a reader of two images; either tells, both have to fail
    power: float = 0.75  # what a reader has to reach where a difference was planted, and
    fewest: int = 40  # how many pairs it had to learn from, before its failing is believed
    preferred: float = 0.65  # relative preference above it: the model answers to the images
    ignored: float = 0.75  # relative preference below it: it hardly does


THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Verdict:
    """What a rule says about a group, and how surely: from 0.5, hardly, to 1."""

    verdict: str
    confidence: float

    @property
    def advice(self) -> str:
        """What to try."""
        return ADVICE[self.verdict]


def tells(reading: Mapping[str, float], n_pairs: int, at: Thresholds = THRESHOLDS) -> bool | None:
    """Whether features tell a pair's images apart; None if that's undecided.

    `reading` is what `reading_accuracy` returned of so many pairs, and under ``"power"`` the
    accuracy of a reader where a difference was planted.
    """
    if not np.isfinite(reading["single"]):
        return None
    if reading["single_low"] > at.single or reading["compared_low"] > at.compared:
        return True
    absent = reading["single_high"] < at.single and reading["compared_high"] < at.compared
    able = reading["power"] > at.power and n_pairs >= at.fewest
    return False if absent and able else None


def judge_clip(evidence: Mapping[str, float], at: Thresholds = THRESHOLDS) -> Verdict:
    """Where CLIP's matching loses the answers about a group of pairs.

    Parameters
    ----------
    evidence : mapping
        ``n_pairs``; ``pair`` with ``_low`` and ``_high``; ``embedding`` and ``tokens``, readings as
        for `tells`.
    """
    if evidence["pair_low"] > at.answered:
        return Verdict(ANSWERED, _beyond(evidence, "pair", at.answered))
    if evidence["pair_high"] < at.answered:
        embedding, tokens = (
            tells(evidence[name], evidence["n_pairs"], at) for name in ("embedding", "tokens")
        )
        lost = _absence_confidence(evidence["embedding"], at)
        if embedding:
            return Verdict(MISALIGNED, _reading_confidence(evidence["embedding"], at))
        if embedding is False and tokens:
            return Verdict(POOLED, min(lost, _reading_confidence(evidence["tokens"], at)))
        if embedding is False and tokens is False:
            return Verdict(BLIND, min(lost, _absence_confidence(evidence["tokens"], at)))
    return Verdict(UNDECIDED, 0.5)


def judge_mllm(evidence: Mapping[str, float], at: Thresholds = THRESHOLDS) -> Verdict:
    """Where a language model loses the answers about a group of pairs.

    Parameters
    ----------
    evidence : mapping
        ``n_pairs``; ``pair`` and ``relative`` (accuracy, relative preference) with ``_low`` and
        ``_high``; ``tokens``, the reading of what the language model gets.
    """
    if evidence["pair_low"] > at.answered:
        return Verdict(ANSWERED, _beyond(evidence, "pair", at.answered))
    if evidence["pair_high"] < at.answered:
        if evidence["relative_low"] > at.preferred:
            return Verdict(PRIOR, _beyond(evidence, "relative", at.preferred))
        if evidence["relative_high"] < at.ignored:
            tokens = tells(evidence["tokens"], evidence["n_pairs"], at)
            if tokens:
                return Verdict(IGNORES, _reading_confidence(evidence["tokens"], at))
            if tokens is False:
                return Verdict(BLIND, _absence_confidence(evidence["tokens"], at))
    return Verdict(UNDECIDED, 0.5)


def judge_pair(signal: float, bias: float, group: str) -> str:
    """The verdict about one pair: its own if its scores decide, otherwise its group's.

    Both images are right where the signal is greater than the bias; where it is positive and
    smaller, a bias outweighs it, which is *prior wins* for a language model.
    """
    if signal > abs(bias):
        return ANSWERED
    if group == ANSWERED:
        return UNDECIDED
    return group


def _beyond(evidence: Mapping[str, float], name: str, bound: float) -> float:
    """How many half-widths an estimate lies beyond a bound, as a confidence."""
    value, low, high = (evidence[f"{name}{end}"] for end in ("", "_low", "_high"))
    return _confidence(abs(value - bound) / max((high - low) / 2, 1e-9))


def _reading_confidence(reading: Mapping[str, float], at: Thresholds) -> float:
    return max(_beyond(reading, "single", at.single) if reading["single"] > at.single else 0.5,
               _beyond(reading, "compared", at.compared) if reading["compared"] > at.compared
               else 0.5)  # fmt: skip


def _absence_confidence(reading: Mapping[str, float], at: Thresholds) -> float:
    return min(_beyond(reading, "single", at.single), _beyond(reading, "compared", at.compared))


def _confidence(widths: float) -> float:
    """The normal probability that the truth is on the same side of the bound; an interval is 1.96
    standard errors wide on either side."""
    return float(norm.cdf(1.96 * widths))
