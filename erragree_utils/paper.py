"""Every published number that the book quotes, once: value, reader, protocol, version and grade."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

#: What the letters behind published numbers mean.
GRADES = {
    "P": "the authors' or an official repository",
    "H": "the paper's public reviews",
    "S": "second-hand notes that quote the paper",
}
KINDS = {
    "cosine": "mean cosine",
    "individual": "individual accuracy",
    "pair": "pair accuracy",
    "relative": "relative preference",
}
BENCHMARKS = {
    "whatsup-a": "What'sUp A",
    "whatsup-b": "What'sUp B",
    "mmvp": "MMVP",
    "mmvp-vlm": "MMVP-VLM",
}
CLIP, LLAVA = "CLIP ViT-L/14-336", "LLaVA-1.5-7B"
LLAVA_1_5 = "LLaVA-1.5 of a size that is not stated"


@dataclass(frozen=True)
class Published:
    """A published number.

    Parameters
    ----------
    reader, benchmark, relation : str
        A model; a key of `BENCHMARKS`; its relation, or ``"all"``.
    kind : str
        A key of `KINDS`.
    value : float
        A share from 0 to 1, or a cosine.
    protocol : str
    version : str
        ``"v1"`` or ``"v3"`` of arXiv 2411.05195, or the publication that it stands in.
    grade : str
        A key of `GRADES`.
    methods : tuple of str
        Those of our methods that it may stand beside.
    """

    reader: str
    benchmark: str
    relation: str
    kind: str
    value: float
    protocol: str
    version: str
    grade: str
    methods: tuple[str, ...] = ()

    @property
    def role(self) -> str:
        """Which kind of model reads: ``"clip"`` or ``"mllm"``."""
        return "clip" if self.reader == CLIP else "mllm"

    @property
    def number(self) -> str:
        return f"{self.value:.3f}" if self.kind == "cosine" else f"{100 * self.value:.1f}"

    def __str__(self) -> str:
        relation = "" if self.relation == "all" else f" {self.relation}"
        where = BENCHMARKS[self.benchmark] + relation
        return (
            f"{self.number}: {self.reader}, {where}, {KINDS[self.kind]} by {self.protocol} "
            f"({self.version}) [{self.grade}]"
        )


_MATCHING = "matching"
_WRITTEN = "prompted generation"
_YES = "VQAScore with the end token"
_BOTH = "comparison of both images, chance 50"

PUBLISHED = tuple(
    Published(*row)
    for row in (
        (CLIP, "whatsup-a", "left/right", "cosine", 0.995, "embeddings", "v1", "S"),
        (CLIP, "whatsup-a", "left/right", "individual", 0.490, _MATCHING, "v1", "S", ("matching",)),
        (CLIP, "whatsup-a", "left/right", "pair", 0.019, _MATCHING, "v1", "S", ("matching",)),
        (CLIP, "whatsup-a", "on/under", "pair", 0.233, _MATCHING, "v3", "S", ("matching",)),
        (CLIP, "whatsup-b", "left/right", "pair", 0.108, _MATCHING, "v3", "S", ("matching",)),
        (CLIP, "whatsup-b", "front/behind", "pair", 0.078, _MATCHING, "v3", "S", ("matching",)),
        (LLAVA, "whatsup-a", "left/right", "individual", 0.990, _WRITTEN, "v1", "S", ("prompted",)),
        (LLAVA, "whatsup-a", "left/right", "pair", 0.981, _WRITTEN, "v1", "S", ("prompted",)),
        (LLAVA, "whatsup-a", "on/under", "pair", 0.602, _WRITTEN, "v1", "S", ("prompted",)),
        (LLAVA, "whatsup-a", "left/right", "pair", 0.932, _YES, "v3", "S", ("vqascore",)),
        (LLAVA, "whatsup-a", "on/under", "pair", 0.524, _YES, "v3", "S", ("vqascore",)),
        (LLAVA, "whatsup-b", "front/behind", "pair", 0.529, _YES, "v3", "S", ("vqascore",)),
        (CLIP, "mmvp", "all", "pair", 0.140, _MATCHING, "v1", "S", ("matching",)),
        (LLAVA, "mmvp", "all", "pair", 0.253, "greedy decoding", "v1", "S", ("greedy",)),
        (LLAVA_1_5, "mmvp", "all", "pair", 0.247, "sampled answers, graded by GPT-4",
         "MMVP, arXiv 2401.06209", "P"),
        (LLAVA, "mmvp", "all", "pair", 0.313, "M3ID", "v1", "S", ("m3id",)),
        (CLIP, "mmvp", "all", "relative", 0.640, _BOTH, "v1", "S", ("relative-preference",)),
        (LLAVA, "mmvp", "all", "relative", 0.733, _BOTH, "v1", "S", ("relative-preference",)),
        (CLIP, "mmvp-vlm", "all", "pair", 0.200, _MATCHING, "MMVP, arXiv 2401.06209", "P"),
    )
)  # fmt: skip


def published(**wanted: Any) -> Published:
    """The one number whose fields have these values.

    Raises
    ------
    LookupError
        If none or several have; they are listed.
    """
    matches = _fitting(wanted)
    if len(matches) != 1:
        listed = "; ".join(map(str, matches)) or "none"
        raise LookupError(f"{wanted} names not one published number but: {listed}")
    return matches[0]


def published_table(**wanted: Any) -> pd.DataFrame:
    """All numbers whose fields have these values, for people; accuracies are in per cent.

    Raises
    ------
    LookupError
        If none has.
    """
    matches = _fitting(wanted)
    if not matches:
        raise LookupError(f"{wanted} names no published number")
    return pd.DataFrame(
        {
            "reader": n.reader,
            "benchmark": f"{BENCHMARKS[n.benchmark]}, {n.relation}",
            "measure": KINDS[n.kind],
            "published": n.number,
            "protocol": n.protocol,
            "version": n.version,
            "source": GRADES[n.grade],
        }
        for n in matches
    ).set_index("reader")


def _fitting(wanted: dict[str, Any]) -> list[Published]:
    return [n for n in PUBLISHED if all(getattr(n, k) == v for k, v in wanted.items())]
