"""Multimodal language models of the LLaVA family: the mini one, the published ones, and folders.

``load_mllm("mini")`` and ``load_mllm("llava-hf/llava-1.5-7b-hf")`` differ in a string; every line
that asks or scores with the result is the same.
"""

from __future__ import annotations

import inspect
import textwrap
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image
from transformers import (
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
)

from .batches import in_batches
from .checkpoint import find_checkpoint
from .device import pick_device
from .folders import ModelError
from .inputs import EncodeError, aligned, encodable, length, options_of_each, worded
from .limits import bounded, check_template
from .precision import plan_precision

#: One image, several for one prompt, or none (a question that the text alone has to answer).
Picture: TypeAlias = Image.Image | Sequence[Image.Image] | None

# The line that LLaVA-1.5 was tuned with ("vicuna_v1" in its code; Liu et al. 2023).
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


class LogLikelihood(NamedTuple):
    """Log-likelihood of an answer, in nats, and the number of tokens it was summed over."""

    total: float
    n_tokens: int

    @property
    def mean(self) -> float:
        """Log-likelihood a token: answers of different lengths become comparable."""
        return self.total / self.n_tokens


@dataclass(frozen=True)
class _Branch:
    """Tokens of a question with its answer, after the image; the answer begins at `start`."""

    ids: tuple[int, ...]
    start: int

    @property
    def inputs(self) -> tuple[int, ...]:
        return self.ids[:-1]  # nothing is predicted from the last token


class NumbersOnly(LogitsProcessor):
    """Notes which rows of a ``generate()`` had a logit that is no number, and refuses their text.

    ``generate()`` itself would take some token and go on. Give it as the first processor; that a
    token is ruled out, by -inf, is no error.
    """

    def __init__(self) -> None:
        self._bad: torch.Tensor | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
        # Kept on the device: reading it here would make each token wait for the GPU.
        bad = (scores.isnan() | scores.isposinf()).any(dim=-1)
        self._bad = bad if self._bad is None else self._bad | bad
        return scores

    def check(self, first: int, n_entries: int) -> None:
        """Refuse the batch if a row was bad.

        Parameters
        ----------
        first : int
            Index of the batch's first entry.
        n_entries : int
            Entries of the batch; a second stream may follow, row for row.

        Raises
        ------
        EncodeError
            It names the entry.
        """
        if self._bad is not None and self._bad.any():
            index = first + int(self._bad.int().argmax()) % n_entries
            raise EncodeError(
                f"the logits for entry {index} are not numbers: the weights are damaged, or dtype "
                "is too coarse (try dtype='bfloat16' or 'float32')",
                index,
            )


