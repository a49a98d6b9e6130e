"""Every family against one full pass of its own class, whatever is shared and batched.

``python -m tests.models.test_families`` prints the table of largest deviations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.models.smolvlm import processing_smolvlm
from transformers.quantizers.quantizers_utils import should_convert_module

from erragree_utils.decoding import M3ID, VCD, AdaptVis, Contrast, TextContrast
from erragree_utils.decoding.contrasts import add_noise
from erragree_utils.decoding.processor import Seeds
from erragree_utils.decoding.scaled import scaling
from erragree_utils.decoding.streams import contrastive_option_logprobs, generate_contrastive
from erragree_utils.models import ModelError
from erragree_utils.models.checkpoint import FAMILIES as SUPPORTED
from erragree_utils.models.mllm import Mllm, load_mllm
from erragree_utils.models.precision import EXACT
from erragree_utils.models.saliency import answer_saliency
from erragree_utils.models.states import mllm_states
from tests.models.families import FAMILIES, build, parts

QUESTION, OPTIONS = "Where is the red mug?", ["left", "to the right", "Yes"]
BRANCHES = [
    (QUESTION, "left"),
    ("\nIs it to the left of the mug?", "Yes"),
    (QUESTION, "to the right"),
]
SEED = 5
TOLERANCE = 1e-5


def pictures() -> list[Image.Image]:
    """Of several sizes and shapes."""
    rng = np.random.default_rng(0)
    sizes = ((60, 60), (90, 40), (40, 100), (200, 30), (33, 64))
    noise = [rng.integers(0, 255, (4, 4, 3), dtype=np.uint8) for _ in sizes]
    return [Image.fromarray(x).resize(size) for x, size in zip(noise, sizes, strict=True)]


def entries() -> list:
    a, b, c, d, e = pictures()
    return [a, [b, c], None, d, e, [c, a], b, c]


def pairs() -> list:
    """Two images in each prompt."""
    a, b, c, d, e = pictures()
    return [[a, b], [c, d], [e, a], [b, b], [d, c], [a, e], [c, b], [d, d]]


@lru_cache
def model_of(family: str) -> Mllm:
    return build(family)


# --- the reference: the model's own processor and class, one prompt at a time, no cache ---


def listed(entry: Any) -> list[Image.Image]:
    return [] if entry is None else entry if isinstance(entry, list) else [entry]


def processed(mllm: Mllm, images: list[Image.Image], text: str) -> dict[str, torch.Tensor]:
    flat = type(mllm.processor).__name__ in ("LlavaProcessor", "LlavaNextProcessor")
    return dict(mllm.processor(
        images=(images if flat else [images]) if images else None, text=[text],
        return_tensors="pt", add_special_tokens=not text.startswith("<bos>"),
    ))  # fmt: skip


def noised(mllm: Mllm, inputs: dict, images: list[Image.Image], step: int, index: int) -> dict:
    """The inputs with noise in the pixels of each image."""
    whole = inputs["pixel_values"]
    if len(images) == len(whole):
        blocks, dim = whole.split(1), 0
    else:  # crops or patches, whose number is told by what an image gives by itself
        dim = 1 if whole.ndim == 5 else 0
        alone = [processed(mllm, [x], mllm.processor.image_token)["pixel_values"] for x in images]
        blocks = whole.split([len(x) if dim == 0 else x.shape[1] for x in alone], dim)
    found = []
    for k, block in enumerate(blocks):
        frames = 2 if block.ndim == 2 else 1
        noise = Seeds(SEED).normals((index, k), block, frames)
        if frames == 2:  # the same in both
            assert torch.equal(*noise.view(len(block), 3, 2, -1).unbind(2))
        found.append(add_noise(block, step, noise))
    return inputs | {"pixel_values": torch.cat(found, dim)}


class Full:
    """Full passes about an entry, of both streams with a contrast."""

    def __init__(self, mllm: Mllm, entry: Any, index: int = 0, contrast: Contrast | None = None):
        self.mllm, self.images, self.index, self.contrast = mllm, listed(entry), index, contrast

    @torch.no_grad()
    def logits(self, question: str, answer: str | list[int], second: bool = False) -> torch.Tensor:
        """Of all tokens of a prompt with an answer."""
        mllm, step = self.mllm, self.contrast.noise_step if second else None
        images = [] if second and step is None else self.images
        prompt = mllm.prompt(question, len(images))
        if isinstance(answer, str):
            inputs = processed(
                mllm, images, prompt + ("" if prompt[-1].isspace() else " ") + answer
            )
        else:
            inputs = processed(mllm, images, prompt)
            more = torch.tensor([answer], dtype=torch.long)
            for key in ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"):
                if key in inputs:
                    new = {"input_ids": more, "attention_mask": torch.ones_like(more)}
                    inputs[key] = torch.cat(
                        [inputs[key], new.get(key, torch.zeros_like(more))], dim=1
                    )
        if images and step is not None:
            inputs = noised(mllm, inputs, images, step, self.index)
        return mllm.model(**inputs, use_cache=False).logits[0]

    def tokens(self, question: str, answer: str) -> torch.Tensor:
        prompt = self.mllm.prompt(question, 0)
        words = ("" if prompt[-1].isspace() else " ") + answer
        ids = self.mllm.processor.tokenizer(words, add_special_tokens=False)["input_ids"]
        return torch.tensor(ids)

    def answer_logits(self, question: str, answer: str, second: bool = False) -> torch.Tensor:
        """Those that predict an answer."""
        n = len(self.tokens(question, answer))
        return self.logits(question, answer, second)[-n - 1 : -1]

    def option(self, question: str, answer: str) -> float:
        """Mean log-likelihood of an answer, under the contrast if there is one."""
        tokens, logits = self.tokens(question, answer), self.answer_logits(question, answer)
        if self.contrast is not None:
            second = self.answer_logits(question, answer, second=True)
            logits = torch.cat([
                self.contrast.combine(logits[t : t + 1], second[t : t + 1], t + 1)
                for t in range(len(tokens))
            ])  # fmt: skip
        return float(logits.log_softmax(-1).gather(1, tokens[:, None]).mean())

    def written(self, question: str, length: int) -> str:
        """Greedy text, each token from full passes of the whole prompt."""
        answer: list[int] = []
        while len(answer) < length:
            logits = self.logits(question, answer)[-1:]
            if self.contrast is not None:
                second = self.logits(question, answer, second=True)[-1:]
                logits = self.contrast.combine(logits, second, len(answer) + 1)
            answer.append(int(logits.argmax()))
            if answer[-1] in np.atleast_1d(self.mllm.model.generation_config.eos_token_id):
                break
        return self.mllm.processor.tokenizer.decode(answer, skip_special_tokens=True).strip()


# --- the columns of the table: largest deviation from full passes ---


def scoring(mllm: Mllm, batch_size: int, shown: Callable = entries) -> float:
    """Logits of answers to several questions about an entry."""
    worst, all_entries = 0.0, shown()
    for first in range(0, len(all_entries), batch_size):
        batch = all_entries[first : first + batch_size]
        with torch.inference_mode():
            heads = mllm.engine.heads([(entry,) for entry in batch], first)
            found = list(mllm.engine.answers([heads], [BRANCHES] * len(batch), first))
        assert len(found) == len(batch) * len(BRANCHES)
        for i, k, (logits,), tokens in found:
            full = Full(mllm, batch[i])
            assert torch.equal(tokens, full.tokens(*BRANCHES[k]))
            worst = max(worst, float((logits - full.answer_logits(*BRANCHES[k])).abs().max()))
    return worst


def two_images(mllm: Mllm, batch_size: int) -> float:
    """The same with two images in each prompt."""
    return scoring(mllm, batch_size, pairs)


def options(mllm: Mllm, batch_size: int) -> float:
    found = mllm.option_logprobs(entries(), QUESTION, OPTIONS, batch_size=batch_size)
    full = [[Full(mllm, entry).option(QUESTION, x) for x in OPTIONS] for entry in entries()]
    return float(np.abs(np.array(found) - full).max())


def prompt(mllm: Mllm, batch_size: int) -> float:
    """Share of written answers that differ."""
    found = mllm.generate(entries(), QUESTION, 3, batch_size)
    return float(np.mean([
        text != Full(mllm, entry).written(QUESTION, 3)
        for text, entry in zip(found, entries(), strict=True)
    ]))  # fmt: skip


def _contrasted(contrast: Contrast) -> Callable[[Mllm, int], float]:
    def deviation(mllm: Mllm, batch_size: int) -> float:
        settings = {"seed": SEED, "batch_size": batch_size}
        scores = contrastive_option_logprobs(
            mllm, entries(), QUESTION, OPTIONS, [contrast], **settings
        )
        texts = generate_contrastive(mllm, entries(), QUESTION, contrast, 2, **settings)
        worst = 0.0
        for i, entry in enumerate(entries()):
            full = Full(mllm, entry, i, contrast)
            expected = [full.option(QUESTION, option) for option in OPTIONS]
            worst = max(worst, float(np.abs(scores[i][0] - expected).max()))
            assert texts[i] == full.written(QUESTION, 2)
        return worst

    return deviation


def states(mllm: Mllm, batch_size: int) -> float:
    """Hidden states at the last token, and at images of one size."""
    shown = pictures()
    found = mllm_states(mllm, shown, QUESTION, only="last", batch_size=batch_size)
    worst = 0.0
    for i, image in enumerate(shown):
        inputs = processed(mllm, [image], mllm.prompt(QUESTION))
        with torch.no_grad():
            full = mllm.model(**inputs, use_cache=False, output_hidden_states=True).hidden_states
        for layer in range(len(full) - 1):  # the last one is after the norm
            mine = found[f"layer {layer} last"][i]
            worst = max(worst, float(np.abs(mine - full[layer][0, -1].numpy()).max()))
    return worst


COLUMNS: dict[str, Callable[[Mllm, int], float]] = {
    "score": scoring, "options": options, "prompt": prompt, "two images": two_images,
    "VCD": _contrasted(VCD(beta=0)), "M3ID": _contrasted(M3ID(threshold=1)),
    "text contrast": _contrasted(TextContrast()), "states": states,
}  # fmt: skip
each_family = pytest.mark.parametrize("family", FAMILIES)


def test_all_families_are_here():
    assert set(FAMILIES) == set(SUPPORTED)


@each_family
@pytest.mark.parametrize("column", COLUMNS)
def test_it_is_what_a_full_pass_gives(family, column):
    # What all else is built on also with one entry at a time.
    for batch_size in (1, 8) if column in ("score", "two images") else (8,):
        assert COLUMNS[column](model_of(family), batch_size) <= TOLERANCE


@each_family
def test_answers_depend_on_images_so_that_a_wrong_one_would_show(family):
    a, b, *_ = (image.resize((64, 64)) for image in pictures())
    first, second = model_of(family).option_logprobs([a, b], QUESTION, OPTIONS)
    assert np.abs(first - second).max() > 1000 * TOLERANCE


@each_family
def test_it_is_loaded_from_its_files(family, tmp_path):
    model, processor = parts(family)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = load_mllm(tmp_path, device="cpu")
    found, expected = (
        m.option_logprobs(pictures(), QUESTION, OPTIONS) for m in (loaded, model_of(family))
    )
    if loaded.square is None:  # LLaVA-1.5's images are padded to squares
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@each_family
def test_all_but_the_language_models_layers_stays_exact_where_weights_are_quantized(family):
    model = model_of(family).model
    layers = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    chosen = {name for name in layers if should_convert_module(name, EXACT)}
    decoder = next(n for n, m in model.named_modules() if m is model.get_decoder())
    assert chosen == {name for name in layers if name.startswith(f"{decoder}.layers")} != set()


def test_smolvlm2_names_the_package_that_its_processor_needs(tmp_path, monkeypatch):
    parts("smolvlm")[0].save_pretrained(tmp_path)
    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    with pytest.raises(ModelError, match="needs the package num2words: run pip install num2words"):
        load_mllm(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("family", "version", "least"),
    [("idefics3", "5.14.1", "5.15"), ("qwen3_vl", "5.17.0", "5.18"), ("gemma3", "5.9", "5.15")],
)
def test_a_version_of_transformers_that_is_too_old_is_named(
    family, version, least, tmp_path, monkeypatch
):
    parts(family)[0].save_pretrained(tmp_path)
    monkeypatch.setattr(transformers, "__version__", version)
    told = f"needs Transformers {least} or newer, not {version}: run pip install -U transformers"
    with pytest.raises(ModelError, match=told):
        load_mllm(tmp_path, device="cpu")


@each_family
def test_images_that_are_remembered_are_read_the_same(family):
    mllm = model_of(family)
    expected = mllm.option_logprobs(entries(), QUESTION, OPTIONS)
    with mllm.engine.remembering():
        for _ in (1, 2):
            found = mllm.option_logprobs(entries()[::-1], QUESTION, OPTIONS)[::-1]
            np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@each_family
def test_attention_that_is_scaled_by_1_is_that_of_a_full_pass(family):
    """With AdaptVis all but the last token of a prompt is read first, in every family's way."""
    mllm, change = model_of(family), scaling(AdaptVis(smooth=1, sharpen=1))
    found = mllm.option_logprobs(entries(), QUESTION, OPTIONS, change=change)
    full = [[Full(mllm, entry).option(QUESTION, x) for x in OPTIONS] for entry in entries()]
    np.testing.assert_allclose(found, full, atol=TOLERANCE)
    texts = mllm.generate(entries(), QUESTION, 3, change=change)
    assert texts == mllm.generate(entries(), QUESTION, 3)
    other = mllm.option_logprobs(entries(), QUESTION, OPTIONS, change=scaling(AdaptVis(0, 3)))
    moved = np.abs(np.array(other) - found).max(axis=1) > 10 * TOLERANCE
    assert moved.tolist() == [entry is not None for entry in entries()]


