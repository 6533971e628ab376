"""Singular values of columns that differ in size, small ones as exact as large."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxridge.products import matmul


def graded_svd(
    A: Float[Array, "m n"], rounding: float | None = None, noise: float = 0.0
) -> tuple[Float[Array, "m r"], Float[Array, " r"], Float[Array, "n r"]]:
    """Return U, S and V, small values as exact as large ones, 0 where they are noise.

    Columns in units of their own make A = CD with D diagonal and C harmless. A usual
    SVD errs by eps times the largest column, in which a small one drowns. Sorted by
    size, and reduced to a triangle from the right and from the left, A grows smaller
    downwards and the QR iteration keeps the digits of every value (Drmač and Veselić
    2008 prove it of Jacobi's, which starts in this way).

    A value is noise where Av cancels: at the rounding of its terms, maxⱼ |vⱼ|‖aⱼ‖, as
    often as A has rows or columns; or, in units of eps, at the `noise` of making A.
    """
    sizes = jnp.linalg.norm(A, axis=0)
    order = jnp.argsort(-sizes)
    first, R = jnp.linalg.qr(A[:, order])
    second, R = jnp.linalg.qr(R.T)
    third, R = jnp.linalg.qr(R.T)
    by_steps = jax.lax.linalg.SvdAlgorithm.QR
    left, s, right = jax.lax.linalg.svd(R, full_matrices=False, algorithm=by_steps)
    left = matmul(first, matmul(third, left))
    right = matmul(second, right.T)[jnp.argsort(order)]
    eps, size = float(jnp.finfo(s.dtype).eps), max(A.shape)
    terms = jnp.max(jnp.abs(right) * sizes[:, None], axis=0)
    least = max(size, noise) * eps * terms
    if rounding is not None:
        if not noise:  # A row that u has no part in, huge as it may be, rounds no s.
            rounded = matmul(jnp.abs(A), jnp.abs(right))
            terms = jnp.minimum(terms, jnp.sum(jnp.abs(left) * rounded, axis=0))
        least = jnp.maximum(least, size * rounding * terms)
    return left, jnp.where(s > least, s, 0), right
