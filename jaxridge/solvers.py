"""Coefficients in closed form, at one penalty or one for each target.

Setting the gradient of J to zero on centred rows gives (XᵀWX + λ) θ = XᵀWY, or, with √w
in the rows, (XᵀX + λ) θ = XᵀY. The n × n system is solved by Cholesky when n ≤ m, and
its m × m twin (XXᵀ + λ) α = Y, θ = Xᵀα, when n > m. Where λ is lost in the rounding of
XᵀX, a singular value decomposition of X itself answers, with the minimum-norm solution
at λ = 0 where columns depend on each other.
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
from jaxridge.divisors import inverse, or_one
from jaxridge.factors import SMALL, answer, known
from jaxridge.idle import blanked
from jaxridge.inner import Inner, inner_of
from jaxridge.moments import Moments, about_centre
from jaxridge.objective import Params
from jaxridge.power import condition_of
from jaxridge.precision import SINGLE, in_float64, is_kept, keeps
from jaxridge.products import matmul, power_of_2
from jaxridge.programs import compiled
from jaxridge.spectrum import Spectrum, coef_at, graded_svd
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
    coef = _coef(*near, lam)
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
    coef, kept = _solution(*near, lam, rounding)
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


def _solution(
    X: Float[Array, "m n"],
    Y: Float[Array, "m t"],
    weight: Float[Array, " m"],
    lam: Float[Array, "*t"],
    rounding: float | None = None,
) -> tuple[Float[Array, "n t"], Bool[Array, ""]]:
    """Return (XᵀWX + λ)⁻¹ XᵀWY, of minimum norm at λ = 0.

    And whether a Cholesky factor has kept its digits; else by singular values, as for
    many penalties.
    """
    inverse, X, Y, lam = _in_units(X, Y, weight, lam)
    if lam.ndim:
        return _by_svd(X, Y, lam, rounding) * inverse, jnp.asarray(False)
    m, n = X.shape
    square = matmul(X.T, X) if n <= m else matmul(X, X.T)
    factor = jnp.linalg.cholesky(square + lam * jnp.eye(min(m, n), dtype=X.dtype))
    kept = keeps(condition_of(factor), X.dtype)
    coef = jax.lax.cond(
        kept,
        _by_cholesky,
        lambda factor, X, Y: _by_svd(X, Y, lam, rounding),
        *(factor, X, Y),
    )
    return coef * inverse, kept


@jax.custom_jvp
def _coef(X: Array, Y: Array, weight: Array, lam: Array) -> Float[Array, "n t"]:
    """Return the solution, to be differentiated."""
    return _solution(X, Y, weight, lam)[0]


@_coef.defjvp
def _coef_derivative(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """Differentiate an equation that the answer solves.

    That takes one more solve with the same matrix, and no derivative of a
    factorisation, which would be NaN wherever two singular values are equal; nor of √w,
    which has none at 0. The smaller of the two systems has no direction without rows,
    in which rounding would be divided by λ.
    """
    coef, X = _coef(*primals), primals[0]
    if X.shape[1] <= X.shape[0]:
        return coef, _change_by_columns(coef, primals, tangents)
    return coef, jax.jvp(_coef_by_rows, primals, tangents)[1]


def _change_by_columns(coef: Array, primals: Any, tangents: Any) -> Array:
    """Return dθ of F(θ) = XᵀW(Xθ − Y) + λθ = 0: (XᵀWX + λ) dθ = −dF at fixed θ."""
    X, _, weight, lam = primals

    def equation(X: Array, Y: Array, weight: Array, lam: Array) -> Array:
        return matmul(X.T, weight[:, None] * (matmul(X, coef) - Y)) + lam * coef

    return jax.lax.custom_linear_solve(
        lambda v: matmul(X.T, weight[:, None] * matmul(X, v)) + lam * v,
        -jax.jvp(equation, primals, tangents)[1],
        lambda _, b: _inverse(*jax.lax.stop_gradient((X, weight, lam)), b),
        symmetric=True,
    )


def _coef_by_rows(X: Array, Y: Array, weight: Array, lam: Array) -> Array:
    """Return θ = XᵀWβ with (XXᵀW + λ) β = Y, to be differentiated as it stands."""
    unit = jax.lax.stop_gradient(_inverse_unit(jnp.sqrt(weight)[:, None] * X, lam))
    X, lam = X * unit, lam * unit * unit
    known = jax.lax.stop_gradient((X, weight, lam))
    beta = jax.lax.custom_linear_solve(
        lambda v: matmul(X, matmul(X.T, weight[:, None] * v)) + lam * v,
        Y,
        lambda _, b: _inverse_by_rows(*known, b),
        lambda _, b: _inverse_by_rows(*known, b, transposed=True),
    )
    return matmul(X.T, weight[:, None] * beta) * unit


def _in_units(
    X: Array, Y: Array, weight: Array, lam: Array
) -> tuple[Array, Array, Array, Array]:
    """Return 1/unit, √w X and λ in that unit, and √w Y: no square leaves the range.

    X = unit · X' and λ = unit² λ' give θ = θ' / unit. The unit is a power of 2, so that
    nothing is rounded, and the size of the larger of X and √λ. Its inverse multiplies,
    as XLA makes of λ/unit/unit a division by a square that may not exist.
    """
    root = jnp.sqrt(weight)[:, None]
    X, Y = root * X, root * Y
    inverse = _inverse_unit(X, lam)
    return inverse, X * inverse, Y, lam * inverse * inverse


def _inverse_unit(X: Array, lam: Array) -> Array:
    size = jnp.maximum(jnp.max(jnp.abs(X)), jnp.sqrt(jnp.max(lam)))
    return 1 / power_of_2(size)


def _by_cholesky(factor: Array, X: Array, Y: Array) -> Array:
    if X.shape[1] <= X.shape[0]:
        return cho_solve((factor, True), matmul(X.T, Y))
    return matmul(X.T, cho_solve((factor, True), Y))


def _by_svd(X: Array, Y: Array, lam: Array, rounding: float | None) -> Array:
    U, s, V = graded_svd(X, rounding)
    # s/(s² + λ), of which no square can leave the range.
    s = s[:, None]
    safe = or_one(s)
    gain = jnp.where(s > 0, 1 / (safe + lam / safe), 0)
    across, along = matmul(U.T, X), matmul(U.T, Y)
    coef = matmul(V, gain * along)
    # What rounding left of UᵀY − (UᵀX + λ/S Vᵀ) θ = 0, solved once more (Björck 1967).
    rest = along - matmul(across, coef) - lam / safe * matmul(V.T, coef)
    return coef + matmul(V, gain * rest)


def _inverse(X: Array, weight: Array, lam: Array, b: Array) -> Array:
    """Return (XᵀWX + λ)⁻¹ b of no more columns than rows."""
    inverse, X, _, lam = _in_units(X, b[:1], weight, lam)
    _, s, V = graded_svd(X)
    return matmul(V, _damped(s, lam) * matmul(V.T, b)) * inverse * inverse


def _inverse_by_rows(
    X: Array, weight: Array, lam: Array, b: Array, transposed: bool = False
) -> Array:
    """Return (XXᵀW + λ)⁻¹ b, or (WXXᵀ + λ)⁻¹ b.

    With D = √W and K = DXXᵀD, rows that count have D⁻¹ (K + λ)⁻¹ D b, or its transpose,
    and those of weight 0 are no part of XXᵀW.
    """
    D = jnp.sqrt(weight)[:, None]
    counts = D > 0
    safe = jnp.where(counts, D, 1)
    U, s, _ = graded_svd(D * X)
    beyond = inverse(lam)

    def solved(b: Array) -> Array:
        return matmul(U, _damped(s, lam) * matmul(U.T, jnp.where(counts, b, 0)))

    if transposed:
        apart = jnp.where(counts, 0, beyond * b)
        rest = b / safe - D * matmul(X, matmul(X.T, apart))
        return apart + D * solved(rest)
    among = jnp.where(counts, solved(D * b) / safe, 0)
    rest = b - matmul(X, matmul(X.T, weight[:, None] * among))
    return jnp.where(counts, among, beyond * rest)


def _damped(s: Array, lam: Array) -> Array:
    """Return 1/(s² + λ), a column for each λ, 0 where that is no number."""
    return inverse(s[:, None] ** 2 + lam)
