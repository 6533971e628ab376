"""Scores of folds at every penalty, where the rows are known or sums over them.

Here it is planned how (see `plans`), and tried with less where memory runs out; what is
done then is in `holdout`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.border import in_kind_of_input
from jaxridge.choice import Scores, scores_of_folds
from jaxridge.columns import Learner, checked_learner, try_out, untouched
from jaxridge.data import (
    Data,
    as_data_to_square,
    as_penalty,
    drop_target_axis,
)
from jaxridge.devices import place
from jaxridge.factors import Known
from jaxridge.filled import UNTOUCHED, Filling
from jaxridge.folds import Folds, split
from jaxridge.grids import COUNT, grid_of_known, grid_of_moments, on_grid
from jaxridge.holdout import HoldOut, score_folds
from jaxridge.moments import Moments, as_one, others_of_each, usable
from jaxridge.plans import Plan, plan
from jaxridge.precision import warn_if_lost
from jaxridge.products import FAST, FULL
from jaxridge.refits import by_moments
from jaxridge.routes import ONE_A_FOLD, PRIMAL, Route
from jaxridge.scoring import (
    Score,
    called,
    constant_targets,
    defined,
    predictions,
    scoring_of,
)
from jaxridge.threads import few_for
from jaxridge.tiles import until_it_fits


def scores_by_folds(
    rows: Known,
    y: Any,
    lams: Any,
    masks: Folds,
    scoring: str | Callable[..., Any],
    learner: Learner = untouched,
    *,
    budget: float | None = None,
    precision: str = FULL,
    found_by: Callable[[Array], tuple[Array, Route]] | None = None,
) -> Scores:
    """Do as `cross_validate` of rows that are known, exactly or as `found_by` does."""
    data, kind = rows.data, scoring_of(scoring)

    def exactly(grid: Array) -> tuple[Array, Route]:
        of_plan = budget, precision, None if precision == FAST else rows
        given = kind.score, learner, rows.fit_intercept, *of_plan
        return _exactly(data, masks, grid, *given)

    found_at = found_by or exactly

    def score(grid: Array) -> Scores:
        found, route = found_at(grid)
        _refuse_gaps(found, data, masks, learner)
        if callable(scoring):
            found = jnp.stack(
                [
                    called(scoring, data.Y[rows], one, data.weight[rows])
                    for rows, one in _of_each_fold(found, masks)
                ]
            )
        found = defined(scoring, found, partial(constant_targets, data.Y, data.weight))
        per_fold = drop_target_axis(found, y)
        return scores_of_folds(grid, per_fold, kind.greater_is_better, route)

    def automatic() -> Array:
        m, n = data.X.shape
        exact = found_by is None and precision != FAST and learner is untouched
        if exact and masks.is_partition and len(masks.held) * n < m:
            rows.parts(masks.held)  # of which the grid is made then, and the scores
        return grid_of_known(rows, learner)

    return on_grid(score, lams, data.X.dtype, automatic)


def _refuse_gaps(found: Array, data: Data, masks: Folds, learner: Learner) -> None:
    """Refuse scores that are NaN because of what a learner made of a fold's rows."""
    if learner is untouched or checks.is_traced(found):
        return
    missing = np.isnan(found).reshape(len(found), -1).any(axis=1)
    for train in masks.train[missing]:
        try_out(learner, data._replace(weight=jnp.where(train, data.weight, 0)))


@in_kind_of_input
def held_out_predictions(
    X: Any,
    y: Any,
    lams: Any,
    folds: Any,
    *,
    groups: Any = None,
    weight: Any = None,
    fit_intercept: bool = True,
    prepare: Learner | None = None,
) -> tuple[list[tuple[np.ndarray, Float[np.ndarray, "L h t"]]], Route]:
    """Return each fold's held-out rows, and what the others say of them, in NumPy.

    For scores that `cross_validate` does not know, such as those of several targets
    together; m · t · L numbers are made.
    """
    learner = checked_learner(prepare)
    data = as_data_to_square(X, y, weight, missing=learner is not untouched)
    try_out(learner, data)
    masks = folds_of(data, y, folds, groups)
    grid = as_penalty("lams", lams, data.X.dtype)
    given = predictions, learner, fit_intercept, None
    found, route = _exactly(data, masks, grid, *given)
    return _of_each_fold(np.asarray(found), masks), route


