"""The whole way from rows to a chosen λ: a grid, scores, a choice, the coefficients.

Everything here computes in float64. Columns are prepared (missing values filled,
scaled) by what each fold's training rows say; λ refers to the prepared columns.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxridge.certificate import Certificate, of_rows, some_of
from jaxridge.choice import Choice, Scores, choose
from jaxridge.columns import (
    Columns,
    Learner,
    imputed,
    original_units,
    prepared,
    scaled,
    standardized,
)
from jaxridge.criteria import evidence, gcv
from jaxridge.data import Data, as_data, drop_target_axis
from jaxridge.left_out import leave_one_out
from jaxridge.objective import Params, ParamsPath
from jaxridge.paths import drop_targets, path_of
from jaxridge.progress import bar
from jaxridge.routes import DESCENT, Route
from jaxridge.rules import StepOptions
from jaxridge.training import train
from jaxridge.trial import Trial
from jaxridge.validation import cross_validate

CRITERIA = {"loo": leave_one_out, "gcv": gcv, "evidence": evidence}
STAGES = 4  # every λ, the mean alone, λ = 0, the final fit


class Task(NamedTuple):
    """What was asked for."""

    lams: np.ndarray | None  # None for the automatic grid
    trial: Trial
    rule: str
    method: str
    standardize: bool
    fit_intercept: bool

    @property
    def learner(self) -> Learner:
        """How the columns are prepared."""
        if not self.standardize:
            return imputed
        return standardized if self.fit_intercept else scaled


class Study(NamedTuple):
    """What was found.

    `params` are coefficients of the prepared columns at every penalty, `chosen` those
    at the chosen one, and `raw` the same in the columns' own units. `mean_only` and
    `unpenalized` are the held-out errors of the two models that need no choice of λ:
    the mean of the target, and λ = 0.
    """

    scores: Scores
    choice: Choice
    columns: Columns
    params: ParamsPath
    chosen: Params
    raw: Params
    converged: Array | np.ndarray
    mean_only: Array | np.ndarray
    unpenalized: Array | np.ndarray
    certificate: Certificate


def study(
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None,
    task: Task,
    *,
    progress: bool = False,
) -> Study:
    """Score a grid of penalties, choose one, and fit all rows.

    `X` may hold NaN, which is filled with the mean of each fold's training rows, or of
    all rows where there are no folds.
    """
    trial = task.trial
    stages = bar(STAGES, "choosing lambda", "stage", wanted=progress)
    with jax.enable_x64(True), stages as shown:
        # On a CPU not a copy, if X is aligned.
        data = as_data(jax.device_put(X), y, weight, missing=True)
        target = data.Y[:, 0]
        steps: StepOptions = {"progress": progress} if task.method == "descent" else {}

        def scored(
            X: Array, grid: Any, learner: Learner, intercept: bool, **how: Any
        ) -> Scores:
            shown.update()
            given: dict[str, Any] = {
                "weight": data.weight,
                "fit_intercept": intercept,
            }
            if trial.folds is None:
                score: Any = CRITERIA[str(trial.cv)]
                ready = prepared(learner(X, data.weight), X)
                found: Scores = score(ready, target, grid, **given)
                return found
            given |= {"groups": trial.groups, "prepare": learner, **how}
            return cross_validate(X, target, grid, trial.folds, **given)

        def baseline(X: Array, learner: Learner, intercept: bool) -> Array:
            if trial.cv == "evidence":  # of which λ = 0 has none
                return jnp.full((), jnp.nan)
            return scored(X, zero, learner, intercept).mean[0]

        fit_intercept = task.fit_intercept
        grid = "auto" if task.lams is None else jnp.asarray(task.lams)
        how: dict[str, Any] = (
            {} if trial.folds is None else {"method": task.method, **steps}
        )
        scores = scored(data.X, grid, task.learner, fit_intercept, **how)
        choice, lams = choose(scores, task.rule), scores.lams
        zero, none = jnp.zeros_like(lams[:1]), jnp.zeros_like(data.X[:, :1])
        mean_only = baseline(none, imputed, True)
        unpenalized = baseline(data.X, task.learner, fit_intercept)
        shown.update()
        params, converged, certificate = _final_fits(data, lams, task, steps)
        columns = task.learner(data.X, data.weight)
        chosen = Params(params.coef[choice.index], params.intercept[choice.index])
        found = Study(
            scores,
            choice,
            columns,
            params,
            chosen,
            original_units(columns, chosen),
            converged,
            mean_only,
            unpenalized,
            certificate,
        )
        return jax.tree.map(lambda a: np.asarray(a)[()], found)


def _final_fits(
    data: Data, lams: Array, task: Task, steps: StepOptions
) -> tuple[ParamsPath, Array, Certificate]:
    """Return the fits to all rows, of one target; which converged; and how well."""
    target = data.Y[:, 0]
    if task.method == "exact":
        found = path_of(data, lams, task.fit_intercept, task.learner)
        params, converged = drop_targets(found, target).params, jnp.ones(lams.shape)
        return params, converged > 0, found.certificate
    # A fold that holds nothing out.
    trained = train(
        data,
        target,
        data.weight[None],
        lams,
        task.learner,
        task.fit_intercept,
        steps,
    )
    params, converged = jax.tree.map(
        lambda a: a[0], (trained.params, trained.converged)
    )
    some = some_of(lams)
    fits = ParamsPath(*params)
    given = lams[some], task.fit_intercept, task.learner
    autodiff, by_hand = of_rows(fits.among(some), data, *given)
    route = Route("", DESCENT, str(data.X.dtype))
    nothing = jnp.full((), jnp.nan)
    made = Certificate(lams[some], autodiff, by_hand, nothing, route)
    return ParamsPath(*drop_target_axis(params, target)), converged, made
