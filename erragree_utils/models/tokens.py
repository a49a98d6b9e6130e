"""What a language model reads: questions in its chat template, images, answers, as tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeAlias

import torch
from PIL import Image

from ..images import padded_square
from .branches import Branch, common_start
from .features import Memory, Seen
from .folders import ModelError
from .inputs import EncodeError, encodable, worded
from .limits import bounded, check_template

#: One image, several for one prompt, or none (a question that the text alone has to answer).
Picture: TypeAlias = Image.Image | Sequence[Image.Image] | None

# The line that LLaVA-1.5 was tuned with ("vicuna_v1" in its code; Liu et al. 2023).
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


@dataclass(frozen=True)
class Shown:
    """The preprocessed images of an entry."""

    seen: list[Seen]

    @property
    def counts(self) -> list[int]:
        """Tokens that each image takes."""
        return [count for seen in self.seen for count in seen.counts]


@dataclass(frozen=True)
class Stream:
    """Prompts, or their beginnings, as token numbers, and the preprocessed images they show.

    In `rows` an image takes as many tokens as the model sees of it.
    """

    rows: list[list[int]]
    n_images: list[int]
    seen: list[Seen] = field(default_factory=list)

    def without_images(self) -> Stream:
        """Nothing is read before the questions, which `Engine.branches` then gives whole."""
        return Stream([[] for _ in self.rows], [0] * len(self.rows))


class Prompts:
    """A checkpoint's processor, and how texts and images become what its model reads.

    With `square` ``"pad"`` images are padded to squares with the mean colour, as LLaVA-1.5's own
    code does; the processor by itself crops their centre.
    """

    def __init__(
        self,
        name: str,
        processor: Any,
        device: torch.device,
        dtype: torch.dtype,
        square: str | None = None,
    ):
        self.name, self.processor, self.square = name, processor, square
        self.device, self.dtype = device, dtype
        self.unknown: dict[str, None] = {}  # questions with unknown words, of the call in progress
        self.memory: Memory | None = None  # of images, where `Engine.remembering` gave one
        self._checked: Any = None  # the chat template that was looked through
        self._kind: tuple[Any, bool] | None = None  # a template, and whether it is Vicuna's
        processor.tokenizer.padding_side = "left"

    def prompt(self, question: str, n_images: int = 1) -> str:
        """See `Mllm.prompt`."""
        messages = [_asked(question, n_images)]
        if self._is_vicuna():
            line = {"role": "system", "content": [{"type": "text", "text": SYSTEM}]}
            messages.insert(0, line)
        return self._render(messages)

    def _is_vicuna(self) -> bool:
        """Whether the chat template is of the Vicuna kind, and leaves its line to the caller."""
        template = self.processor.chat_template
        if self._kind is None or self._kind[0] != template:
            bare = self._render([_asked("Why?", 1)])
            self._kind = template, "USER:" in bare and "ASSISTANT:" in bare and SYSTEM not in bare
        return self._kind[1]

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
            self.unknown.setdefault(question)

    def branches(
        self,
        rows: Sequence[Sequence[tuple[str, str]]],
        n_images: Sequence[int],
        first: int,
        end: bool = False,
    ) -> list[list[Branch]]:
        """Tokens of (question, answer)s for each entry; each different text is tokenized once.

        `end` puts the end token behind each answer.
        """
        tail = (self.processor.tokenizer.eos_token_id,) if end else ()
        for index, row in enumerate(rows, first):
            for question, answer in row:
                worded(question, f"the question of entry {index}", index)
                worded(answer, f"an answer of entry {index}", index)
        pairs = ((q, n) for n, row in zip(n_images, rows, strict=True) for q, _ in row)
        prompts = {(q, n): self.prompt(q, n) for q, n in dict.fromkeys(pairs)}
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
                branches[-1].append(Branch((*tokens[cut:], *tail), start - cut))
        return branches

    def inputs(self, batch: Sequence[tuple[Picture, str]], first: int) -> dict[str, torch.Tensor]:
        """The model's inputs for whole prompts with their images, padded on the left."""
        groups = [pictures(picture, first + i) for i, (picture, *_) in enumerate(batch)]
        texts = self.prompts([question for _, question, *_ in batch], list(map(len, groups)), first)
        ids = self.tokens(texts)
        for i, (text, (_, question, *_)) in enumerate(zip(texts, batch, strict=True)):
            self._check_tokens(ids[text], question, len(groups[i]), first + i)
        return self._processed(groups, texts, range(first, first + len(groups)))

    def shown(self, batch: Sequence[tuple], first: int) -> list[tuple]:
        """The batch with the first of each entry, its images, preprocessed.

        An image that is remembered is not preprocessed again (`Engine.remembering`).
        """
        groups = [
            entry[0] if isinstance(entry[0], Shown) else pictures(entry[0], first + i)
            for i, entry in enumerate(batch)
        ]
        # OneVision shows several images of a prompt in another way than each by itself.
        whole = "onevision" in type(self.processor).__name__.lower()
        units = [
            (i, unit)
            for i, group in enumerate(groups)
            if not isinstance(group, Shown)
            for unit in ([group] if whole and group else [[image] for image in group])
        ]
        if self.memory is None:
            found = self._seen(units, first)
        else:
            found = self.memory.recalled(
                [unit for _, unit in units],
                lambda fresh: self._seen([units[k] for k in fresh], first),
            )
        seen_of: list[list[Seen]] = [[] for _ in groups]
        for (i, _), seen in zip(units, found, strict=True):
            seen_of[i].append(seen)
        return [
            (group if isinstance(group, Shown) else Shown(seen), *entry[1:])
            for group, seen, entry in zip(groups, seen_of, batch, strict=True)
        ]

    def _seen(self, units: Sequence[tuple[int, list[Image.Image]]], first: int) -> list[Seen]:
        """Images that are preprocessed together, with the numbers of their entries."""
        if not units:
            return []
        token = self.processor.image_token
        groups = [group for _, group in units]
        # Line breaks keep the tokens of two images apart.
        texts = ["\n".join([token] * len(group)) for group in groups]
        found = self._processed(groups, texts, [first + i for i, _ in units])
        ids, mask = found.pop("input_ids"), found.pop("attention_mask").bool()
        done, out = 0, []
        for k, group in enumerate(groups):
            flags = (ids[k][mask[k]] == self.processor.image_token_id).tolist()
            counts = [sum(run) for flag, run in groupby(flags) if flag]
            own = slice(done, done + len(group))
            out.append(Seen(
                {key: x[k : k + 1] if key == "batch_num_images" else x[own]
                 for key, x in found.items()},
                counts,
            ))  # fmt: skip
            done += len(group)
        return out

    def heads(self, batch: Sequence[tuple], first: int) -> Stream:
        """Images, and what stands before them: all that questions about an entry share."""
        token, shown = self.processor.image_token, [row[0] for row in self.shown(batch, first)]
        texts = {}
        for n in {len(each.counts) for each in shown} - {0}:
            text = self.prompt("", n)
            texts[n] = text[: text.rindex(token) + len(token)]
        ids = self.tokens(texts.values()) if texts else {}
        rows = [
            self.expanded(ids[texts[len(each.counts)]], each.counts) if each.counts else []
            for each in shown
        ]
        return _stream(rows, shown)

    def whole(self, batch: Sequence[tuple], first: int) -> Stream:
        """Whole prompts, (images, question) each, up to where the answer begins."""
        batch = self.shown(batch, first)
        shown = [row[0] for row in batch]
        texts = self.prompts(
            [question for _, question, *_ in batch], [len(each.counts) for each in shown], first
        )
        ids = self.tokens(texts)
        for i, (text, each, row) in enumerate(zip(texts, shown, batch, strict=True)):
            self._check_tokens(ids[text], row[1], len(each.counts), first + i)
        rows = [
            self.expanded(ids[text], each.counts) for text, each in zip(texts, shown, strict=True)
        ]
        return _stream(rows, shown)

    def expanded(self, ids: Sequence[int], counts: Sequence[int]) -> list[int]:
        """Token numbers with as many for each image as it takes."""
        left, image = iter(counts), self.processor.image_token_id
        return [token for t in ids for token in ([t] * next(left) if t == image else [t])]

    def _processed(
        self,
        groups: Sequence[Sequence[Image.Image]],
        texts: Sequence[str],
        places: Sequence[int],
    ) -> dict[str, torch.Tensor]:
        flat = [self.framed(image) for group in groups for image in group]
        try:
            inputs = self.processor(
                images=flat or None, text=list(texts), padding=True, padding_side="left",
                return_tensors="pt", add_special_tokens=self._adds_special(texts[0]),
            )  # fmt: skip
        except (OSError, ValueError, ZeroDivisionError) as error:
            entries = [(i, x) for i, group in zip(places, groups, strict=True) for x in group]
            index, image = next((e for e in entries if not self._preprocesses(e[1])), entries[0])
            raise EncodeError(
                f"image {index} ({image.mode}, {image.width} x {image.height} px) cannot be "
                f"preprocessed: {error}",
                index,
            ) from error
        return {
            key: self.put(value, self.dtype if value.is_floating_point() else value.dtype)
            for key, value in inputs.items()
            if not key.endswith("token_type_ids")
        }

    def put(self, tensor: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
        """A tensor on the model's device; a GPU fetches it while the program goes on."""
        if self.device.type == "cuda" and tensor.device.type == "cpu":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, dtype, non_blocking=True)

    def framed(self, image: Image.Image) -> Image.Image:
        """See `Mllm.framed`."""
        if self.square != "pad":
            return image
        # As LLaVA's own code rounds it.
        red, green, blue = (int(255 * share) for share in self.processor.image_processor.image_mean)
        return padded_square(image, (red, green, blue))

    def _preprocesses(self, image: Image.Image) -> bool:
        try:
            self.processor.image_processor(self.framed(image), return_tensors="pt")
        except (OSError, ValueError, ZeroDivisionError):
            return False
        return True

    def image_end(self, ids: Sequence[int]) -> int:
        """Tokens up to and with the last of an image."""
        return len(ids) - list(ids)[::-1].index(self.processor.image_token_id)

    def padded(
        self, rows: Sequence[Sequence[int]], left: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token numbers and mask, both (B, longest)."""
        length = max(1, *map(len, rows), 0)
        fill = [[0] * (length - len(row)) for row in rows]
        real = [[1] * len(row) for row in rows]
        pads = [[self.pad_id] * len(zeros) for zeros in fill]
        ids, mask = (
            torch.tensor([[*a, *b] if left else [*b, *a] for a, b in zip(*both, strict=True)])
            for both in ((pads, rows), (fill, real))
        )
        return self.put(ids), self.put(mask)


def _asked(question: str, n_images: int) -> dict[str, Any]:
    content = [{"type": "image"}] * n_images + [{"type": "text", "text": question}]
    return {"role": "user", "content": content}


def _stream(rows: list[list[int]], shown: Sequence[Shown]) -> Stream:
    counts = [len(each.counts) for each in shown]
    return Stream(rows, counts, [seen for each in shown for seen in each.seen])


def pictures(picture: Picture, index: int) -> list[Image.Image]:
    """The images of one entry, RGB; one that cannot be read is named by the entry."""
    if picture is None:
        return []
    group = picture if isinstance(picture, list | tuple) else [picture]
    return [encodable(image, index) for image in group]