def _of_each_fold(found: Any, masks: Folds) -> list[tuple[np.ndarray, Any]]:
    """Return the rows that each fold holds out, and what is predicted of those.

    In `found`, (k, L, h, t), every fold is as long as the longest.
    """
    chosen = [np.flatnonzero(mask) for mask in masks.held]
    return [
        (rows, one[:, : len(rows)]) for rows, one in zip(chosen, found, strict=True)
    ]


def scores_of_moments(
    parts: Moments,
    lams: Any,
    scoring: Any,
    fit_intercept: bool,
    prepare: Filling = UNTOUCHED,
    paired: Callable[[Moments], tuple[Moments, Moments]] = others_of_each,
) -> Scores:
    """Score every penalty where moments of folds are all there is.

    `paired` and `prepare` as `by_moments` has them.
    """
    checks.one_of("scoring", scoring, ("mse", "r2"))
    if parts.weight.ndim != 1 or len(parts.weight) < 2:
        raise ValueError("`X` as Moments must hold at least 2 folds")
    parts = usable(parts)
    kind, dtype = scoring_of(scoring), parts.xx.dtype

    def score(grid: Array) -> Scores:
        given = kind.score, fit_intercept, prepare, paired
        scored = by_moments(parts, grid, *given)
        per_fold = defined(
            scoring, scored.per_fold, lambda: np.asarray(as_one(parts).yy) == 0
        )
        warn_if_lost(scored.condition, scored.left, dtype)
        route = Route(PRIMAL, ONE_A_FOLD, str(dtype))
        return scores_of_folds(grid, per_fold, kind.greater_is_better, route)

    def automatic() -> Array:
        whole = as_one(parts)
        return grid_of_moments(prepare(whole, whole)[0], COUNT, fit_intercept)

    return on_grid(score, lams, dtype, automatic)


def _exactly(
    data: Data,
    masks: Folds,
    grid: Array,
    score: Score,
    learner: Learner,
    fit_intercept: bool,
    budget: float | None,
    precision: str = FULL,
    known: Known | None = None,
) -> tuple[Float[Array, "k L *score"], Route]:
    (m, n), t, k = data.X.shape, data.Y.shape[1], len(masks.held)
    shared = learner is untouched and masks.is_partition
    asked, held = "folds" if shared else "refits", masks.held_rows.rows.shape[1]
    if budget is None and not shared:  # one way: of interest is only that it fits
        budget = place(None)[1]

    tried: list[Plan] = []

    def smaller() -> Plan:
        """Return a plan of half the bytes of the last one, if there is one."""
        sizes, room = (m, n, t, len(grid), k), tried[-1].bytes / 2 if tried else budget
        how: Any = {"budget": room, "precision": precision}
        try:
            return plan(*sizes, data.X.dtype, asked=asked, held=held, **how)
        except MemoryError:
            if not tried:
                raise
            return tried[-1]

    def scored() -> tuple[Float[Array, "k L *score"], Route]:
        tried.append(smaller())
        given = masks, grid, score, learner, fit_intercept, tried[-1], known
        return score_folds(data, HoldOut(*given))

    with few_for(m, n, k):
        return until_it_fits(scored)


def folds_of(data: Data, y: Any, folds: Any, groups: Any = None) -> Folds:
    """Return checked folds, or refuse those whose rows have no weight on one side."""
    masks = split(folds, y, groups)
    if checks.is_traced(data.weight):
        return masks
    counted = np.asarray(data.weight) > 0
    if counted.all():
        return masks
    for side, rows in (("training", masks.train), ("held-out", masks.held)):
        empty = np.flatnonzero(~(rows & counted).any(axis=1))
        if empty.size:
            raise ValueError(
                f"`weight` is zero for all {side} rows of fold {empty[0]}: use other "
                "`folds`, or drop the rows that do not count"
            )
    return masks
