"""How each method scores: a model, pairs, and methods that share a pass, to rows of the table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..decoding import Contrast
from ..measures.matching import option_scores
from ..tabletop.questions import WHICH
from .answers import parse_answer, parse_option
from .captions import ANSWERS, CaptionError, parse_caption
from .embeddings import image_embeddings, naming, source_key
from .methods import Answer, BothImages, Matching, Options, VQAScore
from .questions import relation_question

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
        if not isinstance(method.contrast, Contrast):
            how |= _scaling(method)
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


def _scaling(method: Any) -> dict[str, Any]:
    """The argument by which a language model scales its attention, if it does."""
    if method.contrast is None:
        return {}
    from ..decoding.scaled import scaling

    return {"change": scaling(method.contrast)}


def _answer(mllm: Any, pairs: Sequence[Any], methods: list[Any], size: int):
    (method,), owners = methods, _owners(pairs)
    questions, offers, own = _questions(pairs, method)
    how = {"max_new_tokens": method.max_new_tokens, "batch_size": size}
    pictures = _pictures(pairs, method.blind)
    with naming(_names(owners)):
        contrasted = isinstance(method.contrast, Contrast)
        if not contrasted and method.temperature == 0:
            answers = mllm.generate(pictures, questions, **how, **_scaling(method))
        else:
            from ..decoding.processor import pair_seeds
            from ..decoding.streams import generate_contrastive, generate_sampled

            how["seed"] = pair_seeds(pairs, method.seed)
            if method.temperature > 0:
                how["temperature"] = method.temperature
            if not contrasted:
                answers = generate_sampled(mllm, pictures, questions, **how, **_scaling(method))
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


#: The way of each kind of method: takes model, pairs, methods and batch size, and returns a table
#: for each method.
WAYS = {
    Matching: _match,
    VQAScore: _vqascore,
    Options: _options,
    Answer: _answer,
    BothImages: _both_images,
}
