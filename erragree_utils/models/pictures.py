"""Images, preprocessed for a language model, one by one or in batches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

import torch
from PIL import Image

from ..images import padded_square
from .features import Memory, Seen
from .inputs import EncodeError, encodable

#: One image, several for one prompt, or none (a question that the text alone has to answer).
Picture: TypeAlias = Image.Image | Sequence[Image.Image] | None

# What processors give beside pixels.
_OF_TEXT = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")


@dataclass(frozen=True)
class Shown:
    """The preprocessed images of an entry."""

    seen: list[Seen]

    @property
    def counts(self) -> list[int]:
        """How many tokens each image takes."""
        return [count for seen in self.seen for count in seen.counts]

    @property
    def texts(self) -> tuple[str, ...]:
        """The text that stands for each image in a prompt."""
        return tuple(text for seen in self.seen for text in seen.texts)


class Pictures:
    """A checkpoint's processor: turns images into what its model reads.

    With `square` ``"pad"`` images are padded to squares with the mean colour, as LLaVA-1.5's own
    code does; the processor by itself crops their centre.
    """

    def __init__(
        self,
        name: str,
        processor: Any,
        device: torch.device,
        dtype: torch.dtype,
        square: str | None,
        image_id: int,
        accepted: frozenset[str],
    ):
        self.name, self.processor, self.square = name, processor, square
        self.image_id, self.accepted = image_id, accepted
        self.sign = processor.tokenizer.convert_ids_to_tokens(image_id)  # an image token in texts
        # Processors of LLaVA's family give a row of pixels for each image, others as many as they
        # like, and some fill up rows by what else is in the batch: these get one image at a time.
        self.alone = not type(processor).__name__.startswith("Llava")
        # OneVision shows several images of a prompt in another way than each by itself.
        self.grouped = "Onevision" in type(processor).__name__
        self.device, self.dtype = device, dtype
        self.memory: Memory | None = None  # of images, where `Engine.remembering` gave one
        processor.tokenizer.padding_side = "left"

    def shown(self, batch: Sequence[tuple], first: int) -> list[tuple]:
        """The batch with the first of each entry, its images, preprocessed.

        Doesn't preprocess a remembered image again (`Engine.remembering`).
        """
        groups = [
            entry[0] if isinstance(entry[0], Shown) else pictures(entry[0], first + i)
            for i, entry in enumerate(batch)
        ]
        units = [
            (i, unit)
            for i, group in enumerate(groups)
            if not isinstance(group, Shown)
            for unit in ([group] if self.grouped and group else [[image] for image in group])
        ]
        if self.memory is None:
            found = self._seen(units, first)
        else:
            found = self.memory.recalled(
                [unit for _, unit in units],
                lambda fresh: self._seen([units[k] for k in fresh], first),
            )
        seen_of: list[list[Seen]] = [[] for _ in groups]
        for (i, _), seen in zip(units, found, strict=True):
            seen_of[i].append(seen)
        return [
            (group if isinstance(group, Shown) else Shown(seen), *entry[1:])
            for group, seen, entry in zip(groups, seen_of, batch, strict=True)
        ]

    def _seen(self, units: Sequence[tuple[int, list[Image.Image]]], first: int) -> list[Seen]:
        """Images that are preprocessed together, with the numbers of their entries."""
        if not units:
            return []
        if self.alone:
            return [self._seen_alone(image, first + i) for i, (image,) in units]
        token = self.processor.image_token
        groups = [group for _, group in units]
        # Line breaks keep the tokens of two images apart.
        texts = ["\n".join([token] * len(group)) for group in groups]
        found = self.processed(groups, texts, [first + i for i, _ in units])
        ids, mask = found.pop("input_ids"), found.pop("attention_mask").bool()
        done, out = 0, []
        for k, group in enumerate(groups):
            flags = (ids[k][mask[k]] == self.image_id).tolist()
            counts = [sum(run) for flag, run in groupby(flags) if flag]
            own = slice(done, done + len(group))
            out.append(Seen(
                {key: x[k : k + 1] if key == "batch_num_images" else x[own]
                 for key, x in found.items()},
                counts, [token] * len(group),
            ))  # fmt: skip
            done += len(group)
        return out

    def _seen_alone(self, image: Image.Image, index: int) -> Seen:
        """An image that is preprocessed by itself, with whatever marks its crops and its ends."""
        found = self.processed([[image]], [self.processor.image_token], [index], replaced=True)
        ((replacement,),) = found.pop("text_replacement_offsets")
        text = re.sub(f"({re.escape(self.sign)})+", self.sign, replacement["replacement"])
        count = int((found["input_ids"] == self.image_id).sum())
        pixels = {key: x for key, x in found.items() if key not in _OF_TEXT}
        frames = getattr(self.processor.image_processor, "temporal_patch_size", 1)
        return Seen(pixels, [count], [text], frames)

    def processed(
        self,
        groups: Sequence[Sequence[Image.Image]],
        texts: Sequence[str],
        places: Sequence[int],
        replaced: bool = False,
    ) -> dict[str, Any]:
        """The model's inputs for texts with their images, and what replaced the image tokens."""
        framed = [[self.framed(image) for image in group] for group in groups]
        nested = self.alone or self.grouped
        images = framed if nested else [image for group in framed for image in group]
        more = {"return_text_replacement_offsets": True} if replaced else {}
        try:
            inputs = self.processor(
                images=images if any(groups) else None, text=list(texts), padding=True,
                padding_side="left", return_tensors="pt",
                add_special_tokens=self._adds_special(texts[0]), **more,
            )  # fmt: skip
        except (OSError, ValueError, ZeroDivisionError) as error:
            entries = [(i, x) for i, group in zip(places, groups, strict=True) for x in group]
            index, image = next((e for e in entries if not self._preprocesses(e[1])), entries[0])
            raise EncodeError(
                f"image {index} ({image.mode}, {image.width} x {image.height} px) cannot be "
                f"preprocessed: {error}",
                index,
            ) from error
        found: dict[str, Any] = {}
        for key, value in inputs.items():
            if isinstance(value, torch.Tensor):
                value = self.put(value, self.dtype if value.is_floating_point() else None)
            if key in self.accepted or not key.endswith("token_type_ids"):
                found[key] = value
        return found

    def put(self, tensor: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
        """A tensor on the model's device; the copy to a GPU doesn't block."""
        if self.device.type == "cuda" and tensor.device.type == "cpu":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, dtype, non_blocking=True)

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

    def _adds_special(self, text: str) -> bool:
        bos = self.processor.tokenizer.bos_token
        return not (bos and text.startswith(bos))  # some templates write it themselves


def pictures(picture: Picture, index: int) -> list[Image.Image]:
    """The images of one entry, RGB; one that cannot be read is named by the entry."""
    if picture is None:
        return []
    group = picture if isinstance(picture, list | tuple) else [picture]
    return [encodable(image, index) for image in group]
