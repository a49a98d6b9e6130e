"""How prompts go through a language model: in batches, with shared beginnings, one stream or two.

An image and the words before it are the same for every question about it, so they go through the
model once (`Engine.prefill`); the questions and answers continue from the cached keys and values,
as one tree (`Engine.answers`). Contrastive decoding reads a second stream, the same questions with
a noised image or without one, as further rows of the same batch.
"""

from __future__ import annotations

import inspect
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch.nn import functional as F
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList, PreTrainedConfig

from .batches import Room, in_batches
from .branches import attended, common_start, grown, shared_start
from .features import Memory, Seen, see, without_mlp
from .finite import NumbersOnly
from .inputs import EncodeError
from .masks import added, window_of
from .memory import rows_that_fit
from .tokens import Prompts, Stream

Row = TypeVar("Row")

#: Changes what was read of rows, before the last token (B, 1) of each prompt is read.
Change: TypeAlias = Callable[["Engine", "Prefix", torch.Tensor], None]


class Answer(NamedTuple):
    """What predicts the tokens (T,) of answer `branch` to row `row`: logits (T, V) a stream."""

    row: int
    branch: int
    logits: list[torch.Tensor]
    tokens: torch.Tensor


class Prefix(NamedTuple):
    """What was read of rows: keys and values, the mask (B, T) of what is real of them.

    Positions run ahead of the number of tokens by `shift` (B, 1): of an image Qwen's models count
    rows and columns. `images` (B, T) tells which tokens are those of images.
    """

    cache: DynamicCache
    mask: torch.Tensor
    shift: torch.Tensor
    images: torch.Tensor


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
        accepted = inspect.signature(model.forward).parameters
        super().__init__(
            name, processor, device, dtype, square, model.config.image_token_id, frozenset(accepted)
        )
        self.model = model.eval().requires_grad_(False)
        # The argument of keys and values was renamed in the course of Transformers 5.
        self.cache_name = "cache" if "cache" in accepted else "past_key_values"

    @cached_property
    def room(self) -> Room:
        """Prompts with an image that may be read at a time; by a formula before the first try."""
        return Room(rows_that_fit(self.model, self.device))

    @contextmanager
    def remembering(self, least: int = 0) -> Iterator[None]:
        """Keep the features of images for further calls: `BUDGET` bytes, or the `least` last ones.

        For calls between which nothing about the model changes: what is remembered passes by the
        vision tower and its hooks.
        """
        self.memory = Memory(least=least)
        try:
            yield
        finally:
            self.memory = None

    @torch.inference_mode()
    def gather(
        self,
        rows: Iterable[Row],
        total: int | None,
        batch_size: int,
        encode: Callable[[list[Row], int], Iterable[Any]],
        prepare: Callable[[list[Row], int], list[Row]] | None = None,
        label: str = "images",
        streams: int = 1,
    ) -> list[Any]:
        """What `encode(batch, index of its first row)` makes of all rows, a batch at a time.

        `batch_size` rows at most, each of so many `streams`; fewer where the memory is smaller.
        `prepare`, such as `shown`, comes before it, once for each row, however often a batch is
        halved. Warns of questions with words that the tokenizer does not know.
        """
        self.unknown.clear()
        parts = in_batches(
            rows, batch_size, encode, room=self.room, rows_each=streams, total=total, label=label,
            prepare=prepare,
        )  # fmt: skip
        if self.unknown:
            warnings.warn(
                f"questions or answers with words {self.name} does not know: {len(self.unknown)} "
                f"questions, such as {textwrap.shorten(next(iter(self.unknown)), 120)!r}",
                stacklevel=4,
            )
        return [result for part in parts for result in part]

    def check_length(self, lengths: Sequence[int], first: int) -> None:
        """Refuse prompts that are longer, with what is to be written, than the model reads."""
        limit = getattr(self.text, "max_position_embeddings", None)
        if limit is not None and max(lengths) > limit:
            index = first + list(lengths).index(max(lengths))
            raise EncodeError(
                f"entry {index} has {max(lengths)} tokens with its images and its answer, "
                f"{self.name} reads {limit}: shorten it, or show fewer images",
                index,
            )

    def forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None,
        cache: Any,
        features: Sequence[torch.Tensor] = (),
        **more: Any,
    ) -> torch.Tensor:
        """Logits for the tokens `ids` that follow what is in the cache.

        Positions count real tokens, so that a row means the same however far it is padded. Where
        nothing is padded, no mask lets attention take its fast ways. `features` are those of
        `Engine.features`, for the image tokens among `ids`.
        """
        if "position_ids" not in more:
            if mask is None:
                begun = cache.get_seq_length()
                more["position_ids"] = torch.arange(begun, begun + ids.shape[1], device=ids.device)[
                    None
                ]
            else:
                positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
                more["position_ids"] = positions[:, -ids.shape[1] :]
        more |= {"attention_mask": mask, "use_cache": True, self.cache_name: cache}
        places = ids == self.image_id
        words = self.model.get_input_embeddings()(ids.masked_fill(places, 0) if features else ids)
        if features:
            levels = torch.cat(list(features), dim=1).to(words.dtype)
            words = words.masked_scatter(places[..., None], levels[0])
            if "token_type_ids" in self.accepted:  # tokens of an image see each other (Gemma 3)
                more["token_type_ids"] = places.int()
            if len(levels) > 1:  # which the whole model takes from pixels only
                more |= {"visual_pos_masks": places, "deepstack_visual_embeds": [*levels[1:]]}
                return self.model.get_decoder()(inputs_embeds=words, **more).last_hidden_state
        return self.model(inputs_embeds=words, **more).logits

    def features(self, seen: Sequence[Seen]) -> list[torch.Tensor]:
        """The tokens (levels, count, width) of each image; the tower reads each only once."""
        fresh = [each for each in dict.fromkeys(seen) if each.features is None]
        if fresh:
            see(self.model, fresh)
        return [tokens for each in seen for tokens in each.features or ()]

    def prefill(self, streams: Sequence[Stream]) -> Prefix:
        """What is read of the rows of all streams, one after another.

        Each stream goes through the model by itself: in one batch, prompts without an image would
        be padded to the length of those with one. The shorter stream is padded on the left; keys
        carry their positions already, so where they stand in the cache does not matter, and the
        mask hides the padding.
        """
        parts = [self._read(stream) for stream in streams]
        if len(parts) == 1:
            return parts[0]
        width = max(part.mask.shape[1] for part in parts)
        lacking = [width - part.mask.shape[1] for part in parts]
        joint = DynamicCache()
        for number, layers in enumerate(zip(*(part.cache.layers for part in parts), strict=True)):
            keys, values = (
                torch.cat([F.pad(x, (0, 0, n, 0)) for x, n in zip(tensors, lacking, strict=True)])
                for tensors in ([part.keys for part in layers], [part.values for part in layers])
            )
            joint.update(keys, values, number)
        mask, images = (
            torch.cat([F.pad(x, (n, 0)) for x, n in zip(flags, lacking, strict=True)])
            for flags in ([part.mask for part in parts], [part.images for part in parts])
        )
        return Prefix(joint, mask, torch.cat([part.shift for part in parts]), images)

    def _read(self, stream: Stream) -> Prefix:
        """What is read of a stream's rows; equal texts are read once."""
        rows, cache = stream.rows, DynamicCache()
        alike = not stream.seen and all(row == rows[0] for row in rows)
        ids, mask = self.padded(rows[:1] if alike else rows, left=True)
        even = all(len(row) == ids.shape[1] for row in rows)
        given, shift = {"logits_to_keep": 1}, mask.new_zeros(len(rows), 1)
        if stream.seen and self.rotates:
            real = mask.clone()
            real[mask.sum(dim=1) == 0, -1] = 1  # rows without a token cannot be counted
            given["position_ids"], shift = self.model.model.get_rope_index(
                ids, mm_token_type_ids=(ids == self.image_id).int(), attention_mask=real,
                image_grid_thw=torch.cat([each.pixels["image_grid_thw"] for each in stream.seen]),
            )  # fmt: skip
        # A pass that only fills the cache: what follows the last keys and values is left out.
        with without_mlp(self.model.get_decoder().layers[-1:]):
            self.forward(ids, None if even else mask, cache, self.features(stream.seen), **given)
        images = ids == self.image_id
        if alike:
            cache.batch_repeat_interleave(len(rows))
            mask, images = mask.expand(len(rows), -1), images.expand(len(rows), -1)
        return Prefix(cache, mask, shift, images)

    @property
    def rotates(self) -> bool:
        """Whether positions are of three dimensions, and the model's own to count (Qwen's)."""
        return hasattr(self.model.model, "get_rope_index")

    def answers(
        self,
        streams: Sequence[Stream],
        rows: Sequence[Sequence[tuple[str, str]]],
        first: int,
        end: bool = False,
        change: Change | None = None,
    ) -> Iterator[Answer]:
        """The logits that predict the answer of each (question, answer) about each entry.

        With `end`, also those that predict the end token behind it. With a `change`, of each entry
        all but the last token of its question, of which there is one, is read before it.

        Of each entry, what comes before its questions is read first. All its branches then go
        through the model at once, as one tree: beginnings they share are there once, and each token
        attends to those before it in its own branch alone.

        Streams
        -------
        The second has the same branches in the same order; only what stands before differs. Its
        rows follow those of the first in one batch.
        """
        if not any(rows):
            return
        branches, heads = [], []
        for stream in streams:
            some = self.branches(rows, stream.n_images, first, end)
            # Prompts without images have nothing before their questions, but begin alike.
            n = 0 if any(stream.rows) else shared_start([b for row in some for b in row])
            ns = [shared_start(row) for row in some] if change else [n] * len(some)
            branches += zip(ns, some, strict=True)
            begun = next(row[0].ids[:n] for row in some if row)
            heads.append(replace(stream, rows=[
                [*read, *(row[0].ids[:n] if row else begun)]
                for read, (n, row) in zip(stream.rows, branches[-len(some):], strict=True)
            ]))  # fmt: skip
        trees = [grown(row, n) for n, row in branches]
        before = [len(row) for head in heads for row in head.rows]
        longest = [
            n + max((len(path) for path in paths), default=0)
            for n, (_, paths) in zip(before, trees, strict=True)
        ]
        self.check_length(longest[: len(rows)], first)
        prefix = self.prefill(heads)
        if change:
            last, _ = self.padded(
                [row[0].ids[n : n + 1] if row else [] for n, row in branches], True
            )
            change(self, prefix, last)
        ids, _ = self.padded([tokens for tokens, _ in trees], left=False)
        # A token is predicted one place before it.
        wanted = [
            [path[b.start - 1 - n :] for b, path in zip(row, paths, strict=True)]
            for (n, row), (_, paths) in zip(branches, trees, strict=True)
        ]
        kept = sorted({place for row in wanted for places in row for place in places})
        found = {place: k for k, place in enumerate(kept)}
        own, depths = map(torch.from_numpy, attended([x for _, x in trees], ids.shape[1]))
        places = self.put(torch.tensor(before)[:, None] + depths)
        logits = self.forward(
            ids, added(self.text, prefix.mask, self.put(own), places, self.dtype), prefix.cache,
            position_ids=places + prefix.shift, logits_to_keep=self.put(torch.tensor(kept)),
        )  # fmt: skip
        for i, (_, row) in enumerate(branches[: len(rows)]):
            for k, branch in enumerate(row):
                yield Answer(i, k, [
                    logits[s * len(rows) + i][[found[p] for p in wanted[s * len(rows) + i][k]]]
                    for s in range(len(streams))
                ], self.put(torch.tensor(branch.ids[branch.start :])))  # fmt: skip

    @property
    def text(self) -> PreTrainedConfig:
        """The language model's config."""
        return self.model.config.get_text_config()

    def begun(self, streams: Sequence[Stream], change: Change | None = None) -> dict[str, Any]:
        """Inputs of ``generate()``: the prompts, and the cache of what comes before questions.

        Images, and what prompts without one begin with, are read here; the questions of all streams
        are left for generate(), which reads them in one batch. Rows of different lengths are padded
        on the left of either half.
        """
        lengths = [self._begun(stream, change is not None) for stream in streams]
        heads = [
            replace(stream, rows=[row[:n] for row, n in zip(stream.rows, of_stream, strict=True)])
            for stream, of_stream in zip(streams, lengths, strict=True)
        ]
        rests = [
            row[n:]
            for stream, of_stream in zip(streams, lengths, strict=True)
            for row, n in zip(stream.rows, of_stream, strict=True)
        ]
        prefix = self.prefill(heads)
        if change:
            change(self, prefix, self.padded(rests, left=True)[0])
        if self.rotates:
            self.model.model.rope_deltas = prefix.shift  # which generate() adds
        read, _ = self.padded([row for stream in heads for row in stream.rows], left=True)
        ids, fresh = self.padded(rests, left=True)
        return {
            "input_ids": torch.cat([read, ids], dim=1),
            "attention_mask": torch.cat([prefix.mask, fresh], dim=1),
            self.cache_name: prefix.cache,
        }

    def _begun(self, stream: Stream, all_but_last: bool) -> list[int]:
        """Tokens of each prompt up to its last image, or that all prompts without one share.

        Of models with a window all but the last: generate() counts it over the padding, which must
        not stand between two tokens of a row.
        """
        if all_but_last or window_of(self.text) is not None:
            return [len(row) - 1 for row in stream.rows]
        bare = [row for row, n in zip(stream.rows, stream.n_images, strict=True) if not n]
        shared = min((min(common_start(bare[0], row), len(row) - 1) for row in bare), default=0)
        return [
            self.image_end(row) if n else max(1, shared)
            for row, n in zip(stream.rows, stream.n_images, strict=True)
        ]

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
        lengths = inputs["attention_mask"][:n].sum(dim=1) + max_new_tokens
        self.check_length(lengths.tolist(), first)
        numbers = NumbersOnly()
        out = self.model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1,
            temperature=None, top_p=None, top_k=None, pad_token_id=self.pad_id,
            logits_processor=LogitsProcessorList([numbers, *processors]),
        )  # fmt: skip
        numbers.check(n, first)
        new = out[:n, inputs["input_ids"].shape[1] :]
        texts = self.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [text.strip() for text in texts]
