"""Probes: can a small classifier read the answer from a representation, on unseen object pairs?

Folds are grouped by object pair, so that no pair is on both sides: a probe gains nothing by
memorising objects. Regularisation is chosen inside the training folds, by held-out log loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from .inputs import group_numbers
from .intervals import bootstrap_share
from .logistic import fit_logistic, one_standard_error
from .span import Span

# Inverse penalties for coordinates of mean length one, from the most regularised on.
STRENGTHS = np.logspace(-2, 3, 6)
FOLDS = 5
INNER_FOLDS, LEAST_GROUPS = 5, 3  # of the training groups


def probe(
    features: np.ndarray,
    labels: Sequence,
    groups: Sequence,
    *,
    condition: np.ndarray | None = None,
    kind: str = "linear",
    shuffles: int = 1,
) -> pd.Series:
    """How accurately a small classifier reads a two-way label from a representation.

    Parameters
    ----------
    features : numpy.ndarray, shape (N, ...)
        A row for each image; further axes (patches, width) are flattened.
    labels : sequence, length N
        Of two values. Each must be a function of the image (and of `condition`).
    groups : sequence, length N
        Five or more. Examples of one group are never on both sides of a fold.
    condition : numpy.ndarray, shape (N, Q), optional
        What the label is asked *about*, such as the difference of the text embeddings of the two
        objects. The probe then is linear in the outer product of features and condition, so
        bilinear in the two: it learns one rule for all objects, not one for each.
    kind : {"linear", "gaussian"}
        Logistic regression on the features, or on a Gaussian kernel of them: a nonlinear reader
        whose fit, too, has one minimum and gets there.
    shuffles : int
        Repetitions of the control with labels permuted within groups, which keeps their balance.

    Returns
    -------
    pandas.Series
        ``accuracy`` on held-out groups with ``accuracy_low`` and ``accuracy_high`` (95%, bootstrap
        over groups), ``chance`` (share of the more frequent label), ``shuffled`` (mean accuracy of
        the control), ``n_examples``, ``n_groups``, ``n_parameters``, ``one_class`` (share of
        folds in which all held-out examples got one answer: there the accuracy is the labels'
        balance and measures nothing), and ``fold 1`` to ``fold 5``.

    Notes
    -----
    The penalty is the strongest within one standard error of the best held-out log loss, over five
    splits of the training groups; every fit is carried on until it has converged, and warns
    (`ConvergenceWarning`) if it has not. Features are standardised on the training fold. The model
    is fitted in the coordinates of `Span`; the number of parameters is that of the model on the
    features.
    """
    x, y, groups = _validate(features, labels, groups, condition)
    q = 0 if condition is None else np.shape(condition)[1]
    span, folds = Span(q, kind), list(GroupKFold(FOLDS).split(x, y, groups))
    answer = _held_out_answers(x, y, groups, folds, span)
    rng, controls = np.random.default_rng(0), []
    for _ in range(shuffles):
        labels = _shuffle(y, groups, rng)
        controls.append((_held_out_answers(x, labels, groups, folds, span) == labels).mean())
    right = answer == y
    low, high = _interval(right, groups)
    widest = max(len(train) for train, _ in folds)
    return pd.Series({
        "accuracy": right.mean(),
        "accuracy_low": low,
        "accuracy_high": high,
        "chance": max(y.mean(), 1 - y.mean()),
        "shuffled": np.mean(controls) if controls else np.nan,
        "n_examples": len(y),
        "n_groups": len(np.unique(groups)),
        "n_parameters": 1 + (widest if kind == "gaussian" else (x.shape[1] - q) * max(q, 1)),
        "one_class": np.mean([_one_class(answer[test]) for _, test in folds]),
        **{f"fold {k}": right[test].mean() for k, (_, test) in enumerate(folds, 1)},
    })  # fmt: skip


def probe_table(
    representations: Mapping[str, np.ndarray], labels: Sequence, groups: Sequence, **options
) -> pd.DataFrame:
    """`probe`, with its options, for several representations of the same images: a row for each."""
    rows = {name: probe(x, labels, groups, **options) for name, x in representations.items()}
    table = pd.DataFrame(rows).T
    counts = [name for name in table if name.startswith("n_")]
    return table.astype(dict.fromkeys(counts, int))


def learning_curve(
    features: np.ndarray,
    labels: Sequence,
    groups: Sequence,
    units: Sequence,
    sizes: Sequence[int],
    condition: np.ndarray | None = None,
) -> pd.DataFrame:
    """Accuracy of a linear probe on unseen groups against the number of training examples.

    Parameters
    ----------
    features, labels, groups, condition
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
    """
    x, y, groups = _validate(features, labels, groups, condition)
    span = Span(0 if condition is None else np.shape(condition)[1])
    units = group_numbers(units, len(y), 1)
    folds = list(GroupKFold(FOLDS).split(x, y, groups))
    rows = []
    for size in sizes:
        rng = np.random.default_rng((0, size))
        parts = []
        for train, test in folds:
            order = rng.permutation(np.unique(units[train]))
            ends = np.cumsum([(units[train] == unit).sum() for unit in order])
            sample = order[: int(np.searchsorted(ends, size)) + 1]
            parts.append((train[np.isin(units[train], sample)], test))
        answer = _held_out_answers(x, y, groups, parts, span)
        right = answer == y
        rows.append({
            "n_examples": np.mean([len(train) for train, _ in parts]),
            "accuracy": right.mean(),
            **dict(zip(("accuracy_low", "accuracy_high"), _interval(right, groups), strict=True)),
            "one_class": np.mean([_one_class(answer[test]) for _, test in parts]),
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("n_examples")


def _validate(
    features: np.ndarray, labels: Sequence, groups: Sequence, condition: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features with the condition as their last columns; labels as bool; groups as numbers."""
    x = np.asarray(features, np.float64)
    x = x.reshape(len(x), -1)
    if condition is not None:
        condition = np.asarray(condition, np.float64)
        if condition.ndim != 2 or len(condition) != len(x):
            raise ValueError(f"condition must have the shape ({len(x)}, Q), not {condition.shape}")
        x = np.hstack([x, condition])
    if not np.isfinite(x).all():
        raise ValueError("features or condition hold NaN or infinity")
    values, y = np.unique(np.asarray(labels), return_inverse=True)
    if len(y) != len(x):
        raise ValueError(f"{len(x)} rows of features and {len(y)} labels: give one for each")
    if len(values) != 2:
        raise ValueError(f"labels must have two values, they have {values[:5].tolist()}")
    return x, y.astype(bool), group_numbers(groups, len(x), FOLDS)


