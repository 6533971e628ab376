"""What a penalty is worth, for every λ at once: GCV, the evidence, training error.

With A = U S Vᵀ the rows about their centre, times √w, B the targets likewise, and λ₀
the least of the penalties, one more of λ − λ₀ takes a share u from each coefficient
along V, p = VᵀAᵀB/(s² + λ₀). As Aᵀe(λ₀) = λ₀Θ(λ₀), the residual's square grows to

    ‖e(λ)‖² = ‖e(λ₀)‖² + Σ u (2k + (1 − k) u) q,      u = (λ − λ₀)/(s² + λ),
              k = λ₀/(s² + λ₀),      q = (s² + λ₀) p²,

whatever the number of rows. All of it is positive, and divided by s² + λ alone: by s²,
which may be rounding, only where λ₀ is 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxridge.data import Centre, Data, mean_square
from jaxridge.divisors import or_one
from jaxridge.moments import Moments
from jaxridge.passes import over_rows
from jaxridge.products import matmul
from jaxridge.programs import compiled
from jaxridge.spectrum import Spectrum, coef_at, gain, root_inverse


class Residual(NamedTuple):
    """What the least penalty asked for leaves of the targets."""

    least: Float[Array, ""]  # λ₀
    squares: Float[Array, " t"]  # ‖e(λ₀)‖²


def degrees_of_freedom(
    spectrum: Spectrum, lams: Float[Array, " L"], fit_intercept: bool
) -> Float[Array, " L"]:
    """Return tr H = Σ s²/(s² + λ), and 1 for the intercept."""
    kept = jax.vmap(lambda lam: jnp.sum(spectrum.values * gain(spectrum.values, lam)))
    return kept(lams) + int(fit_intercept)


def residual(
    data: Data,
    centre: Centre,
    spectrum: Spectrum,
    lams: Float[Array, " L"],
) -> Residual:
    """Return what the least of the penalties leaves, summed from e(λ₀) itself."""
    least, coef, kept = _fit_at_least(spectrum, lams)
    zero = np.zeros(data.Y.shape[1], data.X.dtype)
    sums = data.weight, data.Y, data.X if spectrum.left is None else spectrum.left
    return Residual(least, over_rows(_plus_squares, zero, (centre, coef, kept), *sums))


@compiled
def _fit_at_least(
    spectrum: Spectrum, lams: Float[Array, " L"]
) -> tuple[Array, Array, Array | None]:
    """Return λ₀ and the coefficients, along the axes U where those are known."""
    least = jax.lax.stop_gradient(jnp.min(lams))
    if spectrum.left is None:
        return least, coef_at(spectrum, least), None
    g = gain(spectrum.values, least)[:, None]
    fitted = jnp.sqrt(spectrum.values)[:, None] * g * spectrum.along
    return least, fitted, spectrum.values > 0


def _plus_squares(
    sums: Float[Array, " t"],
    fit: tuple[Centre, Array, Array | None],
    weight: Array,
    Y: Array,
    rows: Array,
) -> Float[Array, " t"]:
    """Add the squares of what the fit leaves of some rows, which are of X or of U."""
    (x, y), coef, kept = fit
    root = jnp.sqrt(weight)[:, None]
    A = root * (rows - x) if kept is None else jnp.where((root > 0) & kept, rows, 0)
    return sums + jnp.sum((root * (Y - y) - matmul(A, coef)) ** 2, axis=0)


def residual_of_sums(
    spectrum: Spectrum, sums: Moments, lams: Float[Array, " L"], fit_intercept: bool
) -> tuple[Residual, Float[Array, ""]]:
    """Return the same as ‖B‖² − Σ (1 + k) q, which cancels where the fit is good.

    And the least that this is of ‖B‖², of a target.
    """
    square = sums.yy + (0 if fit_intercept else sums.weight * sums.y**2)
    least = jax.lax.stop_gradient(jnp.min(lams))
    q, k = _squares_along(spectrum, least)
    squares = jnp.maximum(square - matmul(1 + k, q), 0)
    part = jnp.where(square > 0, squares / or_one(square), 1)  # of a target that is 0
    return Residual(least, squares), jnp.min(part)


@compiled
def training_error(
    m: Float[Array, ""],
    spectrum: Spectrum,
    rest: Residual,
    lams: Float[Array, " L"],
) -> Float[Array, "L t"]:
    """Return RSS/m, RSS = ‖e(λ)‖²."""
    return _residual_squares(spectrum, rest, lams) / m


def _residual_squares(
    spectrum: Spectrum, rest: Residual, lams: Float[Array, " L"]
) -> Float[Array, "L t"]:
    q, k = _squares_along(spectrum, rest.least)
    u = _beyond_least(spectrum, rest, lams)
    return rest.squares + matmul(u * (2 * k + (1 - k) * u), q)


def _beyond_least(spectrum: Spectrum, rest: Residual, lams: Array) -> Array:
    """Return u = (λ − λ₀)/(s² + λ), (L, r)."""
    gains = jax.vmap(lambda lam: gain(spectrum.values, lam))(lams)
    return (lams - rest.least)[:, None] * gains


def _squares_along(
    spectrum: Spectrum, least: Float[Array, ""]
) -> tuple[Float[Array, "r t"], Float[Array, " r"]]:
    """Return q and k."""
    g = gain(spectrum.values, least)
    return g[:, None] * spectrum.along**2, least * g


def generalized_cross_validation(
    m: Float[Array, ""],
    spectrum: Spectrum,
    rest: Residual,
    lams: Float[Array, " L"],
    fit_intercept: bool,
    through: Bool[Array, ""],
) -> Float[Array, "L t"]:
    """Return (RSS/m)/(1 − df/m)².

    `through` says that the fit at λ = 0 goes through every row: B is all along U then,
    and RSS is Σ (λg)² (UᵀB)². If that leaves no degrees of freedom either, m − df is
    λ Σ g, and λ cancels. NaN where it is negative, as only weights can make it.
    """
    values = spectrum.values
    free = m - int(fit_intercept) - jnp.sum(values > 0, dtype=m.dtype)
    none = through & (jnp.abs(free) <= 8 * jnp.finfo(m.dtype).eps * m)
    free = jnp.where(none, 0, free)
    along = root_inverse(values)[:, None] * spectrum.along

    def at(given: tuple[Array, Array]) -> Array:
        lam, squares = given
        g = gain(values, lam)
        scale = jnp.where(none, 1, lam)
        left = free + scale * jnp.sum(g)  # m − df
        left = jnp.where(left < 0, jnp.nan, left)
        # Divided first, so that no square of a small number is lost.
        inside = jnp.sum((scale * g[:, None] * along / left) ** 2, axis=0)
        return m * jnp.where(through, inside, squares / left / left)

    return jax.vmap(at)((lams, _residual_squares(spectrum, rest, lams)))


def log_evidence(
    m: Float[Array, ""],
    spectrum: Spectrum,
    rest: Residual,
    lams: Float[Array, " L"],
    fit_intercept: bool,
    through: Bool[Array, ""],
) -> tuple[Float[Array, "L t"], Float[Array, "L t"]]:
    """Return log p(y | λ) and the noise variance that maximises it.

    y ~ N(intercept, σ²(I + XXᵀ/λ)); p is the density of what no intercept moves, y's
    m − 1 coordinates across the constant rows: with Q = ‖e(λ)‖² + λ‖Θ(λ)‖² =
    ‖e(λ₀)‖² + Σ (k + u) q, σ² = Q/(m − 1) and
    log p = −½ ((m − 1)(log 2πσ² + 1) + Σ log(1 + s²/λ)).
    A fit `through` every row needs no other formula here.
    """
    m = m - int(fit_intercept)
    q, k = _squares_along(spectrum, rest.least)
    u = _beyond_least(spectrum, rest, lams)
    noise = (rest.squares + matmul(k + u, q)) / m
    volume = jnp.sum(jnp.log1p(spectrum.values / lams[:, None]), axis=1)[:, None]
    return -(m * (jnp.log(2 * jnp.pi * noise) + 1) + volume) / 2, noise


def unit_of(
    Y: Float[Array, "m t"], weight: Float[Array, " m"], centre: Centre
) -> Float[Array, " t"]:
    """Return the mean square of the targets about their centre, 1 where it is 0."""
    return or_one(mean_square(Y, centre.y, weight))


def interpolates(
    weight: Float[Array, " m"], spectrum: Spectrum, fit_intercept: bool
) -> Array:
    """Whether the fit at λ = 0 goes through every row that counts."""
    rank = jnp.sum(spectrum.values > 0) + int(fit_intercept)
    return rank >= jnp.sum(weight > 0)
