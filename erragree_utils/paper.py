"""Every published number that the book quotes, once: value, reader, protocol, version and grade."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

#: What the letters behind published numbers mean.
GRADES = {
    "P": "the authors' or an official repository",
    "H": "the paper's public reviews",
    "S": "second-hand notes that quote the paper",
    "S?": "second-hand notes that leave some doubt about the number",
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
    "average": "average of What'sUp, SugarCrepe, Winoground, NaturalBench, SeeTRUE and MMVP",
}

CLIP, LLAVA = "CLIP ViT-L/14-336", "LLaVA-1.5-7B"
LLAVA_1_5 = "LLaVA-1.5 of a size that is not stated"
PHI, LLAMA, PEOPLE = "Phi-3-V", "LLaMA-3-V", "people"
# The ladder of the later version: heads on a frozen CLIP. The last two each add to the second.
CLIP_PATCHES = "CLIP + patch tokens (PACL)"
CLIP_ROTARY = "CLIP + patch tokens + rotary positions"
CLIP_TEXT_TOKENS = f"{CLIP_ROTARY} + several text tokens (SPARC)"
CLIP_TEXT_ENCODER = f"{CLIP_ROTARY} + stronger text encoder (LLM2CLIP)"


@dataclass(frozen=True)
class Published:
    """A published number.

    Parameters
    ----------
    reader : str
        A model, or people.
    benchmark, relation : str
        A key of `BENCHMARKS`; its relation, or ``"all"``.
    kind : str
        A key of `KINDS`.
    value : float
        A share from 0 to 1, or a cosine.
    protocol : str
    version : str
        ``"v1"``, ``"v3"`` or ``"v1 and v3"`` of arXiv 2411.05195, or another publication.
    grade : str
        A key of `GRADES`.
    methods : tuple of str
        Those of our methods that it may stand beside.
    text : str
        What CLIP has to have read, where a benchmark has several texts for it.
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
    text: str = ""

    @property
    def role(self) -> str:
        """Which kind of model reads: ``"clip"`` or ``"mllm"``."""
        return "clip" if self.reader.startswith("CLIP") else "mllm"

    @property
    def number(self) -> str:
        """As the paper writes it: a cosine, or per cent."""
        return f"{self.value:.3f}" if self.kind == "cosine" else f"{100 * self.value:.1f}"

    def __str__(self) -> str:
        relation = "" if self.relation == "all" else f" {self.relation}"
        where = BENCHMARKS[self.benchmark] + relation
        return (
            f"{self.number}: {self.reader}, {where}, {KINDS[self.kind]} by {self.protocol} "
            f"({self.version}) [{self.grade}]"
        )


_MATCHING = "matching"
_FROM_TEXT = "matching from text to image"
_STATED = "matching; the direction and the text are not stated"
_WRITTEN = "prompted generation"
_YES = "VQAScore with the end token"
_GREEDY = "greedy decoding"
_SAMPLED = "sampled answers, graded by GPT-4"
_BOTH = "comparison of both images, chance 50"
_UNKNOWN = "a protocol that we have not found"
_MMVP = "MMVP, arXiv 2401.06209"

