"""What contrastive decoding costs beside greedy, at batch 16: both streams in one batch, or two.

Three ways to answer the same questions in one run: greedy (`Mllm.generate`); contrastive, with the
second stream as further rows of the same batch (`generate_contrastive`); and contrastive in two
passes, a second call of the model for every token, as published code does it. The two contrastive
ways must choose the same tokens wherever the best two differ by more than rounding. Answers are one
word, or a sentence: the fewer tokens, the more reading the prompt counts.

Without an image the second prompt is short. VCD has a second image to read: where reading is all
the work, as in short answers, two image reads are its floor, whichever way it is computed.

With a GPU, also LLaVA-1.5-7B's architecture with random weights in bfloat16. Its answers never end
by themselves, so the short ones are cut off after one token.

Run: python speed/contrastive_decoding.py [images]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from measuring import Disagreement, alternated, finish, told
from option_scoring import mini, read_jobs
from PIL import Image
from random_models import ROUNDING, llava_7b
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
ROUNDS = {"cpu": 5, "cuda": 3}
CONTRASTS = {TextContrast(): 1.2, M3ID(): 1.2, VCD(): 1.7}  # with the target beside greedy
AGREE = 0.95  # of the tokens that are decided: VCD also cuts off by a threshold


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
    mllm: Mllm,
    images: list[Image.Image],
    questions: list[str],
    contrast: Contrast,
    tokens: int = TOKENS,
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
            noise = torch.cat([
                Seeds(0).normals((first + i, 0), pixels[i : i + 1]) for i in range(len(batch))
            ])  # fmt: skip
            second = inputs | {"pixel_values": add_noise(pixels, contrast.noise_step, noise)}
        processor = SecondCall(engine, second, contrast)
        answers += engine.write(inputs, len(batch), first, tokens, [processor])
    return answers


class Recorded:
    """A contrast that remembers the best token of each step, and how far it is ahead."""

    def __init__(self, contrast: Contrast):
        self.contrast, self.noise_step = contrast, contrast.noise_step
        self.steps: list[tuple[int, torch.Tensor, torch.Tensor]] = []

    def combine(self, conditional: torch.Tensor, second: torch.Tensor, step: int) -> torch.Tensor:
        """Logits (N, V) of both streams in, the combined ones out."""
        combined = self.contrast.combine(conditional, second, step)
        best = combined.float().topk(2, dim=-1)
        gaps = best.values[:, 0] - best.values[:, 1]
        self.steps.append((step, best.indices[:, 0].cpu(), gaps.cpu()))
        return combined

    def answers(self) -> list[list[tuple[int, float]]]:
        """Of each entry the (token, gap) of all steps."""
        rows: list[list[tuple[int, float]]] = []
        for step, tokens, gaps in self.steps:
            if step == 1:
                batch: list[list[tuple[int, float]]] = [[] for _ in tokens]
                rows += batch
            for row, token, gap in zip(batch, tokens.tolist(), gaps.tolist(), strict=True):
                row.append((token, gap))
        return rows


def decided(theirs: Recorded, mine: Recorded, rounding: float, end: int) -> tuple[int, int]:
    """Tokens that agree, and tokens that are decided: beyond rounding, as all before them are."""
    agree = decided = 0
    for row, other in zip(theirs.answers(), mine.answers(), strict=True):
        for (token, gap), (found, _) in zip(row, other, strict=False):
            if gap <= rounding:
                break
            decided += 1
            if token != found:
                break
            agree += 1
            if token == end:
                break
    return agree, decided


def check(
    mllm: Mllm,
    images: list[Image.Image],
    questions: list[str],
    contrast: Contrast,
    tokens: int = TOKENS,
) -> str:
    """How many tokens agree between one batch and two passes; a `Disagreement` if they do not."""
    one, two = Recorded(contrast), Recorded(contrast)
    generate_contrastive(mllm, images, questions, one, tokens, batch_size=BATCH)
    two_pass(mllm, images, questions, two, tokens)
    end = mllm.processor.tokenizer.eos_token_id
    agree, n = decided(two, one, ROUNDING[mllm.dtype], end)
    if n < len(images) / 2 or agree < AGREE * n:
        raise Disagreement(
            f"{type(contrast).__name__}: {agree} of {n} decided tokens agree between one batch and "
            f"two passes, of {len(images)} answers: one of the ways is wrong, or the model decides "
            "too little"
        )
    return f"{agree} of {n} tokens that are decided beyond rounding agree"


def compare(
    mllm: Mllm, images: list[Image.Image], questions: list[str], tokens: int = TOKENS
) -> None:
    """Print times and ratios to greedy of each way; both contrastive ways must agree."""
    rounds = ROUNDS[mllm.device.type]
    ways: dict[str, Callable[[], list[str]]] = {
        "greedy": lambda: mllm.generate(images, questions, tokens, batch_size=BATCH)
    }
    targets = {}
    for contrast, target in CONTRASTS.items():
        name = type(contrast).__name__
        targets[f"{name}, one batch"] = f" (target {target:g})"
        ways[f"{name}, one batch"] = lambda c=contrast: generate_contrastive(
            mllm, images, questions, c, tokens, batch_size=BATCH
        )
        ways[f"{name}, two passes"] = lambda c=contrast: two_pass(
            mllm, images, questions, c, tokens
        )
    timings = alternated(ways, mllm.device, rounds)
    greedy = timings["greedy"]
    words = np.mean([len(answer.split()) for answer in greedy.result])
    print(
        f"  {questions[0]!r}: {words:.1f} words an answer, {tokens} tokens at most, "
        f"medians of {rounds} rounds"
    )
    for name, timing in timings.items():
        print(
            f"    {name:26} {1e3 * timing.seconds / len(images):7.2f} ms an image, "
            f"{timing.over(greedy):5.2f} of greedy{targets.get(name, '')}"
        )
    print("    VCD reads two images where greedy reads one: 2 is its floor if reading is all")
    for contrast in CONTRASTS:
        told_of = told(partial(check, mllm, images, questions, contrast, tokens))
        print(f"    {type(contrast).__name__}: {told_of}")


def report(mllm: Mllm, n: int, size: int = 96, short: int = TOKENS) -> None:
    """Compare with answers of one word, and of a sentence.

    Short answers of a model that never ends them are `short` tokens long.
    """
    images, questions = [], []
    for image, captions in read_jobs(-(-n // 4), size):  # a set has four images
        statements = [parse_caption(caption) for caption in captions[:2]]
        images.append(image)
        questions.append(
            relation_question(RELATION_QUESTION, statements[0], [s.relation for s in statements])
        )
    compare(mllm, images[:n], questions[:n], short)
    compare(mllm, images[:n], ["Describe the image."] * n)


def main() -> None:
    """Print the comparison on the CPU and, where there is one, on the GPU."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    model = mini()
    print(f"{model.name}, {torch.get_num_threads()} CPU threads, {n} images, batch {BATCH}")
    report(model, n)
    if not torch.cuda.is_available():
        print("no CUDA GPU: LLaVA-1.5-7B's architecture is not measured")
        return finish()
    model = llava_7b(torch.device("cuda"))
    print(f"{model.name}, bfloat16 on {torch.cuda.get_device_name()}, {n} images, batch {BATCH}")
    report(model, n, size=336, short=1)
    finish()


if __name__ == "__main__":
    main()
