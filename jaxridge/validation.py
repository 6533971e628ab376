"""How well each penalty predicts rows it has not seen: cross-validation.

By descent, every fold leaves its held-out rows out by weight 0, so that all folds have
the same shape, and one compiled program trains all folds and all penalties. The exact
method answers all penalties of a fold together (see `holdout`).
"""

from collections.abc import Callable
from typing import Any, Unpack

import jax.numpy as jnp
from jaxtyping import Array

from jaxridge import accelerator, checks
from jaxridge.border import ArrayLike, in_kind_of_input
from jaxridge.choice import Scores
from jaxridge.columns import Learner, checked_learner, try_out, untouched
from jaxridge.data import as_data_to_square, if_too_large, on_a_cpu
from jaxridge.factors import known
from jaxridge.fold_scores import (
    folds_of,
    scores_by_folds,
    scores_of_moments,
)
from jaxridge.moments import Moments
from jaxridge.products import FAST, FULL, are_fast
from jaxridge.routes import DESCENT, Route, dtype_told
from jaxridge.rules import RuleOptions, StepOptions
from jaxridge.scoring import scoring_of
from jaxridge.training import score_trained, train, warn_unless_converged

METHODS = ("exact", "descent")
FOLDS = 5


@in_kind_of_input
def cross_validate(
    X: ArrayLike | Moments,
    y: ArrayLike | None,
    lams: ArrayLike | str,
    folds: Any = None,
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
    folds : int, array, scikit-learn splitter or iterable of pairs, default 5
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
        function of (X, weight) that returns `Columns`, written with `jax.numpy`.
        `path` takes it too, for coefficients at the penalty that is chosen.
    budget : float, optional
        Bytes of working memory beside the data and the scores, for the exact method: a
        quarter of what the device has free if not given. `plan` tells what is needed.
        Where the device runs out of it all the same, less is used, in smaller tiles.
    precision : "full" or "fast"
        "fast" lets a GPU multiply float32 rows in TF32, which rounds each number to 11
        bits and is made for speed; elsewhere it is "full". Scores then have some
        three digits, and the route says so. Where the smallest penalty lets that cost
        half of an answer at worst, exact scores are computed again in "full".
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
    is computed in float64 (unless penalties are traced, which tells in nearly perfect
    fits), and float64 by singular values at some five times the cost; the route then
    says so.
    Compressed descents read the rows once a fold, and then work on n + 1 rows for each
    fold and penalty. Others read all rows at each step, as they are where the intercept
    is descended (by a number as `learning_rate`, or an `optimizer`), but centred, fold
    by fold if they are large, where it is kept at its best. A function as `scoring`
    holds all predictions, O(m t L) memory.

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
    score = scoring_of(scoring).score
    fit_intercept = checks.flag("fit_intercept", fit_intercept)
    _options_have_a_part(method, options)
    if isinstance(X, Moments):
        given = {"y": y, "folds": folds, "groups": groups, "weight": weight}
        given |= {"budget": budget, "prepare": prepare, **options}
        given["precision"] = None if precision == FULL else precision
        _nothing_but_moments(given)
        if method != "exact":
            raise ValueError(f'`method` must be "exact" for Moments, got {method!r}')
        return scores_of_moments(X, lams, scoring, fit_intercept)
    learner = checked_learner(prepare)
    as_they_are = learner is untouched
    stay = if_too_large if method == "exact" and as_they_are else on_a_cpu
    data = as_data_to_square(X, y, weight, not as_they_are, stay)
    try_out(learner, data)
    masks = folds_of(data, y, FOLDS if folds is None else folds, groups)

    def descended(grid: Array) -> tuple[Array, Route]:
        weights = jnp.where(masks.train, data.weight, 0)
        steps: RuleOptions = {**options, "precision": precision}
        trained = train(data, y, weights, grid, learner, fit_intercept, steps)
        warn_unless_converged(trained, steps)
        found = score_trained(data, masks.held_rows, trained, score)
        fast = are_fast(precision, data.X.dtype, accelerator.is_used())
        return found, Route("", DESCENT, dtype_told(data.X.dtype, fast))

    return scores_by_folds(
        known(data, fit_intercept),
        y,
        lams,
        masks,
        scoring,
        learner,
        budget=budget,
        precision=precision,
        found_by=None if method == "exact" else descended,
    )


def _options_have_a_part(method: str, options: Any) -> None:
    for name in sorted(options):
        if name not in StepOptions.__annotations__:
            raise TypeError(
                f"`cross_validate` has no option {name!r}: `folds` says which rows "
                "are held out, `weight` how often each counts, `scoring` names "
                "scores, `prepare` prepares columns"
            )
        if method != "descent":
            raise TypeError(
                f"{method!r} takes no option {name!r}: pass "
                'method="descent" for those of `descend`'
            )


def _nothing_but_moments(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"`{name}` must be left out beside Moments, which hold folds, weights "
                "and targets already, as small as they get"
            )
