"""A model on a benchmark: images and captions in, tidy tables out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from ..checks import listed
from ..measures import matching
from . import vqascore
from .embeddings import image_embeddings, source_key

#: What each method needs of a model, and whether it takes the options of the whole set.
METHODS = {
    "matching": ("embed_images", False),
    "matching-all": ("embed_images", True),
    "matching-text-to-image": ("embed_images", False),
    "vqascore": ("answer_logprobs", False),
    "vqascore-all": ("answer_logprobs", True),
    "options": ("option_logprobs", False),
    "prompted": ("generate", False),
    "prompted-4way": ("generate", True),
}


def evaluate(
    model: Any,
    bench: Any,
    method: str = "matching",
    batch_size: int = 64,
    progress: bool = False,
    blind: bool = False,
) -> pd.DataFrame:
    """Which text fits each image of a benchmark, by the model? Each image is encoded once.

    Parameters
    ----------
    model : Clip or Mllm
    bench : Benchmark
    method : str
        For a `Clip`: ``"matching"``, an image's own caption against the pair's other one by cosine,
        or ``"matching-all"``, against all other captions of the set (four-way in What'sUp); sets
        are as they are in `bench`, so a selection of one relation has two options left. With
        ``"matching-text-to-image"`` the roles change: of the pair's two images, a caption must
        prefer its own (as MMVP-VLM is scored); both directions use the same four cosines.

        For a `Mllm`: ``"vqascore"`` and ``"vqascore-all"``, the same by P("Yes") to whether the
        image shows the caption; ``"options"``, the question where one thing is in relation to the
        other, with the words for the pair's two relations scored as answers (length-normalised
        log-likelihood); ``"prompted"``, the same question, with an answer generated and parsed
        strictly; ``"prompted-4way"``, with the words for all relations of the set.
    batch_size : int
        Images at a time; halved when the device's memory is too small.
    progress : bool
        Show a progress bar.
    blind : bool
        Ask a `Mllm` without showing the images: what the words alone give away. Both images of a
        pair then get the same scores, so that one of them is right.

    Returns
    -------
    pandas.DataFrame
        A row for each image: ``pair_id``, ``set_id``, ``relation``, ``image_index``, ``model``,
        ``method``, ``n_options``, ``score_own``, ``score_other`` (the best of the others),
        ``correct`` (``score_own > score_other``: a tie is not correct). From text to image, a row
        is about the image's caption, and the other is the other image. The prompted methods add
        ``answer`` (the text) and ``parsed`` (whether it named one option, and one only); there the
        named option scores 1, others 0, and an answer that is not parsed is not correct.

    Raises
    ------
    ValueError
        If the method is unknown or not for this kind of model, a matching is to be blind, the
        benchmark is empty, an item cannot be encoded, a pair has a single image where two are
        compared, or a caption states no relation where the method needs one (it is named).
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
    needed, whole_set = METHODS[method]
    if not hasattr(model, needed):
        fitting = ", ".join(name for name, (need, _) in METHODS.items() if hasattr(model, need))
        raise ValueError(f"method {method!r} is not for {model!r}; choose one of {fitting}")
    bench = list(bench)
    _need_items(bench)
    if blind and method.startswith("matching"):
        raise ValueError("CLIP cannot match captions without an image; leave out blind=True")
    table, options = _competitions(bench, whole_set)
    if method == "matching-text-to-image":
        _match_images(model, bench, table, batch_size, progress)
    elif method.startswith("matching"):
        _match(model, bench, table, options, batch_size, progress)
    elif method.startswith("vqascore"):
        _vqascore(model, bench, table, options, batch_size, progress, blind)
    else:
        read = _score_words if method == "options" else _prompt
        read(model, bench, table, options, batch_size, progress, blind)
    correct = table["score_own"] > table["score_other"]
    table.insert(table.columns.get_loc("score_other") + 1, "correct", correct)
    table.insert(4, "model", model.name)
    table.insert(5, "method", method)
    return table


def _competitions(bench: Any, whole_set: bool) -> tuple[pd.DataFrame, list[list[str]]]:
    """A row for each image, and its options: its own caption, and those it competes with."""
    groups: dict[str, dict[str, None]] = defaultdict(dict)  # a dict as an ordered set
    for pair in bench:
        groups[pair.set_id if whole_set else pair.pair_id].update(dict.fromkeys(pair.captions))
    rows, options = [], []
    for pair in bench:
        group = groups[pair.set_id if whole_set else pair.pair_id]
        for index in range(len(pair.sources)):
            mine = pair.captions[index]
            rivals = [text for text in group if text != mine]
            rows.append((pair.pair_id, pair.set_id, pair.relation, index, len(rivals) + 1))
            # Equal captions leave a tie, which is not correct.
            options.append([mine, *(rivals or [mine])])
    columns = ["pair_id", "set_id", "relation", "image_index", "n_options"]
    return pd.DataFrame(rows, columns=columns), options


