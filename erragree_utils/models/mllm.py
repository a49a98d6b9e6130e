"""Multimodal language models of the LLaVA family: the mini one, the published ones, and folders.

``load_mllm("mini")`` and ``load_mllm("llava-hf/llava-1.5-7b-hf")`` differ in a string; every line
that asks or scores with the result is the same.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from huggingface_hub import constants
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    BitsAndBytesConfig,
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
)
from transformers.utils import logging

from .device import EncodeError, in_batches, is_out_of_memory, pick_device, pick_dtype
from .folders import (
    ASSETS,
    ModelError,
    check_name,
    is_folder,
    is_serious,
    refuse_unsafe,
    without_advice,
)
from .hub import fetch
from .inputs import aligned, encodable, length, options_of_each, worded
from .limits import bounded, check_template

#: One image, several for one prompt, or none (a question that the text alone has to answer).
Picture: TypeAlias = Image.Image | Sequence[Image.Image] | None

# The line that LLaVA-1.5 was tuned with ("vicuna_v1" in its code; Liu et al. 2023).
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
FAMILIES = ("llava", "vipllava", "llava_next", "llava_onevision")
# Commits at which the project was written; other names follow their main branch.
REVISIONS = {"llava-hf/llava-1.5-7b-hf": "b234b804b114d9e37bb655e11cbbb5f5e971b7a9"}
#: Files of a checkpoint on the hub: what is read first, and the weights.
SETTINGS_FILES = ["*.json", "*.jinja", "*.model", "*.txt"]
WEIGHTS_FILES = ["*.safetensors"]

# Never quantized: that LLaVA reads the very encoder that CLIP has is the book's point. Names differ
# between versions of Transformers.
_EXACT = [
    "lm_head", "vision_tower", "model.vision_tower", "multi_modal_projector",
    "model.multi_modal_projector",
]  # fmt: skip

GIB = 2.0**30
SMALL = 500e6  # parameters; below, float32 costs nothing that anyone would notice
_ROOM = 2.5 * GIB  # for activations and the keys and values of a batch
_BITS4 = 0.65  # bytes per weight at 4 bits, with scales and the layers that stay in half precision
# Tokens of an image and a question, and what a desktop CPU multiplies a second.
_TOKENS, _CPU_RATE = 650, (1e11, 5e11)


class LogLikelihood(NamedTuple):
    """Log-likelihood of an answer, in nats, and the number of tokens it was summed over."""

    total: float
    n_tokens: int

    @property
    def mean(self) -> float:
        """Log-likelihood a token: answers of different lengths become comparable."""
        return self.total / self.n_tokens


@dataclass(frozen=True)
class Precision:
    """How a model's weights are held, and why."""

    dtype: torch.dtype
    quantization: str | None = None
    reason: str = ""


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
    check_name(name)
    asked, device = device, pick_device(device)
    folder = local_folder(name)
    if folder is not None and revision is not None:
        raise ModelError(f"revision={revision!r} makes no sense with {str(name)!r}: leave it out")
    commit, label, weights = None, str(name), f"from {folder}"
    if folder is None:
        if "/" not in str(name):
            raise ModelError(
                f"unknown model {str(name)!r}: names are 'mini', folders that exist, and "
                "'owner/name' on the hub, such as 'llava-hf/llava-1.5-7b-hf'"
            )
        wanted = revision or REVISIONS.get(label, "main")
        folder, commit = fetch(label, wanted, SETTINGS_FILES)
        weights = f"of the hub, commit {commit[:7]}"
    elif name != "mini":
        label = folder.resolve().name
    else:
        weights = "of this package"
    _check_settings(folder, name)
    refuse_unsafe(folder)
    config = _config(folder)
    n_parameters = _count_parameters(config, folder)
    plan = plan_precision(
        n_parameters, device, dtype, quantization,
        checkpoint=getattr(config, "dtype", None), name=label, insisted=asked is not None,
    )  # fmt: skip
    if plan.reason:
        warnings.warn(f"{label}: {plan.reason}", stacklevel=2)
    if commit is not None:
        # By its commit: the branch may have moved on since the settings were read.
        folder, commit = fetch(label, commit, [*SETTINGS_FILES, *WEIGHTS_FILES])
    _check_weights(folder, name)
    with _quiet(n_parameters < SMALL):
        model = _read_model(folder, label, plan, device)
    refuse_unsafe(folder)  # once more, as the weights came with settings
    processor = _guarded(folder, lambda: AutoProcessor.from_pretrained(folder, **_SAFE))
    _complete(processor, config, folder)
    _guarded(folder, lambda: _try(processor, config))
    return Mllm(label, model, processor, device, plan.dtype, plan.quantization, weights, commit)


