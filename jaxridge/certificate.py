"""What a fit is worth as an answer: the gradient of J there, and how it was computed.

At the minimum ∇J is 0, so ‖∇J(θ)‖ over ‖∇J(0)‖ tells how far from it a fit is, whatever
route it came by. The gradient is taken twice, as `jax.grad` derives it from the cost
and by hand, so that no mistake in one of them certifies itself. Of many targets a sum
with random signs is checked: J's gradient is linear in θ and y together, and such a sum
is 0 by chance only if all are (Freivalds 1979).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tabulate import tabulate

from jaxridge import checks, probes
from jaxridge.border import ArrayLike, in_kind_of_input
from jaxridge.data import (
    Data,
    as_data_to_square,
    as_floats,
    as_penalty,
    mean_square,
    weighted_mean,
)
from jaxridge.divisors import or_one
from jaxridge.excerpt import where_known
from jaxridge.moments import Moments, about_centre
from jaxridge.objective import cost_of_rows, gradient_norm, squared_residuals
from jaxridge.params import Params, ParamsPath
from jaxridge.passes import compiled_unless_many, over_rows
from jaxridge.placement import placed
from jaxridge.products import matmul
from jaxridge.programs import compiled
from jaxridge.routes import Route

FITS_AT_ONCE = 4
Slopes = tuple[Params, Params]  # ∇J by autodiff and by hand, or a multiple of it
Slope = Callable[[Params, Array], Slopes]


class Certificate(NamedTuple):
    """How near fits are to the minimum of J, and how they were computed.

    Attributes
    ----------
    lams : array of shape (c,)
        The penalties looked at; of a fit whose targets have one each, the least.
    autodiff, by_hand : arrays of shape (c,)
        ‖∇J(θ)‖ / ‖∇J(0)‖ by `jax.grad` of the cost, and by formula; the intercept, at
        its best at coef = 0, counts if there is one. Of a sum of the targets, each in
        units of its deviation, with random signs.
    condition : array of shape ()
        About the condition number of XᵀWX + λ at the least penalty fitted, infinite for
        λ = 0 where columns depend on each other; NaN where nothing was factorised.
    route : Route
        What was factorised, in which precision, and whether that had to be raised.
    """

    lams: Float[Array, " c"]
    autodiff: Float[Array, " c"]
    by_hand: Float[Array, " c"]
    condition: Float[Array, ""]
    route: Route

    @where_known
    def __str__(self) -> str:
        """Return one line for each penalty, and the route."""
        rows = list(zip(self.lams, self.autodiff, self.by_hand, strict=True))
        headers = ["lam", "gradient norm, autodiff", "by hand"]
        table = tabulate(rows, headers, floatfmt=(".6g", ".1e", ".1e"))
        return f"{table}\n\n{self.route}; condition number {self.condition:.1e}"


@in_kind_of_input
def certify(
    params: Params | ParamsPath,
    X: ArrayLike,
    y: ArrayLike,
    lam: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    fit_intercept: bool = True,
) -> Certificate:
    """Certify coefficients, wherever they come from, as a minimum of J.

    ``J = (Σ w (X @ coef + intercept − y)² + lam · ‖coef‖²) / (2m)``, m = Σ w.

    Parameters
    ----------
    params : Params or ParamsPath
        One fit, or the fits of a grid.
    X : array of shape (n_samples, n_features)
        The rows, finite.
    y : array of shape (n_samples,) or (n_samples, n_targets)
        The targets.
    lam : float or array of shape (n_targets,), or of a ParamsPath (n_lams,)
        The penalty of each fit; of one, for all targets or for each.
    weight : array of shape (n_samples,), optional
        How often each row counts.
    fit_intercept : bool
        Whether the intercept was fitted.

    Returns
    -------
    Certificate
        Of every penalty; the condition number is NaN, as nothing is factorised.

    Raises
    ------
    TypeError, ValueError
        As `cost` does, and for params that do not fit the data.

    Notes
    -----
    O(m n L + (m + n L) t) time: of many targets one combination is multiplied by the
    rows, which are read a tile at a time.

    References
    ----------
    Freivalds (1979), Fast probabilistic algorithms.

    Examples
    --------
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])
    >>> params = Params(coef=np.array([1.0]), intercept=np.array(3.0))
    >>> print(certify(params, X, y, lam=2.0).by_hand)
    [0.]
    """
    if not isinstance(params, Params | ParamsPath):
        raise TypeError(f"`params` must be Params, got {type(params).__name__}")
    data = as_data_to_square(X, y, weight)
    (coef,) = as_floats(coef=params.coef)
    (intercept,) = as_floats(intercept=params.intercept)
    fits = ParamsPath(coef, intercept)
    # Of the wider dtype, as a narrower one would certify another fit.
    dtype = np.result_type(data.X.dtype, fits.coef.dtype)
    data, fits = jax.tree.map(lambda a: a.astype(dtype, copy=False), (data, fits))
    is_path = isinstance(params, ParamsPath)
    if is_path:
        checks.grid(lam, "lam")
    else:
        checks.penalty_of_targets(lam, y, "pass their fits, a `ParamsPath`")
    lams = as_penalty("lam", lam, data.X.dtype)
    n, t = data.X.shape[1], data.Y.shape[1]
    L, of_targets = lams.shape if is_path else (), np.shape(y)[1:]
    shapes = {"coef": (*L, n, *of_targets), "intercept": (*L, *of_targets)}
    for name, shape in shapes.items():
        got = np.shape(getattr(fits, name))
        if got != shape:
            raise ValueError(f"`params` must have {name} of shape {shape}, got {got}")
    lams = lams if is_path else lams[None]
    coef, intercept = fits.coef.reshape(-1, n, t), fits.intercept.reshape(-1, t)
    mean = checks.flag("fit_intercept", fit_intercept)
    autodiff, by_hand = of_rows(data, ParamsPath(coef, intercept), lams, mean)
    if not (checks.is_traced(by_hand) or np.isfinite(by_hand).all()):
        raise ValueError(
            f"`params` are so large that the gradient there is beyond {dtype}: rescale "
            "the columns of `X`"
        )
    nothing: Any = np.full((), np.nan, dtype)  # no NaN that JAX looks for
    lams = lams.reshape(len(lams), -1).min(axis=1)
    return Certificate(lams, autodiff, by_hand, nothing, Route(dtype=str(dtype)))


@compiled
def some_fits(
    fits: ParamsPath, lams: Float[Array, " L"]
) -> tuple[ParamsPath, Float[Array, " c"]]:
    """Return the fits at the least, the middle and the largest penalty."""
    order, L = jnp.argsort(lams), len(lams)
    some = order[jnp.array(sorted({0, (L - 1) // 2, L - 1}))]
    return fits.among(some), lams[some]


@partial(compiled_unless_many, static_argnums=3)
def of_rows(
    data: Data,
    fits: ParamsPath,
    lams: Float[Array, "c *t"],
    fit_intercept: bool,
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Return the relative gradient norms of fits of checked data, twice.

    The penalty of each fit is one number for all its targets, or one for each.
    """
    Y, weight = placed(data.Y), placed(data.weight)
    y, start, params = _of_one_target(Y, weight, fits, lams, fit_intercept)
    slopes = over_rows(_plus_slopes, start, params, data.weight, data.X, y)
    return _over_first(slopes, fit_intercept)


