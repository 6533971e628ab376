"""How good predictions are: a number for each target, from rows with weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxridge import checks
from jaxridge.data import weighted_mean
from jaxridge.divisors import or_one
from jaxridge.products import matmul

Score = Callable[
    [Float[Array, "h t"], Float[Array, "h t"], Float[Array, " h"]], Float[Array, "..."]
]


class Scoring(NamedTuple):
    """A score of (y, prediction, weight), and its direction."""

    score: Score
    greater_is_better: bool


def squared_error(y: Array, prediction: Array, weight: Array) -> Array:
    """Return Σ w (p − y)² / Σ w."""
    return _mean((prediction - y) ** 2, weight)


def absolute_error(y: Array, prediction: Array, weight: Array) -> Array:
    """Return Σ w |p − y| / Σ w."""
    return _mean(jnp.abs(prediction - y), weight)


def r2(y: Array, prediction: Array, weight: Array) -> Array:
    """Return 1 − Σ w (p − y)² / Σ w (y − ȳ)², NaN where y is constant."""
    spread = squared_error(y, weighted_mean(y, weight), weight)
    return _r2_of_sums(squared_error(y, prediction, weight), weight, spread)


def correlation(y: Array, prediction: Array, weight: Array) -> Array:
    """Return Pearson's, 0 where the prediction is constant and NaN where y is."""
    # Exactly 0 where constant: see `weighted_mean`.
    dy, dp = (a - weighted_mean(a, weight) for a in (y, prediction))
    yy, pp, yp = (_mean(a, weight) for a in (dy * dy, dp * dp, dy * dp))
    there = (yy > 0) & (pp > 0)
    root = jnp.sqrt(or_one(yy)) * jnp.sqrt(or_one(pp))
    return jnp.where(yy > 0, jnp.where(there, yp / root, 0), jnp.nan)


def predictions(y: Array, prediction: Array, weight: Array) -> Array:
    """Return the predictions themselves, for a function that traces nothing."""
    return prediction


def _mean_of_sums(error: Array, weight: Array, spread: Array) -> Array:
    return error / weight


def _r2_of_sums(error: Array, weight: Array, spread: Array) -> Array:
    return jnp.where(spread > 0, 1 - error / or_one(spread), jnp.nan)


def score_about(
    centre: Array, score: Score, dy: Array, prediction: Array, weight: Array
) -> Array:
    """Return the score of targets and predictions that are given about a centre.

    No score but the predictions themselves depends on where that is.
    """
    found = score(dy, prediction, weight)
    return found + centre if score is predictions else found


# What can be said without the rows: a score from Σ w e², Σ w and Σ w (y − ȳ)².
OF_SUMS: dict[Score, Callable[[Array, Array, Array], Array]] = {
    squared_error: _mean_of_sums,
    r2: _r2_of_sums,
}

SCORINGS = {
    "mse": Scoring(squared_error, False),
    "mae": Scoring(absolute_error, False),
    "r2": Scoring(r2, True),
    "correlation": Scoring(correlation, True),
}


def scoring_of(scoring: Any) -> Scoring:
    """Return the scoring of that name; a function is one whose greater is better."""
    if callable(scoring):
        return Scoring(predictions, True)
    if not isinstance(scoring, str):
        raise TypeError(
            f"`scoring` must be one of {', '.join(SCORINGS)}, or a function of (y, "
            f"prediction), got {type(scoring).__name__}"
        )
    checks.one_of("scoring", scoring, tuple(SCORINGS))
    return SCORINGS[scoring]


def called(
    scoring: Callable[..., Any],
    Y: Float[Array, "h t"],
    predicted: Float[Array, "L h t"],
    weight: Float[Array, " h"],
) -> Float[Array, "L t"]:
    """Return what a function of (y, prediction) says of each penalty and target.

    It is shown the rows that count, as far as is known.
    """
    if not checks.is_traced(weight):
        there = np.asarray(weight) > 0
        Y, predicted = Y[there], predicted[:, there]
    scores = [
        [_number(scoring(Y[:, j], one[:, j])) for j in range(Y.shape[1])]
        for one in predicted
    ]
    return jnp.asarray(scores, predicted.dtype)


def _number(score: Any) -> Any:
    """Return what a scoring function returned, if it is a finite number."""
    if np.ndim(score):
        raise TypeError(
            f"`scoring` must return one number, got an array of shape {np.shape(score)}"
        )
    if not (checks.is_traced(score) or np.isfinite(score)):
        raise ValueError(f"`scoring` returned {score}: it must return a finite number")
    return score


def defined(
    scoring: Any,
    scores: Float[Array, "*k L t"],
    constant: Callable[[], Bool[np.ndarray, " t"]],
) -> Float[Array, "*k L t"]:
    """Return scores, 0 where a target is constant in a fold, so that none is defined.

    No penalty is better than another there. But nothing at all would choose one for a
    target that is not `constant`, and yet is in every fold: that is refused.
    """
    if scoring not in ("r2", "correlation"):
        return scores
    if checks.is_traced(scores):
        return jnp.where(jnp.isnan(scores), 0, scores)
    missing: Any = np.isnan(scores).any(axis=-2).reshape(-1, scores.shape[-1])
    if not missing.any():
        return scores
    where = missing.all(axis=0) & ~constant()
    if where.any():
        raise ValueError(
            f"`scoring` {scoring!r} is undefined in every fold, where target "
            f"{np.flatnonzero(where)[0]} is constant: use "
            '"mse" or "mae", or other `folds`'
        )
    some = np.flatnonzero(missing.any(axis=0))
    checks.warn(
        f"`scoring` {scoring!r} is undefined where a target is constant, and counts as "
        f"0 there: in {missing.any(axis=1).sum()} of {len(missing)} fold(s), of "
        f"{len(some)} target(s), {some[0]} first"
    )
    return jnp.where(jnp.isnan(scores), 0, scores)


def constant_targets(Y: Any, weight: Any) -> Bool[np.ndarray, " t"]:
    """Return which targets have one value in all rows that count."""
    return np.ptp(np.asarray(Y)[np.asarray(weight) > 0], axis=0) == 0


def _mean(a: Array, weight: Array) -> Array:
    # A product, because XLA on a CPU sums along columns at a tenth of its speed.
    return matmul(weight, a) / jnp.sum(weight)