class Mllm:
    """A multimodal language model with its processor. Made by `load_mllm`.

    Attributes
    ----------
    name : str
        ``"mini"``, a name on the hub, or a folder's name.
    weights : str
        Where the weights come from, for people.
    revision : str or None
        The commit, for models from the hub.
    device : torch.device
    dtype : torch.dtype
        Number format of the computation.
    quantization : str or None
        ``"4bit"``, ``"8bit"`` or None.
    model : transformers.PreTrainedModel
        In evaluation mode, without gradients.
    processor : transformers.ProcessorMixin
        Image processor, tokenizer and chat template of the checkpoint.
    """

    def __init__(
        self,
        name: str,
        model: torch.nn.Module,
        processor: Any,
        device: torch.device,
        dtype: torch.dtype,
        quantization: str | None = None,
        weights: str = "",
        revision: str | None = None,
    ):
        self.name, self.weights, self.revision = name, weights, revision
        self.model, self.processor = model, processor
        self.device, self.dtype, self.quantization = device, dtype, quantization
        self._unknown: dict[str, None] = {}  # questions of the call in progress
        self._checked: Any = None  # the chat template that was looked through
        model.eval().requires_grad_(False)
        processor.tokenizer.padding_side = "left"
        accepted = inspect.signature(model.forward).parameters
        # The argument was renamed in the course of Transformers 5.
        self.cache_name = "cache" if "cache" in accepted else "past_key_values"

    def __repr__(self) -> str:
        precision = self.quantization or str(self.dtype).removeprefix("torch.")
        return f"<Mllm {self.name}: weights {self.weights}, {precision} on {self.device}>"

    def prompt(self, question: str, n_images: int = 1) -> str:
        """The question in the checkpoint's chat template, up to where the answer begins.

        Templates of the Vicuna kind (``USER: ... ASSISTANT:``), LLaVA-1.5's among them, get
        LLaVA-1.5's system line before it; others are used as they are published.

        Parameters
        ----------
        question : str
        n_images : int
            Images that stand before the question.

        Returns
        -------
        str
            For LLaVA-1.5: ``A chat ... questions. USER: <image>\\n{question} ASSISTANT:``.

        Raises
        ------
        ModelError
            If the checkpoint has no chat template.
        """
        content = [{"type": "image"}] * n_images + [{"type": "text", "text": question}]
        messages = [{"role": "user", "content": content}]
        bare = self._render(messages)
        if "USER:" in bare and "ASSISTANT:" in bare and SYSTEM not in bare:
            line = {"role": "system", "content": [{"type": "text", "text": SYSTEM}]}
            return self._render([line, *messages])
        return bare

    def prompts(self, questions: list[str], n_images: list[int], first: int) -> list[str]:
        """The prompt of each entry; it is refused by its index if there is no question."""
        return [
            self.prompt(worded(question, f"the question of entry {index}", index), n)
            for index, (question, n) in enumerate(zip(questions, n_images, strict=True), first)
        ]

    def generate(
        self,
        images: Iterable[Picture],
        questions: str | Sequence[str],
        max_new_tokens: int = 16,
        batch_size: int = 32,
        progress: bool = False,
    ) -> list[str]:
        """Answer questions by greedy decoding.

        Parameters
        ----------
        images : iterable of PIL.Image.Image, of sequences of them, or of None
            One entry for each question: an image, several, or none. A generator is read a batch at
            a time.
        questions : str or sequence of str
            One for all images, or one for each.
        max_new_tokens : int
        batch_size : int
            Halved when the device's memory is too small.
        progress : bool
            Show a progress bar.

        Returns
        -------
        list of str
            Without special tokens and surrounding spaces.

        Raises
        ------
        EncodeError
            If an image cannot be read, a prompt is too long, or a logit is not a number; it names
            the entry.
        ValueError
            If there are not as many questions as images.
        """

        def encode(batch: list[tuple[Picture, str]], first: int) -> list[str]:
            groups = [pictures(picture, first + i) for i, (picture, _) in enumerate(batch)]
            texts = self.prompts([question for _, question in batch], list(map(len, groups)), first)
            ids = self.tokens(texts)
            for i, (text, group) in enumerate(zip(texts, groups, strict=True)):
                self.check_images(ids[text], batch[i][1], len(group), first + i)
                self.note_unknown(ids[text], batch[i][1])
            inputs = self.processed(groups, texts, first)
            read = inputs["input_ids"].shape[1]
            self.check_length(inputs["attention_mask"], max_new_tokens, first)
            numbers = NumbersOnly()
            out = self.model.generate(
                **inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1,
                temperature=None, top_p=None, pad_token_id=self.pad_id,
                logits_processor=LogitsProcessorList([numbers]),
            )  # fmt: skip
            numbers.check(first, len(batch))
            decode = self.processor.tokenizer.batch_decode
            return [text.strip() for text in decode(out[:, read:], skip_special_tokens=True)]

        rows, label = aligned(images, questions=questions), "answers" if progress else None
        return self.gather(rows, length(images), batch_size, encode, label)

    def answer_logprobs(
        self,
        images: Iterable[Picture],
        branches: Iterable[Sequence[tuple[str, str]]],
        batch_size: int = 32,
        progress: bool = False,
    ) -> list[list[LogLikelihood]]:
        """Log-likelihoods of answers to questions, several for each image.

        The image, with the system line before it and whatever all questions of the image begin
        with after it, goes through the model once; its keys and values are kept, and the rest of
        each question with its answer continues from there.

        Parameters
        ----------
        images : iterable
            As in `generate`.
        branches : iterable of sequences of (question, answer)
            One sequence for each image.
        batch_size : int
            Images at a time; halved when the device's memory is too small.
        progress : bool

        Returns
        -------
        list of list of LogLikelihood
            For each image, for each of its branches.

        Raises
        ------
        EncodeError
            If an image cannot be read, an answer is empty, or a prompt is too long.
        ValueError
            If there are not as many entries as images.
        """

        lists = (list(mine) for mine in branches)
        rows = aligned(images, branches=lists if length(branches) is None else list(lists))
        return self._answer_logprobs(rows, length(images), batch_size, progress)

    def option_logprobs(
        self,
        images: Iterable[Picture],
        questions: str | Sequence[str],
        options: Sequence[str] | Sequence[Sequence[str]],
        normalize: bool = True,
        batch_size: int = 32,
        progress: bool = False,
    ) -> list[np.ndarray]:
        """Log-likelihood of each option as the answer to a question about an image.

        Parameters
        ----------
        images : iterable
            As in `generate`.
        questions : str or sequence of str
            One for all images, or one for each.
        options : sequence of str, or of sequences of str
            The same for all images, or those of each.
        normalize : bool
            Divide by the number of tokens (length-normalised).
        batch_size : int
        progress : bool

        Returns
        -------
        list of numpy.ndarray, float64
            For each image, as many numbers as it has options, in nats.

        Raises
        ------
        EncodeError, ValueError
            As in `answer_logprobs`.
        """
        every = options_of_each(options)
        rows = (
            (picture, [(question, option) for option in mine])
            for picture, question, mine in aligned(images, questions=questions, options=every)
        )
        found = self._answer_logprobs(rows, length(images), batch_size, progress)
        return [
            np.array([x.mean if normalize else x.total for x in row], np.float64) for row in found
        ]

    def _answer_logprobs(self, rows, total: int | None, batch_size: int, progress: bool):
        def encode(batch: list[tuple[Picture, Any]], first: int) -> list[list[LogLikelihood]]:
            groups = [pictures(picture, first + i) for i, (picture, _) in enumerate(batch)]
            rows = [pairs for _, pairs in batch]
            branches = self.branches(rows, list(map(len, groups)), first)
            return self._score(groups, branches, first)

        return self.gather(rows, total, batch_size, encode, "images" if progress else None)

    @torch.inference_mode()
    def gather(self, rows, total: int | None, batch_size: int, encode, progress: str | None):
        """What `encode` makes of all rows, a batch at a time, with a warning of unknown words."""
        self._unknown.clear()
        parts = in_batches(rows, batch_size, encode, total=total, progress=progress)
        if self._unknown:
            warnings.warn(
                f"questions or answers with words {self.name} does not know: {len(self._unknown)} "
                f"questions, such as {textwrap.shorten(next(iter(self._unknown)), 120)!r}",
                stacklevel=4,
            )
        return [result for part in parts for result in part]

    def _render(self, messages: list[dict[str, Any]]) -> str:
        template = self.processor.chat_template
        if not template:
            raise ModelError(
                f"{self.name} comes without a chat template, so how it wants to be asked is "
                "unknown: load a newer revision, or set .processor.chat_template"
            )
        try:
            if template != self._checked:
                several = template.values() if isinstance(template, dict) else [template]
                for one in several:
                    check_template(one, self.name)
                self._checked = template
            return bounded(lambda: self._fill_in(messages), self.name)
        except ModelError:
            raise
        except Exception as error:  # a template is a program, and may fail like one
            raise ModelError(
                f"the chat template of {self.name} cannot be filled in ({error}): fetch the "
                "checkpoint again, or set .processor.chat_template"
            ) from error

    def _fill_in(self, messages: list[dict[str, Any]]) -> str:
        return self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )

    @property
    def pad_id(self) -> int:
        """Number of the token that fills up short rows."""
        tokenizer = self.processor.tokenizer
        return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def tokens(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """Token numbers; an image is one token here, as many as it has patches in the model."""
        texts = list(dict.fromkeys(texts))
        special = self._adds_special(texts[0])
        ids = self.processor.tokenizer(texts, add_special_tokens=special)["input_ids"]
        return dict(zip(texts, ids, strict=True))

    def check_images(self, ids: list[int], question: str, n_images: int, index: int) -> None:
        """Refuse a question whose text holds the token that stands for an image."""
        if ids.count(self.processor.image_token_id) != n_images:
            raise EncodeError(
                f"entry {index}: the text {question!r} holds the image token itself", index
            )

    def note_unknown(self, ids: list[int], question: str) -> None:
        """Remember a question with words that the tokenizer does not know."""
        tokenizer = self.processor.tokenizer
        if tokenizer.unk_token_id in ids and tokenizer.unk_token_id != tokenizer.pad_token_id:
            self._unknown.setdefault(question)

    def _adds_special(self, text: str) -> bool:
        bos = self.processor.tokenizer.bos_token
        return not (bos and text.startswith(bos))  # some templates write it themselves

    def branches(
        self, rows: list[Sequence[tuple[str, str]]], n_images: list[int], first: int
    ) -> list[list[_Branch]]:
        """Tokens of questions and answers; each different text is tokenized once."""
        for index, row in enumerate(rows, first):
            for question, answer in row:
                worded(question, f"the question of entry {index}", index)
                worded(answer, f"an answer of entry {index}", index)
        asked = {
            (q, n): self.prompt(q, n) for n, row in zip(n_images, rows, strict=True) for q, _ in row
        }
        if not asked:
            return [[] for _ in rows]

        def answered(question: str, answer: str, n: int) -> str:
            prompt = asked[question, n]
            return prompt + ("" if prompt[-1:].isspace() else " ") + answer

        texts = [answered(q, a, n) for n, row in zip(n_images, rows, strict=True) for q, a in row]
        ids = self.tokens([*asked.values(), *texts])
        branches = []
        for index, (n, row) in enumerate(zip(n_images, rows, strict=True), first):
            branches.append([])
            for question, answer in row:
                whole = ids[answered(question, answer, n)]
                self.check_images(whole, question, n, index)
                self.note_unknown(whole, question)
                start = common_start(ids[asked[question, n]], whole)
                if start >= len(whole):
                    raise EncodeError(f"entry {index}: the answer {answer!r} has no tokens", index)
                image = self.processor.image_token_id
                cut = len(whole) - whole[::-1].index(image) if n else 0
                branches[-1].append(_Branch(tuple(whole[cut:]), start - cut))
        return branches

    def processed(self, groups: list[list[Image.Image]], texts: list[str], first: int):
        """Inputs of the model for prompts with their images, padded on the left."""
        flat = [image for group in groups for image in group]
        try:
            inputs = self.processor(
                images=flat or None, text=texts, padding=True, padding_side="left",
                return_tensors="pt", add_special_tokens=self._adds_special(texts[0]),
            )  # fmt: skip
        except (OSError, ValueError, ZeroDivisionError) as error:
            index, image = self._culprit(groups, first)
            raise EncodeError(
                f"image {index} ({image.mode}, {image.width} x {image.height} px) cannot be "
                f"preprocessed: {error}",
                index,
            ) from error
        wanted = {k: v for k, v in inputs.items() if not k.endswith("token_type_ids")}
        return {
            key: value.to(self.device, self.dtype if value.is_floating_point() else value.dtype)
            for key, value in wanted.items()
        }

    def _culprit(self, groups: list[list[Image.Image]], first: int) -> tuple[int, Image.Image]:
        """The entry and the image that cannot be preprocessed."""
        entries = [(i, image) for i, group in enumerate(groups, first) for image in group]
        for index, image in entries:
            try:
                self.processor.image_processor(image, return_tensors="pt")
            except (OSError, ValueError, ZeroDivisionError):
                return index, image
        return entries[0]

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
        """Logits for the tokens `ids` that follow what is in the cache; padding is masked out."""
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        return self.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True,
            **{self.cache_name: cache}, **more,
        ).logits  # fmt: skip

    def _score(
        self, groups: list[list[Image.Image]], rows: list[list[_Branch]], first: int
    ) -> list[list[LogLikelihood]]:
        """One forward pass for images and shared tokens, then one for each distinct rest."""
        if not any(rows):
            return [[] for _ in rows]
        distinct = [list(dict.fromkeys(branch.inputs for branch in row)) for row in rows]
        shared = [shared_start(row) for row in rows]
        prefixes = [
            row[0].inputs[:keep] if row else () for row, keep in zip(rows, shared, strict=True)
        ]
        cache, mask = self._prefill(groups, prefixes, first)
        found: list[list[LogLikelihood | None]] = [[None] * len(row) for row in rows]
        for turn in range(max(map(len, distinct))):
            # A row that has no such rest left goes along with one token, which nothing reads.
            rests = [
                mine[turn][keep:] if turn < len(mine) else (self.pad_id,)
                for mine, keep in zip(distinct, shared, strict=True)
            ]
            ids, fresh = padded_rows(rests, self.pad_id, self.device, left=False)
            full = torch.cat([mask, fresh], dim=1)
            self.check_length(full, 0, first)
            logits = self.forward(ids, full, cache)
            cache.crop(-ids.shape[1])
            for i, (row, mine) in enumerate(zip(rows, distinct, strict=True)):
                for k, branch in enumerate(row):
                    if turn < len(mine) and branch.inputs == mine[turn]:
                        found[i][k] = self._read(logits[i], branch, shared[i], first + i)
        return found

    def _prefill(self, groups, prefixes: list[tuple[int, ...]], first: int):
        """Keys and values of images and shared tokens, and the mask of both, padded on the left."""
        rows: list[list[int]] = [[] for _ in groups]
        extra: dict[str, torch.Tensor] = {}
        shown = [i for i, group in enumerate(groups) if group]
        if shown:
            # All that stands before the question's first word is the same for all questions.
            heads = [self.prompt("", len(groups[i])) for i in shown]
            token = self.processor.image_token
            heads = [head[: head.rindex(token) + len(token)] for head in heads]
            extra = self.processed([groups[i] for i in shown], heads, first)
            ids, seen = extra.pop("input_ids"), extra.pop("attention_mask").bool()
            for i, row, real in zip(shown, ids, seen, strict=True):
                rows[i] = row[real].tolist()
        rows = [row + list(prefix) for row, prefix in zip(rows, prefixes, strict=True)]
        ids, mask = padded_rows(rows, self.pad_id, self.device, left=True)
        self.check_length(mask, 0, first)
        cache = DynamicCache()
        self.forward(ids, mask, cache, logits_to_keep=1, **extra)
        return cache, mask

    def _read(self, logits: torch.Tensor, branch: _Branch, shared: int, index: int):
        """Sum of the log-probabilities of an answer's tokens, each read one place before it."""
        begin, end = branch.start - 1 - shared, len(branch.ids) - 1 - shared
        answer = torch.tensor(branch.ids[branch.start :], device=logits.device)
        scores = logits[begin:end].float().log_softmax(dim=-1)
        total = float(scores.gather(1, answer[:, None]).sum())
        if not np.isfinite(total):
            raise EncodeError(
                f"the score of entry {index} is not finite: the weights are damaged, or dtype is "
                "too coarse (try dtype='bfloat16' or 'float32')",
                index,
            )
        return LogLikelihood(total, len(answer))


