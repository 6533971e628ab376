"""Products of rows with each other, K = (X − x̄)(X − x̄)ᵀ: all that n > m columns tell.

Whatever is weighted, left out or factorised then is m × m, and coefficients are
combinations of the rows.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import dynamic_slice_in_dim
from jaxtyping import Array, Float

from jaxridge import accelerator
from jaxridge.data import weighted_mean
from jaxridge.placement import room
from jaxridge.products import mirrored, plus_gram
from jaxridge.programs import compiled
from jaxridge.sums import mean_of
from jaxridge.tiles import fold_blocks, summed_in, terms_at_once
from jaxridge.twofold import Twofold, zeros


class Inner(NamedTuple):
    """Rows about their mean, or about 0 without an intercept, and their products."""

    x: Float[Array, " n"]
    rows: Float[Array, "m n"]
    products: Float[Array, "m m"]


def inner_of(
    X: Float[Array | np.ndarray, "m n"],
    weight: Float[Array, " m"],
    fit_intercept: bool,
    fast: bool = False,
) -> Inner:
    """Multiply the rows, on a CPU by NumPy, whose BLAS makes half of K."""
    if accelerator.is_used():
        x, rows = _about_mean(X, weight, fit_intercept)
        return Inner(x, rows, products_of_rows(rows, fast))
    return _by_numpy(np.asarray(X), np.asarray(weight), fit_intercept)


def _by_numpy(X: np.ndarray, weight: np.ndarray, fit_intercept: bool) -> Inner:
    x = mean_of(X, weight) if fit_intercept else np.zeros_like(X[0])
    rows = np.subtract(X, x, out=room(X.shape, X.dtype))
    return Inner(*map(jax.device_put, (x, rows, rows @ rows.T)))


@partial(compiled, static_argnums=2)
def _about_mean(
    X: Float[Array, "m n"], weight: Float[Array, " m"], fit_intercept: bool
) -> tuple[Array, Array]:
    x = weighted_mean(X, weight) if fit_intercept else jnp.zeros_like(X[0])
    return x, X - x


@partial(compiled, static_argnames="fast")
def products_of_rows(
    rows: Float[Array, "m n"], fast: bool = False
) -> Float[Array, "m m"]:
    """Multiply rows on a GPU, a block of columns at a time."""
    dtype, (m, n) = summed_in(rows.dtype, fast), rows.shape
    width = min(n, terms_at_once(dtype, m, fast))

    def add(sums: Twofold, counts: Array, at: Array) -> Twofold:
        some = dynamic_slice_in_dim(rows, at[0, 0], len(at), 1) * counts
        return plus_gram(sums, some.T.astype(dtype), fast)

    every = jnp.arange(n)[:, None]
    ones, start = jnp.ones(n, rows.dtype), zeros((m, m), dtype)
    K = fold_blocks(add, start, ones, every, terms=width, parts=1).value()
    return mirrored(K.astype(rows.dtype))
