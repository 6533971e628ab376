"""The training system of every fold, (Gᵢ + λ) θ = cᵢ, at every penalty.

Gᵢ and cᵢ are moments of all folds but one. Six ways to share the work: the
eigenvectors of each Gᵢ, for all penalties and however many targets; its tridiagonal
form, for few targets; the eigenvectors of all rows' G, for all folds and penalties; its
inverses at a few penalties, likewise; a Cholesky factor of every Gᵢ + λ, cheap where
penalties are few; or nothing, where columns are so little alike that a few steps of
conjugate gradients do.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float

from jaxridge import accelerator, probes
from jaxridge.anchors import Anchors, anchors_of, solved_near
from jaxridge.conjugate import ALIKE, PROBES, conjugate_gradients
from jaxridge.costs import BATCHED, STEPS_UNAIDED
from jaxridge.divisors import inverse, or_one
from jaxridge.held import FoldFit
from jaxridge.moments import Moments, about_centre
from jaxridge.nodes import Nodes, few_of
from jaxridge.power import condition_of
from jaxridge.products import matmul
from jaxridge.programs import compiled
from jaxridge.routes import (
    ANCHORS,
    CHOLESKY,
    NEARBY,
    ONE_A_FOLD,
    ONE_FOR_ALL,
    TRIDIAGONAL,
    UNAIDED,
)
from jaxridge.spectrum import (
    Spectrum,
    condition,
    gain,
    of_products,
    of_products_above,
    of_sums,
)
from jaxridge.tridiagonal import Tridiagonal, tridiagonal
from jaxridge.tridiagonal import condition as condition_of_reduced
from jaxridge.tridiagonal import solved as solved_by_reduced


class Coefs(NamedTuple):
    """Coefficients of a fold, the condition of its systems, and whether they hold."""

    at: Float[Array, "L n t"]
    condition: Float[Array, ""]
    holds: Bool[Array, ""]


class Solved(NamedTuple):
    """The fits of a fold, the condition of its systems, and whether the fits hold."""

    fit: FoldFit
    condition: Float[Array, ""]
    holds: Bool[Array, ""]


class Diagonal(NamedTuple):
    """A preconditioner: a diagonal in the basis of `axes`, or of the columns."""

    values: Float[Array, " n"]
    alike: float  # the least eigenvalue of the preconditioned matrix that is accepted
    axes: Float[Array, "n n"] | None


@partial(compiled, static_argnames=("sharing", "fit_intercept", "alone"))
def factorised(
    training: Moments,
    lams: Float[Array, " L"],
    sharing: str,
    fit_intercept: bool,
    alone: bool = False,
) -> Any:
    """Return what the penalties of each fold share.

    `alone` says that the sums are all there is: no rows can bring lost digits back.
    """
    if sharing == CHOLESKY:
        return ()
    least = jnp.min(lams)

    def one_fold(sums: Moments) -> tuple[Any, Array]:
        _, xx, xy = about_centre(sums, fit_intercept)
        if sharing == TRIDIAGONAL:
            reduced = tridiagonal(xx)
            return reduced, condition_of_reduced(reduced, least)
        if alone:
            return of_sums(xx, xy, least)
        spectrum = of_products_above(xx, xy, least)
        return spectrum, _condition(spectrum, least)

    return jax.lax.map(one_fold, training)


@partial(compiled, static_argnames=("sharing", "fit_intercept"))
def factorised_together(
    whole: Moments, lams: Float[Array, " L"], sharing: str, fit_intercept: bool
) -> Any:
    """Return what all folds share, of the moments of all rows."""
    if sharing == UNAIDED:
        return ()
    _, xx, xy = about_centre(whole, fit_intercept)
    if sharing == ONE_FOR_ALL:
        return of_products(xx, xy), whole.weight
    return anchors_of(xx, lams)


@partial(compiled, static_argnames=("sharing", "fit_intercept", "fold_tile"))
def solved_nearby(
    of_all: Any,
    training: Moments,
    lams: Float[Array, " L"],
    sharing: str,
    fit_intercept: bool,
    fold_tile: int,
) -> Coefs:
    """Return the coefficients of each fold, from what all of them share.

    So many folds are solved side by side, as one would not fill a GPU.
    """
    by: dict[str, Any] = {
        ONE_FOR_ALL: _by_neighbour,
        ANCHORS: _by_anchors,
        UNAIDED: _unaided,
    }
    near = partial(by[sharing], of_all, lams=lams, fit_intercept=fit_intercept)
    # A batch of one would be slower than none.
    batch = fold_tile if fold_tile > 1 else None
    return jax.lax.map(near, training, batch_size=batch)


def solved(
    of_fold: Any,
    nodes: Nodes | None,
    sums: Moments,
    lams: Float[Array, " L"],
    sharing: str,
    fit_intercept: bool,
) -> Solved:
    """Return the fits of one fold, given what is shared and its training moments."""
    if sharing == ONE_A_FOLD:
        spectrum, worst = of_fold
        return _by_spectrum(spectrum, worst, nodes, sums, lams, fit_intercept)
    if sharing == TRIDIAGONAL:
        reduced, worst = of_fold
        return _by_tridiagonal(reduced, worst, sums, lams, fit_intercept)
    if sharing in NEARBY:
        coefs, worst, holds = of_fold
        centre = about_centre(sums, fit_intercept)[0]
        return Solved(FoldFit(centre, None, lambda i: coefs[i]), worst, holds)
    if sharing == CHOLESKY:
        return _by_cholesky(sums, lams, fit_intercept)
    raise ValueError(f"no way to solve the systems of folds is called {sharing!r}")


def _condition(spectrum: Spectrum, least: Array) -> Array:
    return condition(spectrum, least, jnp.ones(len(spectrum.axes)), False)


def _by_spectrum(
    spectrum: Spectrum,
    worst: Array,
    nodes: Nodes | None,
    sums: Moments,
    lams: Array,
    fit_intercept: bool,
) -> Solved:
    centre, _, xy = about_centre(sums, fit_intercept)
    projected = spectrum.along
    if projected.shape[1] != xy.shape[1]:  # these targets were not factorised with
        projected = matmul(spectrum.axes.T, xy)

    fit = FoldFit(
        centre,
        spectrum.axes,
        lambda _: projected,
        lambda i: gain(spectrum.values, lams[i]),
        few_of(spectrum.values, projected, nodes),
    )
    return Solved(fit, worst, jnp.asarray(True))


def _by_tridiagonal(
    reduced: Tridiagonal, worst: Array, sums: Moments, lams: Array, fit_intercept: bool
) -> Solved:
    centre, _, xy = about_centre(sums, fit_intercept)
    coefs = solved_by_reduced(reduced, lams, xy)
    return Solved(FoldFit(centre, None, lambda i: coefs[i]), worst, jnp.asarray(True))


def _by_neighbour(
    of_all: tuple[Spectrum, Array], sums: Moments, lams: Array, fit_intercept: bool
) -> Coefs:
    """Solve by conjugate gradients, with all rows' system as the nearly inverse one."""
    (spectrum, total), (_, xx, xy) = of_all, about_centre(sums, fit_intercept)
    # All rows have this much more of everything than the rows that train.
    share = sums.weight / total
    near = Diagonal(spectrum.values * share, ALIKE, spectrum.axes)
    coefs, holds = _by_steps(xx, xy, lams, near)
    worst = _condition(spectrum, jnp.min(lams) / share) / ALIKE
    return Coefs(coefs, worst, holds)


