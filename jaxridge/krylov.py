"""Ridge on sparse rows too many and too wide to factorise: conjugate gradients.

(XᵀWX − W x̄x̄ᵀ + λ) θ = Xᵀ W (Y − ȳ) is solved for all penalties and targets at once, a
column for each, so that the rows are read once a step for all (Hestenes and Stiefel
1952). The diagonal preconditions. Nothing but products with X is needed.
"""

from typing import Any

import numpy as np

LEFT = 1e-12  # of the residual, relative to the right-hand side
MOST_STEPS = 2000


def solved(
    X: Any,
    Y: np.ndarray,
    weight: np.ndarray,
    lams: np.ndarray,
    fit_intercept: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients (n, c) and intercepts (c,).

    Column j of `Y` (m, c) is fitted at ``lams[j]``. O(steps · (nnz + m + n) c) time.

    Raises
    ------
    ArithmeticError
        If the residual is not small after 2000 steps.
    """
    total = weight.sum()
    share = weight / total if fit_intercept else 0 * weight
    x, y = X.T @ share, share @ Y

    def product(V: np.ndarray) -> np.ndarray:
        Z = weight[:, None] * (X @ V - x @ V)
        return X.T @ Z - np.outer(x, Z.sum(axis=0)) + lams * V

    B = weight[:, None] * (Y - y)
    right = X.T @ B - np.outer(x, B.sum(axis=0))
    diagonal = X.multiply(X).T @ weight - (total * x**2 if fit_intercept else 0)
    inverse = np.maximum(diagonal, 0)[:, None] + lams
    inverse = 1 / np.where(inverse > 0, inverse, 1)
    enough = LEFT * np.linalg.norm(right, axis=0)
    coef = np.zeros_like(right)
    residual, nearer = right.copy(), inverse * right
    direction, size = nearer.copy(), (residual * nearer).sum(axis=0)
    for _ in range(MOST_STEPS):
        going = np.linalg.norm(residual, axis=0) > enough
        if not going.any():
            return coef, y - x @ coef
        image = product(direction)
        curved = (direction * image).sum(axis=0)
        going &= curved > 0
        length = np.where(going, size / np.where(curved > 0, curved, 1), 0)
        coef += length * direction
        residual -= length * image
        nearer = inverse * residual
        new = np.where(going, (residual * nearer).sum(axis=0), size)
        turn = np.where(going, new / np.where(size > 0, size, 1), 0)
        direction, size = nearer + turn * direction, new
    left = np.linalg.norm(residual, axis=0) / np.maximum(enough / LEFT, 1e-300)
    raise ArithmeticError(
        f"conjugate gradients left {left.max():.0e} of the residual after {MOST_STEPS} "
        "steps: use a larger alpha, or scale the columns alike (MaxAbsScaler)"
    )
