"""A model that embeds images as their colour, and pairs of such images."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from erragree_utils.benchmarks import ImagePair


class Colours:
    """A CLIP that can be checked by eye: images embed as their colour, texts as what they name."""

    name = "colours"

    def __init__(self):
        self.images, self.texts = 0, Counter()

    def embed_images(self, images, batch_size=64):
        rows = [np.asarray(image.convert("RGB"), np.float32)[0, 0] for image in images]
        self.images += len(rows)
        return self._unit(rows)

    def embed_texts(self, texts, batch_size=256):
        self.texts.update(texts)
        return self._unit(
            [[10 * (word in text) + 0.1 for word in ("red", "green", "blue")] for text in texts]
        )

    @staticmethod
    def _unit(rows):
        rows = np.asarray(rows, np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def colours() -> Colours:
    return Colours()


@pytest.fixture(scope="session")
def pair():
    """Makes a pair of images of one colour each."""

    def make(name, captions, shades, set_id=None, relation="left/right") -> ImagePair:
        images = tuple(Image.new("RGB", (8, 8), shade) for shade in shades)
        return ImagePair(name, set_id or name, relation, captions, images)

    return make
