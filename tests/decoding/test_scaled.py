"""AdaptVis against a reference: full passes in which attention itself is scaled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.llama import modeling_llama

from erragree_utils.decoding import AdaptVis
from erragree_utils.decoding.scaled import scaling
from erragree_utils.decoding.streams import generate_sampled

QUESTIONS = ["Where is the red mug in relation to the blue table?", "What colour is the mug?"]
OPTIONS = ["left", "to the right"]
METHODS = (
    AdaptVis(threshold=0), AdaptVis(threshold=1), AdaptVis(smooth=0.0, sharpen=3.0, threshold=0.02),
    AdaptVis(smooth=0.3, sharpen=0.3, first_layer=1), AdaptVis(smooth=4, threshold=1, last_layer=0),
)  # fmt: skip
each_method = pytest.mark.parametrize("method", METHODS, ids=repr)


def pictures(n: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    noise = (rng.integers(0, 255, (4, 4, 3), dtype=np.uint8) for _ in range(n))
    return [Image.fromarray(x).resize((50 + 5 * i, 60)) for i, x in enumerate(noise)]


@pytest.fixture(scope="module")
def entries() -> tuple[list, list[str]]:
    a, b, c, d = pictures(4)
    return [a, [b, c], None, d], [*QUESTIONS, *QUESTIONS]


class Reference:
    """One entry; `logits(answer)` (T, V), attention scaled from the prompt's last token on."""

    def __init__(self, mllm, picture, question, method, monkeypatch):
        self.mllm, self.method, self.patch = mllm, method, monkeypatch
        images = [] if picture is None else picture if isinstance(picture, list) else [picture]
        text = mllm.prompt(question, len(images))
        self.inputs = mllm.processor(images=images or None, text=text, return_tensors="pt")
        self.length = self.inputs["input_ids"].shape[1]
        confidence = self._pass([], 1.0)[-1].softmax(-1).max()
        self.factor = method.sharpen if confidence >= method.threshold else method.smooth

    def logits(self, answer: list[int]) -> torch.Tensor:
        return self._pass(answer, self.factor)[self.length - 1 :]

    @torch.no_grad()
    def _pass(self, answer: list[int], factor: float) -> torch.Tensor:
        more = torch.tensor([answer], dtype=torch.long)
        ids = torch.cat([self.inputs["input_ids"], more], dim=1)
        image = ids[0] == self.mllm.processor.image_token_id
        n = len(self.mllm.model.model.language_model.layers)
        layers = range(self.method.first_layer % n, self.method.last_layer % n + 1)

        def attend(module, query, key, value, mask, scaling, **_):
            logits = query @ key.mT * scaling
            if module.layer_idx in layers:
                logits[:, :, self.length - 1 :, image] *= factor
            causal = torch.ones(logits.shape[-2:]).tril().bool()
            weights = logits.masked_fill(~causal, -torch.inf).softmax(-1)
            return (weights @ value).transpose(1, 2), weights

        pixels = {k: v for k, v in self.inputs.items() if k == "pixel_values"}
        with self.patch.context() as patch:
            config = self.mllm.model.model.language_model.config
            patch.setattr(config, "_attn_implementation", "eager")
            patch.setattr(modeling_llama, "eager_attention_forward", attend)
            return self.mllm.model(input_ids=ids, use_cache=False, **pixels).logits[0]


def references(mllm, entries, method, monkeypatch) -> list[Reference]:
    return [Reference(mllm, *entry, method, monkeypatch) for entry in zip(*entries, strict=True)]


@each_method
@pytest.mark.parametrize("batch_size", [1, 4])
def test_options_are_those_of_the_reference(tiny, entries, method, batch_size, monkeypatch):
    found = tiny.option_logprobs(
        *entries, OPTIONS, normalize=False, batch_size=batch_size, change=scaling(method)
    )
    for scores, reference in zip(
        found, references(tiny, entries, method, monkeypatch), strict=True
    ):
        for score, option in zip(scores, OPTIONS, strict=True):
            ids = tiny.processor.tokenizer(" " + option, add_special_tokens=False)["input_ids"]
            logprobs = reference.logits(ids)[:-1].log_softmax(-1)
            expected = logprobs.gather(1, torch.tensor(ids)[:, None]).sum()
            assert score == pytest.approx(float(expected), abs=2e-4)


@each_method
def test_answers_are_those_of_the_reference(tiny, entries, method, monkeypatch):
    texts = tiny.generate(*entries, 4, change=scaling(method))
    for text, reference in zip(texts, references(tiny, entries, method, monkeypatch), strict=True):
        answer: list[int] = []
        while len(answer) < 4:
            answer.append(int(reference.logits(answer)[-1].argmax()))
            if answer[-1] == tiny.model.generation_config.eos_token_id:
                break
        assert text == tiny.processor.tokenizer.decode(answer, skip_special_tokens=True).strip()


def test_a_factor_of_1_changes_nothing_and_others_do(tiny, entries):
    plain = tiny.option_logprobs(*entries, OPTIONS)
    same = tiny.option_logprobs(*entries, OPTIONS, change=scaling(AdaptVis(1.0, 1.0)))
    other = tiny.option_logprobs(*entries, OPTIONS, change=scaling(AdaptVis(0.0, 3.0)))
    np.testing.assert_allclose(same, plain, atol=1e-5)
    changed = np.abs(np.array(other) - plain).max(axis=1) > 1e-3
    assert changed.tolist() == [True, True, False, True]  # the third has no image


def test_sampled_answers_are_drawn_with_it(tiny, entries):
    settings = {"max_new_tokens": 6, "temperature": 0.7}
    plain = generate_sampled(tiny, *entries, **settings)
    same = generate_sampled(tiny, *entries, **settings, change=scaling(AdaptVis(1.0, 1.0)))
    other = generate_sampled(tiny, *entries, **settings, change=scaling(AdaptVis(0.0, 5.0)))
    assert same == plain != other


def test_layers_that_a_model_lacks_are_refused(tiny, entries):
    with pytest.raises(ValueError, match="tiny has layers 0 to 1, not 0 to 2"):
        tiny.generate(*entries, change=scaling(AdaptVis(last_layer=2)))