PUBLISHED = tuple(
    Published(*row)
    for row in (
        (CLIP, "whatsup-a", "left/right", "cosine", 0.995, "embeddings", "v1", "S"),
        (CLIP, "whatsup-a", "left/right", "individual", 0.490, _MATCHING, "v1", "S", ("matching",)),
        (CLIP, "whatsup-a", "left/right", "pair", 0.019, _MATCHING, "v1 and v3", "S",
         ("matching",)),
        (CLIP, "whatsup-a", "on/under", "pair", 0.233, _MATCHING, "v3", "S", ("matching",)),
        (CLIP, "whatsup-b", "left/right", "pair", 0.108, _MATCHING, "v3", "S", ("matching",)),
        (CLIP, "whatsup-b", "front/behind", "pair", 0.078, _MATCHING, "v3", "S", ("matching",)),
        (LLAVA, "whatsup-a", "left/right", "individual", 0.990, _WRITTEN, "v1", "S",
         ("prompted-v1",)),
        (LLAVA, "whatsup-a", "left/right", "pair", 0.981, _WRITTEN, "v1", "S",
         ("prompted-v1",)),
        (LLAVA, "whatsup-a", "on/under", "pair", 0.602, _WRITTEN, "v1", "S",
         ("prompted-v1",)),
        (LLAVA, "whatsup-a", "left/right", "pair", 0.932, _YES, "v3", "S",
         ("vqascore-authors",)),
        (LLAVA, "whatsup-a", "on/under", "pair", 0.524, _YES, "v3", "S",
         ("vqascore-authors",)),
        (LLAVA, "whatsup-b", "front/behind", "pair", 0.529, _YES, "v3", "S",
         ("vqascore-authors",)),
        (PHI, "whatsup-a", "left/right", "pair", 0.951, _YES, "v3", "S"),
        (PHI, "whatsup-a", "on/under", "pair", 0.583, _YES, "v3", "S"),
        (PHI, "whatsup-b", "front/behind", "pair", 0.265, _YES, "v3", "S"),
        (LLAMA, "whatsup-a", "left/right", "pair", 0.961, _YES, "v3", "S"),
        (LLAMA, "whatsup-a", "on/under", "pair", 0.641, _YES, "v3", "S"),
        (LLAMA, "whatsup-b", "front/behind", "pair", 0.471, _YES, "v3", "S"),
        (CLIP_PATCHES, "whatsup-a", "left/right", "pair", 0.097, _MATCHING, "v3", "S"),
        (CLIP_PATCHES, "whatsup-b", "left/right", "pair", 0.098, _MATCHING, "v3", "S"),
        (CLIP_ROTARY, "whatsup-a", "left/right", "pair", 0.223, _MATCHING, "v3", "S"),
        (CLIP_ROTARY, "whatsup-b", "left/right", "pair", 0.206, _MATCHING, "v3", "S"),
        (CLIP_TEXT_TOKENS, "whatsup-a", "left/right", "pair", 0.0, _MATCHING, "v3", "S"),
        (CLIP_TEXT_TOKENS, "whatsup-b", "left/right", "pair", 0.069, _MATCHING, "v3", "S"),
        (CLIP_TEXT_ENCODER, "whatsup-a", "left/right", "pair", 0.107, _MATCHING, "v3", "S"),
        (CLIP_TEXT_ENCODER, "whatsup-b", "left/right", "pair", 0.157, _MATCHING, "v3", "S"),
        (CLIP, "mmvp", "all", "pair", 0.140, _STATED, "v1", "S",
         ("matching", "matching-text-to-image"), "statements"),
        (LLAVA, "mmvp", "all", "pair", 0.253, _GREEDY, "v1", "S", ("greedy",)),
        (LLAVA_1_5, "mmvp", "all", "pair", 0.247, _SAMPLED, _MMVP, "P", ("sampled",)),
        (LLAVA, "mmvp", "all", "pair", 0.313, "M3ID", "v1", "S", ("m3id",)),
        (LLAVA, "mmvp", "all", "individual", 0.617, _GREEDY, "v1", "S?", ("greedy",)),
        (LLAVA, "mmvp", "all", "individual", 0.643, "M3ID", "v1", "S?", ("m3id",)),
        (PEOPLE, "mmvp", "all", "pair", 0.957, "their own answers", _MMVP, "P"),
        (CLIP, "mmvp", "all", "relative", 0.640, _BOTH, "v1", "S", ("relative-preference",),
         "statements"),
        (LLAVA, "mmvp", "all", "relative", 0.733, _BOTH, "v1", "S", ("relative-preference",)),
        (CLIP, "mmvp-vlm", "all", "pair", 0.200, _FROM_TEXT, _MMVP, "P",
         ("matching-text-to-image",)),
        (CLIP, "average", "all", "individual", 0.556, _UNKNOWN, "v3", "S"),
        (CLIP, "average", "all", "pair", 0.193, _UNKNOWN, "v3", "S"),
        (LLAVA_1_5, "average", "all", "individual", 0.880, _UNKNOWN, "v3", "S"),
        (LLAVA_1_5, "average", "all", "pair", 0.592, _UNKNOWN, "v3", "S"),
    )
)  # fmt: skip

