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
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from jaxridge.sparse import far_from_0
from jaxridge.sums import about_mean

LEFT = 1e-14  # of the residual, relative to the right-hand side
ENOUGH = 1e-11  # where rounding lets it go no further
KNOWN = 1e-8  # of coefficients that a residual may be made of, relative to them all
MOST_STEPS, FEW_STEPS = 2000, 50  # by columns, and by rows
TRIED, HOPEFUL = 10, 1e-3  # steps by rows, after which less than that must be left


class Centred(NamedTuple):
    """A = √w (X − x̄), of which only columns far from 0 are made dense."""

    X: Any  # with nothing in columns far from 0
    x: np.ndarray  # and means of 0 there
    far: np.ndarray  # places of those
    dense: np.ndarray  # (m, f), about their means
    root: np.ndarray  # √w (m, 1)

    def times(self, V: np.ndarray) -> np.ndarray:
        """Return AV."""
        found = self.X @ V - self.x @ V + self.dense @ V[self.far]
        return np.asarray(self.root * found)

    def transposed(self, V: np.ndarray) -> np.ndarray:
        """Return AᵀV."""
        V = self.root * V
        found = np.asarray(self.X.T @ V - np.outer(self.x, V.sum(axis=0)))
        found[self.far] = self.dense.T @ V
        return found

    def squares(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the diagonals of AAᵀ, but for the means, and of AᵀA."""
        squares, weight = self.X.multiply(self.X), self.root[:, 0] ** 2
        of_rows = np.asarray(squares.sum(axis=1)).ravel() + (self.dense**2).sum(axis=1)
        of_columns = squares.T @ weight - weight.sum() * self.x**2
        of_columns[self.far] = weight @ self.dense**2
        return weight * of_rows, np.maximum(of_columns, 0)


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
    A, x = _about(X, weight, share)
    y = share @ Y
    B = A.root * (Y - y)
    of_rows, of_columns = A.squares()
    by_rows = partial(
        _stepped, lambda V, lam: A.times(A.transposed(V)) + lam * V, of_rows
    )
    coef, left = np.zeros((n, c)), np.full(c, np.inf)
    at = int(lams.argmin())
    least = slice(at, at + 1)
    if n > m and by_rows(B[:, least], lams[least], TRIED)[1] < HOPEFUL:
        dual, _ = by_rows(B, lams, FEW_STEPS)
        coef = A.transposed(dual)
        # What is left in earnest: of columns unlike in size steps may lose sight of it.
        left = _part(B - A.times(coef) - lams * dual, B)
    rest = left > 10 * LEFT
    for sizes in (of_columns, np.full(n, of_columns.mean())):
        if rest.any():
            given = A, sizes, B[:, rest], lams[rest], most_steps
            coef[:, rest], left[rest], known = _by_columns(*given)
            rest[rest] = ~known
    if (left > ENOUGH).any():
        raise ArithmeticError(
            f"conjugate gradients left {left.max():.0e} of the residual after "
            f"{most_steps} steps: use a larger alpha, or scale the columns alike "
            "(MaxAbsScaler)"
        )
    return coef, y - x @ coef


def _about(X: Any, weight: np.ndarray, share: np.ndarray) -> tuple[Centred, np.ndarray]:
    """Return A, and the means x̄."""
    x = X.T @ share
    far = np.flatnonzero(far_from_0(X, x, share))
    dense, x[far] = about_mean(X[:, far].toarray(), share, 1.0)
    near = np.ones(len(x))
    near[far] = 0
    kept = X @ sparse.diags_array(near) if far.size else X
    return Centred(kept, near * x, far, dense, np.sqrt(weight)[:, None]), x


def _by_columns(
    A: Centred, sizes: np.ndarray, B: np.ndarray, lams: np.ndarray, most_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coefficients, what is left of residuals, and whether that tells enough.

    The error of θ is (AᵀA + λ)⁻¹ times the residual, as large as 1/λ of it where rows
    say nothing: there steps in units of the columns may have gone anywhere, at λ = 0 to
    the fit of least size in those units. Steps in one unit for all do not leave the
    directions that the rows span.
    """

    def product(V: np.ndarray, lam: np.ndarray) -> np.ndarray:
        return A.transposed(A.times(V)) + lam * V

    right = A.transposed(B)
    found, left = _stepped(product, sizes, right, lams, most_steps)
    apart = np.linalg.norm(right - product(found, lams), axis=0)
    known = apart <= KNOWN * lams * np.linalg.norm(found, axis=0)
    return found, left, known


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
