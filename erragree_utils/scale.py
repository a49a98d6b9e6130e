"""The scales of the book: "mini" runs anywhere in minutes, "paper" is the real thing.

Between them, "small" runs the published benchmarks on small published models of today.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

VARIABLE = "ERRAGREE_SCALE"
SEED_VARIABLE = "ERRAGREE_SEED"
#: Other models than the paper's, or folders that hold them.
MODEL_VARIABLES = {
    "clip": "ERRAGREE_CLIP",
    "mllm": "ERRAGREE_MLLM",
    "vision": "ERRAGREE_VISION",
}


@dataclass(frozen=True)
class Scale:
    """The names that differ between the scales; every call that takes them is the same.

    Parameters
    ----------
    clip
        For `load_clip`.
    mllm
        For `load_mllm`: a multimodal language model. LLaVA reads the vision tower of `clip`.
    whatsup_a, whatsup_b
        For `load_benchmark`: What'sUp's controlled subsets A and B, or their rendered likenesses.
    mmvp
        For `load_benchmark`: pairs CLIP cannot tell apart, with questions.
    mmvp_vlm
        For `load_benchmark`: such pairs with statements, for CLIP. At mini scale the same pairs
        have both.
    vision
        For `load_vision`: the vision-only encoder against which CLIP-blind pairs are mined.
    blind_above, blind_below
        A pair is CLIP-blind if its cosine is above the first under CLIP and below the second under
        the vision-only encoder; MMVP's at both scales.
    clip_dtype
        For `load_clip`; float32 at both scales, as cosines near 1 are read to the fourth digit.
    hardware
        What the scale needs, in words.
    pictures
        Further options of `load_benchmark` for images that are looked at, not scored: rendered
        scenes can be drawn larger than the model reads them; photographs stay as they are.
    draw
        Further options of `load_benchmark` that choose the draw: the ``seed`` of rendered scenes.
    many
        Further options of `load_benchmark` for `mmvp`, so that differences of a few points can be
        told from none: rendered pairs come in any number. They are not mined, since mining asks two
        encoders and a `mllm` is not among them.
    """

    name: str
    clip: str
    mllm: str
    vision: str
    whatsup_a: str
    whatsup_b: str
    mmvp: str
    mmvp_vlm: str
    hardware: str
    clip_dtype: str = "float32"
    blind_above: float = 0.95
    blind_below: float = 0.6
    pictures: Mapping[str, Any] = field(default_factory=dict)
    draw: Mapping[str, Any] = field(default_factory=dict)
    many: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int | None:
        """The seed of the benchmarks' draw; None where nothing is drawn."""
        return self.draw.get("seed")


_MINI = Scale(
    name="mini",
    clip="mini",
    mllm="mini",
    vision="mini",
    whatsup_a="tabletop-a",
    whatsup_b="tabletop-b",
    mmvp="tabletop-mmvp",
    mmvp_vlm="tabletop-mmvp",
    hardware="any CPU, no network",
    pictures={"n_sets": 1, "size": 336, "supersample": 3},
    draw={"seed": 0},
    many={"n_pairs": 120, "mined": False},
)
# The paper's CLIP is LLaVA-1.5's vision tower: OpenAI's ViT-L/14 at 336 px.
_PAPER = Scale(
    name="paper",
    clip="ViT-L-14-336",
    mllm="llava-hf/llava-1.5-7b-hf",
    vision="vit_large_patch14_dinov2.lvd142m",
    whatsup_a="whatsup-a",
    whatsup_b="whatsup-b",
    mmvp="mmvp",
    mmvp_vlm="mmvp-vlm",
    hardware="network for weights and images; a GPU of 15 GB or more (CLIP alone: a CPU)",
)
# SmolVLM is an Idefics3 whose tower is SigLIP's, not this CLIP's: chapters that look into LLaVA's
# are not for it.
_SMALL = Scale(
    name="small",
    clip="ViT-B-32",
    mllm="HuggingFaceTB/SmolVLM-256M-Instruct",
    vision="vit_small_patch14_dinov2.lvd142m",
    whatsup_a="whatsup-a",
    whatsup_b="whatsup-b",
    mmvp="mmvp",
    mmvp_vlm="mmvp-vlm",
    hardware="network for weights (1.2 GB) and images; a GPU of 6 GB or more (CLIP alone: a CPU)",
)
SCALES = {scale.name: scale for scale in (_MINI, _SMALL, _PAPER)}


def get_scale(name: str | None = None) -> Scale:
    """A scale by name; by default the one in the environment variable ``ERRAGREE_SCALE``, or mini.

    ``ERRAGREE_SEED`` gives another draw of the rendered benchmarks than that of seed 0. At the
    other scales ``ERRAGREE_CLIP``, ``ERRAGREE_MLLM`` and ``ERRAGREE_VISION`` name other models, or
    folders with the published ones.
    """
    chosen = name if name is not None else os.environ.get(VARIABLE) or "mini"
    if chosen not in SCALES:
        origin = "" if name is not None else f" (from the environment variable {VARIABLE})"
        raise ValueError(f"unknown scale {chosen!r}{origin}; choose one of {', '.join(SCALES)}")
    scale, seed = SCALES[chosen], os.environ.get(SEED_VARIABLE)
    if scale.name != "mini":
        named = {role: os.environ.get(variable) for role, variable in MODEL_VARIABLES.items()}
        return replace(scale, **{role: name for role, name in named.items() if name})
    if not seed or scale.seed is None:
        return scale
    if not seed.isdecimal():
        raise ValueError(
            f"the environment variable {SEED_VARIABLE} is {seed!r}; give a whole number from 0 on"
        )
    return replace(scale, draw={"seed": int(seed)})