def _match(model, bench, table: pd.DataFrame, options, batch_size: int, progress: bool) -> None:
    embedded = image_embeddings(model, bench, batch_size, progress)
    texts, row_of = _embed_captions(model, bench)
    places = [[row_of[text] for text in row] for row in options]
    images = np.concatenate([embedded[pair.pair_id] for pair in bench])
    table["score_own"], table["score_other"] = matching.own_and_other(
        images, texts, np.array([row[0] for row in places]), [row[1:] for row in places]
    )


def _match_images(model, bench, table: pd.DataFrame, batch_size: int, progress: bool) -> None:
    single = next((pair.pair_id for pair in bench if len(pair.sources) != 2), None)
    if single is not None:
        raise ValueError(
            f"pair {single!r} has a single image: from text to image, a caption chooses between two"
        )
    embedded = image_embeddings(model, bench, batch_size, progress)
    texts, row_of = _embed_captions(model, bench)
    images = np.concatenate([embedded[pair.pair_id] for pair in bench])
    captions = texts[[row_of[text] for pair in bench for text in pair.captions]]
    own = np.arange(len(images))
    table["n_options"] = 2
    table["score_own"], table["score_other"] = matching.own_and_other(
        captions, images, own, (own ^ 1)[:, None]
    )


def _vqascore(
    model, bench, table: pd.DataFrame, options, batch_size: int, progress: bool, blind: bool
) -> None:
    keys = [source_key(source) for pair in bench for source in pair.sources]
    wanted: dict[Hashable, dict[str, None]] = defaultdict(dict)
    for key, row in zip(keys, options, strict=True):
        wanted[key].update(dict.fromkeys(row))
    texts = [list(row) for row in wanted.values()]
    with _named(bench, first_of_each=True):
        scores = vqascore.vqascores(model, _opened(bench, True, blind), texts, batch_size, progress)
    of = {
        key: dict(zip(row, values, strict=True))
        for key, row, values in zip(wanted, texts, scores, strict=True)
    }
    _fill(table, [[of[key][text] for text in row] for key, row in zip(keys, options, strict=True)])


def _score_words(
    model, bench, table: pd.DataFrame, options, batch_size: int, progress: bool, blind: bool
) -> None:
    questions, offered = _questions(bench, options)
    words = [[vqascore.ANSWERS[relation] for relation in row] for row in offered]
    with _named(bench):
        scores = model.option_logprobs(
            _opened(bench, blind=blind), questions, words, batch_size=batch_size, progress=progress
        )
    _fill(table, scores)


def _prompt(
    model, bench, table: pd.DataFrame, options, batch_size: int, progress: bool, blind: bool
) -> None:
    questions, offered = _questions(bench, options)
    with _named(bench):
        answers = model.generate(
            _opened(bench, blind=blind), questions, batch_size=batch_size, progress=progress
        )
    named = [vqascore.parse_answer(text, row) for text, row in zip(answers, offered, strict=True)]
    _fill(
        table,
        [
            [float(relation == name) for relation in row]
            for name, row in zip(named, offered, strict=True)
        ],
    )
    table["answer"] = answers
    table["parsed"] = [name is not None for name in named]


def _fill(table: pd.DataFrame, scores: Sequence[Sequence[float]]) -> None:
    """Scores of each image's options, its own first."""
    table["score_own"] = [float(row[0]) for row in scores]
    table["score_other"] = [float(max(row[1:])) for row in scores]


def _questions(bench: Any, options: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """The question about each image, and the relations on offer, its own first."""
    questions, offered = [], []
    owners = (pair for pair in bench for _ in pair.sources)
    for pair, row in zip(owners, options, strict=True):
        try:
            statements = [vqascore.parse_caption(text) for text in row]
        except vqascore.CaptionError as error:
            error.args = (f"pair {pair.pair_id!r}: {error}",)
            raise
        offered.append([statement.relation for statement in statements])
        questions.append(vqascore.relation_question(statements[0], offered[-1]))
    return questions, offered


def _opened(bench: Any, first_of_each: bool = False, blind: bool = False) -> Iterator[Any]:
    """The images in order, opened as they are drawn; of equal ones the first alone, if asked.

    Blind, None stands for each.
    """
    seen: set[Hashable] = set()
    for pair in bench:
        keys = [source_key(source) for source in pair.sources]
        if first_of_each and seen.issuperset(keys):
            continue
        images = [None] * len(keys) if blind else pair.images
        for key, image in zip(keys, images, strict=True):
            if not (first_of_each and key in seen):
                yield image
            seen.add(key)


@contextmanager
def _named(bench: Any, first_of_each: bool = False) -> Iterator[None]:
    """Add the pair to an error that says which item it is about."""
    try:
        yield
    except ValueError as error:
        index = getattr(error, "index", None)
        if index is not None:
            names: dict[Hashable, str] = {}
            for pair in bench:
                for i, source in enumerate(pair.sources):
                    key = source_key(source) if first_of_each else (pair.pair_id, i)
                    names.setdefault(key, f"image {i} of pair {pair.pair_id!r}")
            error.args = (f"{list(names.values())[index]}: {error}",)
        raise


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
    bench = list(bench)
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
    TypeError
        If images, labels or templates are a single one instead of a list.
    ValueError
        If there are no labels or templates, or a template has no ``{}``.
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
