"""Which penalties to try: from almost no shrinkage to almost all, and further if asked.

Shrinkage is counted in degrees of freedom, Σ s²/(s² + λ) over the directions of X. The
grid begins where a hundredth of one is lost and ends where a hundredth of one is left.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.choice import Evidence, Scores, choose
from jaxridge.columns import Learner, untouched
from jaxridge.data import (
    ArrayLike,
    Data,
    as_data_to_square,
    as_penalty,
    in_kind_of_input,
)
from jaxridge.factors import Known, by_products
from jaxridge.moments import Moments, about_centre, as_one
from jaxridge.spectrum import of_products

COUNT, MOST = 100, 10**6
REMAINDER = 0.01  # degrees of freedom lost at the least penalty, left at the largest
DECADES = 3  # by which a grid is extended
EXTENSIONS = 4
GAIN = 1e-3

S = TypeVar("S", Scores, Evidence)


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
    least takes 0.01 of the degrees of freedom ``Σ s²/(s² + lam)`` away, or is the
    rounding of s² if that is more; the largest leaves 0.01 of them.

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
    O(m n k + k³) time with k = min(m, n). If all columns are constant, so that every
    penalty gives the same fit, the grid is that of one singular value of 1.

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
    return grid_of(data, count, fit_intercept)


def grid_of(
    data: Data, count: int, fit_intercept: bool, learner: Learner = untouched
) -> Float[Array, " L"]:
    """Return the grid for checked data, its columns prepared by `learner`."""
    if checks.any_traced(data):
        raise ValueError(
            "an automatic grid needs rows that are known, not traced by jit or grad: "
            "pass penalties as `lams`, or make the grid outside"
        )
    values = by_products(data, learner, fit_intercept)[1].values
    return _between(values, max(data.X.shape), count)


def grid_of_known(rows: Known, fit_intercept: bool) -> Float[Array, " L"]:
    """Return the grid of as many penalties as are tried, for rows that are known."""
    if checks.any_traced(rows.data):
        return grid_of(rows.data, COUNT, fit_intercept)  # which says why not
    return _between(rows.factors()[1].values, max(rows.data.X.shape), COUNT)


def grid_of_moments(
    sums: Moments, count: int, fit_intercept: bool
) -> Float[Array, " L"]:
    """Return the grid for the moments of one set of rows."""
    _, xx, xy = about_centre(sums, fit_intercept)
    return _between(of_products(xx, xy).values, len(xx), count)


def _between(values: Array, size: int, count: int) -> Float[Array, " L"]:
    """Return penalties from almost no shrinkage of s² to almost all."""
    there = values > 0
    values = jnp.where(jnp.any(there), values, jnp.arange(len(values)) == 0)
    there = values > 0
    noise = jnp.finfo(values.dtype).eps * size * jnp.max(values)
    lost = jnp.sum(jnp.where(there, 1 / jnp.where(there, values, 1), 0))
    least = jnp.maximum(REMAINDER / lost, noise)
    return jnp.geomspace(least, jnp.sum(values) / REMAINDER, count)


def on_grid(
    score: Callable[[Float[Array, " L"]], S],
    lams: Any,
    dtype: Any,
    automatic: Callable[[], Float[Array, " L"]],
) -> S:
    """Score the penalties given, or those of an automatic grid that goes on if need be.

    The grid goes on for three decades at a time while the best penalty of a target lies
    at its edge and that makes a difference: towards the least-squares fit, or none at
    all, the score has a limit, and no grid an end.
    """
    if not isinstance(lams, str):
        checks.grid(lams)
        return score(as_penalty("lams", lams, dtype))
    checks.one_of("lams", lams, ("auto",))
    scores = score(automatic())
    for edge in (0, -1):
        for _ in range(EXTENSIONS):
            best = np.asarray(choose(scores, per_target=True).lam)
            if not (best == np.asarray(scores.lams)[edge]).any():
                break
            beyond = _beyond(np.asarray(scores.lams, np.float64), edge)
            further = score(jnp.asarray(beyond, dtype))
            if not _is_better(further, scores):
                break
            scores = _joined(scores, further)
    return scores


def _beyond(lams: np.ndarray, edge: int) -> np.ndarray:
    """Return three decades beyond an edge of an increasing grid, as dense as it is."""
    ratio = (lams[-1] / lams[0]) ** (1 / (len(lams) - 1))
    steps = np.arange(1, 1 + max(1, round(DECADES * np.log(10) / np.log(ratio))))
    return lams[-1] * ratio**steps if edge else (lams[0] / ratio**steps)[::-1]


def _is_better(one: S, other: S) -> bool:
    """Whether the best score of `one`, for any target, is better by a thousandth."""
    sign = np.where(np.asarray(one.greater_is_better), 1, -1)
    best, before = (np.max(sign * np.asarray(s.mean), axis=0) for s in (one, other))
    return bool((best - before > GAIN * np.abs(before)).any())


def _joined(one: S, other: S) -> S:
    """Return the scores of two grids as of one, increasing."""
    order = jnp.argsort(jnp.concatenate([one.lams, other.lams]))

    def joined(path: Any, a: Array, b: Array) -> Array:
        axis = int(path[0].name == "per_fold")
        return jnp.take(jnp.concatenate([a, b], axis), order, axis) if a.ndim else a

    return jax.tree.map_with_path(joined, one, other._replace(route=one.route))