def _by_anchors(
    anchors: Anchors, sums: Moments, lams: Array, fit_intercept: bool
) -> Coefs:
    _, xx, xy = about_centre(sums, fit_intercept)
    coefs, holds = solved_near(anchors, xx, xy, lams)
    return Coefs(coefs, anchors.condition / ALIKE, holds)


def _unaided(_: Any, sums: Moments, lams: Array, fit_intercept: bool) -> Coefs:
    """Solve by conjugate gradients, of columns in units of their own, in few steps."""
    _, xx, xy = about_centre(sums, fit_intercept)
    diagonal = jnp.diagonal(xx)
    # Of float64 there are digits to spare.
    alike = ALIKE if xx.dtype == jnp.float32 else ALIKE / 10
    near, most = Diagonal(diagonal, alike, None), STEPS_UNAIDED[str(xx.dtype)]
    coefs, holds = _by_steps(xx, xy, lams, near, most_steps=most, in_time=True)
    smallest = diagonal + jnp.min(lams)
    there = jnp.all(smallest > 0)
    # The largest sum of a row is no less than the largest eigenvalue (Gershgorin 1931).
    unit = jnp.sqrt(or_one(smallest))
    largest = 1 + jnp.max(matmul(jnp.abs(xx), 1 / unit) / unit)
    spread = jnp.max(smallest) / jnp.where(there, jnp.min(smallest), 1)
    return Coefs(coefs, jnp.where(there, largest * spread / alike, jnp.inf), holds)


def _by_steps(
    xx: Float[Array, "n n"],
    xy: Float[Array, "n t"],
    lams: Float[Array, " L"],
    near: Diagonal,
    **steps: Any,
) -> tuple[Float[Array, "L n t"], Bool[Array, ""]]:
    """Solve (XᵀWX + λ) θ = XᵀWY by conjugate gradients; return whether that holds."""
    values, alike, axes = near
    t, least = xy.shape[1], jnp.min(lams)
    random = probes.normal(len(xx), PROBES, dtype=xx.dtype)
    mixed = jnp.sqrt(values + least)[:, None] * random
    if axes is not None:
        mixed = matmul(axes, mixed)
    right = jnp.concatenate([jnp.tile(xy, (1, len(lams))), mixed], axis=1)
    shift = jnp.append(jnp.repeat(lams, t), jnp.repeat(least, mixed.shape[1]))
    there = values[:, None] + shift
    gains = inverse(there)

    def nearly_inverse(z: Array) -> Array:
        if axes is None:
            return gains * z
        return matmul(axes, gains * matmul(axes.T, z))

    columns, holds = conjugate_gradients(
        lambda z: matmul(xx, z) + shift * z,
        nearly_inverse,
        right,
        jnp.full_like(shift, alike),
        **steps,
    )
    coefs = columns[:, : len(lams) * t].reshape(-1, len(lams), t).swapaxes(0, 1)
    return coefs, holds


def _by_cholesky(sums: Moments, lams: Array, fit_intercept: bool) -> Solved:
    centre, xx, xy = about_centre(sums, fit_intercept)
    one = jnp.eye(len(xx), dtype=xx.dtype)

    def coef(lam: Array) -> Array:
        return cho_solve((jnp.linalg.cholesky(xx + lam * one), True), xy)

    # Many at a time are what a GPU likes, and what XLA on a CPU is slow at.
    many = accelerator.is_used() and len(xx) <= BATCHED
    at = coef if many else sequential_vmap(coef)

    least = jnp.min(lams)
    factor = jnp.linalg.cholesky(xx + least * one)
    there = jnp.all(jnp.isfinite(factor))
    worst = jnp.where(there, condition_of(factor), jnp.inf)
    return Solved(FoldFit(centre, None, lambda i: at(lams[i])), worst, there)
