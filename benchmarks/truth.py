"""The answers in float64, by refits, and how far another answer is from them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.model_selection import KFold

WITHIN = {"float64": 1e-9, "float32": 1e-3}  # what errors of ours are held to


def error_of_scores(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the largest relative difference."""
    return float(np.max(np.abs(np.reshape(found, truth.shape) - truth) / truth))


def error_of_coefs(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the largest difference, relative to the largest coefficient."""
    return float(np.abs(found - truth).max() / np.abs(truth).max())


def scores(X: Any, Y: Any, lams: Any, folds: int) -> np.ndarray:
    """Return mean squared held-out errors (L, t) by refits in float64.

    Where the rows are: by NumPy or, on a device, by XLA. By eigenvectors of products,
    as in float64 they keep the digits that matter at condition numbers up to 1e3.
    """
    if not folds:
        return _left_out(np.float64(X), np.float64(Y), lams)
    xp: Any = jnp if isinstance(X, jax.Array) else np
    per_fold = []
    for train, held in KFold(folds).split(X):
        rows, others = (X[i].astype(xp.float64) for i in (train, held))
        x, y = rows.mean(axis=0), Y[train].astype(xp.float64).mean(axis=0)
        A, B, H = rows - x, Y[train] - y, others - x
        if A.shape[0] >= A.shape[1]:
            values, V = xp.linalg.eigh(A.T @ A)
            along, turned = V.T @ (A.T @ B), H @ V
        else:
            values, V = xp.linalg.eigh(A @ A.T)
            along, turned = V.T @ B, (H @ A.T) @ V
        shrunk = (along / (values + lam)[:, None] for lam in lams)
        errors = (turned @ one + y - Y[held] for one in shrunk)
        per_fold.append([np.asarray((e**2).mean(axis=0)) for e in errors])
    return np.mean(per_fold, axis=0)


def coefs(X: Any, Y: Any, lams: Any, folds: int) -> np.ndarray:
    """Return coefficients (L, n, t), from float64 NumPy."""
    X, Y = np.float64(X), np.float64(Y)
    U, s, Vt = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    along = s[:, None] * (U.T @ (Y - Y.mean(axis=0)))
    return np.array([Vt.T @ (along / (s**2 + lam)[:, None]) for lam in lams])


def _left_out(X: np.ndarray, Y: np.ndarray, lams: Any) -> np.ndarray:
    U, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    B = Y - Y.mean(axis=0)
    shrink = s[:, None] ** 2 / (s[:, None] ** 2 + lams)  # (n, L)
    kept = 1 - U**2 @ shrink - 1 / len(X)
    each = [B[:, [j]] - U @ (shrink * (U.T @ B[:, [j]])) for j in range(B.shape[1])]
    return np.stack([((e / kept) ** 2).mean(axis=0) for e in each], axis=1)
