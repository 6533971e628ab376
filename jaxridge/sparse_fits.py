"""Fits and scores of sparse rows: by their sums, or by iteration where those are large.

Up to 5,000 columns, XᵀWX is made and factorised, and stands for the rows wherever sums
are enough; leave-one-out and other scores read the rows a tile at a time. With more
columns, and too many rows to be turned into few dense ones, conjugate gradients answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxridge import krylov
from jaxridge.border import in_kind_of_input
from jaxridge.certificate import Certificate
from jaxridge.choice import Evidence, Scores, scores_of_all, scores_of_folds
from jaxridge.criteria import evidence, gcv
from jaxridge.data import as_penalty
from jaxridge.fits import FitOfEach, fit_of_sums
from jaxridge.folds import Folds
from jaxridge.grids import lambda_grid
from jaxridge.hanging import SLACK
from jaxridge.moments import Moments
from jaxridge.params import Params
from jaxridge.paths import path_of_sums
from jaxridge.placement import placed
from jaxridge.precision import warn_if_lost
from jaxridge.routes import ONE, ONE_A_FOLD, PRIMAL, Route
from jaxridge.scoring import SCORINGS, constant_targets, defined
from jaxridge.sparse import gradient_norms, left_out, sums_of
from jaxridge.spread import joined, mean_and_error, spread_of
from jaxridge.sums import about_mean
from jaxridge.validation import cross_validate

MOST = 5000  # columns of which XᵀWX is made, or rows of which XXᵀ is
ITERATED = "conjugate gradients"
# A step takes about so many times longer for each number that it reads than the
# factorisation for each of m³: sparse products wait for memory.
A_STEP, LEAST_STEPS = 14, 20
COLUMNS_AT_ONCE = 2**25  # numbers of coefficients solved for at a time
DECADES = 8  # below the trace, where an automatic grid begins
EVERY = slice(None)


@dataclass(frozen=True)
class SparseRows:
    """Sparse rows in float64, targets (m, t) and weights."""

    X: Any
    Y: np.ndarray
    weight: np.ndarray
    fit_intercept: bool

    @property
    def is_wide(self) -> bool:
        """Whether there are too many columns to make XᵀWX."""
        return int(self.X.shape[1]) > MOST

    @cached_property
    def sums(self) -> Moments:
        """Their moments, made once for all that is asked of them."""
        return sums_of(self.X, self.Y, self.weight)


def fit_sparse(rows: SparseRows, lam: Any) -> FitOfEach:
    """Return the fit at one penalty, or one for each target."""
    lam = np.broadcast_to(np.asarray(lam, float), rows.Y.shape[1:])
    if rows.is_wide:
        return _stepped(rows, lam, krylov.MOST_STEPS)
    fit = _of_sums(rows.sums, lam, rows.fit_intercept)
    warn_if_lost(fit.certificate.condition, 1.0, np.float64)
    return _certified(rows, lam, fit)


def fit_by_steps(rows: SparseRows, lam: Any) -> FitOfEach | None:
    """Return the fit by no more steps than the rows' kernel takes to be factorised.

    None if those are not enough: few rows, or columns that differ much in size.
    """
    (m, n), t = rows.X.shape, rows.Y.shape[1]
    steps = m**3 // (A_STEP * t * (rows.X.nnz + 6 * n))
    if steps < LEAST_STEPS:
        return None
    lam = np.broadcast_to(np.asarray(lam, float), rows.Y.shape[1:])
    try:
        return _stepped(rows, lam, min(steps, krylov.MOST_STEPS))
    except ArithmeticError:
        return None


def _stepped(rows: SparseRows, lam: np.ndarray, most_steps: int) -> FitOfEach:
    given: Any = rows.X, rows.Y, rows.weight, lam, rows.fit_intercept, most_steps
    coef, intercept = krylov.solved(*given)
    return _certified(rows, lam, _unfactorised(coef, intercept, lam))


def _certified(rows: SparseRows, lam: np.ndarray, fit: FitOfEach) -> FitOfEach:
    given: Any = rows.X, rows.Y, rows.weight, lam, rows.fit_intercept
    twice = gradient_norms(fit.params, *given)
    made = fit.certificate._replace(autodiff=twice[0], by_hand=twice[1])
    return fit._replace(certificate=made)


@in_kind_of_input
def _of_sums(sums: Moments, lam: Any, fit_intercept: bool) -> FitOfEach:
    one = jax.tree.map(placed, sums)
    return fit_of_sums(one, as_penalty("alpha", lam, jnp.float64), fit_intercept)


def _unfactorised(coef: Any, intercept: Any, lam: np.ndarray) -> FitOfEach:
    """Return a fit of which neither df nor the condition are known."""
    nothing: Any = np.full(coef.shape[1], np.nan)
    route = Route("", ITERATED, "float64")
    least: Any = lam.min()[None]
    made = Certificate(least, nothing, nothing, nothing[0], route)
    return FitOfEach(Params(coef, intercept), made, nothing)


def grid_of_sparse(rows: SparseRows) -> np.ndarray:
    """Return an automatic grid: of the spectrum, or about the trace if that is all."""
    if not rows.is_wide:
        grid = lambda_grid(rows.sums, fit_intercept=rows.fit_intercept)
        return np.asarray(grid)
    trace = (rows.X.multiply(rows.X).T @ rows.weight).sum()
    return np.geomspace(trace / 10**DECADES, trace * 10, 10 * (DECADES + 1) + 1)


def criterion(rows: SparseRows, lams: Any, name: str) -> Scores | Evidence:
    """Return GCV or the evidence."""
    sums = _sums_that_can_be(rows)
    score: Any = gcv if name == "gcv" else evidence
    found: Scores | Evidence = score(sums, None, lams, fit_intercept=rows.fit_intercept)
    return found


def left_out_predictions(rows: SparseRows, lams: np.ndarray) -> np.ndarray:
    """Return what all other rows say of each row, (L, m, t)."""
    found = np.empty((len(lams), *rows.Y.shape))
    for which, error in _errors(rows, lams):
        found[:, which] = rows.Y[which] - error
    return found


def left_out_scores(rows: SparseRows, lams: Any, scoring: str) -> Scores:
    """Return leave-one-out scores by "mse", "mae", "r2" or "correlation"."""
    route = Route(PRIMAL, ONE, "float64")
    better: Any = np.asarray(SCORINGS[scoring].greater_is_better)
    if scoring == "correlation":
        predicted = left_out_predictions(rows, lams)
        mean: Any = _scored(scoring, rows.Y, predicted, rows.weight)
        mean = _defined(scoring, mean, rows.Y, rows.weight)
        return scores_of_all(lams, mean, better, route)
    loss = np.abs if scoring == "mae" else np.square
    each = (
        _spread(rows.weight[which], loss(error)) for which, error in _errors(rows, lams)
    )
    square = None
    if scoring == "r2":
        about, _ = about_mean(rows.Y, rows.weight, rows.weight.sum())
        square = np.average(about**2, 0, rows.weight)
    mean, deviation = _mean_and_error(reduce(_joined, each), square)
    mean = _defined(scoring, mean, rows.Y, rows.weight)
    return Scores(lams, mean[None], mean, deviation, better, route)


def fold_scores(rows: SparseRows, lams: Any, masks: Folds, scoring: str) -> Scores:
    """Return scores by name over folds."""
    if masks.is_partition and scoring in ("mse", "r2") and not rows.is_wide:
        parts = [
            sums_of(rows.X[held], rows.Y[held], rows.weight[held])
            for held in masks.held
        ]
        sums: Any = jax.tree.map(lambda *a: np.stack(a), *parts)
        mean = rows.fit_intercept
        return cross_validate(sums, None, lams, scoring=scoring, fit_intercept=mean)
    found = [
        _scored(scoring, rows.Y[held], predicted, rows.weight[held])
        for held, predicted in held_out(rows, lams, masks)
    ]
    route = Route(PRIMAL, ONE_A_FOLD, "float64")
    if rows.is_wide:
        route = Route("", ITERATED, "float64")
    better = SCORINGS[scoring].greater_is_better
    per_fold: Any = _defined(scoring, np.stack(found), rows.Y, rows.weight)
    return in_kind_of_input(scores_of_folds)(lams, per_fold, better, route)


@in_kind_of_input
def _defined(scoring: str, scores: Any, Y: Any, weight: Any) -> Any:
    constant = partial(constant_targets, Y, weight)
    return defined(scoring, jnp.asarray(scores), constant)


def held_out(
    rows: SparseRows, lams: np.ndarray, masks: Folds
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each fold's held-out rows, and predictions (L, h, t) by the others."""
    for train, held in zip(masks.train, masks.held, strict=True):
        which = np.flatnonzero(held)
        coef, intercept = along(rows, lams, train)
        (L, _, t), X = coef.shape, rows.X[which]
        predicted = X @ coef.transpose(1, 0, 2).reshape(-1, L * t)
        yield which, predicted.reshape(-1, L, t).swapaxes(0, 1) + intercept[:, None]


