"""Arrays where XLA computes."""

from math import prod
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

    XLA copies memory that is not aligned, into small pages that are new and take far
    longer to write than the huge ones that NumPy asks for. So NumPy copies, to where
    XLA takes it as it is.
    """
    if isinstance(array, jax.Array):
        return array
    if not isinstance(array, np.ndarray | np.generic):
        return jnp.asarray(array)
    if array.nbytes < LARGE or accelerator.is_used():
        return jax.device_put(array)  # unlike `asarray`, without a program compiled
    copy = room(array.shape, array.dtype)
    np.copyto(copy, array)
    return jax.device_put(copy)


def room(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array to be written to, which XLA on a CPU takes without a copy."""
    size = prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNED, np.uint8)
    start = -memory.ctypes.data % ALIGNED
    return memory[start : start + size].view(dtype).reshape(shape)
