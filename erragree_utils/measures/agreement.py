"""How alike two images are to a model: cosines between their embeddings, and their relatives.

A model here is anything with ``embed_images(images) -> (N, D)``, a benchmark any sequence of pairs
with ``pair_id``, ``set_id``, ``relation``, ``sources`` and ``images``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import GroupKFold

if TYPE_CHECKING:
    from .mining import mine_blind_pairs as mine_blind_pairs


def __getattr__(name: str) -> Any:
    """`mine_blind_pairs`, from its own file when first used: all else here does without PyTorch."""
    if name == "mine_blind_pairs":
        from .mining import mine_blind_pairs

        return mine_blind_pairs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine between the rows of two arrays.

    Parameters
    ----------
    a, b : numpy.ndarray, shape (N, D)
        Of any length but zero.

    Returns
    -------
    numpy.ndarray, float64, shape (N,)
        Between -1 and 1.

    Raises
    ------
    ValueError
        If the shapes differ, or a row is zero or not finite: it has no direction.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"a and b must have the same shape (N, D), not {a.shape} and {b.shape}")
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        row = int((~(np.isfinite(lengths) & (lengths > 0))).argmax())
        raise ValueError(f"row {row} is zero or not finite, so it has no direction to compare")
    return np.clip((a * b).sum(axis=1) / lengths, -1.0, 1.0)


def image_embeddings(
    clip: Any, bench: Any, batch_size: int = 64, progress: bool = False
) -> dict[str, np.ndarray]:
    """Embed every image of a benchmark once, also when several pairs share it.

    Parameters
    ----------
    clip : Clip or alike
    bench : Benchmark or alike
    batch_size : int
    progress : bool

    Returns
    -------
    dict
        ``pair_id`` to an array of shape (images of the pair, D).
    """
    pairs = list(bench)  # held, so that an image in memory keeps its identity
    rows: dict[Hashable, int] = {}
    names: list[str] = []

    def fresh() -> Iterator[Any]:
        for pair in pairs:
            keys = [source_key(source) for source in pair.sources]
            if all(key in rows for key in keys):
                continue
            for index, (key, image) in enumerate(zip(keys, pair.images, strict=True)):
                if key not in rows:
                    rows[key] = len(rows)
                    names.append(f"image {index} of pair {pair.pair_id!r}")
                    yield image

    try:
        embedded = clip.embed_images(fresh(), batch_size=batch_size, progress=progress)
    except ValueError as error:
        index = getattr(error, "index", None)
        if index is not None:
            error.args = (f"{names[index]}: {error}",)
        raise
    return {
        pair.pair_id: embedded[[rows[source_key(source)] for source in pair.sources]]
        for pair in pairs
    }


def source_key(source: Any) -> Hashable:
    """Equal for the same file, or the same image in memory."""
    return source if isinstance(source, (str, Path)) else id(source)


def pair_cosines(
    clip: Any, bench: Any, embeddings: dict[str, np.ndarray] | None = None
) -> pd.DataFrame:
    """Cosine between the two images of each pair (section 3 of the paper).

    Parameters
    ----------
    clip : Clip or alike
    bench : Benchmark or alike
    embeddings : dict, optional
        What `image_embeddings` returned, if it is at hand.

    Returns
    -------
    pandas.DataFrame
        ``pair_id``, ``relation``, ``cosine``; a row for each pair.

    Raises
    ------
    ValueError
        If the benchmark is empty, or has single images instead of pairs.
    """
    _need_pairs(bench)
    by_pair = image_embeddings(clip, bench) if embeddings is None else embeddings
    both = np.stack([by_pair[pair.pair_id] for pair in bench])
    return pd.DataFrame({
        "pair_id": [pair.pair_id for pair in bench],
        "relation": [pair.relation for pair in bench],
        "cosine": cosine(both[:, 0], both[:, 1]),
    })  # fmt: skip


def random_pair_cosines(
    clip: Any,
    bench: Any,
    n: int | None = None,
    seed: int = 0,
    embeddings: dict[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Cosine between images of different sets, drawn at random: what `pair_cosines` compares with.

    Parameters
    ----------
    clip, bench, embeddings
        As in `pair_cosines`; a benchmark of single images will do.
    n : int, optional
        Number of draws, with replacement; by default as many as the benchmark has pairs.
    seed : int

    Returns
    -------
    pandas.DataFrame
        ``pair_id`` (the two pairs the images come from), ``relation`` ("random"), ``cosine``.

    Raises
    ------
    ValueError
        If there are fewer than two sets, or `n` is not positive.
    """
    n = len(bench) if n is None else n
    sets, set_of_pair = np.unique([pair.set_id for pair in bench], return_inverse=True)
    if len(sets) < 2 or n < 1:
        raise ValueError(
            f"random pairs need two sets and n >= 1; there are {len(sets)} sets, n={n}"
        )
    by_pair = image_embeddings(clip, bench) if embeddings is None else embeddings
    pairs = [pair.pair_id for pair in bench]
    owner = np.repeat(np.arange(len(pairs)), [len(by_pair[name]) for name in pairs])
    images, set_of_image = np.concatenate([by_pair[name] for name in pairs]), set_of_pair[owner]

    rng = np.random.default_rng(seed)
    first = rng.integers(len(images), size=n)
    second = rng.integers(len(images), size=n)
    while (same := set_of_image[first] == set_of_image[second]).any():
        second[same] = rng.integers(len(images), size=int(same.sum()))
    return pd.DataFrame({
        "pair_id": [
            f"{pairs[owner[i]]} | {pairs[owner[j]]}" for i, j in zip(first, second, strict=True)
        ],
        "relation": "random",
        "cosine": cosine(images[first], images[second]),
    })  # fmt: skip


