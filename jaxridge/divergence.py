"""A descent that goes up instead of down: refused, with a step size that goes down."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from jaxridge import checks
from jaxridge.data import Data
from jaxridge.landscape import curvature_of
from jaxridge.optimizers import safe_step
from jaxridge.rules import Rule
from jaxridge.trajectory import Outcome


def refuse_divergence(
    outcome: Outcome, data_of_fold: Callable[[int], Data], rule: Rule
) -> None:
    """Raise if a descent went up, naming a step that goes down; not when traced.

    `data_of_fold` gives the rows that a fold descended on, uncentred; without folds
    there is fold 0.
    """
    if checks.is_traced(outcome.diverged) or not np.asarray(outcome.diverged).any():
        return
    lams = np.atleast_2d(outcome.fit.lam)
    bad = np.atleast_2d(outcome.diverged)
    step = min(
        _step_that_descends(data_of_fold(int(k)), float(lams[k][bad[k]].max()), rule)
        for k in np.flatnonzero(bad.any(axis=1))
    )
    first = np.asarray(outcome.fit.history).reshape(bad.size, -1)[bad.ravel(), 0]
    if not (np.isfinite(first).all() and first.min() > 0 < step):
        raise ValueError(
            "J is out of the range of this dtype where the descent starts: bring `X` "
            "and `y` to a size nearer 1, or pass float64"
        )
    others = f" ({int(bad.sum())} of {bad.size} descents)" if bad.size > 1 else ""
    raise ValueError(
        f"the descent diverged at lam = {lams[bad].max():g}{others}: its steps are too "
        f"large. Plain descent goes down with learning_rate={step:.3g}; "
        '"auto" finds such a step for each penalty'
    )


def _step_that_descends(data: Data, lam: float, rule: Rule) -> float:
    if rule.descends_intercept:
        ones = jnp.ones_like(data.X[:, :1])
        data = data._replace(X=jnp.concatenate([data.X, ones], axis=1))
    m = jnp.sum(data.weight)
    curvature = curvature_of(data)
    step = safe_step(curvature, jnp.asarray(lam, m.dtype), m)
    return float(jnp.where(jnp.isfinite(curvature), step, 0))
