"""Moments of rows in the memory of the CPU, sent to the device a tile at a time.

Sending rows takes longer than adding them up there, so the next tile is on its way
while one is being added up, and nothing comes back before the end. No more than a few
tiles are on the device at a time, however many rows there are.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jaxridge import checks
from jaxridge.data import Data
from jaxridge.folds import Held
from jaxridge.moments import Moments, added
from jaxridge.scatter import moments_of_sets

TILE_BYTES = 2**28
UNDER_WAY = 2  # tiles

Tile = tuple[Data, Bool[np.ndarray, "k rows"]]


def tiles_of(data: Data, held: Bool[np.ndarray, "k m"]) -> Iterator[Tile]:
    """Yield rows in their order, as many at a time as a tile holds."""
    X, Y, weight = (np.asarray(a) for a in data)
    outside: Any = Data
    rows = max(1, TILE_BYTES // (X.itemsize * (X.shape[1] + Y.shape[1])))
    for start in range(0, len(X), rows):
        some = slice(start, start + rows)
        yield outside(X[some], Y[some], weight[some]), held[:, some]


def moments_of_tiles(tiles: Iterable[Tile], fast: bool = False) -> Moments:
    """Return the moments of each fold of all tiles, of which there is at least one.

    Raises
    ------
    ValueError
        For NaN and infinity, and for numbers whose squares leave the range of their
        dtype: told by the sums of a tile, which alone are looked at.
    """
    sums: Moments | None = None
    under_way: deque[tuple[Array, Data]] = deque()
    for rows, held in tiles:
        folds = np.flatnonzero(held.any(axis=1))
        part = moments_of_sets(jax.device_put(rows), _sets(held[folds]), fast)
        if sums is None:
            sums = _nothing_like(part, len(held))
        sums, is_finite = _with_part(sums, part, folds)
        under_way.append((is_finite, rows))
        if len(under_way) > UNDER_WAY:
            _settle(*under_way.popleft())
    for tile in under_way:
        _settle(*tile)
    assert sums is not None
    return sums


def _sets(held: Bool[np.ndarray, "k rows"]) -> Held:
    """Return sets of one length for all tiles of one length, whatever is in them."""
    rows, counts = np.zeros(held.shape, np.int32), np.zeros(held.shape, bool)
    for number, mask in enumerate(held):
        mine = np.flatnonzero(mask)
        rows[number, : len(mine)], counts[number, : len(mine)] = mine, True
    return Held(jnp.asarray(rows), jnp.asarray(counts))


def _nothing_like(part: Moments, k: int) -> Moments:
    return jax.tree.map(lambda a: jnp.zeros((k, *a.shape[1:]), a.dtype), part)


@partial(jax.jit, donate_argnums=0)
def _with_part(
    sums: Moments, part: Moments, folds: Array
) -> tuple[Moments, Bool[Array, ""]]:
    """Return the sums with those of some folds, and whether all of these are finite."""
    those = jax.tree.map(lambda a: a[folds], sums)
    new = jax.tree.map(lambda a, b: a.at[folds].set(b), sums, added(those, part))
    return new, jnp.all(
        jnp.stack([jnp.all(jnp.isfinite(a)) for a in vars(part).values()])
    )


def _settle(is_finite: Array, rows: Data) -> None:
    """Wait for a tile, and refuse what made its sums infinite."""
    if bool(is_finite):
        return
    for name, values in (("X", rows.X), ("y", rows.Y)):
        checks.finite(name, values)
        checks.squarable(name, values, rows.weight)
    raise ValueError("`X`: sums over these rows leave the range of their dtype")
