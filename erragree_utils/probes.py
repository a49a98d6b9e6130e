"""Probes: can a small classifier read the answer from a representation, on unseen object pairs?

Folds are grouped, by object pair, so that no pair is on both sides: a probe that learns objects by
heart gains nothing. Regularisation is chosen inside the training folds.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from .metrics import bootstrap_share
from .vqascore import CaptionError, parse_caption

KINDS = ("linear", "mlp")
STRENGTHS = np.logspace(-2, 4, 7)  # of C, for examples of length about one
INNER_FOLDS = 3
HIDDEN, DECAY, EPOCHS = 64, 1.0, 200  # of the nonlinear probe


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
    kind : {"linear", "mlp"}
        Logistic regression, or one hidden layer of 64 units on the same inputs (weight decay fixed,
        no search: it asks whether a nonlinear reader does much better, not how well one can do).
    folds : int
    shuffles : int
        Repetitions of the control with labels permuted within groups, which keeps their balance.
    seed : int

    Returns
    -------
    pandas.Series
        ``accuracy`` on held-out groups with ``accuracy_low`` and ``accuracy_high`` (95%, bootstrap
        over groups), ``chance`` (share of the more frequent label), ``shuffled`` (mean accuracy of
        the control), ``n_examples``, ``n_groups``, ``n_parameters``, and ``fold 1`` to ``fold
        {folds}``.

    Raises
    ------
    ValueError
        If lengths differ, labels have not two values, features are not finite, there are too few
        groups, or the kind is unknown.

    Notes
    -----
    Features are standardised on the training fold. An L2-penalised linear model has its weights in
    the span of the training examples, so it is fitted in their coordinates there (the eigenvectors
    of the kernel matrix): the same model, at a cost that depends on the number of examples and not
    on that of features, which are 8192 for 64 patches of 128. The number of parameters is that of
    the model on the features.
    """
    x, y, groups = _checked(features, labels, groups, condition, kind, folds)
    q = 0 if condition is None else np.asarray(condition).shape[1]
    rng = np.random.default_rng(seed)
    right, fold_of, n_parameters = _cross_validated(x, y, groups, q, kind, folds, seed)
    low, high = _interval(right, groups, seed)
    controls = [
        _cross_validated(x, _shuffled(y, groups, rng), groups, q, kind, folds, seed)[0].mean()
        for _ in range(shuffles)
    ]
    return pd.Series({
        "accuracy": right.mean(),
        "accuracy_low": low,
        "accuracy_high": high,
        "chance": max(y.mean(), 1 - y.mean()),
        "shuffled": np.mean(controls) if controls else np.nan,
        "n_examples": len(y),
        "n_groups": len(np.unique(groups)),
        "n_parameters": n_parameters,
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
        ``accuracy``, ``accuracy_low``, ``accuracy_high`` (bootstrap over the held-out groups);
        the index has the mean number of training examples.

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
        right, counts = np.zeros(len(y), bool), []
        for train, test in GroupKFold(folds).split(x, y, groups):
            drawn = rng.permutation(np.unique(units[train]))
            ends = np.cumsum([(units[train] == unit).sum() for unit in drawn])
            chosen = drawn[: int(np.searchsorted(ends, size)) + 1]
            part = train[np.isin(units[train], chosen)]
            if len(np.unique(groups[part])) < INNER_FOLDS or len(np.unique(y[part])) < 2:
                raise ValueError(
                    f"{size} training examples hold fewer than {INNER_FOLDS} groups or one label "
                    "alone; give a larger size"
                )
            model = _model(x, y, groups, part, q, kind, seed)
            right[test] = model.predict(x[test]) == y[test]
            counts.append(len(part))
        low, high = _interval(right, groups, seed)
        rows.append((right.mean(), low, high))
        used.append(np.mean(counts))
    columns = ["accuracy", "accuracy_low", "accuracy_high"]
    return pd.DataFrame(rows, columns=columns, index=pd.Index(used, name="n_examples"))


class Span(TransformerMixin, BaseEstimator):
    """Coordinates in the span of the training examples, optionally of outer products.

    Parameters
    ----------
    n_condition : int
        The last so many columns are a condition: inner products of features are multiplied with
        those of conditions, which are the inner products of the outer products of the two.
    gain : bool
        Scale so that coordinates have a mean square of one, as networks like it, instead of
        examples of a mean length of one.
    """

    def __init__(self, n_condition: int = 0, gain: bool = False):
        self.n_condition, self.gain = n_condition, gain

    def fit(self, x: np.ndarray, y: np.ndarray | None = None) -> Span:
        split = x.shape[1] - self.n_condition
        self.mean_, spread = x[:, :split].mean(axis=0), x[:, :split].std(axis=0)
        # A constant feature says nothing, and rounding must not make it speak.
        flat = spread <= 1e-6 * np.abs(x[:, :split]).max(axis=0, initial=0.0)
        self.scale_ = np.where(flat, np.inf, spread)
        self.length_ = np.sqrt((x[:, split:] ** 2).sum(axis=1).mean()) if self.n_condition else 1.0
        self.examples_ = self._parts(x)
        kernel = self._kernel(self.examples_)
        values, vectors = np.linalg.eigh(kernel)
        kept = values > 1e-9 * max(values[-1], 1e-12)
        kept[-1] |= not kept.any()  # nothing varies: one coordinate, which is 0
        self.directions_ = vectors[:, kept] / np.sqrt(np.maximum(values[kept], 1e-12))
        total = max(float(values[kept].sum()) / len(x), 1e-12)
        self.factor_ = np.sqrt((kept.sum() if self.gain else 1.0) / total)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        return self._kernel(self._parts(x)) @ self.directions_ * self.factor_

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        split = x.shape[1] - self.n_condition
        return (x[:, :split] - self.mean_) / self.scale_, x[:, split:] / self.length_

    def _kernel(self, rows: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        kernel = rows[0] @ self.examples_[0].T
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
    n_groups = len(np.unique(groups))
    # Every training fold is split again, by group, to choose the regularisation.
    least = max(folds, INNER_FOLDS + 1)
    if folds < 2 or n_groups < least:
        raise ValueError(
            f"{folds} folds need {max(least, 2)} groups or more, and two folds or more; there are "
            f"{n_groups} groups"
        )
    return x, y, groups


def _model(x, y, groups, train: np.ndarray, q: int, kind: str, seed: int) -> Pipeline:
    span = Span(q, gain=kind == "mlp").fit(x[train])
    inputs = span.transform(x[train])
    with warnings.catch_warnings():
        # Stopping early is one more regulariser, and the held-out groups are the judge.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if kind == "mlp":
            head = MLPClassifier((HIDDEN,), alpha=DECAY, max_iter=EPOCHS, random_state=seed)
            return make_pipeline(span, head.fit(inputs, y[train]))
        # The span is fitted once: it saw no labels, and the outer held-out groups stay unseen.
        splits = list(GroupKFold(INNER_FOLDS).split(inputs, y[train], groups[train]))
        scores = np.sum([_scores(inputs, y[train], *split) for split in splits], axis=0)
        head = _logistic(STRENGTHS[int(np.argmax(scores))])  # of equals the most regularised
        return make_pipeline(span, head.fit(inputs, y[train]))


def _logistic(c: float) -> LogisticRegression:
    return LogisticRegression(C=c, max_iter=300, tol=1e-3)


def _scores(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Accuracy at each of `STRENGTHS`; each fit starts from the one before, which saves steps."""
    if len(np.unique(y[train])) < 2:
        return np.zeros(len(STRENGTHS))
    model = _logistic(STRENGTHS[0]).set_params(warm_start=True)
    return np.array([
        model.set_params(C=c).fit(x[train], y[train]).score(x[test], y[test]) for c in STRENGTHS
    ])  # fmt: skip


def _cross_validated(x, y, groups, q: int, kind: str, folds: int, seed: int):
    """Whether each held-out example was right, its fold, and the number of parameters."""
    right, fold_of, counts = np.zeros(len(y), bool), np.zeros(len(y), int), []
    for k, (train, test) in enumerate(GroupKFold(folds).split(x, y, groups)):
        if len(np.unique(y[train])) < 2:
            raise ValueError(f"the training groups of fold {k + 1} have one label alone")
        model = _model(x, y, groups, train, q, kind, seed)
        right[test], fold_of[test] = model.predict(x[test]) == y[test], k
        counts.append(_count_parameters(model, x.shape[1] - q, q))
    return right, fold_of, max(counts)


def _count_parameters(model: Pipeline, p: int, q: int) -> int:
    head = model[-1]
    if isinstance(head, MLPClassifier):
        inputs = model[0].directions_.shape[1]
        first = (p * max(q, 1) - inputs) * HIDDEN  # as if it read the features themselves
        return first + sum(w.size for w in (*head.coefs_, *head.intercepts_))
    return p * max(q, 1) + 1


def _shuffled(y: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels permuted within groups: what the groups' objects are is kept, the answer is not."""
    y = y.copy()
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        y[members] = rng.permutation(y[members])
    return y


def _interval(right: np.ndarray, groups: np.ndarray, seed: int) -> tuple[float, float]:
    _, numbers = np.unique(groups, return_inverse=True)
    return bootstrap_share(
        np.bincount(numbers, right).astype(int), np.bincount(numbers), seed
    )  # fmt: skip
