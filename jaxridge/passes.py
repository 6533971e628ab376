"""Passes over rows that stay where they are: tiles of them go to where XLA computes.

On a CPU, XLA would copy NumPy's rows before it read the first. That takes longer than
to read them, and as much memory again as they do. A tile is copied to where others were
before, and is read from the cache.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.placement import placed
from jaxridge.programs import compiled
from jaxridge.tiles import fold, tile

R = TypeVar("R")
S = TypeVar("S")

NEAR = 4  # as many parts of a tile: one stays in the cache, as rows are read twice


def compiled_unless_many(
    function: Callable[..., R], *, static_argnums: int | tuple[int, ...] = ()
) -> Callable[..., R]:
    """Compile a function of data and more as one program, or in parts for many rows.

    Many are more than a tile of NumPy's, if nothing is traced. Then the function is
    called as it is: it reads rows by `over_rows` alone, and what else it does has been
    compiled.
    """
    whole = compiled(function, static_argnums=static_argnums)

    @functools.wraps(function)
    def call(data: Any, *args: Any) -> R:
        if not (isinstance(data.X, np.ndarray) and data.X.size > tile()):
            return whole(data, *args)
        if checks.any_traced(data, args):
            return whole(jax.tree.map(placed, data), *args)
        return function(data, *args)

    outcome: Any = call
    outcome.lower = whole.lower  # type: ignore[attr-defined]
    return outcome


def over_rows(
    step: Callable[..., S],
    state: Any,
    known: Any,
    weight: Float[Array, " m"],
    *arrays: Float[Array, "m _"],
) -> S:
    """Return ``step(...step(step(state, known, first tile), known, second)...)``.

    As `fold` does where rows are traced, and elsewhere by one program for all tiles,
    and for any number of rows: the last one repeats some, with weight 0.
    """
    if checks.any_traced(weight, *arrays):

        def one(state: S, weight: Array, *rows: Array) -> S:
            return step(state, known, weight, *rows)

        return fold(one, state, weight, *arrays)
    counts, *given = map(np.asarray, (weight, *arrays))
    m, numbers = len(counts), sum(a.shape[1] for a in given)
    length, program = min(m, max(1, tile() // NEAR // numbers)), _program(step)
    for start in range(0, m, length):
        first = min(start, m - length)
        some = slice(first, first + length)
        new = np.where(np.arange(first, first + length) < start, 0, counts[some])
        state, before = program(state, known, new, *(a[some] for a in given)), state
        # The next tile is copied while this one is read, and no more than that.
        jax.block_until_ready(before)
    return state


@functools.cache
def _program(step: Callable[..., S]) -> Callable[..., S]:
    return compiled(step)
