"""Images that a model has read, so that another question about them need not read them again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch.nn import functional as F

#: Bytes of pixels and features; at LLaVA-1.5-7B's size 5.4 MB an image in half precision.
BUDGET = 256 << 20


@dataclass(eq=False)
class Seen:
    """Preprocessed images that belong together, usually one.

    Parameters
    ----------
    pixels
        The model's inputs, with a row for each image.
    counts
        Tokens that each image takes in a prompt.
    features
        Those tokens (count, width) of each image, once the vision tower has read it.
    """

    pixels: dict[str, torch.Tensor]
    counts: list[int]
    features: list[torch.Tensor] | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        tensors = [*self.pixels.values(), *(self.features or ())]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Memory:
    """Images by their content; the ones used longest ago are forgotten first."""

    def __init__(self, budget: int = BUDGET):
        self.budget = budget
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
        for key in list(self._seen):
            if excess <= 0:
                return
            excess -= self._seen.pop(key).size


def stacked(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Rows of all of them; where images have different numbers of crops, filled up with zeros."""
    if tensors[0].ndim > 1:
        most = max(x.shape[1] for x in tensors)
        padding = [(0, 0) * (x.ndim - 2) + (0, most - x.shape[1]) for x in tensors]
        tensors = [F.pad(x, p) if p[-1] else x for x, p in zip(tensors, padding, strict=True)]
    return torch.cat(list(tensors))
