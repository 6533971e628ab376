"""Rows read a tile at a time, so that what is made of them need not be stored.

XLA on a CPU writes (X − mean) · w out in full before it sums the columns. Working on
tiles of a few megabytes keeps such intermediates small, whatever the number of rows.
Where a device has no room for them either, they become smaller.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import gcd
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxridge import accelerator
from jaxridge.products import row_by_row

# Numbers to work on at a time: what a CPU's cache holds, and what fills a GPU.
TILE = {"cpu": 2**20, "gpu": 2**26}

# Rows as they are to be fitted, from rows as they are stored: an elementwise function.
View = Callable[[Float[Array, "m n"]], Float[Array, "m n"]]

R = TypeVar("R")
S = TypeVar("S")

SHORT = 2048  # terms, of which a float32 sum has not drifted
LONGER = 8  # times as many drift no further than fast products are rounded
BLOCK_BYTES = 2**27
EVEN = 16  # rows, of which a GPU's products take multiples
NARROW = 128  # targets, fewer of which make a product of matrices slow
PARTS = 8  # as many as there may be devices in a machine
TRIES, ALIKE = 10, 3

# How often tiles were halved, in this thread.
_halved: ContextVar[int] = ContextVar("halved", default=0)


def tile() -> int:
    """Return how many numbers to work on at a time where JAX computes."""
    return shrunk(TILE["gpu" if accelerator.is_used() else "cpu"])


def shrunk(size: int) -> int:
    """Return a size of tiles as it is while `until_it_fits` tries with smaller ones."""
    return max(1, size >> _halved.get())


def until_it_fits(compute: Callable[[], R]) -> R:
    """Compute, and again by tiles of half the size where the device runs out of memory.

    Raises
    ------
    MemoryError
        If the smallest tiles are too large, or what does not fit is none of them: it is
        as large as it was before they were halved, `ALIKE` times.
    """
    said: list[str] = []
    for times in range(_halved.get(), TRIES):
        try:
            with _halved_so_often(times):
                return jax.block_until_ready(compute())
        except jax.errors.JaxRuntimeError as error:
            if not accelerator.ran_out_of_memory(error):
                raise
            said.append(str(error))
        if said.count(said[-1]) == ALIKE:
            break
    raise MemoryError(
        "the device ran out of memory, also with smaller tiles of the rows and targets "
        "to work on: pass fewer of them at a time, float32, or sums over the rows "
        "(`moments_of`)"
    )


@contextmanager
def _halved_so_often(times: int) -> Iterator[None]:
    """Halve tiles within.

    What was compiled has the tiles of its time, and is forgotten, before and after. (A
    context that JAX knows of would spare that, but once it is there every function that
    a user has compiled would be traced again.)
    """
    if times == _halved.get():
        yield
        return
    jax.clear_caches()
    before = _halved.set(times)
    try:
        yield
    finally:
        _halved.reset(before)
        jax.clear_caches()


def at_once(size: int) -> int:
    """Return how many results of `size` numbers each to form at a time."""
    return max(1, tile() // size)


def summed_in(dtype: Any, fast: bool = False) -> Any:
    """Return the dtype in which products of numbers are made and added up."""
    return jnp.float64 if accelerator.has_fast_doubles() and not fast else dtype


def terms_at_once(dtype: Any, width: int, fast: bool = False) -> int:
    """Return how many terms a product in a dtype may have, each of `width` numbers."""
    if dtype == jnp.float64:
        return max(SHORT, shrunk(BLOCK_BYTES) // (8 * max(1, width)))
    return SHORT * LONGER if fast else SHORT


def as_stored(X: Float[Array, "m n"]) -> Float[Array, "m n"]:
    """Return the rows as they are: the view that changes nothing."""
    return X


def fold(
    step: Callable[..., S],
    state: S,
    weight: Float[Array, " m"],
    *arrays: Float[Array, "m _"],
    least: int = 1,
    room: int | None = None,
    parts: int = PARTS,
) -> S:
    """Return ``step(...step(step(state, first tile), second tile)...)``.

    `step` takes the state, the tile's weights and its rows of each array. All tiles
    have the same number of rows, `least` or as many as `room` bytes hold, by default
    those of `tile` float64 numbers, or fewer where the last one would be partly empty;
    that is moved back to fit, and the few rows that it repeats have weight 0.

    A tile takes rows from each of so many equal `parts`, or of as many as m allows:
    where rows lie on several devices that divide them, each works on its own of a tile.
    """
    m = weight.shape[0]
    row_bytes = sum(a.shape[1] for a in arrays) * weight.dtype.itemsize
    length = max(least, (8 * tile() if room is None else room) // row_bytes)
    if length >= m:
        return step(state, weight, *arrays)
    parts = gcd(m, parts)
    part, length = m // parts, -(-length // parts)  # of a part
    count = -(-part // length)
    even = EVEN // gcd(EVEN, parts)
    length = min(length, even * -(-part // (count * even)))  # as many, all nearly full

    def take(state: S, start: Array) -> tuple[S, None]:
        first = jnp.minimum(start, part - length)
        weights, *rows = (_rows(a, first, length, parts) for a in (weight, *arrays))
        new = jnp.tile(first + jnp.arange(length) >= start, parts)
        return step(state, jnp.where(new, weights, 0), *rows), None

    return jax.lax.scan(take, state, jnp.arange(0, part, length))[0]


def fold_blocks(
    step: Callable[..., S],
    state: S,
    weight: Float[Array, " m"],
    *arrays: Float[Array, "m _"],
    terms: int,
    parts: int = PARTS,
) -> S:
    """Do as `fold`, with tiles of so many rows, however much they hold."""
    return fold(step, state, weight, *arrays, least=terms, room=0, parts=parts)


def _rows(array: Array, first: Array, count: int, parts: int) -> Array:
    """Return `count` rows of each part, in a layout of their own."""
    apart = array.reshape(parts, -1, *array.shape[1:])
    rows = jax.lax.dynamic_slice_in_dim(apart, first, count, axis=1)
    return row_by_row(rows.reshape(-1, *array.shape[1:]))


def column_sums(
    function: Callable[..., Float[Array, "m n"]],
    weight: Float[Array, " m"],
    X: Float[Array, "m n"],
) -> Float[Array, " n"]:
    """Return Σ w f(x) for each column, f applied to a tile of rows at a time."""

    def add(sums: Array, weights: Array, rows: Array) -> Array:
        return sums + jnp.sum(weights[:, None] * function(rows), axis=0)

    return fold(add, jnp.zeros(X.shape[1], X.dtype), weight, X)
