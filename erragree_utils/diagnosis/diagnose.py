"""The diagnosis: evidence, verdicts by group and by pair, and what to try."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..benchmarks.base import Benchmark, BenchmarkError
from ..scoring import scores
from .evidence import Score, clip_evidence, flat_evidence, mllm_evidence
from .verdicts import PRIOR, judge_clip, judge_mllm, judge_pair

CLIP, MLLM = "clip", "mllm"


@dataclass(frozen=True)
class Diagnosis:
    """What we know about a benchmark's pairs and models.

    Parameters
    ----------
    pairs : pandas.DataFrame
        A row for each pair and part (``"clip"`` or ``"mllm"``): ``pair_id``, ``group``, ``part``,
        ``verdict``, ``right``, ``signal``, ``bias``, and the part's own evidence.
    groups : pandas.DataFrame
        A row for each group and part: ``group``, ``part``, ``verdict``, ``confidence``,
        ``n_pairs``, ``advice``, and the evidence.
    """

    pairs: pd.DataFrame
    groups: pd.DataFrame


def diagnose(
    bench: Benchmark, clip: Any = None, mllm: Any = None, score: Score = scores.score
) -> Diagnosis:
    """Find out where the answers about a benchmark's pairs are lost, by group.

    Parameters
    ----------
    bench : Benchmark
        Of pairs; a group is what shares a `relation`.
    clip, mllm : Clip, Mllm, optional
        One of them or both.
    score : callable
        How models are scored; `study.kept.score` with a folder stores what it has scored.

    Raises
    ------
    BenchmarkError
        If the items are single images: there is no difference to look for.
    """
    if clip is None and mllm is None:
        raise ValueError("give a clip, an mllm, or both")
    if not len(bench) or any(len(pair.sources) != 2 for pair in bench):
        raise BenchmarkError(
            f"{bench.name}: a diagnosis compares two images; single ones have accuracies alone "
            "(use evaluate and summarize)"
        )
    pairs, groups = [], []
    for part, model, measure, judge in (
        (CLIP, clip, clip_evidence, judge_clip),
        (MLLM, mllm, mllm_evidence, judge_mllm),
    ):
        if model is None:
            continue
        table, found = measure(model, bench, score)
        verdicts = {name: judge(evidence) for name, evidence in found.items()}
        for name, evidence in found.items():
            said = verdicts[name]
            head = {"group": name, "part": part, "verdict": said.verdict,
                    "confidence": said.confidence, "n_pairs": evidence["n_pairs"],
                    "advice": said.advice}  # fmt: skip
            groups.append(head | flat_evidence(evidence))
        table = table.reset_index().rename(columns={"relation": "group"})
        table.insert(2, "part", part)
        table.insert(3, "verdict", [
            _of_pair(part, row, verdicts[row.group].verdict) for row in table.itertuples()
        ])  # fmt: skip
        pairs.append(table.drop(columns="preferred"))
    return Diagnosis(pd.concat(pairs, ignore_index=True), pd.DataFrame(groups))


def _of_pair(part: str, row: Any, group: str) -> str:
    if part == MLLM and 0 < row.signal <= abs(row.bias):
        return PRIOR
    return judge_pair(row.signal, row.bias, group)
