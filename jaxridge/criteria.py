"""Scores of every penalty from all rows together: GCV and the evidence."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.border import ArrayLike, in_kind_of_input
from jaxridge.choice import Evidence, Scores, scores_of_all
from jaxridge.data import (
    Centre,
    Data,
    as_data_to_square,
    drop_target_axis,
)
from jaxridge.factors import Known, answer, known
from jaxridge.grids import COUNT, grid_of_known, grid_of_moments, on_grid
from jaxridge.moments import Moments, as_one
from jaxridge.passes import compiled_unless_many
from jaxridge.placement import placed
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
from jaxridge.spectrum import Spectrum, axes_of_moments, cut, rank_of


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

    ``GCV = (RSS/m) / (1 − df/m)²``, df = Σ s²/(s² + lam) + 1 (without the 1 if there is
    no intercept): leave-one-out with every row's leverage replaced by their mean. Fits
    minimise ``J = (Σ w e² + lam · ‖coef‖²) / (2m)``, m = Σ w.

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
        As `leave_one_out` does; for weights that add up to less than df.

    Warns
    -----
    UserWarning
        If moments do not hold the digits that the answer asks for.

    Notes
    -----
    One factorisation and one pass over the rows, then O(n t) for each penalty. Where
    the fit interpolates at ``lam = 0``, the score is its limit λ → 0. Where penalties
    are traced, float32 is not computed in float64 if it loses digits, as in nearly
    perfect fits: pass float64 there.

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
    return _scored(GCV, X, y, lams, weight, fit_intercept)


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
    ‖coef‖²) / (2m)``. The likelihood is that of the m − 1 contrasts of y that do not
    depend on the intercept (of all m values without one), with σ² at its best:
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

    Warns
    -----
    UserWarning
        If moments do not hold the digits that the answer asks for.

    Notes
    -----
    One factorisation and one pass over the rows, then O(n t) for each penalty.

    References
    ----------
    MacKay (1992), Bayesian interpolation, section 4; Patterson and Thompson (1971),
    Recovery of inter-block information when block sizes are unequal.

    Examples
    --------
    >>> X, y = np.arange(6.0)[:, None], np.array([1.0, 0.0, 2.0, 4.0, 3.0, 5.0])
    >>> print(evidence(X, y, [0.1, 10.0]).mean.round(4))
    [-9.0262 -9.0034]
    """
    return _scored(EVIDENCE, X, y, lams, weight, fit_intercept)


class Criterion(NamedTuple):
    """A formula of all rows, what it refuses, and the scores that it makes."""

    formula: Callable[..., Any]
    refuse: Callable[[Array, bool], None]
    scores: Callable[[Array, Any, Route], Any]


def _scored(
    criterion: Criterion, X: Any, y: Any, lams: Any, weight: Any, fit_intercept: bool
) -> Any:
    fit_intercept = checks.flag("fit_intercept", fit_intercept)
    if isinstance(X, Moments):
        if y is not None or weight is not None:
            raise ValueError("`y` and `weight` are in the Moments: leave them out")
        return _scored_by_sums(criterion, as_one(X), lams, fit_intercept)
    rows = known(as_data_to_square(X, y, weight), fit_intercept)
    return scored_by_rows(criterion, rows, y, lams)


def scored_by_rows(criterion: Criterion, rows: Known, y: Any, lams: Any) -> Any:
    """Do as `gcv` and `evidence` of rows that are known."""
    data, fit_intercept = rows.data, rows.fit_intercept
    criterion.refuse(data.weight, fit_intercept)

    def question(*given: Any) -> tuple[Any, Any]:
        return _of_rows(*given, fit_intercept, criterion.formula)

    def score(grid: Array) -> Any:
        found, route = answer(question, rows, grid)
        return criterion.scores(grid, drop_target_axis(found, y), route)

    automatic = partial(grid_of_known, rows)
    return on_grid(score, lams, data.X.dtype, automatic)


