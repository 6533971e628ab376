"""The mean of a loss over rows, and how sure it is: for each penalty and target.

Sets of rows, each with its mean and its scatter about that, join as `moments` do.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxridge.divisors import or_one
from jaxridge.programs import compiled


class Spread(NamedTuple):
    """Weighted mean and scatter of a loss over rows, and how many rows counted."""

    weight: Float[Array, ""]
    mean: Float[Array, "L t"]
    scatter: Float[Array, "L t"]
    rows: Float[Array, ""]


def standard_error_of_mean(spread: Spread) -> Float[Array, "L t"]:
    """Return std(ddof=1)/√rows of the losses, weighted as their mean is."""
    variance = spread.scatter / spread.weight / jnp.maximum(spread.rows - 1, 1)
    safe = or_one(variance)
    return jnp.where(variance > 0, jnp.sqrt(safe), 0)


@compiled
def mean_and_error(spread: Spread, square: Array | None) -> tuple[Array, Array]:
    """Return the mean loss, or R² where `square` is given, and its standard error.

    NaN, and 0, where `square` is 0.
    """
    mean, error = spread.mean, standard_error_of_mean(spread)
    if square is None:
        return mean, error
    there, safe = square > 0, or_one(square)
    return jnp.where(there, 1 - mean / safe, jnp.nan), jnp.where(there, error / safe, 0)


@compiled
def spread_of(weight: Float[Array, " m"], losses: Float[Array, "L m t"]) -> Spread:
    """Return the spread of losses over rows of these weights."""
    mean, scatter = jax.vmap(lambda one: scatter_of(weight, one))(losses)
    counted = jnp.sum(weight > 0).astype(weight.dtype)
    return Spread(jnp.sum(weight), mean, scatter, counted)


def scatter_of(
    weight: Float[Array, " m"], losses: Float[Array, "m t"]
) -> tuple[Float[Array, " t"], Float[Array, " t"]]:
    """Return the mean of losses over rows of these weights, and their scatter."""
    total, w = jnp.sum(weight), weight[:, None]
    losses = jnp.where(w > 0, losses, 0)
    mean = jnp.sum(w * losses, axis=0) / or_one(total)
    return mean, jnp.sum(w * (losses - mean) ** 2, axis=0)


@compiled
def joined(a: Spread, b: Spread) -> Spread:
    """Return the spread of two sets of rows together (Chan, Golub, LeVeque 1979)."""
    weight = a.weight + b.weight
    part = b.weight / or_one(weight)
    apart = b.mean - a.mean
    return Spread(
        weight,
        a.mean + part * apart,
        a.scatter + b.scatter + a.weight * part * apart**2,
        a.rows + b.rows,
    )
