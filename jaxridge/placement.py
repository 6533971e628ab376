"""Arrays where XLA computes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxridge import accelerator

ALIGNED = 64  # bytes: where XLA takes memory as it is
LARGE = 2**20


def placed(array: Any) -> Array:
    """Return an array as XLA's, a large one of NumPy's by one fast copy.

    XLA copies memory that is not aligned, into small pages that are new and take some
    six times as long to write as the huge ones that NumPy asks for. So NumPy copies,
    to where XLA takes it as it is.
    """
    if isinstance(array, jax.Array):
        return array
    if not isinstance(array, np.ndarray):
        return jnp.asarray(array)
    if array.nbytes < LARGE or accelerator.is_used():
        return jax.device_put(array)  # unlike `asarray`, without a program compiled
    memory = np.empty(array.nbytes + ALIGNED, np.uint8)
    start = -memory.ctypes.data % ALIGNED
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    np.copyto(copy, array)
    return jax.device_put(copy)
