"""Derivatives that would be wrong or NaN: refused, naming those that are right."""

from functools import partial
from typing import Any, TypeVar

import jax

T = TypeVar("T")
OF_DESCENT = (
    "a descent has no derivative: it ends where it stops, not at the exact minimum. "
    "Differentiate `solve`, the minimum itself"
)
OF_AXES = (
    "there is no derivative with respect to the data here: the axes of the rows jump "
    "where two of their singular values are equal. Differentiate with respect to the "
    "penalties, or `solve` with respect to anything"
)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def without_derivative(values: T, message: str) -> T:
    """Return `values`, whose derivative raises a `TypeError` with this message."""
    return values


@without_derivative.defjvp
def _refuse(message: str, primals: Any, tangents: Any) -> Any:
    raise TypeError(message)
