"""What the ablations measure: captions of left/right pairs, objects, probes and cosines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from ...benchmarks.tabletop import load_tabletop
from ...measures.intervals import bootstrap_mean, bootstrap_share, wilson
from ...measures.probes import probe
from ...scoring.captions import side_examples
from ..data import normalise
from .encoders import text_ends
from .experiments import Settings
from .models import Model
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

    def batches(self, texts: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Images, some at a time, each with its row of `texts`."""
        return zip(self.images.split(_BATCH), texts.split(_BATCH), strict=True)


@lru_cache(maxsize=4)
def load_exam(name: str, n_sets: int, size: int, context: int) -> Exam:
    """The left/right pairs of a tabletop benchmark at `size` pixels, as the chapters have them."""
    pairs = load_tabletop(name, n_sets=n_sets, size=size).select("left/right")
    pictures = np.stack([np.asarray(image) for pair in pairs for image in pair.images])
    captions = [text for pair in pairs for text in pair.captions]
    texts = encode(captions, context)
    length = int(text_ends(texts).max()) + 1
    return Exam(normalise(torch.from_numpy(pictures)), texts[:, :length], captions)


@torch.no_grad()
def scores(model: Model, exam: Exam) -> tuple[np.ndarray, np.ndarray]:
    """Cosines or log-likelihoods of images and texts.

    The first (2, N, N) are of first images (rows) with first captions, and of second ones with
    second ones; the second (2 N,) of each image with the other caption of its pair.
    """
    same = [
        torch.cat(
            [model.scores(part, exam.texts[k::2]) for part in exam.images[k::2].split(_BATCH)]
        )
        for k in (0, 1)
    ]
    swapped = exam.texts[torch.arange(len(exam.texts)) ^ 1]
    other = [model.paired(images, texts) for images, texts in exam.batches(swapped)]
    return torch.stack(same).numpy(), torch.cat(other).numpy()


@torch.no_grad()
def vectors(model: Model, exam: Exam) -> np.ndarray:
    """What stands for each image, (2 N, D) unit vectors.

    Where a text weights an image's patches, it is the pair's first caption for both images.
    """
    texts = exam.texts[torch.arange(len(exam.texts)) // 2 * 2]
    return torch.cat([model.image_vectors(*part) for part in exam.batches(texts)]).numpy()


def probe_sides(vectors: np.ndarray, exam: Exam) -> tuple[float, float, float]:
    """Accuracy of a linear probe of left and right on vectors less their pair's mean, 95%."""
    examples = side_examples(exam.captions)
    centred = vectors - vectors.reshape(-1, 2, vectors.shape[1]).mean(1).repeat(2, axis=0)
    row = probe(centred, examples["side"], examples["group"], shuffles=0)
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
        A ``probe``: accuracy of a linear probe that gets the vectors less their pair's mean and
        says which image has the small object on the left, tested on other objects (of 40 pairs or
        more).
    """
    model.eval()
    rows = []
    for name in BENCHMARKS:
        exam = load_exam(name, settings.n_sets, settings.image_size, settings.context)
        rows += [(name, *row) for row in _measures(model, exam, name == PROBED)]
    model.train()
    columns = ["benchmark", "metric", "value", "low", "high", "n", "per_pair"]
    return pd.DataFrame(rows, columns=columns)


def _measures(
    model: Model, exam: Exam, probed: bool
) -> Iterator[tuple[str, float, float, float, int, str]]:
    same, other = scores(model, exam)
    own = np.stack([table.diagonal() for table in same], axis=1)  # (pairs, images)
    other, n = other.reshape(-1, 2), len(own)
    matched = (own > other).sum(1)
    preferred = (own.sum(1) > other.sum(1)).astype(int)
    ranked = sum(_ranks_first(table).astype(int) for table in same)
    for metric, digits, right, decisions in (
        ("individual", matched, matched, 2),
        ("pair", matched, matched == 2, 1),
        ("relative", preferred, preferred, 1),
        ("retrieval", ranked, ranked, 2),
    ):
        share = float(right.mean() / decisions)
        interval = wilson(share, n) if decisions == 1 else bootstrap_share(right, np.full(n, 2))
        yield metric, share, *interval, n, "".join(map(str, digits))
    seen = vectors(model, exam)
    first, second = seen[::2], seen[1::2]
    yield "cosine", *bootstrap_mean((first * second).sum(-1)), n, ""
    random = (first * np.roll(first, 1, axis=0)).sum(-1)
    yield "cosine of random images", *bootstrap_mean(random), n, ""
    if probed and n >= PROBE_SETS:
        yield "probe", *probe_sides(seen, exam), n, ""


def _ranks_first(table: np.ndarray) -> np.ndarray:
    """Whether the own text, on the diagonal, is the best of each row; a tie is not."""
    rivals = table.copy()
    np.fill_diagonal(rivals, -np.inf)
    return table.diagonal() > rivals.max(axis=1)
