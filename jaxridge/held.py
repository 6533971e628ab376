"""How fits score on rows that were held out: from the rows, or from sums over them.

A fit is coefficients θ(λ) = V g(λ) a(λ) about a centre, V being axes that all penalties
share (or none, V = 1) and g a number for each. Its predictions are (X_held − x̄) V ·
g(λ) a(λ) + ȳ, of which only the middle knows λ. Its squared errors need no rows: with
the scatter of the held-out rows about that centre, G = Σ w dx dxᵀ, C = Σ w dx dyᵀ and
s = Σ w dy², they add up to

    θᵀGθ − 2θᵀC + s,

which cancels where the fit is good: eps · s / error of it is rounding.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxridge.data import Centre, Data
from jaxridge.divisors import or_one
from jaxridge.moments import Moments
from jaxridge.nodes import Few, by_few
from jaxridge.products import matmul
from jaxridge.scoring import OF_SUMS, Score, score_about, squared_error
from jaxridge.spectrum import Right, into_axes, multiplied_out, out_of_axes
from jaxridge.tiles import at_once, column_sums, tile

# Scores of predictions, and the squared error as a part of the targets' square.
Judged = tuple[Float[Array, "*score"], Float[Array, " t"]]


class Scored(NamedTuple):
    """Scores of each fold, and what their precision depends on.

    `condition` is that of AᵀA + λ at the least λ, and `left` the least squared error,
    as a part of the mean square of the targets.
    """

    per_fold: Float[Array, "k L *score"]
    condition: Float[Array, " k"]
    left: Float[Array, " k"]


class FoldFit(NamedTuple):
    """Coefficients of one fold at every penalty: V, and a and g at penalty number i.

    Without V or g those are 1, and a is θ(λ) already.
    """

    centre: Centre
    axes: Right | None
    along: Callable[[Array], Float[Array, "r t"]]
    gain: Callable[[Array], Float[Array, " r"]] | None = None
    few: Few | None = None

    def coef(self, i: Array) -> Float[Array, "n t"]:
        """Return θ(λ)."""
        along = self.along(i)
        along = along if self.gain is None else self.gain(i)[:, None] * along
        return along if self.axes is None else out_of_axes(self.axes, along)


def rows_of(data: Data, rows: Array, counts: Array) -> Data:
    """Return the rows that a fold holds out; those that only pad have weight 0."""
    weight = jnp.where(counts, data.weight[rows], 0)
    return Data(data.X[rows], data.Y[rows], weight)


def from_rows(
    held: Data, fit: FoldFit, n_lams: int, score: Score, lam_tile: int
) -> tuple[Float[Array, "L *score"], Float[Array, ""]]:
    """Return the score at every penalty, and `left` (see `Scored`)."""
    about, t = held.X - fit.centre.x, held.Y.shape[1]
    # Rows along the axes are the shorter way to many predictions of few rows.
    turned = fit.axes is None
    if fit.axes is not None and len(about) <= n_lams * t:
        about, turned = into_axes(about, fit.axes), True

    def predicted(i: Array) -> Array:
        if not turned:
            return matmul(about, fit.coef(i))
        along = fit.along(i)
        if fit.gain is None:
            return matmul(about, along)
        if len(about) > t:
            return matmul(about, fit.gain(i)[:, None] * along)
        return matmul(about * fit.gain(i), along)

    # About the centre, so that a large mean of the targets costs no digits.
    dy = held.Y - fit.centre.y
    square = squared_error(dy, jnp.zeros_like(dy), held.weight)
    square = or_one(square)

    def judged(prediction: Array, dy: Array, square: Array, middle: Array) -> Judged:
        left = squared_error(dy, prediction, held.weight) / square
        return score_about(middle, score, dy, prediction, held.weight), left

    of_targets = dy, square, fit.centre.y
    if turned and fit.few is not None:
        numbers = lam_tile * dy.size
        scores, left = by_few(about, fit.few, judged, of_targets, numbers)
    else:
        # Many targets make a product large enough; rows are scaled one at a time.
        scores, left = jax.lax.map(
            lambda i: judged(predicted(i), *of_targets),
            jnp.arange(n_lams),
            batch_size=1 if turned and len(about) <= t else lam_tile,
        )
    squares = column_sums(lambda x: (x - fit.centre.x) ** 2, held.weight, held.X)
    spread = squares / jnp.sum(held.weight)
    return scores, _beside_means(jnp.min(left, axis=0), fit.centre, spread, square)


def from_sums(
    part: Moments, fit: FoldFit, n_lams: int, score: Score
) -> tuple[Float[Array, "L t"], Float[Array, ""]]:
    """Return the same from the moments of the rows held out."""
    dx, dy = part.x - fit.centre.x, part.y - fit.centre.y
    G = part.xx + part.weight * jnp.outer(dx, dx)
    C = part.xy + part.weight * jnp.outer(dx, dy)
    square = part.yy + part.weight * dy**2
    spread = jnp.diagonal(G) / part.weight
    if fit.axes is not None and len(G) <= n_lams * C.shape[1]:
        # Of fits along the axes only those products are made that λ has a part in.
        V = multiplied_out(fit.axes)
        G, C = (matmul(V.T, a) for a in (matmul(G, V), C))
        fit = fit._replace(axes=None)

    def error_of(coef: Array, image: Array, C: Array, square: Array) -> Array:
        return jnp.maximum(jnp.sum(coef * (image - 2 * C), axis=0) + square, 0)

    def one(i: Array) -> Array:
        coef = fit.coef(i)
        return error_of(coef, matmul(G, coef), C, square)

    def judged(image: Array, along: Array, *rest: Array) -> Array:
        *of_targets, gain = rest
        return error_of(gain[:, None] * along, image, *of_targets)

    each = jnp.arange(n_lams)
    if fit.few is not None and fit.gain is not None and fit.axes is None:
        of_targets = fit.few.along, C, square
        gains = jax.lax.map(fit.gain, each)
        errors = by_few(G, fit.few, judged, of_targets, tile(), (gains,))
    else:
        errors = jax.lax.map(one, each, batch_size=at_once(C.size))
    # A target that is 0 leaves nothing, and there is nothing to lose.
    left = jnp.where(square > 0, jnp.min(errors, axis=0) / square, 1)
    square = or_one(square)
    left = _beside_means(left, fit.centre, spread, square / part.weight)
    return OF_SUMS[score](errors, part.weight, part.yy), left


def _beside_means(
    left: Float[Array, " t"],
    centre: Centre,
    spread: Float[Array, " n"],
    square: Float[Array, " t"],
) -> Float[Array, ""]:
    """Return the least relative squared error, reduced where large means blur it.

    Means are known to eps of themselves, and errors to eps · (|ȳ| + |x̄·θ|): a mean may
    be ten times the spread before that tells, beside the rounding of y itself.
    """
    there = (spread > 0) & jnp.isfinite(spread)
    ratio = jnp.where(there, centre.x**2 / jnp.where(there, spread, 1), 0)
    size = centre.y**2 / square + jnp.max(ratio, initial=0)
    return jnp.min(left / jnp.maximum(size / 100, 1))
