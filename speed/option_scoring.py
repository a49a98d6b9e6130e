"""VQAScore in three plain ways and in ours, on one model in one run: time, memory, decisions.

1. *One caption at a time*, as t2v_metrics scores today: batch 1, the image encoded anew for each.
2. *All captions of an image* in one padded batch, the paper's authors' own loop: the image is
   still encoded once for each caption.
3. *Plain batches* of captions across images, nothing shared.

Ours encodes each image once, in batches, and shares its prefix between captions through the KV
cache. Each image has the four captions of its set, as What'sUp publishes it, and then the two of
its pair. Log-probabilities and decisions must agree within rounding. With a GPU, also
LLaVA-1.5-7B's architecture with random weights in bfloat16 (speed does not depend on the weights),
against the rate of plain matrix products.

Run: python speed/option_scoring.py [sets]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from measuring import Disagreement, Timing, alternated, finish, matrix_rate, told
from PIL import Image
from random_models import ROUNDING, llava_7b
from torch.utils.flop_counter import FlopCounterMode

from erragree_utils import load_benchmark, load_mllm
from erragree_utils.models.mllm import Mllm
from erragree_utils.scoring.questions import VQA_QUESTION

SETS = 25
ROUNDS = {"cpu": 5, "cuda": 3}
BATCH = {"cpu": 16, "cuda": 32}  # images at a time
TARGETS = {4: 5.0, 2: 3.0}  # of the authors' loop to ours, by captions an image
COUNTED = 16  # images whose operations are counted
CLEAR = 0.4  # share of decisions that must lie beyond rounding
Job = tuple[Image.Image, list[str]]
Way = Callable[[Mllm, list[Job]], np.ndarray]


def plain(mllm: Mllm, entries: Sequence[tuple[Image.Image, str]]) -> list[float]:
    """P("Yes") of each caption in one padded batch, each with its image."""
    yes = mllm.processor.tokenizer(" Yes", add_special_tokens=False)["input_ids"][-1]
    images, captions = zip(*entries, strict=True)
    inputs = mllm.processor(
        images=list(images),
        text=[mllm.prompt(VQA_QUESTION.format(caption=caption)) for caption in captions],
        padding=True, padding_side="left", return_tensors="pt",
    ).to(mllm.device, mllm.dtype)  # fmt: skip
    with torch.inference_mode():
        logits = mllm.model(**inputs, logits_to_keep=1, use_cache=False).logits[:, -1]
    return logits.float().softmax(-1)[:, yes].tolist()


def official(mllm: Mllm, jobs: list[Job]) -> np.ndarray:
    """Caption by caption, each with its image anew."""
    return np.array([[plain(mllm, [(image, text)])[0] for text in row] for image, row in jobs])


def authors(mllm: Mllm, jobs: list[Job]) -> np.ndarray:
    """All captions of an image in one batch."""
    return np.array([plain(mllm, [(image, text) for text in row]) for image, row in jobs])


def batched(mllm: Mllm, jobs: list[Job]) -> np.ndarray:
    """Captions in batches across images, as many a batch as ours has images."""
    entries = [(image, text) for image, row in jobs for text in row]
    size = BATCH[mllm.device.type]
    parts = (plain(mllm, entries[k : k + size]) for k in range(0, len(entries), size))
    return np.array([score for part in parts for score in part]).reshape(len(jobs), -1)


def ours(mllm: Mllm, jobs: list[Job]) -> np.ndarray:
    """The same by the package."""
    images, captions = zip(*jobs, strict=True)
    branches = [[(VQA_QUESTION.format(caption=text), "Yes") for text in row] for row in captions]
    scores = mllm.answer_logprobs(images, branches, batch_size=BATCH[mllm.device.type])
    return np.exp([[score.total for score in row] for row in scores])


WAYS: dict[str, Way] = {
    "one caption at a time": official,
    "all captions of an image": authors,
    "plain batches": batched,
    "ours": ours,
}


def compare(mllm: Mllm, jobs: list[Job]) -> dict[str, Timing]:
    """Print and return the timings of all ways."""
    rounds = ROUNDS[mllm.device.type]
    timings = alternated(
        {name: lambda way=way: way(mllm, jobs) for name, way in WAYS.items()}, mllm.device, rounds
    )
    mine, n = timings["ours"], len(jobs[0][1])
    target = f" (target {TARGETS[n]:g})"
    print(f"  {n} captions an image, medians of {rounds} rounds")
    work = {name: flops(mllm, jobs[:COUNTED], way) for name, way in WAYS.items()}
    for name, timing in timings.items():
        beside = "" if timing is mine else (
            f", {timing.over(mine):4.1f} times as long as ours with "
            f"{work[name] / work['ours']:.1f} times the operations"
        )  # fmt: skip
        print(
            f"    {name:25} {n * len(jobs) / timing.seconds:7.1f} captions/s, "
            f"peak {timing.peak:.2f} GiB{beside}{target * (name == 'all captions of an image')}"
        )
    for name, timing in timings.items():
        if timing is not mine:
            scores = [np.log(each.result) for each in (timing, mine)]
            check = partial(agreement, name, *scores, ROUNDING[mllm.dtype])
            print(f"    {name}: {told(check)}")
    return timings


def agreement(name: str, theirs: np.ndarray, mine: np.ndarray, rounding: float) -> str:
    """How many decisions agree.

    Raises
    ------
    Disagreement
        If scores (images, captions) differ beyond rounding, or if most decisions lie within it:
        agreement would then tell nothing.
    """
    apart, best = np.abs(theirs - mine).max(), np.sort(theirs, axis=1)
    clear = best[:, -1] - best[:, -2] > rounding
    same = theirs.argmax(axis=1) == mine.argmax(axis=1)
    if apart > rounding or not same[clear].all():
        raise Disagreement(
            f"{name}: scores differ by {apart:.1e} where rounding explains {rounding:g}, so one of "
            "the two ways is wrong"
        )
    if clear.mean() < CLEAR:
        raise Disagreement(
            f"{name}: only {clear.sum()} of {len(clear)} decisions are beyond rounding, so that "
            "they tell little: give the model weights that spread its scores (random_models.py)"
        )
    return (
        f"{same.sum()} of {len(same)} decisions agree, all {clear.sum()} beyond rounding; scores "
        f"differ by {apart:.1e} at most"
    )


def mini() -> Mllm:
    """The mini LLaVA, on the CPU."""
    return load_mllm("mini", device="cpu")


def flops(mllm: Mllm, jobs: list[Job], way: Way = ours) -> int:
    """Floating-point operations of a way, counted as it runs."""
    with FlopCounterMode(display=False) as counter:
        way(mllm, jobs)
    return counter.get_total_flops()


def read_jobs(n_sets: int, size: int = 96) -> list[Job]:
    """Each image of tabletop-a with the captions of its set, those of its pair first."""
    bench = load_benchmark("tabletop-a", seed=0, n_sets=n_sets, size=size)
    of_set: dict[str, list[str]] = {}
    for pair in bench:
        of_set.setdefault(pair.set_id, []).extend(pair.captions)
    return [
        (image, list(dict.fromkeys([*pair.captions, *of_set[pair.set_id]])))
        for pair in bench
        for image in pair.images
    ]


def report(mllm: Mllm, jobs: list[Job]) -> dict[str, Timing]:
    """Compare with four captions an image, then two; returns the timings with four."""
    timings = compare(mllm, jobs)
    compare(mllm, [(image, captions[:2]) for image, captions in jobs])
    return timings


def main() -> None:
    """Print the comparison on the CPU and, where there is one, on the GPU."""
    n_sets = int(sys.argv[1]) if len(sys.argv) > 1 else SETS
    jobs, model = read_jobs(n_sets), mini()
    print(f"{model.name}, {torch.get_num_threads()} CPU threads, {len(jobs)} images")
    report(model, jobs)
    if not torch.cuda.is_available():
        print("no CUDA GPU: LLaVA-1.5-7B's architecture is not measured")
        return finish()
    device = torch.device("cuda")
    jobs, model = read_jobs(n_sets, size=336), llava_7b(device)
    print(f"{model.name}, bfloat16 on {torch.cuda.get_device_name(device)}, {len(jobs)} images")
    fast = report(model, jobs)["ours"].seconds
    rate, peak = flops(model, jobs) / fast, matrix_rate(device, torch.bfloat16)
    print(
        f"  ours: {rate / 1e12:.0f} TFLOP/s, {rate / peak:.2f} of the {peak / 1e12:.0f} TFLOP/s of "
        "plain bfloat16 matrix products (target 0.6)"
    )
    finish()


if __name__ == "__main__":
    main()
