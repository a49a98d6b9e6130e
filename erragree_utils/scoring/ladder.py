"""Kinds of change: how alike their two images are to CLIP, and how often it matches them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..measures.accuracy import summarize
from ..measures.agreement import normalised_agreement
from ..measures.intervals import bootstrap_mean
from ..measures.matching import matching_table
from .embeddings import image_embeddings, pair_cosines

if TYPE_CHECKING:
    from ..benchmarks import ImagePair
    from ..models import Clip


def ladder(
    clip: Clip, pairs: Sequence[ImagePair], embeddings: dict[str, np.ndarray] | None = None
) -> pd.DataFrame:
    """Agreement and accuracy of matching for each kind of pair, the most alike first.

    Parameters
    ----------
    clip : Clip or similar
    pairs : Benchmark or sequence of ImagePair
        Three or more of each relation.
    embeddings : dict, optional
        What `image_embeddings` returned, if you already have it.

    Returns
    -------
    pandas.DataFrame
        A row for each relation: ``n_pairs``; ``cosine``, the mean, and ``agreement``
        (`normalised_agreement`), each with ``_low`` and ``_high``; ``random``, the mean cosine of
        images of different pairs; ``individual_accuracy`` and ``pair_accuracy`` as `summarize`
        gives them, NaN where the two captions are the same.
    """
    by_pair = image_embeddings(clip, pairs) if embeddings is None else embeddings
    cosines, rows = pair_cosines(clip, pairs, by_pair), {}
    for relation, group in cosines.groupby("relation", sort=False):
        chosen = [pair for pair in pairs if pair.relation == relation]
        images = np.stack([by_pair[pair.pair_id] for pair in chosen])
        names = ["cosine", "cosine_low", "cosine_high"]
        row = {"n_pairs": len(chosen)} | dict(
            zip(names, bootstrap_mean(group["cosine"]), strict=True)
        )
        row |= normalised_agreement(images[:, 0], images[:, 1]).drop("cosine").to_dict()
        if all(first != second for first, second in (pair.captions for pair in chosen)):
            texts = clip.embed_texts([text for pair in chosen for text in pair.captions])
            matched = matching_table(images, texts.reshape(images.shape), group["pair_id"])
            row |= summarize(matched).loc["all"].filter(like="accuracy").to_dict()
        rows[relation] = row
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("relation")
    return table.sort_values("cosine", ascending=False)
