"""Contrastive decoding: answers that depend more on the image. VCD, M3ID, and a plain baseline.

Each method compares two streams of one model: the prompt as it is, and the same prompt with the
image noised (VCD) or left out (M3ID, text contrast). What the second stream finds likely all the
same owes nothing to the image, and counts less. The formulas are in `VCD.combine`, `M3ID.combine`
and `TextContrast.combine`, and both uses share them: `generate_contrastive`, token by token inside
``generate()``, and `contrastive_option_logprobs`, in closed form for given answers.
"""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F
from transformers import (
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from ..models import EncodeError
from ..models.inputs import aligned, length, options_of_each
from ..models.mllm import (
    Mllm,
    NumbersOnly,
    Picture,
    common_start,
    padded_rows,
    pictures,
    shared_start,
)

NOISE_STEPS = 1000  # of VCD's diffusion schedule

# The random numbers of an entry, by what they are for.
_DRAW, _NOISE = 0, 1


class Contrast(ABC):
    """How two streams become one. Frozen, with the published settings as defaults.

    Attributes
    ----------
    noise_step : int or None
        How far the second stream's images are noised (`add_noise`); None if it has no images.
    """

    noise_step: int | None = None

    @abstractmethod
    def combine(self, conditional: torch.Tensor, contrast: torch.Tensor, step: int) -> torch.Tensor:
        """Logits of the combined distribution.

        Parameters
        ----------
        conditional, contrast : torch.Tensor, shape (B, V)
            Logits of the two streams for the next token.
        step : int
            Which token of the answer it is; the first is 1.

        Returns
        -------
        torch.Tensor, float32 (float64 if the arguments are), shape (B, V)
            Unnormalised; -inf for a token that is ruled out.

        Raises
        ------
        ValueError
            If the shapes differ, or the step is below 1.
        """

    @abstractmethod
    def with_strength(self, strength: float) -> Contrast:
        """The same method with another weight of the difference between the streams.

        The combined logits of the first token are ``conditional + strength * (conditional -
        contrast)`` wherever the method corrects at all; 0 switches the correction off.
        """


@dataclass(frozen=True)
class VCD(Contrast):
    """Visual contrastive decoding, against a noised image (Leng et al. 2024, arXiv 2311.16922).

    Parameters
    ----------
    alpha : float
        Weight of the difference; 0 leaves the plain logits.
    beta : float
        Tokens with less than this share of the likeliest token's probability, in the first stream,
        are ruled out ("adaptive plausibility"); 0 rules out none. Options to be scored may be ruled
        out as well: ``beta=0`` gives every one of them a finite score.
    noise_step : int
        How many of the 1000 diffusion steps are taken, 0 to 999.
    """

    alpha: float = 1.0
    beta: float = 0.1
    noise_step: int = 500

    def __post_init__(self) -> None:
        _check("alpha", self.alpha)
        _check("beta", self.beta, 1)
        _check_noise_step(self.noise_step)

    def combine(self, conditional: torch.Tensor, contrast: torch.Tensor, step: int) -> torch.Tensor:
        """``(1 + alpha) l(v) - alpha l(v')`` where ``l(v) >= log beta + max l(v)``."""
        conditional, contrast = _streams_checked(conditional, contrast, step)
        mixed = _pushed(conditional, contrast, self.alpha)
        if self.beta == 0:
            return mixed
        cutoff = math.log(self.beta) + conditional.amax(dim=-1, keepdim=True)
        return mixed.masked_fill(conditional < cutoff, -torch.inf)

    def with_strength(self, strength: float) -> VCD:
        """As `Contrast.with_strength` says: the strength is ``alpha``."""
        return replace(self, alpha=strength)


@dataclass(frozen=True)
class M3ID(Contrast):
    """Multi-modal mutual-information decoding, against no image (Favero et al. 2024, 2403.14003).

    Parameters
    ----------
    decay : float
        lambda: how fast the image's hold is taken to fade as the answer grows.
    threshold : float
        a: nothing is corrected where the likeliest token has this probability already; 1 corrects
        always.
    t0 : float
        Tokens by which the correction is ahead: 0 for captions, 10 for questions, whose answers are
        over before the correction has grown.
    strength : float
        Factor of the whole correction, not in the paper, so that it can be varied; 0 switches it
        off.

    Notes
    -----
    With ``t0=0`` the first token has weight exp(0.02) - 1 = 0.02 only, with 10 it has 0.25. The
    settings of arXiv 2411.05195 are not stated there. That t is 1 for the first token is our
    reading.
    """

    decay: float = 0.02
    threshold: float = 0.3
    t0: float = 10
    strength: float = 1.0

    def __post_init__(self) -> None:
        _check("decay", self.decay)
        _check("threshold", self.threshold, 1)
        _check("t0", self.t0)
        _check("strength", self.strength)

    def weight(self, step: int) -> float:
        """``strength * (1 - g_t) / g_t`` with ``g_t = exp(-decay * (t + t0))``."""
        return self.strength * math.expm1(self.decay * (step + self.t0))

    def combine(self, conditional: torch.Tensor, contrast: torch.Tensor, step: int) -> torch.Tensor:
        """``l_c + 1[max p_c < a] (1 - g_t)/g_t (l_c - l_u)``, up to a constant."""
        conditional, contrast = _streams_checked(conditional, contrast, step)
        mixed = _pushed(conditional, contrast, self.weight(step))
        if self.threshold == 1:
            return mixed
        unsure = conditional.softmax(dim=-1).amax(dim=-1, keepdim=True) < self.threshold
        return torch.where(unsure, mixed, conditional)

    def with_strength(self, strength: float) -> M3ID:
        """As `Contrast.with_strength` says; later tokens are corrected more, as ever."""
        if self.decay == 0:
            raise ValueError("with decay=0 nothing is ever corrected: give M3ID a positive decay")
        return replace(self, strength=strength / replace(self, strength=1.0).weight(1))


@dataclass(frozen=True)
class TextContrast(Contrast):
    """The plain baseline, against no image: one weight for all tokens, however sure the model is.

    Parameters
    ----------
    strength : float
        Weight of the difference; 0 leaves the plain logits.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        _check("strength", self.strength)

    def combine(self, conditional: torch.Tensor, contrast: torch.Tensor, step: int) -> torch.Tensor:
        """``l_c + strength (l_c - l_u)``, up to a constant."""
        return _pushed(*_streams_checked(conditional, contrast, step), self.strength)

    def with_strength(self, strength: float) -> TextContrast:
        """As `Contrast.with_strength` says."""
        return replace(self, strength=strength)


def add_noise(pixels: torch.Tensor, step: int, noise: torch.Tensor) -> torch.Tensor:
    """Forward diffusion of preprocessed images, as VCD's published code distorts them.

    Parameters
    ----------
    pixels : torch.Tensor
        Preprocessed, that is, normalised; any shape.
    step : int
        0 to 999 of a schedule with ``betas = sigmoid(linspace(-6, 6)) * (0.5e-2 - 1e-5) + 1e-5``.
    noise : torch.Tensor
        Standard normal, of the same shape.

    Returns
    -------
    torch.Tensor
        ``sqrt(abar) pixels + sqrt(1 - abar) noise``, abar the product of all ``1 - beta`` so far;
        of the same kind as `pixels`.

    Raises
    ------
    ValueError
        If the step is not one of the schedule.
    """
    _check_noise_step(step)
    ramp = torch.linspace(-6, 6, NOISE_STEPS, dtype=torch.float64)
    betas = torch.sigmoid(ramp) * (0.5e-2 - 1e-5) + 1e-5
    kept = float(torch.cumprod(1 - betas, dim=0)[step])
    return (math.sqrt(kept) * pixels.float() + math.sqrt(1 - kept) * noise).to(pixels.dtype)


def named_seed(*name: object) -> int:
    """A seed that follows from an item's name, wherever the item stands in a list.

    For protocols whose results must not depend on which other items are asked in the same call.
    """
    return zlib.crc32(repr(name).encode())


def pair_seeds(pairs: Sequence[Any]) -> list[int]:
    """A seed for both images of each pair, in order, from the pair's name and the image's index."""
    return [named_seed(pair.pair_id, i) for pair in pairs for i in (0, 1)]


class ContrastiveLogitsProcessor(LogitsProcessor):
    """Makes ``generate()`` decode two streams as one.

    The batch holds the prompts in rows [0, N) and those of the second stream in rows [N, 2N). Both
    rows of a pair get the same combined logits, and so go on with the same token.

    Parameters
    ----------
    contrast : Contrast
    prompt_length : int
        Tokens of the prompts, padding included.
    warpers : list of transformers.LogitsProcessor, optional
        Applied to the combined logits, such as a temperature.
    draws : torch.Tensor, shape (N, T), optional
        Numbers in [0, 1) by which token t of each answer is drawn from the combined distribution;
        without them the likeliest is taken.

    Notes
    -----
    Give it to ``generate(do_sample=False, num_beams=1)``, also for sampling. Transformers' own
    sampling draws for each row by itself, so that the rows of a pair would part; and it applies its
    temperature and top-p after the processors it is given, which is the order here, too.
    """

    def __init__(
        self,
        contrast: Contrast,
        prompt_length: int,
        warpers: Sequence[LogitsProcessor] = (),
        draws: torch.Tensor | None = None,
    ):
        self.contrast, self.prompt_length = contrast, prompt_length
        self.warpers, self.draws = LogitsProcessorList(warpers), draws

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
        """Logits (2N, V) of both streams in, the combined ones twice out."""
        n, odd = divmod(len(scores), 2)
        step = input_ids.shape[1] - self.prompt_length + 1
        if odd or (step > 1 and not torch.equal(input_ids[:n, -1], input_ids[n:, -1])):
            raise RuntimeError(
                "the two streams went different ways: the batch needs each prompt in both halves, "
                "and generate() needs do_sample=False and num_beams=1 (give draws to sample)"
            )
        combined = self.contrast.combine(scores[:n], scores[n:], step)
        if self.draws is not None:
            combined = self.warpers(input_ids[:n], combined)
            token = _drawn(combined.softmax(dim=-1), self.draws[:, step - 1 : step])
            combined = torch.full_like(combined, -torch.inf).scatter_(1, token, 0.0)
        return combined.repeat(2, 1)


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
    progress: bool = False,
) -> list[str]:
    """Answer questions by contrastive decoding; both streams share a batch and its cache.

    Parameters
    ----------
    mllm : Mllm
    images : iterable of PIL.Image.Image, of sequences of them, or of None
        As in `Mllm.generate`. Without an image the streams are the same, and the answer is plain.
    questions : str or sequence of str
        One for all images, or one for each.
    contrast : Contrast
    max_new_tokens : int
    do_sample : bool
        Draw each token from the combined distribution; by default the likeliest is taken.
    temperature, top_p : float
        Of the sampling, applied after the streams are combined.
    seed : int, sequence of int, or None
        Of the noise and the sampling; each entry has random numbers of its own, whatever the batch
        size. One for each entry makes them independent of its place, too (see `named_seed`). None
        gives other ones at each call.
    batch_size : int
        Entries at a time, two rows for each; halved when the device's memory is too small.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of str
        Without special tokens and surrounding spaces.

    Raises
    ------
    EncodeError
        If an image cannot be read or a prompt is too long; it names the entry.
    ValueError
        If there are not as many questions as images, or a parameter makes no sense.
    """
    warpers, seeds = _warpers(do_sample, temperature, top_p), _Seeds(seed)
    if max_new_tokens != int(max_new_tokens) or max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be a positive integer, not {max_new_tokens!r}")

    def answer(batch: list[tuple[Picture, str]], first: int) -> list[str]:
        streams = _read(mllm, batch, contrast, seeds, first)
        ids, mask, cache = _half_read(mllm, streams)
        mllm.check_length(mask[: len(batch)], max_new_tokens, first)
        draws = _uniforms(seeds, first, len(batch), max_new_tokens) if do_sample else None
        numbers = NumbersOnly()
        processor = ContrastiveLogitsProcessor(
            contrast, ids.shape[1], warpers, None if draws is None else draws.to(mllm.device)
        )
        out = mllm.model.generate(
            input_ids=ids, attention_mask=mask, **{mllm.cache_name: cache},
            logits_processor=LogitsProcessorList([numbers, processor]),
            max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, temperature=None,
            top_p=None, top_k=None, pad_token_id=mllm.pad_id,
        )  # fmt: skip
        numbers.check(first, len(batch))
        decode = mllm.processor.tokenizer.batch_decode
        texts = decode(out[: len(batch), ids.shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in texts]

    rows, label = aligned(images, questions=questions), "answers" if progress else None
    return mllm.gather(rows, length(images), batch_size, answer, label)


class Streams(NamedTuple):
    """What both streams of a model make of one answer, teacher-forced.

    Attributes
    ----------
    conditional, contrast : torch.Tensor, float32, shape (T, V)
        Logits before each of the answer's T tokens.
    tokens : torch.Tensor of int, shape (T,)
    """

    conditional: torch.Tensor
    contrast: torch.Tensor
    tokens: torch.Tensor

    def logprobs(self, contrast: Contrast) -> np.ndarray:
        """Log-probability of each token under the combined distribution, float64, shape (T,)."""
        return combined_logprobs([self], contrast)[0]


def combined_logprobs(answers: Sequence[Streams], contrast: Contrast) -> list[np.ndarray]:
    """`Streams.logprobs` of many answers, step by step for all of them together."""
    found = [np.empty(len(answer.tokens)) for answer in answers]
    for step in range(max((len(each) for each in found), default=0)):
        longer = [k for k, each in enumerate(found) if len(each) > step]
        streams = (torch.stack([answers[k][stream][step] for k in longer]) for stream in (0, 1))
        tokens = torch.stack([answers[k].tokens[step] for k in longer])
        combined = contrast.combine(*streams, step + 1).log_softmax(dim=-1)
        values = combined.gather(1, tokens[:, None])[:, 0].cpu().numpy()
        for k, value in zip(longer, values, strict=True):
            found[k][step] = value
    return found


def option_streams(
    mllm: Mllm,
    images: Iterable[Picture],
    questions: str | Sequence[str],
    options: Sequence[str] | Sequence[Sequence[str]],
    contrast: Contrast,
    seed: int | Sequence[int] | None = 0,
    batch_size: int = 16,
    progress: bool = False,
) -> list[list[Streams]]:
    """Logits of both streams for each option, to be combined with any strength afterwards.

    Parameters
    ----------
    mllm, images, questions, options, seed, batch_size, progress
        As in `contrastive_option_logprobs`.
    contrast : Contrast
        Only what its second stream sees matters here.

    Returns
    -------
    list of list of Streams
        For each image, for each of its options, in the main memory: with LLaVA-1.5's vocabulary
        256 kB for each token of an option.

    Raises
    ------
    EncodeError, ValueError, TypeError
        As in `contrastive_option_logprobs`.
    """

    def encode(batch: list[tuple[Picture, str, Sequence[str]]], first: int):
        found = _option_streams(mllm, batch, contrast, seeds, first)
        return [[Streams(*(x.cpu() for x in streams)) for streams in row] for row in found]

    seeds = _Seeds(seed)
    rows, label = _asked(images, questions, options), "images" if progress else None
    return mllm.gather(rows, length(images), batch_size, encode, label)


def contrastive_option_logprobs(
    mllm: Mllm,
    images: Iterable[Picture],
    questions: str | Sequence[str],
    options: Sequence[str] | Sequence[Sequence[str]],
    contrast: Contrast,
    normalize: bool = True,
    seed: int | Sequence[int] | None = 0,
    batch_size: int = 16,
    progress: bool = False,
) -> list[np.ndarray]:
    """Log-likelihood of each option under the combined distribution; closed form, no sampling.

    With strength 0 (and, for VCD, ``beta=0``) these are `Mllm.option_logprobs`.

    Parameters
    ----------
    mllm : Mllm
    images : iterable
        As in `Mllm.generate`.
    questions : str or sequence of str
        One for all images, or one for each.
    options : sequence of str, or of sequences of str
        The same for all images, or those of each.
    contrast : Contrast
    normalize : bool
        Divide by the number of tokens (length-normalised).
    seed : int, sequence of int, or None
        Of the noise, as in `generate_contrastive`: the same seed gives the same noise there.
    batch_size : int
        Images at a time, two rows for each; halved when the device's memory is too small.
    progress : bool

    Returns
    -------
    list of numpy.ndarray, float64
        For each image, as many numbers as it has options, in nats; -inf where VCD's ``beta`` rules
        out a token.

    Raises
    ------
    EncodeError
        If an image cannot be read, an option is empty, or a prompt is too long.
    TypeError
        If the options are a single string.
    ValueError
        If there are not as many questions or options as images.
    """

    def encode(batch: list[tuple[Picture, str, Sequence[str]]], first: int) -> list[np.ndarray]:
        found = _option_streams(mllm, batch, contrast, seeds, first)
        return [
            np.array([_total(s, contrast, normalize, first + i) for s in row], np.float64)
            for i, row in enumerate(found)
        ]

    seeds = _Seeds(seed)
    rows, label = _asked(images, questions, options), "images" if progress else None
    return mllm.gather(rows, length(images), batch_size, encode, label)


def _total(streams: Streams, contrast: Contrast, normalize: bool, index: int) -> float:
    each = streams.logprobs(contrast)
    if np.isnan(each).any():
        raise EncodeError(
            f"the score of entry {index} is not a number: the weights are damaged, or dtype is too "
            "coarse (try dtype='bfloat16' or 'float32')",
            index,
        )
    return float(each.mean() if normalize else each.sum())


def _asked(images, questions, options) -> Iterable[tuple[Picture, str, Sequence[str]]]:
    return aligned(images, questions=questions, options=options_of_each(options))


# --- the two streams -----------------------------------------------------------------------------


class _Stream(NamedTuple):
    """Prompts of one stream: their tokens, an image's as many as it has, and what shows them."""

    n_images: list[int]
    rows: list[list[int]]
    pixels: dict[str, torch.Tensor]


def _read(
    mllm: Mllm, batch: list[tuple], contrast: Contrast, seeds: _Seeds, first: int
) -> tuple[_Stream, _Stream]:
    """The prompts with their images, and those of the second stream."""
    groups = [pictures(entry[0], first + i) for i, entry in enumerate(batch)]
    questions = [entry[1] for entry in batch]
    whole = _prompts(mllm, groups, questions, first)
    if contrast.noise_step is None:
        texts = mllm.prompts(questions, [0] * len(questions), first)
        ids = mllm.tokens(texts)
        return whole, _Stream([0] * len(texts), [ids[text] for text in texts], {})
    pixels = dict(whole.pixels)
    if "pixel_values" in pixels:
        noise = _normals(seeds, first, whole.n_images, pixels["pixel_values"])
        pixels["pixel_values"] = add_noise(pixels["pixel_values"], contrast.noise_step, noise)
    return whole, whole._replace(pixels=pixels)


def _prompts(mllm: Mllm, groups: list[list[Any]], questions: list[str], first: int) -> _Stream:
    counts = [len(group) for group in groups]
    texts = mllm.prompts(questions, counts, first)
    ids = mllm.tokens(texts)
    for i, (text, question) in enumerate(zip(texts, questions, strict=True)):
        mllm.check_images(ids[text], question, counts[i], first + i)
        mllm.note_unknown(ids[text], question)
    inputs = mllm.processed(groups, texts, first)
    padded, real = inputs.pop("input_ids"), inputs.pop("attention_mask").bool()
    rows = [row[mine].tolist() for row, mine in zip(padded, real, strict=True)]
    return _Stream(counts, rows, inputs)


def _half_read(
    mllm: Mllm, streams: Sequence[_Stream]
) -> tuple[torch.Tensor, torch.Tensor, DynamicCache]:
    """Tokens and mask of all prompts, and the cache of what comes before the questions.

    Images, and what prompts without one begin with, are read here; the questions of both streams
    are left for generate(), which reads them in one batch. Rows of different lengths are padded on
    the left of either half.
    """
    heads = [_heads(mllm, stream) for stream in streams]
    begun = [
        ([row[:n] for row, n in zip(stream.rows, lengths, strict=True)], stream.pixels)
        for stream, lengths in zip(streams, heads, strict=True)
    ]
    rests = [
        row[n:]
        for stream, lengths in zip(streams, heads, strict=True)
        for row, n in zip(stream.rows, lengths, strict=True)
    ]
    cache, mask = _prefilled(mllm, begun)
    every = [row for rows, _ in begun for row in rows]
    read, _ = padded_rows(every, mllm.pad_id, mllm.device, left=True)
    ids, fresh = padded_rows(rests, mllm.pad_id, mllm.device, left=True)
    return torch.cat([read, ids], dim=1), torch.cat([mask, fresh], dim=1), cache


def _heads(mllm: Mllm, stream: _Stream) -> list[int]:
    """Tokens of each prompt up to its last image, or that all prompts without one share."""
    bare = [row for row, n in zip(stream.rows, stream.n_images, strict=True) if not n]
    shared = min((min(common_start(bare[0], row), len(row) - 1) for row in bare), default=0)
    return [
        _image_end(mllm, row) if n else max(1, shared)
        for row, n in zip(stream.rows, stream.n_images, strict=True)
    ]


def _image_end(mllm: Mllm, row: list[int]) -> int:
    return len(row) - row[::-1].index(mllm.processor.image_token_id)


def _prefilled(
    mllm: Mllm, streams: list[tuple[list[list[int]], dict[str, torch.Tensor]]]
) -> tuple[DynamicCache, torch.Tensor]:
    """One cache for the rows of all streams, and its mask, padded on the left.

    Each stream goes through the model by itself first: in one batch, prompts without an image would
    be padded to the length of those with one, at the same cost. Of equal ones, one goes through.
    """
    parts = []
    for rows, pixels in streams:
        distinct = rows if pixels else [list(row) for row in dict.fromkeys(map(tuple, rows))]
        ids, mask = padded_rows(distinct, mllm.pad_id, mllm.device, left=True)
        cache = DynamicCache()
        mllm.forward(ids, mask, cache, logits_to_keep=1, **pixels)
        if len(distinct) < len(rows):
            place = torch.tensor([distinct.index(row) for row in rows], device=mllm.device)
            cache.batch_select_indices(place)
            mask = mask[place]
        parts.append((cache, mask))
    width = max(mask.shape[1] for _, mask in parts)
    lacking = [width - mask.shape[1] for _, mask in parts]
    joint = DynamicCache()
    for number, layers in enumerate(zip(*(cache.layers for cache, _ in parts), strict=True)):
        # Keys carry their positions already, so where they stand in the cache does not matter.
        keys, values = (
            torch.cat([F.pad(x, (0, 0, n, 0)) for x, n in zip(held, lacking, strict=True)])
            for held in ([part.keys for part in layers], [part.values for part in layers])
        )
        joint.update(keys, values, number)
    return joint, torch.cat([F.pad(m, (n, 0)) for (_, m), n in zip(parts, lacking, strict=True)])


def _option_streams(
    mllm: Mllm, batch: list[tuple], contrast: Contrast, seeds: _Seeds, first: int
) -> list[list[Streams]]:
    """Prompts once for all options of an image, then both streams of each different beginning."""
    streams = _read(mllm, batch, contrast, seeds, first)
    pairs = [[(question, option) for option in options] for _, question, options in batch]
    found: list[list[Any]] = [[None] * len(row) for row in pairs]
    if not any(pairs):
        return found
    branches = [mllm.branches(pairs, stream.n_images, first) for stream in streams]
    shared = [[shared_start(row) for row in rows] for rows in branches]
    starts = []
    for stream, rows, keep in zip(streams, branches, shared, strict=True):
        heads = [
            row[: _image_end(mllm, row)] if n else []  # then the branch holds the whole prompt
            for row, n in zip(stream.rows, stream.n_images, strict=True)
        ]
        begun = [row[0].inputs[:n] if row else () for row, n in zip(rows, keep, strict=True)]
        starts.append(([[*h, *b] for h, b in zip(heads, begun, strict=True)], stream.pixels))
    cache, mask = _prefilled(mllm, starts)
    # Options of one token are predicted from the same place: one pass does for all of them.
    turns = [list(dict.fromkeys(branch.inputs for branch in row)) for row in branches[0]]
    n = len(batch)
    for turn in range(max(map(len, turns))):
        chosen = [
            [k for k, branch in enumerate(row) if mine[turn : turn + 1] == [branch.inputs]]
            for row, mine in zip(branches[0], turns, strict=True)
        ]
        rests = [
            # A row that has no such rest left goes along with one token, which nothing reads.
            row[ks[0]].inputs[keep:] if ks else (mllm.pad_id,)
            for rows, kept in zip(branches, shared, strict=True)
            for row, ks, keep in zip(rows, chosen, kept, strict=True)
        ]
        ids, fresh = padded_rows(rests, mllm.pad_id, mllm.device, left=False)
        full = torch.cat([mask, fresh], dim=1)
        mllm.check_length(full[:n], 0, first)
        logits = mllm.forward(ids, full, cache)
        cache.crop(-ids.shape[1])
        for i, ks in enumerate(chosen):
            for k in ks:
                found[i][k] = _cut(
                    [logits[i], logits[n + i]], [b[i][k] for b in branches],
                    [kept[i] for kept in shared],
                )  # fmt: skip
    return found


def _cut(logits: list[torch.Tensor], branches: list[Any], shared: list[int]) -> Streams:
    """Of each stream, the logits that predict the answer's tokens."""
    rows = [
        row[branch.start - 1 - keep : len(branch.ids) - 1 - keep]
        for row, branch, keep in zip(logits, branches, shared, strict=True)
    ]
    tokens = torch.tensor(branches[0].ids[branches[0].start :], device=rows[0].device)
    return Streams(rows[0].float(), rows[1].float(), tokens)


# --- arithmetic and random numbers ---------------------------------------------------------------


def _streams_checked(
    conditional: torch.Tensor, contrast: torch.Tensor, step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both at full precision: differences of logits in half precision are mostly rounding."""
    if conditional.shape != contrast.shape or conditional.ndim != 2:
        raise ValueError(
            "the two streams need logits of one shape (batch, vocabulary), not "
            f"{tuple(conditional.shape)} and {tuple(contrast.shape)}"
        )
    if step < 1:
        raise ValueError(f"step counts the answer's tokens from 1, and is {step}")
    kind = torch.promote_types(conditional.dtype, torch.float32)
    return conditional.to(kind), contrast.to(kind)


def _pushed(conditional: torch.Tensor, contrast: torch.Tensor, weight: float) -> torch.Tensor:
    """``l + weight (l - l')``; what is ruled out already stays so."""
    mixed = conditional + weight * (conditional - contrast)
    return torch.where(conditional.isneginf(), conditional, mixed)


def _drawn(probabilities: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """The token at which the cumulated probabilities pass u; (N, V) and (N, 1) to (N, 1)."""
    passed = probabilities.cumsum(dim=-1)
    # Below the sum by more than a rounding error, lest the last token comes, likely or not.
    aim = u.clamp(max=1 - 1e-6) * passed[:, -1:]
    return torch.searchsorted(passed, aim, right=True)


class _Seeds:
    """Random numbers of an entry, by one seed for all or one for each."""

    def __init__(self, seed: int | Sequence[int] | None):
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self._one = None if isinstance(seed, Sequence | np.ndarray) else _whole(seed)
        self._each = [_whole(s) for s in seed] if self._one is None else []

    def rng(self, purpose: int, entry: int, *place: int) -> np.random.Generator:
        if self._one is not None:
            return np.random.default_rng([self._one, purpose, entry, *place])
        if entry >= len(self._each):
            raise ValueError(f"there are {len(self._each)} seeds, and more entries")
        return np.random.default_rng([self._each[entry], purpose, 0, *place])


def _whole(seed: int) -> int:
    if seed != int(seed) or seed < 0:
        raise ValueError(f"seed must be an integer, 0 or above, or None, not {seed!r}")
    return int(seed)


def _uniforms(seeds: _Seeds, first: int, n: int, length: int) -> torch.Tensor:
    """Numbers in [0, 1), (n, length): a row for each entry, whatever batch it is in."""
    rows = [seeds.rng(_DRAW, first + i).random(length) for i in range(n)]
    return torch.from_numpy(np.stack(rows)).float()


def _normals(seeds: _Seeds, first: int, n_images: list[int], pixels: torch.Tensor) -> torch.Tensor:
    """Standard normal numbers for each image, (images, ...)."""
    places = [(first + i, k) for i, n in enumerate(n_images) for k in range(n)]
    rows = [
        seeds.rng(_NOISE, *place).standard_normal(pixels.shape[1:], dtype=np.float32)
        for place in places
    ]
    return torch.from_numpy(np.stack(rows)).to(pixels.device)


def _warpers(do_sample: bool, temperature: float, top_p: float) -> list[LogitsProcessor]:
    if not 0 < temperature < math.inf or not 0 < top_p <= 1:
        raise ValueError(
            "temperature must be positive and top_p between 0 and 1, not "
            f"{temperature!r} and {top_p!r}"
        )
    if not do_sample and (temperature, top_p) != (1, 1):
        raise ValueError("temperature and top_p are for sampling: give do_sample=True as well")
    warpers: list[LogitsProcessor] = []
    if temperature != 1:
        warpers.append(TemperatureLogitsWarper(float(temperature)))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(float(top_p)))
    return warpers


def _check(name: str, value: float, most: float = math.inf) -> None:
    if not 0 <= value <= most or math.isinf(value):
        limit = "0 or above" if math.isinf(most) else f"between 0 and {most}"
        raise ValueError(f"{name} must be a number {limit}, not {value!r}")


def _check_noise_step(step: int) -> None:
    if step != int(step) or not 0 <= step < NOISE_STEPS:
        raise ValueError(
            f"the noise step must be a whole number from 0 to {NOISE_STEPS - 1}, not {step!r}"
        )
