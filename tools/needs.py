"""Write into the head of every chapter what it takes at paper scale, computed by `study.hardware`.

What a chapter reads is listed here; a test compares the list with the chapter's code.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from erragree_utils.scoring import METHODS
from erragree_utils.study import hardware

ROOT = Path(__file__).resolve().parents[1]
HEAD = "# **At paper scale**, computed "
GPUS = ("T4", "L4", "A100 40 GB", "H100 80 GB")
# Images as published; half of What'sUp A and B are left or right.
A, B, MMVP, MMVP_VLM = map(
    hardware.published_images, ("whatsup-a", "whatsup-b", "mmvp", "mmvp-vlm")
)
#: Image reads that functions take: gradients are a second pass.
FUNCTIONS = {
    "mllm_states": 1,
    "Options": 1,  # at any number of strengths, which share their passes
    "read_frames": METHODS["vqascore"].weight,
    "answer_saliency": 2,
    "patch_states": 2 + 9 * 5,  # both images, then by layer and place
    "diagnose": METHODS["vqascore"].weight + 1,  # answers, and what the tower gives
}


@dataclass(frozen=True)
class Reads:
    """Images that CLIP embeds, and those that LLaVA reads, by method or function."""

    clip: int
    mllm: tuple[tuple[str, int], ...] = ()

    @property
    def passes(self) -> int:
        """Images that LLaVA reads, with those of second streams."""
        return sum(
            n * (FUNCTIONS[how] if how in FUNCTIONS else METHODS[how].weight)
            for how, n in self.mllm
        )


CHAPTERS = {
    "01_cosine_agreement": Reads(A + B),
    "02_clip_matching": Reads(2 * (A + B)),
    "03_same_encoder_new_reader": Reads(
        A + B + A // 2 + 33,
        (
            ("read_frames", 33),
            ("vqascore", A + B),
            ("vqascore-authors", A + B // 2),
            ("prompted-v1", A),
            ("vqascore", 4 * A // 2),  # picture or tokens are changed
            ("patch_states", 2 * 25),
            ("mllm_states", 3 * A // 2),  # random layers come on top of the trained ones
            ("prompted", (A + B) // 2),
            ("vqascore", A // 2),  # another pair's images
            ("answer_saliency", 2 * 25),
            ("vqascore", 3 * 2 * 25),  # parts are covered
        ),
    ),
    "04_is_it_there": Reads(2 * (A + B) // 2),
    "05_does_the_text_ask": Reads(A + B // 2),
    "06_clip_blind_pairs": Reads(
        2 * (MMVP + MMVP_VLM), (("greedy", MMVP), ("vqascore", 2 * MMVP_VLM))
    ),
    "07_contrastive_decoding": Reads(
        0,
        (
            ("greedy", MMVP), ("vcd", MMVP), ("m3id", MMVP), ("text-contrast", MMVP),
            ("m3id-always", MMVP), ("Options", 2 * MMVP),
        ),
    ),
    "08_two_images": Reads(MMVP, (("relative-preference", MMVP), ("two-images", MMVP))),
    "10_your_own_pairs": Reads(4 * A // 2, (("diagnose", A // 2),)),
}  # fmt: skip


def line(reads: Reads) -> str:
    """Memory and time on each class of GPUs, in one line."""
    parts = []
    for gpu in hardware.GPUS:
        if gpu.name in GPUS:
            need, low, high = hardware.chapter_needs(gpu, reads.passes, reads.clip)
            parts.append(f"{gpu.name}: {need / 2**30:.0f} GiB, {hardware.span(low, high)}")
    return f"{HEAD}([how](11_paper_scale.ipynb)), downloads and loading aside: {'; '.join(parts)}."


def write(script: Path, text: str) -> bool:
    """Put the line behind "You need", or in the place of an older one; whether that changed it."""
    before = script.read_text("utf-8")
    without = re.sub(rf"{re.escape(HEAD)}.*\n#\n", "", before)
    after = re.sub(r"(# \*\*You need\*\*.*\n#\n)", lambda m: f"{m[1]}{text}\n#\n", without, count=1)
    if text not in after:
        raise ValueError(f"{script} has no paragraph that begins with **You need**")
    if after != before:
        script.write_text(after, "utf-8")
    return after != before


def main(folder: Path = ROOT / "notebooks") -> int:
    """Write the line into every chapter; `make sync` then carries it over."""
    for name, reads in CHAPTERS.items():
        if write(folder / f"{name}.py", line(reads)):
            print(f"{name}: what it takes at paper scale written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
