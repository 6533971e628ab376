"""How well each penalty predicts rows it has not seen: cross-validation.

Every fold leaves its held-out rows out by weight 0, so that all folds have the same
shape, and one compiled program trains all folds and all penalties.
"""

import warnings
from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxridge import checks, trajectory
from jaxridge.choice import Scores, standard_error
from jaxridge.columns import Columns, Learner, prepared, untouched
from jaxridge.compression import compress, is_worthwhile
from jaxridge.data import (
    ArrayLike,
    Data,
    as_data,
    as_penalty,
    centre_of,
    centred,
    drop_target_axis,
    in_kind_of_input,
    intercept_at,
)
from jaxridge.divergence import refuse_divergence
from jaxridge.folds import Folds, split
from jaxridge.objective import Params
from jaxridge.products import matmul
from jaxridge.rules import Rule, Start, StepOptions, rule_for, start_for
from jaxridge.solvers import solve_data
from jaxridge.trajectory import Outcome, Rows

METHODS = ("descent", "solve")


# Held-out predictions are formed for this many penalties at a time.
LAMS_AT_ONCE = 16


class Work(NamedTuple):
    """What each fold does: prepare its columns, then train by a method."""

    learner: Learner
    fit_intercept: bool
    method: str


class Trained(NamedTuple):
    """What each fold learnt: its columns' preparation, and params at every penalty."""

    columns: Columns
    params: Params
    converged: Bool[Array, "k L"]


class Held(NamedTuple):
    """Rows held out by each fold, padded to the same number, and which count."""

    rows: Int[Array, "k h"]
    counts: Bool[Array, "k h"]


@in_kind_of_input
def cross_validate(
    X: ArrayLike,
    y: ArrayLike,
    lams: ArrayLike,
    folds: Any = 5,
    *,
    method: str = "descent",
    scoring: str = "mse",
    groups: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    fit_intercept: bool = True,
    prepare: Learner | None = None,
    **options: Unpack[StepOptions],
) -> Scores:
    """Score every penalty of a grid on held-out rows.

    Each fold minimises ``J = (Σ w (X @ coef + intercept − y)² + lam · ‖coef‖²) / (2m)``
    over its training rows, m the sum of *their* weights, so that `lam` is
    scikit-learn's ``alpha`` in every fold.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        The rows, finite; NaN marks a missing value if `prepare` fills them.
    y : array of shape (n_samples,) or (n_samples, n_targets)
        The targets.
    lams : array of shape (n_lams,)
        Penalties in squared units of `X` (as prepared), each at least 0, in any order.
    folds : int, array, scikit-learn splitter or iterable of pairs
        A number of contiguous, unshuffled blocks, as ``KFold(folds)`` makes; an integer
        array of shape (n_samples,), the fold that holds each row out; a splitter; or
        (train, test) pairs of row numbers or masks.
    method : "descent" or "solve"
        Train by `sweep`, or in closed form as `solve` does.
    scoring : "mse"
        Mean squared error.
    groups : array of shape (n_samples,), optional
        For splitters that keep groups together.
    weight : array of shape (n_samples,), optional
        How often each row counts, in training and in the score.
    fit_intercept : bool
        Whether to fit an unpenalised intercept.
    prepare : function, optional
        Learns to prepare the columns from each fold's training rows alone:
        `jaxridge.columns.standardized`, ``scaled`` or ``imputed``, or any other
        function of (X, weight) that returns `Columns`.
    **options
        Those of `descend`, for ``method="descent"``.

    Returns
    -------
    Scores
        lams, per_fold (k, L[, t]), mean and standard_error (L[, t]).

    Raises
    ------
    TypeError
        If an argument does not hold real numbers, or `folds` is nothing known.
    ValueError
        If shapes do not fit; for negative, NaN or infinite values; for folds without
        rows on one side; for an unknown method or scoring; and if a descent diverges.

    Warns
    -----
    UserWarning
        If a full-batch descent stopped at `max_steps` before it converged.

    Notes
    -----
    Compressed descents and "solve" read the rows once a fold, O(k m n²) time, and then
    work on n + 1 rows for each fold and penalty. Memory is O(m n), not k times that,
    except for descents on uncompressed rows.

    Examples
    --------
    >>> X, y = np.arange(6.0)[:, None], np.array([1.0, 0.0, 2.0, 4.0, 3.0, 5.0])
    >>> print(cross_validate(X, y, [0.1, 10.0], folds=3))
      lam    score    standard error
    -----  -------  ----------------
      0.1  1.09735          0.101931
     10    2.77604          1.25914
    """
    checks.grid(lams)
    checks.one_of("method", method, METHODS)
    checks.one_of("scoring", scoring, ("mse",))
    if method != "descent" and options:
        raise TypeError(f"{method!r} takes no option {sorted(options)[0]!r}")
    data = as_data(X, y, weight, missing=prepare is not None)
    masks = split(folds, y, groups)
    weights = jnp.asarray(masks.train) * data.weight
    held = Held(*map(jnp.asarray, masks.held_rows))
    _every_fold_counts(masks, data)
    grid = as_penalty("lams", lams, data.X.dtype)
    work = Work(prepare or untouched, fit_intercept, method)
    trained = train(data, y, weights, grid, work, options)
    _warn_unless_converged(trained, options)
    per_fold = drop_target_axis(_held_out_mse(data, held, trained), y)
    return Scores(
        lams=grid,
        per_fold=per_fold,
        mean=jnp.mean(per_fold, axis=0),
        standard_error=standard_error(per_fold),
        greater_is_better=jnp.asarray(False),
    )


