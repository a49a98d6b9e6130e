"""Interventions on a LLaVA's language model: moving image tokens, exchanging states.

A probe shows what could be read from a state. To see what the answer depends on, we change the
state and leave everything else as it is: the pixels, the question, the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image
from transformers import DynamicCache

from .finite import finite
from .folders import ModelError
from .inputs import aligned, encodable, length
from .mllm import Mllm
from .saliency import first_tokens, two_answers
from .states import watched

#: Takes image tokens (n, rows, cols, width) and returns as many of the same width.
Change: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
#: Where states are exchanged; "question" is all that follows the image but for the last token.
PLACES = ("image, left half", "image, right half", "image", "question", "last token")


def mirrored(grid: torch.Tensor) -> torch.Tensor:
    """Image tokens (n, rows, cols, width) with their columns in reverse order."""
    return grid.flip(2)


def shuffled(seed: int = 0) -> Change:
    """A function that puts image tokens (n, rows, cols, width) in random order, a new one each."""
    generator = torch.Generator().manual_seed(seed)

    def change(grid: torch.Tensor) -> torch.Tensor:
        tokens = grid.flatten(1, 2)
        order = torch.rand(tokens.shape[:2], generator=generator).argsort(dim=1)
        places = order.to(grid.device)[..., None].expand_as(tokens)
        return tokens.gather(1, places).view_as(grid)

    return change


@contextmanager
def rearranged(mllm: Mllm, change: Change) -> Iterator[None]:
    """A context in which the language model reads image tokens as `change` rearranges them.

    The pixels, the vision tower and the projector stay as they are; what is answered, scored or
    read out of states meanwhile follows from the changed tokens.

    Parameters
    ----------
    change : callable
        Such as `mirrored` or ``shuffled(0)``. It takes the projector's output, each image's tokens
        as a grid (n, rows, cols, width), and returns as many.

    Raises
    ------
    ModelError
        If the image tokens of the model are not one square grid (`grid_side`).
    ValueError
        Once an image is read, if `change` returns another shape.
    """
    side = grid_side(mllm)

    def hook(_: Any, args: tuple, output: torch.Tensor) -> torch.Tensor:
        grid = output.view(len(output), side, side, -1)
        moved = change(grid)
        if moved.shape != grid.shape:
            raise ValueError(
                f"the change made {tuple(moved.shape)} of image tokens {tuple(grid.shape)}: it "
                "must keep the shape"
            )
        return moved.reshape(output.shape)

    # Remembered images would pass by the hook (`Engine.remembering`).
    memory, mllm.engine.memory = mllm.engine.memory, None
    handle = mllm.model.model.multi_modal_projector.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
        mllm.engine.memory = memory


@torch.inference_mode()
def grid_side(mllm: Mllm) -> int:
    """Image tokens in a row of the square that stands for an image in the prompt.

    Raises
    ------
    ModelError
        If the language model reads anything but the projector's output as one square, as
        LLaVA-NeXT does, which adds crops and ends of rows.
    """
    projector, made = getattr(mllm.model.model, "multi_modal_projector", None), []
    if projector is not None:
        ((shown,),) = mllm.engine.shown([(Image.new("RGB", (96, 48)),)], 0)
        with watched([projector], lambda end, tokens: made.append(tokens) if end else None):
            ((read, *more),) = mllm.engine.features(shown.seen)
        side = round(len(read) ** 0.5)
        if not more and len(made) == 1 and made[0].shape == (1, side * side, read.shape[-1]):
            return side
    raise ModelError(
        f"the image tokens of {mllm.name} are not one square grid that its projector gives: use a "
        "model of LLaVA-1.5's kind"
    )


class Patched(NamedTuple):
    """Log-odds, in nats, of the first answer against the second.

    Parameters
    ----------
    own, other
        (N,), of the question about each image and about the one whose states are taken.
    patched
        (N, layers, places), about the first with states of the second.
    """

    own: np.ndarray
    other: np.ndarray
    patched: np.ndarray


def patch_states(
    mllm: Mllm,
    images: Iterable[Image.Image],
    others: Iterable[Image.Image],
    questions: str | Sequence[str],
    layers: Sequence[int] | None = None,
    places: Sequence[str] = PLACES,
    answers: tuple[str, str] = ("Yes", "No"),
    batch_size: int = 32,
) -> Patched:
    """Answer about an image with some of the language model's states taken from another image.

    Parameters
    ----------
    images, others : iterable of PIL.Image.Image
        Answered about, and where the states come from; with the same question, so that the two
        prompts agree token by token.
    questions : str or sequence of str
        One for all images, or one for each.
    layers : sequence of int, optional
        Numbered as in `mllm_states`: layer 0 is the input of the first decoder layer, layer k the
        output of the k-th. By default all. The layers above go on from the exchanged states.
    places : sequence of str
        Of `PLACES`. Where a grid has an odd number of columns, the middle one belongs to the left.
    answers : tuple of two str
        Compared by their first tokens, which must differ.
    batch_size : int
        At most this many at a time; fewer if the device runs out of memory.

    Raises
    ------
    ModelError
        If the image tokens of the model are not one square grid (`grid_side`).
    ValueError
        If there are no images, not as many others or questions, a layer or a place that is not
        there, or not two answers that begin with different tokens.
    EncodeError
        If an image cannot be read or a prompt is too long; it names the image.
    """
    answers, side = two_answers(answers), grid_side(mllm)
    engine, modules = mllm.engine, list(mllm.model.get_decoder().layers)
    layers = list(range(len(modules) + 1)) if layers is None else list(layers)
    strange = [k for k in layers if not 0 <= k <= len(modules)]
    strange += [place for place in places if place not in PLACES]
    if strange or not layers or not places:
        raise ValueError(
            f"{strange or 'nothing'} cannot be exchanged: give layers from 0 to {len(modules)} "
            f"and places of {', '.join(map(repr, PLACES))}"
        )

    def encode(batch: list[tuple[Image.Image, Image.Image, str]], first: int) -> list[Patched]:
        streams = [
            engine.whole([(encodable(x[k], first + i), x[2]) for i, x in enumerate(batch)], first)
            for k in (0, 1)
        ]
        wanted = first_tokens(mllm, [row[2] for row in batch], answers, first)
        ids, mask = engine.padded([row for stream in streams for row in stream.rows], left=True)
        engine.check_length((mask.sum(dim=1) + 1).tolist(), first)
        tokens = engine.features([seen for stream in streams for seen in stream.seen])
        n, states = len(batch), {}

        def log_odds(rows: slice) -> np.ndarray:
            cache = DynamicCache()
            logits = engine.forward(ids[rows], mask[rows], cache, tokens[rows], logits_to_keep=1)
            last = logits[:, -1].float()
            chosen = last.gather(1, wanted.repeat(len(last) // n, 1))
            values = (chosen[:, 0] - chosen[:, 1]).tolist()
            return np.array([finite(value, first + i % n) for i, value in enumerate(values)])

        def keep(layer: int, hidden: torch.Tensor) -> None:
            if layer in layers:
                states[layer] = hidden[n:]

        with watched(modules, keep):
            plain = log_odds(slice(None))
        masks = _places(ids[:n], mask[:n], mllm.processor.image_token_id, side)
        patched = np.empty((n, len(layers), len(places)))
        for i, layer in enumerate(layers):
            for j, place in enumerate(places):
                with _exchanged(modules, layer, states[layer], masks[place]):
                    patched[:, i, j] = log_odds(slice(n))
        return [Patched(*row) for row in zip(plain[:n], plain[n:], patched, strict=True)]

    rows = aligned(images, others=others, questions=questions)
    parts = engine.gather(rows, length(images, questions), batch_size, encode, streams=2)
    if not parts:
        raise ValueError("there are no images to exchange states between")
    return Patched(*map(np.array, zip(*parts, strict=True)))


def _places(
    ids: torch.Tensor, mask: torch.Tensor, image_token: int, side: int
) -> dict[str, torch.Tensor]:
    """Masks (B, T) of the tokens that each of `PLACES` names, in prompts padded on the left."""
    image = ids == image_token
    column = (image.cumsum(dim=1) - 1) % side
    left = image & (2 * column < side)
    last = torch.zeros_like(image)
    last[:, -1] = True
    question = mask.bool() & ~image & (image.cumsum(dim=1) == side * side) & ~last
    return dict(zip(PLACES, (left, image & ~left, image, question, last), strict=True))


@contextmanager
def _exchanged(
    modules: Sequence[torch.nn.Module], layer: int, states: torch.Tensor, where: torch.Tensor
) -> Iterator[None]:
    """Let a layer's states (B, T, width) be these where the mask (B, T) is true."""

    def blended(hidden: torch.Tensor) -> torch.Tensor:
        return torch.where(where.to(hidden.device)[..., None], states.to(hidden.device), hidden)

    def before(_: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if args:
            return (blended(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": blended(kwargs["hidden_states"])}

    def after(_: Any, args: tuple, output: Any) -> Any:
        if isinstance(output, torch.Tensor):
            return blended(output)
        return (blended(output[0]), *output[1:])

    if layer == 0:
        handle = modules[0].register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = modules[layer - 1].register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()
