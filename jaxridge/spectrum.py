"""The axes of the rows: one factorisation that answers every penalty.

Let A = √w (X − x̄) and B = √w (Y − ȳ), rows about their centre. With A = U S Vᵀ,

    θ(λ) = V (S² + λ)⁻¹ S Uᵀ B,

so once A is factorised, each λ costs products only. Three routes lead there: the
eigenvalues of AᵀA (primal, cheap when n ≤ m), those of AAᵀ (dual, cheap when n > m),
and the singular values of A itself, which cost more and square no condition number.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jaxridge import accelerator
from jaxridge.compression import is_worthwhile, triangle
from jaxridge.data import (
    Centre,
    Data,
    centre_of,
    weighted_rows,
)
from jaxridge.derivatives import OF_AXES, without_derivative
from jaxridge.divisors import or_one
from jaxridge.graded import graded_svd
from jaxridge.moments import Moments, about_centre
from jaxridge.precision import BEARABLE, LOSS
from jaxridge.products import matmul, mirrored, plus_gram
from jaxridge.programs import compiled
from jaxridge.reflection import eigh_across
from jaxridge.routes import DUAL, PRIMAL, SVD
from jaxridge.tiles import View, as_stored, fold, fold_blocks, summed_in, terms_at_once
from jaxridge.twofold import Twofold, zeros

# What rounding leaves, in the triangular factor of m rows, of a direction that they do
# not have: at most this times √m eps of its terms, where 0.9 √m has been seen.
TALL_NOISE = 4


class Combined(NamedTuple):
    """V as combinations of rows that are not multiplied out: (X − x̄)ᵀC, C = √w U/S.

    That would take as long as to multiply the rows with each other.
    """

    rows: Float[Array, "m n"]
    shares: Float[Array, "m r"]


Right = Float[Array, "n r"] | Combined


class Spectrum(NamedTuple):
    """A factorised A, and B along its axes.

    Directions without extent have the value 0, and are left out of every answer: the
    minimum-norm answer where columns depend on each other.
    """

    values: Float[Array, " r"]  # S², 0 below the cut-off
    right: Right  # V
    along: Float[Array, "r t"]  # Vᵀ AᵀB = S UᵀB
    left: Float[Array, "m r"] | None  # U, where the route gives it
    turned: Float[Array, "r n"] | None  # UᵀA: S Vᵀ, but for the rounding in S and V

    @property
    def axes(self) -> Float[Array, "n r"]:
        """Return V, multiplied out."""
        return multiplied_out(self.right)


def of_data(
    data: Data,
    fit_intercept: bool,
    system: str,
    view: View = as_stored,
    rounding: float | None = None,
) -> tuple[Centre, Spectrum]:
    """Factorise rows, in `view`, by "primal", "dual" or "svd".

    Singular values below `rounding`, that of the numbers the rows are made of (of their
    dtype if not given), times the size of A are 0.
    """
    centre = centre_of(data, fit_intercept, view)
    if system == PRIMAL:
        return centre, _of_many_rows(data, centre, view)
    if system == SVD and is_worthwhile(data):
        return centre, _of_few_rows(data, centre, fit_intercept, view, rounding)
    A, B, across = rows_across(data, centre, fit_intercept, view)
    if system == DUAL:
        return centre, _by_dual(A, B, across)
    return centre, _by_svd(A, B, rounding, across)


def rows_across(
    data: Data, centre: Centre, fit_intercept: bool, view: View = as_stored
) -> tuple[Float[Array, "m n"], Float[Array, "m t"], Float[Array, " m"] | None]:
    """Return A, B, and with an intercept the unit vector along √w, across which A is.

    The mean of a column far from 0 is rounded, and what that leaves along √w would be a
    direction of its own, which belongs to the intercept.
    """
    A, B = weighted_rows(data, centre, view)
    if not fit_intercept:
        return A, B, None
    across = jnp.sqrt(data.weight / jnp.sum(data.weight))
    return A - across[:, None] * matmul(across, A), B, across


def of_products(gram: Float[Array, "n n"], cross: Float[Array, "n t"]) -> Spectrum:
    """Factorise AᵀA, given AᵀB."""
    values, right = jnp.linalg.eigh(without_derivative(gram, OF_AXES))
    return of_axes(values, right, cross)


def of_axes(
    values: Float[Array, " n"], right: Float[Array, "n n"], cross: Float[Array, "n t"]
) -> Spectrum:
    """Return AᵀA, of which the eigenvalues and V are known, as factorised."""
    return Spectrum(cut(values), right, matmul(right.T, cross), None, None)


def of_products_above(
    gram: Float[Array, "n n"], cross: Float[Array, "n t"], least: Float[Array, ""]
) -> Spectrum:
    """Factorise AᵀA for penalties from `least`, below which nothing need be told."""
    values, right = jnp.linalg.eigh(without_derivative(gram, OF_AXES))
    return of_axes(values, right, cross)._replace(values=above(values, least))


def axes_of_moments(
    sums: Moments, least: Float[Array, ""], fit_intercept: bool
) -> tuple[Centre, Spectrum, Float[Array, ""]]:
    """Factorise one set of sums, for penalties from `least`; tell its condition."""
    centre, xx, xy = about_centre(sums, fit_intercept)
    return centre, *of_sums(xx, xy, least)


def of_sums(
    gram: Float[Array, "n n"],
    cross: Float[Array, "n t"],
    least: Float[Array, ""],
) -> tuple[Spectrum, Float[Array, ""]]:
    """Factorise AᵀA where A is gone, for penalties from `least`; tell its condition.

    If that is too high for eigenvalues, and only because columns differ in size, the
    triangular factor stands for A: Cholesky's error in each column is in its own unit,
    so that what counts is the condition of the correlations (van der Sluis 1969).
    """
    spectrum = of_products_above(gram, cross, least)
    raw = condition(spectrum, least, jnp.ones_like(gram[0]), False)
    square = jnp.diagonal(gram)
    sizes = jnp.where(square > 0, jnp.sqrt(square), 1)
    none = jnp.diag(jnp.where(square > 0, 0, 1).astype(gram.dtype))
    alike = gram / sizes / sizes[:, None] + none
    values = jnp.linalg.eigvalsh(alike)
    scaled = jnp.where(values[0] > 0, values[-1] / values[0], jnp.inf)

    def by_triangle() -> Spectrum:
        lower = sizes[:, None] * jnp.linalg.cholesky(alike)
        B = solve_triangular(lower, cross, lower=True)
        return _by_svd((lower - none).T, B, None)._replace(left=None, turned=None)

    eps, dtype = jnp.finfo(raw.dtype).eps, np.dtype(raw.dtype)
    better = (raw * eps > LOSS[dtype]) & (scaled * eps < BEARABLE[dtype])
    found = jax.lax.cond(better, by_triangle, lambda: spectrum)
    return found, jnp.minimum(raw, scaled)


def _of_many_rows(data: Data, centre: Centre, view: View) -> Spectrum:
    """Factorise tall A by AᵀA, summed over tiles of rows: A is never formed."""
    (n, t), dtype = (data.X.shape[1], data.Y.shape[1]), summed_in(data.X.dtype)

    def add(
        sums: tuple[Twofold, Twofold], weight: Array, X: Array, Y: Array
    ) -> tuple[Twofold, Twofold]:
        rows = weighted_rows(Data(X, Y, weight), centre, view)
        A, B = (a.astype(dtype) for a in rows)
        return plus_gram(sums[0], A), sums[1].plus(matmul(A.T, B))

    # What a CPU has in its cache is short enough for float32 sums.
    over, terms = fold, terms_at_once(dtype, n + t)
    if accelerator.is_used():
        over = partial(fold_blocks, terms=terms)
    start = zeros((n, n), dtype), zeros((n, t), dtype)
    xx, xy = over(add, start, data.weight, data.X, data.Y)
    sums = mirrored(xx.value()), xy.value()
    return of_products(*(a.astype(data.X.dtype) for a in sums))


def _of_few_rows(
    data: Data,
    centre: Centre,
    fit_intercept: bool,
    view: View,
    rounding: float | None,
) -> Spectrum:
    """Factorise tall A by the singular values of its triangular factor.

    A is never formed: its rows are read tile by tile.
    """
    m, n = data.X.shape
    R = triangle(data, centre, fit_intercept, view)[:n]
    found = _by_svd(R[:, :n], R[:, n:], rounding, noise=TALL_NOISE * m**0.5)
    return found._replace(left=None)


def _by_dual(
    A: Float[Array, "m n"], B: Float[Array, "m t"], across: Float[Array, " m"] | None
) -> Spectrum:
    """Factorise AAᵀ, A being at a right angle to the unit vector `across`, if any."""
    A = without_derivative(A, OF_AXES)
    of_all = eigh_across(matmul(A, A.T), across)
    return of_kernel(*of_all, B, across, A, jnp.ones((), A.dtype))


def of_kernel(
    values: Float[Array, " r"],
    left: Float[Array, "m r"],
    B: Float[Array, "m t"],
    across: Float[Array, " m"] | None,
    rows: Float[Array, "m n"],
    root: Float[Array, "*m"],
) -> Spectrum:
    """Return AAᵀ, of which the eigenvalues and U are known, as factorised.

    A is `root` times `rows`.
    """
    if across is not None:
        values = jnp.pad(values, (1, 0))
        left = jnp.concatenate([across[:, None], left], axis=1)
    values = cut(values)
    along = jnp.sqrt(values)[:, None] * matmul(left.T, B)
    shares = root[..., None] * left * root_inverse(values)
    return Spectrum(values, Combined(rows, shares), along, left, None)


def out_of_axes(right: Right, z: Float[Array, "r c"]) -> Float[Array, "n c"]:
    """Return Vz."""
    if isinstance(right, Combined):
        return matmul(right.rows.T, matmul(right.shares, z))
    return matmul(right, z)


def into_axes(rows: Float[Array, "h n"], right: Right) -> Float[Array, "h r"]:
    """Return rows along the axes, XV."""
    if isinstance(right, Combined):
        return matmul(matmul(rows, right.rows.T), right.shares)
    return matmul(rows, right)


def multiplied_out(right: Right) -> Float[Array, "n r"]:
    """Return V."""
    if isinstance(right, Combined):
        return matmul(right.rows.T, right.shares)
    return right


def n_columns(right: Right) -> int:
    """Return the length of an axis."""
    return right.rows.shape[1] if isinstance(right, Combined) else len(right)


def _by_svd(
    A: Float[Array, "m n"],
    B: Float[Array, "m t"],
    rounding: float | None,
    across: Float[Array, " m"] | None = None,
    noise: float = 0.0,
) -> Spectrum:
    A = without_derivative(A, OF_AXES)
    left, s, right = graded_svd(A, rounding, noise)
    if across is not None:  # of which small values have a part, by rounding
        left -= jnp.outer(across, matmul(across, left))
    turned = matmul(left.T, A)
    return Spectrum(s**2, right, s[:, None] * matmul(left.T, B), left, turned)


def gain(
    values: Float[Array, "r *one"], lam: Float[Array, "*t"]
) -> Float[Array, "r *t"]:
    """Return 1/(s² + λ), and 0 along directions without extent."""
    there = values > 0
    return jnp.where(there, 1 / jnp.where(there, values + lam, 1), 0)


def root_inverse(values: Float[Array, " r"]) -> Float[Array, " r"]:
    """Return 1/s, and 0 along directions without extent."""
    return jnp.where(values > 0, 1 / jnp.sqrt(or_one(values)), 0)


def coef_at(spectrum: Spectrum, lam: Float[Array, "*t"]) -> Float[Array, "n t"]:
    """Return θ(λ), solved twice for its last digits where UᵀA is known.

    λ is one number for all targets, or one for each.
    """
    values, right, along, _, turned = spectrum
    shrunk = gain(values[:, None], lam)
    coef = out_of_axes(right, shrunk * along)
    if turned is None or isinstance(right, Combined):
        return coef
    # What rounding left of S UᵀB − (S UᵀA + λVᵀ) θ = 0, solved once more (Björck 1967).
    rest = jnp.sqrt(values)[:, None] * matmul(turned, coef)
    rest = along - rest - lam * matmul(right.T, coef)
    return coef + matmul(right, shrunk * rest)


@partial(compiled, static_argnums=3)
def condition(
    spectrum: Spectrum,
    lam: Float[Array, ""],
    weight: Float[Array, " m"],
    fit_intercept: bool,
) -> Float[Array, ""]:
    """Return the condition number of AᵀA + λ.

    Rows and columns have as many directions as the fewer of them, the intercept taking
    one from the rows. If fewer than that were kept, the least value may be anything.
    """
    values = spectrum.values
    most = jnp.sum(weight > 0) - int(fit_intercept)
    full = jnp.minimum(n_columns(spectrum.right), most)
    largest = jnp.max(values)
    least = jnp.min(jnp.where(values > 0, values, jnp.inf))
    least = jnp.where(jnp.sum(values > 0) < full, 0, least)
    return jnp.where(largest > 0, (largest + lam) / (least + lam), 1)


def cut(values: Float[Array, " r"]) -> Float[Array, " r"]:
    """Set eigenvalues that are rounding to 0; `condition` tells if that matters."""
    return jnp.where(values > _noise(values), values, 0)


def above(values: Float[Array, " r"], least: Float[Array, ""]) -> Float[Array, " r"]:
    """Return eigenvalues for penalties from `least`; none is 0 if that is above noise.

    B has a part along directions that products do not see, as large as √eps of the
    rest. With λ above the rounding of s², s² + λ is known there, and that part kept.
    """
    floor = jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values))
    kept = jnp.maximum(values, floor)
    return jnp.where(least >= _noise(values), kept, cut(values))


def rank_of(values: Float[Array, " r"]) -> Array:
    """Return the number of eigenvalues above rounding."""
    return jnp.sum(values > _noise(values))


def _noise(values: Array) -> Array:
    return jnp.finfo(values.dtype).eps * len(values) * jnp.max(jnp.abs(values))
