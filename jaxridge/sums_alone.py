"""A study of rows of which only sums are known: to a chosen λ from `Moments`."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxridge.filled import UNTOUCHED, Holed, columns_of, filled, filling
from jaxridge.fold_scores import scores_of_moments
from jaxridge.moments import Moments, as_one, earlier_of_each, others_of_each
from jaxridge.paths import path_of_sums
from jaxridge.study import CRITERIA, Study, Task, exact, told


def study_of_sums(parts: Moments, holed: Holed, task: Task) -> Study:
    """Score a grid of penalties, choose one for each target, and fit all rows.

    `parts` are the moments of each fold's rows.
    """
    with jax.enable_x64(True):
        parts, holed = jax.tree.map(jnp.asarray, (parts, holed))
        whole, mean, cv = as_one(parts), task.fit_intercept, task.trial.cv
        columns = columns_of(whole, holed, task.learner)
        sums = filled(whole, holed, columns)

        def scored(parts: Moments, grid: Any, prepare: Any, intercept: bool) -> Any:
            if isinstance(cv, str):
                ready, _ = prepare(as_one(parts), as_one(parts))
                score: Any = CRITERIA[cv]
                return score(ready, None, grid, fit_intercept=intercept)
            paired = earlier_of_each if task.trial.in_time else others_of_each
            return scores_of_moments(parts, grid, "mse", intercept, prepare, paired)

        def baseline(
            parts: Moments, prepare: Any, intercept: bool, may_lose: bool = False
        ) -> Array:
            unknown = jnp.full(whole.y.shape, jnp.nan)
            if cv == "evidence":  # of which λ = 0 has none
                return unknown
            with warnings.catch_warnings(record=True) as lost:
                warnings.simplefilter("always")
                found = scored(parts, jnp.zeros(1), prepare, intercept).mean[0]
            return unknown if lost and not may_lose else found

        prepare = filling(holed, task.learner)
        grid = "auto" if task.lams is None else jnp.asarray(task.lams)
        scores = scored(parts, grid, prepare, mean)
        # Without columns there are no digits to lose.
        mean_only = baseline(_without_columns(parts), UNTOUCHED, True, True)
        unpenalized = baseline(parts, prepare, mean)
        fits = exact(path_of_sums(sums, scores.lams, mean))
        return told(scores, fits, columns, mean_only, unpenalized, task.rule)


def _without_columns(parts: Moments) -> Moments:
    """Return the moments of the targets beside one column of zeros."""
    none = jnp.zeros_like(parts.x[:, :1])
    nothing = jnp.zeros_like(parts.xy[:, :1])
    return Moments(parts.weight, none, parts.y, none[..., None], nothing, parts.yy)
