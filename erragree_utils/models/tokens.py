"""A language model's input as tokens: questions in its chat template, images, answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from PIL import Image

from .branches import Branch, common_start
from .features import Seen
from .folders import ModelError
from .inputs import EncodeError, worded
from .limits import bounded, check_template
from .pictures import Picture, Pictures, Shown, pictures

# The line that LLaVA-1.5 was tuned with ("vicuna_v1" in its code; Liu et al. 2023).
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


@dataclass(frozen=True)
class Stream:
    """Prompts, or their beginnings, as token numbers, with their preprocessed images.

    In `rows` an image takes as many tokens as the model sees of it.
    """

    rows: list[list[int]]
    n_images: list[int]
    seen: list[Seen] = field(default_factory=list)

    def without_images(self) -> Stream:
        """Nothing is read before the questions, which `Engine.branches` then gives whole."""
        return Stream([[] for _ in self.rows], [0] * len(self.rows))


class Prompts(Pictures):
    """Turns texts and their images into what a checkpoint's model reads."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.unknown: dict[str, None] = {}  # questions with unknown words, of the call in progress
        self._checked: Any = None  # the chat template that was looked through
        self._kind: tuple[Any, bool] | None = None  # a template, and whether it is Vicuna's

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
        """The prompt of each entry; an error names an entry without a question by its index."""
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
        """Number of the token that pads short rows."""
        tokenizer = self.processor.tokenizer
        return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def tokens(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """Token numbers of each different text; an image is one token here."""
        found: dict[str, list[int]] = {}
        texts = list(dict.fromkeys(texts))
        for special in (True, False):
            some = [text for text in texts if self._adds_special(text) == special]
            if some:
                ids = self.processor.tokenizer(some, add_special_tokens=special)["input_ids"]
                found |= zip(some, ids, strict=True)
        return found

    def _check_text(
        self, text: str, ids: list[int], question: str, n_images: int, index: int
    ) -> None:
        """Refuse a text that holds the image token; remember one with unknown words."""
        places = (text.count(self.processor.image_token), text.count(self.sign))
        if places != (n_images, n_images if self.sign == self.processor.image_token else 0):
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

        # What stands before the last image is not read here, and what stands behind it does not
        # depend on that.
        rest = {key: self._rest(prompt, key[1]) for key, prompt in prompts.items()}
        texts = [
            self._rest(whole(q, a, n), n)
            for n, row in zip(n_images, rows, strict=True)
            for q, a in row
        ]
        ids = self.tokens([*rest.values(), *texts])
        branches: list[list[Branch]] = []
        for index, (n, row) in enumerate(zip(n_images, rows, strict=True), first):
            branches.append([])
            for question, answer in row:
                text = whole(question, answer, n)
                tokens = ids[self._rest(text, n)]
                self._check_text(text, tokens, question, n, index)
                start = common_start(ids[rest[question, n]], tokens)
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
            self._check_text(text, ids[text], question, len(groups[i]), first + i)
        return self.processed(groups, texts, range(first, first + len(groups)))

    def _rest(self, text: str, n_images: int) -> str:
        """A prompt from its last image token on; the whole of one without images."""
        if not n_images:
            return text
        return self.sign + self._tail + text.rpartition(self.processor.image_token)[2]

    @cached_property
    def _tail(self) -> str:
        """What processors put behind the last token of an image."""
        (seen,) = self._seen([(0, [Image.new("RGB", (64, 64))])], 0)
        return seen.texts[0].rpartition(self.sign)[2]

    def heads(self, batch: Sequence[tuple], first: int) -> Stream:
        """Images, and everything before them: what all questions about an entry share."""
        shown = [row[0] for row in self.shown(batch, first)]
        prompts = {n: self.prompt("", n) for n in {len(each.counts) for each in shown} - {0}}
        texts = {}
        for marks in {each.texts for each in shown} - {()}:
            text = self._filled(prompts[len(marks)], marks)
            texts[marks] = text[: text.rindex(self.sign) + len(self.sign)]
        ids = self.tokens(texts.values()) if texts else {}
        rows = [self.expanded(ids[texts[each.texts]], each) if each.seen else [] for each in shown]
        return _stream(rows, shown)

    def whole(self, batch: Sequence[tuple], first: int) -> Stream:
        """Whole prompts, (images, question) each, up to where the answer begins."""
        batch = self.shown(batch, first)
        shown = [row[0] for row in batch]
        texts = self.prompts(
            [question for _, question, *_ in batch], [len(each.counts) for each in shown], first
        )
        filled = [self._filled(text, each.texts) for text, each in zip(texts, shown, strict=True)]
        ids = self.tokens(filled)
        for i, (text, full, each) in enumerate(zip(texts, filled, shown, strict=True)):
            self._check_text(text, ids[full], batch[i][1], len(each.counts), first + i)
        rows = [self.expanded(ids[full], each) for full, each in zip(filled, shown, strict=True)]
        return _stream(rows, shown)

    def _filled(self, prompt: str, marks: Sequence[str]) -> str:
        """A prompt with what stands for each of its images."""
        parts = prompt.split(self.processor.image_token)
        return "".join(x for both in zip(parts, (*marks, ""), strict=False) for x in both)

    def expanded(self, ids: Sequence[int], shown: Shown) -> list[int]:
        """Token numbers with as many for each run of image tokens as it takes."""
        runs = [text.count(self.sign) for text in shown.texts]
        left = iter([
            count // n for count, n in zip(shown.counts, runs, strict=True) for _ in range(n)
        ])  # fmt: skip
        return [x for t in ids for x in ([t] * next(left) if t == self.image_id else [t])]

    def image_end(self, ids: Sequence[int]) -> int:
        """Tokens up to and with the last of an image."""
        return len(ids) - list(ids)[::-1].index(self.image_id)

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
