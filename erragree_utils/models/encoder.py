"""The common part of CLIP and vision-only encoders: images in, rows of unit length out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from ..checks import listed
from .batches import Room, in_batches
from .device import format_name
from .features import Memory
from .inputs import EncodeError, encodable, length
from .vit import vit_of


class Encoder:
    """An image encoder with its preprocessing."""

    name: str
    model: torch.nn.Module  # in evaluation mode, without gradients
    preprocess: Callable[[Image.Image], torch.Tensor]  # to the model's input (3, H, W)
    embed_dim: int
    device: torch.device
    dtype: torch.dtype  # of the computation; what comes out is always float32
    _known: dict[Hashable, np.ndarray] | None = None  # while remembering

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)
        self.room, self.text_room = Room(), Room()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.summary}>"

    @property
    def summary(self) -> str:
        """The encoder in a few words."""
        return f"{self.embed_dim}-d embeddings, {format_name(self.dtype)} on {self.device}"

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """The model's image features (B, embed_dim), of any length."""
        raise NotImplementedError

    @property
    def tower(self) -> torch.nn.Module:
        """The part that turns pixels into tokens."""
        raise NotImplementedError

    @contextmanager
    def remembering(self, least: int = 0) -> Iterator[None]:
        """Keep the embeddings of images for further calls, all of them: they are small."""
        self._known = {}
        try:
            yield
        finally:
            self._known = None

    def embed_images(self, images: Iterable[Image.Image], batch_size: int = 64) -> np.ndarray:
        """Image embeddings, float32, shape (N, embed_dim), rows of unit length.

        Reads a generator a batch at a time; batches shrink if the device runs out of memory. An
        `EncodeError` names an image that is damaged or cannot be preprocessed.
        """

        def encode(batch: list[Image.Image], first: int) -> np.ndarray:
            if self._known is None:
                return self.unit(self.features(self.pixels(batch, first)), "image", first)
            keys = [Memory.key([encodable(image, k)]) for k, image in enumerate(batch, first)]
            # A batch that holds a new image is embedded whole, as it would be by itself.
            if any(key not in self._known for key in keys):
                rows = self.unit(self.features(self.pixels(batch, first)), "image", first)
                self._known.update(zip(keys, rows, strict=True))
            return np.stack([self._known[key] for key in keys])

        return self.gather(listed(images, "images"), batch_size, encode, self.room)

    def patch_tokens(self, images: Iterable[Image.Image], batch_size: int = 64) -> np.ndarray:
        """Patch tokens as LLaVA-1.5 reads them: of the last block but one, without class token.

        Registers are left out, too. This is ``vision_feature_layer=-2`` with
        ``vision_feature_select_strategy="default"`` in Transformers; no final layer norm is
        applied (Liu et al. 2023, "Improved Baselines with Visual Instruction Tuning", and the
        official code).

        Returns
        -------
        numpy.ndarray, float32, shape (N, patches, width)
            Patches row by row from the top left; ViT-L/14 at 336 px has 576 of 1024 numbers.

        Raises
        ------
        ModelError
            If the image tower is not a vision transformer with at least two blocks.
        """

        def encode(batch: list[Image.Image], first: int) -> np.ndarray:
            return self.patch_features(self.pixels(batch, first)).float().cpu().numpy()

        return self.gather(listed(images, "images"), batch_size, encode, self.room)

    def patch_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """`patch_tokens` of the model's inputs (B, 3, H, W), on its device."""
        return vit_of(self.tower, self.name).patches(pixels)

    def pixels(self, images: list[Image.Image], first: int) -> torch.Tensor:
        """The model's inputs (B, 3, H, W); an image that cannot be read is named by its index."""
        inputs = []
        for index, image in enumerate(images, first):
            image = encodable(image, index)
            try:
                inputs.append(self.preprocess(image))
            except (ValueError, OSError, ZeroDivisionError) as error:
                raise EncodeError(
                    f"image {index} ({image.width} x {image.height} px) cannot be preprocessed: "
                    f"{error}",
                    index,
                ) from error
        return torch.stack(inputs).to(self.device, self.dtype)

    def unit(self, features: torch.Tensor, kind: str, first: int) -> np.ndarray:
        """Embeddings of unit length; one that is not finite is named by its index."""
        out = F.normalize(features.float(), dim=-1).cpu().numpy()
        finite = np.isfinite(out).all(axis=1)
        if not finite.all():
            index = first + int(finite.argmin())
            raise EncodeError(
                f"the embedding of {kind} {index} is not finite: the weights are damaged, or "
                "dtype is too coarse (try dtype='float32')",
                index,
            )
        return out

    @torch.inference_mode()
    def gather(
        self,
        items: Iterable[Any],
        batch_size: int,
        encode: Callable[[list, int], np.ndarray],
        room: Room,
        label: str = "images",
    ) -> np.ndarray:
        """The results of `encode` for all items, a batch at a time, stacked in order."""
        parts = in_batches(items, batch_size, encode, room=room, total=length(items), label=label)
        return np.concatenate(parts) if parts else np.zeros((0, self.embed_dim), np.float32)
