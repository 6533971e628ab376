"""Scores of every penalty by predicting each row from all others: leave-one-out."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.border import ArrayLike, in_kind_of_input
from jaxridge.choice import Scores, scores_of_all
from jaxridge.costs import flop_of_each
from jaxridge.data import (
    Centre,
    Data,
    as_data_to_square,
    as_penalty,
    drop_target_axis,
    mean_square,
    on_device,
    weighted_mean,
)
from jaxridge.factors import Known, answer, known
from jaxridge.grids import grid_of_known, on_grid
from jaxridge.hanging import SLACK, hanging, refitted, slacks_of
from jaxridge.leverages import (
    Loss,
    left_out_errors_of_each,
    left_out_losses,
    left_out_scores,
)
from jaxridge.nodes import Nodes, nodes_for
from jaxridge.products import power_of_2
from jaxridge.programs import compiled
from jaxridge.risk import unit_of
from jaxridge.routes import Route
from jaxridge.scoring import (
    Score,
    absolute_error,
    called,
    constant_targets,
    defined,
    predictions,
    scoring_of,
    squared_error,
)
from jaxridge.spectrum import Spectrum
from jaxridge.spread import Spread, joined, mean_and_error, spread_of


@in_kind_of_input
def leave_one_out(
    X: ArrayLike,
    y: ArrayLike,
    lams: ArrayLike | str,
    *,
    scoring: str | Callable[..., Any] = "mse",
    weight: ArrayLike | None = None,
    fit_intercept: bool = True,
) -> Scores:
    """Score every penalty by predicting each row from all others, exactly.

    Each fit minimises ``J = (Σ w (X @ coef + intercept − y)² + lam · ‖coef‖²) / (2m)``
    over the other rows. None is made: the error is ``e / (1 − h)``, e the residual of
    the fit to all rows and h the row's leverage.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        The rows, finite; at least two that count.
    y : array of shape (n_samples,) or (n_samples, n_targets)
        The targets.
    lams : array of shape (n_lams,), or "auto"
        Penalties in squared units of `X`, each at least 0, in any order; or those of
        `lambda_grid`, and more beyond while the best lies at an edge.
    scoring : "mse", "mae", "r2", "correlation" or function
        Mean squared or absolute error; 1 − mse · Σ w / Σ w (y − ȳ)²; Pearson's
        correlation of all rows with their predictions; or a function of (y,
        prediction), both of shape (n_samples,), of which a greater value is better. It
        sees no weights, nor rows whose weight is 0 (if weights are not being traced).
    weight : array of shape (n_samples,), optional
        How often each row counts; a row of weight 2 is left out with both its copies.
    fit_intercept : bool
        Whether to fit an unpenalised intercept.

    Returns
    -------
    Scores
        per_fold has one entry, the mean over rows; standard_error is that of the mean
        of the rows' losses, std(ddof=1)/√n_samples without weights. Of a correlation
        or a function, which are no means of losses, per_fold has no entries, and
        ``choose(rule="1se")`` refuses them.

    Raises
    ------
    TypeError
        If an argument does not hold real numbers.
    ValueError
        If shapes do not fit; for negative, NaN or infinite values; for fewer than two
        rows that count.

    Warns
    -----
    UserWarning
        If R² or a correlation is undefined, as a target is constant: it counts as 0.

    Notes
    -----
    One factorisation, then O(m n (n + t R)) time, R being the penalties L or, with many
    of both them and targets, the few that stand for all (see `nodes`); and
    O(n² + m) memory beside the rows (O(m n) where n > m, and for a correlation;
    O(m t L) for a function). Where the fit to all rows interpolates, as any does at
    ``lam = 0`` with n ≥ m, e and 1 − h are both 0; the score is then the limit λ → 0,
    which is the error of the minimum-norm fit to the other rows. Rows on which the fit
    hangs alone, 1 − h below 1e-5, at most n of them, are left out by an actual fit to
    the others. Under `jax.grad` by the penalties too; but `jax.jit` hides the rows, so
    that those cannot be found, and what they add is rounding: call this outside of it.
    Where penalties are traced, float32 is not computed in float64 if it loses digits,
    as in nearly perfect fits: pass float64 there.

    References
    ----------
    Allen (1974), The relationship between variable selection and data augmentation and
    a method for prediction; Golub, Heath and Wahba (1979), section 1.

    Examples
    --------
    >>> X, y = np.arange(6.0)[:, None], np.array([1.0, 0.0, 2.0, 4.0, 3.0, 5.0])
    >>> print(leave_one_out(X, y, [0.1, 10.0]).mean.round(4))
    [1.3947 1.7625]
    """
    fit_intercept = checks.flag("fit_intercept", fit_intercept)
    rows = known(on_device(of_two_rows(X, y, weight)), fit_intercept)
    return scores_left_out(rows, y, lams, scoring)


def scores_left_out(rows: Known, y: Any, lams: Any, scoring: Any) -> Scores:
    """Do as `leave_one_out` of rows that are known."""
    kind, data = scoring_of(scoring), rows.data
    constant = partial(constant_targets, data.Y, data.weight)

    automatic = partial(grid_of_known, rows)
    if callable(scoring) or scoring == "correlation":

        def pooled(grid: Array) -> Scores:
            found, route = _pooled(rows, grid, kind.score)
            if callable(scoring):
                found = called(scoring, data.Y, found, data.weight)
            mean = drop_target_axis(defined(scoring, found, constant), y)
            return scores_of_all(grid, mean, True, route)

        return on_grid(pooled, lams, data.X.dtype, automatic)
    loss = jnp.abs if scoring == "mae" else jnp.square
    unit = _own_unit(data.Y)
    square = _spread_of_targets(data, unit) if scoring == "r2" else None

    def score(grid: Array) -> Scores:
        spread, route = _spread(rows, grid, loss, unit)
        mean, error = mean_and_error(spread, square)
        if square is None:
            mean, error = mean * loss(unit), error * loss(unit)
        mean, error = drop_target_axis((defined(scoring, mean, constant), error), y)
        per_fold = mean[None]
        greater = jnp.asarray(scoring == "r2")
        return Scores(grid, per_fold, mean, error, greater, route)

    return on_grid(score, lams, data.X.dtype, automatic)


@compiled
def _own_unit(Y: Float[Array, "m t"]) -> Float[Array, " t"]:
    """Return powers of 2 in units of which targets are about as large as 1."""
    return power_of_2(jnp.max(jnp.abs(Y), axis=0))


@compiled
def _spread_of_targets(data: Data, unit: Float[Array, " t"]) -> Float[Array, " t"]:
    """Return the mean square of the targets about their mean, in units of their own."""
    middle = weighted_mean(data.Y, data.weight)
    return mean_square(data.Y, middle, data.weight) / unit**2


def _pooled(
    rows: Known, lams: Array, score: Score
) -> tuple[Float[Array, "L *score"], Route]:
    """Return the score of all left-out predictions together, at each penalty."""
    how: Any = {"score": score, "fit_intercept": rows.fit_intercept}
    question = partial(_left_out_together, **how)
    (scores, slacks), route = answer(question, rows, lams)
    if score is predictions:
        return _mended(rows, lams, scores, slacks), route
    if not hanging(rows, slacks).any():
        return scores, route
    predicted, _ = _pooled(rows, lams, predictions)
    _, Y, weight = rows.data
    return jax.vmap(lambda p: score(Y, p, weight))(predicted), route


@in_kind_of_input
def left_out_predictions(
    X: Any, y: Any, lams: Any, *, weight: Any = None, fit_intercept: bool = True
) -> tuple[Float[Array, "L m t"], Route]:
    """Return what the fit to all other rows says of each row, at each penalty.

    For scores that `leave_one_out` does not know.
    """
    rows = known(on_device(of_two_rows(X, y, weight)), fit_intercept)
    grid = as_penalty("lams", lams, rows.data.X.dtype)
    return _pooled(rows, grid, predictions)


def errors_left_out(rows: Known, lam: Float[Array, " t"]) -> Float[Array, "m t"]:
    """Return rows less what all others say of each, each target at its own penalty.

    For intervals; not of rows that do not count.
    """
    data, fit_intercept = rows.data, rows.fit_intercept
    question = partial(_errors_of_each, fit_intercept=fit_intercept)
    (errors, slacks), _ = answer(question, rows, lam, of_targets=True)
    hangs = hanging(rows, slacks)
    if not hangs.any():
        return errors
    grid, own = np.unique(np.asarray(lam), return_inverse=True)
    refits = refitted(data, jnp.asarray(grid), hangs, predictions, fit_intercept)
    predicted = refits[:, own, 0, np.arange(len(own))]
    return errors.at[np.flatnonzero(hangs)].set(data.Y[hangs] - predicted)


def of_two_rows(X: Any, y: Any, weight: Any) -> Data:
    """Return checked data of at least two rows that count."""
    data = as_data_to_square(X, y, weight)
    if not checks.is_traced(data.weight) and (np.asarray(data.weight) > 0).sum() < 2:
        raise ValueError(
            "leave-one-out needs at least two rows that count, got one: there is "
            "nothing to predict it from"
        )
    return data


def _mended(
    rows: Known, lams: Array, predicted: Array, slacks: Any
) -> Float[Array, "L m t"]:
    """Return the predictions, those of rows that a fit hangs on from refits."""
    hangs = hanging(rows, slacks)
    if not hangs.any():
        return predicted
    refits = refitted(rows.data, lams, hangs, predictions, rows.fit_intercept)
    which = np.flatnonzero(hangs)
    return predicted.at[:, which].set(refits[:, :, 0].swapaxes(0, 1))  # (L, rows, t)


@partial(compiled, many_steps=True, static_argnames=("score", "fit_intercept"))
def _left_out_together(
    data: Data,
    centre: Centre,
    spectrum: Spectrum,
    lams: Array,
    score: Score,
    fit_intercept: bool,
) -> tuple[tuple[Array, Array], Array]:
    given = data, centre, spectrum, lams, score, fit_intercept
    scores, least, slacks = left_out_scores(*given)
    unit = unit_of(data.Y, data.weight, centre)
    left = jnp.minimum(least / jnp.max(unit), jnp.min(slacks) ** 2)
    return (scores, slacks), left


@partial(compiled, static_argnames="fit_intercept")
def _errors_of_each(
    data: Data, centre: Centre, spectrum: Spectrum, lam: Array, fit_intercept: bool
) -> tuple[tuple[Array, Array], Array]:
    given = data, centre, spectrum, lam, fit_intercept
    errors, slacks = left_out_errors_of_each(*given)
    least = jnp.average(errors**2, axis=0, weights=data.weight)
    unit = unit_of(data.Y, data.weight, centre)
    left = jnp.minimum(jnp.min(least / unit), jnp.min(slacks) ** 2)
    return (errors, slacks), left


def _spread(rows: Known, lams: Array, loss: Loss, unit: Array) -> tuple[Spread, Route]:
    """Return the left-out losses, of the rows that a fit hangs on by fits without.

    Targets are in units of their own, as the standard error squares squared errors.
    """

    def question(counted: Array) -> Any:
        def asked(*given: Any) -> tuple[tuple[Spread, Array], Array]:
            own = (a.astype(given[0].X.dtype) for a in (counted, unit))
            nodes = _nodes(*given)
            return _left_out(*given, *own, nodes, loss, fit_intercept)

        return asked

    data, fit_intercept = rows.data, rows.fit_intercept
    asked = question(data.weight)
    (spread, least), route = answer(asked, rows, lams)
    if checks.any_traced(data) or not (checks.is_traced(least) or float(least) < SLACK):
        return spread, route
    hangs = hanging(rows, slacks_of(rows, lams))
    if not hangs.any():
        return spread, route
    score = squared_error if loss is jnp.square else absolute_error
    in_unit = data._replace(Y=data.Y / unit)
    losses = refitted(in_unit, lams, hangs, score, fit_intercept)
    asked = question(jnp.where(hangs, 0, data.weight))
    (others, _), _ = answer(asked, rows, lams)
    losses = losses.swapaxes(0, 1)
    return joined(others, spread_of(data.weight[hangs], losses)), route


def _nodes(data: Data, _: Centre, spectrum: Spectrum, lams: Array) -> Nodes | None:
    """Return nodes for many targets."""
    (m, n), t = data.X.shape, data.Y.shape[1]
    return nodes_for(spectrum.values, lams, flop_of_each(m, n, t))


@partial(compiled, many_steps=True, static_argnums=(7, 8))
def _left_out(
    data: Data,
    centre: Centre,
    spectrum: Spectrum,
    lams: Array,
    counted: Array,
    unit: Array,
    nodes: Nodes | None,
    loss: Loss,
    fit_intercept: bool,
) -> tuple[tuple[Spread, Array], Array]:
    given = data, centre, spectrum, lams, loss, fit_intercept, counted, unit, nodes
    spread, least = left_out_losses(*given)
    size = loss(jnp.sqrt(unit_of(data.Y, data.weight, centre)) / unit)
    left = jnp.min(spread.mean / size)
    left = left if loss is jnp.square else left**2
    # A row's residual is the part 1 − h of its error.
    return (spread, least), jnp.minimum(left, least**2)
