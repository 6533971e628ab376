"""Sums of many terms in twice the digits: a number, and what rounding took from it.

The error of a float32 sum grows with the number of its terms. The error of *one*
addition is itself a float32 number, known exactly (Knuth 1969, section 4.2.2); kept and
added up apart, it gives the sum of however many terms as if in twice the digits. A
float64 sum has digits to spare, and is added up plainly.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Twofold(NamedTuple):
    """The unevaluated sum of `high` and a much smaller `low`."""

    high: Float[Array, "*shape"]
    low: Float[Array, "*shape"] | None  # of float64 none is kept

    def plus(self, term: Float[Array, "*shape"]) -> "Twofold":
        """Return the sum with one more term."""
        high = self.high + term
        if self.low is None:
            return Twofold(high, None)
        part = high - self.high
        lost = (self.high - (high - part)) + (term - part)
        return Twofold(high, self.low + lost)

    def value(self) -> Float[Array, "*shape"]:
        """Return the sum, rounded once."""
        return self.high if self.low is None else self.high + self.low


def zeros(shape: tuple[int, ...], dtype: Any) -> Twofold:
    """Return a sum of no terms."""
    none = jnp.zeros(shape, dtype)
    return Twofold(none, None if dtype == jnp.float64 else none)
