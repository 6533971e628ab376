"""Matrix products whose precision is named.

JAX multiplies float32 matrices in TF32 on recent GPUs unless told otherwise: ten bits
of mantissa where the caller believes in twenty-four. Every product of the package goes
through this file, which asks for the full precision of the operands.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

PRECISION = jax.lax.Precision.HIGHEST


def matmul(
    a: Float[Array | np.ndarray, "..."], b: Float[Array | np.ndarray, "..."]
) -> Float[Array, "..."]:
    """Return `a @ b` at the full precision of the operands' dtype."""
    return jnp.matmul(a, b, precision=PRECISION)


@jax.custom_vjp
def matmul_for_descent(
    X: Float[Array, "m n"], coef: Float[Array, "n t"]
) -> Float[Array, "m t"]:
    """Return `X @ coef`, with a derivative by coef that a sweep gets cheaply.

    The derivative of X @ coef takes e to Xᵀe, which autodiff multiplies as (eᵀX)ᵀ. For
    one vector that is right, as a CPU reads X row by row; but for the vectors of all
    penalties together it makes XLA transpose e, m × L numbers, at each step. X counts
    as constant, and reverse mode comes first: grad, then jvp if need be.
    """
    return matmul(X, coef)


def _kept(X: Array, coef: Array) -> tuple[Array, Array]:
    return matmul(X, coef), X


def _pulled_back(X: Array, e: Array) -> tuple[None, Array]:
    return None, _transposed_product(X, e)


matmul_for_descent.defvjp(_kept, _pulled_back)


@jax.custom_batching.custom_vmap
def _one_or_many(X: Array, e: Array) -> Array:
    return matmul(e.T, X).T


@_one_or_many.def_vmap
def _many(size: int, batched: list[bool], X: Array, e: Array) -> tuple[Array, bool]:
    mapped = [0 if b else None for b in batched]
    return jax.vmap(lambda X, e: matmul(X.T, e), mapped)(X, e), True


@jax.custom_jvp
def _transposed_product(X: Float[Array, "m n"], e: Float[Array, "m t"]) -> Array:
    return _one_or_many(X, e)


@_transposed_product.defjvp
def _transposed_product_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (X, e), (dX, de) = primals, tangents
    change = _transposed_product(X, de) + _transposed_product(dX, e)
    return _transposed_product(X, e), change
