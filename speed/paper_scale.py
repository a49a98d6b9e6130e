"""The study's three kinds of work, the official way and ours, at the published architectures.

Embedding with CLIP, scoring options with LLaVA, writing answers with LLaVA. The official way takes
one image and one caption at a time (batch 1), and encodes the image again for each caption. Both
ways run in one process on the same images, and must decide alike. With a GPU: CLIP ViT-L/14 at
336 px and LLaVA-1.5-7B, with random weights (speed does not depend on them), LLaVA in bfloat16. On
a CPU: the mini CLIP, and a LLaVA with 576 patch tokens as the real one, 400 times smaller.

Option scoring is also measured in the authors' own loop and in plain batches (`option_scoring`),
and set against the rate of plain matrix products that this device reaches; its operations are
counted as it runs. Its memory stands beside the estimate of `study.costs`. At the end, contrastive
decoding beside greedy (`contrastive_decoding`): this one command measures all that needs a GPU. One
of at least 16 GiB that computes in bfloat16 is enough; batches as large as these take 28 GiB, and
are halved where there is less. By the rates that one H100 gave, the whole takes about seven
minutes there. A check that fails is printed, the rest is measured all the same, and the exit status
is 1.

Run: python speed/paper_scale.py [sets]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import contrastive_decoding
import numpy as np
import torch
from measuring import GIB, Timing, alternated, finish, matrix_rate, told
from option_scoring import BATCH, Job, agreement, flops, read_jobs, report
from random_models import llava_7b, random_mllm
from transformers import CLIPVisionConfig, LlamaConfig

from erragree_utils import load_clip
from erragree_utils.models import Clip, memory
from erragree_utils.models.mllm import Mllm
from erragree_utils.scoring.captions import parse_caption
from erragree_utils.scoring.questions import RELATION_QUESTION, relation_question

SETS = {"cpu": 1, "cuda": 12}  # of four images
ROUNDS = 3
MATRIX = {"cpu": 1024, "cuda": 8192}
TOKENS = 8
OVERALL, SHARE = 5.0, 0.6  # targets on one H100
#: By how much two cosines of one pair may differ through rounding: on a GPU, convolutions round to
#: TF32, and by another kernel for each size of batch.
COSINES = {"cpu": 1e-6, "cuda": 1e-4}
CONTRASTED = 32  # images that are answered by contrastive decoding, at most
Way = Callable[[Any, list[Job]], np.ndarray]


def small_llava(device: torch.device) -> Mllm:
    """LLaVA-1.5's image tokens, before a language model that a CPU can run."""
    vision = CLIPVisionConfig(
        hidden_size=192, intermediate_size=768, num_hidden_layers=6, num_attention_heads=3,
        image_size=336, patch_size=14, projection_dim=192,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6,
        vocab_size=4096, max_position_embeddings=4096,
    )  # fmt: skip
    return random_mllm("a small LLaVA, random weights", vision, text, device, torch.float32)


# --- the two ways --------------------------------------------------------------------------------


def official_cosines(clip: Clip, jobs: list[Job]) -> np.ndarray:
    """Cosines (images, captions), each with its image and its caption anew."""
    return np.array([
        [(clip.embed_images([image]) @ clip.embed_texts([text]).T).item() for text in captions]
        for image, captions in jobs
    ])  # fmt: skip


def our_cosines(clip: Clip, jobs: list[Job]) -> np.ndarray:
    """The same with each image and each different caption once, in batches."""
    images = clip.embed_images([image for image, _ in jobs])
    texts = list(dict.fromkeys(text for _, captions in jobs for text in captions))
    place, embedded = {text: i for i, text in enumerate(texts)}, clip.embed_texts(texts)
    rows = [[place[text] for text in captions] for _, captions in jobs]
    return np.einsum("nd,nkd->nk", images, embedded[rows])


def questions(jobs: list[Job]) -> list[str]:
    """A question about each image, to be answered in words."""
    statements = [[parse_caption(text) for text in captions] for _, captions in jobs]
    return [
        relation_question(RELATION_QUESTION, row[0], [s.relation for s in row])
        for row in statements
    ]


