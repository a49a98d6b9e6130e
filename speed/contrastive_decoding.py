"""What contrastive decoding costs beside greedy, at batch 16: both streams in one batch, or two.

Three ways to answer the same questions in one run: greedy (`Mllm.generate`); contrastive, with the
second stream as further rows of the same batch (`generate_contrastive`); and contrastive in two
passes, a second call of the model for every token, as published code does it. The two contrastive
ways must give the same answers. Answers are one word, or a sentence: the fewer tokens, the more
reading the prompt counts. Where there is no image in the second prompt, it is short; VCD has a
second image to read, and where reading is most of the work, as in short answers on a CPU, that
costs as much again in either way.

With a GPU, also LLaVA-1.5-7B's architecture with random weights in bfloat16; its answers never end
before the 16th token.

Run: python speed/contrastive_decoding.py [images]
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
from measuring import measured
from option_scoring import llava_7b, mini, read_jobs
from PIL import Image
from transformers import DynamicCache, LogitsProcessor

from erragree_utils.decoding import M3ID, VCD, Contrast, TextContrast
from erragree_utils.decoding.contrasts import add_noise
from erragree_utils.decoding.processor import Seeds
from erragree_utils.decoding.streams import generate_contrastive
from erragree_utils.models.engine import Engine
from erragree_utils.models.mllm import Mllm
from erragree_utils.scoring.captions import parse_caption
from erragree_utils.scoring.questions import RELATION_QUESTION, relation_question

IMAGES = 64
BATCH = 16
TOKENS = 16
ROUNDS = 3  # the best of each way counts: other programs disturb single ones
TARGET = 1.3
CONTRASTS = (TextContrast(), M3ID(), VCD())
Answers = Callable[[], list[str]]


class SecondCall(LogitsProcessor):
    """The two-pass way: at each step, the model is called again for the second stream."""

    def __init__(self, engine: Engine, inputs: dict[str, torch.Tensor], contrast: Contrast):
        self.engine, self.pixels, self.contrast = engine, dict(inputs), contrast
        self.ids, self.mask = self.pixels.pop("input_ids"), self.pixels.pop("attention_mask")
        self.cache, self.step = DynamicCache(), 0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
        """Logits (N, V) of the prompts in, the combined ones out."""
        if self.step:
            self.ids, self.pixels = input_ids[:, -1:], {}
            self.mask = torch.cat([self.mask, torch.ones_like(self.ids)], dim=1)
        self.step += 1
        logits = self.engine.forward(
            self.ids, self.mask, self.cache, logits_to_keep=1, **self.pixels
        )
        return self.contrast.combine(scores, logits[:, -1].float(), self.step)


@torch.inference_mode()
def two_pass(
    mllm: Mllm, images: list[Image.Image], questions: list[str], contrast: Contrast
) -> list[str]:
    """Contrastive answers with a second call for every token."""
    engine, answers, entries = mllm.engine, [], list(zip(images, questions, strict=True))
    for first in range(0, len(entries), BATCH):
        batch = entries[first : first + BATCH]
        inputs = engine.inputs(batch, first)
        if contrast.noise_step is None:
            second = engine.inputs([(None, question) for _, question in batch], first)
        else:
            pixels = inputs["pixel_values"]
            noise = Seeds(0).normals(first, [1] * len(batch), pixels)
            second = inputs | {"pixel_values": add_noise(pixels, contrast.noise_step, noise)}
        processor = SecondCall(engine, second, contrast)
        answers += engine.write(inputs, len(batch), first, TOKENS, [processor])
    return answers


def compare(mllm: Mllm, images: list[Image.Image], questions: list[str]) -> None:
    """Print seconds and ratios to greedy of each way; both contrastive ways must agree."""
    ways: dict[str, Answers] = {
        "greedy": lambda: mllm.generate(images, questions, TOKENS, batch_size=BATCH)
    }
    for contrast in CONTRASTS:
        name = type(contrast).__name__
        ways[f"{name}, one batch"] = lambda c=contrast: generate_contrastive(
            mllm, images, questions, c, TOKENS, batch_size=BATCH
        )
        ways[f"{name}, two passes"] = lambda c=contrast: two_pass(mllm, images, questions, c)
    answers = {name: way() for name, way in ways.items()}  # warm up
    seconds = dict.fromkeys(ways, np.inf)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            seconds[name] = min(seconds[name], measured(way, mllm.device)[1])
    words = np.mean([len(answer.split()) for answer in answers["greedy"]])
    print(f"  {questions[0]!r}: {words:.1f} words an answer")
    for name, spent in seconds.items():
        ratio = f"{spent / seconds['greedy']:5.2f} of greedy"
        target = f" (target {TARGET:g})" if "one batch" in name else ""
        print(f"    {name:26} {1e3 * spent / len(images):7.2f} ms an image, {ratio}{target}")
    for contrast in CONTRASTS:
        name = type(contrast).__name__
        pair = zip(answers[f"{name}, one batch"], answers[f"{name}, two passes"], strict=True)
        same = sum(a == b for a, b in pair)
        print(f"    {name}: {same} of {len(images)} answers agree between one batch and two passes")
        # Two tokens may score the same within rounding; more than that is an error.
        if same < 0.95 * len(images):
            raise SystemExit("the two ways answer differently: one of them is wrong")


def report(mllm: Mllm, n: int, size: int = 96) -> None:
    """Compare with answers of one word, and of a sentence."""
    images, questions = [], []
    for image, captions in read_jobs(-(-n // 4), size):  # a set has four images
        statements = [parse_caption(caption) for caption in captions[:2]]
        images.append(image)
        questions.append(
            relation_question(RELATION_QUESTION, statements[0], [s.relation for s in statements])
        )
    compare(mllm, images[:n], questions[:n])
    compare(mllm, images[:n], ["Describe the image."] * n)


def main() -> None:
    """Print the comparison on the CPU and, where there is one, on the GPU."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    model = mini()
    print(f"{model.name}, {torch.get_num_threads()} CPU threads, {n} images, batch {BATCH}")
    report(model, n)
    if not torch.cuda.is_available():
        print("no CUDA GPU: LLaVA-1.5-7B's architecture is not measured")
        return
    model = llava_7b(torch.device("cuda"))
    print(f"{model.name}, bfloat16 on {torch.cuda.get_device_name()}, {n} images, batch {BATCH}")
    report(model, n, size=336)


if __name__ == "__main__":
    main()
