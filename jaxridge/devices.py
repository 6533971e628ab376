"""How fast a device is, and how much of its memory an answer may take."""

from operator import mul
from typing import Any, NamedTuple

import jax

from jaxridge import accelerator, checks
from jaxridge.tiles import TILE

SHARE = 4  # the part of the free memory that is the default budget: one in so many
LEAST_BUDGET = 2**26


class Work(NamedTuple):
    """How much of each kind is to be done; or what one of each takes, in seconds.

    An eigendecomposition of n × n is n steps, n² and n³ of its own operations.
    """

    start: float = 0  # an answer: checks, and programs that are called
    calls: float = 0  # steps of compiled loops
    folds: float = 0  # sums taken, systems set up, scores begun
    product: float = 0  # FLOP, of matrices
    symmetric: float = 0  # the same of XᵀX, counted as a product
    cholesky: float = 0  # FLOP, of factors
    eigh_step: float = 0
    eigh_square: float = 0
    eigh_cube: float = 0
    reduction: float = 0  # n³ of a tridiagonal form
    solves: float = 0  # rows of a tridiagonal solution
    bytes: float = 0  # read or written


def together(*parts: Work) -> Work:
    """Return the work of all parts."""
    return Work(*map(sum, zip(*parts, strict=True)))


def seconds_of(work: Work, each: Work) -> float:
    """Return what work takes where one of each kind takes so long."""
    return float(sum(map(mul, work, each)))


# On two cores, fitted to timings of every route (`python -m benchmarks.prices`).
EACH = {
    ("cpu", "float64"): Work(
        start=0.003,
        calls=1.9e-06,
        folds=0.00022,
        product=1.5e-11,
        symmetric=1.7e-11,
        cholesky=5.8e-11,
        eigh_step=0,
        eigh_square=7.5e-08,
        eigh_cube=1.7e-13,
        reduction=6.3e-11,
        solves=2.2e-08,
        bytes=4.1e-11,
    ),
    ("cpu", "float32"): Work(
        start=0.0025,
        calls=0,
        folds=0.00019,
        product=6.8e-12,
        symmetric=7.3e-12,
        cholesky=3e-11,
        eigh_step=0,
        eigh_square=5.7e-08,
        eigh_cube=4.6e-12,
        reduction=3.4e-11,
        solves=1.6e-08,
        bytes=5.8e-11,
    ),
    # On an H100, guessed from timings of single calls of its libraries.
    ("gpu", "float64"): Work(
        start=1e-3,
        calls=2e-5,
        folds=1e-4,
        product=1 / 55e12,
        symmetric=1 / 70e12,
        cholesky=1 / 8e12,
        eigh_step=1.08e-5,
        eigh_square=0,
        eigh_cube=1.2e-12,
        reduction=1.2e-12,
        solves=1e-8,
        bytes=1 / 2.5e12,
    ),
    ("gpu", "float32"): Work(
        start=1e-3,
        calls=2e-5,
        folds=1e-4,
        product=1 / 50e12,
        symmetric=1 / 70e12,
        cholesky=1 / 8e12,
        eigh_step=1.08e-5,
        eigh_square=0,
        eigh_cube=8.7e-13,
        reduction=8.7e-13,
        solves=1e-8,
        bytes=1 / 2.5e12,
    ),
}


class Device(NamedTuple):
    """What one of each kind of work takes, and the numbers to work on at a time."""

    each: Work
    tile: int


def device_like(where: str, kind: str) -> Device:
    """Return what is known of a platform, in a dtype."""
    name = "cpu" if where == "cpu" else "gpu"
    return Device(EACH[name, kind], TILE[name])


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
    return device.platform, accelerator.free_bytes(device)


def share_of(free: int) -> int:
    """Return the default budget, a power of two, so that it seldom changes."""
    return max(LEAST_BUDGET, 2 ** (int(free // SHARE).bit_length() - 1))
