"""What a penalty is worth, for every λ at once: GCV, the evidence, training error.

With A = U S Vᵀ the rows about their centre, times √w, and B the targets likewise, the
residual at λ is, along U and beyond it,

    B − AΘ(λ) = r + λ U g UᵀB,      r = B − UUᵀB,      g = 1/(s² + λ),

so that its square is ‖r‖² + Σ (λg)² (UᵀB)², whatever the number of rows.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxridge.data import Centre, Data, weighted_rows
from jaxridge.products import matmul
from jaxridge.spectrum import Spectrum, coef_at, gain, root_inverse
from jaxridge.tiles import View, as_stored, fold


def degrees_of_freedom(
    spectrum: Spectrum, lams: Float[Array, " L"], fit_intercept: bool
) -> Float[Array, " L"]:
    """Return tr H = Σ s²/(s² + λ), and 1 for the intercept."""
    kept = jax.vmap(lambda lam: jnp.sum(spectrum.values * gain(spectrum.values, lam)))
    return kept(lams) + fit_intercept


def residual_squares(
    data: Data, centre: Centre, spectrum: Spectrum, view: View = as_stored
) -> Float[Array, " t"]:
    """Return ‖r‖², what no penalty can fit, summed from r itself.

    r is the residual at λ = 0: B − Aθ(0), or where U is known B − UUᵀB.
    """
    nothing = jnp.zeros((), data.X.dtype)
    if spectrum.left is None:
        coef = coef_at(spectrum, nothing)
    along = root_inverse(spectrum.values)[:, None] * spectrum.along

    def absorb(sums: Array, weight: Array, X: Array, Y: Array, *left: Array) -> Array:
        A, B = weighted_rows(Data(X, Y, weight), centre, view)
        if left:
            U = jnp.where((weight[:, None] > 0) & (spectrum.values > 0), left[0], 0)
            rest = B - matmul(U, along)
        else:
            rest = B - matmul(A, coef)
        return sums + jnp.sum(rest**2, axis=0)

    zero = jnp.zeros(data.Y.shape[1], data.X.dtype)
    kept = () if spectrum.left is None else (spectrum.left,)
    return fold(absorb, zero, data.weight, data.X, data.Y, *kept)


def residual_squares_of_sums(
    spectrum: Spectrum, square: Float[Array, " t"]
) -> Float[Array, " t"]:
    """Return the same as ‖B‖² − ‖UᵀB‖², which cancels where the fit is good."""
    return jnp.maximum(square - jnp.sum(_squares_along(spectrum), axis=0), 0)


def training_error(
    m: Float[Array, ""],
    spectrum: Spectrum,
    beyond: Float[Array, " t"],
    lams: Float[Array, " L"],
) -> Float[Array, "L t"]:
    """Return RSS/m, RSS = ‖r‖² + Σ (λg)² (UᵀB)²."""
    g = lams[:, None] * jax.vmap(lambda lam: gain(spectrum.values, lam))(lams)
    return (beyond + matmul(g**2, _squares_along(spectrum))) / m


def _squares_along(spectrum: Spectrum) -> Float[Array, "r t"]:
    """Return (UᵀB)²."""
    zero = jnp.zeros((), spectrum.values.dtype)
    return gain(spectrum.values, zero)[:, None] * spectrum.along**2


def generalized_cross_validation(
    m: Float[Array, ""],
    spectrum: Spectrum,
    beyond: Float[Array, " t"],
    lams: Float[Array, " L"],
    fit_intercept: bool,
    through: Bool[Array, ""],
) -> Float[Array, "L t"]:
    """Return (RSS/m)/(1 − df/m)², RSS = ‖r‖² + Σ g² (UᵀB)².

    `through` says that the fit at λ = 0 goes through every row, so that ‖r‖ is 0.
    """
    values, square = spectrum.values, _squares_along(spectrum)
    free = m - fit_intercept - jnp.sum(values > 0)
    none = through & (jnp.abs(free) <= 8 * jnp.finfo(m.dtype).eps * m)
    free, beyond = jnp.where(none, 0, free), jnp.where(through, 0, beyond)

    def at(lam: Array) -> Array:
        g = gain(values, lam)
        scale = jnp.where(none, 1, lam)
        left = free + scale * jnp.sum(g)  # m − df
        # Divided first, so that no square of a small number is lost.
        return m * (
            (jnp.sqrt(beyond) / left) ** 2 + matmul((scale * g / left) ** 2, square)
        )

    return jax.vmap(at)(lams)


def log_evidence(
    m: Float[Array, ""],
    spectrum: Spectrum,
    beyond: Float[Array, " t"],
    lams: Float[Array, " L"],
    fit_intercept: bool,
) -> tuple[Float[Array, "L t"], Float[Array, "L t"]]:
    """Return log p(y | λ) and the noise variance that maximises it.

    y ~ N(intercept, σ²(I + XXᵀ/λ)), flat in the intercept, which costs one degree of
    freedom: with Q = ‖r‖² + Σ g (UᵀB)², σ² = Q/(m − 1) and
    log p = −½ ((m − 1)(log 2πσ² + 1) + Σ log(1 + s²/λ)).
    """
    m = m - fit_intercept
    values, square = spectrum.values, _squares_along(spectrum)

    def at(lam: Array) -> tuple[Array, Array]:
        g = lam * gain(values, lam)
        noise = (beyond + matmul(g, square)) / m
        volume = jnp.sum(jnp.log1p(values / lam))
        return -(m * (jnp.log(2 * jnp.pi * noise) + 1) + volume) / 2, noise

    return jax.vmap(at)(lams)


def mean_square(data: Data, about: Float[Array, " t"]) -> Float[Array, " t"]:
    """Return the mean square of the targets about a point."""
    squares = data.weight[:, None] * (data.Y - about) ** 2
    return jnp.sum(squares, axis=0) / jnp.sum(data.weight)


def unit_of(data: Data, centre: Centre) -> Float[Array, " t"]:
    """Return the mean square of the targets about their centre, 1 where it is 0."""
    square = mean_square(data, centre.y)
    return jnp.where(square > 0, square, 1)


def interpolates(data: Data, spectrum: Spectrum, fit_intercept: bool) -> Array:
    """Whether the fit at λ = 0 goes through every row that counts."""
    rank = jnp.sum(spectrum.values > 0) + fit_intercept
    return rank >= jnp.sum(data.weight > 0)
