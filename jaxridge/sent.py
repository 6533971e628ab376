"""Moments of rows in the memory of the CPU, sent to the device a tile at a time.

Sending rows takes longer than adding them up there, so the next tile is on its way
while one is being added up, and nothing but a few numbers comes back before the end. No
more than a few tiles are on the device at a time, however many rows there are.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxridge import checks
from jaxridge.data import Data
from jaxridge.divisors import or_one
from jaxridge.folds import numbered
from jaxridge.moments import Moments, added
from jaxridge.programs import compiled
from jaxridge.scatter import How, moments_of_sets
from jaxridge.tiles import shrunk

TILE_BYTES = 2**28
UNDER_WAY = 2  # tiles
# Before an array is sent, one thread copies it to where a GPU can read it, which takes
# longer than the way: of several arrays, several threads do.
LANES = 8

Tile = tuple[Data, Bool[np.ndarray, "k rows"]]
# The sizes of numbers in a tile, the tile, and how many rows came before.
Sent = tuple[Array, Data, int]


def tiles_of(data: Data, held: Bool[np.ndarray, "k m"]) -> Iterator[Tile]:
    """Yield rows in their order, as many at a time as a tile holds."""
    X, Y, weight = (np.asarray(a) for a in data)
    outside: Any = Data
    rows = max(1, shrunk(TILE_BYTES) // (X.itemsize * (X.shape[1] + Y.shape[1])))
    for start in range(0, len(X), rows):
        some = slice(start, start + rows)
        yield outside(X[some], Y[some], weight[some]), held[:, some]


def moments_of_tiles(tiles: Iterable[Tile], fast: bool = False) -> Moments:
    """Return the moments of each fold of all tiles, of which there is at least one.

    Raises
    ------
    ValueError
        For NaN and infinity, and for numbers whose squares leave the range of their
        dtype: told by a sum over each tile, which alone is looked at.
    """
    sums: Moments | None = None
    ahead: tuple[Data, Bool[np.ndarray, "k rows"], int] | None = None
    watch = _Watch()
    start = 0
    for rows, held in tiles:
        there = jax.device_put((np.array_split(rows.X, LANES), rows.Y, rows.weight))
        if ahead is not None:  # while these are on their way
            sums = _with_tile(sums, *ahead, fast, watch)
        # Whoever made them may use their memory again.
        ahead = _whole(*jax.block_until_ready(there)), held, start
        start += held.shape[1]
    if ahead is not None:
        sums = _with_tile(sums, *ahead, fast, watch)
    watch.end()
    assert sums is not None
    return sums


class _Watch:
    """Tiles under way, and the sizes of the numbers in those that have been added up.

    A few numbers are looked at, and those not before the device has done the tile.
    """

    def __init__(self) -> None:
        self._under_way: deque[Sent] = deque()
        self._largest, self._squares = np.zeros(3), np.zeros(3)
        self._dtype: Any = np.float64

    def add(self, rows: Data, start: int) -> None:
        """Look at a tile when it is done, and now at one before, if many are not."""
        self._dtype = rows.X.dtype
        self._under_way.append((_sizes(rows), rows, start))
        if len(self._under_way) > UNDER_WAY:
            self._look()

    def end(self) -> None:
        """Wait for all tiles, and refuse rows that are too small together."""
        while self._under_way:
            self._look()
        *largest, heaviest = self._largest
        for name, size, squares in zip(
            ("X", "y"), largest, self._squares, strict=False
        ):
            if size and not checks.have_squares(self._dtype, squares):
                one = np.array([size], self._dtype)
                checks.squarable(name, one, np.array([heaviest]))

    def _look(self) -> None:
        """Wait for a tile, and refuse values that its sums cannot have been made of.

        They are told by the place that they had before rows were cut into tiles.
        """
        sizes, rows, start = self._under_way.popleft()
        largest, squares = np.asarray(sizes, np.float64).T
        self._largest = np.fmax(self._largest, largest)
        self._squares = self._squares + squares
        least = checks.least_square(self._dtype)
        if (squares <= 1 / least).all():
            return
        Y = rows.Y[:, 0] if rows.Y.shape[1] == 1 else rows.Y
        for name, values in (("X", rows.X), ("y", Y)):
            checks.finite(name, values, start=start)
            checks.squarable(name, values, rows.weight)


@compiled
def _whole(X: list[Array], Y: Array, weight: Array) -> Data:
    """Return the rows of a tile that came in parts."""
    return Data(jnp.concatenate(X), Y, weight)


def _with_tile(
    sums: Moments | None,
    rows: Data,
    held: Bool[np.ndarray, "k rows"],
    start: int,
    fast: bool,
    watch: _Watch,
) -> Moments:
    """Return the sums with those of one more tile, which is then watched."""
    folds = np.flatnonzero(held.any(axis=1))
    # Sets of one length for all tiles of one length, so that little is compiled.
    part = moments_of_sets(rows, numbered(held[folds], held.shape[1]), How(fast))
    if sums is None:
        sums = _nothing_like(part, len(held))
    elif sums.xx.dtype != part.xx.dtype:
        wide = jnp.promote_types(sums.xx.dtype, part.xx.dtype)
        sums = jax.tree.map(lambda a: a.astype(wide), sums)
    sums = _with_part(sums, part, folds)
    watch.add(rows, start)
    return sums


def _nothing_like(part: Moments, k: int) -> Moments:
    return jax.tree.map(lambda a: jnp.zeros((k, *a.shape[1:]), a.dtype), part)


@partial(compiled, donate_argnums=0)
def _with_part(sums: Moments, part: Moments, folds: Array) -> Moments:
    """Return the sums with those of some folds."""
    those = jax.tree.map(lambda a: a[folds], sums)
    return jax.tree.map(lambda a, b: a.at[folds].set(b), sums, added(those, part))


@compiled
def _sizes(rows: Data) -> Float[Array, "3 2"]:
    """Return the largest number in X and in Y, and the sum of squares of each.

    Then the largest weight, twice, by which squares are multiplied.
    """
    most = jnp.max(rows.weight)
    most = or_one(most)
    each = rows.X, rows.Y
    sizes = [[jnp.max(jnp.abs(a), initial=0), jnp.sum(a**2) * most] for a in each]
    return jnp.array([*sizes, [most, most]])
