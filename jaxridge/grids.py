"""Which penalties to try: from almost no shrinkage to almost all, and further if asked.

Shrinkage is counted in degrees of freedom, Σ s²/(s² + λ) over the directions of X. The
grid begins where a hundredth of one is lost and ends where a hundredth of one is left.
Columns in units of their own, an income beside a share, have directions whose s² are
rounding in XᵀX but matter as much as any: where there may be such, the rows themselves
are factorised.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.border import ArrayLike, in_kind_of_input
from jaxridge.choice import Evidence, Scores, choose
from jaxridge.columns import Learner, ready, untouched
from jaxridge.data import (
    Data,
    as_data_to_square,
    as_penalty,
)
from jaxridge.factors import Known, by_rows, known
from jaxridge.moments import Moments, about_centre, as_one
from jaxridge.placement import placed
from jaxridge.precision import SINGLE, LostDigits, by_cheapest, lost_digits_raised
from jaxridge.programs import compiled
from jaxridge.routes import SVD
from jaxridge.spectrum import condition, of_sums

COUNT, MOST = 100, 10**6
REMAINDER = 0.01  # degrees of freedom lost at the least penalty, left at the largest
# A grid goes on by so many penalties over three decades: of as many each time, so that
# what XLA compiled for one extension serves all.
FURTHER = np.geomspace(1, 1e3, 34)[1:]
GAIN = 1e-3
TENTH = 0.1  # of the least s² may be rounding
# What the best at an edge of an automatic grid means.
NOTHING_BEYOND = "further on no score was better by a thousandth of it"

S = TypeVar("S", bound=Scores | Evidence)


@in_kind_of_input
def lambda_grid(
    X: ArrayLike | Moments,
    count: int = COUNT,
    *,
    weight: ArrayLike | None = None,
    fit_intercept: bool = True,
) -> Float[Array, " L"]:
    """Penalties from almost no shrinkage to almost all, evenly spaced in log λ.

    For the λ of ``J = (Σ w (X @ coef + intercept − y)² + lam · ‖coef‖²) / (2m)``: the
    least takes away 0.01 of one of the degrees of freedom ``Σ s²/(s² + lam)``, of all
    together, and the largest leaves 0.01 of one. Of moments, the least is at least the
    rounding of their s².

    Parameters
    ----------
    X : array of shape (n_samples, n_features), or Moments
        The rows, finite; or their moments, those of folds taken together.
    count : int
        How many penalties, from 2 to a million.
    weight : array of shape (n_samples,), optional
        How often each row counts.
    fit_intercept : bool
        Whether the fits have an intercept, that is whether columns are centred.

    Returns
    -------
    array of shape (count,)
        Increasing, in squared units of `X`.

    Raises
    ------
    TypeError, ValueError
        As `path` does, and for fewer than 2 penalties.

    Notes
    -----
    O(m n k + k³) time with k = min(m, n); some five times that where columns depend on
    each other, or their sizes are so unequal, that squares lose the least s². If all
    columns are constant, so that every penalty gives the same fit, the grid is that of
    one singular value of 1.

    Examples
    --------
    >>> print(lambda_grid(np.array([[-1.0], [1.0]]), count=3).round(4))
    [2.e-02 2.e+00 2.e+02]
    """
    count = checks.count("count", count, 2, MOST)
    fit_intercept = checks.flag("fit_intercept", fit_intercept)
    if isinstance(X, Moments):
        if weight is not None:
            raise ValueError("`weight` is in the Moments: leave it out")
        return grid_of_moments(as_one(X), count, fit_intercept)
    checks.axes("X", X)
    # Of a dtype that widens no other.
    nothing = np.zeros(np.shape(X)[:1], np.float16)
    data = as_data_to_square(X, nothing, weight)
    return grid_of(known(data, fit_intercept), count)


def grid_of(
    rows: Known, count: int, rounding: float | None = None
) -> Float[Array, " L"]:
    """Return the grid for checked data; `rounding` is as `factors.answer` has it."""
    data, fit_intercept = rows.data, rows.fit_intercept
    _refuse_traced("rows", data)

    def cheap() -> np.ndarray | None:
        spectrum = rows.factors()[1]
        zero: Any = np.zeros((), data.X.dtype)
        worst = condition(spectrum, zero, data.weight, fit_intercept)
        noise = float(jnp.finfo(data.X.dtype).eps) * max(data.X.shape)
        kept = float(worst) * noise < TENTH
        return _between(spectrum.values, count) if kept else None

    def wide(data: Data, _: Any) -> Any:
        return grid_of(known(data, fit_intercept), count, SINGLE)

    def sure() -> np.ndarray:
        return _between(by_rows(data, fit_intercept, SVD, rounding)[1].values, count)

    # No penalty is 0, not of float32 either that was computed in float64.
    found = by_cheapest(cheap, wide, sure, data, ())
    return placed(np.maximum(found, np.finfo(found.dtype).tiny))


def _refuse_traced(what: str, *trees: Any) -> None:
    if checks.any_traced(*trees):
        raise ValueError(
            f"an automatic grid needs {what} that are known, not traced by jit or "
            "grad: pass penalties as `lams`, or make the grid outside"
        )


def grid_of_known(rows: Known, learner: Learner = untouched) -> Float[Array, " L"]:
    """Return the grid of as many penalties as are tried, for rows that are known."""
    if learner is not untouched:  # which has factors of its own
        rows = known(ready(rows.data, learner), rows.fit_intercept)
    return grid_of(rows, COUNT)


def grid_of_moments(
    sums: Moments, count: int, fit_intercept: bool
) -> Float[Array, " L"]:
    """Return the grid for the moments of one set of rows."""
    _, xx, xy = about_centre(sums, fit_intercept)
    values, worst = _values_of_sums(xx, xy)
    _refuse_traced("moments", worst)
    rounding = float(jnp.finfo(xx.dtype).eps) * len(xx)
    kept = float(worst) * rounding < TENTH
    least = 0.0 if kept else rounding * float(values.max())
    return placed(_between(values, count, least))


@compiled
def _values_of_sums(xx: Array, xy: Array) -> tuple[Array, Array]:
    spectrum, worst = of_sums(xx, xy, jnp.zeros((), xx.dtype))
    return spectrum.values, worst


def _between(values: Array, count: int, noise: float = 0.0) -> np.ndarray:
    """Return penalties from almost no shrinkage of s² to almost all."""
    there = np.asarray(values, np.float64)
    there = there[there > 0] if (there > 0).any() else np.ones(1)
    least = max(REMAINDER / (1 / there).sum(), noise)
    grid = np.geomspace(least, there.sum() / REMAINDER, count)
    return grid.astype(values.dtype)


def on_grid(
    score: Callable[[Float[Array, " L"]], S],
    lams: Any,
    dtype: Any,
    automatic: Callable[[], Float[Array, " L"]],
) -> S:
    """Score the penalties given, or those of an automatic grid that goes on if need be.

    The grid grows by three decades at a time while the best penalty, of a target or of
    their mean, lies at an edge and growing helps by a thousandth: towards least squares
    or no fit at all the score has a limit, and a grid would have no end. It stops where
    moments have lost the digits.
    """
    if not isinstance(lams, str):
        checks.grid(lams)
        return score(as_penalty("lams", lams, dtype))
    checks.one_of("lams", lams, ("auto",))
    scores = score(automatic())
    for edge in (0, -1):
        while True:
            each = (choose(scores, per_target=one).lam for one in (True, False))
            best = np.concatenate([np.atleast_1d(lam) for lam in each])
            if not (best == np.asarray(scores.lams)[edge]).any():
                break
            beyond = _beyond(np.asarray(scores.lams, np.float64), edge, dtype)
            if not beyond.size:
                break
            further = _sharp(score, jnp.asarray(beyond, dtype))
            if further is None or not _is_better(further, scores):
                break
            scores = _joined(scores, further)
    return scores


def _sharp(
    score: Callable[[Float[Array, " L"]], S], lams: Float[Array, " L"]
) -> S | None:
    """Return the scores, or None if there is a warning of digits that are lost."""
    try:
        with lost_digits_raised():
            return score(lams)
    except LostDigits:
        return None


def _beyond(lams: np.ndarray, edge: int, dtype: Any) -> np.ndarray:
    """Return three decades beyond an edge of an increasing grid."""
    limits = jnp.finfo(dtype)
    with np.errstate(over="ignore", under="ignore"):
        found = lams[-1] * FURTHER if edge else lams[0] / FURTHER[::-1]
    return found[(found > float(limits.tiny)) & (found < float(limits.max))]


def _is_better(one: S, other: S) -> bool:
    """Whether the best score of `one`, for any target, is better by a thousandth.

    Of the error, that is; of R² and the like, which end at 1, of what is left to it;
    and the log evidence, which has no zero, by a tenth.
    """
    greater = bool(one.greater_is_better)
    sign = 1 if greater else -1
    best, before = (np.max(sign * np.asarray(s.mean), axis=0) for s in (one, other))
    if isinstance(one, Evidence):
        return bool((best - before > 0.1).any())
    to_one = greater & (before >= 0) & (before <= 1)
    size = np.where(to_one, 1 - before, np.abs(before))
    return bool((best - before > GAIN * size).any())


@compiled
def _joined(one: S, other: S) -> S:
    """Return the scores of two grids as of one, increasing."""
    order = jnp.argsort(jnp.concatenate([one.lams, other.lams]))

    def joined(path: Any, a: Array, b: Array) -> Array:
        axis = int(path[0].name == "per_fold")
        return jnp.take(jnp.concatenate([a, b], axis), order, axis) if a.ndim else a

    return jax.tree.map_with_path(joined, one, other._replace(route=one.route))
