"""Can a linear probe tell the two images of a pair apart, on pairs that it hasn't seen?

One rule is fitted for all pairs of a group. The words in which a pair's texts differ say what it
has to tell apart: two pairs about *left* and *right* are examples of the same question, whichever
image comes first, while *red or orange* and *yellow or orange* share half of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..benchmarks.base import ImagePair, QuestionPair
from ..measures.intervals import bootstrap_share, wilson
from ..measures.ridge import FOLDS, held_out_predictions
from ..scoring.captions import CaptionError, parse_caption

#: Fewer pairs than these teach a reader nothing that held-out pairs could show.
FEWEST = 16


def read_pairs(
    features: np.ndarray, pairs: Sequence[ImagePair | QuestionPair], seed: int = 0
) -> pd.DataFrame:
    """What a linear probe makes of each pair, held out.

    Least squares with an L2 penalty, in the products of features and words, chosen on a held-out
    part of the training pairs. Pairs with the same texts are in one fold.

    Parameters
    ----------
    features : numpy.ndarray, shape (N, 2, ...)
        Of the two images of each pair.

    Returns
    -------
    pandas.DataFrame
        A row for each pair: ``first`` and ``second``, what the reader makes of each image: above 0
        for the first one's texts; ``cluster``, which pairs share their texts. Empty values where
        nothing can be learned: fewer than `FEWEST` pairs, or texts of the same words.
    """
    n = len(pairs)
    table = pd.DataFrame({"first": np.nan, "second": np.nan, "cluster": clusters(pairs)})
    words = word_kernel(pairs)
    told = np.diag(words) > 0
    if told.sum() < FEWEST:
        return table
    x = np.asarray(features, np.float64).reshape(n, 2, -1)[told].reshape(2 * told.sum(), -1)
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)
    kernel = x @ x.T / x.shape[1] * words[np.ix_(told, told)].repeat(2, 0).repeat(2, 1)
    y = np.tile([1.0, -1.0], told.sum())
    cluster = table["cluster"].to_numpy()[told].repeat(2)
    table.loc[told, ["first", "second"]] = held_out_predictions(
        kernel / np.diag(kernel).mean(), y, cluster, seed
    ).reshape(-1, 2)
    return table


def reading_accuracy(table: pd.DataFrame) -> dict[str, float]:
    """Shares of images (``single``) and of pairs (``compared``) that the probe gets right.

    With ``_low`` and ``_high`` (95%), over pairs with the same texts; chance is 0.5 for both. NaN
    where nothing was read.
    """
    read = table.dropna()
    if not len(read):
        names = (f"{kind}{end}" for kind in ("single", "compared") for end in ("", "_low", "_high"))
        return dict.fromkeys(names, float("nan"))
    _, cluster = np.unique(read["cluster"], return_inverse=True)
    total = np.bincount(cluster)
    single = np.bincount(cluster, (read["first"] > 0).astype(int) + (read["second"] < 0))
    compared = np.bincount(cluster, read["first"] > read["second"])
    out = {}
    for kind, right, of in (("single", single, 2 * total), ("compared", compared, total)):
        low, high = bootstrap_share(right.astype(int), of)
        if low == high:  # all alike: a bootstrap has no width
            low, high = wilson(right.sum() / of.sum(), len(total))
        out |= {kind: right.sum() / of.sum(), f"{kind}_low": low, f"{kind}_high": high}
    return out


def nothing_differs() -> dict[str, float]:
    """What `reading_accuracy` would give if both images of each pair had the same features.

    With ``power``: no reader of them could be better than chance.
    """
    names = (f"{kind}{end}" for kind in ("single", "compared") for end in ("", "_low", "_high"))
    return dict.fromkeys(names, 0.5) | {"power": 1.0}


def planted(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Features in which every pair's first image is moved a little along one random direction.

    By half of the mean distance of a pair's images: what a reader of these pairs should find. If it
    doesn't, a reader at chance says nothing about the features.
    """
    x = np.asarray(features, np.float64).reshape(len(features), 2, -1)
    step = np.linalg.norm(x[:, 0] - x[:, 1], axis=1).mean() / 2
    direction = np.random.default_rng(seed).normal(size=x.shape[2])
    direction *= step / np.linalg.norm(direction)
    return x + np.stack([direction, -direction])[None]


def clusters(pairs: Sequence[ImagePair | QuestionPair]) -> np.ndarray:
    """Numbers of pairs: the same for pairs with the same texts, in either order.

    Where texts hardly differ between pairs ("two things", "three things"), each pair has its own.
    """
    keys = [frozenset(_texts(pair)) for pair in pairs]
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    if len(number) < 2 * FOLDS:
        return np.arange(len(pairs))
    return np.array([number[key] for key in keys])


def word_kernel(pairs: Sequence[ImagePair | QuestionPair]) -> np.ndarray:
    """How similar the pairs' questions are, (N, N): the cosine between their texts' differences.

    Of counts of words: 1 for the same words, -1 for the same with the images exchanged, 0 on the
    diagonal where the words do not differ. Where captions name two things in a relation, it grows
    with what is named first: left of *what* decides which side that is.
    """
    asked = _unit([_counts(a) - _counts(b) for a, b in map(_differing, pairs)])
    things = []
    for pair in pairs:
        try:
            said = parse_caption(pair.captions[0])
        except CaptionError:
            things.append(_counts(""))
        else:
            things.append(_counts(said.first) - _counts(said.second))
    named = _unit(things)
    return asked * (1 + named) / 2


class _Bag(dict[str, float]):
    """Counts of words that can be subtracted."""

    def __sub__(self, other: _Bag) -> _Bag:
        words = self.keys() | other.keys()
        return _Bag({w: self.get(w, 0) - other.get(w, 0) for w in words})


def _counts(text: str) -> _Bag:
    bag = _Bag()
    for word in re.findall(r"\w+", text.casefold()):
        bag[word] = bag.get(word, 0) + 1
    return bag


def _unit(bags: Sequence[_Bag]) -> np.ndarray:
    """Cosines between differences of words; 0 for an empty one."""
    words = {word: i for i, word in enumerate(sorted({w for bag in bags for w in bag}))}
    rows = np.zeros((len(bags), max(len(words), 1)))
    for row, bag in zip(rows, bags, strict=True):
        for word, count in bag.items():
            row[words[word]] = count
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return rows @ rows.T


def _texts(pair: ImagePair | QuestionPair) -> tuple[str, str]:
    asked = getattr(pair, "question", "")
    return tuple(f"{asked} {text}" for text in (getattr(pair, "options", None) or pair.captions))


def _differing(pair: ImagePair | QuestionPair) -> tuple[str, str]:
    """The answers, or the captions, whose words tell what the pair is about."""
    if getattr(pair, "question", ""):
        return pair.options
    return pair.captions
