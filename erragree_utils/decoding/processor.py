"""Decodes two streams as one inside ``generate()``, with random numbers for each entry."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from .contrasts import Contrast

# The random numbers of an entry, by what they are for.
_DRAW, _NOISE = 0, 1


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
            combined = _chosen(combined, self.draws[:, step - 1 : step])
        return combined.repeat(2, 1)


class SamplingLogitsProcessor(LogitsProcessor):
    """Draws the tokens of ``generate(do_sample=False)`` by given numbers, a row for each prompt.

    Transformers' own sampling gives an answer that depends on what else is in the batch. Arguments
    as in `ContrastiveLogitsProcessor`.
    """

    def __init__(self, prompt_length: int, warpers: Sequence[LogitsProcessor], draws: torch.Tensor):
        self.prompt_length, self.draws = prompt_length, draws
        self.warpers = LogitsProcessorList(warpers)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
        """Logits (N, V) in; out, 0 for the token that was drawn and -inf for all others."""
        step = input_ids.shape[1] - self.prompt_length
        return _chosen(self.warpers(input_ids, scores), self.draws[:, step : step + 1])


def _chosen(logits: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    token = _drawn(logits.softmax(dim=-1), draws)
    return torch.full_like(logits, -torch.inf).scatter_(1, token, 0.0)


def _drawn(probabilities: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """The token at which the cumulated probabilities pass u; (N, V) and (N, 1) to (N, 1)."""
    passed = probabilities.cumsum(dim=-1)
    # Below the sum by more than a rounding error, lest the last token comes, likely or not.
    aim = u.clamp(max=1 - 1e-6) * passed[:, -1:]
    return torch.searchsorted(passed, aim, right=True)


def warpers(do_sample: bool, temperature: float, top_p: float) -> list[LogitsProcessor]:
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


def named_seed(*name: object) -> int:
    """A seed derived from an item's name, whatever its place in a list.

    For protocols whose results must not depend on which other items are asked in the same call.
    """
    return zlib.crc32(repr(name).encode())


def pair_seeds(pairs: Iterable[Any], seed: int = 0) -> list[int]:
    """A seed for each image of each pair, in order, from the pair's name and the image's index.

    Another `seed` gives other ones.
    """
    more = (seed,) if seed else ()
    return [named_seed(pair.pair_id, i, *more) for pair in pairs for i in range(len(pair.sources))]


class Seeds:
    """Random numbers for each entry, from one seed for all or one for each."""

    def __init__(self, seed: int | Sequence[int] | None):
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self._one = None if isinstance(seed, Sequence | np.ndarray) else _whole(seed)
        self._each = [_whole(s) for s in seed] if self._one is None else []

    def uniforms(self, first: int, n: int, length: int) -> torch.Tensor:
        """Numbers in [0, 1), (n, length): a row for each entry, whatever batch it is in."""
        rows = [self._rng(_DRAW, first + i).random(length) for i in range(n)]
        return torch.from_numpy(np.stack(rows)).float()

    def normals(
        self, place: tuple[int, int], pixels: torch.Tensor, frames: int = 1
    ) -> torch.Tensor:
        """Standard normal numbers of the shape of an image's pixels; `place` is entry and image.

        Of rows (n, 3 * frames * size), as Qwen's towers take patches, which show the image in each
        frame, all frames get the same numbers.
        """
        rng, shape = self._rng(_NOISE, *place), tuple(pixels.shape)
        if frames > 1:
            shape = (shape[0], 3, 1, shape[1] // (3 * frames))
        noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
        if frames > 1:
            noise = noise.expand(-1, -1, frames, -1).reshape(pixels.shape)
        return noise.to(pixels.device)

    def _rng(self, purpose: int, entry: int, *place: int) -> np.random.Generator:
        if self._one is not None:
            return np.random.default_rng([self._one, purpose, entry, *place])
        if entry >= len(self._each):
            raise ValueError(f"there are {len(self._each)} seeds, and more entries")
        return np.random.default_rng([self._each[entry], purpose, 0, *place])


def _whole(seed: int) -> int:
    if seed != int(seed) or seed < 0:
        raise ValueError(f"seed must be an integer, 0 or above, or None, not {seed!r}")
    return int(seed)
