"""How large a matrix and its inverse are, by power steps: to a small factor.

A few products with a vector tell that, O(n²) each, where eigenvalues take O(n³).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float

from jaxridge import probes
from jaxridge.divisors import or_one
from jaxridge.products import matmul

STEPS = 8


def grown(
    product: Callable[[Array], Array], like: Float[Array, "n n"]
) -> Float[Array, ""]:
    """Return about the largest eigenvalue of a symmetric matrix, by its products."""
    # In a `shard_map` with a matrix on each device, each has a vector of its own.
    start = probes.normal(len(like), dtype=like.dtype) + jnp.zeros_like(like[0])

    def step(_: Array, v: Array) -> Array:
        size = _norm(v)
        return product(v / or_one(size))

    return _norm(jax.lax.fori_loop(0, STEPS, step, start))


def _norm(v: Float[Array, " n"]) -> Float[Array, ""]:
    """Return ‖v‖, of numbers whose squares may leave the range."""
    size = jnp.max(jnp.abs(v))
    unit = or_one(size)
    return unit * jnp.linalg.norm(v / unit)


def condition_of(factor: Float[Array, "n n"]) -> Float[Array, ""]:
    """Return about the condition number of a matrix, from its Cholesky factor.

    Twice what power steps tell, which is below it by a small factor. That of a failed
    factor is NaN.
    """
    largest = grown(lambda v: matmul(factor, matmul(v, factor)), factor)
    return 2 * largest * grown(lambda v: cho_solve((factor, True), v), factor)
