"""The span of examples against the features themselves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from erragree_utils.measures.span import Span


@pytest.mark.parametrize("width", [5, 300], ids=["narrow", "wide"])
def test_the_span_of_examples_gives_the_model_on_the_features(width):
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(60, width)), rng.normal(size=(40, width))
    y = x[:, 0] + 0.5 * rng.normal(size=60) > 0
    span, scaler = Span().fit(x), StandardScaler().fit(x)
    a, b = span.transform(x), scaler.transform(x)
    c = 10.0  # the span's examples have a mean square length of one
    ratio = (b**2).sum(1).mean() / (a**2).sum(1).mean()
    one = LogisticRegression(C=c, tol=1e-8, max_iter=5000).fit(a, y)
    two = LogisticRegression(C=c / ratio, tol=1e-8, max_iter=5000).fit(b, y)
    np.testing.assert_allclose(
        one.decision_function(span.transform(new)),
        two.decision_function(scaler.transform(new)),
        atol=1e-3,
    )


@pytest.mark.parametrize("n_condition", [0, 3])
def test_principal_coordinates_of_few_features_are_those_of_the_kernel(n_condition):
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(60, 9)), rng.normal(size=(20, 9))
    narrow = Span(n_condition).fit(x)
    # The same examples among features that are always zero, which are too many for the narrow way.
    padding = 9 * 60
    wide = Span(n_condition).fit(np.hstack([np.zeros((60, padding)), x]))
    assert narrow.narrow_ and not wide.narrow_
    ours, theirs = narrow.transform(new), wide.transform(np.hstack([np.zeros((20, padding)), new]))
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-6)
