"""The solver against plain scikit-learn; the one-standard-error rule on losses made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from erragree_utils.measures import logistic
from erragree_utils.measures.logistic import fit_logistic, one_standard_error

NOISE = np.tile([0.1, -0.1], 10)


class TestFit:
    def examples(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(80, 12)) * np.geomspace(1, 1e-3, 12)
        return x, np.where(x[:, 0] + 0.3 * rng.normal(size=80) > 0.2, 1.0, -1.0)

    @pytest.mark.parametrize("c", [0.01, 1.0, 1e3])
    def test_is_the_minimum_that_scikit_learn_finds(self, c):
        x, sign = self.examples()
        rows = sign[:, None] * np.column_stack([x, np.ones(80)])
        found = fit_logistic(rows, np.append(np.full(12, 1 / c), 0.0))
        plain = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-10).fit(x, sign)
        expected = np.append(plain.coef_[0], plain.intercept_)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())

    def test_it_does_not_depend_on_where_it_starts(self):
        x, sign = self.examples()
        rows, penalty = sign[:, None] * x, np.full(12, 0.1)
        far = fit_logistic(rows, penalty, start=np.full(12, 5.0))
        np.testing.assert_allclose(fit_logistic(rows, penalty), far, atol=1e-3)

    def test_an_offset_that_says_it_all_leaves_nothing_to_learn(self):
        x, sign = self.examples()
        assert np.abs(fit_logistic(sign[:, None] * x, np.ones(12), offset=50.0)).max() < 1e-6

    def test_a_fit_cut_short_says_so(self, monkeypatch):
        monkeypatch.setattr(logistic, "STEPS", 1)
        x, sign = self.examples()
        with pytest.warns(ConvergenceWarning):
            fit_logistic(sign[:, None] * x, np.full(12, 1e-3))


class TestOneStandardError:
    def test_a_setting_that_is_better_beyond_its_error_is_taken(self):
        assert one_standard_error([np.full(20, 0.7), 0.5 + NOISE, np.full(20, 0.6)]) == 1

    def test_of_settings_within_one_error_the_first_is_taken(self):
        assert one_standard_error([0.501 + NOISE, np.full(20, 0.5), np.full(20, 0.6)]) == 0

    def test_what_all_units_share_does_not_blur_the_comparison(self):
        units = np.linspace(0, 10, 20)
        assert one_standard_error([units + 0.05, units + 0.01 * NOISE]) == 1

    def test_noise_in_the_last_digits_changes_nothing(self):
        rng = np.random.default_rng(0)
        losses = rng.random((6, 20))
        chosen = one_standard_error(losses)
        for _ in range(20):
            noise = 1e-9 * rng.normal(size=losses.shape)
            assert one_standard_error(losses * (1 + noise)) == chosen
