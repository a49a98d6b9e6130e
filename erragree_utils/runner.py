"""A model on a benchmark: images and captions in, tidy tables out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import matching
from .agreement import image_embeddings

METHODS = ("matching", "matching-all")


def evaluate(
    model: Any, bench: Any, method: str = "matching", batch_size: int = 64, progress: bool = False
) -> pd.DataFrame:
    """Match every image of a benchmark with captions. Each image and caption is encoded once.

    Parameters
    ----------
    model : Clip
    bench : Benchmark
    method : {"matching", "matching-all"}
        ``"matching"``: an image's own caption against the pair's other one.
        ``"matching-all"``: against all other captions of the set (four-way in What'sUp); sets are
        as they are in `bench`, so a selection of one relation has two options left.
    batch_size : int
        Images at a time; halved when the device's memory is too small.
    progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        A row for each image: ``pair_id``, ``set_id``, ``relation``, ``image_index``, ``model``,
        ``method``, ``n_options``, ``score_own``, ``score_other`` (the best of the others),
        ``correct`` (``score_own > score_other``: a tie is not correct).

    Raises
    ------
    ValueError
        If the method is unknown, the benchmark empty, or an item cannot be encoded (it is named).
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
    _need_items(bench)
    embedded = image_embeddings(model, bench, batch_size, progress)
    texts, row_of = _embed_captions(model, bench)

    options: dict[str, dict[str, None]] = defaultdict(dict)  # a dict as an ordered set
    for pair in bench:
        group = pair.set_id if method == "matching-all" else pair.pair_id
        options[group].update(dict.fromkeys(pair.captions))

    rows, own, others = [], [], []
    for pair in bench:
        group = pair.set_id if method == "matching-all" else pair.pair_id
        for index in range(len(pair.sources)):
            mine = pair.captions[index]
            rivals = [row_of[text] for text in options[group] if text != mine]
            rows.append((pair.pair_id, pair.set_id, pair.relation, index, len(rivals) + 1))
            own.append(row_of[mine])
            # Equal captions leave a tie, which is not correct.
            others.append(rivals or [row_of[mine]])
    table = pd.DataFrame(
        rows, columns=["pair_id", "set_id", "relation", "image_index", "n_options"]
    )
    images = np.concatenate([embedded[pair.pair_id] for pair in bench])
    table["score_own"], table["score_other"] = matching.own_and_other(
        images, texts, np.array(own), others
    )
    table["correct"] = table["score_own"] > table["score_other"]
    table.insert(4, "model", model.name)
    table.insert(5, "method", method)
    return table


def evaluate_retrieval(
    model: Any, bench: Any, batch_size: int = 64, progress: bool = False
) -> pd.DataFrame:
    """Does an image find its own caption among those of all sets that state the same relation?

    The captions then differ in the objects alone: this asks for objects as `evaluate` asks for
    relations.

    Parameters
    ----------
    model : Clip
    bench : Benchmark
    batch_size : int
    progress : bool

    Returns
    -------
    pandas.DataFrame
        A row for each image: ``pair_id``, ``set_id``, ``relation``, ``image_index``, ``rank`` (1 is
        best), ``n_options`` (different captions), ``correct`` (rank 1, no tie).

    Raises
    ------
    ValueError
        If the benchmark is empty, or a relation has only one caption.
    """
    _need_items(bench)
    embedded = image_embeddings(model, bench, batch_size, progress)
    texts, row_of = _embed_captions(model, bench)
    groups: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for pair in bench:
        for index in range(len(pair.sources)):
            groups[pair.relation, index].append(pair)
    tables = []
    for (relation, index), pairs in groups.items():
        captions = [pair.captions[index] for pair in pairs]
        ranks, n_options = matching.retrieval(
            np.stack([embedded[pair.pair_id][index] for pair in pairs]),
            texts[[row_of[text] for text in captions]],
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
    model: Any,
    images: Iterable[Any],
    labels: Sequence[str],
    templates: Sequence[str] = ("a photo of a {}.",),
    batch_size: int = 64,
) -> np.ndarray:
    """Zero-shot classification with an ensemble of templates (Radford et al. 2021, 3.1.4).

    Parameters
    ----------
    model : Clip
    images : iterable of PIL.Image.Image
    labels : sequence of str
    templates : sequence of str
        Each with ``{}`` where the label goes.
    batch_size : int

    Returns
    -------
    numpy.ndarray of int, shape (N,)
        Index of the chosen label for each image.

    Raises
    ------
    ValueError
        If there are no labels or templates, or a template has no ``{}``.
    """
    if isinstance(templates, str) or not templates or len(labels) == 0:
        raise ValueError("zero_shot needs a list of labels and a list of templates")
    bad = [template for template in templates if "{}" not in template]
    if bad:
        raise ValueError(f"template {bad[0]!r} has no {{}} for the label")
    texts = [template.replace("{}", label) for label in labels for template in templates]
    classes = matching.class_embeddings(model.embed_texts(texts), len(templates))
    return matching.classify(model.embed_images(images, batch_size=batch_size), classes)


def _need_items(bench: Any) -> None:
    if len(bench) == 0:
        raise ValueError("the benchmark has no pairs")


def _embed_captions(model: Any, bench: Any) -> tuple[np.ndarray, dict[str, int]]:
    """Embeddings of the distinct captions, and the row of each."""
    captions = list(dict.fromkeys(text for pair in bench for text in pair.captions))
    try:
        embedded = model.embed_texts(captions)
    except ValueError as error:
        index = getattr(error, "index", None)
        if index is not None:
            owner = next(pair.pair_id for pair in bench if captions[index] in pair.captions)
            error.args = (f"caption of pair {owner!r}: {error}",)
        raise
    return embedded, {text: row for row, text in enumerate(captions)}