@partial(compiled, static_argnums=4)
def _of_one_target(
    Y: Float[Array, "m t"],
    weight: Float[Array, " m"],
    fits: ParamsPath,
    lams: Float[Array, "c *t"],
    fit_intercept: bool,
) -> tuple[Array, Slopes, Params]:
    """Return the sum of the targets (m, 1), what λ adds to 2m∇J, and the fits of it."""
    square = mean_square(Y, weighted_mean(Y, weight), weight)
    signs = signs_of(jnp.sqrt(square))
    y = matmul(Y, signs)[:, None]
    middle = weighted_mean(y, weight)[0] if fit_intercept else 0 * y[0, 0]
    params, shrunk = with_start(summed(fits, lams, signs), middle)
    # The penalty's part, from the cost of no rows: one of weight 0 adds nothing.
    none = jnp.zeros_like(params.intercept)
    autodiff = jax.vmap(jax.grad(penalty_of))(Params(shrunk, none))
    return y, (autodiff, Params(2 * shrunk, none)), params


def _plus_slopes(
    sums: Slopes, fits: Params, weight: Array, X: Array, y: Array
) -> Slopes:
    """Add 2m∇J of some rows for each of the fits."""
    target = y[:, 0]

    def slope(params: Params) -> Slopes:
        autodiff = jax.grad(squared_residuals)(params, X, target, weight)
        e = weight * (matmul(X, params.coef) + params.intercept - target)
        return autodiff, Params(2 * matmul(e, X), 2 * jnp.sum(e))

    more = jax.lax.map(slope, fits, batch_size=FITS_AT_ONCE)
    return jax.tree.map(jnp.add, sums, more)


