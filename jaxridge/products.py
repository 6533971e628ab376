"""Matrix products whose precision is named.

JAX multiplies float32 matrices in TF32 on recent GPUs unless told otherwise: ten bits
of mantissa where the caller believes in twenty-four. Every product of the package goes
through this file, which asks for the full precision of the operands.
"""

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
