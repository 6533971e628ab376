"""Moments of sets of rows where XLA computes: scatter about means, in blocks of rows.

Rows are read where they lie, a block of them at a time; no centred copy of them is
made. Each block is multiplied at once and blocks are added up in twice the digits, for
a GPU's float32 sums of products drift with their length. Where a device multiplies
float64 as fast, blocks are float64 and larger.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxridge.data import Centre, Data, weighted_rows
from jaxridge.folds import Held
from jaxridge.moments import Moments
from jaxridge.products import matmul, mirrored, plus_gram
from jaxridge.tiles import fold, summed_in, terms_at_once
from jaxridge.twofold import Twofold, zeros

S = TypeVar("S")


class How(NamedTuple):
    """How sets of rows are added up.

    `fast` gives up digits of products. `even` sets are of nearly one length: in others
    blocks of rows that only pad are looked for and skipped, for which the CPU has to
    wait for a number of a GPU's.
    """

    fast: bool = False
    even: bool = False


ALL_DIGITS = How()


@partial(jax.jit, static_argnames="how")
def moments_of_sets(data: Data, sets: Held, how: How = ALL_DIGITS) -> Moments:
    """Return the moments of each set of rows."""

    def of_set(one: Held) -> Moments:
        total, x, xx = _design(data, one, how)
        y, xy, yy = _cross(data, one, total, x, how)
        return Moments(total, x, y, xx, xy, yy)

    return jax.lax.map(of_set, sets)


@partial(jax.jit, static_argnames="how")
def cross_of_sets(
    data: Data,
    sets: Held,
    total: Float[Array, " k"],
    x: Float[Array, "k n"],
    how: How = ALL_DIGITS,
) -> tuple[Array, Array, Array]:
    """Return y, xy and yy of sets of rows whose weight and means x are known."""

    def of_set(one: tuple[Held, Array, Array]) -> tuple[Array, Array, Array]:
        rows, weight, mean = one
        return _cross(data, rows, weight, mean, how)

    return jax.lax.map(of_set, (sets, total, x))


def _design(data: Data, rows: Held, how: How) -> tuple[Array, Array, Array]:
    """Return Σw, x̄ and Σ w dx dxᵀ of one set of rows."""
    n, dtype = data.X.shape[1], summed_in(data.X.dtype, how.fast)
    total = jnp.sum(_weight(data, rows))
    x = _mean(data.X, data, rows, total, how)
    about = Centre(x, jnp.zeros_like(data.Y[0]))

    def add(sums: Twofold, some: Data) -> Twofold:
        A, _ = weighted_rows(some, about)
        return plus_gram(sums, A.astype(dtype), how.fast)

    xx = _over_blocks(add, zeros((n, n), dtype), data, rows, dtype, how)
    return total, x, mirrored(xx.value().astype(x.dtype))


def _cross(
    data: Data, rows: Held, total: Array, x: Array, how: How
) -> tuple[Array, Array, Array]:
    """Return ȳ, Σ w dx dyᵀ and Σ w dy² of one set of rows."""
    n, t = data.X.shape[1], data.Y.shape[1]
    dtype = summed_in(data.X.dtype, how.fast)
    y = _mean(data.Y, data, rows, total, how)

    def add(sums: tuple[Twofold, Twofold], some: Data) -> tuple[Twofold, Twofold]:
        A, B = (a.astype(dtype) for a in weighted_rows(some, Centre(x, y)))
        xy, yy = sums
        return xy.plus(matmul(A.T, B, how.fast)), yy.plus(jnp.sum(B**2, axis=0))

    start = zeros((n, t), dtype), zeros((t,), dtype)
    xy, yy = _over_blocks(add, start, data, rows, dtype, how)
    return y, xy.value().astype(y.dtype), yy.value().astype(y.dtype)


def _mean(
    of: Float[Array, "m c"], data: Data, rows: Held, total: Array, how: How
) -> Float[Array, " c"]:
    """Return Σ w a / Σ w, 0 without weight, as differences from a row that counts.

    See `data.weighted_mean` for what that is good for.
    """
    origin = of[rows.rows[jnp.argmax(_weight(data, rows) > 0)]]
    columns = data._replace(X=of, Y=of[:, :0])
    dtype = summed_in(of.dtype, how.fast)

    def add(sums: Twofold, some: Data) -> Twofold:
        away = some.weight[:, None] * (some.X - origin)
        return sums.plus(jnp.sum(away.astype(dtype), axis=0))

    start = zeros(origin.shape, dtype)
    sums = _over_blocks(add, start, columns, rows, dtype, how).value()
    mean = origin + sums.astype(of.dtype) / jnp.where(total > 0, total, 1)
    return jnp.where(total > 0, mean, 0)


def _over_blocks(
    step: Callable[[S, Data], S],
    start: S,
    data: Data,
    rows: Held,
    dtype: Any,
    how: How,
) -> S:
    """Return the state after a step with each block of a set's rows that count.

    Blocks are as long as sums in this dtype may be.
    """

    def take(state: S, weight: Array, at: Array) -> S:
        def step_there(state: S) -> S:
            i = at[:, 0]
            return step(state, Data(data.X[i], data.Y[i], weight))

        if how.even:
            return step_there(state)
        return jax.lax.cond(jnp.any(weight > 0), step_there, lambda s: s, state)

    at = rows.rows[:, None]
    least = terms_at_once(dtype, data.X.shape[1] + data.Y.shape[1], how.fast)
    # In their order, so that those that pad a set are blocks that can be skipped.
    order = {"least": least, "at_once": 0, "parts": 1}
    return fold(take, start, _weight(data, rows), at, **order)


def _weight(data: Data, rows: Held) -> Float[Array, " h"]:
    return jnp.where(rows.counts, data.weight[rows.rows], 0)
