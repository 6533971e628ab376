"""The whole way from rows to a chosen λ: a grid, scores, a choice, the coefficients.

Everything here computes in float64. Columns are prepared (missing values filled,
scaled) by what each fold's training rows say; λ refers to the prepared columns.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from sklearn.model_selection import KFold

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
from jaxridge.data import Data, as_data, drop_target_axis
from jaxridge.objective import Params, ParamsPath
from jaxridge.progress import bar
from jaxridge.rules import Rule, StepOptions, rule_for
from jaxridge.trajectory import prepare
from jaxridge.validation import Work, cross_validate, train

STAGES = 4  # every λ, the mean alone, λ = 0, the final fit
AUTO_COUNT = 60
AUTO_LOWEST, AUTO_HIGHEST = 1e-6, 1e2  # times the largest eigenvalue of XcᵀWXc


class Plan(NamedTuple):
    """What was asked for."""

    lams: np.ndarray | None  # None for the automatic grid
    folds: int
    seed: int
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


def study(
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None,
    plan: Plan,
    *,
    progress: bool = False,
) -> Study:
    """Score a grid of penalties on shuffled folds, choose one, and fit all rows.

    `X` may hold NaN, which is filled with the mean of each fold's training rows.
    """
    folds = KFold(plan.folds, shuffle=True, random_state=plan.seed)
    stages = bar(STAGES, "choosing lambda", "stage", wanted=progress)
    with jax.enable_x64(True), stages as shown:
        data = as_data(X, y, weight, missing=True)
        target = data.Y[:, 0]
        lams = auto_grid(data, plan) if plan.lams is None else jnp.asarray(plan.lams)
        steps: StepOptions = {"progress": progress} if plan.method == "descent" else {}

        def scored(X: Array, grid: Array, work: Work, steps: StepOptions) -> Scores:
            shown.update()
            return cross_validate(
                X,
                target,
                grid,
                folds,
                method=work.method,
                weight=data.weight,
                fit_intercept=work.fit_intercept,
                prepare=work.learner,
                **steps,
            )

        work = Work(plan.learner, plan.fit_intercept, plan.method)
        scores = scored(data.X, lams, work, steps)
        choice = choose(scores, plan.rule)
        zero, none = jnp.zeros_like(lams[:1]), jnp.zeros_like(data.X[:, :1])
        mean_only = scored(none, zero, Work(imputed, True, "solve"), {})
        unpenalized = scored(data.X, zero, work._replace(method="solve"), {})
        # The final fit is a fold that holds nothing out.
        shown.update()
        every_row = data.weight[None]
        trained = train(data, target, every_row, lams, work, steps)
        columns, params, converged = jax.tree.map(lambda a: a[0], trained)
        params = ParamsPath(*drop_target_axis(params, target))
        chosen = Params(params.coef[choice.index], params.intercept[choice.index])
        found = Study(
            scores,
            choice,
            columns,
            params,
            chosen,
            original_units(columns, chosen),
            converged,
            mean_only.mean[0],
            unpenalized.mean[0],
        )
        return jax.tree.map(lambda a: np.asarray(a)[()], found)


def auto_grid(data: Data, plan: Plan) -> Float[Array, " L"]:
    """Return 60 penalties from almost no shrinkage to almost all.

    Log-spaced from 1e-6 to 100 times the largest eigenvalue of XcᵀWXc, the scatter of
    the prepared columns; 1 stands in for it if all columns are constant.
    """
    rule = rule_for(data, {"learning_rate": "auto"}, plan.fit_intercept)
    top = float(_largest(data, rule, plan.learner))
    top = top if top > 0 else 1.0
    return jnp.geomspace(AUTO_LOWEST * top, AUTO_HIGHEST * top, AUTO_COUNT)


@partial(jax.jit, static_argnums=(1, 2))
def _largest(data: Data, rule: Rule, learner: Learner) -> Float[Array, ""]:
    columns = learner(data.X, data.weight)
    rows = prepare(data, rule, partial(prepared, columns))
    return rows.curvature * jnp.sum(data.weight)
