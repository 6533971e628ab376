"""Coefficients in closed form, at one penalty or one for each target.

Setting the gradient of J to zero on centred rows gives the normal equations. At one
penalty they are solved as they stand (see `normal_equations`), or, where rows are many
and nothing is traced, from products that NumPy makes; with a penalty for each target,
by one eigendecomposition that serves all.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float

from jaxridge import checks
from jaxridge.border import ArrayLike, in_kind_of_input
from jaxridge.data import (
    Centre,
    Data,
    as_data,
    as_penalty,
    centre_of,
    centred,
    drop_target_axis,
    intercept_at,
    on_a_cpu,
    on_device,
    weighted_mean,
)
from jaxridge.factors import SMALL, answer, known
from jaxridge.idle import blanked
from jaxridge.inner import Inner, inner_of
from jaxridge.moments import Moments, about_centre
from jaxridge.normal_equations import coef_of, solution
from jaxridge.params import Params
from jaxridge.power import condition_of
from jaxridge.precision import SINGLE, in_float64, is_kept
from jaxridge.products import matmul
from jaxridge.programs import compiled
from jaxridge.spectrum import Spectrum, coef_at
from jaxridge.sums import moments_of_all
from jaxridge.threads import few_for


@in_kind_of_input
def solve(
    X: ArrayLike,
    y: ArrayLike,
    lam: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    fit_intercept: bool = True,
) -> Params:
    """Ridge coefficients in closed form.

    Minimises ``J = (Σ w (X @ coef + intercept − y)² + lam · ‖coef‖²) / (2m)``, so `lam`
    is scikit-learn's ``alpha``; the intercept is not penalised.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        The rows, finite.
    y : array of shape (n_samples,) or (n_samples, n_targets)
        The targets.
    lam : float, or array of shape (n_targets,)
        Penalty in squared units of `X`, at least 0, for all targets or one for each. At
        0 the answer is the least squares fit, of minimum norm where columns depend on
        each other.
    weight : array of shape (n_samples,), optional
        How often each row counts, at least 0 and not all 0.
    fit_intercept : bool
        Whether to fit an unpenalised intercept; it is 0 otherwise.

    Returns
    -------
    Params
        coef of shape (n_features,) or (n_features, n_targets), and the intercept.

    Raises
    ------
    TypeError
        If an argument does not hold real numbers.
    ValueError
        If shapes do not fit, or values are negative, NaN or infinite (unless traced).

    Notes
    -----
    With k = min(m, n): O(m n k) time for the Gram or kernel and O(k³) for its Cholesky
    factor, or with a penalty for each target for one eigendecomposition that serves
    all; O(m (n + t)) memory. float32 rows of which products would lose too many digits
    are computed with in float64, unless they are traced.

    Differentiable in X, y, lam and weight, through the equation that the answer solves
    and not through a factorisation, so also where singular values repeat. Where lam is
    0 and the rank is less than k it has no derivative by X: the answer of minimum norm
    jumps.

    References
    ----------
    Hoerl and Kennard (1970), equation 2.1; Saunders, Gammerman and Vovk (1998), Ridge
    regression learning algorithm in dual variables.

    Examples
    --------
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])
    >>> solve(X, y, lam=2.0)  # coef = Σ xy / (Σ x² + lam) = 4 / (2 + 2)
    Params(coef=array([1.]), intercept=np.float64(3.0))
    >>> Y = np.column_stack([y, y])
    >>> solve(X, Y, lam=[0.0, 2.0]).coef  # a penalty for each target
    array([[2., 1.]])
    """
    data = as_data(X, y, weight, stay=on_a_cpu)
    checks.penalty_of_targets(lam, y, "use `path`")
    lam = as_penalty("lam", lam, data.X.dtype)
    fit_intercept = checks.flag("fit_intercept", fit_intercept)
    if checks.any_traced(data, lam):
        return drop_target_axis(_solved(on_device(data), lam, fit_intercept), y)
    soon = _soon_solved(data, lam, fit_intercept)
    if soon is not None:
        return drop_target_axis(soon, y)
    data = on_device(data)
    found, kept, finite = _solved_known(data, lam, fit_intercept)
    if not (checks.is_traced(finite) or finite):
        raise ValueError(
            "`X`, `y` or `weight` leave the range of their dtype once they are centred "
            "or multiplied: rescale them"
        )
    if data.X.dtype == jnp.float32 and not checks.is_traced(kept) and not kept:
        found, *_ = in_float64(
            lambda *wide: _solved_known(*wide, fit_intercept, SINGLE), data, lam
        )
    return drop_target_axis(found, y)


def _soon_solved(
    data: Data, lam: Float[Array, "*t"], fit_intercept: bool
) -> Params | None:
    """Solve by products of the rows, where those are numbers and keep the digits.

    At one penalty many rows of NumPy's, which NumPy multiplies sooner than XLA; at one
    for each target all.
    """
    m, n = data.X.shape
    soon = isinstance(data.X, np.ndarray) and m * n >= SMALL
    if not lam.ndim and (not soon or (n > m and lam == 0)):
        return None
    counted = blanked(data.X, data.weight)
    given = data.X, counted, data.Y
    if not all(checks.has_squares(array, data.weight) for array in given):
        return None
    if lam.ndim:
        return _solved_for_each(data, lam, fit_intercept)
    params, worst = by_cholesky(data, lam, fit_intercept)
    return params if is_kept(worst, data.X.dtype) else None


def _solved_for_each(
    data: Data, lam: Float[Array, " t"], fit_intercept: bool
) -> Params:
    """Solve for each target at its own penalty, from one factorisation."""

    def question(*given: Any) -> tuple[Params, Any]:
        return at_own_penalties(*given[1:]), 1.0

    return answer(question, known(data, fit_intercept), lam, of_targets=True)[0]


@compiled
def at_own_penalties(
    centre: Centre, spectrum: Spectrum, lam: Float[Array, " t"]
) -> Params:
    """Return each target's coefficients."""
    coef = coef_at(spectrum, lam)
    return Params(coef, intercept_at(coef, centre))


