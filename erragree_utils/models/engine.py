"""How prompts and images go through a language model: tokens, batches, shared beginnings, streams.

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
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from PIL import Image
from torch.nn import functional as F
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList

from .device import EncodeError, in_batches
from .folders import ModelError
from .inputs import encodable, worded
from .limits import bounded, check_template

#: One image, several for one prompt, or none (a question that the text alone has to answer).
Picture: TypeAlias = Image.Image | Sequence[Image.Image] | None
Row = TypeVar("Row")

# The line that LLaVA-1.5 was tuned with ("vicuna_v1" in its code; Liu et al. 2023).
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
_TOO_COARSE = "the weights are damaged, or dtype is too coarse (try dtype='bfloat16' or 'float32')"


@dataclass(frozen=True)
class Branch:
    """Tokens of a question with its answer, after the last image; the answer begins at `start`."""

    ids: tuple[int, ...]
    start: int

    @property
    def inputs(self) -> tuple[int, ...]:
        """What the model reads: nothing is predicted from the last token."""
        return self.ids[:-1]


@dataclass(frozen=True)
class Stream:
    """Prompts, or their beginnings, as token numbers, and the preprocessed images they show.

    In `rows` an image takes as many tokens as the model sees of it.
    """

    rows: list[list[int]]
    n_images: list[int]
    pixels: dict[str, torch.Tensor] = field(default_factory=dict)

    def without_images(self) -> Stream:
        """Nothing is read before the questions, which `Engine.branches` then gives whole."""
        return Stream([[] for _ in self.rows], [0] * len(self.rows))


class Answer(NamedTuple):
    """What predicts the tokens (T,) of answer `branch` to row `row`: logits (T, V) a stream."""

    row: int
    branch: int
    logits: list[torch.Tensor]
    tokens: torch.Tensor


class Engine:
    """A model, its processor, and the ways through it. `Mllm` has one.

    `cache_name` is the argument of the keys and values, renamed in the course of Transformers 5.
    """

    def __init__(
        self,
        name: str,
        model: torch.nn.Module,
        processor: Any,
        device: torch.device,
        dtype: torch.dtype,
    ):
        self.name, self.model, self.processor = name, model, processor
        self.device, self.dtype = device, dtype
        self._unknown: dict[str, None] = {}  # questions of the call in progress
        self._checked: Any = None  # the chat template that was looked through
        model.eval().requires_grad_(False)
        processor.tokenizer.padding_side = "left"
        accepted = inspect.signature(model.forward).parameters
        self.cache_name = "cache" if "cache" in accepted else "past_key_values"

    # --- batches ---------------------------------------------------------------------------------

    @torch.inference_mode()
    def gather(
        self,
        rows: Iterable[Row],
        total: int | None,
        batch_size: int,
        encode: Callable[[list[Row], int], Iterable[Any]],
        progress: str | None,
    ) -> list[Any]:
        """What `encode(batch, index of its first row)` makes of all rows, a batch at a time.

        Warns of questions with words that the tokenizer does not know.
        """
        self._unknown.clear()
        parts = in_batches(rows, batch_size, encode, total=total, progress=progress)
        if self._unknown:
            warnings.warn(
                f"questions or answers with words {self.name} does not know: {len(self._unknown)} "
                f"questions, such as {textwrap.shorten(next(iter(self._unknown)), 120)!r}",
                stacklevel=4,
            )
        return [result for part in parts for result in part]

    # --- texts -----------------------------------------------------------------------------------

    def prompt(self, question: str, n_images: int = 1) -> str:
        """See `Mllm.prompt`."""
        content = [{"type": "image"}] * n_images + [{"type": "text", "text": question}]
        messages = [{"role": "user", "content": content}]
        bare = self._render(messages)
        if "USER:" in bare and "ASSISTANT:" in bare and SYSTEM not in bare:
            line = {"role": "system", "content": [{"type": "text", "text": SYSTEM}]}
            return self._render([line, *messages])
        return bare

    def prompts(self, questions: Sequence[str], n_images: Sequence[int], first: int) -> list[str]:
        """The prompt of each entry; an entry without a question is refused by its index."""
        return [
            self.prompt(worded(question, f"the question of entry {index}", index), n)
            for index, (question, n) in enumerate(zip(questions, n_images, strict=True), first)
        ]

    def _render(self, messages: list[dict[str, Any]]) -> str:
        template = self.processor.chat_template
        if not template:
            raise ModelError(
                f"{self.name} comes without a chat template, so how it wants to be asked is "
                "unknown: load a newer revision, or set .processor.chat_template"
            )
        fill = self.processor.apply_chat_template
        try:
            if template != self._checked:
                for one in template.values() if isinstance(template, dict) else [template]:
                    check_template(one, self.name)
                self._checked = template
            return bounded(
                lambda: fill(messages, add_generation_prompt=True, tokenize=False), self.name
            )
        except ModelError:
            raise
        except Exception as error:  # a template is a program, and may fail like one
            raise ModelError(
                f"the chat template of {self.name} cannot be filled in ({error}): fetch the "
                "checkpoint again, or set .processor.chat_template"
            ) from error

    @property
    def pad_id(self) -> int:
        """Number of the token that fills up short rows."""
        tokenizer = self.processor.tokenizer
        return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def tokens(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """Token numbers of each different text; an image is one token here."""
        texts = list(dict.fromkeys(texts))
        special = self._adds_special(texts[0])
        ids = self.processor.tokenizer(texts, add_special_tokens=special)["input_ids"]
        return dict(zip(texts, ids, strict=True))

    def _adds_special(self, text: str) -> bool:
        bos = self.processor.tokenizer.bos_token
        return not (bos and text.startswith(bos))  # some templates write it themselves

    def _check_tokens(self, ids: list[int], question: str, n_images: int, index: int) -> None:
        """Refuse a text that holds the image token; remember one with unknown words."""
        if ids.count(self.processor.image_token_id) != n_images:
            raise EncodeError(
                f"entry {index}: the text {question!r} holds the image token itself", index
            )
        tokenizer = self.processor.tokenizer
        if tokenizer.unk_token_id in ids and tokenizer.unk_token_id != tokenizer.pad_token_id:
            self._unknown.setdefault(question)

    def branches(
        self, rows: Sequence[Sequence[tuple[str, str]]], n_images: Sequence[int], first: int
    ) -> list[list[Branch]]:
        """Tokens of (question, answer)s for each entry; each different text is tokenized once."""
        for index, row in enumerate(rows, first):
            for question, answer in row:
                worded(question, f"the question of entry {index}", index)
                worded(answer, f"an answer of entry {index}", index)
        prompts = {
            (q, n): self.prompt(q, n) for n, row in zip(n_images, rows, strict=True) for q, _ in row
        }
        if not prompts:
            return [[] for _ in rows]

        def whole(question: str, answer: str, n: int) -> str:
            prompt = prompts[question, n]
            return prompt + ("" if prompt[-1:].isspace() else " ") + answer

        texts = [whole(q, a, n) for n, row in zip(n_images, rows, strict=True) for q, a in row]
        ids = self.tokens([*prompts.values(), *texts])
        branches: list[list[Branch]] = []
        for index, (n, row) in enumerate(zip(n_images, rows, strict=True), first):
            branches.append([])
            for question, answer in row:
                tokens = ids[whole(question, answer, n)]
                self._check_tokens(tokens, question, n, index)
                start = common_start(ids[prompts[question, n]], tokens)
                if start >= len(tokens):
                    raise EncodeError(f"entry {index}: the answer {answer!r} has no tokens", index)
                cut = self.image_end(tokens) if n else 0
                branches[-1].append(Branch(tuple(tokens[cut:]), start - cut))
        return branches

    # --- images ----------------------------------------------------------------------------------

    def inputs(self, batch: Sequence[tuple[Picture, str]], first: int) -> dict[str, torch.Tensor]:
        """The model's inputs for whole prompts with their images, padded on the left."""
        groups = [pictures(picture, first + i) for i, (picture, *_) in enumerate(batch)]
        texts = self.prompts([question for _, question, *_ in batch], list(map(len, groups)), first)
        ids = self.tokens(texts)
        for i, (text, (_, question, *_)) in enumerate(zip(texts, batch, strict=True)):
            self._check_tokens(ids[text], question, len(groups[i]), first + i)
        return self._processed(groups, texts, first)

    def heads(self, batch: Sequence[tuple], first: int) -> Stream:
        """Images, and what stands before them: all that questions about an entry share."""
        groups = [pictures(entry[0], first + i) for i, entry in enumerate(batch)]
        rows: list[list[int]] = [[] for _ in groups]
        with_image = [i for i, group in enumerate(groups) if group]
        if not with_image:
            return Stream(rows, [0] * len(rows))
        token = self.processor.image_token
        texts = [self.prompt("", len(groups[i])) for i in with_image]
        texts = [text[: text.rindex(token) + len(token)] for text in texts]
        pixels = self._processed([groups[i] for i in with_image], texts, first)
        ids, real = pixels.pop("input_ids"), pixels.pop("attention_mask").bool()
        for i, row, kept in zip(with_image, ids, real, strict=True):
            rows[i] = row[kept].tolist()
        return Stream(rows, list(map(len, groups)), pixels)

    def _processed(
        self, groups: Sequence[Sequence[Image.Image]], texts: Sequence[str], first: int
    ) -> dict[str, torch.Tensor]:
        flat = [image for group in groups for image in group]
        try:
            inputs = self.processor(
                images=flat or None, text=list(texts), padding=True, padding_side="left",
                return_tensors="pt", add_special_tokens=self._adds_special(texts[0]),
            )  # fmt: skip
        except (OSError, ValueError, ZeroDivisionError) as error:
            entries = [(i, image) for i, group in enumerate(groups, first) for image in group]
            index, image = next((e for e in entries if not self._preprocesses(e[1])), entries[0])
            raise EncodeError(
                f"image {index} ({image.mode}, {image.width} x {image.height} px) cannot be "
                f"preprocessed: {error}",
                index,
            ) from error
        return {
            key: value.to(self.device, self.dtype if value.is_floating_point() else value.dtype)
            for key, value in inputs.items()
            if not key.endswith("token_type_ids")
        }

    def _preprocesses(self, image: Image.Image) -> bool:
        try:
            self.processor.image_processor(image, return_tensors="pt")
        except (OSError, ValueError, ZeroDivisionError):
            return False
        return True

    def image_end(self, ids: Sequence[int]) -> int:
        """Tokens up to and with the last of an image."""
        return len(ids) - list(ids)[::-1].index(self.processor.image_token_id)

    # --- through the model -----------------------------------------------------------------------

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

    def padded(
        self, rows: Sequence[Sequence[int]], left: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token numbers and mask, both (B, longest)."""
        length = max(1, *map(len, rows), 0)
        ids = torch.full((len(rows), length), self.pad_id)
        mask = torch.zeros((len(rows), length), dtype=torch.long)
        for i, row in enumerate(rows):
            place = slice(length - len(row), length) if left else slice(0, len(row))
            ids[i, place] = torch.tensor(row, dtype=torch.long)
            mask[i, place] = 1
        return ids.to(self.device), mask.to(self.device)

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
        self, streams: Sequence[Stream], rows: Sequence[Sequence[tuple[str, str]]], first: int
    ) -> Iterator[Answer]:
        """The logits that predict the answer of each (question, answer) about each entry.

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
        branches = [self.branches(rows, stream.n_images, first) for stream in streams]
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


def pictures(picture: Picture, index: int) -> list[Image.Image]:
    """The images of one entry, RGB; one that cannot be read is named by the entry."""
    if picture is None:
        return []
    group = picture if isinstance(picture, list | tuple) else [picture]
    return [encodable(image, index) for image in group]


def common_start(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning of two sequences."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def shared_start(row: Sequence[Branch]) -> int:
    """Tokens with which all branches begin, before the one that predicts the first answer."""
    if not row:
        return 0
    limit = min(branch.start - 1 for branch in row)
    return min([limit, *(common_start(row[0].inputs, branch.inputs) for branch in row)])
