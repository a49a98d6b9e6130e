"""Probes: can a small classifier read the answer from a representation, on unseen object pairs?

Folds are grouped, by object pair, so that no pair is on both sides: a probe that learns objects by
heart gains nothing. Regularisation is chosen inside the training folds, by held-out log loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import GroupKFold

from ..scoring.vqascore import CaptionError, parse_caption
from .logistic import fit_logistic, one_standard_error
from .metrics import bootstrap_share

KINDS = ("linear", "gaussian")
# Inverse penalties for coordinates of mean length one, from the most regularised on.
STRENGTHS = np.logspace(-2, 3, 6)
INNER_FOLDS, LEAST_GROUPS = 5, 3  # of the training groups


def side_examples(captions: Sequence[str]) -> pd.DataFrame:
    """Labels for probes of left and right, from the captions of images.

    Parameters
    ----------
    captions : sequence of str
        Of each image its own, such as ``"A red mug to the left of a blue table"``.

    Returns
    -------
    pandas.DataFrame
        A row for each caption: ``named`` and ``other`` object, ``side`` (``"left"`` or ``"right"``)
        on which the named one is, and ``group``: the two kinds of objects (the last word of each),
        in alphabetical order, so that sets in other colours are in one group.

    Raises
    ------
    ValueError
        If a caption does not say that one thing is left or right of another; it is quoted.

    Notes
    -----
    The side is a function of the image alone where captions name objects of one class first, as
    those of What'sUp A do (a small object, then furniture). Where they name either of two small
    objects first (What'sUp B), it depends on which is named: give `probe` a `condition`.
    """
    rows = []
    for caption in captions:
        try:
            said = parse_caption(caption)
        except CaptionError:
            said = None
        if said is None or said.relation not in ("left", "right"):
            raise ValueError(
                f"the caption {caption!r} does not say that one thing is to the left or right of "
                "another; select the left/right pairs first"
            )
        named, other = said.first.lower(), said.second.lower()
        kinds = sorted(text.split()[-1] for text in (named, other))
        rows.append((named, other, said.relation, " | ".join(kinds)))
    return pd.DataFrame(rows, columns=["named", "other", "side", "group"])


def probe(
    features: np.ndarray,
    labels: Sequence,
    groups: Sequence,
    *,
    condition: np.ndarray | None = None,
    kind: str = "linear",
    folds: int = 5,
    shuffles: int = 1,
    seed: int = 0,
) -> pd.Series:
    """Accuracy with which a small classifier reads a two-way label from a representation.

    Parameters
    ----------
    features : numpy.ndarray, shape (N, ...)
        A row for each image; further axes (patches, width) are flattened.
    labels : sequence, length N
        Of two values. Each must be a function of the image (and of `condition`).
    groups : sequence, length N
        Examples of one group are never on both sides of a fold.
    condition : numpy.ndarray, shape (N, Q), optional
        What the label is asked *about*, such as the difference of the text embeddings of the two
        objects. The probe then is linear in the outer product of features and condition, so
        bilinear in the two: it learns one rule for all objects, not one for each.
    kind : {"linear", "gaussian"}
        Logistic regression on the features, or on a Gaussian kernel of them: a nonlinear reader
        whose fit, too, has one minimum and gets there.
    folds : int
    shuffles : int
        Repetitions of the control with labels permuted within groups, which keeps their balance.
    seed : int

    Returns
    -------
    pandas.Series
        ``accuracy`` on held-out groups with ``accuracy_low`` and ``accuracy_high`` (95%, bootstrap
        over groups), ``chance`` (share of the more frequent label), ``shuffled`` (mean accuracy of
        the control), ``n_examples``, ``n_groups``, ``n_parameters``, ``one_class`` (share of
        folds in which all held-out examples got one answer: there the accuracy is the labels'
        balance and measures nothing), and ``fold 1`` to ``fold {folds}``.

    Raises
    ------
    ValueError
        If lengths differ, labels have not two values, features are not finite, there are too few
        groups, or the kind is unknown.

    Notes
    -----
    The penalty is the strongest within one standard error of the best held-out log loss, over five
    splits of the training groups; every fit is carried on until it has converged, and warns
    (`ConvergenceWarning`) if it has not. Features are standardised on the training fold. An
    L2-penalised linear model has its weights in
    the span of the training examples, so it is fitted in their coordinates there (the eigenvectors
    of the kernel matrix): the same model, at a cost that depends on the number of examples and not
    on that of features, which are 8192 for 64 patches of 128. The number of parameters is that of
    the model on the features.
    """
    x, y, groups = _checked(features, labels, groups, condition, kind, folds)
    q = 0 if condition is None else np.asarray(condition).shape[1]
    rng = np.random.default_rng(seed)
    answer, fold_of, n_parameters = _cross_validated(x, y, groups, q, kind, folds)
    right = answer == y
    low, high = _interval(right, groups, seed)
    controls = []
    for mixed in (_shuffled(y, groups, rng) for _ in range(shuffles)):
        said, *_ = _cross_validated(x, mixed, groups, q, kind, folds)
        controls.append((said == mixed).mean())
    return pd.Series({
        "accuracy": right.mean(),
        "accuracy_low": low,
        "accuracy_high": high,
        "chance": max(y.mean(), 1 - y.mean()),
        "shuffled": np.mean(controls) if controls else np.nan,
        "n_examples": len(y),
        "n_groups": len(np.unique(groups)),
        "n_parameters": n_parameters,
        "one_class": np.mean([_one_class(answer[fold_of == k]) for k in range(folds)]),
        **{f"fold {k + 1}": right[fold_of == k].mean() for k in range(folds)},
    })  # fmt: skip


def probe_table(
    representations: Mapping[str, np.ndarray], labels: Sequence, groups: Sequence, **options
) -> pd.DataFrame:
    """`probe` for several representations of the same images, a row for each.

    Parameters
    ----------
    representations : mapping of str to numpy.ndarray
    labels, groups
        As in `probe`.
    **options
        Of `probe`.

    Returns
    -------
    pandas.DataFrame
        The index has the names of the representations, the columns are those of `probe`.
    """
    rows = {
        name: probe(features, labels, groups, **options)
        for name, features in representations.items()
    }
    table = pd.DataFrame(rows).T
    counts = [name for name in table if name.startswith("n_")]
    return table.astype(dict.fromkeys(counts, int))


def learning_curve(
    features: np.ndarray,
    labels: Sequence,
    groups: Sequence,
    units: Sequence,
    sizes: Sequence[int],
    *,
    condition: np.ndarray | None = None,
    kind: str = "linear",
    folds: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy of a probe on unseen groups against the number of examples it was trained on.

    Parameters
    ----------
    features, labels, groups, condition, kind, folds, seed
        As in `probe`.
    units : sequence, length N
        What is drawn as a whole, such as the pair that two images belong to.
    sizes : sequence of int
        Training examples; at least as many are drawn, in whole units. Where a training fold has
        fewer, all of them are used.

    Returns
    -------
    pandas.DataFrame
        ``accuracy``, ``accuracy_low``, ``accuracy_high`` (bootstrap over the held-out groups) and
        ``one_class``, as in `probe`; the index has the mean number of training examples.

    Raises
    ------
    ValueError
        As `probe`; also if units and labels differ in length, or a size is too small to hold both
        labels and three groups.
    """
    x, y, groups = _checked(features, labels, groups, condition, kind, folds)
    units = np.asarray(units)
    if len(units) != len(y):
        raise ValueError(f"{len(units)} units for {len(y)} labels: give one for each")
    q = 0 if condition is None else np.asarray(condition).shape[1]
    rows, used = [], []
    for size in sizes:
        rng = np.random.default_rng((seed, size))
        right, counts, alike = np.zeros(len(y), bool), [], []
        for train, test in GroupKFold(folds).split(x, y, groups):
            drawn = rng.permutation(np.unique(units[train]))
            ends = np.cumsum([(units[train] == unit).sum() for unit in drawn])
            chosen = drawn[: int(np.searchsorted(ends, size)) + 1]
            part = train[np.isin(units[train], chosen)]
            if len(np.unique(groups[part])) < LEAST_GROUPS or len(np.unique(y[part])) < 2:
                raise ValueError(
                    f"{size} training examples hold fewer than {LEAST_GROUPS} groups or one label "
                    "alone; give a larger size"
                )
            answer = _answers(x, y, groups, part, test, q, kind)
            right[test] = answer == y[test]
            counts.append(len(part))
            alike.append(_one_class(answer))
        rows.append((right.mean(), *_interval(right, groups, seed), np.mean(alike)))
        used.append(np.mean(counts))
    columns = ["accuracy", "accuracy_low", "accuracy_high", "one_class"]
    return pd.DataFrame(rows, columns=columns, index=pd.Index(used, name="n_examples"))


def _one_class(answer: np.ndarray) -> bool:
    return len(np.unique(answer)) == 1


class Span(TransformerMixin, BaseEstimator):
    """Coordinates in the span of the training examples, optionally of outer products.

    Parameters
    ----------
    n_condition : int
        The last so many columns are a condition: inner products of features are multiplied with
        those of conditions, which are the inner products of the outer products of the two.
    kind : {"linear", "gaussian"}
        Inner products of the features, or a Gaussian kernel as wide as examples are apart.
    """

    def __init__(self, n_condition: int = 0, kind: str = "linear"):
        self.n_condition, self.kind = n_condition, kind

    def fit(self, x: np.ndarray, y: np.ndarray | None = None) -> Span:
        split = x.shape[1] - self.n_condition
        self.mean_, spread = x[:, :split].mean(axis=0), x[:, :split].std(axis=0)
        # A constant feature says nothing, and rounding must not make it speak.
        flat = spread <= 1e-6 * np.abs(x[:, :split]).max(axis=0, initial=0.0)
        self.scale_ = np.where(flat, np.inf, spread)
        self.length_ = np.sqrt((x[:, split:] ** 2).sum(axis=1).mean()) if self.n_condition else 1.0
        self.examples_ = self._parts(x)
        self.width_ = max(2 * (self.examples_[0] ** 2).sum(axis=1).mean(), 1e-12)
        kernel = self._kernel(self.examples_)
        values, vectors = np.linalg.eigh(kernel)
        kept = values > 1e-9 * max(values[-1], 1e-12)
        kept[-1] |= not kept.any()  # nothing varies: one coordinate, which is 0
        self.directions_ = vectors[:, kept] / np.sqrt(np.maximum(values[kept], 1e-12))
        total = max(float(values[kept].sum()) / len(x), 1e-12)
        self.factor_ = total**-0.5
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        return self._kernel(self._parts(x)) @ self.directions_ * self.factor_

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        split = x.shape[1] - self.n_condition
        return (x[:, :split] - self.mean_) / self.scale_, x[:, split:] / self.length_

    def _kernel(self, rows: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        kernel = rows[0] @ self.examples_[0].T
        if self.kind == "gaussian":
            lengths = ((part**2).sum(axis=1) for part in (rows[0], self.examples_[0]))
            kernel = np.exp((2 * kernel - np.add.outer(*lengths)) / self.width_)
        return kernel * (rows[1] @ self.examples_[1].T) if self.n_condition else kernel


def _checked(features, labels, groups, condition, kind: str, folds: int):
    x = np.asarray(features, np.float64)
    x = x.reshape(len(x), -1)
    labels, groups = np.asarray(labels), np.asarray(groups)
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; choose one of {', '.join(KINDS)}")
    if not len(x) == len(labels) == len(groups):
        raise ValueError(
            f"{len(x)} rows of features, {len(labels)} labels and {len(groups)} groups: give one "
            "of each for every example"
        )
    if condition is not None:
        condition = np.asarray(condition, np.float64)
        if condition.ndim != 2 or len(condition) != len(x):
            raise ValueError(
                f"condition has the shape {condition.shape}, not ({len(x)}, Q): give a row for "
                "every example"
            )
        x = np.hstack([x, condition])
    if not np.isfinite(x).all():
        raise ValueError("features or condition hold NaN or infinity")
    values, y = np.unique(labels, return_inverse=True)
    if len(values) != 2:
        raise ValueError(f"labels must have two values, they have {values[:5].tolist()}")
    y = y.astype(bool)
    n_groups = len(np.unique(groups))
    # Every training fold is split again, by group, to choose the regularisation.
    least = max(folds, LEAST_GROUPS + 1)
    if folds < 2 or n_groups < least:
        raise ValueError(
            f"{folds} folds need {max(least, 2)} groups or more, and two folds or more; there are "
            f"{n_groups} groups"
        )
    return x, y, groups


class _Reader:
    """A probe in the span's coordinates; each fit starts from the one before."""

    def __init__(self):
        self.weights = None

    def fit(self, x: np.ndarray, y: np.ndarray, strength: float) -> None:
        rows = np.where(y, 1.0, -1.0)[:, None] * _with_intercept(x)
        penalty = np.append(np.full(x.shape[1], 1 / strength), 0.0)
        self.weights = fit_logistic(rows, penalty, self.weights)

    def odds(self, x: np.ndarray) -> np.ndarray:
        return _with_intercept(x) @ self.weights


def _with_intercept(x: np.ndarray) -> np.ndarray:
    return np.column_stack([x, np.ones(len(x))])


def _answers(x, y, groups, train: np.ndarray, test: np.ndarray, q: int, kind: str) -> np.ndarray:
    """What a probe says of the test examples, with the penalty that the training groups choose."""
    span = Span(q, kind).fit(x[train])
    # The span is fitted once: it saw no labels, and the outer held-out groups stay unseen.
    inputs = span.transform(x[train])
    losses = _held_out_losses(inputs, y[train], groups[train])
    reader = _Reader()
    for strength in STRENGTHS[: one_standard_error(losses) + 1]:
        reader.fit(inputs, y[train], strength)
    return reader.odds(span.transform(x[test])) > 0


def _held_out_losses(x, y, groups) -> np.ndarray:
    """Summed log loss of each group at each strength, until two in a row are worse than before."""
    names, number = np.unique(groups, return_inverse=True)
    splits = GroupKFold(min(INNER_FOLDS, len(names))).split(x, y, groups)
    splits = [(a, b) for a, b in splits if len(np.unique(y[a])) == 2]
    if not splits:
        raise ValueError("the training groups hold too few examples of one label; give more groups")
    readers, rows = [_Reader() for _ in splits], []
    for strength in STRENGTHS:
        losses = np.zeros(len(names))
        for reader, (a, b) in zip(readers, splits, strict=True):
            reader.fit(x[a], y[a], strength)
            odds = reader.odds(x[b])
            wrong = np.logaddexp(0, np.where(y[b], -odds, odds))
            losses += np.bincount(number[b], wrong, len(names))
        rows.append(losses)
        if np.argmin(np.sum(rows, axis=1)) + 2 < len(rows):
            break
    return np.array(rows)


def _cross_validated(x, y, groups, q: int, kind: str, folds: int):
    """Answer for each held-out example, its fold, and the number of parameters."""
    answer, fold_of, sizes = np.zeros(len(y), bool), np.zeros(len(y), int), []
    for k, (train, test) in enumerate(GroupKFold(folds).split(x, y, groups)):
        if len(np.unique(y[train])) < 2:
            raise ValueError(f"the training groups of fold {k + 1} have one label alone")
        answer[test], fold_of[test] = _answers(x, y, groups, train, test, q, kind), k
        sizes.append(len(train) if kind == "gaussian" else (x.shape[1] - q) * max(q, 1))
    return answer, fold_of, max(sizes) + 1


def _shuffled(y: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels permuted within groups: what the groups' objects are is kept, the answer is not."""
    y = y.copy()
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        y[members] = rng.permutation(y[members])
    return y


def _interval(right: np.ndarray, groups: np.ndarray, seed: int) -> tuple[float, float]:
    _, numbers = np.unique(groups, return_inverse=True)
    return bootstrap_share(np.bincount(numbers, right).astype(int), np.bincount(numbers), seed)
