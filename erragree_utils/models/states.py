"""A model's states at every layer: an encoder's tokens, and LLaVA's from tower to answer.

Arrays only, for probes and for distances between layers. Patch arrays of real models are large (576
tokens of 4096 numbers, 33 times): `reduce` shrinks them batch by batch, as they come.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from ..checks import listed
from .batches import in_batches
from .encoder import Encoder
from .features import projector_of
from .folders import ModelError
from .inputs import aligned, encodable, length
from .mllm import Mllm
from .vit import redraw, vit_of

#: Takes patch tokens (n, patches, width), float32, and returns an array of n rows.
Reduce: TypeAlias = Callable[[np.ndarray], np.ndarray]


def encoder_states(
    encoder: Encoder,
    images: Iterable[Image.Image],
    reduce: Reduce | None = None,
    batch_size: int = 64,
) -> dict[str, np.ndarray]:
    """Class token and patch tokens of an image encoder at every layer, and the embedding.

    Parameters
    ----------
    encoder : Clip or Vision
        Whose image tower is a vision transformer of open_clip's or timm's: CLIP, SigLIP, PE-Core,
        EVA, DINOv2 and v3.
    reduce : callable, optional
        Applied to the patch tokens of each batch, such as `mean_pool` or ``pool_grid(4)``.
    batch_size : int
        At most this many at a time; fewer if the device runs out of memory.

    Returns
    -------
    dict of str to numpy.ndarray, float32
        From bottom to top ``"layer k CLS"`` (N, width), where there is a class token (SigLIP has
        none), and ``"layer k patches"`` (N, patches, width), or what `reduce` made of it, then
        ``"embedding"`` (N, embed_dim), of unit length. Layer 0 is the input of the first block,
        layer k the output of the k-th. The patches of the last layer but one are what LLaVA-1.5
        reads, `Encoder.patch_tokens`. Registers are left out.

    Raises
    ------
    ModelError
        If the image tower is not a vision transformer.
    ValueError
        If there are no images.
    EncodeError
        If an item is not an image or cannot be preprocessed; it names the item.
    """
    vit = vit_of(encoder.tower, encoder.name)

    def encode(batch: list[Image.Image], first: int) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}

        def keep(layer: int, tokens: torch.Tensor) -> None:
            of_class, patches = vit.split(tokens)
            if of_class is not None:
                found[f"layer {layer} CLS"] = _array(of_class)
            found[f"layer {layer} patches"] = _reduced(patches, reduce)

        with watched(vit.blocks, keep):
            features = encoder.features(encoder.pixels(batch, first))
        return found | {"embedding": encoder.unit(features, "image", first)}

    total = length(listed(images, "images"))
    with torch.inference_mode():
        parts = in_batches(images, batch_size, encode, room=encoder.room, total=total)
    return _joined(parts)


def mllm_states(
    mllm: Mllm,
    images: Iterable[Image.Image],
    questions: str | Sequence[str],
    reduce: Reduce | None = None,
    only: str = "",
    batch_size: int = 32,
    random_layers: int | None = None,
) -> dict[str, np.ndarray]:
    """A multimodal model's states of images, on the way to the answer to a question.

    Parameters
    ----------
    questions : str or sequence of str
        One for all images, or one for each, in the checkpoint's own chat template.
    reduce : callable, optional
        Applied to the image tokens of each batch, such as `mean_pool` or ``pool_grid(4)``.
    only : str
        Keep the states whose names end so, such as ``"last"``: the image tokens of a real model are
        large, and copying them takes longer than computing them.
    batch_size : int
        At most this many at a time; fewer if the device runs out of memory.
    random_layers : int, optional
        A control for probes: every layer of the language model gets weights drawn with this seed,
        as Transformers draws them before training. One exists at a time.

    Returns
    -------
    dict of str to numpy.ndarray, float32
        ``"vision tower"`` (N, patches, width), which the projector reads; ``"projector"`` (N,
        patches, hidden), its output; then ``"layer k image"`` (N, patches, hidden), at the places
        of the image, and ``"layer k last"`` (N, hidden), at the last token of the prompt, where the
        answer is predicted. Layer 0 is the input of the first decoder layer, layer k the output of
        the k-th; the norm after the last is not applied. `reduce` acts on the patches. Crops of an
        image follow one another. Qwen's models have no projector apart from the tower, so that the
        first two are missing.

    Raises
    ------
    ModelError
        If more than the last tokens is asked for, and the images have different numbers of tokens,
        or other numbers than patches, as in LLaVA-NeXT.
    ValueError
        If there are no images, not as many questions, or no state has such a name.
    EncodeError
        If an image cannot be read or the prompt is too long; it names the image.
    """
    core, projector = mllm.model.model, projector_of(mllm.model)
    layers = list(mllm.model.get_decoder().layers)

    def encode(batch: list[tuple[Image.Image, str]], first: int) -> list[dict[str, np.ndarray]]:
        batch = [(encodable(image, first + i), text) for i, (image, text) in enumerate(batch)]
        inputs = mllm.engine.inputs(batch, first)
        mllm.engine.check_length(inputs["attention_mask"].sum(dim=1).tolist(), first)
        places = inputs["input_ids"] == mllm.engine.image_id
        counts = places.sum(dim=1)
        found: dict[str, np.ndarray] = {}

        def of_images(tokens: torch.Tensor, fit: bool = True) -> np.ndarray:
            if not fit or (counts != counts[0]).any():
                raise ModelError(
                    f"{mllm.name} shows images in several crops, pools their patches, or gives "
                    "them different numbers of tokens: give images of one size, only='last', or a "
                    "model of LLaVA-1.5's kind"
                )
            return _reduced(tokens.reshape(len(batch), -1, tokens.shape[-1]), reduce)

        def keep_projector(end: int, tokens: torch.Tensor) -> None:
            name = ("vision tower", "projector")[end]
            if name.endswith(only):
                fit = end == 0 or tokens.shape[:-1].numel() == int(counts.sum())
                found[name] = of_images(tokens, fit)

        def keep(layer: int, hidden: torch.Tensor) -> None:
            if f"layer {layer} image".endswith(only):
                found[f"layer {layer} image"] = of_images(hidden[places.to(hidden.device)])
            if f"layer {layer} last".endswith(only):
                found[f"layer {layer} last"] = _array(hidden[:, -1])

        with ExitStack() as stack:
            if random_layers is not None:  # first, so that what is watched is what they give
                stack.enter_context(_redrawn(core.language_model, random_layers))
            stack.enter_context(watched([projector] if projector else [], keep_projector))
            stack.enter_context(watched(layers, keep))
            core(**inputs, use_cache=False)
        if not found:
            raise ValueError(
                f"no state's name ends with {only!r}; try 'last', 'image', 'projector'"
            )
        return [found]

    rows, total = aligned(images, questions=questions), length(images, questions)
    return _joined(mllm.engine.gather(rows, total, batch_size, encode))


def untrained(encoder: Encoder, seed: int = 0) -> Encoder:
    """The same encoder with an image tower of random weights: a control for probes.

    Parameters
    ----------
    encoder : Clip or Vision
        Left as it is.
    seed : int

    Returns
    -------
    Clip or Vision
        With weights as `vit.redraw` draws them.

    Raises
    ------
    ModelError
        If the image tower is not a vision transformer.
    """
    vit_of(encoder.tower, encoder.name)
    changes = {"weights": f"random, seed {seed}"} if hasattr(encoder, "weights") else {}
    fresh = replace(
        encoder, name=f"{encoder.name}:untrained", model=copy.deepcopy(encoder.model), **changes
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        redraw(vit_of(fresh.tower, fresh.name), fresh.tower, encoder.name)
    return fresh


def mean_pool(patches: np.ndarray) -> np.ndarray:
    """Mean over patches: (n, patches, width) to (n, width). Positions are lost."""
    return patches.mean(axis=1)


def pool_grid(rows: int) -> Reduce:
    """A function that averages a square grid of patches over `rows` x `rows` cells.

    Parameters
    ----------
    rows : int
        Cells per side. They overlap if the grid's side isn't a multiple (adaptive pooling).

    Returns
    -------
    callable
        (n, patches, width) to (n, rows * rows * width): cell by cell from the top left, so that
        every feature stands for a place.

    Raises
    ------
    ValueError
        If `rows` is not positive. The function raises it if the patches are no square, or a smaller
        one.
    """
    if rows < 1:
        raise ValueError(f"rows must be positive, not {rows}")

    def pool(patches: np.ndarray) -> np.ndarray:
        n, count, width = patches.shape
        side = round(count**0.5)
        if side * side != count or side < rows:
            raise ValueError(
                f"{count} patches are not a square grid of {rows} or more a side; use mean_pool, "
                "or a smaller number of rows"
            )
        grid = torch.from_numpy(patches).transpose(1, 2).reshape(n, width, side, side)
        cells = F.adaptive_avg_pool2d(grid, rows)
        return cells.flatten(2).transpose(1, 2).reshape(n, -1).numpy()

    return pool


@contextmanager
def _redrawn(language_model: torch.nn.Module, seed: int) -> Iterator[None]:
    """Let every decoder layer give what one with random weights makes of the same input."""

    def hook(layer: Any, args: tuple, kwargs: dict, output: Any) -> Any:
        sample = output if isinstance(output, torch.Tensor) else output[0]
        number = layers.index(layer)
        cuda = [sample.device] if sample.device.type == "cuda" else []
        with torch.random.fork_rng(cuda), torch.device(sample.device):
            torch.manual_seed(seed + number)
            drawn = type(layer)(language_model.config, number)
            drawn.apply(language_model._init_weights)
        return drawn.to(sample.dtype).eval()(*args, **kwargs)

    layers = list(language_model.layers)
    hooks = [layer.register_forward_hook(hook, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


@contextmanager
def watched(
    modules: list[torch.nn.Module], keep: Callable[[int, torch.Tensor], Any]
) -> Iterator[None]:
    """Call `keep` on the input of the first module as number 0, and the output of the k-th as k."""

    def before(module: Any, args: tuple, kwargs: dict) -> None:
        keep(0, args[0] if args else next(iter(kwargs.values())))

    def after(number: int):
        def hook(module: Any, args: tuple, output: Any) -> None:
            keep(number, output if isinstance(output, torch.Tensor) else output[0])

        return hook

    hooks = [m.register_forward_pre_hook(before, with_kwargs=True) for m in modules[:1]]
    try:
        hooks += [m.register_forward_hook(after(k)) for k, m in enumerate(modules, 1)]
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()


def _reduced(patches: torch.Tensor, reduce: Reduce | None) -> np.ndarray:
    array = _array(patches)
    if reduce is None:
        return array
    small = np.asarray(reduce(array), np.float32)
    if len(small) != len(array):
        raise ValueError(f"reduce made {len(small)} rows of {len(array)}: it must keep the images")
    return small


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if not parts:
        raise ValueError("there are no images to read states from")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