def beyond_unrelated(
    clip: Any,
    bench: Any,
    share: float = 0.95,
    embeddings: dict[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """How much more alike the images of each pair are than most images of different sets.

    Parameters
    ----------
    clip, bench, embeddings
        As in `pair_cosines`.
    share : float
        Of the cosines with images of other sets, that are to lie below.

    Returns
    -------
    pandas.DataFrame
        That of `pair_cosines` with ``unrelated``, the quantile `share` of the cosines between the
        pair's two images and all images of other sets, and ``beyond``, what the pair's own cosine
        is above it. A value for each pair, so that pairs can be the unit of an interval.

    Raises
    ------
    ValueError
        As `pair_cosines`; also if there are fewer than two sets.
    """
    by_pair = image_embeddings(clip, bench) if embeddings is None else embeddings
    table = pair_cosines(clip, bench, by_pair)
    sets = np.array([pair.set_id for pair in bench])
    if len(np.unique(sets)) < 2:
        raise ValueError("unrelated images need two sets, and there is one")
    both = np.stack([by_pair[pair.pair_id] for pair in bench]).astype(np.float64)
    both /= np.linalg.norm(both, axis=-1, keepdims=True)
    table["unrelated"] = [
        np.quantile(pair @ both[sets != name].reshape(-1, both.shape[-1]).T, share)
        for name, pair in zip(sets, both, strict=True)
    ]
    return table.assign(beyond=table["cosine"] - table["unrelated"])


def _need_pairs(bench: Any) -> None:
    if len(bench) == 0:
        raise ValueError("the benchmark has no pairs")
    single = next((pair.pair_id for pair in bench if len(pair.sources) != 2), None)
    if single is not None:
        raise ValueError(
            f"{single!r} has one image, and a cosine needs two: use a benchmark of image pairs"
        )


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation between the rows of two arrays, over their D numbers.

    Parameters
    ----------
    a, b : numpy.ndarray, shape (N, D)

    Returns
    -------
    numpy.ndarray, float64, shape (N,)
        Between -1 and 1: the cosine of the centred ranks. With few numbers it says little: two
        random rows of three have the same order once in six times.

    Raises
    ------
    ValueError
        If shapes differ, or a row has fewer than two different numbers and so no order.
    """
    ranks = [stats.rankdata(np.asarray(rows, np.float64), axis=1) for rows in (a, b)]
    return cosine(*(r - r.mean(axis=1, keepdims=True) for r in ranks))


def agreement_table(
    first: np.ndarray, second: np.ndarray, reference: np.ndarray | None = None
) -> pd.DataFrame:
    """How alike the two images of each pair are, by four measures.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (N, D)
        Embeddings of the two images of each pair.
    reference : numpy.ndarray, shape (M, D), optional
        Embeddings whose mean and covariance are taken; by default all of `first` and `second`.

    Returns
    -------
    pandas.DataFrame
        A row for each pair: ``cosine``; ``centred``, the cosine after removing the mean, which all
        embeddings share; ``whitened``, the cosine after making the covariance the identity, so that
        directions of little variance count as much as others; ``rank``, Spearman's correlation.

    Raises
    ------
    ValueError
        As `cosine`; also if the reference has fewer than two rows.

    Notes
    -----
    The covariance is shrunk as Ledoit and Wolf (2004) do, since there may be fewer embeddings than
    dimensions.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    known = np.concatenate([first, second]) if reference is None else np.asarray(reference)
    if known.ndim != 2 or len(known) < 2:
        raise ValueError(f"reference needs two rows or more, its shape is {known.shape}")
    mean = known.mean(axis=0)
    whiten = _inverse_root(LedoitWolf().fit(known).covariance_)
    return pd.DataFrame({
        "cosine": cosine(first, second),
        "centred": cosine(first - mean, second - mean),
        "whitened": cosine((first - mean) @ whiten, (second - mean) @ whiten),
        "rank": rank_correlation(first, second),
    })  # fmt: skip


def separation(
    first: np.ndarray,
    second: np.ndarray,
    groups: Sequence[Hashable],
    direction: str = "mean",
    folds: int = 5,
) -> pd.Series:
    """Distance between two clouds in units of their spread (d'), along a direction found elsewhere.

    The direction comes from the pairs of other groups. Where it comes from the same pairs, two
    clouds that differ in nothing look apart, since in many dimensions some direction always fits.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (N, D)
        For each pair its two images, such as left and right.
    groups : sequence, length N
        Pairs of one group are never on both sides of a fold.
    direction : {"mean", "lda"}
        The difference of the means; or that times the inverse covariance within the clouds (Fisher
        1936; shrunk after Ledoit and Wolf), which prefers directions of little spread.
    folds : int

    Returns
    -------
    pandas.Series
        ``d_prime``, the mean over folds of (mean of second - mean of first) / root mean variance of
        the two; ``d_prime_seen``, the same on the pairs that gave the direction; ``accuracy``, what
        the best threshold would reach if the clouds were normal, the normal distribution function
        at d'/2.

    Raises
    ------
    ValueError
        If shapes or lengths do not agree, there are fewer groups than folds, or the direction is
        unknown.
    """
    first, second = _two_clouds(first, second)
    groups = np.asarray(groups)
    if direction not in ("mean", "lda"):
        raise ValueError(f"unknown direction {direction!r}; choose 'mean' or 'lda'")
    if len(groups) != len(first):
        raise ValueError(f"{len(groups)} groups for {len(first)} pairs: give one for each")
    if folds < 2 or len(np.unique(groups)) < folds:
        raise ValueError(
            f"{folds} folds need as many groups, and two or more; there are "
            f"{len(np.unique(groups))} groups"
        )
    unseen, seen = [], []
    for train, test in GroupKFold(folds).split(first, groups=groups):
        a, b = first[train], second[train]
        axis = b.mean(axis=0) - a.mean(axis=0)
        if direction == "lda":
            within = np.concatenate([a - a.mean(axis=0), b - b.mean(axis=0)])
            axis = np.linalg.solve(LedoitWolf().fit(within).covariance_, axis)
        unseen.append(_d_prime(first[test] @ axis, second[test] @ axis))
        seen.append(_d_prime(a @ axis, b @ axis))
    mean = float(np.mean(unseen))
    return pd.Series({
        "d_prime": mean,
        "d_prime_seen": np.mean(seen),
        "accuracy": stats.norm.cdf(mean / 2),
    })  # fmt: skip


def variance_shares(first: np.ndarray, second: np.ndarray) -> pd.Series:
    """How much of the variance of embeddings is about what tells the images of a pair apart.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (N, D)

    Returns
    -------
    pandas.Series
        ``direction``: share of the total variance that lies along the mean difference of the
        images; ``within_pairs``: share that lies within pairs, in any direction (the rest is
        between pairs); ``equal``: 1 / D, what every direction would carry if all carried the same.

    Raises
    ------
    ValueError
        If the shapes differ, or nothing varies.
    """
    first, second = _two_clouds(first, second)
    both = np.concatenate([first, second])
    both = both - both.mean(axis=0)
    total = (both**2).sum()
    axis = second.mean(axis=0) - first.mean(axis=0)
    length = np.linalg.norm(axis)
    if total == 0:
        raise ValueError("all embeddings are equal: there is no variance to share")
    along = 0.0 if length == 0 else ((both @ (axis / length)) ** 2).sum()
    return pd.Series({
        "direction": along / total,
        "within_pairs": ((second - first) ** 2).sum() / 2 / total,
        "equal": 1 / first.shape[1],
    })  # fmt: skip


def _two_clouds(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 2 or len(first) < 2:
        raise ValueError(
            f"give the images of two or more pairs, (N, D) each, not {first.shape} and "
            f"{second.shape}"
        )
    return first, second


def _d_prime(first: np.ndarray, second: np.ndarray) -> float:
    spread = np.sqrt((first.var() + second.var()) / 2)
    gap = second.mean() - first.mean()
    return float(gap / spread) if spread > 0 else float(np.sign(gap) * np.inf if gap else 0.0)


def _inverse_root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 1e-12 * values[-1])
    return vectors / np.sqrt(values) @ vectors.T
