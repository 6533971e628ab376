"""Whether another device than the CPU computes, and what fits there."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil

# Compute capabilities of GPUs that multiply float64 at half the rate of float32, or at
# the same, by NVIDIA's table of arithmetic throughput. Others are far slower.
FAST_DOUBLES = ("6.0", "7.0", "8.0", "9.0", "10.0")
SHARE = 2  # arrays larger than free memory over this stay in the CPU's


def is_used() -> bool:
    """Whether arrays are put, and computed with, elsewhere than on the CPU."""
    return jax.default_backend() != "cpu"


def holds(array: Any) -> bool:
    """Whether looking at an array from the CPU would copy it."""
    return isinstance(array, jax.Array) and is_used()


def is_too_large(array: np.ndarray) -> bool:
    """Whether an array in the CPU's memory is to stay there, for want of room."""
    return is_used() and array.nbytes > free_bytes(jax.devices()[0]) / SHARE


def free_bytes(device: jax.Device) -> int:
    """Return how much memory of a device is free."""
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return psutil.virtual_memory().available


def has_fast_doubles() -> bool:
    """Whether float64 products cost about what float32 ones do, and are to be had."""
    capability = getattr(jax.devices()[0], "compute_capability", "")
    return capability in FAST_DOUBLES and jnp.result_type(float) == jnp.float64


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error of XLA's says that a device has no memory left."""
    said = str(error).lower().replace("_", " ")
    # Of XLA's own memory, of CUDA's, and of its libraries'.
    return any(
        what in said for what in ("resource exhausted", "out of memory", "alloc failed")
    )
