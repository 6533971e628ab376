"""Numbers that look random, to multiply matrices with: they tell of every direction."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def normal(*shape: int, dtype: Any) -> Array:
    """Return normal numbers, the same in every call.

    Random signs would not do: (1, ±1, 0, …) is at a right angle to half of them. To a
    program they are constants, as a generator takes longer to compile than to run.
    """
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), dtype)


def signs(count: int, dtype: Any) -> Array:
    """Return signs, the same in every call, to add columns up with."""
    return jnp.asarray(np.random.default_rng(0).choice((-1.0, 1.0), count), dtype)
