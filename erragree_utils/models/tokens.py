"""What a language model reads: questions in its chat template, images, answers, as tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from PIL import Image

from ..images import padded_square
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
        self._checked: Any = None  # the chat template that was looked through
        processor.tokenizer.padding_side = "left"

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
                branches[-1].append(Branch((*tokens[cut:], *tail), start - cut))
        return branches

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
        flat = [self.framed(image) for group in groups for image in group]
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
        ids = torch.full((len(rows), length), self.pad_id)
        mask = torch.zeros((len(rows), length), dtype=torch.long)
        for i, row in enumerate(rows):
            place = slice(length - len(row), length) if left else slice(0, len(row))
            ids[i, place] = torch.tensor(row, dtype=torch.long)
            mask[i, place] = 1
        return ids.to(self.device), mask.to(self.device)


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
