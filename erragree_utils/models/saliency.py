"""Which patches an answer depends on: gradient times input on a LLaVA's image tokens.

This is a local, first-order picture. To check it, `cover` hides the patches it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..checks import listed
from ..images import central_square
from .batches import in_batches
from .features import projector_of
from .folders import ModelError
from .inputs import EncodeError, aligned, encodable, length
from .mllm import Mllm


def answer_saliency(
    mllm: Mllm,
    images: Iterable[Image.Image],
    questions: str | Sequence[str],
    answers: tuple[str, str] = ("Yes", "No"),
    batch_size: int = 16,
) -> np.ndarray:
    """How much each patch favours one answer over another, to first order.

    Parameters
    ----------
    questions : str or sequence of str
        One for all images, or one for each.
    answers : tuple of two str
        Compared by their first tokens, which must differ.
    batch_size : int
        At most this many at a time; fewer if the device runs out of memory. Gradients need more
        of it than scores.

    Returns
    -------
    numpy.ndarray, float32, shape (N, rows, cols)
        Logits: for each patch, the sum over channels of its image token (the projector's output)
        times the gradient of ``logit(answers[0]) - logit(answers[1])`` with respect to it.
        Positive where the patch speaks for the first answer.

    Raises
    ------
    ModelError
        If image tokens are not a square of patches, one for each, as in LLaVA-NeXT.
    EncodeError
        If an image cannot be read or a prompt is too long.
    ValueError
        If there are not as many questions as images, or not two answers that begin with different
        tokens.

    Notes
    -----
    Gradient times input (Shrikumar et al. 2016, "Not Just a Black Box", section 2). The value
    belongs to the token, and by the vision tower's attention a token also holds what other patches
    show.
    """
    answers = two_answers(answers)

    def encode(batch: list[tuple[Image.Image, str]], first: int) -> np.ndarray:
        wanted = first_tokens(mllm, [question for _, question in batch], answers, first)
        batch = [(encodable(image, first + i), text) for i, (image, text) in enumerate(batch)]
        inputs = mllm.engine.inputs(batch, first)
        mllm.engine.check_length((inputs["attention_mask"].sum(dim=1) + 1).tolist(), first)
        return _gradient_times_input(mllm, inputs, wanted, first)

    rows, total = aligned(images, questions=questions), length(images, questions)
    with torch.enable_grad():
        parts = in_batches(rows, batch_size, encode, room=mllm.gradient_room, total=total)
    if not parts:
        raise ValueError("there are no images to explain")
    return np.concatenate(parts)


def two_answers(answers: Sequence[str]) -> tuple[str, str]:
    """The two answers to compare; a `ValueError` if there aren't two."""
    answers = tuple(listed(answers, "answers"))
    if len(answers) != 2:
        raise ValueError(f"answers are two, not {answers!r}")
    return answers


def first_tokens(
    mllm: Mllm, questions: Sequence[str], answers: tuple[str, str], first: int
) -> torch.Tensor:
    """The number (N, 2) of the token with which each answer to each question begins.

    Raises
    ------
    ValueError
        If both begin with the same one.
    """
    rows = [[(question, answer) for answer in answers] for question in questions]
    branches = mllm.engine.branches(rows, [1] * len(rows), first)
    wanted = torch.tensor([[branch.ids[branch.start] for branch in row] for row in branches])
    if (wanted[:, 0] == wanted[:, 1]).any():
        raise ValueError(
            f"the answers {answers[0]!r} and {answers[1]!r} begin with the same token of "
            f"{mllm.name}: choose answers that differ in their first word"
        )
    return wanted.to(mllm.device)


def _gradient_times_input(mllm: Mllm, inputs: dict, wanted: torch.Tensor, first: int) -> np.ndarray:
    mask = inputs["attention_mask"]
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    projector = projector_of(mllm.model)
    if projector is None:
        raise ModelError(
            f"{mllm.name} reads images of any size, whose tokens are not a square of patches: give "
            "a model of LLaVA-1.5's kind"
        )
    with _leaf(projector) as kept:
        logits = mllm.model(
            **inputs, position_ids=positions, use_cache=False, logits_to_keep=1
        ).logits[:, -1]
    (tokens,) = kept
    side = round(tokens.shape[1] ** 0.5) if tokens.ndim == 3 else 0
    if tokens.ndim != 3 or len(tokens) != len(mask) or side * side != tokens.shape[1]:
        raise ModelError(
            f"{mllm.name} shows an image in several crops or pools its patches, so that image "
            "tokens are not a square of patches: give a model of LLaVA-1.5's kind"
        )
    chosen = logits.float().gather(1, wanted)
    # Prompts of a batch do not meet, so the gradient of the sum holds each one's own.
    (gradient,) = torch.autograd.grad((chosen[:, 0] - chosen[:, 1]).sum(), tokens)
    maps = (gradient.float() * tokens.detach().float()).sum(dim=-1)
    if not torch.isfinite(maps).all():
        index = first + int((~torch.isfinite(maps)).any(dim=1).int().argmax())
        raise EncodeError(
            f"the gradient for image {index} is not finite: dtype is too coarse (try "
            "dtype='bfloat16' or 'float32')",
            index,
        )
    return maps.view(-1, side, side).cpu().numpy()


@contextmanager
def _leaf(module: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """Make a module's output the variable that gradients are taken for; it is put in the list."""
    kept: list[torch.Tensor] = []

    def hook(_: Any, args: tuple, output: torch.Tensor) -> torch.Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    handle = module.register_forward_hook(hook)
    try:
        yield kept
    finally:
        handle.remove()


def largest(maps: np.ndarray, share: float) -> np.ndarray:
    """The patches of greatest absolute value, the same number in each map.

    Parameters
    ----------
    maps : numpy.ndarray, shape (N, rows, cols)
    share : float
        Of all patches, above 0 and up to 1; at least one patch is chosen.

    Returns
    -------
    numpy.ndarray of bool, shape (N, rows, cols)

    Raises
    ------
    ValueError
        If the share is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, not {share}")
    flat = np.abs(np.asarray(maps, float)).reshape(len(maps), -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, : max(1, round(share * flat.shape[1]))]
    chosen = np.zeros(flat.shape, bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen.reshape(np.shape(maps))


def cover(image: Image.Image, patches: np.ndarray) -> Image.Image:
    """The central square of an image, with some patches painted in the square's mean colour.

    Parameters
    ----------
    image : PIL.Image.Image
    patches : numpy.ndarray of bool, shape (rows, cols)
        True where a patch is to be hidden.

    Returns
    -------
    PIL.Image.Image
        RGB; to a model that reads the central square it differs from `image` in those patches
        alone, but for the resampling at their edges.

    Raises
    ------
    ValueError
        If `patches` is not a grid, or finer than the pixels.
    """
    pixels = np.array(central_square(image))
    patches = np.asarray(patches, bool)
    if patches.ndim != 2 or max(patches.shape) > len(pixels):
        raise ValueError(
            f"patches must be a grid of at most {len(pixels)} rows and columns, not an array of "
            f"shape {patches.shape}"
        )
    rows, cols = (np.arange(len(pixels)) * n // len(pixels) for n in patches.shape)
    hidden = patches[np.ix_(rows, cols)]
    pixels[hidden] = pixels.mean(axis=(0, 1)).round().astype(np.uint8)
    return Image.fromarray(pixels)
