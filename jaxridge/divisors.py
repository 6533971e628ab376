"""What is divided by: a number above 0, or what stands in its place.

Where a size may be 0, as that of a constant column or a row that does not count, the
quotient is chosen afterwards; but XLA computes both sides of a choice, and the
derivative of the one not taken must be a number too. So the divisor is chosen first.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def or_one(size: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return sizes above 0, and 1 for all others."""
    return jnp.where(size > 0, size, 1)


def inverse(size: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return 1/size, and 0 where that is not above 0."""
    return jnp.where(size > 0, 1 / or_one(size), 0)
