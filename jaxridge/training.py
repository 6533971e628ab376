"""Descents on the training rows of every fold, at every penalty, in one program.

A fold leaves its held-out rows out by weight 0, so that all folds have the same shape.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxridge import checks, trajectory
from jaxridge.columns import Columns, Learner, prepared
from jaxridge.data import Data
from jaxridge.divergence import refuse_divergence
from jaxridge.folds import Held
from jaxridge.landscape import Landscape, landscape_of
from jaxridge.params import Params
from jaxridge.products import matmul
from jaxridge.programs import compiled
from jaxridge.rules import Rule, RuleOptions, Start, StepOptions, rule_for, start_for
from jaxridge.scoring import Score
from jaxridge.tiles import at_once
from jaxridge.trajectory import Outcome


class Trained(NamedTuple):
    """What each fold learnt: its columns' preparation, and params at every penalty."""

    columns: Columns
    params: Params
    converged: Bool[Array, "k L"]


def train(
    data: Data,
    y: Any,
    weights: Float[Array, "k m"],
    grid: Float[Array, " L"],
    learner: Learner,
    fit_intercept: bool,
    options: RuleOptions,
) -> Trained:
    """Fit every fold, given by its rows' weights, at every penalty of the grid.

    All rows at their own weights are a fold too, the one that the final fit is.
    """
    rule = rule_for(data, options, fit_intercept)
    start = start_for(data, y, grid, rule, options)
    if options.get("progress") and not checks.any_traced(data, start):
        rows, columns = _watched_rows(data, weights, rule, learner)
        outcome = trajectory.watch(rows, start, rule)
    else:
        outcome, columns = _descend_folds(data, weights, start, rule, learner)

    def data_of_fold(k: int) -> Data:
        X = prepared(learner(data.X, weights[k]), data.X)
        return data._replace(X=X, weight=weights[k])

    refuse_divergence(outcome, data_of_fold, rule)
    fit = outcome.fit
    return Trained(columns, Params(*fit.params), fit.converged)


@partial(compiled, many_steps=True, static_argnums=(3, 4))
def _descend_folds(
    data: Data, weights: Array, start: Start, rule: Rule, learner: Learner
) -> tuple[Outcome, Columns]:
    if rule.compress:
        rows, columns = _rows_of_folds(data, weights, rule, learner)
        return trajectory.run(rows, start, rule), columns

    def one_fold(weight: Array) -> tuple[Outcome, Columns]:
        rows, columns = _rows(data, rule, learner, weight)
        return trajectory.run(rows, start, rule), columns

    if rule.profiles_intercept:  # about means that differ, so that rows are copied
        some = _divisor_within(len(weights), at_once(data.X.size))
        return jax.lax.map(one_fold, weights, batch_size=some)
    # As a whole, so that rows that are the same in every fold are not copied.
    return jax.vmap(one_fold)(weights)


def _divisor_within(count: int, most: int) -> int:
    """Return the largest divisor that is no larger, so that no part is left over."""
    return max(d for d in range(1, min(count, most) + 1) if count % d == 0)


def _rows_of_folds(
    data: Data, weights: Array, rule: Rule, learner: Learner
) -> tuple[Landscape, Columns]:
    """Return each fold's rows; one fold at a time if only few rows are kept of each."""
    one_fold = partial(_rows, data, rule, learner)
    if rule.compress:
        return jax.lax.map(one_fold, weights)
    return jax.vmap(one_fold)(weights)


_watched_rows = compiled(_rows_of_folds, static_argnums=(2, 3))


def _rows(
    data: Data, rule: Rule, learner: Learner, weight: Array
) -> tuple[Landscape, Columns]:
    columns = learner(data.X, weight)
    data = data._replace(weight=weight)
    return landscape_of(data, rule, partial(prepared, columns)), columns


@partial(compiled, many_steps=True, static_argnames="score")
def score_trained(
    data: Data, held: Held, trained: Trained, score: Score
) -> Float[Array, "k L *score"]:
    """Return the scores of each fold's held-out rows."""

    def one_fold(fold: tuple[Held, Trained]) -> Array:
        (rows, counts), (columns, params, _) = fold
        X, Y = prepared(columns, data.X[rows]), data.Y[rows]
        weight = jnp.where(counts, data.weight[rows], 0)

        def one_lam(params: Params) -> Array:
            return score(Y, matmul(X, params.coef) + params.intercept, weight)

        return jax.lax.map(one_lam, params, batch_size=at_once(Y.size))

    return jax.lax.map(one_fold, (held, trained))


def warn_unless_converged(trained: Trained, options: StepOptions) -> None:
    """Warn of descents cut short; those by mini-batches are never expected to end."""
    if checks.is_traced(trained.converged) or options.get("batch_size"):
        return
    short = int((~np.asarray(trained.converged)).sum())
    if short:
        checks.warn(
            f"{short} of {trained.converged.size} descents stopped before they "
            'converged: raise `max_steps`, or use method="exact"'
        )
