"""Contrastive decoding of a model: answers token by token, and given options in closed form.

The formulas are in `contrasts`; the two streams share a batch and its cache (`models.engine`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from ..models.engine import Change, Engine
from ..models.finite import finite
from ..models.inputs import aligned, length, options_of_each
from ..models.mllm import Mllm
from ..models.pictures import Picture
from ..models.tokens import Stream
from .contrasts import Contrast, add_noise
from .processor import ContrastiveLogitsProcessor, SamplingLogitsProcessor, Seeds, warpers


def generate_contrastive(
    mllm: Mllm,
    images: Iterable[Picture],
    questions: str | Sequence[str],
    contrast: Contrast,
    max_new_tokens: int = 16,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int | Sequence[int] | None = 0,
    batch_size: int = 16,
) -> list[str]:
    """Answer questions by contrastive decoding.

    Parameters
    ----------
    images, questions
        As in `Mllm.generate`. Without an image the streams are the same, and the answer is plain.
    do_sample : bool
        Draw each token from the combined distribution; by default the likeliest is taken.
    temperature, top_p : float
        Of the sampling, applied after the streams are combined.
    seed : int, sequence of int, or None
        Of the noise and the sampling; each entry has random numbers of its own, whatever the batch
        size. One seed for each entry makes them independent of its place, too (see
        `processor.named_seed`). None gives other numbers at each call.
    batch_size : int
        At most so many entries at a time, two rows for each; fewer where the device's memory is
        too small.

    Raises
    ------
    EncodeError
        If an image cannot be read or a prompt is too long; it names the entry.
    """
    warp, seeds, engine = warpers(do_sample, temperature, top_p), Seeds(seed), mllm.engine
    if max_new_tokens != int(max_new_tokens) or max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be a positive integer, not {max_new_tokens!r}")

    def answer(batch: list[tuple[Picture, str]], first: int) -> list[str]:
        inputs = engine.begun(prompt_streams(engine, batch, contrast, seeds, first))
        draws = seeds.uniforms(first, len(batch), max_new_tokens) if do_sample else None
        processor = ContrastiveLogitsProcessor(
            contrast, inputs["input_ids"].shape[1], warp,
            None if draws is None else draws.to(mllm.device),
        )  # fmt: skip
        return engine.write(inputs, len(batch), first, max_new_tokens, [processor])

    rows, total = aligned(images, questions=questions), length(images, questions)
    return engine.gather(rows, total, batch_size, answer, engine.shown, "answers", streams=2)


def generate_sampled(
    mllm: Mllm,
    images: Iterable[Picture],
    questions: str | Sequence[str],
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 16,
    seed: int | Sequence[int] | None = 0,
    batch_size: int = 32,
    change: Change | None = None,
) -> list[str]:
    """Answer questions by sampling; arguments as in `generate_contrastive` and `Mllm.generate`."""
    warp, seeds, engine = warpers(True, temperature, top_p), Seeds(seed), mllm.engine

    def answer(batch: list[tuple[Picture, str]], first: int) -> list[str]:
        inputs = engine.begun([engine.whole(batch, first)], change)
        draws = seeds.uniforms(first, len(batch), max_new_tokens).to(mllm.device)
        processor = SamplingLogitsProcessor(inputs["input_ids"].shape[1], warp, draws)
        return engine.write(inputs, len(batch), first, max_new_tokens, [processor])

    rows, total = aligned(images, questions=questions), length(images, questions)
    return engine.gather(rows, total, batch_size, answer, engine.shown, "answers")


class Streams(NamedTuple):
    """Both streams' logits (T, V), float32, before each of an answer's T tokens."""

    conditional: torch.Tensor
    contrast: torch.Tensor
    tokens: torch.Tensor


def combined_logprobs(answers: Sequence[Streams], contrast: Contrast) -> list[np.ndarray]:
    """Log-probability (T,) of each answer's tokens under the combined distribution, float64."""
    out = [np.empty(len(answer.tokens)) for answer in answers]
    for step in range(max((len(each) for each in out), default=0)):
        longer = [k for k, each in enumerate(out) if len(each) > step]
        streams = (torch.stack([answers[k][stream][step] for k in longer]) for stream in (0, 1))
        tokens = torch.stack([answers[k].tokens[step] for k in longer])
        combined = contrast.combine(*streams, step + 1).log_softmax(dim=-1)
        values = combined.gather(1, tokens[:, None])[:, 0].cpu().numpy()
        for k, value in zip(longer, values, strict=True):
            out[k][step] = value
    return out


