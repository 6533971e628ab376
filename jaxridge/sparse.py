"""Sparse rows: what their sums and products tell, without a dense copy of them.

Centring makes a sparse matrix dense, so it is done to the sums instead:

    Σ w (x − x̄)(x − x̄)ᵀ = XᵀWX − W x̄x̄ᵀ.

That difference loses the digits of a column whose mean is large beside its spread.
Such a column is nearly full, so those, and only those, are made dense and centred
first. With few rows and many columns, products of rows are centred in the same way, and
the rows turned into their own axes, where they are few and dense, and every answer is
the same.
Everything here is computed in float64.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import sparse

from jaxridge.border import in_kind_of_input
from jaxridge.certificate import penalty_of, relative, signs_of, summed
from jaxridge.data import Centre, Data
from jaxridge.leverages import Whole, left_out_errors, rows_left_out, whole_of
from jaxridge.moments import Moments, as_one
from jaxridge.objective import squared_residuals
from jaxridge.params import Params, ParamsPath
from jaxridge.precision import warn_if_lost
from jaxridge.products import matmul
from jaxridge.programs import compiled
from jaxridge.spectrum import Spectrum, axes_of_moments
from jaxridge.sums import about_mean

# A column whose mean's square is this many times its variance is centred before.
FAR = 100
ORDER = 2  # decades: columns whose sizes are closer are turned together
TILE = 2**22  # numbers of a dense tile of rows


class Part(NamedTuple):
    """Columns of one order of size, as they are or in axes of their own."""

    columns: np.ndarray  # their places
    across: np.ndarray | None  # (m, r): θ = (X − x̄)ᵀ across φ; None for θ = φ


class Turned(NamedTuple):
    """Few rows in axes of their own, and the way back to columns."""

    X: np.ndarray  # (m, r), centred
    centre: np.ndarray  # (n,)
    parts: list[Part]


def sums_of(X: Any, Y: np.ndarray, weight: np.ndarray) -> Moments:
    """Return the moments of sparse rows, as one set. O(Σ nnz(row)² + n²) time."""
    total = weight.sum()
    unit = total if total > 0 else 1.0
    x, (B, y) = X.T @ weight / unit, about_mean(Y, weight, unit)
    B, yy = weight[:, None] * B, weight @ B**2
    far = far_from_0(X, x, weight / unit)
    near, far = np.flatnonzero(~far), np.flatnonzero(far)
    N = X[:, near]
    xx, xy = np.zeros((X.shape[1],) * 2), np.empty((X.shape[1], Y.shape[1]))
    inner = (N.T @ (sparse.diags_array(weight) @ N)).toarray()
    xx[np.ix_(near, near)] = inner - total * np.outer(x[near], x[near])
    xy[near] = N.T @ B
    if far.size:
        F, x[far] = about_mean(X[:, far].toarray(), weight, unit)
        xy[far] = F.T @ B
        xx[np.ix_(far, far)] = F.T @ (weight[:, None] * F)
        xx[np.ix_(near, far)] = N.T @ (weight[:, None] * F)
        xx[np.ix_(far, near)] = xx[np.ix_(near, far)].T
    found: tuple[Any, ...] = total, x, y, xx, xy, yy
    return Moments(*found)


def far_from_0(X: Any, centre: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Tell columns whose mean is large beside their spread."""
    spread = X.multiply(X).T @ share - centre**2
    far: np.ndarray = (centre**2 > FAR * np.maximum(spread, 0)) & (centre != 0)
    return far


def turned(X: Any, weight: np.ndarray, fit_intercept: bool) -> Turned:
    """Return few sparse rows in their own axes. O(m nnz + m³) time, O(m²) memory.

    With K = (X − x̄)(X − x̄)ᵀ = US²Uᵀ they are A = US, and X − x̄ = AQᵀ with Q of
    orthonormal columns: ridge on A has the predictions of ridge on X. In K the squares
    of large columns would drown small ones, so columns of one order of size are turned
    together, and few ones left as they are.
    """
    share = weight / weight.sum() if fit_intercept else 0 * weight
    centre = X.T @ share
    parts, rows = [], []
    for columns, dense in _of_one_size(X, centre, share):
        some = X[:, columns]
        if dense or len(columns) <= X.shape[0]:
            parts.append(Part(columns, None))
            about = some.toarray() - centre[columns]
            moved = share @ about  # what rounding left of the mean
            centre[columns] += moved
            rows.append(about - moved)
            continue
        K = (some @ some.T).toarray()
        a = K @ share
        K += share @ a - a - a[:, None]
        values, left = np.linalg.eigh(K)
        there = values > np.finfo(K.dtype).eps * len(K) * values[-1]
        root, left = np.sqrt(values[there]), left[:, there]
        parts.append(Part(columns, left / root))
        rows.append(left * root)
    return Turned(np.concatenate(rows, axis=1), centre, parts)