@partial(compiled, static_argnums=3)
def of_moments(
    fits: ParamsPath, sums: Moments, lams: Float[Array, "c *t"], fit_intercept: bool
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Return the same where the moments of the rows are all there is.

    About the centre, where the intercept is at its best, J is a parabola in coef.
    """
    _, xx, xy = about_centre(sums, fit_intercept)
    signs = signs_of(jnp.sqrt(sums.yy / sums.weight))
    cross, m = matmul(xy, signs), sums.weight

    def parabola(coef: Array) -> Array:
        return matmul(coef, matmul(xx, coef)) - 2 * matmul(coef, cross)

    def slope(params: Params, shrunk: Array) -> tuple[Params, Params]:
        none = jnp.zeros_like(params.intercept)
        penalty = jax.grad(penalty_of)(Params(shrunk, none)).coef
        autodiff = (jax.grad(parabola)(params.coef) + penalty) / (2 * m)
        by_hand = (matmul(xx, params.coef) - cross + shrunk) / m
        return Params(autodiff, none), Params(by_hand, none)

    return relative(slope, summed(fits, lams, signs), 0 * m, False)


class Summed(NamedTuple):
    """Fits of all targets as fits of one, their sum with signs, and λ · coef alike."""

    params: Params  # coef (c, n) and intercept (c,)
    shrunk: Float[Array, "c n"]


def summed(
    fits: ParamsPath, lams: Float[Array, "c *t"], signs: Float[Array, " t"]
) -> Summed:
    """Return fits of the sum of the targets with signs."""
    each = lams.reshape(len(lams), -1) * signs
    shrunk = matmul(fits.coef, each[..., None])[..., 0]
    params = Params(matmul(fits.coef, signs), matmul(fits.intercept, signs))
    return Summed(params, shrunk)


def penalty_of(params: Params) -> Array:
    """Return ‖coef‖², as the cost of a row of zeros has it: J is that over 2m."""
    X, nothing = jnp.zeros_like(params.coef)[None], jnp.zeros_like(params.coef[:1])
    no_intercept = params._replace(intercept=jnp.zeros_like(params.intercept))
    return 2 * cost_of_rows(no_intercept, X, nothing, nothing + 1, nothing[0] + 1)


def relative(
    slope: Slope, one: Summed, middle: Float[Array, ""], fit_intercept: bool
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Return ‖∇J‖ of fits over that at coef = 0, by both gradients of a slope."""

    def at(fit: Summed) -> Slopes:
        return slope(*fit)

    fits = with_start(one, middle)
    return _over_first(jax.lax.map(at, fits, batch_size=FITS_AT_ONCE), fit_intercept)


def with_start(one: Summed, middle: Float[Array, ""]) -> Summed:
    """Return the fit at coef = 0 and the fits, for one pass over the rows."""
    (coefs, intercepts), shrunk = one
    none = jnp.zeros_like(shrunk[:1])
    params = Params(
        jnp.concatenate([none, coefs]), jnp.concatenate([middle[None], intercepts])
    )
    return Summed(params, jnp.concatenate([none, shrunk]))


@partial(compiled, static_argnums=1)
def _over_first(
    slopes: Slopes, fit_intercept: bool
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Return ‖∇J‖ of each fit but the first over that of the first."""
    norm = jax.vmap(partial(gradient_norm, fit_intercept=fit_intercept))
    autodiff, by_hand = (found[1:] / or_one(found[0]) for found in map(norm, slopes))
    return autodiff, by_hand


def signs_of(deviation: Float[Array, " t"]) -> Float[Array, " t"]:
    """Return a sign for each target, over its deviation."""
    each = probes.signs(len(deviation), deviation.dtype)
    return each / or_one(deviation)
