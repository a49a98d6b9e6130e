"""Parts of all live figures: images and data that are embedded in the page itself."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

THUMB = 112  # side in pixels of the images that a click shows


@dataclass(frozen=True)
class Live:
    """A live figure; a notebook shows its `html`."""

    html: str
    summary: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"<Live figure: {self.summary}>"


def texts_of(pair: Any) -> tuple[str, str]:
    """The text of each image: its caption, or its answer to the pair's question."""
    return pair.options if hasattr(pair, "options") else pair.captions


def square(image: Image.Image, size: int) -> Image.Image:
    """The whole image in a grey square, at most `size` pixels a side."""
    image = image.convert("RGB")
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    whole = Image.new("RGB", (max(image.size),) * 2, (128, 128, 128))
    whole.paste(image, ((whole.width - image.width) // 2, (whole.height - image.height) // 2))
    return whole


def sheet_of(pairs: Sequence[Any], columns: int) -> Image.Image:
    """All images of the pairs as one picture, row by row."""
    images = [image for pair in pairs for image in pair.images]
    sheet = Image.new("RGB", (columns * THUMB, math.ceil(len(images) / columns) * THUMB))
    for k, image in enumerate(images):
        tile = square(image, THUMB).resize((THUMB, THUMB), Image.Resampling.BICUBIC)
        sheet.paste(tile, (k % columns * THUMB, k // columns * THUMB))
    return sheet


def address(image: Image.Image, quality: int) -> str:
    """The image as a data URL, so that the page needs no other file."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "webp", quality=quality, method=6)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def as_json(data: Any) -> str:
    """Data as JSON, escaped so that no text in it can end the script element."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c")
