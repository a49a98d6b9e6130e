"""Contrastive decoding against a reference: one prompt at a time, no cache, both streams apart.

What combines the streams, and what noises an image, is tested in `test_contrasts`.
"""

from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import nn

from erragree_utils.decoding import M3ID, VCD, Contrast, TextContrast
from erragree_utils.decoding.contrasts import add_noise
from erragree_utils.decoding.processor import Seeds, named_seed
from erragree_utils.decoding.streams import (
    combined_logprobs,
    contrastive_option_logprobs,
    generate_contrastive,
    generate_sampled,
    option_streams,
)
from erragree_utils.models import EncodeError
from erragree_utils.models.batches import Room
from erragree_utils.models.mllm import Mllm

# Two thresholds of M3ID, so that it corrects at some steps and at others not.
CONTRASTS = (VCD(), M3ID(threshold=0.05), M3ID(), TextContrast(), VCD(alpha=0.5, beta=0.3))
STRENGTH_0 = (VCD(alpha=0), M3ID(decay=0), M3ID().with_strength(0), TextContrast(strength=0))
SEED, LENGTH = 3, 5
each_contrast = pytest.mark.parametrize("contrast", CONTRASTS, ids=repr)


def pictures(n: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    noise = (rng.integers(0, 255, (4, 4, 3), dtype=np.uint8) for _ in range(n))
    return [Image.fromarray(x).resize((50 + 5 * i, 60)) for i, x in enumerate(noise)]


@pytest.fixture(scope="module")
def entries() -> tuple[list, list[str]]:
    """Prompts of different lengths, with one image, two, or none."""
    a, b, c, d = pictures(4)
    questions = [
        "Where is the red mug in relation to the blue table?", "How many things are in the image?",
        "What colour is the mug?", "Is there a red mug in the image?", "Describe the image.",
    ]  # fmt: skip
    return [a, b, [c, d], None, a], questions


# --- the reference -------------------------------------------------------------------------------


def as_list(picture) -> list[Image.Image]:
    return [] if picture is None else picture if isinstance(picture, list) else [picture]


class Reference:
    """One entry; `logits(answer)` gives both streams' logits for the token after an answer."""

    def __init__(self, mllm: Mllm, picture, question: str, contrast, index: int = 0):
        self.mllm, self.contrast = mllm, contrast
        images = as_list(picture)
        self.inputs = [self._prompt(images, question), self._prompt([], question)]
        if contrast.noise_step is not None:
            noised = self._prompt(images, question)
            if images:
                pixels = noised["pixel_values"]
                noise = torch.cat([
                    Seeds(SEED).normals((index, k), pixels[k : k + 1]) for k in range(len(images))
                ])  # fmt: skip
                noised["pixel_values"] = add_noise(pixels, contrast.noise_step, noise)
            self.inputs[1] = noised

    def _prompt(self, images, question):
        text = self.mllm.prompt(question, len(images))
        return self.mllm.processor(images=images or None, text=text, return_tensors="pt")

    @torch.no_grad()
    def logits(self, answer: list[int]) -> list[torch.Tensor]:
        found = []
        for inputs in self.inputs:
            ids = torch.cat([inputs["input_ids"], torch.tensor([answer], dtype=torch.long)], dim=1)
            more = {"attention_mask": torch.ones_like(ids), "use_cache": False}
            more |= {k: v for k, v in inputs.items() if k in ("pixel_values", "image_sizes")}
            found.append(self.mllm.model(input_ids=ids, **more).logits[0, -1])
        return found

    def combined(self, answer: list[int]) -> torch.Tensor:
        """Log-probabilities of the next token."""
        streams = (logits[None] for logits in self.logits(answer))
        return self.contrast.combine(*streams, len(answer) + 1)[0].log_softmax(-1)

    def decode(self, pick, length: int = LENGTH, eos: int | None = None) -> list[int]:
        """Tokens, each picked from the log-probabilities, up to the end-of-answer token."""
        answer: list[int] = []
        while len(answer) < length and (not answer or answer[-1] != eos):
            answer.append(int(pick(self.combined(answer), len(answer))))
        return answer


def references(mllm, entries, contrast) -> list[Reference]:
    rows = enumerate(zip(*entries, strict=True))
    return [Reference(mllm, *entry, contrast, i) for i, entry in rows]


def likeliest(logprobs: torch.Tensor, step: int) -> torch.Tensor:
    return logprobs.argmax()


def text(mllm: Mllm, tokens: list[int]) -> str:
    return mllm.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()


# --- generation ----------------------------------------------------------------------------------


class Recorded(Contrast):
    """Keeps what it combined."""

    def __init__(self, inner: Contrast):
        self.inner, self.noise_step, self.seen = inner, inner.noise_step, []

    def combine(self, conditional, contrast, step):
        self.seen.append(self.inner.combine(conditional, contrast, step).log_softmax(-1))
        return self.seen[-1]

    def with_strength(self, strength):
        return Recorded(self.inner.with_strength(strength))


def answers(mllm, entries, contrast, **more) -> list[str]:
    settings = {"max_new_tokens": LENGTH, "seed": SEED} | more
    return generate_contrastive(mllm, *entries, contrast, **settings)


@pytest.fixture
def eos(tiny, entries):
    """An end-of-answer token that ends one of the answers early, and not all of them."""
    tokens = [r.decode(likeliest) for r in references(tiny, entries, TextContrast())]
    chosen = next(t for row in tokens for t in row[1:3] if not all(t in r for r in tokens))
    before = tiny.model.generation_config.eos_token_id
    tiny.model.generation_config.eos_token_id = chosen
    yield chosen
    tiny.model.generation_config.eos_token_id = before


class TestGenerate:
    @each_contrast
    def test_every_step_is_that_of_the_reference(self, tiny, entries, contrast):
        recorded = Recorded(contrast)
        found = answers(tiny, entries, recorded)
        for i, reference in enumerate(references(tiny, entries, contrast)):
            tokens = reference.decode(likeliest)
            assert found[i] == text(tiny, tokens)
            expected = torch.stack([reference.combined(tokens[:t]) for t in range(len(tokens))])
            mine = torch.stack([step[i] for step in recorded.seen])
            torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)

    def test_the_methods_answer_differently(self, tiny, entries):
        plain = tiny.generate(*entries, max_new_tokens=LENGTH)
        assert all(answers(tiny, entries, c) != plain for c in (VCD(), TextContrast()))

    def test_entries_without_an_image_get_the_plain_answer(self, tiny, entries):
        plain = tiny.generate(*entries, max_new_tokens=LENGTH)[3]
        assert {answers(tiny, entries, contrast)[3] for contrast in CONTRASTS} == {plain}

    @pytest.mark.parametrize("contrast", STRENGTH_0, ids=repr)
    def test_strength_0_is_greedy_token_for_token(self, tiny, entries, contrast):
        plain = tiny.generate(*entries, max_new_tokens=12)
        assert answers(tiny, entries, contrast, max_new_tokens=12) == plain

    @pytest.mark.parametrize("contrast", [VCD(), TextContrast()], ids=repr)
    def test_answers_that_end_early_let_the_others_go_on(self, tiny, entries, eos, contrast):
        tokens = [r.decode(likeliest, eos=eos) for r in references(tiny, entries, contrast)]
        assert len({len(row) for row in tokens}) > 1
        assert answers(tiny, entries, contrast) == [text(tiny, row) for row in tokens]

    @pytest.mark.parametrize("do_sample", [False, True])
    def test_the_batch_size_changes_nothing(self, tiny, entries, do_sample):
        one, many = (
            answers(tiny, entries, VCD(), do_sample=do_sample, batch_size=size) for size in (1, 16)
        )
        assert one == many

    def test_the_second_stream_shares_the_batch(self, tiny, entries):
        seen = []
        hook = tiny.model.lm_head.register_forward_hook(lambda *call: seen.append(len(call[2])))
        try:
            answers(tiny, entries, VCD())
        finally:
            hook.remove()
        assert seen == [5, 5] + [10] * LENGTH  # each stream by itself up to its image, then both

    def test_out_of_memory_halves_the_batch(self, tiny, entries, monkeypatch):
        generate, rows = tiny.model.generate, []

        def tight(**inputs):
            rows.append(len(inputs["input_ids"]))
            if rows[-1] > 4:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return generate(**inputs)

        expected = answers(tiny, entries, VCD())
        monkeypatch.setattr(tiny.model, "generate", tight)
        monkeypatch.setattr(tiny.engine, "room", Room())
        with pytest.warns(UserWarning, match="batch size reduced to 2"):
            assert answers(tiny, entries, VCD(), batch_size=5) == expected
        assert rows == [10, 4, 4, 2]
        rows.clear()
        tiny.generate(*entries, max_new_tokens=1)  # a single stream has room for twice as many
        assert rows == [4, 1]

    def test_weights_may_be_packed_as_those_of_4_bits_are(self, build_tiny, entries):
        packed = build_tiny()
        decoder = packed.model.model.language_model
        for layer in decoder.layers:
            for part in (layer.self_attn, layer.mlp):
                for name, child in list(part.named_children()):
                    if isinstance(child, nn.Linear):
                        setattr(part, name, Packed(child))
        plain = packed.generate(*entries, max_new_tokens=LENGTH)
        assert answers(packed, entries, TextContrast(0)) == plain
        assert answers(packed, entries, TextContrast()) != plain

    def test_half_precision(self, build_tiny, entries):
        found = answers(build_tiny(torch.bfloat16), entries, VCD())
        assert len(found) == 5 and all(found)