def plan_precision(
    n_parameters: int,
    device: torch.device,
    dtype: str | torch.dtype | None = None,
    quantization: str | None = None,
    *,
    memory: int | None = None,
    has_bf16: bool | None = None,
    checkpoint: torch.dtype | None = None,
    name: str = "the model",
    insisted: bool = False,
) -> Precision:
    """Choose number format and quantization from what the device has; explicit choices win.

    Parameters
    ----------
    n_parameters : int
    device : torch.device
    dtype, quantization
        As in `load_mllm`.
    memory : int, optional
        Bytes of the GPU, or of the machine for a CPU; by default what there is. All of it, not
        what is free now: the same card always gets the same numbers.
    has_bf16 : bool, optional
        Whether the GPU computes in bfloat16; by default asked of it.
    checkpoint : torch.dtype, optional
        Number format of the published weights.
    name : str
        For messages.
    insisted : bool
        Whether the device was asked for, so that a slow CPU is what is wanted.

    Returns
    -------
    Precision

    Raises
    ------
    ModelError
        If the model is too large for the device in any way.
    ValueError
        If the choices are unknown or do not go together.
    """
    if quantization not in (None, "none", "4bit", "8bit"):
        raise ValueError(f"unknown quantization {quantization!r}; use '4bit', '8bit' or 'none'")
    memory = _memory(device) if memory is None else memory
    fixed = None if dtype is None else pick_dtype(dtype, device)
    if device.type != "cuda":
        if quantization in ("4bit", "8bit"):
            raise ValueError(
                f"quantization={quantization!r} needs a CUDA GPU, the device is {str(device)!r}"
            )
        return _plan_without_cuda(n_parameters, device, fixed, memory, name, insisted)
    if has_bf16 is None:
        has_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
    half = torch.bfloat16 if checkpoint == torch.bfloat16 and has_bf16 else torch.float16
    if quantization in ("4bit", "8bit"):
        return Precision(fixed or half, quantization)
    if n_parameters < SMALL and fixed is None:
        return Precision(torch.float32)
    if fixed is not None or quantization == "none":
        return Precision(fixed or half)
    size, need4 = 2 * n_parameters, _BITS4 * n_parameters + _ROOM
    if memory >= size + _ROOM:
        return Precision(half)
    if memory < need4:
        raise ModelError(
            f"{name} has {n_parameters / 1e9:.1f} billion weights and needs {need4 / GIB:.0f} GiB "
            f"even at 4 bits; the GPU has {memory / GIB:.0f}. Use a larger GPU or a smaller model, "
            "or load_mllm('mini')."
        )
    return Precision(
        half,
        "4bit",
        f"loaded at 4 bits, since the GPU's {memory / GIB:.0f} GiB do not hold its "
        f"{size / GIB:.0f} GiB of weights in half precision with room to work; scores differ a "
        "little from those in half precision (quantization='none' forbids it)",
    )


def _plan_without_cuda(
    n: int, device: torch.device, fixed: torch.dtype | None, memory: int, name: str, insisted: bool
) -> Precision:
    if n < SMALL:
        return Precision(fixed or torch.float32)
    half = torch.float16 if device.type == "mps" else torch.bfloat16
    fits = 4 * n + _ROOM <= memory and device.type != "mps"
    chosen = fixed or (torch.float32 if fits else half)
    need = n * chosen.itemsize + _ROOM
    work = 2 * n * _TOKENS
    slow, fast = (work / rate for rate in _CPU_RATE)
    cost = (
        f"it has {n / 1e9:.1f} billion weights, {need / GIB:.0f} GiB in memory as "
        f"{str(chosen).removeprefix('torch.')} (this machine has {memory / GIB:.0f}), and works "
        f"{work / 1e12:.0f} TFLOP on each image and question: {fast:.0f} to {slow:.0f} seconds on "
        "a CPU, below one on a GPU"
    )
    ways = (
        "With a GPU of 15 GB (a free Colab has one) it is loaded at 4 bits, with 24 GB in half "
        "precision; load_mllm('mini') runs anywhere."
    )
    if need > memory:
        raise ModelError(f"{name} is too large for this machine: {cost}. {ways}")
    if device.type == "cpu" and not insisted:
        raise ModelError(
            f"{name} is slow without a GPU: {cost}. {ways} To run it here all the same, give "
            "device='cpu'."
        )
    return Precision(chosen, None, f"no CUDA GPU is used: {cost}" if device.type == "cpu" else "")


