"""What the ablations measure: captions of left/right pairs, objects, probes and cosines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from ...benchmarks.tabletop import load_tabletop
from ...measures.intervals import bootstrap_mean, bootstrap_share, wilson
from ...measures.probes import probe
from ...scoring.captions import side_examples
from .. import clip
from .experiments import Settings
from .models import Model, text_ends
from .world import encode

BENCHMARKS = ("tabletop-a", "tabletop-b")
PROBED = "tabletop-a"  # B names either object first, so there the side is no matter of one image
PROBE_SETS = 40  # fewer are too few for a probe
_BATCH = 50


@dataclass(frozen=True)
class Exam:
    """Left/right pairs of a benchmark: images and their own captions, the two of a pair in a row.

    `images` is (2 N, 3, size, size), `texts` (2 N, length), `captions` what the texts say.
    """

    images: torch.Tensor
    texts: torch.Tensor
    captions: list[str]


@lru_cache(maxsize=4)
def load_exam(name: str, n_sets: int, size: int, context: int) -> Exam:
    """The left/right pairs of a tabletop benchmark at `size` pixels, as the chapters have them."""
    pairs = load_tabletop(name, n_sets=n_sets, size=size).select("left/right")
    pictures = np.stack([np.asarray(image) for pair in pairs for image in pair.images])
    captions = [text for pair in pairs for text in pair.captions]
    texts = encode(captions, context)
    length = int(text_ends(texts).max()) + 1
    return Exam(clip.normalise(torch.from_numpy(pictures)), texts[:, :length], captions)


@torch.no_grad()
def scores(model: Model, exam: Exam) -> tuple[np.ndarray, np.ndarray]:
    """Cosines or log-likelihoods of images and texts.

    Returns
    -------
    same : numpy.ndarray, shape (2, N, N)
        Of first images (rows) with first captions, and of second ones with second ones.
    other : numpy.ndarray, shape (2 N,)
        Of each image with the other caption of its pair.
    """
    same = [
        torch.cat([
            model.scores(part, exam.texts[k::2]) for part in exam.images[k::2].split(_BATCH)
        ])
        for k in (0, 1)
    ]  # fmt: skip
    swapped = exam.texts[torch.arange(len(exam.texts)) ^ 1]
    other = [
        model.paired(part, text)
        for part, text in zip(exam.images.split(_BATCH), swapped.split(_BATCH), strict=True)
    ]
    return torch.stack(same).numpy(), torch.cat(other).numpy()


@torch.no_grad()
def vectors(model: Model, exam: Exam) -> np.ndarray:
    """What stands for each image, (2 N, D) unit vectors.

    Where a text weights an image's patches, it is the pair's first caption for both images.
    """
    texts = exam.texts[torch.arange(len(exam.texts)) // 2 * 2]
    parts = zip(exam.images.split(_BATCH), texts.split(_BATCH), strict=True)
    return torch.cat([model.image_vectors(part, text) for part, text in parts]).numpy()


def cosines(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine (N,) between the two vectors of each pair, and between first ones of two sets."""
    first, second = found[::2], found[1::2]
    return (first * second).sum(-1), (first * np.roll(first, 1, axis=0)).sum(-1)


def probe_sides(found: np.ndarray, exam: Exam) -> tuple[float, float, float]:
    """Accuracy of a linear probe of left and right on vectors less their pair's mean, 95%."""
    told = side_examples(exam.captions)
    centred = found - found.reshape(-1, 2, found.shape[1]).mean(1).repeat(2, axis=0)
    row = probe(centred, told["side"], told["group"], shuffles=0)
    return tuple(row[["accuracy", "accuracy_low", "accuracy_high"]])


def measure(model: Model, settings: Settings) -> pd.DataFrame:
    """All measures of a model, a row each.

    Returns
    -------
    pandas.DataFrame
        ``benchmark``, ``metric``, ``value``, ``low`` and ``high`` (95%, over pairs), ``n`` (pairs)
        and ``per_pair``: a digit for each pair, how many of its two images are right, or 1 if its
        one decision is; empty where there is none.

        Metrics are ``individual`` and ``pair`` (accuracy of choosing between a pair's two
        captions; a tie is not right), ``relative`` (relative preference: whether the first caption
        gains more from the first image than from the second, one decision a pair, chance 50%),
        ``retrieval`` (share of images whose own caption scores best of those of all sets that state
        the same relation), ``cosine`` of the pairs' two images, ``cosine of random images``, and on
        A ``probe``: accuracy of a linear probe that is told the mean of a pair's two vectors and
        says which image has the small object on the left, tested on other objects (of 40 pairs or
        more).
    """
    model.eval()
    rows = []
    for name in BENCHMARKS:
        exam = load_exam(name, settings.n_sets, settings.image_size, settings.context)
        same, other = scores(model, exam)
        own = np.stack([table.diagonal() for table in same], axis=1)  # (pairs, images)
        matched = (own > other.reshape(-1, 2)).sum(1)
        rows.append((name, "individual", *_share(matched), matched))
        rows.append((name, "pair", *_pairs(matched == 2), matched))
        preferred = (own.sum(1) > other.reshape(-1, 2).sum(1)).astype(int)
        rows.append((name, "relative", *_pairs(preferred), preferred))
        found = sum(_finds(table).astype(int) for table in same)
        rows.append((name, "retrieval", *_share(found), found))
        seen = vectors(model, exam)
        for metric, values in zip(
            ("cosine", "cosine of random images"), cosines(seen), strict=True
        ):
            rows.append((name, metric, *bootstrap_mean(values), None))
        if name == PROBED and settings.n_sets >= PROBE_SETS:
            rows.append((name, "probe", *probe_sides(seen, exam), None))
    model.train()
    columns = ["benchmark", "metric", "value", "low", "high", "per_pair"]
    found = pd.DataFrame(rows, columns=columns)
    found.insert(5, "n", settings.n_sets)
    found["per_pair"] = [
        "" if right is None else "".join(map(str, right)) for right in found["per_pair"]
    ]
    return found


def _share(right: np.ndarray) -> tuple[float, float, float]:
    return float(right.mean() / 2), *bootstrap_share(right, np.full(len(right), 2))


def _pairs(right: np.ndarray) -> tuple[float, float, float]:
    return float(right.mean()), *wilson(float(right.mean()), len(right))


def _finds(table: np.ndarray) -> np.ndarray:
    """Whether the own text, on the diagonal, is the best of each row; a tie is not."""
    rivals = table.copy()
    np.fill_diagonal(rivals, -np.inf)
    return table.diagonal() > rivals.max(axis=1)
