"""Multimodal language models: the mini one, the published ones, and folders.

``load_mllm("mini")`` and ``load_mllm("llava-hf/llava-1.5-7b-hf")`` differ only in the name; the
code that uses the result is the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ..images import central_square
from .batches import Room
from .checkpoint import find_checkpoint
from .device import pick_device
from .engine import Change, Engine
from .finite import finite
from .folders import ModelError
from .inputs import aligned, length, options_of_each
from .pictures import Picture
from .precision import plan_precision
from .sharing import check_sharing


class LogLikelihood(NamedTuple):
    """Log-likelihood of an answer, in nats, and the number of tokens it was summed over."""

    total: float
    n_tokens: int

    @property
    def mean(self) -> float:
        """Log-likelihood per token, which makes answers of different lengths comparable."""
        return self.total / self.n_tokens


class Mllm:
    """A multimodal language model with its processor. Made by `load_mllm`.

    Attributes
    ----------
    name : str
        ``"mini"``, a name on the hub, or a folder's name.
    weights, revision : str, str or None
        Where the weights come from, in words; the commit, for models from the hub.
    device, dtype : torch.device, torch.dtype
    quantization : str or None
        ``"4bit"``, ``"8bit"`` or None.
    square : str or None
        ``"pad"``, ``"crop"``, or None: how an image becomes the square that the tower reads.
    model : transformers.PreTrainedModel
        In evaluation mode, without gradients.
    processor : transformers.ProcessorMixin
        Image processor, tokenizer and chat template of the checkpoint.
    engine : Engine
        Everything that reads the model goes through it.
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
        square: str | None = None,
    ):
        self.name, self.weights, self.revision = name, weights, revision
        self.model, self.processor = model, processor
        self.device, self.dtype, self.quantization = device, dtype, quantization
        self.square = square
        self.engine = Engine(name, model, processor, device, dtype, square)
        self.gradient_room = Room()  # gradients need far more memory than scores

    def __repr__(self) -> str:
        precision = self.quantization or str(self.dtype).removeprefix("torch.")
        return f"<Mllm {self.name}: weights {self.weights}, {precision} on {self.device}>"

    def remembering(self, least: int = 0) -> AbstractContextManager[None]:
        """See `Engine.remembering`."""
        return self.engine.remembering(least)

    def prompt(self, question: str, n_images: int = 1) -> str:
        """The question in the checkpoint's chat template, up to where the answer begins.

        Templates of the Vicuna kind (``USER: ... ASSISTANT:``), LLaVA-1.5's among them, get
        LLaVA-1.5's system line before it: ``A chat ... questions. USER: <image>\\n{question}
        ASSISTANT:``. Others are used as they are published. A checkpoint without a template is
        refused with a `ModelError`.
        """
        return self.engine.prompt(question, n_images)

    def framed(self, image: Image.Image) -> Image.Image:
        """The square part of an image that the vision tower reads, before resizing."""
        return central_square(image) if self.square == "crop" else self.engine.framed(image)

    def generate(
        self,
        images: Iterable[Picture],
        questions: str | Sequence[str],
        max_new_tokens: int = 16,
        batch_size: int = 32,
        change: Change | None = None,
    ) -> list[str]:
        """Answer questions by greedy decoding.

        Parameters
        ----------
        images : iterable of PIL.Image.Image, of sequences of them, or of None
            One entry for each question: an image, several, or none. A generator is read a batch at
            a time.
        questions : str or sequence of str
            One for all images, or one for each.
        batch_size : int
            At most this many at a time; fewer if the device runs out of memory.
        change : callable, optional
            Applied to what was read, before the answer is; see `decoding.scaled.scaling`.

        Raises
        ------
        EncodeError
            If an image cannot be read, a prompt is too long, or a logit is not a number; it names
            the entry.
        """

        def encode(batch: list[tuple[Picture, str]], first: int) -> list[str]:
            inputs = self.engine.begun([self.engine.whole(batch, first)], change)
            return self.engine.write(inputs, len(batch), first, max_new_tokens)

        rows, total = aligned(images, questions=questions), length(images, questions)
        return self.engine.gather(rows, total, batch_size, encode, self.engine.shown, "answers")

    def answer_logprobs(
        self,
        images: Iterable[Picture],
        branches: Iterable[Sequence[tuple[str, str]]],
        batch_size: int = 32,
        end: bool = False,
    ) -> list[list[LogLikelihood]]:
        """Log-likelihoods of answers to questions, several for each image, which is read once.

        Parameters
        ----------
        images, batch_size
            As in `generate`.
        branches : iterable of sequences of (question, answer)
            One sequence for each image.
        end : bool
            Count the end token as part of each answer.

        Raises
        ------
        EncodeError
            If an image cannot be read, an answer is empty, or a prompt is too long.
        """

        lists = (list(row) for row in branches)
        rows = aligned(images, branches=lists if length(branches) is None else list(lists))
        return self._logprobs(rows, length(images, branches), batch_size, end)

    def option_logprobs(
        self,
        images: Iterable[Picture],
        questions: str | Sequence[str],
        options: Sequence[str] | Sequence[Sequence[str]],
        normalize: bool = True,
        batch_size: int = 32,
        change: Change | None = None,
    ) -> list[np.ndarray]:
        """Log-likelihood of each option as the answer to a question about an image, in nats.

        Parameters
        ----------
        images, questions, batch_size, change
            As in `generate`.
        options : sequence of str, or of sequences of str
            The same for all images, or those of each.
        normalize : bool
            Divide by the number of tokens (length-normalised).
        """
        rows = (
            (picture, [(question, option) for option in row])
            for picture, question, row in aligned(
                images, questions=questions, options=options_of_each(options)
            )
        )
        scores = self._logprobs(rows, length(images, questions), batch_size, change=change)
        return [np.array([x.mean if normalize else x.total for x in row]) for row in scores]

    def _logprobs(
        self,
        rows: Iterable[tuple[Picture, Any]],
        total: int | None,
        batch_size: int,
        end: bool = False,
        change: Change | None = None,
    ) -> list[list[LogLikelihood]]:
        def encode(batch: list[tuple[Picture, Any]], first: int) -> list[list[LogLikelihood]]:
            branches = [row for _, row in batch]
            out: list[list[Any]] = [[None] * len(row) for row in branches]
            streams = [self.engine.heads(batch, first)]
            answers = self.engine.answers(streams, branches, first, end, change)
            for i, k, (logits,), tokens in answers:
                scores = logits.float().log_softmax(dim=-1).gather(1, tokens[:, None])
                out[i][k] = LogLikelihood(finite(float(scores.sum()), first + i), len(tokens))
            return out

        return self.engine.gather(rows, total, batch_size, encode, self.engine.shown)


