"""Rows drawn in proportion to their weights, for the steps of mini-batch descents."""

from math import isqrt

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cumulative(weight: Float[Array, " m"]) -> Float[Array, "b w"]:
    """Return cumulative weights of blocks of rows, of about as many as a block has.

    Of all rows together, millions of float32 weights would not add up. Nor do they rise
    at weight 0, by rounding or else.
    """
    m = weight.shape[0]
    width = max(1, isqrt(m))
    blocks = jnp.pad(weight, (0, -m % width)).reshape(-1, width)
    sums = jnp.where(blocks > 0, jnp.cumsum(blocks, axis=1), 0)
    return jax.lax.cummax(sums, axis=1)


def draw(key: Array, until: Float[Array, "b w"], size: int) -> Int[Array, " size"]:
    """Draw rows in proportion to their weights, with replacement: a block, then a row.

    A float32 between 0 and 1 is one of few millions, of which no row may be too many.
    """
    of_block, of_row = jax.random.split(key)
    width, totals = until.shape[1], jnp.cumsum(until[:, -1])
    at = _below(totals[-1], jax.random.uniform(of_block, (size,), until.dtype))
    block = jnp.searchsorted(totals, at, side="right")
    at = _below(until[block, -1], jax.random.uniform(of_row, (size,), until.dtype))
    row = jnp.zeros(size, jnp.int32)
    for step in (2**k for k in reversed(range(width.bit_length()))):
        # The first of the block whose sum is above: as many are not.
        further = jnp.minimum(row + step, width)
        row = jnp.where(until[block, further - 1] <= at, further, row)
    return block * width + row


def _below(total: Array, share: Array) -> Array:
    """Return a share of a total, and no more than just below it."""
    return jnp.minimum(share * total, jnp.nextafter(total, jnp.zeros_like(total)))
