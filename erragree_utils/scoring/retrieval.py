"""What CLIP knows about objects: choosing among captions of other sets, and naming objects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..checks import listed
from ..measures import matching
from .embeddings import image_embeddings

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..benchmarks import ImagePair
    from ..models import Clip


def evaluate_retrieval(
    model: Clip, bench: Iterable[ImagePair], batch_size: int = 64
) -> pd.DataFrame:
    """Does an image find its own caption among those of all sets that state the same relation?

    These captions differ only in the objects, so this asks for objects just as `matching` asks
    for relations.

    Returns
    -------
    pandas.DataFrame
        A row for each image: ``pair_id``, ``set_id``, ``relation``, ``image_index``, ``rank`` (1 is
        best), ``n_options`` (different captions), ``correct`` (rank 1, no tie).
    """
    bench = list(bench)
    if not bench:
        raise ValueError("the benchmark has no pairs")
    embedded = image_embeddings(model, bench, batch_size)
    captions = list(dict.fromkeys(text for pair in bench for text in pair.captions))
    texts = dict(zip(captions, model.embed_texts(captions), strict=True))
    groups: dict[tuple[str, int], list[ImagePair]] = defaultdict(list)
    for pair in bench:
        for index in range(len(pair.sources)):
            groups[pair.relation, index].append(pair)
    tables = []
    for (relation, index), pairs in groups.items():
        captions = [pair.captions[index] for pair in pairs]
        ranks, n_options = matching.retrieval(
            np.stack([embedded[pair.pair_id][index] for pair in pairs]),
            np.stack([texts[text] for text in captions]),
            captions,
        )
        tables.append(pd.DataFrame({
            "pair_id": [pair.pair_id for pair in pairs],
            "set_id": [pair.set_id for pair in pairs],
            "relation": relation,
            "image_index": index,
            "rank": ranks,
            "n_options": n_options,
            "correct": ranks == 1,
        }))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def zero_shot(
    model: Clip,
    images: Iterable[Image],
    labels: Sequence[str],
    templates: Sequence[str] = ("a photo of a {}.",),
    batch_size: int = 64,
) -> np.ndarray:
    """Index of the label that fits each image best, (N,), with an ensemble of templates.

    Radford et al. 2021, section 3.1.4; each template has ``{}`` where the label goes.
    """
    labels, templates = list(listed(labels, "labels")), list(listed(templates, "templates"))
    if not labels or not templates:
        raise ValueError("zero_shot needs labels and templates")
    bad = [template for template in templates if "{}" not in template]
    if bad:
        raise ValueError(f"template {bad[0]!r} has no {{}} for the label")
    texts = [template.replace("{}", label) for label in labels for template in templates]
    classes = matching.class_embeddings(model.embed_texts(texts), len(templates))
    return matching.classify(model.embed_images(images, batch_size=batch_size), classes)
