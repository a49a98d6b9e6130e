"""The paper's tables as data: which methods each benchmark gets, and what is compared.

To add a benchmark or method, add its name here; running, storing, resuming and reporting follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..scale import SCALES


@dataclass(frozen=True)
class Table:
    """One table of the report.

    Parameters
    ----------
    benchmarks : mapping of str to tuple of str
        Scale to the names of its benchmarks; those of the mini scale mirror the paper's, in the
        same order.
    methods : tuple of str
        Names of methods; either all decide about images, or all about pairs.
    relations : {"rows", "apart", ""}
        Whether relations get their own rows, their own table with a column for each method, or
        aren't told apart.
    sets : bool
        Whether set accuracy is shown.
    compare : tuple of (str, str)
        Methods to compare on the same images, the second with the first. A method paired with
        itself compares the two kinds of models.
    """

    name: str
    title: str
    benchmarks: Mapping[str, tuple[str, ...]]
    methods: tuple[str, ...]
    relations: str = "rows"
    sets: bool = False
    compare: tuple[tuple[str, str], ...] = ()


_WHATSUP = {name: (scale.whatsup_a, scale.whatsup_b) for name, scale in SCALES.items()}
_MMVP = {name: (scale.mmvp,) for name, scale in SCALES.items()}
_SPATIAL = {name: ("coco-spatial", "gqa-spatial") for name in SCALES if name != "mini"}
_MMVP_VLM = {name: (scale.mmvp_vlm,) for name, scale in SCALES.items()}

TABLES = (
    Table(
        "two-way", "What'sUp, two captions: its own, and the pair's other one", _WHATSUP,
        ("matching", "vqascore", "vqascore-authors", "options", "prompted", "prompted-v1"),
        sets=True,
        compare=(
            ("matching", "vqascore"), ("matching", "vqascore-authors"), ("matching", "options"),
            ("matching", "prompted"), ("matching", "prompted-v1"),
        ),
    ),
    Table(
        "four-way", "What'sUp, the four captions of the set", _WHATSUP,
        ("matching-all", "vqascore-all", "prompted-4way"), sets=True,
        compare=(("matching-all", "vqascore-all"), ("matching-all", "prompted-4way")),
    ),
    Table(
        "spatial", "COCO-spatial and GQA-spatial, two captions for a single image",
        _SPATIAL, ("matching", "vqascore"), relations="",
        compare=(("matching", "vqascore"),),
    ),
    Table(
        "mmvp", "MMVP, one question about two images with opposite answers", _MMVP,
        (
            "matching", "matching-text-to-image", "question-options", "greedy", "sampled", "vcd",
            "m3id", "m3id-always", "text-contrast", "adaptvis", "two-images",
        ),
        relations="apart",
        compare=(
            ("matching", "greedy"), ("matching", "question-options"), ("greedy", "vcd"),
            ("greedy", "m3id"), ("greedy", "m3id-always"), ("greedy", "text-contrast"),
            ("greedy", "adaptvis"),
            ("question-options", "two-images"),
        ),
    ),
    Table(
        "mmvp-relative", "MMVP, relative preference: one decision a pair, chance 50%", _MMVP,
        ("relative-preference",), relations="apart",
        compare=(("relative-preference", "relative-preference"),),
    ),
    Table(
        "mmvp-vlm", "MMVP-VLM, from text to image: which of two images a statement is about",
        _MMVP_VLM, ("matching-text-to-image",),
    ),
)  # fmt: skip

#: How many seeds, from 0, a sampling method is run with, since its results vary with the draw.
SEEDS: Mapping[str, int] = {"sampled": 5}
