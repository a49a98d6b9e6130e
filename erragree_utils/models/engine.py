"""How prompts go through a language model: in batches, with shared beginnings, one stream or two.

An image and the words before it are the same for every question about it, so they go through the
model once (`Engine.prefill`); what each question and answer adds continues from the keys and values
that are kept (`Engine.answers`). Contrastive decoding reads a second stream, the same questions
with a noised image or without one, as further rows of the same batch.
"""

from __future__ import annotations

import inspect
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import torch
from torch.nn import functional as F
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList

from .batches import Room, in_batches
from .inputs import EncodeError
from .memory import rows_that_fit
from .tokens import Prompts, Stream, shared_start

Row = TypeVar("Row")

_TOO_COARSE = "the weights are damaged, or dtype is too coarse (try dtype='bfloat16' or 'float32')"


class Answer(NamedTuple):
    """What predicts the tokens (T,) of answer `branch` to row `row`: logits (T, V) a stream."""

    row: int
    branch: int
    logits: list[torch.Tensor]
    tokens: torch.Tensor


class Engine(Prompts):
    """A model, and the ways through it. `Mllm` has one."""

    def __init__(
        self,
        name: str,
        model: torch.nn.Module,
        processor: Any,
        device: torch.device,
        dtype: torch.dtype,
        square: str | None = None,
    ):
        super().__init__(name, processor, device, dtype, square)
        self.model = model.eval().requires_grad_(False)
        accepted = inspect.signature(model.forward).parameters
        # The argument of keys and values was renamed in the course of Transformers 5.
        self.cache_name = "cache" if "cache" in accepted else "past_key_values"

    @cached_property
    def room(self) -> Room:
        """Prompts with an image that may be read at a time; by a formula before the first try."""
        return Room(rows_that_fit(self.model, self.device))

    @torch.inference_mode()
    def gather(
        self,
        rows: Iterable[Row],
        total: int | None,
        batch_size: int,
        encode: Callable[[list[Row], int], Iterable[Any]],
        label: str = "images",
        streams: int = 1,
    ) -> list[Any]:
        """What `encode(batch, index of its first row)` makes of all rows, a batch at a time.

        `batch_size` rows at most, each of so many `streams`; fewer where the memory is smaller.
        Warns of questions with words that the tokenizer does not know.
        """
        self.unknown.clear()
        parts = in_batches(
            rows, batch_size, encode, room=self.room, rows_each=streams, total=total, label=label
        )
        if self.unknown:
            warnings.warn(
                f"questions or answers with words {self.name} does not know: {len(self.unknown)} "
                f"questions, such as {textwrap.shorten(next(iter(self.unknown)), 120)!r}",
                stacklevel=4,
            )
        return [result for part in parts for result in part]

    def check_length(self, mask: torch.Tensor, more: int, first: int) -> None:
        """Refuse prompts that are longer, with so many tokens more, than the model reads."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        lengths = mask.sum(dim=1) + more
        if limit is not None and lengths.max() > limit:
            index = first + int(lengths.argmax())
            raise EncodeError(
                f"entry {index} has {int(lengths.max())} tokens with its images and its answer, "
                f"{self.name} reads {limit}: shorten it, or show fewer images",
                index,
            )

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any, **more: Any):
        """Logits for the tokens `ids` that follow what is in the cache.

        Positions count real tokens, so that a row means the same however far it is padded.
        """
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        return self.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True,
            **{self.cache_name: cache}, **more,
        ).logits  # fmt: skip

    def prefill(self, streams: Sequence[Stream]) -> tuple[DynamicCache, torch.Tensor]:
        """Keys and values of the rows of all streams, one after another, and their mask.

        Each stream goes through the model by itself: in one batch, prompts without an image would
        be padded to the length of those with one. Equal rows without images go through once. The
        shorter stream is padded on the left; keys carry their positions already, so where they
        stand in the cache does not matter, and the mask hides the padding.
        """
        parts = []
        for stream in streams:
            rows = stream.rows
            if not stream.pixels:
                rows = [list(row) for row in dict.fromkeys(map(tuple, rows))]
            ids, mask = self.padded(rows, left=True)
            cache = DynamicCache()
            self.forward(ids, mask, cache, logits_to_keep=1, **stream.pixels)
            if len(rows) < len(stream.rows):
                places = torch.tensor([rows.index(row) for row in stream.rows], device=self.device)
                cache.batch_select_indices(places)
                mask = mask[places]
            parts.append((cache, mask))
        if len(parts) == 1:
            return parts[0]
        width = max(mask.shape[1] for _, mask in parts)
        lacking = [width - mask.shape[1] for _, mask in parts]
        joint = DynamicCache()
        for number, layers in enumerate(zip(*(cache.layers for cache, _ in parts), strict=True)):
            keys, values = (
                torch.cat([F.pad(x, (0, 0, n, 0)) for x, n in zip(tensors, lacking, strict=True)])
                for tensors in ([part.keys for part in layers], [part.values for part in layers])
            )
            joint.update(keys, values, number)
        masks = [F.pad(mask, (n, 0)) for (_, mask), n in zip(parts, lacking, strict=True)]
        return joint, torch.cat(masks)

    def answers(
        self,
        streams: Sequence[Stream],
        rows: Sequence[Sequence[tuple[str, str]]],
        first: int,
        end: bool = False,
    ) -> Iterator[Answer]:
        """The logits that predict the answer of each (question, answer) about each entry.

        With `end`, also those that predict the end token behind it.

        Of each entry, the image and the tokens with which all its branches begin are read once.
        What differs is read in turns: in each, every entry continues with one of its different
        rests, padded on the right, where no real token attends to it; then the cache is cut back.
        Answers that are predicted from the same tokens (as options of one token are) share a turn.

        Streams
        -------
        The second has the same branches in the same order; only what stands before differs. Its
        rows follow those of the first in one batch.
        """
        if not any(rows):
            return
        branches = [self.branches(rows, stream.n_images, first, end) for stream in streams]
        shared = [[shared_start(row) for row in of_stream] for of_stream in branches]
        cache, mask = self.prefill([
            replace(stream, rows=[
                [*head, *(row[0].inputs[:n] if row else ())]
                for head, row, n in zip(stream.rows, of_stream, lengths, strict=True)
            ])
            for stream, of_stream, lengths in zip(streams, branches, shared, strict=True)
        ])  # fmt: skip
        rests = [list(dict.fromkeys(branch.inputs for branch in row)) for row in branches[0]]
        for turn in range(max(map(len, rests))):
            chosen = [
                [k for k, branch in enumerate(row) if rest[turn : turn + 1] == [branch.inputs]]
                for row, rest in zip(branches[0], rests, strict=True)
            ]
            continued = [
                # An entry that has no rest left goes along with one token, which nothing reads.
                row[ks[0]].inputs[n:] if ks else (self.pad_id,)
                for of_stream, lengths in zip(branches, shared, strict=True)
                for row, ks, n in zip(of_stream, chosen, lengths, strict=True)
            ]
            ids, fresh = self.padded(continued, left=False)
            full = torch.cat([mask, fresh], dim=1)
            self.check_length(full[: len(rows)], 0, first)
            logits = self.forward(ids, full, cache)
            cache.crop(-ids.shape[1])
            for i, ks in enumerate(chosen):
                for k in ks:
                    tokens = branches[0][i][k].ids[branches[0][i][k].start :]
                    yield Answer(i, k, [
                        # A token is predicted one place before it.
                        logits[s * len(rows) + i][
                            branches[s][i][k].start - 1 - shared[s][i] :
                        ][: len(tokens)]
                        for s in range(len(streams))
                    ], torch.tensor(tokens, device=logits.device))  # fmt: skip

    def write(
        self,
        inputs: dict[str, Any],
        n: int,
        first: int,
        max_new_tokens: int,
        processors: Sequence[LogitsProcessor] = (),
    ) -> list[str]:
        """Greedy text of the first `n` rows, without special tokens and surrounding spaces.

        Sampling is done by a processor that leaves one token (`decoding`).
        """
        self.check_length(inputs["attention_mask"][:n], max_new_tokens, first)
        numbers = _NumbersOnly()
        out = self.model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1,
            temperature=None, top_p=None, top_k=None, pad_token_id=self.pad_id,
            logits_processor=LogitsProcessorList([numbers, *processors]),
        )  # fmt: skip
        if numbers.bad is not None and numbers.bad.any():
            index = first + int(numbers.bad.int().argmax()) % n
            raise EncodeError(f"the logits for entry {index} are not numbers: {_TOO_COARSE}", index)
        new = out[:n, inputs["input_ids"].shape[1] :]
        texts = self.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [text.strip() for text in texts]


class _NumbersOnly(LogitsProcessor):
    """Notes which rows had a logit that is no number: ``generate()`` would take some token.

    As the first processor; that a token is ruled out by -inf, is no error.
    """

    def __init__(self) -> None:
        self.bad: torch.Tensor | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
        # Kept on the device: reading it here would make each token wait for the GPU.
        bad = (scores.isnan() | scores.isposinf()).any(dim=-1)
        self.bad = bad if self.bad is None else self.bad | bad
        return scores


def finite(value: float, index: int, ruled_out: bool = False) -> float:
    """A score, if it is a number; -inf may be one of an answer that a method rules out.

    Raises
    ------
    EncodeError
        It names the entry.
    """
    if value != value or value == float("inf") or (value == float("-inf") and not ruled_out):
        raise EncodeError(f"the score of entry {index} is not finite: {_TOO_COARSE}", index)
    return value
