"""Matrix products whose precision is named.

JAX multiplies float32 matrices in TF32 on recent GPUs unless told otherwise: ten bits
of mantissa where the caller believes in twenty-four. Products of the package go through
this file, which asks for the full precision of the operands, or name that themselves.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax.linalg import symmetric_product
from jaxtyping import Array, Float

from jaxridge import accelerator
from jaxridge.twofold import Twofold

PRECISION = jax.lax.Precision.HIGHEST
# What a user may ask for: all digits, or those that a GPU multiplies fastest.
FULL, FAST = "full", "fast"


def matmul(
    a: Float[Array | np.ndarray, "..."],
    b: Float[Array | np.ndarray, "..."],
    fast: bool = False,
) -> Float[Array, "..."]:
    """Return `a @ b` at the full precision of the operands' dtype, unless `fast`."""
    precision = jax.lax.Precision.DEFAULT if fast else PRECISION
    return jnp.matmul(a, b, precision=precision)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def lower_gram(
    A: Float[Array, "m n"], onto: Float[Array, "n n"], fast: bool = False
) -> Float[Array, "n n"]:
    """Return `A.T @ A` and what it is added onto, of which the lower half is known.

    A GPU's BLAS adds where it multiplies, so that a sum of many takes no more memory
    than one, and none is read twice. `fast` products are whole, and a routine less.
    """
    if fast:
        return matmul(A.T, A, fast) + onto
    across = row_by_row(A.T) if accelerator.is_used() else A.T
    return symmetric_product(across, onto, beta=1.0)


@lower_gram.defjvp
def _lower_gram_jvp(fast: bool, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (A, onto), (dA, more) = primals, tangents
    half = matmul(A.T, dA, fast)
    return lower_gram(A, onto, fast), half + half.T + more


def plus_gram(lower: Twofold, A: Float[Array, "m n"], fast: bool = False) -> Twofold:
    """Return a sum with one `A.T @ A` more, of which the lower half is known."""
    if lower.low is None:
        return lower._replace(high=lower_gram(A, lower.high, fast))
    return lower.plus(lower_gram(A, jnp.zeros_like(lower.high), fast))


def are_fast(precision: str, dtype: Any, on_gpu: bool) -> bool:
    """Return whether products are asked for in another precision than "full"."""
    return precision == FAST and dtype == "float32" and on_gpu


def power_of_2(size: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return the power of 2 next to each size, 1 for 0: to divide by it is exact.

    XLA's ``exp2`` of whole numbers is not.
    """
    limits = jnp.finfo(size.dtype)
    size = jnp.where(size > 0, jnp.clip(size, limits.tiny, limits.max / 4), 1)
    return jax.lax.stop_gradient(jax.lax.reduce_precision(size, limits.nexp, 0))


def row_by_row(a: Float[Array, "r c"]) -> Float[Array, "r c"]:
    """Return a matrix stored row by row, whatever layout its readers would prefer.

    XLA hands the layout that a product or factorisation prefers on to all that its
    operand is made of: it would copy all rows to spare a copy of some, or read rows
    column by column. A flat array behind a barrier has one layout only.
    """
    return jax.lax.optimization_barrier(a.reshape(-1)).reshape(a.shape)


def mirrored(lower: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Return the symmetric matrix of which this is the lower half."""
    whole = jnp.tril(lower) + jnp.tril(lower, -1).T
    return row_by_row(whole) if accelerator.is_used() else whole


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul_for_descent(
    X: Float[Array, "m n"], coef: Float[Array, "n t"], fast: bool = False
) -> Float[Array, "m t"]:
    """Return `X @ coef`, laid out for its derivative by coef, also in a sweep.

    The derivative takes e to Xᵀe, multiplied as (eᵀX)ᵀ, as a CPU reads X row by row.
    For all penalties together that wants the residuals of a penalty side by side, and
    so the predictions: (coefᵀXᵀ)ᵀ, or XLA transposes m × L numbers at each step. X
    counts as constant, and reverse mode comes first: grad, then jvp if need be.
    """
    return _product(X, coef, fast)


def _kept(X: Array, coef: Array, fast: bool) -> tuple[Array, Array]:
    return _product(X, coef, fast), X


def _pulled_back(fast: bool, X: Array, e: Array) -> tuple[None, Array]:
    return None, matmul(e.T, X, fast).T


matmul_for_descent.defvjp(_kept, _pulled_back)


def _for_one_or_many(fast: bool) -> Callable[[Array, Array], Array]:
    """Return a product that is laid out otherwise where it is mapped."""

    @jax.custom_batching.custom_vmap
    def for_one(X: Array, coef: Array) -> Array:
        return matmul(X, coef, fast)

    @for_one.def_vmap
    def for_many(
        size: int, batched: list[bool], X: Array, coef: Array
    ) -> tuple[Array, bool]:
        mapped = [0 if b else None for b in batched]
        return jax.vmap(lambda X, c: matmul(c.T, X.T, fast).T, mapped)(X, coef), True

    return for_one


_ONE_OR_MANY = {fast: _for_one_or_many(fast) for fast in (False, True)}


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _product(X: Float[Array, "m n"], coef: Float[Array, "n t"], fast: bool) -> Array:
    return _ONE_OR_MANY[fast](X, coef)


@_product.defjvp
def _product_jvp(fast: bool, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (X, coef), (dX, change) = primals, tangents
    along = _product(X, change, fast) + _product(dX, coef, fast)
    return _product(X, coef, fast), along
