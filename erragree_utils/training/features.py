"""Patch tokens of training pictures: the frozen tower runs once over all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from transformers import LlavaForConditionalGeneration as Llava

from .data import crop, keep
from .llava_model import patch_tokens

CHUNK = 1024  # pictures whose patch tokens are computed at a time


def cache_features(
    model: Llava, pictures: np.ndarray, crops: int, seed: int, path: Path
) -> np.ndarray:
    """Patch tokens of random crops of pictures, computed once and kept in a file.

    float16, shape (N, crops, patches, width). After a kill, it continues where it stopped.
    """
    vision = model.config.vision_config
    shape = (len(pictures), crops, model.config.image_seq_length, vision.hidden_size)

    def chunks(done: int) -> Iterator[np.ndarray]:
        for start in range(done, len(pictures), CHUNK):
            rng, chunk = np.random.default_rng((seed, start)), pictures[start : start + CHUNK]
            features = np.empty((len(chunk), *shape[1:]), np.float16)
            for i in range(0, len(chunk), 128):
                part = chunk[i : i + 128]
                for c in range(crops):
                    high = pictures.shape[1] - vision.image_size + 1
                    corners = rng.integers(0, high, (len(part), 2))
                    tokens = patch_tokens(model, crop(part, corners, vision.image_size))
                    features[i : i + len(part), c] = tokens.cpu().numpy().astype(np.float16)
            yield features

    return keep(path, shape, np.float16, chunks)


def tower_mark(clip_folder: Path) -> str:
    """A short hash of the weights that made the patch tokens."""
    return weights_mark(clip_folder / "open_clip_model.safetensors")


def weights_mark(path: Path) -> str:
    """A short hash of a file of weights, by which to name what was computed with them."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
