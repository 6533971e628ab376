"""Named problems: their sizes, how they are made, and their seed."""

from functools import cache
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_diabetes

SEED = 0


def rows(
    m: int, n: int, t: int, dtype: str = "float64"
) -> tuple[np.ndarray, np.ndarray]:
    """Return normal rows, and targets linear in them with as much noise as signal."""
    rng = np.random.default_rng(SEED)
    X = rng.normal(size=(m, n))
    Y = X @ rng.normal(size=(n, t)) / np.sqrt(n) + rng.normal(size=(m, t))
    return X.astype(dtype), Y.astype(dtype)


class SweepProblem(NamedTuple):
    """Penalties to train by the same number of plain descent steps."""

    name: str
    n_samples: int
    n_features: int
    n_lams: int
    steps: int
    dtype: str = "float32"
    seed: int = SEED

    @cache  # noqa: B019
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


# On a GPU: 100 penalties, and 1,000.
LARGE_SWEEPS = tuple(
    SweepProblem(f"sweep-100000x1000-{L}", 100_000, 1000, n_lams=L, steps=200)
    for L in (100, 1000)
)
SWEEP = SweepProblem("sweep-10000x500", 10_000, 500, n_lams=100, steps=200)
TOY_SWEEP = SweepProblem("sweep-toy", 100, 5, n_lams=4, steps=20)