def by_cholesky(
    data: Data, lam: Float[Array, ""], fit_intercept: bool
) -> tuple[Params, Float[Array, ""]]:
    """Return the solution by a Cholesky factor, and the condition number of that.

    It is NaN, and so the condition, where the factor failed.
    """
    m, n = data.X.shape
    if n > m:
        inner = inner_of(data.X, data.weight, fit_intercept)
        return _of_kernel(inner, data.Y, data.weight, lam, fit_intercept)
    sums = moments_of_all(data)
    with few_for(n, n):
        params, worst = _of_sums(sums, lam, fit_intercept)
        jax.block_until_ready(worst)  # while BLAS has one thread
    return params, worst


@partial(compiled, static_argnums=2)
def _of_sums(sums: Moments, lam: Array, fit_intercept: bool) -> tuple[Params, Array]:
    """Solve (AᵀA + λ) θ = AᵀB."""
    centre, xx, xy = about_centre(sums, fit_intercept)
    factor = jnp.linalg.cholesky(xx + lam * jnp.eye(len(xx), dtype=xx.dtype))
    coef = cho_solve((factor, True), xy)
    return Params(coef, intercept_at(coef, centre)), condition_of(factor)


@partial(compiled, static_argnums=4)
def _of_kernel(
    inner: Inner, Y: Array, weight: Array, lam: Array, fit_intercept: bool
) -> tuple[Params, Array]:
    """Solve (AAᵀ + λ) α = B, θ = Aᵀα."""
    x, rows, products = inner
    y, share = jnp.zeros_like(Y[0]), jnp.zeros_like(weight)
    if fit_intercept:
        # Means are rounded, and what that leaves in all rows belongs to the intercept.
        y, share = weighted_mean(Y, weight), weight / jnp.sum(weight)
        left = matmul(products, share)
        products = products - left - left[:, None] + matmul(share, left)
    root = jnp.sqrt(weight)[:, None]
    kernel = root * products * root.T
    factor = jnp.linalg.cholesky(kernel + lam * jnp.eye(len(kernel), dtype=Y.dtype))
    each = root * cho_solve((factor, True), root * (Y - y))
    each -= share[:, None] * jnp.sum(each, axis=0)
    coef = matmul(each.T, rows).T
    return Params(coef, intercept_at(coef, Centre(x, y))), condition_of(factor)


@partial(compiled, static_argnums=2)
def _solved(data: Data, lam: Float[Array, "*t"], fit_intercept: bool) -> Params:
    """Return the minimiser of J, with derivatives."""
    near, centre = _near(data, fit_intercept)
    coef = coef_of(*near, lam)
    return Params(coef, intercept_at(coef, centre))


@partial(compiled, static_argnums=(2, 3))
def _solved_known(
    data: Data,
    lam: Float[Array, ""],
    fit_intercept: bool,
    rounding: float | None = None,
) -> tuple[Params, Bool[Array, ""], Bool[Array, ""]]:
    """Return the same, whether a Cholesky factor has kept its digits, and if finite."""
    near, centre = _near(data, fit_intercept)
    coef, kept = solution(*near, lam, rounding)
    intercept = intercept_at(coef, centre)
    finite = jnp.all(jnp.isfinite(coef)) & jnp.all(jnp.isfinite(intercept))
    return Params(coef, intercept), kept, finite


def _near(data: Data, fit_intercept: bool) -> tuple[Data, Centre]:
    """Return the data about their centre, and the centre.

    Means are rounded, and what that leaves in all rows of columns far from 0 would be a
    direction of its own, which belongs to the intercept: it is taken out in a second
    go, from numbers whose means are as small as they get.
    """
    centre = centre_of(data, fit_intercept)
    near = centred(data, centre)
    if fit_intercept:
        near = centred(near, centre_of(near, fit_intercept))
    return near, centre
