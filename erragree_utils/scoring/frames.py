"""What CLIP and LLaVA say about each image of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from PIL import Image

from ..benchmarks import ImagePair
from .scores import score

if TYPE_CHECKING:
    from ..models.clip import Clip
    from ..models.mllm import Mllm


def read_frames(
    clip: Clip, mllm: Mllm, images: Sequence[Image.Image], captions: tuple[str, str]
) -> pd.DataFrame:
    """Let both read each image with both captions.

    Returns
    -------
    pandas.DataFrame
        A row for each image: ``cosine`` to the first one, CLIP's ``score_0`` and ``score_1`` of the
        captions, LLaVA's P(Yes) for them, ``yes_0`` and ``yes_1``, by VQAScore.
    """
    embeddings, texts = clip.embed_images(list(images)), clip.embed_texts(list(captions))
    matching = embeddings @ texts.T
    pairs = [
        ImagePair(f"{k:04d}", f"{k:04d}", "frame", tuple(captions), (image,))
        for k, image in enumerate(images)
    ]
    rows = score(mllm, pairs, "vqascore")
    yes = rows.pivot_table("score", "pair_id", "option_index").to_numpy()
    return pd.DataFrame({
        "cosine": embeddings @ embeddings[0],
        "score_0": matching[:, 0], "score_1": matching[:, 1],
        "yes_0": yes[:, 0], "yes_1": yes[:, 1],
    })  # fmt: skip
