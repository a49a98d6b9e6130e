"""Image features, kept so that the next question about an image needn't compute them again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch.nn import functional as F
from transformers.models.clip.modeling_clip import CLIPEncoder

#: Bytes of pixels and features; at LLaVA-1.5-7B's size 5.4 MB an image in half precision.
BUDGET = 256 << 20


@dataclass(eq=False)
class Seen:
    """Preprocessed images that belong together, usually one.

    Parameters
    ----------
    pixels
        The model's inputs, with a row for each image; several rows if it is one image.
    counts
        Image tokens that each image takes in a prompt.
    texts
        What stands for each image in a prompt, with one image token for each run of them.
    frames
        How often the pixels show each image: Qwen's towers read it as two frames of a film.
    features
        Those tokens (levels, count, width) of each image, once the vision tower has read it. A
        model reads one level, or more of them in its first layers (Qwen3-VL).
    """

    pixels: dict[str, torch.Tensor]
    counts: list[int]
    texts: list[str] = field(default_factory=list)
    frames: int = 1
    features: list[torch.Tensor] | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        tensors = [*self.pixels.values(), *(self.features or ())]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Memory:
    """Images by their content; forgets the least recently used first.

    Keeps `budget` bytes of them, and the last `least` units whatever their size.
    """

    def __init__(self, budget: int = BUDGET, least: int = 0):
        self.budget, self.least = budget, least
        self._seen: dict[Hashable, Seen] = {}

    @staticmethod
    def key(images: Sequence[Image.Image]) -> Hashable:
        """Equal for images (RGB) of equal pixels, and for no others."""
        return tuple((x.size, hashlib.sha256(x.tobytes()).digest()) for x in images)

    def recalled(
        self, units: Sequence[Sequence[Image.Image]], see: Callable[[list[int]], list[Seen]]
    ) -> list[Seen]:
        """Each unit of images; those that are not remembered are seen now, equal ones once.

        `see` takes the numbers of the units.
        """
        keys = [self.key(unit) for unit in units]
        fresh = {key: k for k, key in reversed(list(enumerate(keys))) if key not in self._seen}
        known = {key: self._seen[key] for key in keys if key not in fresh}
        known |= zip(fresh, see(list(fresh.values())), strict=True)
        for key, seen in known.items():  # the last ones used stand last
            self._seen.pop(key, None)
            self._seen[key] = seen
        self._forget()
        return [known[key] for key in keys]

    def _forget(self) -> None:
        """Keep the last ones that fit; features of new ones come later, and count the next time."""
        excess = sum(seen.size for seen in self._seen.values()) - self.budget
        for key in list(self._seen)[: max(0, len(self._seen) - self.least)]:
            if excess <= 0:
                return
            excess -= self._seen.pop(key).size


def stacked(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Rows of all of them; images with fewer crops, or smaller ones, are padded with zeros."""
    most = [max(sizes) for sizes in zip(*(x.shape[1:] for x in tensors), strict=True)]
    missing = [[b - a for a, b in zip(x.shape[1:], most, strict=True)] for x in tensors]
    return torch.cat([
        F.pad(x, [n for size in reversed(sizes) for n in (0, size)]) if any(sizes) else x
        for x, sizes in zip(tensors, missing, strict=True)
    ])  # fmt: skip


def see(model: torch.nn.Module, fresh: Sequence[Seen]) -> None:
    """Let the vision tower and the projector read images; their features are put in place."""
    pixels = {key: stacked([each.pixels[key] for each in fresh]) for key in fresh[0].pixels}
    with without_mlp(_unread(model)):
        found = model.get_image_features(**pixels, return_dict=True)
    # Some classes give all images in one tensor, some a tensor for each, or for each crop.
    levels = [getattr(found, "pooler_output", found), *(getattr(found, "deepstack_features", ()))]
    whole = torch.stack([torch.cat([x.flatten(0, -2) for x in level]) for level in levels])
    parts = iter(whole.split([n for each in fresh for n in each.counts], dim=1))
    for each in fresh:
        each.features = [next(parts) for _ in each.counts]


def projector_of(model: torch.nn.Module) -> torch.nn.Module | None:
    """The module between vision tower and language model; None if it's part of the tower."""
    return getattr(model.model, "multi_modal_projector", getattr(model.model, "connector", None))


@contextmanager
def without_mlp(layers: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Skip the MLPs of layers whose output nobody reads."""
    own = [(layer, layer.mlp) for layer in layers]
    for layer, _ in own:
        layer.mlp = torch.nn.Identity()
    try:
        yield
    finally:
        for layer, mlp in own:
            layer.mlp = mlp


def _unread(model: torch.nn.Module) -> Iterable[torch.nn.Module]:
    """The layers of a CLIP tower above the one that LLaVA reads."""
    layer = getattr(model.config, "vision_feature_layer", None)
    encoder = getattr(getattr(model.model, "vision_tower", None), "encoder", None)
    if not isinstance(layer, int) or layer >= -1 or not isinstance(encoder, CLIPEncoder):
        return []
    return encoder.layers[layer + 1 :]