def _of_one_size(
    X: Any, centre: np.ndarray, share: np.ndarray
) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield places of columns of one order of size; whether their mean is far from 0.

    Those are nearly full, and cost as much sparse as dense. Empty columns have no part.
    """
    square = np.asarray(X.multiply(X).sum(axis=0)).ravel()
    size = np.sqrt(square)
    far = far_from_0(X, centre, share)
    if far.any():
        yield np.flatnonzero(far), True
    there = (size > 0) & ~far
    order = np.full(len(size), np.nan)
    order[there] = np.floor(np.log10(size[there].max(initial=0) / size[there]) / ORDER)
    for one in np.unique(order[there]):
        yield np.flatnonzero(order == one), False
    if not far.any() and not there.any():  # nothing but zeros, of which one stays
        yield np.zeros(1, int), True


def turned_back(found: Turned, X: Any, params: Params) -> Params:
    """Return coefficients of columns from those of axes."""
    given = np.asarray(params.coef)
    coef, start = np.zeros((X.shape[1], given.shape[1])), 0
    for columns, across in found.parts:
        width = len(columns) if across is None else across.shape[1]
        part = given[start : start + width]
        start += width
        if across is not None:
            part = across @ part
            shift = np.outer(found.centre[columns], part.sum(axis=0))
            part = X[:, columns].T @ part - shift
        coef[columns] = part
    return Params(coef, params.intercept - found.centre @ coef)


def tiles(X: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield dense rows, a tile at a time."""
    height = max(1, TILE // X.shape[1])
    for start in range(0, X.shape[0], height):
        rows = slice(start, start + height)
        yield rows, X[rows].toarray()


def left_out(
    X: Any,
    Y: np.ndarray,
    weight: np.ndarray,
    sums: Moments,
    lams: Any,
    fit_intercept: bool,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield rows, errors (L, rows, t) of predicting each from all others, and 1 − h.

    The last is that at the least penalty.
    """
    axes = _axes(sums, Y, weight, lams, fit_intercept)
    warn_if_lost(axes[-1], 1.0, np.float64)
    for rows, dense in tiles(X):
        given = dense, Y[rows], weight[rows], *axes[:3], lams, fit_intercept
        errors, slacks = map(np.asarray, _errors(*given))
        yield rows, errors, slacks


@in_kind_of_input
def _axes(
    sums: Moments, Y: Any, weight: Any, lams: Any, fit_intercept: bool
) -> tuple[Centre, Spectrum, Whole, Array]:
    return _factorised(as_one(sums), Y, weight, lams, fit_intercept)


@partial(compiled, static_argnums=4)
def _factorised(
    sums: Moments, Y: Array, weight: Array, lams: Array, fit_intercept: bool
) -> tuple[Centre, Spectrum, Whole, Array]:
    centre, spectrum, worst = axes_of_moments(sums, jnp.min(lams), fit_intercept)
    whole = whole_of(Data(Y[:, :0], Y, weight), centre, spectrum, fit_intercept)
    return centre, spectrum, whole, worst


@in_kind_of_input
def _errors(*given: Any) -> tuple[Array, Array]:
    return _errors_of_tile(*given)


@partial(compiled, static_argnums=7)
def _errors_of_tile(
    X: Array,
    Y: Array,
    weight: Array,
    centre: Centre,
    spectrum: Spectrum,
    whole: Whole,
    lams: Array,
    fit_intercept: bool,
) -> tuple[Float[Array, "L m t"], Float[Array, " m"]]:
    given = (X, Y), centre, spectrum, whole, fit_intercept
    at = left_out_errors(rows_left_out(weight, *given), whole)
    return jax.lax.map(lambda lam: at(lam)[0], lams), at(jnp.min(lams))[1]


@in_kind_of_input
def gradient_norms(
    params: Params,
    X: Any,
    Y: Array,
    weight: Array,
    lam: Float[Array, " t"],
    fit_intercept: bool,
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Return ‖∇J‖ at a fit over that at 0, by `jax.grad` of the cost, and by hand.

    The cost is that of dense rows but for the product with the rows.
    """
    there = X.tocoo()
    entries = there.row, there.col, there.data
    return _gradient_norms(params, entries, Y, weight, lam, fit_intercept)


@partial(compiled, static_argnums=5)
def _gradient_norms(
    params: Params,
    entries: tuple[Array, Array, Array],
    Y: Array,
    weight: Array,
    lam: Array,
    fit_intercept: bool,
) -> tuple[Array, Array]:
    rows, columns, values = entries
    spread = jnp.sqrt(jnp.average((Y - jnp.average(Y, 0, weight)) ** 2, 0, weight))
    signs = signs_of(spread)
    y, m = matmul(Y, signs), jnp.sum(weight)

    def product(values: Any, coef: Any) -> Array:
        return jnp.zeros_like(y).at[rows].add(values * coef[columns])

    def slope(params: Params, shrunk: Array) -> tuple[Params, Params]:
        none = jnp.zeros_like(params.intercept)
        autodiff = jax.grad(squared_residuals)(params, values, y, weight, product)
        penalty = jax.grad(penalty_of)(Params(shrunk, none))
        e = weight * (product(values, params.coef) + params.intercept - y)
        across = jnp.zeros_like(shrunk).at[columns].add(values * e[rows])
        by_hand = Params((across + shrunk) / m, jnp.sum(e) / m)
        autodiff = jax.tree.map(lambda a, b: (a + b) / (2 * m), autodiff, penalty)
        return autodiff, by_hand

    fits = ParamsPath(params.coef[None], params.intercept[None])
    middle = jnp.average(y, weights=weight) if fit_intercept else 0 * y[0]
    return relative(slope, summed(fits, lam[None], signs), middle, fit_intercept)