def load_mllm(
    name: str | Path = "mini",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    quantization: str | None = None,
    revision: str | None = None,
) -> Mllm:
    """Load a multimodal language model of the LLaVA family.

    Parameters
    ----------
    name : str or pathlib.Path
        ``"mini"`` (ships with this package), a folder with a checkpoint of Transformers, or a name
        on the hub such as ``"llava-hf/llava-1.5-7b-hf"``.
    device : str or torch.device, optional
        By default CUDA, MPS or CPU, the first there is. A large model runs on a CPU only if that
        is asked for, since it takes minutes where a GPU takes a second.
    dtype : str or torch.dtype, optional
        By default float32 for small models, and for large ones half precision: the checkpoint's
        own kind, where the GPU has it.
    quantization : {"4bit", "8bit", "none"}, optional
        By default 4 bits if the GPU's memory is too small for half precision, else none. Needs the
        package bitsandbytes.
    revision : str, optional
        Commit, branch or tag on the hub. By default the commit this project was written for, where
        it names one (`REVISIONS`), else ``"main"``.

    Returns
    -------
    Mllm

    Raises
    ------
    ModelError
        If the model is unknown, not of the family, too large for the machine, cannot be fetched,
        or is damaged. The message says what to do.
    ValueError
        If device, dtype or quantization are unknown or do not go together.

    Notes
    -----
    Weights are read from safetensors only, and no code from a checkpoint is run. Downloads show
    their progress, survive a broken connection, and keep every file that is complete, so that a
    repeated call fetches the rest (`hub.fetch`).
    """
    place = pick_device(device)
    checkpoint = find_checkpoint(name, revision)
    plan = plan_precision(
        checkpoint.n_parameters, place, dtype, quantization, name=checkpoint.name,
        checkpoint=getattr(checkpoint.config, "dtype", None), insisted=device is not None,
    )  # fmt: skip
    if plan.reason:
        warnings.warn(f"{checkpoint.name}: {plan.reason}", stacklevel=2)
    model, processor = checkpoint.load(plan, place)
    return Mllm(
        checkpoint.name, model, processor, place, plan.dtype, plan.quantization,
        checkpoint.weights, checkpoint.commit,
    )  # fmt: skip


def pictures(picture: Picture, index: int) -> list[Image.Image]:
    """The images of one entry, RGB.

    Raises
    ------
    EncodeError
        If one is not an image or cannot be read; it names the entry.
    """
    if picture is None:
        return []
    group = picture if isinstance(picture, list | tuple) else [picture]
    return [encodable(image, index) for image in group]


def common_start(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning of two sequences."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def shared_start(row: list[_Branch]) -> int:
    """Tokens with which all branches begin, before the one that predicts the first answer."""
    if not row:
        return 0
    keep = min(branch.start - 1 for branch in row)
    return min([keep, *(common_start(row[0].inputs, branch.inputs) for branch in row)])


def padded_rows(
    rows: Sequence[Sequence[int]], pad: int, device: torch.device, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token numbers and mask, both (B, longest)."""
    length = max(1, *map(len, rows)) if len(rows) > 1 else max(1, len(rows[0]))
    ids = torch.full((len(rows), length), pad)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(length - len(row), length) if left else slice(0, len(row))
        ids[i, place] = torch.tensor(row, dtype=torch.long)
        mask[i, place] = 1
    return ids.to(device), mask.to(device)