def option_streams(
    mllm: Mllm,
    images: Iterable[Picture],
    questions: str | Sequence[str],
    options: Sequence[str] | Sequence[Sequence[str]],
    contrast: Contrast,
    seed: int | Sequence[int] | None = 0,
    batch_size: int = 16,
) -> list[list[Streams]]:
    """Both streams of each option of each image, to be combined with any strength afterwards.

    All that matters of the contrast is what its second stream sees. The logits stay in main memory:
    with LLaVA-1.5's vocabulary 256 kB for each token of an option.
    """

    def encode(batch: list[tuple], first: int) -> list[list[Any]]:
        out: list[list[Any]] = [[None] * len(options) for _, _, options in batch]
        for i, k, streams in _of_options(mllm.engine, batch, contrast, seeds, first):
            out[i][k] = Streams(*(tensor.cpu() for tensor in streams))
        return out

    seeds = Seeds(seed)
    rows = aligned(images, questions=questions, options=options_of_each(options))
    total = length(images, questions)
    return mllm.engine.gather(rows, total, batch_size, encode, mllm.engine.shown, streams=2)


def contrastive_option_logprobs(
    mllm: Mllm,
    images: Iterable[Picture],
    questions: str | Sequence[str],
    options: Sequence[str] | Sequence[Sequence[str]],
    contrasts: Sequence[Contrast],
    normalize: bool = True,
    seed: int | Sequence[int] | None = 0,
    batch_size: int = 16,
) -> list[np.ndarray]:
    """Log-likelihood of each option under each combined distribution; closed form, no sampling.

    With strength 0 (and, for VCD, ``beta=0``) these are `Mllm.option_logprobs`.

    Parameters
    ----------
    images, questions, options, normalize
        As in `Mllm.option_logprobs`.
    contrasts : sequence of Contrast
        With one second stream for all, which is then read once: a sweep over strengths costs
        little.
    seed, batch_size
        As in `generate_contrastive`: the same seed gives the same noise there.

    Returns
    -------
    list of numpy.ndarray, float64, shape (contrasts, options)
        For each image, in nats; -inf where VCD's ``beta`` rules out a token.
    """
    if len({contrast.noise_step for contrast in contrasts}) != 1:
        raise ValueError("give contrasts that have one second stream: one noise_step, or none")

    def encode(batch: list[tuple], first: int) -> list[np.ndarray]:
        out = [np.empty((len(contrasts), len(options))) for _, _, options in batch]
        answers = list(_of_options(mllm.engine, batch, contrasts[0], seeds, first))
        for c, contrast in enumerate(contrasts):
            values = combined_logprobs([streams for _, _, streams in answers], contrast)
            for (i, k, _), each in zip(answers, values, strict=True):
                score = float(each.mean() if normalize else each.sum())
                out[i][c, k] = finite(score, first + i, ruled_out=True)
        return out

    seeds = Seeds(seed)
    rows = aligned(images, questions=questions, options=options_of_each(options))
    total = length(images, questions)
    return mllm.engine.gather(rows, total, batch_size, encode, mllm.engine.shown, streams=2)


# --- the two streams -----------------------------------------------------------------------------


def _of_options(engine: Engine, batch: list[tuple], contrast: Contrast, seeds: Seeds, first: int):
    """Number of the entry, of its option, and both streams of that."""
    heads = engine.heads(batch, first)
    streams = [heads, _second(heads, contrast, seeds, first)]
    rows = [[(question, option) for option in options] for _, question, options in batch]
    for i, k, logits, tokens in engine.answers(streams, rows, first):
        yield i, k, Streams(*(x.float() for x in logits), tokens)


def _second(stream: Stream, contrast: Contrast, seeds: Seeds, first: int) -> Stream:
    """What the second stream reads: no images, or noised ones."""
    if contrast.noise_step is None:
        return stream.without_images()
    places = ((first + i, k) for i, n in enumerate(stream.n_images) for k in range(n))
    seen = []
    for each in stream.seen:
        own = [next(places) for _ in each.counts]
        pixels = each.pixels["pixel_values"]
        # A row for each image, or all rows for the only one.
        noise = torch.cat([
            seeds.normals(place, part, frames=each.frames)
            for place, part in zip(own, pixels.chunk(len(own)), strict=True)
        ])  # fmt: skip
        noised = add_noise(pixels, contrast.noise_step, noise)
        if pixels.ndim == 5:  # crops that only fill up a row are told by their zeros
            noised = noised.where((pixels != 0).flatten(2).any(dim=2)[..., None, None, None], 0.0)
        seen.append(replace(each, pixels=each.pixels | {"pixel_values": noised}, features=None))
    return replace(stream, seen=seen)


def prompt_streams(
    engine: Engine, batch: list[tuple[Picture, str]], contrast: Contrast, seeds: Seeds, first: int
) -> list[Stream]:
    """Whole prompts with their images, and those of the second stream."""
    batch = engine.shown(batch, first)
    whole = engine.whole(batch, first)
    second = _second(whole, contrast, seeds, first)
    if contrast.noise_step is None:
        texts = engine.prompts([question for _, question in batch], [0] * len(batch), first)
        ids = engine.tokens(texts)
        second = replace(second, rows=[ids[text] for text in texts])
    return [whole, second]
