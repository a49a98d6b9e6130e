"""Pixels as a viewer shows them: whatever Pillow can open becomes RGB, or is refused by name."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

#: What is done with a photograph's orientation tag: a viewer applies it; published benchmarks are
#: scored without it, as their own scripts do.
ORIENTATIONS = ("apply", "keep")

_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


class ImageError(ValueError):
    """An image is missing, cannot be decoded, or is of a kind that is not read."""


def read_image(
    source: str | Path | BinaryIO | Image.Image,
    orientation: str = "apply",
    name: str | None = None,
) -> Image.Image:
    """An image as RGB, from its file or from memory.

    Parameters
    ----------
    orientation : {"apply", "keep"}
        Turn a photograph the way its orientation tag says, or take the pixels as they are stored.
    name : str, optional
        What errors call the image; by default its path.

    Raises
    ------
    ImageError
        If it is missing, damaged, too large, or of a kind that is not read (see `as_rgb`).
    """
    if isinstance(source, Image.Image):
        return as_rgb(source, orientation, name or "the image")
    name = name or f"the image {source}"
    try:
        with Image.open(source) as image:
            return as_rgb(image, orientation, name)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(
            f"{name} is missing. Copy it there; a benchmark leaves out what lacks an image with "
            "skip_incomplete=True."
        ) from None
    except Exception as error:  # of many kinds, for a broken header
        raise _unreadable(name, error) from error


def as_rgb(image: Image.Image, orientation: str = "apply", name: str = "the image") -> Image.Image:
    """An image's pixels as a viewer shows them, as a new RGB image without tags.

    Transparent parts stand on white. Of 16 bits the upper 8 are taken. Floats between 0 and 1 are
    brightness; other floats and 32-bit integers have no known white and are refused.
    `name` is what an ImageError calls it.
    """
    if orientation not in ORIENTATIONS:
        raise ValueError(f"orientation is 'apply' or 'keep', not {orientation!r}")
    if not isinstance(image, Image.Image):
        raise ImageError(
            f"{name} is a {type(image).__name__}, not a PIL image; open files with "
            "PIL.Image.open, arrays with PIL.Image.fromarray"
        )
    if 0 in image.size:
        raise ImageError(f"{name} has no pixels: {image.width} x {image.height}")
    try:
        image.load()
        if orientation == "apply" and orientation_tag(image) != 1:
            image = ImageOps.exif_transpose(image)
        rgb = _rgb(image, name)
    except ImageError:
        raise
    except Exception as error:  # decoders raise anything on damaged data
        raise _unreadable(name, error) from error
    # Without its tags: what reads the result must not turn it once more.
    rgb.info.clear()
    return rgb


def padded_square(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """The image in the middle of a square of a colour; nothing of it is lost."""
    side = max(image.size)
    if image.width == image.height:
        return image
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def central_square(image: Image.Image) -> Image.Image:
    """The largest square at the centre of an image, RGB."""
    image = as_rgb(image)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def orientation_tag(image: Image.Image | Path) -> int:
    """How a photograph is to be turned (EXIF 2.32, tag 274): 1, not at all, to 8."""
    try:
        with nullcontext(image) if isinstance(image, Image.Image) else Image.open(image) as opened:
            tag = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a viewer does not mind broken EXIF; a broken file is named when it is read
        return 1
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _grey(np.asarray(image) >> 8)
    if image.mode == "I":
        # Where Pillow opens 16-bit greys of these as wider numbers, the range is known.
        if image.format not in ("PNG", "PPM"):
            raise _no_white(name, "32-bit integers")
        return _grey(np.asarray(image) >> 8)
    if image.mode == "F":
        values = np.asarray(image)
        if not ((values >= 0) & (values <= 1)).all():  # true for NaN too
            raise _no_white(name, "floats that are not all between 0 and 1")
        return _grey((values * 255).round())
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        image = image.convert("LA") if image.mode == "La" else image
        layer = image.convert("RGBA")
        page = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(page, layer).convert("RGB")
    return image.convert("RGB")


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")


def _no_white(name: str, what: str) -> ImageError:
    return ImageError(
        f"{name} holds {what}, and which of them is white is not known: scale it to 8 bits, for "
        "example PIL.Image.fromarray((values / values.max() * 255).astype('uint8'))"
    )


def _unreadable(name: str, error: Exception) -> ImageError:
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(
            f"{name} has more pixels than Pillow reads, lest a small file fill the memory "
            f"({error}). Scale it down; if it is to be trusted, raise PIL.Image.MAX_IMAGE_PIXELS."
        )
    return ImageError(
        f"{name} cannot be read ({error}). The file is probably damaged or was not copied whole: "
        "delete it and fetch it again."
    )
