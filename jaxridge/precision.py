"""When products of the data have kept the digits that are asked for, and when not.

AᵀA has the condition number of A squared: what is computed from it loses a share
eps · cond(AᵀA + λ) of its digits. Where that is too much, float32 data are computed in
float64; and float64 data, by the singular values of A itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxridge import checks
from jaxridge.data import Data

# The share of an answer that may be lost.
LOSS = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-4}
# The share that may be lost where nothing can be done about it but to say so.
BEARABLE = {np.dtype(np.float64): 1e-6, np.dtype(np.float32): 1e-2}
# The share of which the user is told.
TOLD = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 1e-3}
# Residuals smaller than this, as a part of the targets, are differences of two nearly
# equal float32 numbers with too few digits left.
LEAST_RESIDUAL = 1e-2

# The rounding of the operands of a GPU's fast products, TF32, and the share of an
# answer that may be lost to it at worst; at random it is a small part of that.
FAST_ROUNDING, FAST_LOSS = 2.0**-11, 0.5
# The rounding of float32 numbers, which they keep when computed with in float64.
SINGLE = float(np.finfo(np.float32).eps)

R = TypeVar("R")


class LostDigits(UserWarning):
    """Told where an answer has fewer digits than its dtype promises."""


# Whether it is raised, in this thread, by those who can do without the answer.
_raised: ContextVar[bool] = ContextVar("raised", default=False)


@contextmanager
def lost_digits_raised() -> Iterator[None]:
    """Raise `LostDigits` within, instead of a warning."""
    before = _raised.set(True)
    try:
        yield
    finally:
        _raised.reset(before)


def is_kept(condition: Any, dtype: Any, fast: bool = False) -> bool:
    """Whether AᵀA at this condition number keeps the digits of `dtype`.

    Of those that a `fast` product has, what a user has agreed to lose.
    """
    worst = float(np.asarray(condition).max())
    if fast:
        return worst * FAST_ROUNDING < FAST_LOSS
    return bool(keeps(worst, dtype))


def keeps(condition: Any, dtype: Any) -> Any:
    """Return whether it does, of a condition number that may be traced."""
    return condition * float(jnp.finfo(dtype).eps) < LOSS[np.dtype(dtype)]


def is_lost(left: Any, dtype: Any) -> bool:
    """Whether residuals, as a part of the targets' square, have too few digits."""
    return dtype == jnp.float32 and float(np.asarray(left).min()) < LEAST_RESIDUAL**2


def sums_keep(left: Any, dtype: Any) -> bool:
    """Whether errors θᵀGθ − 2θᵀC + Σy² kept their digits; `left` as in `is_lost`."""
    least = max(float(np.asarray(left).min()), 1e-300)
    return float(jnp.finfo(dtype).eps) / least < LOSS[np.dtype(dtype)] / 10


def warn_if_lost(condition: Any, left: Any, dtype: Any) -> None:
    """Warn of digits that sums have lost, and that only the rows could bring back."""
    if checks.any_traced(condition, left):
        return
    worst = max(
        float(np.asarray(condition).max()),
        1 / max(float(np.asarray(left).min()), 1e-300),
    )
    lost = worst * float(jnp.finfo(dtype).eps)
    if lost > TOLD[np.dtype(dtype)]:
        told = LostDigits(
            "sums of products are not precise enough here: a relative "
            f"{min(lost, 1):.0e} of the answer may be rounding; pass dense rows, "
            "float64 moments, or larger penalties"
        )
        if _raised.get():
            raise told
        checks.warn(told)


def by_cheapest(
    cheap: Callable[[], R | None],
    wide: Callable[[Data, Any], R],
    sure: Callable[[], R],
    data: Data,
    lams: Any,
) -> R:
    """Return the first answer that keeps the digits of known data.

    They are: `cheap`, which returns None where digits are lost; for float32 data,
    `wide` of the same in float64; and `sure`.
    """
    found = cheap()
    if found is not None:
        return found
    if data.X.dtype == jnp.float32 and not checks.is_traced(lams):
        return in_float64(wide, data, lams)
    return sure()


def in_float64(function: Callable[[Data, Any], R], data: Data, lams: Any) -> R:
    """Call `function` with the data in float64, and return float32 as it came."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: a.astype(jnp.float64), (data, lams))
        found = function(*wide)
        return jax.tree.map(
            lambda a: a.astype(jnp.float32) if a.dtype == jnp.float64 else a, found
        )
