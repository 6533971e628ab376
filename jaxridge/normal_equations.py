"""The normal equations (XᵀWX + λ) θ = XᵀWY of rows: solved, and differentiated.

The n × n system is solved by Cholesky when n ≤ m, and its m × m twin, (XXᵀ + λ) α = Y
with θ = Xᵀα, when n > m. Where λ is lost in the rounding of XᵀX, a singular value
decomposition of X itself answers, with the minimum-norm solution at λ = 0 where columns
depend on each other. Derivatives are those of the equation, not of a factorisation.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float

from jaxridge.divisors import inverse, or_one
from jaxridge.graded import graded_svd
from jaxridge.power import condition_of
from jaxridge.precision import keeps
from jaxridge.products import matmul, power_of_2


def solution(
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
def coef_of(X: Array, Y: Array, weight: Array, lam: Array) -> Float[Array, "n t"]:
    """Return the solution, to be differentiated."""
    return solution(X, Y, weight, lam)[0]


@coef_of.defjvp
def _derivative(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """Differentiate an equation that the answer solves.

    That takes one more solve with the same matrix, and no derivative of a
    factorisation, which would be NaN wherever two singular values are equal; nor of √w,
    which has none at 0. The smaller of the two systems has no direction without rows,
    in which rounding would be divided by λ.
    """
    coef, X = coef_of(*primals), primals[0]
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