class ScoreProblem(NamedTuple):
    """Penalties to score, for each target, by folds or by leaving one row out.

    Or to fit all rows at, with no folds.
    """

    name: str
    n_samples: int
    n_features: int
    n_targets: int
    n_lams: int
    folds: int  # 0 to leave one out
    dtype: str
    rivals: tuple[str, ...]
    seed: int = SEED
    asked: str = "scores"  # or "path", coefficients of all rows
    condition: float = 1.0  # of what makes columns of normal ones: 1 leaves them apart

    def make(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return X, Y and the penalties.

        X is standard normal, or such columns mixed by a matrix of a known condition
        number. Targets are linear in it, with from a twentieth to twice as much signal
        as noise, so that they want different penalties.
        """
        if self.name.startswith("diabetes"):
            X, y = load_diabetes(return_X_y=True)
            return X, y[:, None], np.geomspace(1e-4, 1e2, self.n_lams)
        m, n, t = self.n_samples, self.n_features, self.n_targets
        draws = np.random.default_rng(self.seed).standard_normal

        def normal(*shape: int) -> np.ndarray:
            return draws(shape, np.dtype(self.dtype))

        X, rank = normal(m, n), min(n, t, RANK)
        if self.condition > 1:
            turn, scales = normal(n, n), np.geomspace(1, 1 / self.condition, n)
            mixing = np.linalg.qr(turn)[0] * scales.astype(self.dtype)
            X = X @ mixing @ np.linalg.qr(normal(n, n))[0]
        # All targets are made of a few, or their coefficients would fill the memory.
        few = X @ (normal(n, rank) / np.sqrt(n).astype(self.dtype))
        signal = np.geomspace(0.05, 2, t) if t > 1 else np.ones(1)
        mixed = normal(rank, t) if rank < t else np.eye(t)
        mixed = (mixed / np.linalg.norm(mixed, axis=0) * signal).astype(self.dtype)
        return X, few @ mixed + normal(m, t), np.geomspace(1, 1e5, self.n_lams)


RANK = 100


def _folds(m: int, n: int, t: int, L: int, dtype: str, *rivals: str) -> ScoreProblem:
    return ScoreProblem(f"folds-{m}x{n}x{t}-{dtype}", m, n, t, L, 5, dtype, rivals)


def _rows(m: int, n: int, dtype: str, *rivals: str) -> ScoreProblem:
    return ScoreProblem(f"rows-{m}x{n}-{dtype}", m, n, 1, 100, 0, dtype, rivals)


def _path(m: int, n: int, t: int, L: int, dtype: str, *rivals: str) -> ScoreProblem:
    name = f"path-{m}x{n}x{t}-{dtype}"
    return ScoreProblem(name, m, n, t, L, 0, dtype, rivals, asked="path")


US, FACE = "jaxridge", "jaxridge.RidgeCV"
BOTH = (US, FACE)
ALL = "himalaya, all at once in 20 GiB"
BY_ONE = "himalaya, one penalty at a time, a tenth × 10"
KERNEL = "himalaya, kernel"
SEARCHES = (
    *BOTH,
    "GridSearchCV, a tenth × 10",
    "GridSearchCV, one thread, a tenth × 10",
    "GridSearchCV",
    "GridSearchCV, 2 jobs",
)
LEFT_OUT = (*BOTH, "RidgeCV", "RidgeCV, svd")
SOME = "himalaya, 500 targets at a time"
LOOPS = ("loop of Ridge", "loop of jnp.linalg.solve")
FITS = (
    "jaxridge.path",
    *(f"{one}, a tenth × 10" for one in (*LOOPS, "loop of Ridge, one thread")),
    *LOOPS,
    "fracridge",
)
# As many columns as a genome has genes.
WIDE = (
    *BOTH,
    "GridSearchCV, a tenth × 10",
    "GridSearchCV, one thread, a tenth × 10",
    KERNEL,
)
WIDE_FITS = "jaxridge.path", "loop of Ridge, a tenth × 10"
EXACT = {
    "folds": _folds(20_000, 500, 1, 100, "float32", *SEARCHES, ALL, BY_ONE, "limit"),
    "folds-double": _folds(20_000, 500, 1, 100, "float64", *SEARCHES, "limit"),
    "folds-alike": _folds(20_000, 500, 1, 100, "float64", US, "limit")._replace(
        name="folds-alike-20000x500x1-float64", condition=1e3
    ),
    "rows": _rows(20_000, 500, "float32", *LEFT_OUT, "limit"),
    "rows-double": _rows(20_000, 500, "float64", *LEFT_OUT, "limit"),
    "wide-gram": _folds(20_000, 2000, 1, 100, "float64", US, "limit"),
    "targets": _folds(2000, 500, 5000, 20, "float32", *BOTH, "himalaya", SOME),
    "targets-wide": _folds(1000, 2000, 3000, 20, "float32", *BOTH, "himalaya", KERNEL),
    "wide": _folds(400, 20_000, 1, 100, "float64", *WIDE, "limit"),
    "wide-rows": _rows(400, 20_000, "float64", *BOTH, "RidgeCV", "limit"),
    "wide-path": _path(400, 20_000, 1, 100, "float64", *WIDE_FITS, "limit"),
    "path": _path(20_000, 500, 1, 100, "float64", *FITS, "limit"),
    "path-targets": _path(2000, 500, 1000, 20, "float32", *FITS, "limit"),
    "diabetes": ScoreProblem(
        "diabetes-rows", 442, 10, 1, 100, 0, "float64", (*LEFT_OUT, "limit")
    ),
}
# What a GPU is asked: the limit is one product and eigenvectors there. What takes
# longest to make comes last, so that little is missed where time is up.
THERE = (US, "limit on the device", "limit on the device, half of XᵀX")
KERNEL_THERE = "himalaya, torch_cuda, kernel"
FITTED = US, "jaxridge, refitted"
VOXELS = (*FITTED, "himalaya, torch_cuda")
GPU = {
    "folds-1000": _folds(100_000, 1000, 1, 100, "float64", *THERE),
    "targets": _folds(3000, 1000, 30_000, 20, "float32", *VOXELS)._replace(folds=3),
    "targets-wide": _folds(1000, 2000, 20_000, 20, "float32", *VOXELS, KERNEL_THERE),
    "targets-kernel": _folds(
        3000, 20_000, 10_000, 20, "float32", *FITTED, KERNEL_THERE
    ),
    "targets-widest": _folds(3000, 100_000, 100_000, 20, "float32", US),
    "folds-4096-double": _folds(100_000, 4096, 1, 100, "float64", *THERE),
    "folds-4096": _folds(200_000, 4096, 1, 100, "float32", *THERE),
    "folds-8192": _folds(100_000, 8192, 1, 100, "float32", *THERE),
}
TOY_EXACT, TOY_GPU = (
    {
        name: problem._replace(
            name=f"{problem.name}-toy",
            n_samples=40 if problem.n_samples > problem.n_features else 20,
            n_features=8 if problem.n_samples > problem.n_features else 30,
            n_targets=min(problem.n_targets, 3),
            n_lams=5,
        )
        for name, problem in problems.items()
    }
    for problems in (EXACT, GPU)
)
