"""A model, a benchmark and a method make the table of scores, of which all else is a function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..measures.decisions import match, predict, prefer
from ..measures.matching import option_scores
from ..tabletop.questions import WHICH
from .answers import parse_answer, parse_option
from .captions import ANSWERS, CaptionError, parse_caption
from .embeddings import image_embeddings, naming, source_key
from .methods import (
    METHODS,
    Answer,
    BothImages,
    Matching,
    Method,
    Options,
    VQAScore,
    named_methods,
    role_of,
)
from .questions import relation_question


def score(
    models: Any,
    benchmarks: Any,
    methods: str | Method | Iterable[str | Method] | Mapping[str, str | Method] = "matching",
    batch_size: int = 32,
    **options: Any,
) -> pd.DataFrame:
    """How well does each text fit each image of a benchmark, by a model?

    Parameters
    ----------
    models, benchmarks, methods
        One of each, several, or a mapping of names to them, which the table then has.
    batch_size : int
        Images with a prompt at a time, at most; fewer where the device's memory is too small. The
        model remembers how many fitted.
    **options
        Fields of the method with other values, such as ``blind=True``.

    Returns
    -------
    pandas.DataFrame
        A row for each pair, image and option: ``benchmark``, ``model``, ``method``, ``set_id``,
        ``pair_id``, ``relation``, ``image_index``, ``option_index``, ``own`` (whether it is the
        image's own), ``score``. From text to image, a caption takes the place of the image, and
        images are its options. Written answers add ``answer`` and ``parsed`` (whether it named one
        option); there the named option scores 1, others 0. Prompts of two images add ``position``:
        0 where the image that is asked about comes first.

    Raises
    ------
    ValueError
        If a method is unknown or not for the model, a benchmark is empty, or an item cannot be
        encoded or asked about (it is named).
    """
    chosen, tables = named_methods(methods, **options), []
    for bench_name, bench in named(benchmarks).items():
        pairs = list(bench)
        if not pairs:
            raise ValueError("the benchmark has no pairs")
        for model_name, model in named(models).items():
            for names, group in _together(chosen, model):
                size = max(1, batch_size // group[0].weight)
                scored = _ways[type(group[0])](model, pairs, group, size)
                for name, table in zip(names, scored, strict=True):
                    head = {"benchmark": bench_name, "model": model_name, "method": name}
                    for place, (column, value) in enumerate(head.items()):
                        table.insert(place, column, value)
                    tables.append(table)
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def evaluate(models: Any, benchmarks: Any, methods: Any = "matching", **options: Any):
    """Which text fits each image? `predict` of `score`, whose arguments it takes.

    Returns
    -------
    pandas.DataFrame
        A row for each image (see `measures.decisions.predict`); by relative preference, for each
        pair (`measures.decisions.prefer`), and so in both directions (`measures.decisions.match`).
    """
    decide = decider(methods, **options)
    return decide(score(models, benchmarks, methods, **options))


def decider(methods: Any, **options: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """What turns scores of these methods into decisions: `predict`, `prefer` or `match`."""
    fields = {key: value for key, value in options.items() if key != "batch_size"}
    kinds = {method.decides for method in named_methods(methods, **fields).values()}
    if len(kinds) > 1:
        raise ValueError("methods that decide about images and about pairs: evaluate each apart")
    return {"image": predict, "pair": prefer, "match": match}[kinds.pop()]


def named(things: Any) -> dict[str, Any]:
    """By name: of a mapping, of things that have one, or of bare pairs, which have none."""
    if isinstance(things, Mapping):
        return dict(things)
    if hasattr(things, "name"):
        return {things.name: things}
    things = list(things)
    if all(hasattr(thing, "sources") for thing in things):
        return {"": things}
    named = {thing.name: thing for thing in things}
    if len(named) < len(things):
        raise ValueError(
            f"several of {', '.join(thing.name for thing in things)} have one name: give a mapping "
            "of names of your own"
        )
    return named


def _together(
    methods: Mapping[str, Method], model: Any
) -> Iterator[tuple[list[str], list[Method]]]:
    """Names and methods that share a pass: options under contrasts with one second stream."""
    role = role_of(model)
    groups: dict[Hashable, tuple[list[str], list[Method]]] = {}
    for name, method in methods.items():
        if role not in method.roles:
            fitting = ", ".join(known for known, m in METHODS.items() if role in m.roles)
            raise ValueError(f"method {name!r} is not for {model!r}; choose one of {fitting}")
        method = method.underlying(role)
        key: Hashable = name
        if isinstance(method, Options) and method.contrast is not None:
            key = (replace(method, contrast=None), method.contrast.noise_step)
        names, group = groups.setdefault(key, ([], []))
        names.append(name)
        group.append(method)
    yield from groups.values()


# --- rows ----------------------------------------------------------------------------------------


def _owners(pairs: Sequence[Any]) -> list[tuple[Any, int]]:
    """Each image of each pair, as the pair and the image's place in it."""
    return [(pair, i) for pair in pairs for i in range(len(pair.sources))]


def _rivals(pairs: Sequence[Any], of: str) -> list[tuple[list[str], list[bool]]]:
    """For each image the captions that compete, and which of them is its own."""
    groups: dict[str, dict[str, None]] = defaultdict(dict)  # a dict as an ordered set
    for pair in pairs:
        groups[pair.set_id if of == "set" else pair.pair_id].update(dict.fromkeys(pair.captions))
    rivals = []
    for pair, i in _owners(pairs):
        texts = list(groups[pair.set_id if of == "set" else pair.pair_id])
        if len(texts) == 1:  # equal captions leave a tie, which is not correct
            rivals.append((texts * 2, [True, False]))
        else:
            rivals.append((texts, [text == pair.captions[i] for text in texts]))
    return rivals


def _table(
    owners: Sequence[tuple[Any, int]],
    own: Sequence[Sequence[bool]],
    scores: Sequence[Sequence[float]],
    **more: Sequence[Any],
) -> pd.DataFrame:
    """Rows of each image's options; `more` has an entry for each image."""
    counts = [len(row) for row in own]
    columns = {
        "set_id": [pair.set_id for pair, _ in owners],
        "pair_id": [pair.pair_id for pair, _ in owners],
        "relation": [pair.relation for pair, _ in owners],
        "image_index": [i for _, i in owners],
    }
    each = {name: np.repeat(np.array(values, object), counts) for name, values in columns.items()}
    table = pd.DataFrame(each).astype({"image_index": int}).infer_objects()
    table["option_index"] = [k for row in own for k in range(len(row))]
    table["own"] = [flag for row in own for flag in row]
    table["score"] = [float(value) for row in scores for value in row]
    for name, values in more.items():
        table[name] = np.repeat(np.array(values, object), counts)
    return table.infer_objects()


def _names(owners: Iterable[tuple[Any, int]]) -> list[str]:
    return [f"image {i} of pair {pair.pair_id!r}" for pair, i in owners]


def _pictures(pairs: Sequence[Any], blind: bool) -> Iterator[Any]:
    """The images in order, opened as they are drawn; blind, None for each."""
    for pair in pairs:
        yield from [None] * len(pair.sources) if blind else pair.images


def _need_two(pairs: Sequence[Any], why: str) -> None:
    single = next((pair.pair_id for pair in pairs if len(pair.sources) != 2), None)
    if single is not None:
        raise ValueError(f"pair {single!r} has a single image: {why}")


# --- ways to score -------------------------------------------------------------------------------


def _match(clip: Any, pairs: Sequence[Any], methods: list[Any], size: int):
    (method,) = methods
    _check_direction(pairs, method)
    embeddings = image_embeddings(clip, pairs, size)
    captions = list(dict.fromkeys(text for pair in pairs for text in pair.captions))
    texts = dict(zip(captions, clip.embed_texts(captions), strict=True))
    owners = _owners(pairs)
    if method.direction == "text-to-image":
        own = [[i == 0, i == 1] for _, i in owners]
        queries = [texts[pair.captions[i]] for pair, i in owners]
        candidates = [embeddings[pair.pair_id] for pair, _ in owners]
    else:
        rivals = _rivals(pairs, method.options)
        own = [flags for _, flags in rivals]
        queries = [embeddings[pair.pair_id][i] for pair, i in owners]
        candidates = [np.stack([texts[text] for text in row]) for row, _ in rivals]
    return [_table(owners, own, option_scores(queries, candidates))]


def _check_direction(pairs: Sequence[Any], method: Any) -> None:
    if method.direction == "text-to-image":
        _need_two(pairs, "from text to image, a caption chooses between two")
        if method.options != "pair":
            raise ValueError("from text to image, a caption chooses between the pair's two images")


def _vqascore(mllm: Any, pairs: Sequence[Any], methods: list[Any], size: int):
    (method,) = methods
    _check_direction(pairs, method)
    owners, rivals = _owners(pairs), _rivals(pairs, method.options)
    # An image that several pairs have is read once, with the captions of all of them.
    keys = [source_key(pair.sources[i]) for pair, i in owners]
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    captions: dict[Hashable, dict[str, None]] = defaultdict(dict)
    for key, (row, _) in zip(keys, rivals, strict=True):
        captions[key].update(dict.fromkeys(row))
    pictures = (
        image
        for place, image in enumerate(_pictures(pairs, method.blind))
        if first[keys[place]] == place
    )
    branches = [
        [(method.question.format(caption=text), method.answer) for text in row]
        for row in captions.values()
    ]
    with naming(_names(owners[place] for place in sorted(first.values()))):
        whole = {"end": True} if method.form == "authors" else {}
        answers = mllm.answer_logprobs(pictures, branches, batch_size=size, **whole)
    kind = "mean" if whole else "total"
    of_image = {
        key: dict(zip(row, np.exp([float(getattr(x, kind)) for x in scores]), strict=True))
        for (key, row), scores in zip(captions.items(), answers, strict=True)
    }
    if method.direction == "text-to-image":
        each = [[of_image[source_key(x)] for x in pair.sources] for pair, _ in owners]
        scores = [
            [image[pair.captions[i]] for image in images]
            for (pair, i), images in zip(owners, each, strict=True)
        ]
        return [_table(owners, [[i == 0, i == 1] for _, i in owners], scores)]
    scores = [
        [of_image[key][text] for text in row] for key, (row, _) in zip(keys, rivals, strict=True)
    ]
    return [_table(owners, [own for _, own in rivals], scores)]


def _questions(pairs: Sequence[Any], method: Any) -> tuple[list[str], list[list[str]], list[Any]]:
    """About each image: the question, the options (relations, or answers), which is its own."""
    if method.question is None:
        bare = next((pair.pair_id for pair in pairs if not getattr(pair, "question", "")), None)
        if bare is not None:
            raise ValueError(
                f"pair {bare!r} has no question of its own: use 'options', 'prompted' or "
                "'vqascore', which ask about its captions"
            )
        owners = _owners(pairs)
        asked = [p.prompt if isinstance(method, Answer) else p.question for p, _ in owners]
        own = [[i == 0, i == 1] for _, i in owners]
        return asked, [list(pair.options) for pair, _ in owners], own
    questions, offers, flags = [], [], []
    rivals = _rivals(pairs, getattr(method, "options", "pair"))
    for (pair, _), (texts, own) in zip(_owners(pairs), rivals, strict=True):
        try:
            statements = [parse_caption(text) for text in texts]
        except CaptionError as error:
            error.args = (f"pair {pair.pair_id!r}: {error}",)
            raise
        relations = [statement.relation for statement in statements]
        questions.append(relation_question(method.question, statements[own.index(True)], relations))
        offers.append(relations)
        flags.append(own)
    return questions, offers, flags


def _options(mllm: Any, pairs: Sequence[Any], methods: list[Any], size: int):
    method, owners = methods[0], _owners(pairs)
    questions, offers, own = _questions(pairs, method)
    if method.question is not None:
        offers = [[ANSWERS[relation] for relation in row] for row in offers]
    how = {"normalize": method.normalize, "batch_size": size}
    pictures = _pictures(pairs, method.blind)
    with naming(_names(owners)):
        if method.contrast is None:
            scores = mllm.option_logprobs(pictures, questions, offers, **how)
            return [_table(owners, own, scores)]
        # Here, so that what needs no language model needs no PyTorch.
        from ..decoding.processor import pair_seeds
        from ..decoding.streams import contrastive_option_logprobs

        contrasts = [method.contrast for method in methods]
        rows = contrastive_option_logprobs(
            mllm, pictures, questions, offers, contrasts, seed=pair_seeds(pairs), **how
        )
    return [_table(owners, own, [row[c] for row in rows]) for c in range(len(contrasts))]


def _answer(mllm: Any, pairs: Sequence[Any], methods: list[Any], size: int):
    (method,), owners = methods, _owners(pairs)
    questions, offers, own = _questions(pairs, method)
    how = {"max_new_tokens": method.max_new_tokens, "batch_size": size}
    pictures = _pictures(pairs, method.blind)
    with naming(_names(owners)):
        if method.contrast is None and method.temperature == 0:
            answers = mllm.generate(pictures, questions, **how)
        else:
            from ..decoding.processor import pair_seeds
            from ..decoding.streams import generate_contrastive, generate_sampled

            how["seed"] = pair_seeds(pairs, method.seed)
            if method.temperature > 0:
                how["temperature"] = method.temperature
            if method.contrast is None:
                answers = generate_sampled(mllm, pictures, questions, **how)
            else:
                how["do_sample"] = method.temperature > 0
                answers = generate_contrastive(mllm, pictures, questions, method.contrast, **how)
    scores = []
    for (pair, _), answer, offer in zip(owners, answers, offers, strict=True):
        if method.question is None:
            place = parse_option(answer, offer, pair.listed if pair.lettered else None)
            scores.append([float(k == place) for k in range(len(offer))])
        else:
            relation = parse_answer(answer, offer)
            scores.append([float(option == relation) for option in offer])
    parsed = [any(row) for row in scores]
    return [_table(owners, own, scores, answer=answers, parsed=parsed)]


def _both_images(mllm: Any, pairs: Sequence[Any], methods: list[Any], size: int):
    (method,) = methods
    _need_two(pairs, "two are shown")
    _questions(pairs, Options())

    def shown() -> Iterator[list[Any]]:
        for pair in pairs:
            images = list(pair.images)
            yield images
            yield images[::-1]

    branches = []
    for pair in pairs:
        asked = [method.prompt.format(which=which, question=pair.question) for which in WHICH]
        branches += [[(question, option) for question in asked for option in pair.options]] * 2
    names = [
        f"pair {pair.pair_id!r}, {order}" for pair in pairs for order in ("in order", "swapped")
    ]
    with naming(names):
        answers = mllm.answer_logprobs(shown(), branches, batch_size=size)
    owners, scores, positions = [], [], []
    shuffled = ((pair, swapped) for pair in pairs for swapped in (0, 1))
    for (pair, swapped), row in zip(shuffled, answers, strict=True):
        values = [x.mean if method.normalize else x.total for x in row]
        for position in (0, 1):
            owners.append((pair, position ^ swapped))
            scores.append(values[2 * position : 2 * position + 2])
            positions.append(position)
    own = [[i == 0, i == 1] for _, i in owners]
    return [_table(owners, own, scores, position=positions)]


_ways = {
    Matching: _match,
    VQAScore: _vqascore,
    Options: _options,
    Answer: _answer,
    BothImages: _both_images,
}