_ORIGINAL_CODE = (
    "published for the original LLaVA code, whose format of weights this package does not read"
)
_HEADS = "heads on a frozen CLIP, published as weights for modules that this package does not have"
#: What is published and not measured by the study, with the reason: a reader, benchmark or kind of
#: `PUBLISHED`, or a description where we quote no number.
NOT_HERE = {
    PHI: _ORIGINAL_CODE,
    LLAMA: _ORIGINAL_CODE,
    "LLaVA-1.5 that reads the class token alone": _ORIGINAL_CODE,
    CLIP_PATCHES: _HEADS,
    CLIP_ROTARY: _HEADS,
    CLIP_TEXT_TOKENS: _HEADS,
    CLIP_TEXT_ENCODER: f"{_HEADS}; the texts' embeddings come from a language model of 8 billion "
    "parameters (LLM2CLIP)",
    "CLIP, SigLIP and EVA-CLIP fine-tuned on LLaVA-1.5's data": "we have found no weights, and the "
    "authors' script trains on four GPUs",
    "LLaVA-1.5 tuned to embed (VLM2Vec)": "its weights are adapters for another package",
    "average": "four of the six benchmarks are not part of this study, and we have not found how "
    "the six are averaged",
    "answers graded by GPT-4": "the grader is a paid service that changes; ours are parsed by "
    "fixed rules, also where they are sampled as MMVP's authors do",
    PEOPLE: "the study asks models alone",
    "cosine": "no accuracy; chapter 1 measures it",
}


def subject_not_here(number: Published) -> str:
    """The entry of `NOT_HERE` that says why the study has nothing to set a number beside.

    Raises
    ------
    LookupError
        If there is none.
    """
    for part in (number.kind, number.benchmark, number.reader):
        if part in NOT_HERE:
            return part
    raise LookupError(f"no reason is given for {number}: add one to NOT_HERE")


def published(**wanted: str | tuple[str, ...]) -> Published:
    """The one number whose fields have these values.

    A tuple stands for any of its values. ``version="v3"`` finds ``"v1 and v3"`` too.

    Raises
    ------
    LookupError
        If none or several fit; they are listed.
    """
    matches = published_numbers(**wanted)
    if len(matches) != 1:
        listed = "; ".join(map(str, matches)) or "none"
        raise LookupError(f"{wanted} names not one published number but: {listed}")
    return matches[0]


def published_table(**wanted: str | tuple[str, ...]) -> pd.DataFrame:
    """All numbers that `published` would find, for people; accuracies are in per cent."""
    matches = published_numbers(**wanted)
    if not matches:
        raise LookupError(f"{wanted} names no published number")
    return pd.DataFrame(
        {
            "reader": n.reader,
            "benchmark": f"{BENCHMARKS[n.benchmark]}, {n.relation}",
            "measure": KINDS[n.kind],
            "published": n.number,
            "protocol": n.protocol,
            "source": f"{n.version}: {GRADES[n.grade]}",
        }
        for n in matches
    ).set_index("reader")


def published_numbers(**wanted: str | tuple[str, ...]) -> list[Published]:
    """All numbers that `published` would choose from."""
    return [n for n in PUBLISHED if all(_fits(getattr(n, name), v) for name, v in wanted.items())]


def _fits(value: str | tuple[str, ...], wanted: str | tuple[str, ...]) -> bool:
    values = {value, *value.split(" and ")} if isinstance(value, str) else set(value)
    return not values.isdisjoint([wanted] if isinstance(wanted, str) else wanted)
