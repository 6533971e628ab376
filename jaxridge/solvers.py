"""Coefficients in closed form, one penalty at a time.

Setting the gradient of J to zero on centred rows gives (XᵀWX + λ) θ = XᵀWY, or, with √w
in the rows, (XᵀX + λ) θ = XᵀY. The n × n system is solved by Cholesky when n ≤ m, and
its m × m twin (XXᵀ + λ) α = Y, θ = Xᵀα, when n > m. Where λ is lost in the rounding of
XᵀX, a singular value decomposition of X itself answers, with the minimum-norm solution
at λ = 0 where columns depend on each other.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.data import (
    ArrayLike,
    Data,
    as_data,
    as_penalty,
    centre_of,
    centred,
    drop_target_axis,
    in_kind_of_input,
    intercept_at,
)
from jaxridge.objective import Params
from jaxridge.products import matmul
from jaxridge.programs import compiled
from jaxridge.spectrum import graded_svd

POWER_STEPS = 8


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
    lam : float
        Penalty in squared units of `X`, at least 0. At 0 the answer is the least
        squares fit, of minimum norm where columns depend on each other.
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
    factor; O(m n) memory. Differentiable in X, y, lam and weight, through the equation
    that the answer solves and not through a factorisation, so also where singular
    values repeat.

    References
    ----------
    Hoerl and Kennard (1970), equation 2.3; Saunders, Gammerman and Vovk (1998), Ridge
    regression learning algorithm in dual variables.

    Examples
    --------
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])
    >>> solve(X, y, lam=2.0)  # coef = Σ xy / (Σ x² + lam) = 4 / (2 + 2)
    Params(coef=array([1.]), intercept=np.float64(3.0))
    """
    data = as_data(X, y, weight)
    checks.single_penalty(lam)
    lam = as_penalty("lam", lam, data.X.dtype)
    fit_intercept = checks.flag("fit_intercept", fit_intercept)
    return drop_target_axis(_solved(data, lam, fit_intercept), y)


def solve_data(data: Data, lam: Float[Array, ""], fit_intercept: bool) -> Params:
    """Return the minimiser of J on checked data."""
    centre = centre_of(data, fit_intercept)
    coef = _coef(*centred(data, centre), lam)
    return Params(coef, intercept_at(coef, centre))


_solved = compiled(solve_data, static_argnums=2)


@jax.custom_jvp
def _coef(
    X: Float[Array, "m n"],
    Y: Float[Array, "m t"],
    weight: Float[Array, " m"],
    lam: Float[Array, ""],
) -> Float[Array, "n t"]:
    """Return (XᵀWX + λ)⁻¹ XᵀWY, of minimum norm at λ = 0."""
    inverse, X, Y, lam = _in_units(X, Y, weight, lam)
    m, n = X.shape
    square = matmul(X.T, X) if n <= m else matmul(X, X.T)
    factor = jnp.linalg.cholesky(square + lam * jnp.eye(min(m, n), dtype=X.dtype))
    coef = jax.lax.cond(
        condition_of(factor) * jnp.finfo(X.dtype).eps ** 0.5 * 10 < 1,
        _by_cholesky,
        lambda factor, X, Y: _by_svd(X, Y, lam),
        *(factor, X, Y),
    )
    return coef * inverse


@_coef.defjvp
def _coef_derivative(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """Differentiate the equation F(θ) = XᵀW(Xθ − Y) + λθ = 0 that the answer solves.

    dF + (XᵀWX + λ) dθ = 0 with dF the change of F at fixed θ: one more solve with the
    same matrix, and no derivative of a factorisation, which would be NaN wherever two
    singular values are equal; nor of √w, which has none at 0.
    """
    X, _, weight, lam = primals
    coef = _coef(*primals)

    def equation(X: Array, Y: Array, weight: Array, lam: Array) -> Array:
        return matmul(X.T, weight[:, None] * (matmul(X, coef) - Y)) + lam * coef

    change = jax.jvp(equation, primals, tangents)[1]
    derivative = jax.lax.custom_linear_solve(
        lambda v: matmul(X.T, weight[:, None] * matmul(X, v)) + lam * v,
        -change,
        lambda _, b: _inverse(*jax.lax.stop_gradient((X, weight, lam)), b),
        symmetric=True,
    )
    return coef, derivative


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
    size = jnp.maximum(jnp.max(jnp.abs(X)), jnp.sqrt(lam))
    inverse = jnp.exp2(-jnp.floor(jnp.log2(jnp.where(size > 0, size, 1))))
    return inverse, X * inverse, Y, lam * inverse * inverse


def condition_of(factor: Float[Array, "k k"]) -> Float[Array, ""]:
    """Return about the condition number of a matrix, from its Cholesky factor.

    The largest eigenvalue of the matrix and of its inverse come from a few power steps,
    O(k²) each, which tell them to a small factor. That of a failed factor is NaN.
    """
    start = jax.random.normal(jax.random.key(0), (factor.shape[0],), factor.dtype)

    def grown(product: Any) -> Array:
        def step(_: Array, v: Array) -> Array:
            return product(v / jnp.linalg.norm(v))

        return jnp.linalg.norm(jax.lax.fori_loop(0, POWER_STEPS, step, start))

    largest = grown(lambda v: matmul(factor, matmul(v, factor)))
    inverse = grown(lambda v: cho_solve((factor, True), v))
    return largest * inverse


def _by_cholesky(factor: Array, X: Array, Y: Array) -> Array:
    if X.shape[1] <= X.shape[0]:
        return cho_solve((factor, True), matmul(X.T, Y))
    return matmul(X.T, cho_solve((factor, True), Y))


def _by_svd(X: Array, Y: Array, lam: Array) -> Array:
    U, s, V = graded_svd(X)
    # s/(s² + λ), of which no square can leave the range.
    safe = jnp.where(s > 0, s, 1)
    gain = jnp.where(s > 0, 1 / (safe + lam / safe), 0)[:, None]
    across, along = matmul(U.T, X), matmul(U.T, Y)
    coef = matmul(V, gain * along)
    # What rounding left of UᵀY − (UᵀX + λ/S Vᵀ) θ = 0, solved once more (Björck 1967).
    rest = along - matmul(across, coef) - lam / safe[:, None] * matmul(V.T, coef)
    return coef + matmul(V, gain * rest)


def _inverse(X: Array, weight: Array, lam: Array, b: Array) -> Array:
    """Return (XᵀWX + λ)⁻¹ b, where b outside the row space is 0 if λ is 0."""
    inverse, X, _, lam = _in_units(X, b[:1], weight, lam)
    _, s, V = graded_svd(X)
    damped = s**2 + lam
    inside = matmul(V.T, b)
    outside = b - matmul(V, inside)
    gain = jnp.where(damped > 0, 1 / jnp.where(damped > 0, damped, 1), 0)
    beyond = jnp.where(lam > 0, 1 / jnp.where(lam > 0, lam, 1), 0)
    return (matmul(V, gain[:, None] * inside) + beyond * outside) * inverse * inverse