Parts = Sequence[tuple[np.ndarray, np.ndarray]]


def _held_out_answers(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, parts: Parts, span: Span
) -> np.ndarray:
    """What probes say of the test examples of each part, having seen its training examples.

    The penalty is the one that the training groups choose. The span is fitted once for all
    penalties: it sees no labels, and the held-out groups stay unseen.
    """
    answer = np.zeros(len(y), bool)
    for train, test in parts:
        if len(np.unique(groups[train])) < LEAST_GROUPS or len(np.unique(y[train])) < 2:
            raise ValueError(
                f"{len(train)} training examples hold fewer than {LEAST_GROUPS} groups or one "
                "label alone; give more examples or a larger size"
            )
        inputs, weights = _with_intercept(span.fit(x[train]).transform(x[train])), None
        for strength in STRENGTHS[: _choose_strength(inputs, y[train], groups[train]) + 1]:
            weights = _fit(inputs, y[train], strength, weights)
        answer[test] = _with_intercept(span.transform(x[test])) @ weights > 0
    return answer


def _choose_strength(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> int:
    """By the log loss of held-out groups, until two in a row are worse than before."""
    names, number = np.unique(groups, return_inverse=True)
    splits = GroupKFold(min(INNER_FOLDS, len(names))).split(x, y, groups)
    splits = [(a, b) for a, b in splits if len(np.unique(y[a])) == 2]
    if not splits:
        raise ValueError("the training groups hold too few examples of one label; give more groups")
    weights, rows = [None] * len(splits), []
    for strength in STRENGTHS:
        losses = np.zeros(len(names))
        for k, (a, b) in enumerate(splits):
            weights[k] = _fit(x[a], y[a], strength, weights[k])
            odds = x[b] @ weights[k]
            loss = np.logaddexp(0, np.where(y[b], -odds, odds))
            losses += np.bincount(number[b], loss, len(names))
        rows.append(losses)
        if np.argmin(np.sum(rows, axis=1)) + 2 < len(rows):
            break
    return one_standard_error(np.array(rows))


def _fit(x: np.ndarray, y: np.ndarray, strength: float, start: np.ndarray | None) -> np.ndarray:
    """Weights and intercept, sought from those of the strength before."""
    penalty = np.append(np.full(x.shape[1] - 1, 1 / strength), 0.0)
    return fit_logistic(np.where(y, 1.0, -1.0)[:, None] * x, penalty, start)


def _with_intercept(x: np.ndarray) -> np.ndarray:
    return np.column_stack([x, np.ones(len(x))])


def _one_class(answer: np.ndarray) -> bool:
    return len(np.unique(answer)) == 1


def _shuffle(y: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels permuted within groups: what the groups' objects are is kept, the answer is not."""
    y = y.copy()
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        y[members] = rng.permutation(y[members])
    return y


def _interval(right: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    return bootstrap_share(np.bincount(groups, right).astype(int), np.bincount(groups))
