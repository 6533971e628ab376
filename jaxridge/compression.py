"""The same cost on n + 1 rows instead of m.

J depends on the rows only through their weighted mean and their scatter about it. Let
A hold the rows (X, Y) about their means, times √w, and A = QR with R triangular. Then
with R = [[R₁, Z], [0, T]], where R₁ is n × n,

    Σ w (xc·θ − yc)² = ‖R₁θ − Z‖² + ‖T‖²,

so the n rows (R₁, Z) give the same J up to the constant ‖T‖²/(2m). Any other rows with
the same mean and the same scatter do as well. To keep the intercept and `cost` just as
they are, give the rows [[√m·x̄, √m·ȳ], [R₁, Z]] a rotation that takes e₁ to
(1, …, 1)/√r, r = n + 1: their first column, were a column of ones carried along,
becomes √(m/r) everywhere, that is r rows of weight m/r, with an intercept. Nothing is
squared, so no digits are lost; the constant is a norm, so nothing cancels.

Where a device multiplies float64 as fast, R of float32 rows is the Cholesky factor of
AᵀA in float64, which has more digits than the square of a float32 number needs, and
takes a GPU a small part of the time of a QR.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxridge import accelerator
from jaxridge.data import Centre, Data, weighted_rows
from jaxridge.divisors import or_one
from jaxridge.products import matmul, mirrored, plus_gram
from jaxridge.tiles import (
    View,
    as_stored,
    fold,
    fold_blocks,
    summed_in,
    terms_at_once,
    tile,
)
from jaxridge.twofold import Twofold, zeros

WORTHWHILE = 4  # compress when there are this many times more rows than columns
TILE_BYTES = 32 * 2**20  # the taller a tile, the less it costs to stack R on it


class Compressed(NamedTuple):
    """Few rows with the same J, but for the constant `rest` / (2 Σ w)."""

    data: Data
    rest: Float[Array, ""]


def is_worthwhile(data: Data) -> bool:
    """Whether m is well above the number of columns of (X, Y)."""
    m, columns = data.X.shape[0], data.X.shape[1] + data.Y.shape[1]
    return m >= WORTHWHILE * columns


def compress(
    data: Data, centre: Centre, fit_intercept: bool, view: View = as_stored
) -> Compressed:
    """Return n + 1 rows (n without an intercept) with the J of the rows in `view`.

    `centre` is where those rows are centred: their means with an intercept, 0 without.
    They are read once, tile by tile: O(m (n + t)²) time, O(n + t)² memory and a tile.
    """
    n = data.X.shape[1]
    m = jnp.sum(data.weight)
    R = triangle(data, centre, fit_intercept, view)
    rest = jnp.sum(R[n:, n:] ** 2)
    rows = R[:n]
    if fit_intercept:
        mean = jnp.sqrt(m) * jnp.concatenate([centre.x, centre.y])
        rows = _spread(jnp.concatenate([mean[None], rows]))
    weight = jnp.full(rows.shape[0], m / rows.shape[0], rows.dtype)
    rows = rows / jnp.sqrt(weight)[:, None]
    return Compressed(Data(rows[:, :n], rows[:, n:], weight), rest)


def triangle(
    data: Data, centre: Centre, fit_intercept: bool, view: View = as_stored
) -> Float[Array, "c c"]:
    """Return R of √w (X − x̄, Y − ȳ) = QR, the rows stacked tile after tile.

    With an intercept, √w comes before the columns, and its row of R is left out: the
    mean of a column far from 0 is rounded, and what that leaves along √w, a direction
    of its own in columns that depend on each other, is no part of the scatter.
    """
    mean, dtype = int(fit_intercept), data.X.dtype
    columns = mean + data.X.shape[1] + data.Y.shape[1]
    if summed_in(dtype) != dtype:
        products = _products(data, centre, fit_intercept, view)
        return _root(products).astype(dtype)[mean:, mean:]

    def absorb(R: Array, weight: Array, X: Array, Y: Array) -> Array:
        rows = _joined_rows(Data(X, Y, weight), centre, fit_intercept, view)
        return jnp.linalg.qr(jnp.concatenate([R, rows]), mode="r")

    empty, rows = jnp.zeros((columns, columns), dtype), (data.X, data.Y)
    room = max(TILE_BYTES, 8 * tile()) if accelerator.is_used() else TILE_BYTES
    found = fold(absorb, empty, data.weight, *rows, least=4 * columns, room=room)
    return found[mean:, mean:]


def _joined_rows(
    data: Data, centre: Centre, fit_intercept: bool, view: View
) -> Float[Array, "m c"]:
    """Return √w (1, X − x̄, Y − ȳ), or without the first."""
    ones = [jnp.sqrt(data.weight)[:, None]] * fit_intercept
    return jnp.concatenate([*ones, *weighted_rows(data, centre, view)], axis=1)


def _products(
    data: Data, centre: Centre, fit_intercept: bool, view: View
) -> Float[Array, "c c"]:
    """Return the products of those columns in the dtype that sums are made in."""
    columns = int(fit_intercept) + data.X.shape[1] + data.Y.shape[1]
    dtype = summed_in(data.X.dtype)

    def add(sums: Twofold, weight: Array, X: Array, Y: Array) -> Twofold:
        rows = _joined_rows(Data(X, Y, weight), centre, fit_intercept, view)
        return plus_gram(sums, rows.astype(dtype))

    start, rows = zeros((columns, columns), dtype), (data.weight, data.X, data.Y)
    terms = terms_at_once(dtype, columns)
    return mirrored(fold_blocks(add, start, *rows, terms=terms).value())


def _root(products: Float[Array, "c c"]) -> Float[Array, "c c"]:
    """Return R with RᵀR = AᵀA, but for what rounding left of columns that depend.

    Columns of unit length have a least eigenvalue of at least −c eps, which so small a
    part of each column's own length makes up for.
    """
    lengths = jnp.sqrt(jnp.diagonal(products))
    unit = or_one(lengths)
    noise = 4 * len(products) * jnp.finfo(products.dtype).eps
    alike = products / unit / unit[:, None] + noise * jnp.eye(len(products))
    return jnp.linalg.cholesky(alike).T * lengths


def _spread(rows: Float[Array, "r c"]) -> Float[Array, "r c"]:
    """Rotate the rows so that the first unit vector becomes (1, …, 1)/√r.

    The Householder reflection along v = e₁ − u swaps the unit vectors e₁ and u.
    """
    r = rows.shape[0]
    v = jnp.full(r, -1 / jnp.sqrt(r), rows.dtype).at[0].add(1)
    half = 1 - 1 / jnp.sqrt(r)  # ‖v‖²/2, and r ≥ 2
    return rows - jnp.outer(v, matmul(v, rows)) / half
