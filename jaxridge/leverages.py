"""What each row is predicted as by all others, at every λ, from one factorisation.

With A = U S Vᵀ the rows about their centre, times √w, and B the targets likewise, the
residual at λ is, along U and beyond it,

    e(λ) = B − AΘ(λ) = r + λ U g UᵀB,      r = B − UUᵀB,      g = 1/(s² + λ),

and the diagonal of I − H(λ), H the matrix that takes targets to fitted values, is

    1 − h(λ) = d + λ (U∘U) g,      d = 1 − (U∘U) 1 − w/Σw,

the last term being the intercept's, and h a row's leverage. All other rows miss it by
e/(1 − h). Where the fit goes through every row, d and r are 0, λ cancels between e and
1 − h, and what is left has a limit at λ = 0, the prediction of the minimum-norm fit.
Where only some row's d is nearly 0, as the fit hangs on that row, d and r have lost
their digits: `left_out_losses` tells how small 1 − h became.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxridge.data import Centre, Data
from jaxridge.nodes import Nodes, by_few, few_of
from jaxridge.products import matmul
from jaxridge.risk import interpolates
from jaxridge.scoring import Score, score_about, squared_error
from jaxridge.spectrum import Spectrum, gain, root_inverse
from jaxridge.spread import Spread, joined, scatter_of
from jaxridge.tiles import NARROW, at_once, column_sums, fold, tile

APART = 1e-5  # less of u² than that along other axes is a row by itself

Loss = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]


class Whole(NamedTuple):
    """What the left-out error of a row needs to know of all rows."""

    weight: Float[Array, ""]  # Σw
    middle: Float[Array, " t"]  # the mean of Y about the centre, which is rounded
    beyond: Bool[Array, ""]  # whether the fit at λ = 0 goes through every row


class LeftOut(NamedTuple):
    """Some rows along the axes: what their errors at every penalty are made of."""

    values: Float[Array, " r"]  # s²
    left: Float[Array, "m r"]  # U
    along: Float[Array, "r t"]  # UᵀB
    rest: Float[Array, "m t"]  # r, 0 where d is
    fixed: Float[Array, " m"]  # d
    none: Bool[Array, " m"]  # where d is 0, and λ cancels
    weight: Float[Array, " m"]
    share: Float[Array, " m"]  # w/Σw, what the intercept adds to h

    def fitted(self, lam: Float[Array, ""]) -> Array:
        """Return U g UᵀB."""
        return matmul(self.left, gain(self.values, lam)[:, None] * self.along)

    def below(self, lam: Float[Array, ""]) -> Array:
        """Return 1 − h, 1 where a row does not count; over λ where that cancels."""
        h = matmul(self.left**2, gain(self.values, lam))
        return jnp.where(self.weight > 0, self.fixed + self._scale(lam) * h, 1)

    def error(self, lam: Array, below: Array, fitted: Array, rest: Array) -> Array:
        """Return e/(1 − h) of some targets, given U g UᵀB and r of those."""
        e = rest + self._scale(lam)[:, None] * fitted
        return e / below[:, None] / self._root()

    def slack(self, lam: Array, below: Array, whole: Whole) -> Array:
        """Return 1 − h, by which rounding in the errors is divided.

        Where the fit goes through every row it takes no h, and this is 1. Not so for a
        row that is nearly an axis itself, as one huge entry makes it: rounding is a
        part of the little that it has along other axes, whose g are large.
        """
        slacks = jnp.where(self.none & (self.weight > 0), lam, 1) * below
        squares, g = self.left**2, gain(self.values, lam)
        apart = jnp.sum(squares, axis=1) - jnp.max(squares, axis=1, initial=0) < APART
        part = below / jnp.max(g, initial=jnp.finfo(g.dtype).tiny)
        axis = jnp.sqrt(jnp.where(apart & (self.weight > 0), part, 1))
        return jnp.where(whole.beyond, jnp.minimum(axis, 1), slacks)

    def prediction(self, lam: Array, dy: Array, error: Array) -> Array:
        """Return y less its error, or (ŷ − h y)/(1 − h) where h is no more than half.

        A prediction that is small beside y, as at large λ, keeps its digits then.
        """
        part = self.values * gain(self.values, lam)
        h = matmul(self.left**2, part) + self.share
        small = (h <= 0.5) & (self.weight > 0)
        fitted = matmul(self.left, part[:, None] * self.along) / self._root()
        apart = (fitted - h[:, None] * dy) / jnp.where(small, 1 - h, 1)[:, None]
        return jnp.where(small[:, None], apart, dy - error)

    def _root(self) -> Array:
        """Return √w; rows that do not count may have no prediction either."""
        return jnp.where(self.weight > 0, jnp.sqrt(self.weight), 1)[:, None]

    def _scale(self, lam: Array) -> Array:
        return jnp.where(self.none, 1, lam)  # where λ cancels, any number


def rows_left_out(
    weight: Float[Array, " m"],
    rows: tuple[Array, ...],
    centre: Centre,
    spectrum: Spectrum,
    whole: Whole,
    fit_intercept: bool,
) -> LeftOut:
    """Return rows along the axes: X, Y, and U if that is known, of some or all."""
    X, Y, *left = rows
    root, inverse = jnp.sqrt(weight)[:, None], root_inverse(spectrum.values)
    if left:
        # Rows that a tile repeats have weight 0, and count only once.
        U = jnp.where(weight[:, None] > 0, left[0], 0)
    else:
        U = matmul(root * (X - centre.x), spectrum.axes * inverse)
    U = jnp.where(spectrum.values > 0, U, 0)
    along = inverse[:, None] * spectrum.along
    # What rounding left of the mean goes first, or it would be divided by 1 − h.
    rest = root * (Y - centre.y - whole.middle) - matmul(U, along)
    share = weight / whole.weight if fit_intercept else jnp.zeros_like(weight)
    fixed = 1 - jnp.sum(U**2, axis=1) - share
    none = whole.beyond | (fixed < 16 * jnp.finfo(fixed.dtype).eps * U.shape[1])
    rest, fixed = jnp.where(none[:, None], 0, rest), jnp.where(none, 0, fixed)
    return LeftOut(spectrum.values, U, along, rest, fixed, none, weight, share)


def left_out_errors(
    rows: LeftOut, whole: Whole
) -> Callable[[Float[Array, ""]], tuple[Float[Array, "m t"], Float[Array, " m"]]]:
    """Return a function of λ: each row less what all others say of it, and `slack`."""

    def at(lam: Array) -> tuple[Array, Array]:
        below = rows.below(lam)
        errors = rows.error(lam, below, rows.fitted(lam), rows.rest)
        return errors, rows.slack(lam, below, whole)

    return at


def left_out_errors_of_each(
    data: Data,
    centre: Centre,
    spectrum: Spectrum,
    lam: Float[Array, " t"],
    fit_intercept: bool,
) -> tuple[Float[Array, "m t"], Float[Array, " m"]]:
    """Return the same of each target at a penalty of its own, and the least `slack`.

    O(m r t) time, and memory for a few arrays of m × t beside U.
    """
    rows, whole = _all_left_out(data, centre, spectrum, fit_intercept)

    def of_one(lam: Array, along: Array, rest: Array) -> tuple[Array, Array]:
        one = rows._replace(along=along[:, None], rest=rest[:, None])
        errors, slacks = left_out_errors(one, whole)(lam)
        return errors[:, 0], slacks

    over_targets = jax.vmap(of_one, in_axes=(0, 1, 1), out_axes=1)
    errors, slacks = over_targets(lam, rows.along, rows.rest)
    return errors, jnp.min(slacks, axis=1)


def left_out_losses(
    data: Data,
    centre: Centre,
    spectrum: Spectrum,
    lams: Float[Array, " L"],
    loss: Loss,
    fit_intercept: bool,
    counted: Float[Array, " m"],
    unit: Float[Array, " t"],
    nodes: Nodes | None = None,
) -> tuple[Spread, Float[Array, ""]]:
    """Return the loss of predicting each row from all others, e/(1 − h).

    Targets are in units of `unit`, brought there a tile of rows at a time. The spread
    is that of rows by their weights in `counted`; the number is the smallest
    `slack` of all. With `nodes`, U g UᵀB is made of those at the nodes.
    """
    n_lams, t = lams.shape[0], data.Y.shape[1]
    whole = whole_of(data, centre, spectrum, fit_intercept)
    whole = whole._replace(middle=whole.middle / unit)
    centre = centre._replace(y=centre.y / unit)
    spectrum = spectrum._replace(along=spectrum.along / unit)

    def absorb(
        state: tuple[Spread, Array],
        weight: Array,
        counts: Array,
        X: Array,
        Y: Array,
        *left: Array,
    ) -> tuple[Spread, Array]:
        (spread, least), rows = state, (X, Y / unit, *left)
        counts = jnp.where(weight > 0, counts[:, 0], 0)
        mine = rows_left_out(weight, rows, centre, spectrum, whole, fit_intercept)

        def spread_at(fitted: Array, rest: Array, lam: Array, below: Array) -> Any:
            return scatter_of(counts, loss(mine.error(lam, below, fitted, rest)))

        def at(given: tuple[Array, Array]) -> Any:
            return spread_at(mine.fitted(given[0]), mine.rest, *given)

        below = jax.lax.map(mine.below, lams, batch_size=at_once(weight.size))
        of_lams = lams, below
        few = few_of(spectrum.values, mine.along, nodes)
        if few is None:
            mean, scatter = jax.lax.map(at, of_lams, batch_size=at_once(mine.rest.size))
        else:
            given = few, spread_at, (mine.rest,), tile(), of_lams
            mean, scatter = by_few(mine.left, *given)
        some = jnp.sum(counts > 0).astype(counts.dtype)
        here = Spread(jnp.sum(counts), mean, scatter, some)
        slacks = jax.vmap(lambda lam, below: mine.slack(lam, below, whole))(*of_lams)
        return joined(spread, here), jnp.minimum(least, jnp.min(slacks))

    zero = jnp.zeros((n_lams, t), data.X.dtype)
    nothing, one = jnp.zeros_like(whole.weight), jnp.ones_like(whole.weight)
    start = Spread(nothing, zero, zero, nothing), one
    rows = counted[:, None], *_rows(data, spectrum)
    # Of some targets there are numbers for each node, beside the rows.
    width, wider = sum(a.shape[1] for a in rows), 0
    if nodes is not None:
        wider = len(nodes.lams) * min(t, NARROW)
    room = 8 * tile() * width // max(width, wider)
    return fold(absorb, start, data.weight, *rows, room=room)


def left_out_scores(
    data: Data,
    centre: Centre,
    spectrum: Spectrum,
    lams: Float[Array, " L"],
    score: Score,
    fit_intercept: bool,
) -> tuple[Float[Array, "L *score"], Float[Array, ""], Float[Array, " m"]]:
    """Return a score of predicting each row from all others, at each penalty.

    And the least squared error of all, and `slack` at the least penalty. U, as large as
    X, is held.
    """
    of_all, whole = _all_left_out(data, centre, spectrum, fit_intercept)
    errors = left_out_errors(of_all, whole)
    dy, weight = data.Y - centre.y, data.weight

    def at(lam: Array) -> tuple[Array, Array]:
        prediction = of_all.prediction(lam, dy, errors(lam)[0])
        error = squared_error(dy, prediction, weight)
        return score_about(centre.y, score, dy, prediction, weight), error

    scores, squares = jax.lax.map(at, lams)
    return scores, jnp.min(squares), errors(jnp.min(lams))[1]


def slack(
    data: Data,
    centre: Centre,
    spectrum: Spectrum,
    lam: Float[Array, ""],
    fit_intercept: bool,
) -> Float[Array, " m"]:
    """Return `LeftOut.slack` of each row."""
    rows, whole = _all_left_out(data, centre, spectrum, fit_intercept)
    return rows.slack(lam, rows.below(lam), whole)


def _all_left_out(
    data: Data, centre: Centre, spectrum: Spectrum, fit_intercept: bool
) -> tuple[LeftOut, Whole]:
    whole = whole_of(data, centre, spectrum, fit_intercept)
    given = centre, spectrum, whole, fit_intercept
    return rows_left_out(data.weight, _rows(data, spectrum), *given), whole


def _rows(data: Data, spectrum: Spectrum) -> tuple[Array, ...]:
    """Return X and Y, and U if that is known."""
    known = () if spectrum.left is None else (spectrum.left,)
    return data.X, data.Y, *known


def whole_of(
    data: Data, centre: Centre, spectrum: Spectrum, fit_intercept: bool
) -> Whole:
    """Return what the left-out errors need to know of all rows."""
    beyond = interpolates(data.weight, spectrum, fit_intercept)
    weight, middle = jnp.sum(data.weight), jnp.zeros_like(centre.y)
    if fit_intercept:
        middle = column_sums(lambda y: y - centre.y, data.weight, data.Y) / weight
    return Whole(weight, middle, beyond)
