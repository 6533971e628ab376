"""Scores of every penalty from all rows together: GCV and the evidence."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxridge import checks
from jaxridge.choice import Evidence, Scores
from jaxridge.data import (
    ArrayLike,
    Centre,
    Data,
    as_data_to_square,
    drop_target_axis,
    in_kind_of_input,
)
from jaxridge.factors import Known, answer, known
from jaxridge.grids import COUNT, grid_of_known, grid_of_moments, on_grid
from jaxridge.moments import Moments, about_centre, as_one
from jaxridge.precision import warn_if_lost
from jaxridge.programs import compiled
from jaxridge.risk import (
    Residual,
    generalized_cross_validation,
    interpolates,
    log_evidence,
    residual,
    residual_of_sums,
    unit_of,
)
from jaxridge.routes import ONE, PRIMAL, Route
from jaxridge.spectrum import Spectrum, of_sums, rank_of

S = TypeVar("S", Scores, Evidence)


@in_kind_of_input
def gcv(
    X: ArrayLike | Moments,
    y: ArrayLike | None,
    lams: ArrayLike | str,
    *,
    weight: ArrayLike | None = None,
    fit_intercept: bool = True,
) -> Scores:
    """Score every penalty by generalised cross-validation.

    ``GCV = (RSS/m) / (1 − df/m)²``, df = Σ s²/(s² + lam) + 1: leave-one-out with every
    row's leverage replaced by their mean. Fits minimise ``J = (Σ w e² + lam · ‖coef‖²)
    / (2m)``, m = Σ w.

    Parameters
    ----------
    X, y, lams, weight, fit_intercept
        As for `leave_one_out`; or `X` as Moments, those of folds taken together. Then
        `y` and `weight` are None, and scores have a targets' axis.

    Returns
    -------
    Scores
        mean, in squared units of `y`; per_fold has no entries, and standard_error is 0,
        so that ``choose(rule="1se")`` refuses them.

    Raises
    ------
    TypeError, ValueError
        As `leave_one_out` does.

    Notes
    -----
    One factorisation and one pass over the rows, then O(n t) for each penalty. Where
    the fit interpolates at ``lam = 0``, the score is its limit λ → 0.

    References
    ----------
    Golub, Heath and Wahba (1979), Generalized cross-validation as a method for choosing
    a good ridge parameter.

    Examples
    --------
    >>> X, y = np.arange(6.0)[:, None], np.array([1.0, 0.0, 2.0, 4.0, 3.0, 5.0])
    >>> print(gcv(X, y, [0.1, 10.0]).mean.round(4))
    [1.4104 1.7604]
    """
    fit_intercept = checks.flag("fit_intercept", fit_intercept)
    if isinstance(X, Moments):
        return _of_moments(
            _gcv_of_moments, _gcv_scores, X, y, lams, weight, fit_intercept
        )
    rows = known(as_data_to_square(X, y, weight), fit_intercept)
    return scores_by_gcv(rows, y, lams, fit_intercept)


def scores_by_gcv(rows: Known, y: Any, lams: Any, fit_intercept: bool) -> Scores:
    """Do as `gcv` of rows that are known."""
    data, factors, _ = rows
    if not checks.is_traced(data.weight) and (np.asarray(data.weight) > 0).sum() < 2:
        raise ValueError("GCV needs at least two rows that count, got one")

    def question(*given: Any) -> tuple[Array, Any]:
        return _generalized(*given, fit_intercept)

    def score(grid: Array) -> Scores:
        found, route = answer(question, data, grid, fit_intercept, factors=factors)
        return _gcv_scores(grid, drop_target_axis(found, y), route)

    return _on_grid(score, lams, rows, fit_intercept)


@in_kind_of_input
def evidence(
    X: ArrayLike | Moments,
    y: ArrayLike | None,
    lams: ArrayLike | str,
    *,
    weight: ArrayLike | None = None,
    fit_intercept: bool = True,
) -> Evidence:
    """Score every penalty by the log marginal likelihood of the targets.

    In ``y = X @ coef + intercept + noise`` with coef ~ N(0, σ²/lam), noise ~ N(0, σ²)
    and a flat intercept, the posterior mean of coef minimises ``J = (Σ w e² + lam ·
    ‖coef‖²) / (2m)``. With σ² at its best,
    ``log p = −½ ((m − 1)(log 2πσ² + 1) + Σ log(1 + s²/lam))``.

    Parameters
    ----------
    X, y, weight, fit_intercept
        As for `gcv`.
    lams : array of shape (n_lams,), or "auto"
        As for `leave_one_out`, but each above 0: a flat prior has no evidence.

    Returns
    -------
    Evidence
        mean, of which more is better, and the noise variance σ² at each penalty.

    Raises
    ------
    TypeError, ValueError
        As `leave_one_out` does; for a penalty of 0, and for a target that is constant,
        or 0 without an intercept, which any penalty explains perfectly.

    Notes
    -----
    One factorisation and one pass over the rows, then O(n t) for each penalty.

    References
    ----------
    MacKay (1992), Bayesian interpolation, section 3.

    Examples
    --------
    >>> X, y = np.arange(6.0)[:, None], np.array([1.0, 0.0, 2.0, 4.0, 3.0, 5.0])
    >>> print(evidence(X, y, [0.1, 10.0]).mean.round(4))
    [-9.0262 -9.0034]
    """
    fit_intercept = checks.flag("fit_intercept", fit_intercept)
    if isinstance(X, Moments):
        return _of_moments(
            _evidence_of_moments, _evidence_scores, X, y, lams, weight, fit_intercept
        )
    rows = known(as_data_to_square(X, y, weight), fit_intercept)
    return scores_by_evidence(rows, y, lams, fit_intercept)


def scores_by_evidence(rows: Known, y: Any, lams: Any, fit_intercept: bool) -> Evidence:
    """Do as `evidence` of rows that are known."""
    data, factors, _ = rows
    _weighs_enough(data.weight, fit_intercept)

    def question(*given: Any) -> tuple[Any, Any]:
        return _evidence(*given, fit_intercept)

    def score(grid: Array) -> Evidence:
        found, route = answer(question, data, grid, fit_intercept, factors=factors)
        return _evidence_scores(grid, drop_target_axis(found, y), route)

    return _on_grid(score, lams, rows, fit_intercept)


def _weighs_enough(weight: Array, fit_intercept: bool) -> None:
    """Refuse weights that leave no degrees of freedom for the noise."""
    if checks.is_traced(weight):
        return
    total = float(np.sum(np.asarray(weight)))
    if total - fit_intercept <= 1e-6 * total:
        raise ValueError(
            f"`weight` adds up to {total:.6g}, and evidence needs more than "
            f"{int(fit_intercept)}: weights count rows, so scale them to their number"
        )


def _on_grid(
    score: Callable[[Array], S], lams: Any, rows: Known, fit_intercept: bool
) -> S:
    dtype = rows.data.X.dtype
    return on_grid(score, lams, dtype, lambda: grid_of_known(rows, fit_intercept))


def _gcv_scores(grid: Array, mean: Array, route: Route) -> Scores:
    none = jnp.zeros_like(mean)
    return Scores(grid, none[None][:0], mean, none, jnp.asarray(False), route)


def _evidence_scores(grid: Array, found: tuple[Array, Array], route: Route) -> Evidence:
    if not checks.is_traced(grid) and (np.asarray(grid) == 0).any():
        raise ValueError(
            "`lams` holds 0, and a flat prior has no evidence: pass penalties above 0"
        )
    mean, noise = found
    if not checks.is_traced(mean) and not bool(jnp.isfinite(mean).all()):
        raise ValueError(
            "`y` has no evidence: every penalty explains it perfectly (a constant "
            "target, or one row): leave that target out"
        )
    none, greater = jnp.zeros_like(mean), jnp.asarray(True)
    return Evidence(grid, none[None][:0], mean, none, greater, noise, route)


def _of_moments(
    question: Callable[..., tuple[Any, Array, Array]],
    scores: Callable[[Array, Any, Route], S],
    X: Moments,
    y: Any,
    lams: Any,
    weight: Any,
    fit_intercept: bool,
) -> S:
    """Score from moments alone; warn of digits that they do not hold."""
    if y is not None or weight is not None:
        raise ValueError("`y` and `weight` are in the Moments: leave them out")
    sums = as_one(X)
    dtype = sums.xx.dtype
    if question is _evidence_of_moments:
        _weighs_enough(sums.weight, fit_intercept)

    def score(grid: Array) -> S:
        found, worst, left = question(sums, grid, fit_intercept)
        made = scores(grid, found, Route(PRIMAL, ONE, str(dtype)))
        warn_if_lost(worst, left, dtype)
        return made

    return on_grid(
        score, lams, dtype, lambda: grid_of_moments(sums, COUNT, fit_intercept)
    )


def _spectrum_of_moments(
    sums: Moments, lams: Array, fit_intercept: bool
) -> tuple[Spectrum, Residual, Array, Array]:
    """Return the spectrum, the residual, the condition, and the part that is left."""
    centre, xx, xy = about_centre(sums, fit_intercept)
    spectrum, worst = of_sums(xx, xy, jnp.min(lams))
    square = sums.yy + (0 if fit_intercept else sums.weight * sums.y**2)
    rest = residual_of_sums(spectrum, square, lams)
    there = square > 0  # of a target that is 0 there is nothing to lose
    left = jnp.min(jnp.where(there, rest.squares / jnp.where(there, square, 1), 1))
    # Where the fit at λ = 0 goes through every row, what it leaves is known to be 0.
    through = sums.weight <= rank_of(spectrum.values) + fit_intercept
    return spectrum, rest, worst, jnp.where(through, 1, left)


@partial(compiled, static_argnums=2)
def _gcv_of_moments(
    sums: Moments, lams: Array, fit_intercept: bool
) -> tuple[Array, Array, Array]:
    spectrum, rest, worst, left = _spectrum_of_moments(sums, lams, fit_intercept)
    # Without the rows, their weight is taken for their number.
    through = sums.weight <= rank_of(spectrum.values) + fit_intercept
    given = spectrum, rest, lams, fit_intercept, through
    return generalized_cross_validation(sums.weight, *given), worst, left


@partial(compiled, static_argnums=2)
def _evidence_of_moments(
    sums: Moments, lams: Array, fit_intercept: bool
) -> tuple[tuple[Array, Array], Array, Array]:
    spectrum, rest, worst, left = _spectrum_of_moments(sums, lams, fit_intercept)
    given = spectrum, rest, lams, fit_intercept
    return log_evidence(sums.weight, *given), worst, left


@partial(compiled, static_argnums=4)
def _generalized(
    data: Data, centre: Centre, spectrum: Spectrum, lams: Array, fit_intercept: bool
) -> tuple[Array, Array]:
    rest = residual(data, centre, spectrum, lams)
    left = jnp.min(rest.squares / jnp.sum(data.weight) / unit_of(data, centre))
    m = jnp.sum(data.weight)
    through = interpolates(data, spectrum, fit_intercept)
    given = lams, fit_intercept, through
    return generalized_cross_validation(m, spectrum, rest, *given), left


@partial(compiled, static_argnums=4)
def _evidence(
    data: Data, centre: Centre, spectrum: Spectrum, lams: Array, fit_intercept: bool
) -> tuple[tuple[Array, Array], Array]:
    rest = residual(data, centre, spectrum, lams)
    left = jnp.min(rest.squares / jnp.sum(data.weight) / unit_of(data, centre))
    m = jnp.sum(data.weight)
    return log_evidence(m, spectrum, rest, lams, fit_intercept), left