@in_kind_of_input
def _scored(scoring: str, Y: Any, predicted: Any, weight: Any) -> Any:
    """Return a score, by its name, of targets and predictions (L, h, t)."""
    score = SCORINGS[scoring].score
    return jax.vmap(lambda p: score(jnp.asarray(Y), p, jnp.asarray(weight)))(
        jnp.asarray(predicted)
    )


def _sums_that_can_be(rows: SparseRows) -> Moments:
    """Return the moments, or refuse columns too many for XᵀX."""
    if rows.is_wide:
        raise ValueError(
            f"scores of {rows.X.shape[0]} sparse rows without folds need XᵀX, which "
            f"{rows.X.shape[1]} columns make too large: use folds, such as cv=5"
        )
    return rows.sums


def _errors(rows: SparseRows, lams: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield left-out errors, those of rows that a fit hangs on from fits without."""
    sums = _sums_that_can_be(rows)
    given = rows.X, rows.Y, rows.weight, sums, lams, rows.fit_intercept
    for which, errors, slacks in left_out(*given):
        for i in np.flatnonzero(slacks < SLACK):
            alone = which.start + i
            others = np.arange(len(rows.Y)) != alone
            coef, intercept = along(rows, lams, others)
            X = rows.X[[alone]].toarray()[0]
            errors[:, i] = rows.Y[alone] - X @ coef - intercept
        yield which, errors


def along(
    rows: SparseRows, lams: np.ndarray, which: np.ndarray | slice = EVERY
) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients (L, n, t) and intercepts (L, t) of fits to some rows."""
    X, Y, weight = rows.X[which], rows.Y[which], rows.weight[which]
    if not rows.is_wide:
        sums = sums_of(X, Y, weight)
        params = path_of_sums(sums, lams, rows.fit_intercept).params
        return np.asarray(params.coef), np.asarray(params.intercept)
    t, tile = Y.shape[1], max(1, COLUMNS_AT_ONCE // (X.shape[1] * Y.shape[1]))
    parts = []
    for start in range(0, len(lams), tile):
        some = lams[start : start + tile]
        each, targets = np.repeat(some, t), np.tile(Y, (1, len(some)))
        given: Any = X, targets, weight, each, rows.fit_intercept
        coef, intercept = krylov.solved(*given)
        coef = coef.reshape(-1, len(some), t).swapaxes(0, 1)
        parts.append((coef, intercept.reshape(len(some), t)))
    coefs, intercepts = zip(*parts, strict=True)
    return np.concatenate(coefs), np.concatenate(intercepts)


_spread: Any = in_kind_of_input(spread_of)
_joined: Any = in_kind_of_input(joined)
_mean_and_error: Any = in_kind_of_input(mean_and_error)
