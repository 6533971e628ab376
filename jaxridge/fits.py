"""The fit at a chosen penalty: one for all targets, or one for each."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float

from jaxridge.certificate import Certificate, of_moments, of_rows
from jaxridge.data import (
    Centre,
    Data,
    centre_of,
    intercept_at,
    on_device,
    weighted_rows,
)
from jaxridge.factors import answer, by_rows
from jaxridge.moments import Moments, about_centre
from jaxridge.objective import Params, ParamsPath
from jaxridge.passes import compiled_unless_many
from jaxridge.power import condition_of
from jaxridge.precision import is_kept
from jaxridge.products import across_rows, matmul
from jaxridge.programs import compiled
from jaxridge.routes import DUAL, ONE, PRIMAL, SVD, Route
from jaxridge.spectrum import Spectrum, axes_of_moments, coef_at, condition, gain
from jaxridge.sums import moments_of_all
from jaxridge.threads import few_for

ONE_CHOLESKY = "one Cholesky factor"


class Axes(NamedTuple):
    """Directions of the rows about their centre, and the squares along them."""

    centre: Centre
    values: Float[Array, " r"]
    right: Float[Array, "n r"]


class Fit(NamedTuple):
    """Coefficients (n, t) and how near they are to the minimum of J."""

    params: Params
    certificate: Certificate


class FitAlongAxes(NamedTuple):
    """The same, the degrees of freedom, and the axes of the rows."""

    params: Params
    certificate: Certificate
    df: Float[Array, " t"]
    axes: Axes


def fit_along_axes(
    data: Data,
    lam: Float[Array, " t"],
    fit_intercept: bool,
    system: str = "",
    factors: Callable[[], tuple[Centre, Spectrum]] | None = None,
) -> FitAlongAxes:
    """Fit each target at its own penalty, and keep the axes of the rows.

    By the cheapest route that keeps the digits, or at once by singular values.
    """
    if system == SVD:
        rows = on_device(data)
        axes = by_rows(rows, fit_intercept, SVD, None)
        found = _along_axes(rows, *axes, lam, fit_intercept)
        route = Route(SVD, ONE, str(data.X.dtype))
        return found._replace(certificate=found.certificate._replace(route=route))

    def question(*given: Any) -> tuple[FitAlongAxes, Any]:
        return _along_axes(*given, fit_intercept), 1.0

    found, route = answer(question, data, lam, fit_intercept, factors=factors)
    return found._replace(certificate=found.certificate._replace(route=route))


@partial(compiled, static_argnums=2)
def fit_of_sums(
    sums: Moments, lam: Float[Array, " t"], fit_intercept: bool
) -> FitAlongAxes:
    """Fit each target at its own penalty where the moments are all there is."""
    centre, spectrum, worst = axes_of_moments(sums, jnp.min(lam), fit_intercept)
    params, df = _at_own_penalties(centre, spectrum, lam, fit_intercept)
    fits = ParamsPath(params.coef[None], params.intercept[None])
    twice = of_moments(fits, sums, lam[None], fit_intercept)
    route = Route(PRIMAL, ONE, str(sums.xx.dtype))
    made = Certificate(jnp.min(lam)[None], *twice, worst, route)
    return FitAlongAxes(params, made, df, Axes(centre, spectrum.values, spectrum.right))


def fit_at_once(data: Data, lam: Float[Array, ""], fit_intercept: bool) -> Fit:
    """Fit all targets at one penalty, by a Cholesky factor where that keeps the digits.

    It takes n³/3 operations instead of the 9 n³ or so of an eigendecomposition.
    """
    m, n = data.X.shape
    if n <= m:
        sums = moments_of_all(data)
        with few_for(n, n):
            params, worst = _by_products(sums, lam, fit_intercept)
            jax.block_until_ready(worst)  # while BLAS has one thread
    else:
        params, worst = _by_kernel(on_device(data), lam, fit_intercept)
    # The condition number of a factor that failed is NaN: not below any bound.
    if not is_kept(worst, data.X.dtype):
        each = jnp.full(data.Y.shape[1], lam)
        along = fit_along_axes(data, each, fit_intercept)
        return Fit(along.params, along.certificate)
    route = Route(PRIMAL if n <= m else DUAL, ONE_CHOLESKY, str(data.X.dtype))
    made = _certified(data, params, lam, worst, fit_intercept)
    return Fit(params, made._replace(route=route))


@partial(compiled_unless_many, static_argnums=4)
def _certified(
    data: Data, params: Params, lam: Array, worst: Array, fit_intercept: bool
) -> Certificate:
    """Certify one fit, whose penalty is one number or one for each target."""
    fits = ParamsPath(params.coef[None], params.intercept[None])
    twice = of_rows(data, fits, lam[None], fit_intercept)
    return Certificate(lam.min()[None], *twice, worst, Route())


@partial(compiled_unless_many, static_argnums=4)
def _along_axes(
    data: Data, centre: Centre, spectrum: Spectrum, lam: Array, fit_intercept: bool
) -> FitAlongAxes:
    params, df = _at_own_penalties(centre, spectrum, lam, fit_intercept)
    worst = condition(spectrum, lam.min(), data.weight, fit_intercept)
    made = _certified(data, params, lam, worst, fit_intercept)
    return FitAlongAxes(params, made, df, Axes(centre, spectrum.values, spectrum.right))


@partial(compiled, static_argnums=3)
def _at_own_penalties(
    centre: Centre, spectrum: Spectrum, lam: Float[Array, " t"], fit_intercept: bool
) -> tuple[Params, Float[Array, " t"]]:
    """Return each target's coefficients, and degrees of freedom."""
    coef, values = coef_at(spectrum, lam), spectrum.values
    df = matmul(values, gain(values[:, None], lam)) + int(fit_intercept)
    return Params(coef, intercept_at(coef, centre)), df


@partial(compiled, static_argnums=2)
def _by_products(
    sums: Moments, lam: Array, fit_intercept: bool
) -> tuple[Params, Array]:
    """Solve (AᵀA + λ) θ = AᵀB."""
    centre, xx, xy = about_centre(sums, fit_intercept)
    factor = jnp.linalg.cholesky(xx + lam * jnp.eye(len(xx), dtype=xx.dtype))
    coef = cho_solve((factor, True), xy)
    return Params(coef, intercept_at(coef, centre)), condition_of(factor)


def _by_kernel(data: Data, lam: Array, fit_intercept: bool) -> tuple[Params, Array]:
    """Solve (AAᵀ + λ) α = B, θ = Aᵀα."""
    centre, A, B = _about_centre(data, fit_intercept)
    return _of_kernel(across_rows(A), A, B, centre, lam)


@partial(compiled, static_argnums=1)
def _about_centre(data: Data, fit_intercept: bool) -> tuple[Centre, Array, Array]:
    centre = centre_of(data, fit_intercept)
    return centre, *weighted_rows(data, centre)


@compiled
def _of_kernel(
    kernel: Array, A: Array, B: Array, centre: Centre, lam: Array
) -> tuple[Params, Array]:
    factor = jnp.linalg.cholesky(kernel + lam * jnp.eye(len(A), dtype=A.dtype))
    coef = matmul(A.T, cho_solve((factor, True), B))
    return Params(coef, intercept_at(coef, centre)), condition_of(factor)
