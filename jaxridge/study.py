"""The whole way from rows to a chosen λ: a grid, scores, a choice, the coefficients.

Everything here computes in float64. Columns are prepared (missing values filled,
scaled) by what each fold's training rows say; λ refers to the prepared columns.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxridge.certificate import Certificate, of_rows, some_fits
from jaxridge.choice import Choice, Scores, choose, has_standard_errors
from jaxridge.columns import (
    Columns,
    Learner,
    imputed,
    original_units,
    ready,
    scaled,
    standardized,
)
from jaxridge.criteria import evidence, gcv
from jaxridge.data import Data, as_data
from jaxridge.fold_scores import held_out_predictions
from jaxridge.left_out import leave_one_out
from jaxridge.params import Params, ParamsPath
from jaxridge.paths import Path, path_of
from jaxridge.progress import bar
from jaxridge.routes import DESCENT, Route
from jaxridge.rules import RuleOptions
from jaxridge.training import train
from jaxridge.trial import Trial
from jaxridge.validation import cross_validate

CRITERIA = {"loo": leave_one_out, "gcv": gcv, "evidence": evidence}
# Fields whose last axis is that of targets.
OF_A_TARGET = "params", "chosen", "raw", "choice", "mean_only", "unpenalized"
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


class Fits(NamedTuple):
    """The fits to all rows at every penalty: which converged, and how well."""

    params: ParamsPath
    converged: Array
    certificate: Certificate


class Study(NamedTuple):
    """What was found, for every target.

    `params` are coefficients of the prepared columns at every penalty, `chosen` those
    at the chosen one, and `raw` the same in the columns' own units. `mean_only` and
    `unpenalized` are the held-out errors of the two models that need no choice of λ:
    the mean of the target, and λ = 0. What is of a target has their axis last; where
    that has been taken away, `order`, `simplest` and `largest` tell more.
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

    @property
    def order(self) -> np.ndarray:
        """The places of the penalties from the least to the largest."""
        return np.argsort(self.scores.lams, kind="stable")

    @property
    def simplest(self) -> int | None:
        """The place of the 1-SE penalty, if the scores have a standard error."""
        if not has_standard_errors(self.scores):
            return None
        return int(choose(self.scores, "1se").index)

    def largest(self, count: int) -> np.ndarray:
        """Return the places of so many of the largest coefficients."""
        return np.argsort(-np.abs(self.chosen.coef), kind="stable")[:count]

    def of_each_target(self) -> list["Study"]:
        """Return what was found for each target, without the targets' axis."""
        return [self._of_target(j) for j in range(len(self.choice.lam))]

    def _of_target(self, j: int) -> "Study":
        scores, judged = self.scores, ("per_fold", "mean", "standard_error")
        each = {name: getattr(scores, name)[..., j] for name in judged}
        own = {name: getattr(self, name) for name in OF_A_TARGET}
        own = jax.tree.map(lambda a: a[..., j], own)
        return self._replace(scores=scores._replace(**each), **own)


def study(
    X: np.ndarray,
    Y: np.ndarray,
    weight: np.ndarray | None,
    task: Task,
) -> Study:
    """Score a grid of penalties, choose one, and fit all rows, beside a bar.

    Every target, a column of `Y`, gets a penalty of its own.

    `X` may hold NaN, which is filled with the mean of each fold's training rows, or of
    all rows where there are no folds.
    """
    trial = task.trial
    stages = bar(STAGES, "choosing lambda", "stage", wanted=True)
    with jax.enable_x64(True), stages as shown:
        # On a CPU not a copy, if X is aligned.
        data = as_data(jax.device_put(X), Y, weight, missing=True)
        steps: RuleOptions = {"progress": True} if task.method == "descent" else {}

        def scored(
            X: Array, grid: Any, learner: Learner, intercept: bool, **how: Any
        ) -> Scores:
            shown.update()
            given: Any = {"weight": data.weight, "fit_intercept": intercept}
            if trial.folds is None:
                score: Any = CRITERIA[str(trial.cv)]
                X = ready(data._replace(X=X), learner).X
                found: Scores = score(X, data.Y, grid, **given)
                return found
            given |= {"groups": trial.groups, "prepare": learner, **how}
            return cross_validate(X, data.Y, grid, trial.folds, **given)

        def baseline(X: Array, learner: Learner, intercept: bool) -> Array:
            if trial.cv == "evidence":  # of which λ = 0 has none
                return jnp.full(data.Y.shape[1:], jnp.nan)
            return scored(X, zero, learner, intercept).mean[0]

        fit_intercept = task.fit_intercept
        grid = "auto" if task.lams is None else jnp.asarray(task.lams)
        given = data.X, grid, task.learner, fit_intercept
        scores = scored(*given, method=task.method, **steps)
        zero, none = jnp.zeros_like(scores.lams[:1]), jnp.zeros_like(data.X[:, :1])
        mean_only = baseline(none, imputed, True)
        unpenalized = baseline(data.X, task.learner, fit_intercept)
        shown.update()
        fits = _final_fits(data, scores.lams, task, steps)
        columns = task.learner(data.X, data.weight)
        return told(scores, fits, columns, mean_only, unpenalized, task.rule)


def told(
    scores: Scores,
    fits: Fits,
    columns: Columns,
    mean_only: Array,
    unpenalized: Array,
    rule: str,
) -> Study:
    """Return a study in NumPy's arrays, of scores and the fits to all rows."""
    choice = choose(scores, rule, per_target=True)
    chosen = fits.params.at(choice.index)
    found = Study(
        scores,
        choice,
        columns,
        fits.params,
        chosen,
        original_units(columns, chosen),
        fits.converged,
        mean_only,
        unpenalized,
        fits.certificate,
    )
    return jax.tree.map(lambda a: np.asarray(a)[()], found)


def held_out(
    X: np.ndarray,
    Y: np.ndarray,
    weight: np.ndarray | None,
    task: Task,
    lams: np.ndarray,
) -> np.ndarray:
    """Return what the folds that hold a row out say of it, each target at its penalty.

    NaN where none holds it out.
    """
    grid, own = np.unique(lams, return_inverse=True)
    found, _ = held_out_predictions(
        X,
        Y,
        grid,
        task.trial.folds,
        groups=task.trial.groups,
        weight=weight,
        fit_intercept=task.fit_intercept,
        prepare=task.learner,
    )
    predicted, each = np.full(Y.shape, np.nan), np.arange(len(lams))
    for rows, at_every_lam in found:
        predicted[rows] = at_every_lam[own, :, each].T
    return predicted


def _final_fits(data: Data, lams: Array, task: Task, steps: RuleOptions) -> Fits:
    """Return the fits to all rows."""
    if task.method == "exact":
        found = path_of(ready(data, task.learner), lams, task.fit_intercept)
        return exact(found)
    # A fold that holds nothing out.
    trained = train(
        data,
        data.Y,
        data.weight[None],
        lams,
        task.learner,
        task.fit_intercept,
        steps,
    )
    params, converged = jax.tree.map(
        lambda a: a[0], (trained.params, trained.converged)
    )
    fits = ParamsPath(*params)
    some, at = some_fits(fits, lams)
    twice = of_rows(ready(data, task.learner), some, at, task.fit_intercept)
    route = Route("", DESCENT, str(data.X.dtype))
    made = Certificate(at, *twice, jnp.full((), jnp.nan), route)
    return Fits(fits, converged, made)


def exact(found: Path) -> Fits:
    """Return fits in closed form."""
    there = jnp.ones(found.lams.shape, bool)
    return Fits(found.params, there, found.certificate)
