"""The fit at a chosen penalty: one for all targets, or one for each."""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxridge.certificate import Certificate, of_moments, of_rows
from jaxridge.data import (
    Centre,
    Data,
    on_device,
)
from jaxridge.factors import Known, answer, by_rows, known
from jaxridge.moments import Moments
from jaxridge.params import Params, ParamsPath
from jaxridge.passes import compiled_unless_many
from jaxridge.precision import is_kept
from jaxridge.products import matmul
from jaxridge.programs import compiled
from jaxridge.routes import DUAL, ONE, PRIMAL, SVD, Route
from jaxridge.solvers import at_own_penalties, by_cholesky
from jaxridge.spectrum import Spectrum, axes_of_moments, condition, gain

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


class FitOfEach(NamedTuple):
    """The same, each target at its own penalty, and the degrees of freedom."""

    params: Params
    certificate: Certificate
    df: Float[Array, " t"]


def fit_of_each(rows: Known, lam: Float[Array, " t"], system: str = "") -> FitOfEach:
    """Fit each target at its own penalty.

    By the cheapest route that keeps the digits, or at once by singular values.
    """
    fit_intercept = rows.fit_intercept
    if system == SVD:
        data = on_device(rows.data)
        axes = by_rows(data, fit_intercept, SVD, None)
        route = Route(SVD, ONE, str(data.X.dtype))
        return _routed(_of_each(data, *axes, lam, fit_intercept), route)

    def question(*given: Any) -> tuple[FitOfEach, Any]:
        return _of_each(*given, fit_intercept), 1.0

    return _routed(*answer(question, rows, lam, of_targets=True))


def fit_and_axes(rows: Known, lam: Float[Array, " t"]) -> tuple[FitOfEach, Axes]:
    """Return the same, and the axes of the rows."""

    def question(*given: Any) -> tuple[tuple[FitOfEach, Axes], Any]:
        _, centre, spectrum, _ = given
        fit = _of_each(*given, rows.fit_intercept)
        return (fit, Axes(centre, spectrum.values, _axes(spectrum))), 1.0

    (fit, axes), route = answer(question, rows, lam, of_targets=True)
    return _routed(fit, route), axes


def _routed(fit: FitOfEach, route: Route) -> FitOfEach:
    return fit._replace(certificate=fit.certificate._replace(route=route))


@partial(compiled, static_argnums=2)
def fit_of_sums(
    sums: Moments, lam: Float[Array, " t"], fit_intercept: bool
) -> FitOfEach:
    """Fit each target at its own penalty where the moments are all there is."""
    centre, spectrum, worst = axes_of_moments(sums, jnp.min(lam), fit_intercept)
    params, df = _at_own_penalties(centre, spectrum, lam, fit_intercept)
    fits = ParamsPath(params.coef[None], params.intercept[None])
    twice = of_moments(fits, sums, lam[None], fit_intercept)
    route = Route(PRIMAL, ONE, str(sums.xx.dtype))
    made = Certificate(jnp.min(lam)[None], *twice, worst, route)
    return FitOfEach(params, made, df)


def fit_at_once(data: Data, lam: Float[Array, ""], fit_intercept: bool) -> Fit:
    """Fit all targets at one penalty, by a Cholesky factor where that keeps the digits.

    It takes n³/3 operations instead of the 9 n³ or so of an eigendecomposition.
    """
    m, n = data.X.shape
    params, worst = by_cholesky(data, lam, fit_intercept)
    # The condition number of a factor that failed is NaN: not below any bound.
    if not is_kept(worst, data.X.dtype):
        each = jnp.full(data.Y.shape[1], lam)
        fit = fit_of_each(known(data, fit_intercept), each)
        return Fit(fit.params, fit.certificate)
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
def _of_each(
    data: Data, centre: Centre, spectrum: Spectrum, lam: Array, fit_intercept: bool
) -> FitOfEach:
    params, df = _at_own_penalties(centre, spectrum, lam, fit_intercept)
    worst = condition(spectrum, lam.min(), data.weight, fit_intercept)
    made = _certified(data, params, lam, worst, fit_intercept)
    return FitOfEach(params, made, df)


@compiled
def _axes(spectrum: Spectrum) -> Float[Array, "n r"]:
    return spectrum.axes


@partial(compiled, static_argnums=3)
def _at_own_penalties(
    centre: Centre, spectrum: Spectrum, lam: Float[Array, " t"], fit_intercept: bool
) -> tuple[Params, Float[Array, " t"]]:
    """Return each target's coefficients, and degrees of freedom."""
    values = spectrum.values
    df = matmul(values, gain(values[:, None], lam)) + int(fit_intercept)
    return at_own_penalties(centre, spectrum, lam), df