def load_mllm(
    name: str | Path = "mini",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    quantization: str | None = None,
    revision: str | None = None,
    square: str | None = None,
) -> Mllm:
    """Load a multimodal language model.

    The families are LLaVA (1.5, VipLLaVA, NeXT, OneVision), InternVL, Idefics3 (SmolVLM is one),
    SmolVLM2, Qwen2.5-VL, Qwen3-VL and Gemma 3, as Transformers has them.

    Parameters
    ----------
    name : str or pathlib.Path
        ``"mini"`` (ships with this package), a folder with a checkpoint of Transformers, or a name
        on the hub such as ``"llava-hf/llava-1.5-7b-hf"``.
    device : str or torch.device, optional
        By default the first available of CUDA, MPS, CPU. A large model runs on a CPU only if you
        ask for it, since it takes minutes where a GPU takes a second.
    dtype : str or torch.dtype, optional
        By default float32 for small models, and for large ones half precision: the checkpoint's
        own kind, where the GPU has it.
    quantization : {"4bit", "8bit", "none"}, optional
        By default 4 bits if the GPU's memory is too small for half precision, else none. Needs the
        package bitsandbytes.
    revision : str, optional
        Commit, branch or tag on the hub. By default the commit this project was written for, where
        it names one (`checkpoint.REVISIONS`), else ``"main"``.
    square : {"pad", "crop"}, optional
        How a photograph becomes the square that LLaVA-1.5's CLIP tower reads: padded with the mean
        colour, as its authors do (``image_aspect_ratio: pad``) and by default here; or cropped at
        the centre, as the hub's processor does: of a 4:3 picture a quarter of the width is lost.
        Other families have their own ways.

    Raises
    ------
    ModelError
        If the model is unknown, of another family, too large for the machine, cannot be fetched,
        is damaged, or gives other scores than a full pass where prompts share what they begin with
        (`sharing.check_sharing`). The message says what to do.
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
    if square not in (None, "pad", "crop"):
        raise ValueError(f"square is 'pad' or 'crop', not {square!r}")
    if checkpoint.reads_squares:
        square = square or "pad"
    elif square is not None:
        raise ModelError(f"{checkpoint.name} frames images in its own way: leave square out")
    model, processor = checkpoint.load(plan, place)
    mllm = Mllm(
        checkpoint.name, model, processor, place, plan.dtype, plan.quantization,
        checkpoint.weights, checkpoint.commit, square,
    )  # fmt: skip
    check_sharing(mllm.engine)
    return mllm
