"""Which factorisation of all rows keeps the digits of the data, and what it answers."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import accelerator, checks, probes
from jaxridge.data import (
    Centre,
    Data,
    mean_square,
    on_device,
    weighted_mean,
    weighted_rows,
)
from jaxridge.devices import place
from jaxridge.divisors import or_one
from jaxridge.inner import Inner, inner_of
from jaxridge.moments import Moments, about_centre, total
from jaxridge.passes import compiled_unless_many, over_rows
from jaxridge.plans import plan
from jaxridge.precision import LOSS, SINGLE, by_cheapest, is_kept, is_lost
from jaxridge.products import matmul
from jaxridge.programs import compiled
from jaxridge.reflection import part_across, turned_across
from jaxridge.routes import ONE, PRIMAL, SVD, Route, system_of
from jaxridge.shards import are_shared_out
from jaxridge.spectrum import (
    Spectrum,
    condition,
    gain,
    of_axes,
    of_data,
    of_kernel,
    of_products,
)
from jaxridge.sums import fold_moments, moments_of_all
from jaxridge.threads import few_for
from jaxridge.tiles import until_it_fits

R = TypeVar("R")
LARGE = 200  # columns, or rows if fewer, whose products take more time than calls do
SMALL = 2**20  # numbers that fit in any memory, and of which products are soon made
# What is asked of factorised rows: an answer, and the least squared residual on the way
# as a part of the targets' square, where digits of the answer depend on it.
Question = Callable[[Data, Centre, Spectrum, Float[Array, " L"]], tuple[R, Any]]


class Known(NamedTuple):
    """Checked rows, and the factors of their products, made when first asked for.

    Whatever is asked of the same rows, they are then multiplied and factorised once:
    the factors are those of the sums of folds, if such have been asked for, or with
    more columns of products of rows.
    """

    data: Data
    fit_intercept: bool
    factors: Callable[[], tuple[Centre, Spectrum]]
    parts: Callable[[np.ndarray], Moments]
    inner: Callable[[], Inner]


def known(data: Data, fit_intercept: bool) -> Known:
    """Return rows whose factors, and sums or products, are kept."""
    inner = cache(partial(inner_of, data.X, data.weight, fit_intercept))
    kept: list[tuple[np.ndarray, Moments]] = []

    def parts(held: np.ndarray) -> Moments:
        if not (kept and kept[0][0] is held):
            kept[:] = [(held, fold_moments(data, held))]
        return kept[0][1]

    def made() -> tuple[Centre, Spectrum]:
        if kept:
            return _factorised(total(kept[0][1]), fit_intercept)
        return by_products(data, fit_intercept, inner)

    return Known(data, fit_intercept, cache(made), parts, inner)


def answer(
    question: Question[R],
    rows: Known,
    lams: Float[Array, " L"],
    rounding: float | None = None,
    of_targets: bool = False,
) -> tuple[R, Route]:
    """Ask by the cheapest route that keeps the digits of the data; tell the route.

    Penalties may be those `of_targets`, one each, and not of all of them.
    """
    data, fit_intercept = rows.data, rows.fit_intercept
    m, n = data.X.shape
    dtype = str(data.X.dtype)

    def sure() -> tuple[R, Route]:
        here = on_device(data)
        centre, spectrum = by_rows(here, fit_intercept, SVD, rounding)
        found = question(here, centre, spectrum, lams)[0]
        return found, Route(SVD, ONE, dtype, raised=not checks.any_traced(data))

    def cheap() -> tuple[R, Route] | None:
        traced = checks.is_traced(lams)
        # Of known rows all is known but what λ has a part in, also where that is not.
        with jax.core.eval_context():
            centre, spectrum = rows.factors()
            least: Any = np.zeros((), dtype) if traced else np.asarray(lams).min()
            worst = condition(spectrum, least, data.weight, fit_intercept)
            far = _distance(centre, spectrum, data)
            if not is_kept(worst, data.X.dtype) or not is_kept(far, data.X.dtype):
                return None
            given = data, centre, spectrum, float(least), fit_intercept
            missed = _misses_something(*given)
        found, left = question(data, centre, spectrum, lams)
        lost = not checks.is_traced(left) and is_lost(left, data.X.dtype)
        if missed or lost:
            return None
        return found, Route(system_of(m, n), ONE, dtype)

    def wide(data: Data, lams: Array) -> tuple[R, Route]:
        again = known(data, fit_intercept)
        found, route = answer(question, again, lams, SINGLE, of_targets)
        return found, route.as_raised()

    if checks.any_traced(data):
        return sure()
    if data.X.size > SMALL:  # of interest is only that something fits
        L, free = 1 if of_targets else len(lams), place(None)[1]
        sizes = m, n, data.Y.shape[1], L
        plan(*sizes, dtype=dtype, asked="path", budget=free)
    with few_for(m, n):
        return until_it_fits(lambda: by_cheapest(cheap, wide, sure, data, lams))


def _distance(centre: Centre, spectrum: Spectrum, data: Data) -> float:
    """Return how many deviations the mean of a column is from 0, at most.

    Its rounding is in every row about it, and so in leverages and residuals, unless U
    is known. Told of float32 alone: float64 is as wide as it gets.
    """
    if data.X.dtype != jnp.float32 or spectrum.left is not None:
        return 0.0
    return float(_largest_distance(centre, spectrum, data.weight))


@compiled
def _largest_distance(
    centre: Centre, spectrum: Spectrum, weight: Float[Array, " m"]
) -> Float[Array, ""]:
    square = matmul(spectrum.axes**2, spectrum.values) / jnp.sum(weight)
    distance = jnp.abs(centre.x) / jnp.sqrt(or_one(square))
    return jnp.max(jnp.where(square > 0, distance, 0), initial=0)


def _misses_something(
    data: Data, centre: Centre, spectrum: Spectrum, least: float, fit_intercept: bool
) -> bool:
    """Whether directions that products tell nothing of have a part in the answer.

    A direction of extent s that is left out costs the coefficients s‖B‖/λ at most.
    Products see none below √eps of the largest: the rows are asked for those.
    """
    values, dtype = np.asarray(spectrum.values), spectrum.values.dtype
    # Of rows across √w nothing is missed along it.
    known = spectrum.left is not None and fit_intercept
    if (values > 0).sum() >= len(values) - known or values.max() == 0:
        return False
    data = data if spectrum.left is None else on_device(data)
    missed = float(_extent_beyond(data, centre, spectrum))
    if missed <= 8 * float(jnp.finfo(dtype).eps) * float(values.sum()) ** 0.5:
        return False  # as rounding leaves of columns that repeat
    share = _least_share(spectrum, data.Y, data.weight, centre.y, least)
    return missed > LOSS[np.dtype(dtype)] * least * float(share)


@compiled
def _least_share(
    spectrum: Spectrum, Y: Array, weight: Array, y: Array, lam: Any
) -> Float[Array, ""]:
    """Return the least ‖θ(λ)‖/‖B‖ of targets that are not constant."""
    coef = gain(spectrum.values, lam)[:, None] * spectrum.along
    size = jnp.sqrt(jnp.sum(coef**2, axis=0))
    of_target = jnp.sqrt(mean_square(Y, y, weight) * jnp.sum(weight))
    each = jnp.where(of_target > 0, size / or_one(of_target), jnp.inf)
    return jnp.min(each, initial=jnp.inf)


@compiled_unless_many
def _extent_beyond(data: Data, centre: Centre, spectrum: Spectrum) -> Float[Array, ""]:
    """Return about the extent of the rows along directions of value 0. O(m n) time.

    It is that of a random combination of them; eigenvectors of products have some of
    the others in them, which is taken out first.
    """
    mixed = _mixed(spectrum)
    along = _squared_and_back(data, centre, spectrum, mixed)[1]
    return _squared_and_back(data, centre, spectrum, _beyond(spectrum, mixed, along))[0]


@compiled
def _mixed(spectrum: Spectrum) -> Float[Array, " n"]:
    """Return a random combination of the directions of value 0, of about length 1."""
    axes, gone = _axes(spectrum), spectrum.values == 0
    share = probes.normal(*gone.shape, dtype=axes.dtype)
    return matmul(
        axes, jnp.where(gone, share, 0) / jnp.sqrt(jnp.sum(gone, dtype=axes.dtype))
    )


@compiled
def _beyond(spectrum: Spectrum, v: Array, along: Array) -> Array:
    """Return v without its part in the directions of values above 0, given AᵀAv."""
    axes = _axes(spectrum)
    inside = gain(spectrum.values, jnp.zeros((), axes.dtype))
    return v - matmul(axes, inside * matmul(along, axes))


def _axes(spectrum: Spectrum) -> Array:
    """Return V; of few rows, U."""
    return spectrum.axes if spectrum.left is None else spectrum.left


def _squared_and_back(
    data: Data, centre: Centre, spectrum: Spectrum, v: Array
) -> tuple[Array, Array]:
    """Return ‖Av‖ and AᵀAv; of few rows, with AᵀA and A as Aᵀ."""
    if spectrum.left is not None:
        A, _ = weighted_rows(data, centre)
        across = matmul(v, A)
        return jnp.sqrt(jnp.sum(across**2)), matmul(A, across)
    start = np.zeros((), v.dtype), np.zeros(v.shape, v.dtype)
    given = (centre.x, v), data.weight, data.X
    square, back = over_rows(_plus_squared_and_back, start, *given)
    return square**0.5, back


def _plus_squared_and_back(
    sums: tuple[Array, Array], known: tuple[Array, Array], weight: Array, X: Array
) -> tuple[Array, Array]:
    x, v = known
    A = jnp.sqrt(weight)[:, None] * (X - x)
    along = matmul(A, v)
    return sums[0] + jnp.sum(along**2), sums[1] + matmul(along, A)


def by_products(
    data: Data, fit_intercept: bool, inner: Callable[[], Inner]
) -> tuple[Centre, Spectrum]:
    """Factorise by the smaller of AᵀA and AAᵀ, whatever digits that may cost."""
    m, n = data.X.shape
    system = system_of(m, n)
    if system == PRIMAL and not checks.any_traced(data):
        return _factorised(moments_of_all(data), fit_intercept)
    few = m < LARGE and data.X.size <= SMALL
    if few or are_shared_out(data.X) or checks.any_traced(data):
        return by_rows(on_device(data), fit_intercept, system, None)
    return _by_kernel(data, inner(), fit_intercept)


@partial(compiled, static_argnums=(1, 2, 3))
def by_rows(
    data: Data,
    fit_intercept: bool,
    system: str,
    rounding: float | None,
) -> tuple[Centre, Spectrum]:
    """Factorise rows."""
    return of_data(data, fit_intercept, system, rounding=rounding)


def _by_kernel(
    data: Data, inner: Inner, fit_intercept: bool
) -> tuple[Centre, Spectrum]:
    """Factorise AAᵀ, a large one on a CPU by NumPy, as `_factorised` does."""
    x, rows, products = inner
    part, *rest = _of_targets(products, data.Y, data.weight, fit_intercept)
    if accelerator.is_used() or len(part) < LARGE:
        values, vectors = _eigh(part)
    else:
        values, vectors = np.linalg.eigh(np.asarray(part))
    # Rows stay outside of the program, which would copy them.
    y, found = _of_kernel(values, vectors, *rest, rows[:0])
    return Centre(x, y), found._replace(right=found.right._replace(rows=rows))


@partial(compiled, static_argnums=3)
def _of_targets(
    products: Array, Y: Array, weight: Array, fit_intercept: bool
) -> tuple[Any, ...]:
    """Return AAᵀ across √w, and that, B, ȳ and the unit vector along √w."""
    root = jnp.sqrt(weight)
    y, across = jnp.zeros_like(Y[0]), None
    if fit_intercept:
        y, across = weighted_mean(Y, weight), root / jnp.linalg.norm(root)
    K = root[:, None] * products * root
    return part_across(K, across), root, root[:, None] * (Y - y), y, across


@compiled
def _of_kernel(
    values: Array,
    inner: Array,
    root: Array,
    B: Array,
    y: Array,
    across: Array | None,
    rows: Array,
) -> tuple[Array, Any]:
    left = turned_across(inner, across)
    return y, of_kernel(values, left, B, across, rows, root)


def _factorised(sums: Moments, fit_intercept: bool) -> tuple[Centre, Spectrum]:
    """Factorise sums, large ones of NumPy's by NumPy.

    After a product the threads of a BLAS spin for a while in wait of the next one, and
    NumPy's and XLA's would take the two cores from each other.
    """
    if not isinstance(sums.xx, np.ndarray) or len(sums.xx) < LARGE:
        return _by_xla(sums, fit_intercept)
    centre, xx, xy = _about_centre(sums, fit_intercept)
    values, right = np.linalg.eigh(np.asarray(xx))
    return centre, _of_axes(values, right, xy)


@partial(compiled, static_argnums=1)
def _by_xla(sums: Moments, fit_intercept: bool) -> tuple[Centre, Spectrum]:
    centre, xx, xy = about_centre(sums, fit_intercept)
    return centre, of_products(xx, xy)


_about_centre = compiled(about_centre, static_argnums=1)
_of_axes = compiled(of_axes)
_eigh = compiled(jnp.linalg.eigh)