def _memory(device: torch.device) -> int:
    """Bytes of the GPU's memory, or of the machine's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on every system
        return 2**62


_SAFE = {"trust_remote_code": False, "local_files_only": True}


def local_folder(name: str | Path) -> Path | None:
    """The folder that a name means, or None if it is a name on the hub."""
    if name == "mini":
        return ASSETS / "mini-llava"
    if isinstance(name, Path) or name.startswith((".", "~", "/")) or is_folder(name):
        return Path(name).expanduser() if is_folder(name) else Path(name)
    return None


def _check_settings(folder: Path, name: str | Path) -> None:
    if not is_folder(folder) or not (folder / "config.json").is_file():
        raise ModelError(_incomplete(folder, name, ["config.json"]))


def _check_weights(folder: Path, name: str | Path) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            parts = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise ModelError(
                f"{index} is damaged ({error}): delete it and fetch it again"
            ) from error
    else:
        parts = ["model.safetensors"]
    missing = [part for part in parts if not (folder / part).is_file()]
    if missing:
        raise ModelError(_incomplete(folder, name, missing))


def _incomplete(folder: Path, name: str | Path, missing: list[str]) -> str:
    listed = " and ".join(missing)
    if name == "mini":
        return (
            f"the mini LLaVA is not complete: {folder} lacks {listed}. Install the package again, "
            "or train the model: python -m erragree_utils.training.llava"
        )
    return (
        f"{name} is not a checkpoint that can be read: {folder} lacks {listed}. Config, processor "
        "and weights as safetensors are needed; weights in other formats are not read, as they can "
        "run code."
    )


def _config(folder: Path) -> Any:
    _refuse_original_layout(folder)
    config = _guarded(folder, lambda: AutoConfig.from_pretrained(folder, **_SAFE))
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"the model in {folder} is a {config.model_type!r}, not one of the LLaVA family "
            f"({', '.join(FAMILIES)})"
            + ("; CLIP is loaded by load_clip" if "clip" in config.model_type else "")
        )
    return config


def _refuse_original_layout(folder: Path) -> None:
    """LLaVA's authors publish weights in a layout of their own, which has a port of each."""
    settings = json.loads((folder / "config.json").read_bytes())
    if not isinstance(settings, dict):
        return
    kinds = [settings.get("model_type"), *(settings.get("architectures") or [])]
    if any(re.match("llava_?(llama|mpt|mistral|qwen)", str(kind).lower()) for kind in kinds):
        size = "13b" if settings.get("hidden_size") == 5120 else "7b"
        raise ModelError(
            f"the model in {folder} ({kinds[0]}) is in the layout of LLaVA's own code, which is "
            f"not read. The same weights for Transformers: "
            f"load_mllm('llava-hf/llava-1.5-{size}-hf'), or another of llava-hf at "
            f"{constants.ENDPOINT}."
        )


