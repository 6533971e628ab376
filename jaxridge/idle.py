"""Rows of weight 0: no answer may depend on what they hold."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxridge import checks


def blanked(array: Any, weight: Any) -> Any:
    """Return an array (m, …) with 0 for what rows of weight 0 hold.

    Such a row may hold what stands for a missing value, which can be large enough to
    hide all others. The array itself where no weight is 0, or weights are being traced:
    a derivative by a weight that is 0 does depend on its row.
    """
    if checks.is_traced(weight) or checks.ends(weight)[0] > 0:
        return array
    counts = (weight > 0).reshape(-1, *[1] * (array.ndim - 1))
    xp: Any = np if isinstance(array, np.ndarray) else jnp
    return xp.where(
        counts | ~xp.isfinite(array), array, 0
    )  # NaN is refused all the same
