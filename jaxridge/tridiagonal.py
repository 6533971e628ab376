"""A symmetric matrix as QTQᵀ, T tridiagonal: half the way to eigenvalues, and enough.

(QTQᵀ + λ)⁻¹ b = Q (T + λ)⁻¹ Qᵀb costs n steps for each λ, so that once G is reduced to
T, every penalty is cheap, as it is with eigenvectors, which take longer. Q is a
product of reflections I − τvvᵀ and never formed: b of them at a time are I − V W Vᵀ
with W⁻¹ = diag(1/τ) + the upper triangle of VᵀV (Puglisi 1992). Each v begins a row
further down than the one before, so that later blocks leave the first rows alone.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import linalg
from jaxtyping import Array, Float

from jaxridge import probes
from jaxridge.power import STEPS
from jaxridge.products import matmul

BLOCK = 64
GROUPS = 4  # of blocks, by how many rows they leave alone


class Tridiagonal(NamedTuple):
    """T, and the vectors of Q's reflections in blocks: Q = (I − V₁W₁V₁ᵀ)(I − V₂…)…."""

    diagonal: Float[Array, " n"]
    beside: Float[Array, " n"]  # the last element is 0
    vectors: Float[Array, "blocks n b"]
    middles: Float[Array, "blocks b b"]


def tridiagonal(matrix: Float[Array, "n n"]) -> Tridiagonal:
    """Reduce a symmetric matrix."""
    n = len(matrix)
    zero = jnp.zeros(1, matrix.dtype)
    if n == 1:
        none = jnp.zeros((0, 1, 1), matrix.dtype)
        return Tridiagonal(matrix[0], zero, none, none)
    packed, diagonal, beside, tau = linalg.tridiagonal(matrix, lower=True)
    # Below the diagonal under T, column j holds v of reflection j; above it v is 0, 1.
    size = min(BLOCK, n - 1)
    pad = -(n - 1) % size
    below = jnp.tril(packed[1:, :-1], -1) + jnp.eye(n - 1, dtype=matrix.dtype)
    below = jnp.where(tau != 0, below, 0)  # no reflection at all
    vectors = jnp.pad(below, ((1, 0), (0, pad)))
    vectors = vectors.reshape(n, -1, size).swapaxes(0, 1)
    inverse = jnp.pad(jnp.where(tau != 0, 1 / jnp.where(tau != 0, tau, 1), 1), (0, pad))
    inverse = jnp.where(inverse == 0, 1, inverse).reshape(-1, size)

    def middle(block: tuple[Array, Array]) -> Array:
        V, d = block
        triangle = jnp.triu(matmul(V.T, V), 1) + jnp.diag(d)
        one = jnp.eye(size, dtype=matrix.dtype)
        return jax.scipy.linalg.solve_triangular(triangle, one)

    middles = jax.lax.map(middle, (vectors, inverse))
    return Tridiagonal(diagonal, jnp.concatenate([beside, zero]), vectors, middles)


def turned(of: Tridiagonal, B: Float[Array, "n c"]) -> Float[Array, "n c"]:
    """Return QB."""
    count, _, size = of.vectors.shape
    length = max(1, -(-count // GROUPS))
    for first in reversed(range(0, count, length)):
        V, W = (a[first : first + length] for a in (of.vectors, of.middles))
        above, rows = B[: first * size], B[first * size :]
        rows = _reflected(V[:, first * size :], W, rows, reverse=True)
        B = jnp.concatenate([above, rows])
    return B


def turned_back(of: Tridiagonal, B: Float[Array, "n c"]) -> Float[Array, "n c"]:
    """Return QᵀB."""
    return _reflected(of.vectors, of.middles.swapaxes(1, 2), B)


def _reflected(V: Array, W: Array, B: Array, reverse: bool = False) -> Array:
    """Return what blocks of reflections make of B, one after another."""

    def reflect(B: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        V, W = block
        return B - matmul(V, matmul(W, matmul(V.T, B))), None

    return jax.lax.scan(reflect, B, (V, W), reverse=reverse)[0]


def solved(
    of: Tridiagonal, lams: Float[Array, " L"], B: Float[Array, "n c"]
) -> Float[Array, "L n c"]:
    """Return (QTQᵀ + λ)⁻¹ B at every penalty."""
    right = turned_back(of, B)
    columns = jax.lax.map(lambda lam: solved_at(of, lam, right), lams)
    shape = len(B), len(lams), B.shape[1]
    side_by_side = columns.swapaxes(0, 1).reshape(len(B), -1)
    return turned(of, side_by_side).reshape(shape).swapaxes(0, 1)


def solved_at(
    of: Tridiagonal, lam: Float[Array, ""], B: Float[Array, "n c"]
) -> Float[Array, "n c"]:
    """Return (T + λ)⁻¹ B."""
    if len(of.diagonal) == 1:
        return B / (of.diagonal + lam)
    before = jnp.roll(of.beside, 1)
    return linalg.tridiagonal_solve(before, of.diagonal + lam, of.beside, B)


def condition(of: Tridiagonal, lam: Float[Array, ""]) -> Float[Array, ""]:
    """Return about the condition number of T + λ, infinity where that is singular.

    The largest eigenvalue is bounded by the sums of rows, at most thrice too large; the
    least comes from a few inverse power steps, a little too large.
    """
    rows = jnp.abs(of.diagonal) + jnp.abs(of.beside) + jnp.abs(jnp.roll(of.beside, 1))
    start = probes.normal(len(rows), 1, dtype=rows.dtype)
    start = start / jnp.linalg.norm(start)

    def step(v: Array, _: None) -> tuple[Array, Array]:
        image = solved_at(of, lam, v)
        size = jnp.linalg.norm(image)
        there = jnp.isfinite(size) & (size > 0)
        return jnp.where(there, image / size, v), jnp.where(there, size, jnp.inf)

    grown = jax.lax.scan(step, start, None, STEPS)[1]
    largest = jnp.max(rows) + lam
    return jnp.where(largest > 0, largest * jnp.max(grown), jnp.inf)
