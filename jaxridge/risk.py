"""What a penalty is worth, for every λ at once, from one factorisation.

With A = U S Vᵀ the rows about their centre, times √w, and B the targets likewise, the
residual at λ is, along U and beyond it,

    e(λ) = B − AΘ(λ) = r + U g UᵀB,      r = B − UUᵀB,      g = λ/(s² + λ),

and the diagonal of I − H(λ), H the matrix that takes targets to fitted values, is

    1 − h(λ) = d + (U∘U) g,      d = 1 − (U∘U) 1 − w/Σw,

the last term being the intercept's. No two nearly equal numbers are subtracted however
small λ is: where a row's d is 0 (it is needed to determine the fit), r is 0 too, λ
cancels between e and 1 − h, and what is left has a limit at λ = 0, the prediction of
the minimum-norm fit.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxridge.data import Centre, Data
from jaxridge.products import matmul
from jaxridge.spectrum import Spectrum, gain, root_inverse
from jaxridge.tiles import at_once, fold

Loss = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]


class Spread(NamedTuple):
    """Weighted mean and scatter of a loss over rows, and how many rows counted."""

    weight: Float[Array, ""]
    mean: Float[Array, "L t"]
    scatter: Float[Array, "L t"]
    rows: Float[Array, ""]


def degrees_of_freedom(
    spectrum: Spectrum, lams: Float[Array, " L"], fit_intercept: bool
) -> Float[Array, " L"]:
    """Return tr H = Σ s²/(s² + λ), and 1 for the intercept."""
    kept = jax.vmap(lambda lam: jnp.sum(spectrum.values * gain(spectrum.values, lam)))
    return kept(lams) + fit_intercept


def left_out_losses(
    data: Data,
    centre: Centre,
    spectrum: Spectrum,
    lams: Float[Array, " L"],
    loss: Loss,
    fit_intercept: bool,
) -> Spread:
    """Return the loss of predicting each row from all others, e/(1 − h)."""
    n_lams, t = lams.shape[0], data.Y.shape[1]
    beyond = _interpolates(data, spectrum, fit_intercept)
    scale = root_inverse(spectrum.values)
    along = scale[:, None] * spectrum.along  # UᵀB

    def absorb(spread: Spread, weight: Array, *rows: Array) -> Spread:
        left, rest = _axes(weight, rows, centre, spectrum, along)
        share = weight / total if fit_intercept else 0
        slack = 1 - jnp.sum(left**2, axis=1) - share
        noise = 16 * jnp.finfo(slack.dtype).eps * left.shape[1]
        none = beyond | (slack < noise)
        rest = jnp.where(none[:, None], 0, rest)
        slack = jnp.where(none, 0, slack)
        root = jnp.where(weight > 0, jnp.sqrt(weight), 1)[:, None]

        def at(lam: Array) -> Array:
            g = gain(spectrum.values, lam)
            # λ, or where it cancels and is 0, any number.
            scale = jnp.where((lam > 0) | ~none, lam, 1)
            e = rest + scale[:, None] * matmul(left, g[:, None] * along)
            below = slack + scale * matmul(left**2, g)
            # Rows that do not count may have no prediction either.
            below = jnp.where(weight > 0, below, 1)
            return loss(e / below[:, None] / root)

        losses = jax.lax.map(at, lams, batch_size=at_once(weight.size * t))
        return _joined(spread, _spread(weight, losses))

    total = jnp.sum(data.weight)
    zero = jnp.zeros((n_lams, t), data.X.dtype)
    empty = Spread(jnp.zeros_like(total), zero, zero, jnp.zeros_like(total))
    kept = () if spectrum.left is None else (spectrum.left,)
    return fold(absorb, empty, data.weight, data.X, data.Y, *kept)


def residual_squares(
    data: Data, centre: Centre, spectrum: Spectrum
) -> Float[Array, " t"]:
    """Return ‖r‖², what no penalty can fit, summed from r itself."""
    along = root_inverse(spectrum.values)[:, None] * spectrum.along

    def absorb(sums: Array, weight: Array, *rows: Array) -> Array:
        _, rest = _axes(weight, rows, centre, spectrum, along)
        return sums + jnp.sum(rest**2, axis=0)

    zero = jnp.zeros(data.Y.shape[1], data.X.dtype)
    kept = () if spectrum.left is None else (spectrum.left,)
    return fold(absorb, zero, data.weight, data.X, data.Y, *kept)


def generalized_cross_validation(
    data: Data,
    spectrum: Spectrum,
    beyond: Float[Array, " t"],
    lams: Float[Array, " L"],
    fit_intercept: bool,
) -> Float[Array, "L t"]:
    """Return (RSS/m)/(1 − df/m)², RSS = ‖r‖² + Σ g² (UᵀB)²."""
    m = jnp.sum(data.weight)
    values = spectrum.values
    square = gain(values, jnp.zeros_like(m))[:, None] * spectrum.along**2  # (UᵀB)²
    free = m - fit_intercept - jnp.sum(values > 0)
    none = free <= 8 * jnp.finfo(m.dtype).eps * m
    free, beyond = jnp.where(none, 0, free), jnp.where(none, 0, beyond)

    def at(lam: Array) -> Array:
        g = gain(values, lam)
        scale = jnp.where((lam > 0) | ~none, lam, 1)
        rss = beyond + jnp.sum((scale * g[:, None]) ** 2 * square, axis=0)
        left = free + scale * jnp.sum(g)  # m − df
        return m * rss / left**2

    return jax.vmap(at)(lams)


def log_evidence(
    data: Data,
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
    m = jnp.sum(data.weight) - fit_intercept
    values = spectrum.values
    square = gain(values, jnp.zeros_like(m))[:, None] * spectrum.along**2

    def at(lam: Array) -> tuple[Array, Array]:
        g = lam * gain(values, lam)
        noise = (beyond + jnp.sum(g[:, None] * square, axis=0)) / m
        volume = jnp.sum(jnp.log1p(values / lam))
        return -(m * (jnp.log(2 * jnp.pi * noise) + 1) + volume) / 2, noise

    return jax.vmap(at)(lams)


def standard_error_of_mean(spread: Spread) -> Float[Array, "L t"]:
    """Return std(ddof=1)/√rows of the losses, weighted as their mean is."""
    variance = spread.scatter / spread.weight / jnp.maximum(spread.rows - 1, 1)
    safe = jnp.where(variance > 0, variance, 1)
    return jnp.where(variance > 0, jnp.sqrt(safe), 0)


def _axes(
    weight: Array, rows: tuple[Array, ...], centre: Centre, spectrum: Spectrum, a: Array
) -> tuple[Array, Array]:
    """Return rows of U, and of r = B − Ua."""
    X, Y, *left = rows
    root = jnp.sqrt(weight)[:, None]
    B = root * (Y - centre.y)
    if left:
        # Rows that a tile repeats have weight 0, and count only once.
        U = jnp.where(weight[:, None] > 0, left[0], 0)
    else:
        V = spectrum.right * root_inverse(spectrum.values)
        U = matmul(root * (X - centre.x), V)
    U = jnp.where(spectrum.values > 0, U, 0)
    return U, B - matmul(U, a)


def _interpolates(data: Data, spectrum: Spectrum, fit_intercept: bool) -> Array:
    """Whether the fit at λ = 0 goes through every row that counts."""
    rank = jnp.sum(spectrum.values > 0) + fit_intercept
    return rank >= jnp.sum(data.weight > 0)


def _spread(weight: Array, losses: Float[Array, "L m t"]) -> Spread:
    total = jnp.sum(weight)
    w = weight[:, None]
    mean = jnp.sum(w * losses, axis=1) / jnp.where(total > 0, total, 1)
    scatter = jnp.sum(w * (losses - mean[:, None]) ** 2, axis=1)
    return Spread(total, mean, scatter, jnp.sum(weight > 0).astype(total.dtype))


def _joined(a: Spread, b: Spread) -> Spread:
    """Return the spread of two sets of rows together (Chan, Golub, LeVeque 1979)."""
    weight = a.weight + b.weight
    part = b.weight / jnp.where(weight > 0, weight, 1)
    apart = b.mean - a.mean
    return Spread(
        weight,
        a.mean + part * apart,
        a.scatter + b.scatter + a.weight * part * apart**2,
        a.rows + b.rows,
    )
