"""Which factorisation of all rows keeps the digits of the data, and what it answers."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.columns import Learner, prepared, untouched
from jaxridge.compression import is_worthwhile
from jaxridge.data import Centre, Data, centre_of, centred
from jaxridge.moments import Moments, about_centre, fold_moments
from jaxridge.precision import SINGLE, in_float64, is_kept, is_lost
from jaxridge.spectrum import (
    Spectrum,
    condition,
    of_few_rows,
    of_many_rows,
    of_products,
    of_rows,
)

R = TypeVar("R")
# What is asked of factorised rows: an answer, and the least squared residual on the way
# as a part of the targets' square, where digits of the answer depend on it.
Question = Callable[[Data, Centre, Spectrum, Float[Array, " L"]], tuple[R, Any]]


def answer(
    question: Question[R],
    data: Data,
    lams: Float[Array, " L"],
    fit_intercept: bool,
    learner: Learner = untouched,
    rounding: float | None = None,
) -> R:
    """Ask by the cheapest route that keeps the digits of the data."""

    def by_values() -> R:
        centre, spectrum = by_rows(data, learner, fit_intercept, "svd", rounding)
        return question(data, centre, spectrum, lams)[0]

    if checks.any_traced(data):
        return by_values()
    m, n = data.X.shape
    if n <= m and learner is untouched:
        centre, spectrum = _by_products(data, fit_intercept)
    else:
        route = "primal" if n <= m else "dual"
        centre, spectrum = by_rows(data, learner, fit_intercept, route)
    least = jnp.zeros(()) if checks.is_traced(lams) else jnp.min(lams)
    worst = condition(spectrum, least, data.weight, fit_intercept)
    if is_kept(worst, data.X.dtype):
        found, left = question(data, centre, spectrum, lams)
        if data.X.dtype == jnp.float64 or checks.is_traced(left) or not is_lost(left):
            return found
    if data.X.dtype == jnp.float32 and not checks.is_traced(lams):
        return in_float64(
            lambda data, lams: answer(
                question, data, lams, fit_intercept, learner, SINGLE
            ),
            data,
            lams,
        )
    return by_values()


def roughly(data: Data, fit_intercept: bool, learner: Learner = untouched) -> Spectrum:
    """Factorise by products, whatever digits that may cost."""
    m, n = data.X.shape
    if n <= m and learner is untouched and not checks.any_traced(data):
        return _by_products(data, fit_intercept)[1]
    return by_rows(data, learner, fit_intercept, "primal" if n <= m else "dual")[1]


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def by_rows(
    data: Data,
    learner: Learner,
    fit_intercept: bool,
    route: str,
    rounding: float | None = None,
) -> tuple[Centre, Spectrum]:
    """Factorise rows as prepared by `learner`."""
    view = partial(prepared, learner(data.X, data.weight))
    centre = centre_of(data, fit_intercept, view)
    if route == "svd" and is_worthwhile(data):
        return centre, of_few_rows(data, centre, view, rounding)
    if route == "primal":
        return centre, of_many_rows(data, centre, view)
    about = centred(data._replace(X=view(data.X)), centre)
    root = jnp.sqrt(data.weight)[:, None]
    return centre, of_rows(root * about.X, root * about.Y, route, rounding)


def _by_products(data: Data, fit_intercept: bool) -> tuple[Centre, Spectrum]:
    every_row = np.ones((1, len(data.X)), bool)
    sums = jax.tree.map(lambda a: a[0], fold_moments(data, every_row))
    return _factorised(sums, fit_intercept)


@partial(jax.jit, static_argnums=1)
def _factorised(sums: Moments, fit_intercept: bool) -> tuple[Centre, Spectrum]:
    centre, xx, xy = about_centre(sums, fit_intercept)
    return centre, of_products(xx, xy)
