"""Ridge on sparse rows by conjugate gradients: nothing but products with X is needed.

With A the rows about their centre, times √w, B the targets likewise, a system is solved
for each column of targets and its penalty, of all at once, so that the rows are read
twice a step for all (Hestenes and Stiefel 1952). By rows, of which there are fewer,

    (AAᵀ + λ) β = B,      θ = Aᵀβ,

takes few steps where rows are unlike each other; where they share their columns, as
texts do words, it does not, and by columns

    (AᵀA + λ) θ = AᵀB

does, once each column is in its own unit. The diagonal makes the unit in both.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

LEFT = 1e-14  # of the residual, relative to the right-hand side
ENOUGH = 1e-11  # where rounding lets it go no further
MOST_STEPS, FEW_STEPS = 2000, 50  # by columns, and by rows
TRIED, HOPEFUL = 10, 1e-3  # steps by rows, after which less than that must be left


def solved(
    X: Any,
    Y: np.ndarray,
    weight: np.ndarray,
    lams: np.ndarray,
    fit_intercept: bool,
    most_steps: int = MOST_STEPS,
) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients (n, c) and intercepts (c,).

    Column j of `Y` (m, c) is fitted at ``lams[j]``. O(steps · (nnz + m + n) c) time.

    Raises
    ------
    ArithmeticError
        If the residual is not small after `most_steps`.
    """
    (m, n), c = X.shape, Y.shape[1]
    share = weight / weight.sum() if fit_intercept else 0 * weight
    x, y, root = X.T @ share, share @ Y, np.sqrt(weight)[:, None]
    B = root * (Y - y)

    def times(V: np.ndarray) -> np.ndarray:
        return root * (X @ V - x @ V)

    def transposed(V: np.ndarray) -> np.ndarray:
        V = root * V
        return X.T @ V - np.outer(x, V.sum(axis=0))

    squares = X.multiply(X)
    of_rows = partial(
        _stepped,
        lambda V, lam: times(transposed(V)) + lam * V,
        weight * np.asarray(squares.sum(axis=1)).ravel(),
    )
    coef, left = np.zeros((n, c)), np.full(c, np.inf)
    least = slice(at := int(lams.argmin()), at + 1)
    if n > m and of_rows(B[:, least], lams[least], TRIED)[1] < HOPEFUL:
        dual, _ = of_rows(B, lams, FEW_STEPS)
        coef = transposed(dual)
        # What is left in earnest: of columns unlike in size steps may lose sight of it.
        left = _part(B - times(coef) - lams * dual, B)
    rest = left > 10 * LEFT
    if rest.any():
        sizes = squares.T @ weight - weight.sum() * x**2 * fit_intercept
        coef[:, rest], left[rest] = _stepped(
            lambda V, lam: transposed(times(V)) + lam * V,
            np.maximum(sizes, 0),
            transposed(B[:, rest]),
            lams[rest],
            most_steps,
        )
    if (left > ENOUGH).any():
        raise ArithmeticError(
            f"conjugate gradients left {left.max():.0e} of the residual after "
            f"{most_steps} steps: use a larger alpha, or scale the columns alike "
            "(MaxAbsScaler)"
        )
    return coef, y - x @ coef


def _stepped(
    product: Callable[[np.ndarray, np.ndarray], np.ndarray],
    diagonal: np.ndarray,
    right: np.ndarray,
    lams: np.ndarray,
    most_steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return solutions of a system for each column, and what is left of the residuals.

    `diagonal` is about that of the matrix, without λ.
    """
    inverse = diagonal[:, None] + lams
    inverse = 1 / np.where(inverse > 0, inverse, 1)
    whole = np.linalg.norm(right, axis=0)
    found = np.zeros_like(right)
    residual, nearer = right.copy(), inverse * right
    direction, size = nearer.copy(), (residual * nearer).sum(axis=0)
    for _ in range(most_steps):
        going = np.linalg.norm(residual, axis=0) > LEFT * whole
        if not going.any():
            break
        image = product(direction, lams)
        curved = (direction * image).sum(axis=0)
        going &= curved > 0
        length = np.where(going, size / np.where(curved > 0, curved, 1), 0)
        found += length * direction
        residual -= length * image
        nearer = inverse * residual
        new = np.where(going, (residual * nearer).sum(axis=0), size)
        turn = np.where(going, new / np.where(size > 0, size, 1), 0)
        direction, size = nearer + turn * direction, new
    return found, _part(residual, right)


def _part(residual: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the size of residuals relative to right-hand sides, 0 where those are."""
    whole = np.linalg.norm(right, axis=0)
    return np.linalg.norm(residual, axis=0) / np.where(whole > 0, whole, 1)
