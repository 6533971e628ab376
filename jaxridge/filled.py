"""Moments of columns that miss values, once filled and scaled as training rows say.

A value that is missing becomes the mean of those that are there, which sums must know
before it is known. So a column x that misses some is added up as two: x about an offset
with 0 in its holes, and h, which is 1 there. The column filled with a mean μ (about the
offset) is then x + μ h: linear in what was added up, whatever μ. With T the matrix that
takes both to the filled and scaled columns, x̄ becomes Tᵀx̄, and scatters TᵀSxx T and
TᵀSxy. So one pass over rows serves every fold, each with the means of its own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge.columns import Columns, Learner, imputed, scaled, standardized
from jaxridge.divisors import or_one
from jaxridge.moments import Moments
from jaxridge.products import matmul

# From training moments and others, to both as prepared by what the training ones say.
Filling = Callable[[Moments, Moments], tuple[Moments, Moments]]


class Holed(NamedTuple):
    """How columns were added up: about what, and which of them have holes.

    The last columns of the moments are h of those in `holes`.
    """

    offset: Any  # (n,)
    holes: Any  # (h,)


def _both(training: Moments, others: Moments) -> tuple[Moments, Moments]:
    return training, others


UNTOUCHED: Any = jax.tree_util.Partial(_both)  # prepares nothing


def filling(holed: Holed, learner: Learner) -> Any:
    """Return the `Filling` that does to sums what `learner` does to rows."""
    return jax.tree_util.Partial(_FILLINGS[learner], holed)


def _filled_both(
    learner: Learner, holed: Holed, training: Moments, others: Moments
) -> tuple[Moments, Moments]:
    columns = columns_of(training, holed, learner)
    return filled(training, holed, columns), filled(others, holed, columns)


# One function for each, so that what is compiled for it is found again.
_FILLINGS: dict[Any, Any] = {
    learner: partial(_filled_both, learner)
    for learner in (imputed, scaled, standardized)
}


def columns_of(sums: Moments, holed: Holed, learner: Learner) -> Columns:
    """Return what a learner of `columns` finds in the rows of one set of moments."""
    n = len(holed.offset)
    fill = holed.offset + sums.x[:n].at[holed.holes].set(_means(sums, holed))
    none, one = jnp.zeros(n, fill.dtype), jnp.ones(n, fill.dtype)
    if learner is imputed:
        return Columns(fill, none, one)
    about = filled(sums, holed, Columns(fill, fill, one))
    square = jnp.diagonal(about.xx)
    deviation = jnp.sqrt(jnp.maximum(square, 0) / sums.weight)
    if learner is scaled:
        deviation, origin = jnp.hypot(deviation, fill), none
    else:
        origin = fill
    return Columns(fill, origin, or_one(deviation))


def filled(sums: Moments, holed: Holed, columns: Columns) -> Moments:
    """Return the moments of columns as prepared."""
    n = len(holed.offset)
    means = (columns.fill - holed.offset)[holed.holes]
    T = jnp.eye(n, dtype=means.dtype)
    T = jnp.concatenate([T, T[holed.holes] * means[:, None]]) / columns.scale
    shift = (holed.offset - columns.origin) / columns.scale
    return Moments(
        sums.weight,
        matmul(sums.x, T) + shift,
        sums.y,
        matmul(T.T, matmul(sums.xx, T)),
        matmul(T.T, sums.xy),
        sums.yy,
    )


def widened(parts: Moments, count: int) -> Moments:
    """Return moments of folds with more columns last, 0 in every row so far."""
    more = ((0, 0), (0, count))
    x, xx, xy = (
        np.pad(parts.x, more),
        np.pad(parts.xx, (*more, (0, count))),
        np.pad(parts.xy, (*more, (0, 0))),
    )
    made: tuple[Any, ...] = parts.weight, x, parts.y, xx, xy, parts.yy
    return Moments(*made)


def _means(sums: Moments, holed: Holed) -> Float[Array, " h"]:
    """Return the means, about the offset, of what is there in columns with holes.

    Where nothing is there the mean is 0, as it is of rows.
    """
    there = 1 - sums.x[len(holed.offset) :]
    means = sums.x[holed.holes] / or_one(there)
    return jnp.where(there > 0, means, -holed.offset[holed.holes])
