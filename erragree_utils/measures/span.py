"""The coordinates in which a probe is fitted: the span of its training examples."""

from __future__ import annotations

import numpy as np


class Span:
    """Coordinates in the span of the training examples, optionally of outer products.

    An L2-penalised linear model has its weights in the span of the training examples, so it can be
    fitted in their coordinates there (the eigenvectors of the kernel matrix): the same model, at a
    cost that depends on the number of examples and not on that of features, which are 8192 for 64
    patches of 128. Where features are fewer, their principal coordinates are the same ones, at a
    cost that depends on the number of features. Features are standardised, and coordinates have a
    mean square length of one.

    Parameters
    ----------
    n_condition : int
        The last so many columns are a condition: inner products of features are multiplied with
        those of conditions, which are the inner products of the outer products of the two.
    kind : {"linear", "gaussian"}
        Inner products of the features, or a Gaussian kernel as wide as examples are apart.
    """

    def __init__(self, n_condition: int = 0, kind: str = "linear"):
        if kind not in ("linear", "gaussian"):
            raise ValueError(f"unknown kind {kind!r}; choose 'linear' or 'gaussian'")
        self.n_condition, self.kind = n_condition, kind

    def fit(self, x: np.ndarray) -> Span:
        features, condition = self._split(x)
        self.mean_, spread = features.mean(axis=0), features.std(axis=0)
        # A constant feature says nothing, and rounding must not make it speak.
        flat = spread <= 1e-6 * np.abs(features).max(axis=0, initial=0.0)
        self.scale_ = np.where(flat, np.inf, spread)
        self.length_ = np.sqrt((condition**2).sum(axis=1).mean()) if self.n_condition else 1.0
        self.examples_ = self._parts(x)
        self.width_ = max(2 * (self.examples_[0] ** 2).sum(axis=1).mean(), 1e-12)
        n_products = features.shape[1] * max(self.n_condition, 1)
        self.narrow_ = self.kind == "linear" and n_products < len(x)
        if self.narrow_:
            products = self._products(self.examples_)
            values, vectors = np.linalg.eigh(products.T @ products)
        else:
            values, vectors = np.linalg.eigh(self._kernel(self.examples_))
        keep = values > 1e-9 * max(values[-1], 1e-12)
        keep[-1] |= not keep.any()  # nothing varies: one coordinate, which is 0
        lengths = 1.0 if self.narrow_ else np.sqrt(np.maximum(values[keep], 1e-12))
        self.directions_ = vectors[:, keep] / lengths
        self.factor_ = max(float(values[keep].sum()) / len(x), 1e-12) ** -0.5
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        parts = self._parts(x)
        rows = self._products(parts) if self.narrow_ else self._kernel(parts)
        return rows @ self.directions_ * self.factor_

    def _split(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        split = x.shape[1] - self.n_condition
        return x[:, :split], x[:, split:]

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features, condition = self._split(x)
        return (features - self.mean_) / self.scale_, condition / self.length_

    def _products(self, rows: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        features, condition = rows
        if not self.n_condition:
            return features
        return (features[:, :, None] * condition[:, None]).reshape(len(features), -1)

    def _kernel(self, rows: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        kernel = rows[0] @ self.examples_[0].T
        if self.kind == "gaussian":
            lengths = ((part**2).sum(axis=1) for part in (rows[0], self.examples_[0]))
            kernel = np.exp((2 * kernel - np.add.outer(*lengths)) / self.width_)
        return kernel * (rows[1] @ self.examples_[1].T) if self.n_condition else kernel
