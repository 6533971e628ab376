"""How fast a device is, and how much of its memory an answer may take."""

from typing import Any, NamedTuple

import jax
import psutil

from jaxridge import checks

SHARE = 4  # the part of the free memory that is the default budget: one in so many
LEAST_BUDGET = 2**26


class Rates(NamedTuple):
    """How fast a device is, in FLOP/s; an eigendecomposition takes a·n² + b·n³ s."""

    product: float
    symmetric: float  # XᵀX, counted as a product
    cholesky: float
    eigh: tuple[float, float]
    bandwidth: float  # bytes/s
    call: float  # s, for each step of a compiled loop


# Two cores of an AMD EPYC (benchmarks/records), and an H100 in prototypes.
RATES = {
    ("cpu", "float64"): Rates(80e9, 150e9, 36e9, (4.5e-8, 5.9e-11), 8e9, 1e-5),
    ("cpu", "float32"): Rates(165e9, 270e9, 58e9, (4.0e-8, 2.4e-11), 8e9, 1e-5),
    ("gpu", "float64"): Rates(55e12, 70e12, 8e12, (5e-9, 9.5e-13), 2e12, 1e-5),
    ("gpu", "float32"): Rates(50e12, 70e12, 8e12, (5e-9, 8.0e-13), 2e12, 1e-5),
}


def rates_of(where: str, kind: str) -> Rates:
    """Return the rates of a platform at a dtype."""
    return RATES["cpu" if where == "cpu" else "gpu", kind]


def place(device: Any) -> tuple[str, int]:
    """Return the platform of a device, and its free bytes."""
    if isinstance(device, str):
        checks.one_of("device", device, ("cpu", "gpu"))
        here = jax.devices()[0]
        device = here if here.platform == device else device
    elif device is None:
        device = jax.devices()[0]
    if not isinstance(device, str | jax.Device):
        raise TypeError(f"`device` must be a device or its name, got {device!r}")
    if isinstance(device, str):  # a device that is not here: as much as an H100 has
        return device, 80 * 2**30
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return device.platform, stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return device.platform, psutil.virtual_memory().available


def share_of(free: int) -> int:
    """Return the default budget, a power of two, so that it seldom changes."""
    return max(LEAST_BUDGET, 2 ** (int(free // SHARE).bit_length() - 1))