def _scored_by_sums(
    criterion: Criterion, sums: Moments, lams: Any, fit_intercept: bool
) -> Any:
    """Score from moments alone; warn of digits that they do not hold."""
    dtype = sums.xx.dtype
    criterion.refuse(sums.weight, fit_intercept)

    def score(grid: Array) -> Any:
        found, worst, left = _of_sums(sums, grid, fit_intercept, criterion.formula)
        made = criterion.scores(grid, found, Route(PRIMAL, ONE, str(dtype)))
        warn_if_lost(worst, left, dtype)
        return made

    automatic = partial(grid_of_moments, sums, COUNT, fit_intercept)
    return on_grid(score, lams, dtype, automatic)


def _are_two(weight: Array, fit_intercept: bool) -> None:
    """Refuse one row; of how many rows sums are made is not known."""
    if checks.is_traced(weight) or not np.ndim(weight):
        return
    if (np.asarray(weight) > 0).sum() < 2:
        raise ValueError("GCV needs at least two rows that count, got one")


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


def _gcv_scores(grid: Array, mean: Array, route: Route) -> Scores:
    if not checks.is_traced(mean) and np.isnan(mean).any():
        raise ValueError(
            "`weight` adds up to less than the degrees of freedom that a fit takes, "
            "and GCV needs more: weights count rows, so scale them to their number"
        )
    return scores_of_all(grid, mean, False, route)


def _evidence_scores(grid: Array, found: tuple[Array, Array], route: Route) -> Evidence:
    if not checks.is_traced(grid) and (np.asarray(grid) == 0).any():
        raise ValueError(
            "`lams` holds 0, and a flat prior has no evidence: pass penalties above 0"
        )
    mean, noise = found
    if not checks.is_traced(mean) and not np.isfinite(mean).all():
        bad = ~np.isfinite(mean).all(axis=0)
        where = f" in target {bad.argmax()}" if bad.ndim else ""
        raise ValueError(
            f"`y` has no evidence{where}: every penalty explains it perfectly (a "
            "constant target, or one row): leave that target out"
        )
    return Evidence(*scores_of_all(grid, mean, True, route)[:5], noise, route)


@partial(compiled, static_argnums=(2, 3))
def _of_sums(
    sums: Moments, lams: Array, fit_intercept: bool, formula: Callable[..., Any]
) -> tuple[Any, Array, Array]:
    """Return the scores, the condition, and the part of the targets that is left."""
    _, spectrum, worst = axes_of_moments(sums, jnp.min(lams), fit_intercept)
    rest, left = residual_of_sums(spectrum, sums, lams, fit_intercept)
    # Where the fit at λ = 0 goes through every row, what it leaves is known to be 0.
    # Without the rows, their weight is taken for their number.
    rank = rank_of(spectrum.values).astype(sums.weight.dtype)
    through = sums.weight <= rank + int(fit_intercept)
    # Directions that are rounding have no part in a fit through every row.
    values = jnp.where(through, cut(spectrum.values), spectrum.values)
    spectrum = spectrum._replace(values=values)
    found = formula(sums.weight, spectrum, rest, lams, fit_intercept, through)
    return found, worst, jnp.where(through, 1, left)


@partial(compiled_unless_many, static_argnums=(4, 5))
def _of_rows(
    data: Data,
    centre: Centre,
    spectrum: Spectrum,
    lams: Array,
    fit_intercept: bool,
    formula: Callable[..., Any],
) -> tuple[Any, Array]:
    """Return the scores, and the part of the targets that is left."""
    rest = residual(data, centre, spectrum, lams)
    targets = placed(data.Y), placed(data.weight)
    return _judged(*targets, centre, spectrum, rest, lams, fit_intercept, formula)


@partial(compiled, static_argnums=(6, 7))
def _judged(
    Y: Float[Array, "m t"],
    weight: Float[Array, " m"],
    centre: Centre,
    spectrum: Spectrum,
    rest: Residual,
    lams: Array,
    fit_intercept: bool,
    formula: Callable[..., Any],
) -> tuple[Any, Array]:
    m = jnp.sum(weight)
    left = jnp.min(rest.squares / m / unit_of(Y, weight, centre))
    through = interpolates(weight, spectrum, fit_intercept)
    return formula(m, spectrum, rest, lams, fit_intercept, through), left


GCV = Criterion(generalized_cross_validation, _are_two, _gcv_scores)
EVIDENCE = Criterion(log_evidence, _weighs_enough, _evidence_scores)
