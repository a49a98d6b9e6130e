"""Penalised logistic regression that converges, and how to choose its penalty."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

STEPS = 5000  # at most: the solver stops when it has converged


def fit_logistic(
    x: np.ndarray,
    penalty: np.ndarray,
    start: np.ndarray | None = None,
    offset: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Weights w with the least sum of log(1 + exp(-(x w + offset))) and penalty w^2 / 2.

    Parameters
    ----------
    x : numpy.ndarray, shape (N, D)
        Examples times their labels, 1 or -1; their products with w should be positive. Fast if
        the columns are orthogonal, as principal coordinates are.
    penalty : numpy.ndarray, shape (D,)
        Of each weight; 0 for an intercept.
    start : numpy.ndarray, shape (D,), optional
        Such as the weights at a similar penalty, which saves steps.
    offset : numpy.ndarray, shape (N,), optional

    Notes
    -----
    The loss has one minimum; L-BFGS goes on until the gradient vanishes, and a `ConvergenceWarning`
    says if it could not.
    """
    # In these units all directions curve about alike, so few steps are needed.
    unit = 1 / np.sqrt((x**2).sum(axis=0) / 4 + penalty)

    def loss(scaled: np.ndarray) -> tuple[float, np.ndarray]:
        w = scaled * unit
        margins = x @ w + offset
        value = np.logaddexp(0, -margins).sum() + penalty @ w**2 / 2
        return value, (penalty * w - expit(-margins) @ x) * unit

    first = np.zeros(len(unit)) if start is None else start / unit
    options = {"maxiter": STEPS, "maxfun": STEPS, "gtol": 1e-5, "ftol": 1e-14, "maxcor": 20}
    fit = minimize(loss, first, jac=True, method="L-BFGS-B", options=options)
    if not fit.success:
        warnings.warn(f"logistic regression: {fit.message}", ConvergenceWarning, stacklevel=2)
    return fit.x * unit


def one_standard_error(losses: np.ndarray) -> int:
    """The first setting that is not clearly worse than the best.

    A count of right answers jumps with rounding, and its best is often best by chance; so settings
    are compared by a smooth loss, and the first one within one standard error of the best is taken
    (Breiman et al. 1984), the error being that of the difference on the same units.

    `losses` are (S, U): for each setting, from the most to the least regularised, the summed
    held-out loss of each unit (pair or group; two or more), such as the log loss.
    """
    losses = np.asarray(losses, float)
    worse = losses - losses[losses.sum(axis=1).argmin()]
    error = worse.std(axis=1, ddof=1) * np.sqrt(losses.shape[1])
    return int(np.flatnonzero(worse.sum(axis=1) <= error)[0])