def _try(processor: Any, config: Any) -> None:
    """Whether the processor's settings can be used, and fit the vision tower."""
    # A picture that is no square, and a sign that a small vocabulary lacks.
    inputs = processor(
        images=[Image.new("RGB", (90, 60))],
        text=[f"{processor.image_token} \u2603"],
        return_tensors="pt",
    )
    vision = config.vision_config
    size, wanted = inputs["pixel_values"].shape[-2:], vision.image_size
    if set(size) != set(np.atleast_1d(wanted).tolist()):
        raise ValueError(
            f"the image processor makes pictures of {size[0]} x {size[1]} pixels, the vision tower "
            f"reads {wanted}"
        )
    if config.model_type not in ("llava", "vipllava") or vision.model_type != "clip_vision_model":
        return
    found = int((inputs["input_ids"] == processor.image_token_id).sum())
    whole = getattr(config, "vision_feature_select_strategy", "default") == "full"
    tokens = (size[0] // vision.patch_size) * (size[1] // vision.patch_size) + whole
    if found != tokens:
        raise ValueError(
            f"the processor makes {found} tokens of an image, the model {tokens}: patch_size, "
            "num_additional_image_tokens or vision_feature_select_strategy are not those of "
            "config.json"
        )


def _complete(processor: Any, config: Any, folder: Path) -> None:
    """Fill in what processors of older checkpoints lack, from the model's own config.

    Raises
    ------
    ModelError
        If the config lacks it, too; it names the field.
    """
    vision = config.vision_config
    patch, size = getattr(vision, "patch_size", None), getattr(vision, "image_size", None)
    known = {
        "patch_size": patch,
        "vision_feature_select_strategy": getattr(
            config,
            "vision_feature_select_strategy",
            "default",  # VipLLaVA knows no other
        ),
        "num_image_tokens": (size // patch) ** 2 if size and patch else None,
    }
    for field, value in known.items():
        if hasattr(processor, field) and getattr(processor, field) is None:
            if value is None:
                raise ModelError(
                    f"{field} is missing in {folder / 'processor_config.json'} and cannot be told "
                    "from config.json: load a newer revision, or add it"
                )
            setattr(processor, field, value)
    stored = [folder / name for name in ("processor_config.json", "preprocessor_config.json")]
    given = (json.loads(path.read_bytes()) for path in stored if path.is_file())
    if hasattr(processor, "num_additional_image_tokens") and not any(
        "num_additional_image_tokens" in settings for settings in given
    ):
        # Transformers takes 0, but CLIP's tower has its class token.
        processor.num_additional_image_tokens = int(vision.model_type == "clip_vision_model")


def _count_parameters(config: Any, folder: Path) -> int:
    """Parameters of the model that a config describes, without making room for them."""

    def build() -> torch.nn.Module:
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(config, trust_remote_code=False)

    return sum(parameter.numel() for parameter in _guarded(folder, build).parameters())


def _read_model(folder: Path, label: str, plan: Precision, device: torch.device) -> Any:
    options: dict[str, Any] = {"dtype": plan.dtype, "use_safetensors": True, **_SAFE}
    if plan.quantization is not None:
        options["quantization_config"] = _quantization(plan)
    # With accelerate, weights go to the GPU one by one, and not by way of the main memory.
    direct = device.type == "cuda" and importlib.util.find_spec("accelerate") is not None
    if direct or plan.quantization is not None:
        options["device_map"] = {"": str(device)}

    def read():
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder, output_loading_info=True, **options
        )
        return model if "device_map" in options else model.to(device), report

    try:
        model, report = _guarded(folder, read)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"out of memory while loading {label}: close other programs (and notebooks) that use "
            f"{device}, or give quantization='4bit' or a smaller model"
        ) from error
    # Transformers would go on with random numbers in their place.
    absent = sorted(report["missing_keys"])
    if absent:
        raise ModelError(
            f"the weights of {label} in {folder} are not complete: {len(absent)} tensors are "
            f"missing, such as {absent[0]}. Fetch them again."
        )
    # Of older versions, and computed anew.
    idle = [k for k in report["unexpected_keys"] if not k.endswith(("position_ids", "inv_freq"))]
    if idle:
        warnings.warn(
            f"{label}: {len(idle)} tensors in {folder} are not used, such as {min(idle)}: is its "
            "config.json of the same model as its weights?",
            stacklevel=3,
        )
    return model


@contextmanager
def _quiet(yes: bool) -> Iterator[None]:
    """No progress bar for what is loaded in the blink of an eye."""
    shown = yes and logging.is_progress_bar_enabled()
    if shown:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _quantization(plan: Precision) -> BitsAndBytesConfig:
    lacking = [
        package
        for package in ("bitsandbytes", "accelerate")
        if importlib.util.find_spec(package) is None
    ]
    if lacking:
        raise ModelError(
            f"loading at {plan.quantization} needs the packages bitsandbytes and accelerate: run "
            f"pip install {' '.join(lacking)}, or give quantization='none' if the GPU's memory "
            "is large enough"
        )
    if plan.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=_EXACT)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=plan.dtype,
        llm_int8_skip_modules=_EXACT,
    )  # fmt: skip


def _guarded(folder: Path, read):
    """Call `read`; turn what libraries raise into what to do."""
    try:
        return read()
    except ModelError:
        raise
    except BaseException as error:  # libraries raise anything on a broken file
        if is_serious(error):
            raise
        kind = type(error).__name__
        damaged = "safetensor" in f"{kind} {error}".lower()
        raise ModelError(
            f"the model in {folder} cannot be read: "
            + ("its weights are damaged or were not copied whole. " if damaged else "")
            + "Delete the file in question and fetch it again; if it is not named here, all of "
            f"them. {without_advice(f'{kind}: {textwrap.shorten(str(error), 500)}')}"
        ) from error


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