class Packed(nn.Module):
    """A linear layer without a floating-point weight: whole numbers, made whole when called."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.scale = float(linear.weight.abs().max()) / 127
        self.register_buffer("numbers", (linear.weight / self.scale).round().to(torch.int8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (self.numbers.to(x.dtype) * self.scale).T


class TestSampling:
    @pytest.mark.parametrize("contrast", [VCD(), TextContrast()], ids=repr)
    @pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (1.7, 0.8)])
    def test_tokens_are_drawn_from_the_combined_distribution(
        self, tiny, entries, contrast, temperature, top_p
    ):
        uniforms = Seeds(SEED).uniforms(0, 5, LENGTH)

        def picker(i: int):
            def pick(logprobs: torch.Tensor, step: int) -> torch.Tensor:
                p, order = (logprobs / temperature).softmax(-1).sort(descending=True)
                kept = p * (p.cumsum(-1) - p < top_p)  # the likeliest that make up top_p
                kept = torch.zeros_like(kept).scatter(0, order, kept)
                passed = kept.cumsum(-1)
                return (passed > uniforms[i, step] * passed[-1]).nonzero()[0, 0]

            return pick

        rows = enumerate(references(tiny, entries, contrast))
        expected = [text(tiny, reference.decode(picker(i))) for i, reference in rows]
        found = answers(
            tiny, entries, contrast, do_sample=True, temperature=temperature, top_p=top_p
        )
        assert found == expected

    def test_frequencies_are_those_of_the_combined_distribution(self, tiny, entries):
        images, questions = entries
        n, contrast = 600, TextContrast(2)
        drawn = Counter(answers(
            tiny, ([images[0]] * n, questions[0]), contrast, do_sample=True, max_new_tokens=1,
            batch_size=200,
        ))  # fmt: skip

        def p_value(contrast) -> float:
            """Of the frequencies, rare words pooled."""
            chance = Reference(tiny, images[0], questions[0], contrast).combined([]).exp()
            expected: Counter = Counter()
            for token, p in enumerate(chance.tolist()):
                expected[text(tiny, [token])] += n * p
            common = [word for word, count in expected.items() if count >= 5]
            seen = [drawn[word] for word in common]
            aim = [expected[word] for word in common]
            rest = [n - sum(seen)], [max(n - sum(aim), 1e-9)]
            pair = np.array(seen + rest[0], float), np.array(aim + rest[1], float)
            return stats.chisquare(pair[0], pair[1] * n / pair[1].sum()).pvalue

        assert p_value(contrast) > 0.01
        assert p_value(TextContrast(0)) < 1e-6

    def test_without_a_contrast_tokens_are_drawn_from_the_models_own_distribution(
        self, tiny, entries
    ):
        """Which is that of a contrast of strength 0."""
        settings = {"temperature": 2.0, "max_new_tokens": LENGTH, "seed": SEED}
        found = generate_sampled(tiny, *entries, **settings)
        contrast = generate_contrastive(tiny, *entries, TextContrast(0), do_sample=True, **settings)
        assert found == contrast != tiny.generate(*entries, max_new_tokens=LENGTH)
        assert found == generate_sampled(tiny, *entries, **settings, batch_size=2)

    def test_a_seed_repeats_and_none_does_not(self, tiny, entries):
        def draw(seed):
            return answers(tiny, entries, VCD(beta=0), do_sample=True, temperature=3.0, seed=seed)

        assert draw(1) == draw(1) != draw(2)
        assert draw(None) != draw(None)

    def test_with_a_seed_for_each_entry_its_place_does_not_matter(self, tiny, entries):
        def draw(order):
            images, questions = ([column[i] for i in order] for column in entries)
            chosen = [seeds[i] for i in order]
            settings = {"do_sample": True, "temperature": 3.0, "seed": chosen}
            return answers(tiny, (images, questions), VCD(beta=0), **settings)

        seeds = [named_seed("pair", i) for i in range(len(entries[0]))]
        there, back = [0, 1, 2, 4], [4, 2, 1, 0]
        assert draw(there) == draw(back)[::-1]
        assert len(set(seeds)) == len(seeds)
        with pytest.raises(ValueError, match="there are 1 seeds, and more entries"):
            answers(tiny, entries, VCD(), seed=seeds[:1])

    def test_the_global_random_state_is_left_alone(self, tiny, entries):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        answers(tiny, entries, VCD(), do_sample=True)
        assert torch.equal(before, torch.get_rng_state())


# --- options -------------------------------------------------------------------------------------

OPTIONS = ["left", "right", "in front", "a red mug to the left of a blue table"]


def reference_option(reference: Reference, option: str) -> np.ndarray:
    """Log-probability of each token of an option."""
    tokenizer = reference.mllm.processor.tokenizer
    tokens = tokenizer(" " + option, add_special_tokens=False)["input_ids"]
    return np.array([reference.combined(tokens[:t])[x].item() for t, x in enumerate(tokens)])


def scores(mllm, entries, options, contrast, **more) -> list[np.ndarray]:
    found = contrastive_option_logprobs(mllm, *entries, options, [contrast], seed=SEED, **more)
    return [scores for (scores,) in found]


class TestOptions:
    @pytest.mark.parametrize(
        "contrast", [VCD(beta=0.001), *CONTRASTS[1:4], VCD(0.5, beta=0.002)], ids=repr
    )
    def test_they_are_those_of_the_reference(self, tiny, entries, contrast):
        found = scores(tiny, entries, OPTIONS, contrast, normalize=False)
        mean = scores(tiny, entries, OPTIONS, contrast)
        for row, means, reference in zip(
            found, mean, references(tiny, entries, contrast), strict=True
        ):
            each = [reference_option(reference, option) for option in OPTIONS]
            # 1e-5 for each token
            np.testing.assert_allclose(means, [x.mean() for x in each], rtol=0, atol=1e-5)
            np.testing.assert_allclose(row, [x.sum() for x in each], rtol=0, atol=1e-4)

    @pytest.mark.parametrize("contrast", [VCD(alpha=0, beta=0), *STRENGTH_0[1:]], ids=repr)
    @pytest.mark.parametrize("normalize", [False, True])
    def test_strength_0_is_plain_scoring(self, tiny, entries, contrast, normalize):
        plain = tiny.option_logprobs(*entries, OPTIONS, normalize=normalize)
        found = scores(tiny, entries, OPTIONS, contrast, normalize=normalize)
        np.testing.assert_allclose(found, plain, atol=1e-5)

    def test_streams_give_every_strength_afterwards(self, tiny, entries):
        kept = option_streams(tiny, *entries, OPTIONS, VCD(), seed=SEED)
        for strength in (0, 0.3, 2):
            contrast = VCD(beta=0).with_strength(strength)
            found = [[each.mean() for each in combined_logprobs(row, contrast)] for row in kept]
            expected = scores(tiny, entries, OPTIONS, contrast)
            np.testing.assert_allclose(found, expected, atol=1e-6)
            answers = [s for row in kept for s in row]
            together = combined_logprobs(answers, contrast)
            assert len({len(each) for each in together}) > 1  # answers of different lengths
            for one, its in zip(answers, together, strict=True):
                np.testing.assert_allclose(*combined_logprobs([one], contrast), its, atol=1e-6)
        assert kept[0][2].conditional.shape == (2, len(tiny.processor.tokenizer))

    def test_options_and_their_number_may_differ_and_the_batch_size_changes_nothing(
        self, tiny, entries
    ):
        options = [OPTIONS[:2], OPTIONS, [], OPTIONS[3:], ["behind"]]
        one, many = (scores(tiny, entries, options, VCD(), batch_size=n) for n in (1, 16))
        assert [len(row) for row in many] == [2, 4, 0, 1, 1]
        for a, b in zip(one, many, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)

    def test_implausible_options_are_ruled_out(self, tiny, entries):
        words = [w for w in tiny.processor.tokenizer.get_vocab() if w.isalpha()]
        found = np.array(scores(tiny, entries, words, VCD(beta=0.5)))
        assert np.isneginf(found).any() and np.isfinite(found).any()
        plain = np.array(tiny.option_logprobs(*entries, words))
        best = plain.max(axis=1, keepdims=True)
        assert np.isneginf(found[plain < best + math.log(0.5)]).all()

    def test_the_noise_is_that_of_generation(self, tiny, entries):
        first = Recorded(VCD())
        answers(tiny, entries, first, max_new_tokens=1)
        streams = option_streams(tiny, *entries, ["left"], VCD(), seed=SEED)
        for i, (one,) in enumerate(streams):
            mine = VCD().combine(one.conditional, one.contrast, 1).log_softmax(-1)[0]
            torch.testing.assert_close(mine, first.seen[0][i], atol=1e-5, rtol=0)


def test_images_may_have_different_numbers_of_tokens(tiny_next):
    shown = [image.resize((30 + 60 * i, 50)) for i, image in enumerate(pictures(3))]
    asked = (shown, ["What colour is the mug?", "Is there a mug?", "Describe the image."])
    plain = tiny_next.generate(*asked, max_new_tokens=LENGTH)
    for contrast in (VCD(alpha=0), TextContrast(0)):
        assert answers(tiny_next, asked, contrast) == plain
    for contrast in (VCD(), TextContrast()):
        tokens = [
            reference.decode(likeliest) for reference in references(tiny_next, asked, contrast)
        ]
        assert (
            answers(tiny_next, asked, contrast) == [text(tiny_next, row) for row in tokens] != plain
        )


class TestWhatCannotBeAsked:
    def ask(self, mllm, **more):
        return generate_contrastive(mllm, [None], "Why?", VCD(), **more)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"do_sample": True, "temperature": 0}, "temperature must be positive"),
            ({"do_sample": True, "top_p": 0}, "top_p between 0 and 1"),
            ({"temperature": 0.5}, "for sampling: give do_sample=True as well"),
            ({"max_new_tokens": 0}, "max_new_tokens must be a positive integer, not 0"),
            ({"seed": -1}, "seed must be an integer, 0 or above, or None, not -1"),
            ({"batch_size": 0}, "batch_size must be a positive integer"),
        ],
    )
    def test_settings(self, tiny, settings, message):
        with pytest.raises(ValueError, match=message):
            self.ask(tiny, **settings)

    def test_images_and_questions(self, tiny):
        with pytest.raises(ValueError, match="2 images, but 1 questions"):
            generate_contrastive(tiny, pictures(2), ["Why?"], VCD())
        with pytest.raises(EncodeError, match="image 1 is a str"):
            generate_contrastive(tiny, [*pictures(1), "mug.jpeg"], "Why?", VCD())
        with pytest.raises(EncodeError, match="entry 0 has .* tokens .* reads 256"):
            generate_contrastive(tiny, [pictures(16)], "Why?", TextContrast())
        with pytest.raises(EncodeError, match="holds the image token itself"):
            generate_contrastive(tiny, pictures(1), "Why <image>?", VCD())

    @pytest.mark.filterwarnings("ignore:questions or answers with words")
    def test_options_that_a_generator_gives_are_scored_all_the_same(self, tiny):
        arguments = (tiny, pictures(2), "Where is it?")
        options = ["left", "right"]
        expected = contrastive_option_logprobs(*arguments, options, [VCD(beta=0)])
        found = contrastive_option_logprobs(*arguments, (o for o in options), [VCD(beta=0)])
        np.testing.assert_array_equal(found, expected)
        assert np.shape(found) == (2, 1, 2)

    def test_options(self, tiny):
        with pytest.raises(TypeError, match=r"wrap the single one in \[ \]"):
            contrastive_option_logprobs(tiny, pictures(1), "Why?", "left", [VCD()])
        with pytest.raises(EncodeError, match="answer of entry 0 is ' ', not a text"):
            contrastive_option_logprobs(tiny, pictures(1), "Why?", [" "], [VCD()])

    def test_damaged_weights(self, tiny, monkeypatch):
        broken = SimpleNamespace(combine=lambda c, u, t: c * torch.nan, noise_step=None)
        with pytest.raises(EncodeError, match="entry 0 is not finite"):
            contrastive_option_logprobs(tiny, pictures(1), "Why?", ["left"], [broken])
