"""Scores of held-out rows at every penalty: one factorisation for each fold.

Rotated into the axes of its training rows, a fold's predictions at λ are

    (X_held − x̄) V · (S² + λ)⁻¹ · S UᵀB + ȳ,

of which only the diagonal in the middle knows λ.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxridge import checks
from jaxridge.columns import Learner, prepared, untouched
from jaxridge.conjugate import conjugate_gradients
from jaxridge.data import Centre, Data
from jaxridge.folds import Folds
from jaxridge.moments import (
    Moments,
    about_centre,
    complements,
    fold_moments,
    total,
)
from jaxridge.precision import SINGLE, by_cheapest, is_kept, is_lost
from jaxridge.products import matmul
from jaxridge.scoring import Score, squared_error
from jaxridge.spectrum import (
    Spectrum,
    coef_at,
    condition,
    gain,
    of_data,
    of_products,
    of_sums,
)
from jaxridge.tiles import at_once

# The least that a fold's system may have of that of all rows, in any direction.
ALIKE = 0.1


class Held(NamedTuple):
    """Rows held out by each fold, padded to the same number, and which count."""

    rows: Int[Array, "k h"]
    counts: Bool[Array, "k h"]


class Scored(NamedTuple):
    """Scores of each fold, and what their precision depends on.

    `condition` is that of AᵀA + λ at the least λ, and `left` the least squared error,
    as a part of the mean square of the targets.
    """

    per_fold: Float[Array, "k L *score"]
    condition: Float[Array, " k"]
    left: Float[Array, " k"]


@partial(jax.jit, static_argnames=("score", "fit_intercept"))
def by_products(
    data: Data,
    held: Held,
    training: Moments,
    lams: Float[Array, " L"],
    score: Score,
    fit_intercept: bool,
) -> Scored:
    """Score each fold from the moments of its training rows."""

    def one_fold(fold: tuple[Held, Moments]) -> Scored:
        (rows, counts), sums = fold
        centre, xx, xy = about_centre(sums, fit_intercept)
        spectrum = of_products(xx, xy)
        some = _rows(data, rows, counts)
        trains = data.weight.at[rows].multiply(~counts)
        worst = condition(spectrum, jnp.min(lams), trains, fit_intercept)
        return _scored(some, centre, spectrum, lams, score, worst)

    return jax.lax.map(one_fold, (held, training))


@partial(jax.jit, static_argnames=("relative", "fit_intercept"))
def by_moments(
    parts: Moments, lams: Float[Array, " L"], relative: bool, fit_intercept: bool
) -> Scored:
    """Return the mean squared error of each fold, or R², from moments alone.

    Held-out rows about the training means have the moments G, C and s of their own
    scatter and of the distance δ between the means; the error of θ is then
    (θᵀGθ − 2θᵀC + s)/w. It cancels where the fit is good: about eps · s / error of it
    is rounding.
    """

    def one_fold(fold: tuple[Moments, Moments]) -> Scored:
        held, training = fold
        centre, xx, xy = about_centre(training, fit_intercept)
        spectrum, worst = of_sums(xx, xy, jnp.min(lams))
        dx, dy = held.x - centre.x, held.y - centre.y
        G = held.xx + held.weight * jnp.outer(dx, dx)
        C = held.xy + held.weight * jnp.outer(dx, dy)
        square = held.yy + held.weight * dy**2

        def at(lam: Array) -> Array:
            coef = coef_at(spectrum, lam)
            error = jnp.sum(coef * (matmul(G, coef) - 2 * C), axis=0) + square
            return jnp.maximum(error, 0)

        errors = jax.lax.map(at, lams)
        left = jnp.min(errors / jnp.where(square > 0, square, 1))
        scores = 1 - errors / held.yy if relative else errors / held.weight
        return Scored(scores, worst, left)

    return jax.lax.map(one_fold, (parts, complements(parts)))


@partial(
    jax.jit, static_argnames=("score", "learner", "fit_intercept", "route", "rounding")
)
def by_rows(
    data: Data,
    held: Held,
    weights: Float[Array, "k m"],
    lams: Float[Array, " L"],
    score: Score,
    learner: Learner,
    fit_intercept: bool,
    route: str,
    rounding: float | None,
) -> Scored:
    """Score each fold from its training rows, given by their weights."""

    def one_fold(fold: tuple[Held, Array]) -> Scored:
        (rows, counts), weight = fold
        columns = learner(data.X, weight)
        view = partial(prepared, columns)
        train = data._replace(weight=weight)
        centre, spectrum = of_data(train, fit_intercept, route, view, rounding)
        some = _rows(data, rows, counts)
        some = some._replace(X=view(some.X))
        worst = condition(spectrum, jnp.min(lams), weight, fit_intercept)
        return _scored(some, centre, spectrum, lams, score, worst)

    return jax.lax.map(one_fold, (held, weights))


@partial(jax.jit, static_argnames=("score", "fit_intercept"))
def by_one_factorisation(
    data: Data,
    held: Held,
    parts: Moments,
    lams: Float[Array, " L"],
    score: Score,
    fit_intercept: bool,
) -> tuple[Scored, Bool[Array, ""]]:
    """Score each fold as `by_products` does, from one factorisation for all of them.

    Fold i's system (Gᵢ + λ) θ = cᵢ, turned into the axes V of all rows, is nearly
    diagonal: conjugate gradients need few steps, which cost a product with VᵀGᵢV each.
    The last value tells whether they were enough, and the systems alike.
    """
    whole = total(parts)
    _, xx, xy = about_centre(whole, fit_intercept)
    spectrum = of_products(xx, xy)
    V, t, least = spectrum.right, data.Y.shape[1], jnp.min(lams)

    def one_fold(fold: tuple[Held, Moments]) -> tuple[Scored, Array]:
        (rows, counts), sums = fold
        centre, xx, xy = about_centre(sums, fit_intercept)
        turned = matmul(V.T, matmul(xx, V))
        right = jnp.tile(matmul(V.T, xy), (1, len(lams)))
        shift = jnp.repeat(lams, t)
        # All rows have this much more of everything than the rows that train.
        share = sums.weight / whole.weight
        near = spectrum.values[:, None] * share + shift
        along, solved = conjugate_gradients(
            lambda z: matmul(turned, z) + shift * z,
            lambda z: jnp.where(near > 0, z / jnp.where(near > 0, near, 1), 0),
            right,
        )
        coefs = matmul(V, along).reshape(-1, len(lams), t).swapaxes(0, 1)
        scores, left = _scores_of(_rows(data, rows, counts), centre, coefs, score)
        worst = condition(spectrum, least / share, data.weight, fit_intercept)
        # Where a direction is in the fold alone, neither system is nearly the other.
        root = jnp.where(near > 0, 1 / jnp.sqrt(jnp.where(near > 0, near, 1)), 0)
        root = root[:, jnp.argmin(shift)]
        alike = root[:, None] * turned * root + jnp.diag(least * root**2 - ALIKE)
        alike = jnp.all(jnp.isfinite(jnp.linalg.cholesky(alike)))
        return Scored(scores, worst / ALIKE, left), solved & alike

    scored, solved = jax.lax.map(one_fold, (held, complements(parts)))
    return scored, jnp.all(solved)


def _rows(data: Data, rows: Array, counts: Array) -> Data:
    """Return the rows that a fold holds out; those that only pad have weight 0."""
    weight = jnp.where(counts, data.weight[rows], 0)
    return Data(data.X[rows], data.Y[rows], weight)


def _scored(
    held: Data,
    centre: Centre,
    spectrum: Spectrum,
    lams: Float[Array, " L"],
    score: Score,
    worst: Float[Array, ""],
) -> Scored:
    h, (n, r), t = len(held.X), spectrum.right.shape, held.Y.shape[1]
    # Coefficients are the shorter way to few predictions of many rows, and rows along
    # the axes to many of few.
    if n * r * t * len(lams) <= h * n * r:
        coefs = jax.vmap(lambda lam: coef_at(spectrum, lam))(lams)
        scores, left = _scores_of(held, centre, coefs, score)
        return Scored(scores, worst, left)
    axes = held._replace(X=matmul(held.X - centre.x, spectrum.right))
    middle = centre._replace(x=jnp.zeros(r, held.X.dtype))

    def at(lam: Array) -> tuple[Array, Array]:
        along = gain(spectrum.values, lam)[:, None] * spectrum.along
        scores, left = _scores_of(axes, middle, along[None], score)
        return scores[0], left

    scores, left = jax.lax.map(at, lams, batch_size=at_once(held.Y.size))
    return Scored(scores, worst, jnp.min(left))


def _scores_of(
    held: Data, centre: Centre, coefs: Float[Array, "L n t"], score: Score
) -> tuple[Array, Array]:
    """Return the scores of each coef, and the least squared error of all (`Scored`)."""
    about = held.X - centre.x
    square = squared_error(held.Y, centre.y[None], held.weight)
    square = jnp.where(square > 0, square, 1)

    def of(coef: Array) -> tuple[Array, Array]:
        prediction = matmul(about, coef) + centre.y
        left = squared_error(held.Y, prediction, held.weight) / square
        return score(held.Y, prediction, held.weight), jnp.min(left)

    scores, left = jax.lax.map(of, coefs, batch_size=at_once(held.Y.size))
    return scores, jnp.min(left)


def score_folds(
    data: Data,
    folds: Folds,
    lams: Float[Array, " L"],
    score: Score,
    learner: Learner,
    fit_intercept: bool,
    rounding: float | None = None,
) -> Float[Array, "k L *score"]:
    """Score every fold by the cheapest route that keeps the digits of the data."""
    held = Held(*map(jnp.asarray, folds.held_rows))
    m, n = data.X.shape

    def by_route(route: str) -> Scored:
        weights = jnp.asarray(folds.train) * data.weight
        given = score, learner, fit_intercept, route, rounding
        return by_rows(data, held, weights, lams, *given)

    def cheap() -> Array | None:
        if n <= m and learner is untouched and folds.is_partition:
            scored = _by_sums(data, folds, held, lams, score, fit_intercept)
        else:
            scored = by_route("primal" if n <= m else "dual")
        kept = is_kept(scored.condition, data.X.dtype)
        kept = kept and not is_lost(scored.left, data.X.dtype)
        return scored.per_fold if kept else None

    def wide(data: Data, lams: Array) -> Array:
        return score_folds(data, folds, lams, score, learner, fit_intercept, SINGLE)

    def sure() -> Array:
        return by_route("svd").per_fold

    if checks.any_traced(data, lams):
        return sure()
    return by_cheapest(cheap, wide, sure, data, lams)


def _by_sums(
    data: Data,
    folds: Folds,
    held: Held,
    lams: Float[Array, " L"],
    score: Score,
    fit_intercept: bool,
) -> Scored:
    """Score folds that are a partition from sums over each, from one pass over rows."""
    parts = fold_moments(data, folds.held)
    given = lams, score, fit_intercept
    if data.Y.shape[1] * len(lams) <= data.X.shape[1]:
        scored, solved = by_one_factorisation(data, held, parts, *given)
        if solved:
            return scored
    return by_products(data, held, complements(parts), *given)