def written(mllm: Mllm, jobs: list[Job], batch_size: int) -> np.ndarray:
    """Answers of `TOKENS` tokens at most."""
    images = [image for image, _ in jobs]
    return np.array(mllm.generate(images, questions(jobs), TOKENS, batch_size=batch_size))


# --- measuring -----------------------------------------------------------------------------------


def compare(
    name: str,
    model: Any,
    jobs: list[Job],
    ways: tuple[Way, Way],
    agrees: Callable[[np.ndarray, np.ndarray], str],
) -> tuple[Timing, Timing]:
    """Measure the official way and ours on one model in turn, and print the medians."""
    theirs, mine = alternated(
        {str(k): lambda way=way: way(model, jobs) for k, way in enumerate(ways)},
        model.device, ROUNDS,
    ).values()  # fmt: skip
    n = len(jobs)
    print(
        f"  {name:15} official {n / theirs.seconds:7.2f} images/s, ours {n / mine.seconds:7.2f}, "
        f"ratio {theirs.over(mine):4.1f}; peak {theirs.peak:.2f} and {mine.peak:.2f} GiB; "
        f"{told(lambda: agrees(theirs.result, mine.result))}"
    )
    return theirs, mine


def equal_answers(theirs: np.ndarray, mine: np.ndarray) -> str:
    """How many written answers are equal; a token may be chosen among two that score alike."""
    return f"{(theirs == mine).sum()} of {len(mine)} answers equal"


def main() -> None:
    """Print the three comparisons, the share of the matrix rate, and the memory."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    n_sets = int(sys.argv[1]) if len(sys.argv) > 1 else SETS[device.type]
    jobs = read_jobs(n_sets, size=336)
    clip = load_clip(*(("ViT-L-14-336", False) if on_gpu else ("mini",)), device=device)
    mllm = (llava_7b if on_gpu else small_llava)(device)
    batch, dtype = BATCH[device.type], str(mllm.dtype).removeprefix("torch.")
    where = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} CPU threads"
    size = memory.model_size(mllm.model.config)
    print(f"{where}; {len(jobs)} images with {len(jobs[0][1])} captions each, batch {batch}")
    print(f"{clip.name}, float32; {mllm.name}, {size.total / 1e6:,.0f} million parameters, {dtype}")
    stages = [
        compare(
            "CLIP embedding", clip, jobs, (official_cosines, our_cosines),
            lambda a, b: agreement("CLIP embedding", a, b, COSINES[device.type]),
        )
    ]  # fmt: skip
    del clip
    print("option scoring")
    timings = report(mllm, jobs)
    scoring = timings["ours"]
    one_by_one, batched = (
        lambda model, some, n=n: written(model, some, batch_size=n) for n in (1, batch)
    )
    stages.append((timings["one caption at a time"], scoring))
    stages.append(compare("generation", mllm, jobs, (one_by_one, batched), equal_answers))
    slow, fast = (sum(stage[k].seconds for stage in stages) for k in (0, 1))
    print(f"  overall ratio {slow / fast:.1f} (target on an H100: {OVERALL:g})")
    rate = flops(mllm, jobs) / scoring.seconds
    peak = matrix_rate(device, mllm.dtype, MATRIX[device.type])
    print(
        f"  option scoring: {rate / 1e12:.3g} TFLOP/s, {rate / peak:.2f} of the {peak / 1e12:.3g} "
        f"TFLOP/s of plain {dtype} matrix products here (target on an H100: {SHARE:g})"
    )
    need = memory.memory_need(mllm.model.config, dtype, min(batch, len(jobs)))["needed"] / GIB
    print(
        f"  option scoring: {scoring.peak:.2f} GiB at the peak; by the formula {need:.2f} GiB"
        + ("" if on_gpu else " on a GPU (here the peak is of the whole process)")
    )
    print("contrastive decoding")
    contrastive_decoding.report(mllm, min(len(jobs), CONTRASTED), size=336, short=1)
    if not on_gpu:
        print("no CUDA GPU: the published architectures are not measured")
    finish()


if __name__ == "__main__":
    main()