@each_family
def test_questions_that_hold_an_image_token_are_refused(family):
    mllm = model_of(family)
    for token in {mllm.processor.image_token, mllm.engine.sign}:
        with pytest.raises(ValueError, match="holds the image token itself"):
            mllm.option_logprobs(pictures()[:1], f"Where is {token}?", OPTIONS)


@pytest.mark.parametrize("family", ["llava", "vipllava", "gemma3"])
def test_saliency_is_a_map_where_image_tokens_are_a_square(family):
    found = answer_saliency(model_of(family), pictures(), QUESTION, ("left", "to"))
    assert found.shape[0] == 5 and found.shape[1] == found.shape[2] > 1 and found.std() > 0


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "idefics3", "smolvlm", "internvl"])
def test_and_is_refused_where_they_are_not(family):
    with pytest.raises(ModelError, match="not a square of patches: give a model of LLaVA-1.5's"):
        answer_saliency(model_of(family), pictures(), QUESTION, ("left", "to"))


if __name__ == "__main__":
    print("| family |", " | ".join(COLUMNS), "|")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name in FAMILIES:
        cells = [max(column(model_of(name), n) for n in (1, 8)) for column in COLUMNS.values()]
        print(f"| {name} |", " | ".join(f"{cell:.0e}" if cell else "0" for cell in cells), "|")
