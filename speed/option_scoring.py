"""VQAScore the official way and ours, on one model in one run: time, memory, and the decisions.

The official way scores one caption at a time: batch 1, the image encoded again for each. Ours
encodes each image once, in batches, and shares its prefix between captions through the KV cache.
Each image has the four captions of its set, as What'sUp publishes it, and then the two of its pair.
Decisions must agree. With a GPU, also LLaVA-1.5-7B's architecture with random weights in bfloat16
(speed does not depend on the weights), against the rate of plain matrix products.

Run: python speed/option_scoring.py [sets]
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from measuring import matrix_rate, measured
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from erragree_utils import load_benchmark, load_mllm
from erragree_utils.models.mllm import Mllm
from erragree_utils.scoring.questions import VQA_QUESTION
from erragree_utils.study import costs
from erragree_utils.training import llava

SETS = 25
BATCH = {"cpu": 16, "cuda": 32}  # images at a time
TARGETS = {"cpu": 5.0, "cuda": 3.0}
Job = tuple[Image.Image, list[str]]


def official(mllm: Mllm, jobs: list[Job]) -> np.ndarray:
    """P("Yes") caption by caption, each with its image anew."""
    yes = mllm.processor.tokenizer(" Yes", add_special_tokens=False)["input_ids"][-1]
    scores = []
    for image, captions in jobs:
        for caption in captions:
            inputs = mllm.processor(
                images=image, text=mllm.prompt(VQA_QUESTION.format(caption=caption)),
                return_tensors="pt",
            ).to(mllm.device, mllm.dtype)  # fmt: skip
            with torch.inference_mode():
                logits = mllm.model(**inputs, logits_to_keep=1, use_cache=False).logits[0, -1]
            scores.append(logits.float().softmax(-1)[yes].item())
    return np.array(scores).reshape(len(jobs), -1)


def ours(mllm: Mllm, jobs: list[Job]) -> np.ndarray:
    """The same by the package."""
    images, captions = zip(*jobs, strict=True)
    branches = [[(VQA_QUESTION.format(caption=text), "Yes") for text in row] for row in captions]
    scores = mllm.answer_logprobs(images, branches, batch_size=BATCH[mllm.device.type])
    return np.exp([[score.total for score in row] for row in scores])


def compare(mllm: Mllm, jobs: list[Job]) -> float:
    """Print both ways; returns the seconds of ours."""
    for way in (official, ours):
        way(mllm, jobs[:2])  # warm up
    (theirs, slow, theirs_peak), (mine, fast, mine_peak) = (
        measured(lambda way=way: way(mllm, jobs), mllm.device) for way in (official, ours)
    )
    n, target = theirs.size, TARGETS[mllm.device.type]
    print(f"  {len(jobs[0][1])} captions an image")
    print(f"  official: {slow:7.2f} s, {n / slow:7.1f} captions/s, peak {theirs_peak:.2f} GiB")
    print(f"  ours:     {fast:7.2f} s, {n / fast:7.1f} captions/s, peak {mine_peak:.2f} GiB")
    print(f"  ratio {slow / fast:.1f} (target {target:g}, with four captions)")
    best = np.sort(theirs, axis=1)
    gap = best[:, -1] - best[:, -2]
    apart = np.abs(theirs - mine).max()
    same = theirs.argmax(axis=1) == mine.argmax(axis=1)
    print(
        f"  {same.sum()} of {len(same)} decisions agree; scores differ by {apart:.1e} at most, "
        f"closest decision {gap.min():.1e}"
    )
    # Where two captions score the same within rounding, there is no decision to agree on.
    if not same[gap > 2 * apart].all():
        raise SystemExit("the two ways decide differently: one of them is wrong")
    return fast


def mini() -> Mllm:
    """The mini LLaVA, on the CPU."""
    return load_mllm("mini", device="cpu")


def llava_7b(device: torch.device) -> Mllm:
    """LLaVA-1.5-7B's architecture, with random weights and the mini's words."""
    config = costs.llava_15_7b()
    vision, text = config.vision_config, config.text_config
    return random_mllm("LLaVA-1.5-7B, random weights", vision, text, device, torch.bfloat16)


def random_mllm(
    name: str, vision: CLIPVisionConfig, text: LlamaConfig, device: torch.device, dtype: torch.dtype
) -> Mllm:
    """A LLaVA with random weights, made on the device."""
    tokenizer = llava.build_tokenizer()
    tokenizer.model_max_length = text.max_position_embeddings
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
    )
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(default)
    return Mllm(name, model, llava.build_processor(model, tokenizer), device, dtype)


def flops(mllm: Mllm, jobs: list[Job]) -> int:
    """Floating-point operations of our way, counted as it runs."""
    with FlopCounterMode(display=False) as counter:
        ours(mllm, jobs)
    return counter.get_total_flops()


def read_jobs(n_sets: int, size: int | None = None) -> list[Job]:
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


def report(mllm: Mllm, jobs: list[Job]) -> float:
    """Compare with four captions an image, then two; returns the seconds of ours with four."""
    fast = compare(mllm, jobs)
    compare(mllm, [(image, captions[:2]) for image, captions in jobs])
    return fast


def main() -> None:
    """Print the comparison on the CPU and, where there is one, on the GPU."""
    n_sets = int(sys.argv[1]) if len(sys.argv) > 1 else SETS
    jobs, model = read_jobs(n_sets), mini()
    print(f"{model.name}, {torch.get_num_threads()} CPU threads, {len(jobs)} images")
    report(model, jobs)
    if not torch.cuda.is_available():
        print("no CUDA GPU: LLaVA-1.5-7B's architecture is not measured")
        return
    device = torch.device("cuda")
    jobs, model = read_jobs(n_sets, size=336), llava_7b(device)
    print(f"{model.name}, bfloat16 on {torch.cuda.get_device_name(device)}, {len(jobs)} images")
    fast = report(model, jobs)
    rate, peak = flops(model, jobs) / fast, matrix_rate(device, torch.bfloat16)
    print(
        f"  ours: {rate / 1e12:.0f} TFLOP/s, {rate / peak:.2f} of the {peak / 1e12:.0f} TFLOP/s of "
        "plain bfloat16 matrix products (target 0.5)"
    )


if __name__ == "__main__":
    main()
