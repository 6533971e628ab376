"""How well each penalty predicts rows it has not seen: cross-validation.

By descent, every fold leaves its held-out rows out by weight 0, so that all folds have
the same shape, and one compiled program trains all folds and all penalties. The exact
method factorises what each fold trains on, once for all penalties (see `holdout`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Unpack

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.choice import Scores, scores_of_folds
from jaxridge.columns import Learner, untouched
from jaxridge.data import (
    ArrayLike,
    Data,
    as_data_to_square,
    as_penalty,
    drop_target_axis,
    if_too_large,
    in_kind_of_input,
    on_a_cpu,
)
from jaxridge.factors import Known, known
from jaxridge.filled import UNTOUCHED, Filling
from jaxridge.folds import Folds, split
from jaxridge.grids import COUNT, grid_of_known, grid_of_moments, on_grid
from jaxridge.holdout import PartsOf, by_moments, score_folds
from jaxridge.moments import Moments, as_one, left_out, usable
from jaxridge.plans import Plan, plan
from jaxridge.precision import warn_if_lost
from jaxridge.products import FAST, FULL
from jaxridge.routes import DESCENT, ONE_A_FOLD, PRIMAL, Route
from jaxridge.rules import StepOptions
from jaxridge.scoring import Score, called, is_defined, predictions, scoring_of
from jaxridge.threads import few_for
from jaxridge.tiles import until_it_fits
from jaxridge.training import score_trained, train, warn_unless_converged

METHODS = ("exact", "descent")
FOLDS = 5


@in_kind_of_input
def cross_validate(
    X: ArrayLike | Moments,
    y: ArrayLike | None,
    lams: ArrayLike | str,
    folds: Any = FOLDS,
    *,
    method: str = "exact",
    scoring: str | Callable[..., Any] = "mse",
    groups: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    fit_intercept: bool = True,
    prepare: Learner | None = None,
    budget: float | None = None,
    precision: str = FULL,
    **options: Unpack[StepOptions],
) -> Scores:
    """Score every penalty of a grid on held-out rows.

    Each fold minimises ``J = (Σ w (X @ coef + intercept − y)² + lam · ‖coef‖²) / (2m)``
    over its training rows, m the sum of *their* weights, so that `lam` is
    scikit-learn's ``alpha`` in every fold.

    Parameters
    ----------
    X : array of shape (n_samples, n_features), or Moments
        The rows, finite; NaN marks a missing value if `prepare` fills them. The moments
        of at least two folds stand for rows that are not in memory; then `y` is None,
        `folds` is theirs, scores have a targets' axis, and beside `lams` only
        `fit_intercept` and the scorings "mse" and "r2" may be given.
    y : array of shape (n_samples,) or (n_samples, n_targets), or None
        The targets.
    lams : array of shape (n_lams,), or "auto"
        Penalties in squared units of `X` (as prepared), each at least 0, in any order;
        or those of `lambda_grid`, and more beyond while the best lies at an edge.
    folds : int, array, scikit-learn splitter or iterable of pairs
        A number of contiguous, unshuffled blocks, as ``KFold(folds)`` makes; an integer
        array of shape (n_samples,), the fold that holds each row out; a splitter; or
        (train, test) pairs of row numbers or masks.
    method : "exact" or "descent"
        One factorisation for each fold answers every penalty; or train by `sweep`.
    scoring : "mse", "mae", "r2", "correlation" or function
        Mean squared or absolute error, R² about the held-out mean, Pearson's
        correlation (0 for a constant prediction); or a function of (y, prediction),
        both of shape (n_held,), called for each fold, penalty and target, of which a
        greater value is better. It sees no weights, nor rows whose weight is 0.
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
    budget : float, optional
        Bytes of working memory beside the data and the scores, for the exact method: a
        quarter of what the device has free if not given. `plan` tells what is needed.
        Where the device runs out of it all the same, less is used, in smaller tiles.
    precision : "full" or "fast"
        "fast" lets a GPU multiply float32 rows in TF32, which rounds each number to 11
        bits and is made for speed; elsewhere it is "full". Scores then have some
        three digits, and the route says so. Where the smallest penalty lets that cost
        half of an answer at worst, the scores are computed again in "full".
    **options
        Those of `descend`, for ``method="descent"``.

    Returns
    -------
    Scores
        lams, per_fold (k, L[, t]), mean and standard_error (L[, t]), and the route
        taken.

    Raises
    ------
    TypeError
        If an argument does not hold real numbers, or `folds` is nothing known.
    ValueError
        If shapes do not fit; for negative, NaN or infinite values; for folds without
        rows on one side; for an unknown method or scoring; and if a descent diverges.
    MemoryError
        If no route fits the budget; the message says what would.

    Warns
    -----
    UserWarning
        If a full-batch descent stopped at `max_steps` before it converged; and if
        moments do not hold the digits that the scores ask for.

    Notes
    -----
    "exact": folds that hold each row out once share one pass over the rows, O(m n²)
    time in all, and whichever of `plan`'s routes is cheapest; other folds, and prepared
    columns, take a pass each. Where there is much to multiply, predictions are made at
    a few penalties, and those at all others are combinations of them, exact to rounding
    (`nodes`): a dozen or two, more where columns differ widely in size. Targets are
    worked on a tile at a time, so that memory stays within the budget, O(k n²) being
    the least (O(m n) with n > m). Where products of the data would lose digits, float32
    is computed in float64, and float64 by singular values at some five times the cost;
    the route then says so.
    Compressed descents read the rows once a fold, and then work on n + 1 rows for each
    fold and penalty. A function as `scoring` holds all predictions, O(m t L) memory.

    References
    ----------
    Golub and Van Loan (2013), Matrix Computations, section 6.1.4; Beckermann and
    Townsend (2017), On the singular values of matrices with displacement structure.

    Examples
    --------
    >>> X, y = np.arange(6.0)[:, None], np.array([1.0, 0.0, 2.0, 4.0, 3.0, 5.0])
    >>> print(cross_validate(X, y, [0.1, 10.0], folds=3))
      lam    score    standard error
    -----  -------  ----------------
      0.1  1.09735          0.101931
     10    2.77604          1.25914
    """
    checks.one_of("method", method, METHODS)
    checks.one_of("precision", precision, (FULL, FAST))
    scoring_of(scoring)
    fit_intercept = checks.flag("fit_intercept", fit_intercept)
    _options_have_a_part(method, options)
    if isinstance(X, Moments):
        given = {"y": y, "groups": groups, "weight": weight, "budget": budget}
        given["folds"] = None if np.array_equal(folds, FOLDS) else folds
        given["precision"] = None if precision == FULL else precision
        _nothing_but_moments(given | {"prepare": prepare, **options})
        if method != "exact":
            raise ValueError(f'`method` must be "exact" for Moments, got {method!r}')
        return scores_of_moments(X, lams, scoring, fit_intercept)
    learner = _learner(prepare)
    stay = if_too_large if method == "exact" and prepare is None else on_a_cpu
    data = as_data_to_square(X, y, weight, prepare is not None, stay)
    masks = folds_of(data, y, folds, groups)
    score = scoring_of(scoring).score

    def descended(grid: Array) -> tuple[Array, Route]:
        given = learner, fit_intercept, grid, score, options
        found = _by_descent(data, masks, y, *given)
        return found, Route("", DESCENT, str(data.X.dtype))

    rows, how = known(data, fit_intercept), (scoring, fit_intercept, learner)
    by = None if method == "exact" else descended
    return scores_by_folds(
        rows,
        y,
        lams,
        masks,
        *how,
        budget=budget,
        precision=precision,
        found_by=by,
    )


def _options_have_a_part(method: str, options: Any) -> None:
    for name in sorted(options):
        if name not in StepOptions.__annotations__:
            raise TypeError(
                f"`cross_validate` has no option {name!r}: `scoring` names scores, "
                "`prepare` prepares columns, and a splitter draws folds"
            )
        if method != "descent":
            raise TypeError(
                f"{method!r} takes no option {name!r}: pass "
                'method="descent" for those of `descend`'
            )


def scores_by_folds(
    rows: Known,
    y: Any,
    lams: Any,
    masks: Folds,
    scoring: str | Callable[..., Any],
    fit_intercept: bool,
    learner: Learner = untouched,
    *,
    budget: float | None = None,
    precision: str = FULL,
    found_by: Callable[[Array], tuple[Array, Route]] | None = None,
) -> Scores:
    """Do as `cross_validate` of rows that are known, exactly or as `found_by` does."""
    data, kind = rows.data, scoring_of(scoring)

    def exactly(grid: Array) -> tuple[Array, Route]:
        of_plan = budget, precision, None if precision == FAST else rows.parts
        given = kind.score, learner, fit_intercept, *of_plan
        return _exactly(data, masks, grid, *given)

    found_at = found_by or exactly

    def score(grid: Array) -> Scores:
        found, route = found_at(grid)
        if callable(scoring):
            found = jnp.stack(
                [
                    called(scoring, data.Y[rows], one, data.weight[rows])
                    for rows, one in _of_each_fold(found, masks)
                ]
            )
        per_fold = drop_target_axis(found, y)
        is_defined(scoring, per_fold)
        return scores_of_folds(grid, per_fold, kind.greater_is_better, route)

    automatic = partial(grid_of_known, rows, fit_intercept, learner)
    return on_grid(score, lams, data.X.dtype, automatic)


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
) -> tuple[list[tuple[np.ndarray, Float[Array, "L h t"]]], Route]:
    """Return each fold's held-out rows, and what the others say of them.

    For scores that `cross_validate` does not know, such as those of several targets
    together; m · t · L numbers are made.
    """
    learner = _learner(prepare)
    data = as_data_to_square(X, y, weight, missing=prepare is not None)
    masks = folds_of(data, y, folds, groups)
    grid = as_penalty("lams", lams, data.X.dtype)
    given = predictions, learner, fit_intercept, None
    found, route = _exactly(data, masks, grid, *given)
    return _of_each_fold(found, masks), route


def _of_each_fold(
    found: Float[Array, "k L h t"], masks: Folds
) -> list[tuple[np.ndarray, Float[Array, "L h t"]]]:
    """Return the rows that each fold holds out, and what is predicted of those.

    Folds were made of equal length.
    """
    chosen = [np.flatnonzero(mask) for mask in masks.held]
    return [
        (rows, one[:, : len(rows)]) for rows, one in zip(chosen, found, strict=True)
    ]


def _nothing_but_moments(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"`{name}` must be left out beside Moments, which hold folds, weights "
                "and targets already, as small as they get"
            )


def scores_of_moments(
    parts: Moments,
    lams: Any,
    scoring: Any,
    fit_intercept: bool,
    prepare: Filling = UNTOUCHED,
    paired: Callable[[Moments], tuple[Moments, Moments]] = left_out,
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
        is_defined(scoring, scored.per_fold)
        warn_if_lost(scored.condition, scored.left, dtype)
        route = Route(PRIMAL, ONE_A_FOLD, str(dtype))
        return scores_of_folds(grid, scored.per_fold, kind.greater_is_better, route)

    def automatic() -> Array:
        whole = as_one(parts)
        return grid_of_moments(prepare(whole, whole)[0], COUNT, fit_intercept)

    return on_grid(score, lams, dtype, automatic)


def _learner(prepare: Learner | None) -> Learner:
    if prepare is not None and not callable(prepare):
        raise TypeError(
            "`prepare` must be a function such as "
            f"jaxridge.columns.standardized, got {prepare!r}"
        )
    return prepare or untouched


def _exactly(
    data: Data,
    masks: Folds,
    grid: Array,
    score: Score,
    learner: Learner,
    fit_intercept: bool,
    budget: float | None,
    precision: str = FULL,
    parts_of: PartsOf | None = None,
) -> tuple[Float[Array, "k L *score"], Route]:
    (m, n), t, k = data.X.shape, data.Y.shape[1], len(masks.held)
    # Other folds are factorised one at a time, as all rows are.
    shared = learner is untouched and masks.is_partition
    asked = "folds" if shared else "path"

    tried: list[Plan] = []

    def smaller() -> Plan:
        """Return a plan of half the bytes of the last one, if there is one."""
        sizes, room = (m, n, t, len(grid), k), tried[-1].bytes / 2 if tried else budget
        how: Any = {"asked": asked, "budget": room, "precision": precision}
        try:
            return plan(*sizes, data.X.dtype, **how)
        except MemoryError:
            if not tried:
                raise
            return tried[-1]

    def scored() -> tuple[Float[Array, "k L *score"], Route]:
        tried.append(smaller())
        given = score, learner, fit_intercept, tried[-1]
        return score_folds(data, masks, grid, *given, parts_of=parts_of)

    with few_for(m, n, k):
        return until_it_fits(scored)


def _by_descent(
    data: Data,
    masks: Folds,
    y: Any,
    learner: Learner,
    fit_intercept: bool,
    grid: Array,
    score: Score,
    options: StepOptions,
) -> Float[Array, "k L *score"]:
    weights = jnp.asarray(masks.train) * data.weight
    trained = train(data, y, weights, grid, learner, fit_intercept, options)
    warn_unless_converged(trained, options)
    return score_trained(data, masks.held_rows, trained, score)


def folds_of(data: Data, y: Any, folds: Any, groups: Any) -> Folds:
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
