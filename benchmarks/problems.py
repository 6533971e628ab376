"""Named problems: their sizes, how they are made, and their seed."""

from typing import NamedTuple

import numpy as np


class SweepProblem(NamedTuple):
    """Penalties to train by the same number of plain descent steps."""

    name: str
    n_samples: int
    n_features: int
    n_lams: int
    steps: int
    dtype: str = "float32"
    seed: int = 0

    def make(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return X, y, the penalties, and a step size for each.

        X is standard normal, y linear in it with as much noise as signal. The steps are
        1/L for the largest eigenvalue L of J's second derivative, intercept included.
        """
        rng = np.random.default_rng(self.seed)
        X = rng.normal(size=(self.n_samples, self.n_features))
        coef = rng.normal(size=self.n_features) / np.sqrt(self.n_features)
        y = X @ coef + rng.normal(size=self.n_samples)
        lams = np.geomspace(1e-2, 1e4, self.n_lams)
        rows = np.column_stack([X, np.ones(len(X))])
        largest = np.linalg.norm(rows.T @ rows, 2)
        rates = len(X) / (largest + lams)
        X, y, lams, rates = (a.astype(self.dtype) for a in (X, y, lams, rates))
        return X, y, lams, rates


SWEEP = SweepProblem("sweep-10000x500", 10_000, 500, n_lams=100, steps=200)
TOY_SWEEP = SweepProblem("sweep-toy", 100, 5, n_lams=4, steps=20)