def _warn_unless_converged(trained: Trained, options: StepOptions) -> None:
    """Warn of descents cut short; those by mini-batches are never expected to end."""
    if checks.is_traced(trained.converged) or options.get("batch_size"):
        return
    short = int((~trained.converged).sum())
    if short:
        warnings.warn(
            f"{short} of {trained.converged.size} descents stopped before they "
            'converged: raise `max_steps`, or use method="solve"',
            stacklevel=4,
        )


def _every_fold_counts(masks: Folds, data: Data) -> None:
    """Refuse folds whose rows all have weight 0 on one side."""
    if checks.is_traced(data.weight):
        return
    counted = np.asarray(data.weight) > 0
    for side, rows in (("training", masks.train), ("held-out", masks.held)):
        empty = np.flatnonzero(~(rows & counted).any(axis=1))
        if empty.size:
            raise ValueError(
                f"`weight` is zero for all {side} rows of fold {empty[0]}: use other "
                "`folds`, or drop the rows that do not count"
            )


def train(
    data: Data,
    y: Any,
    weights: Float[Array, "k m"],
    grid: Float[Array, " L"],
    work: Work,
    options: StepOptions,
) -> Trained:
    """Fit every fold, given by its rows' weights, at every penalty of the grid.

    All rows at their own weights are a fold too, the one that the final fit is.
    """
    learner = work.learner
    if work.method == "solve":
        return _solved(data, weights, grid, learner, work.fit_intercept)
    rule = rule_for(data, options, work.fit_intercept)
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


@partial(jax.jit, static_argnums=(3, 4))
def _descend_folds(
    data: Data, weights: Array, start: Start, rule: Rule, learner: Learner
) -> tuple[Outcome, Columns]:
    if rule.compress:
        rows, columns = _rows_of_folds(data, weights, rule, learner)
        return trajectory.run(rows, start, rule), columns

    def one_fold(weight: Array) -> tuple[Outcome, Columns]:
        rows, columns = _rows(data, weight, rule, learner)
        return trajectory.run(rows, start, rule), columns

    # Mapped as a whole, so that rows that are the same in every fold are not copied.
    return jax.vmap(one_fold)(weights)


def _rows_of_folds(
    data: Data, weights: Array, rule: Rule, learner: Learner
) -> tuple[Rows, Columns]:
    """Return each fold's rows; one fold at a time if only few rows are kept of each."""

    def one_fold(weight: Array) -> tuple[Rows, Columns]:
        return _rows(data, weight, rule, learner)

    return (jax.lax.map if rule.compress else _vmapped)(one_fold, weights)


_watched_rows = jax.jit(_rows_of_folds, static_argnums=(2, 3))


def _vmapped(function: Any, over: Array) -> Any:
    return jax.vmap(function)(over)


def _rows(
    data: Data, weight: Array, rule: Rule, learner: Learner
) -> tuple[Rows, Columns]:
    columns = learner(data.X, weight)
    data = data._replace(weight=weight)
    return trajectory.prepare(data, rule, partial(prepared, columns)), columns


@partial(jax.jit, static_argnums=(3, 4))
def _solved(
    data: Data, weights: Array, grid: Array, learner: Learner, fit_intercept: bool
) -> Trained:
    """Solve for each fold and penalty, one after the other, on few rows if possible."""

    def one_fold(weight: Array) -> Trained:
        columns = learner(data.X, weight)
        rows, view = data._replace(weight=weight), partial(prepared, columns)
        centre = centre_of(rows, fit_intercept, view)
        if is_worthwhile(rows):
            rows = compress(rows, centre, False, view).data
        else:
            rows = centred(rows._replace(X=view(rows.X)), centre)
        coef = jax.lax.map(lambda lam: solve_data(rows, lam, False).coef, grid)
        params = Params(coef, intercept_at(coef, centre))
        return Trained(columns, params, jnp.ones(grid.shape, bool))

    return jax.lax.map(one_fold, weights)


@jax.jit
def _held_out_mse(data: Data, held: Held, trained: Trained) -> Float[Array, "k L t"]:
    """Return Σ w e² / Σ w over the held-out rows of each fold."""

    def one_fold(fold: tuple[Held, Trained]) -> Array:
        (rows, counts), (columns, params, _) = fold
        X, Y = prepared(columns, data.X[rows]), data.Y[rows]
        weight = jnp.where(counts, data.weight[rows], 0)

        def one_lam(params: Params) -> Array:
            error = matmul(X, params.coef) + params.intercept - Y
            return jnp.sum(weight[:, None] * error**2, axis=0) / jnp.sum(weight)

        return jax.lax.map(one_lam, params, batch_size=LAMS_AT_ONCE)

    return jax.lax.map(one_fold, (held, trained))
