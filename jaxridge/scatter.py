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

from jaxridge import accelerator
from jaxridge.data import Centre, Data, weighted_rows
from jaxridge.divisors import or_one
from jaxridge.folds import Held
from jaxridge.moments import Moments
from jaxridge.products import matmul, mirrored, plus_gram
from jaxridge.programs import compiled
from jaxridge.tiles import fold_blocks, summed_in, terms_at_once
from jaxridge.twofold import Twofold, zeros

S = TypeVar("S")


class How(NamedTuple):
    """How sets of rows are added up.

    `fast` gives up digits of products. `even` says that the sets are of nearly one
    length; of others, blocks that are all padding are skipped, at the cost of one wait
    of the CPU for a GPU each.
    """

    fast: bool = False
    even: bool = False


ALL_DIGITS = How()
TOGETHER = 64  # targets, so few that they are columns of one product with X
SOME = 1024  # rows, whose mean is near that of all


@partial(compiled, static_argnames="how")
def moments_of_sets(data: Data, sets: Held, how: How = ALL_DIGITS) -> Moments:
    """Return the moments of each set of rows."""
    if data.Y.shape[1] <= TOGETHER and not how.fast:
        return jax.lax.map(lambda one: _moments(data, one, how), sets)

    def of_set(one: Held) -> Moments:
        own = _moments(data._replace(Y=data.Y[:, :0]), one, how)
        y, xy, yy = _cross(data, one, own.weight, own.x, how)
        return Moments(own.weight, own.x, y, own.xx, xy, yy)

    return jax.lax.map(of_set, sets)


@partial(compiled, static_argnames="how")
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


def _moments(data: Data, rows: Held, how: How) -> Moments:
    """Return the moments of one set of rows, of columns and targets in one product.

    Rows are read once. About a point o near their means, √w (X − o, Y − o, 1) times
    itself holds Σ w dx dxᵀ and Σ w dx, which tells how far the means are from o, and
    what that has added. As o is the mean of rows that stand for all, that is little.
    """
    n, dtype = data.X.shape[1], summed_in(data.X.dtype, how.fast)
    near = Centre(*(a.astype(dtype) for a in _near(data, rows)))

    def add(sums: Twofold, some: Data) -> Twofold:
        wide = Data(*(a.astype(dtype) for a in some))  # of float32 no digit is lost
        ones = jnp.sqrt(wide.weight)[:, None]
        A = jnp.concatenate([*weighted_rows(wide, near), ones], axis=1)
        return plus_gram(sums, A, how.fast)

    columns = n + data.Y.shape[1] + 1
    start = zeros((columns, columns), dtype)
    sums = mirrored(_over_blocks(add, start, data, rows, dtype, how).value())
    total = jnp.sum(_weight(data, rows))
    counted = sums[-1, -1]  # the same, with the rounding of these sums
    away = sums[-1, :-1] / or_one(counted)
    scatter = sums[:-1, :-1] - counted * jnp.outer(away, away)
    x = jnp.where(total > 0, near.x + away[:n], 0)
    y = jnp.where(total > 0, near.y + away[n:], 0)
    yy = jnp.maximum(jnp.diagonal(scatter[n:, n:]), 0)
    found = Moments(total, x, y, scatter[:n, :n], scatter[:n, n:], yy)
    return jax.tree.map(lambda a: a.astype(data.X.dtype), found)


def _near(data: Data, rows: Held) -> Centre:
    """Return the mean of rows at equal steps of a set's weight, whatever their order.

    As differences from one that counts: a constant column is 0 about it, to the last
    bit.
    """
    weight = _weight(data, rows)
    until, first = jnp.cumsum(weight), jnp.argmax(weight > 0)
    count = min(SOME, len(weight))
    steps = until[-1] / count * (jnp.arange(count, dtype=until.dtype) + 0.5)
    # A search in steps is many kernels of a GPU, a look at all rows is one.
    method = "compare_all" if accelerator.is_used() else "scan"
    at = jnp.searchsorted(until, steps, method=method)
    at = jnp.where(weight[at] > 0, at, first)  # sums may go down by rounding
    origin, some = rows.rows[first], rows.rows[at]

    def mean(of: Array) -> Array:
        return of[origin] + jnp.mean(of[some] - of[origin], axis=0)

    return Centre(mean(data.X), mean(data.Y))


def _cross(
    data: Data, rows: Held, total: Array, x: Array, how: How
) -> tuple[Array, Array, Array]:
    """Return ȳ, Σ w dx dyᵀ and Σ w dy² of one set of rows."""
    n, t = data.X.shape[1], data.Y.shape[1]
    dtype = summed_in(data.X.dtype, how.fast)
    y = _mean(data, rows, total, how)
    centre = Centre(x.astype(dtype), y.astype(dtype))

    def add(sums: tuple[Twofold, Twofold], some: Data) -> tuple[Twofold, Twofold]:
        wide = Data(*(a.astype(dtype) for a in some))
        A, B = weighted_rows(wide, centre)
        xy, yy = sums
        return xy.plus(matmul(A.T, B, how.fast)), yy.plus(jnp.sum(B**2, axis=0))

    start = zeros((n, t), dtype), zeros((t,), dtype)
    xy, yy = _over_blocks(add, start, data, rows, dtype, how)
    return y, xy.value().astype(y.dtype), yy.value().astype(y.dtype)


def _mean(data: Data, rows: Held, total: Array, how: How) -> Float[Array, " t"]:
    """Return ȳ of one set, 0 without weight, as differences from a row that counts.

    See `data.weighted_mean` for what that is good for.
    """
    origin = data.Y[rows.rows[jnp.argmax(_weight(data, rows) > 0)]]
    targets, dtype = data._replace(X=data.X[:, :0]), summed_in(origin.dtype, how.fast)

    def add(sums: Twofold, some: Data) -> Twofold:
        weight, Y = some.weight.astype(dtype), some.Y.astype(dtype)
        return sums.plus(jnp.sum(weight[:, None] * (Y - origin), axis=0))

    start = zeros(origin.shape, dtype)
    sums = _over_blocks(add, start, targets, rows, dtype, how).value()
    mean = origin + sums / or_one(total)
    return jnp.where(total > 0, mean, 0).astype(origin.dtype)


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
    terms = terms_at_once(dtype, data.X.shape[1] + data.Y.shape[1], how.fast)
    # In their order, so that those that pad a set are blocks that can be skipped.
    return fold_blocks(take, start, _weight(data, rows), at, terms=terms, parts=1)


def _weight(data: Data, rows: Held) -> Float[Array, " h"]:
    return jnp.where(rows.counts, data.weight[rows.rows], 0)
