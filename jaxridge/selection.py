"""Scores of every penalty as scikit-learn's users ask for them, by `cv` and `scoring`.

Scores that the floors below know come from their closed forms. Any other scorer is
shown the held-out predictions of each penalty.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator, RegressorMixin, is_classifier
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.utils.metadata_routing import get_routing_for_object

from jaxridge import checks
from jaxridge.border import in_kind_of_input
from jaxridge.choice import Evidence, Scores, scores_of_all, scores_of_folds
from jaxridge.columns import Learner, untouched
from jaxridge.criteria import EVIDENCE, GCV, scored_by_rows
from jaxridge.data import as_data_to_square, on_device
from jaxridge.factors import Known, known
from jaxridge.fold_scores import folds_of, held_out_predictions, scores_by_folds
from jaxridge.folds import split
from jaxridge.grids import grid_of_known, on_grid
from jaxridge.idle import blanked
from jaxridge.left_out import left_out_predictions, of_two_rows, scores_left_out
from jaxridge.paths import path
from jaxridge.placement import placed
from jaxridge.routes import Route
from jaxridge.sparse_fits import (
    SparseRows,
    along,
    criterion,
    fold_scores,
    grid_of_sparse,
    held_out,
    left_out_scores,
)
from jaxridge.sparse_fits import left_out_predictions as left_out_of_sparse

KNOWN = {
    "neg_mean_squared_error": "mse",
    "neg_mean_absolute_error": "mae",
    "r2": "r2",
    "mse": "mse",
    "mae": "mae",
    "correlation": "correlation",
}
CRITERIA = ("loo", "gcv", "evidence")

# A score of (targets, predictions), both (h, t) or both (h,): greater is better.
Judge = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]


class Rows(NamedTuple):
    """Rows, dense or sparse, and how fits to them are made."""

    X: Any
    y: Any
    weight: Any
    fit_intercept: bool
    prepare: Learner | None = None  # anew in each fold


class Asked(NamedTuple):
    """By which rows penalties are scored, and how: a name, a judge, or the default."""

    cv: Any
    groups: Any
    scoring: str | Judge
    per_target: bool


def asked_cv(cv: Any, groups: Any, scoring: Any) -> Any:
    """Return a checked `cv`, "loo" for None."""
    cv = "loo" if cv is None else cv
    if isinstance(cv, str):
        if cv not in CRITERIA:
            raise ValueError(
                f"`cv` must be one of {', '.join(CRITERIA)}, a number of folds, a "
                f"splitter or pairs of row numbers, got {cv!r}"
            )
        if groups is not None:
            raise ValueError(
                f'`groups` have no part in `cv` "{cv}": pass a splitter that uses '
                "them, such as sklearn.model_selection.GroupKFold(5)"
            )
        if cv != "loo" and scoring is not None:
            raise ValueError(
                f'`scoring` has no part in `cv` "{cv}", a criterion of its own: leave '
                'it None, or pass cv="loo" or folds'
            )
    return cv


def scoring_asked(scoring: Any, default: str | Judge, told: Any = None) -> str | Judge:
    """Return the name of a score that is known, or a judge.

    `told` is what scorers ask for predictions; of a classifier, predictions are values
    of its decision function, and the scores that are known here are none of its.

    Raises
    ------
    ValueError, TypeError
        For a name that neither scikit-learn nor this package knows.
    """
    if scoring is None:
        return default
    if isinstance(scoring, str):
        if scoring in KNOWN and told is None:
            return KNOWN[scoring]
        if scoring not in get_scorer_names():
            raise ValueError(
                f"`scoring` must be one of {', '.join(KNOWN)}, another name of "
                f"scikit-learn's, or a function, got {scoring!r}"
            )
        return _judge_of_scorer(get_scorer(scoring), told or _Given())
    if not callable(scoring):
        raise TypeError(f"`scoring` must be a name or a function, got {scoring!r}")
    if _is_scorer(scoring):
        return _judge_of_scorer(scoring, told or _Given())
    return _judge(scoring, told or _Given())


def sparse_rows(rows: Rows) -> SparseRows:
    """Return sparse rows in float64, each with a weight."""
    m = rows.X.shape[0]
    weight = np.ones(m) if rows.weight is None else rows.weight.astype(np.float64)
    Y = blanked(rows.y.reshape(m, -1).astype(np.float64), weight)
    X = rows.X.tocsr().astype(np.float64)
    checks.squarable("X", X.data, weight)
    checks.squarable("y", Y, weight)
    return SparseRows(X, Y, weight, rows.fit_intercept)


def scores_of(
    rows: Rows, lams: Any, asked: Asked, once: Known | SparseRows
) -> Scores | Evidence:
    """Return the scores of a grid of penalties, or of an automatic one.

    `once` is what `asked_once` says of the same rows.
    """
    if not isinstance(asked.cv, str):  # made once, as a splitter may draw them
        folds = split(asked.cv, rows.y, asked.groups)
        asked = asked._replace(cv=folds, groups=None)
    if isinstance(once, SparseRows):
        return _of_sparse(rows, once, lams, asked)
    learner = rows.prepare or untouched
    if callable(asked.scoring):
        judged = _judged_left_out if isinstance(asked.cv, str) else _judged_folds

        def score(grid: Any) -> Scores:
            return judged(rows, np.asarray(grid), asked)

        automatic = partial(grid_of_known, once, learner)
        return on_grid(score, lams, rows.X.dtype, automatic)
    if not isinstance(asked.cv, str):
        masks = folds_of(once.data, rows.y, asked.cv)
        given = masks, asked.scoring, learner
        return scores_by_folds(once, rows.y, lams, *given)
    if asked.cv == "loo":
        return scores_left_out(once, rows.y, lams, asked.scoring)
    by = GCV if asked.cv == "gcv" else EVIDENCE
    return scored_by_rows(by, once, rows.y, lams)


def asked_once(rows: Rows, asked: Asked) -> Known | SparseRows:
    """Return rows that scores, and the fit, multiply and factorise together."""
    if sparse.issparse(rows.X):
        return sparse_rows(rows)
    checked = of_two_rows if isinstance(asked.cv, str) else as_data_to_square
    once = known(checked(rows.X, rows.y, rows.weight), rows.fit_intercept)
    by_rows = isinstance(asked.cv, str) and asked.cv == "loo"
    if not by_rows or callable(asked.scoring):
        return once
    once.factors()  # are on their way while rows are copied
    return once._replace(data=on_device(once.data))


def left_out(rows: Rows, lams: np.ndarray) -> np.ndarray:
    """Return what all other rows say of each row, (L, m[, t])."""
    Y = rows.y.reshape(len(rows.y), -1)
    if sparse.issparse(rows.X):
        given = sparse_rows(rows)
        found = left_out_of_sparse(given, lams)
    else:
        made = left_out_predictions(rows.X, Y, lams, **_given(rows))[0]
        found = np.array(made)
    if rows.weight is not None and not rows.weight.all():
        # Of a row that does not count, all others are all rows.
        none = rows.weight == 0
        if sparse.issparse(rows.X):
            fits: Any = along(given, lams)
        else:
            fits = path(rows.X, Y, lams, **_given(rows)).params
        found[:, none] = [
            rows.X[none] @ coef + intercept
            for coef, intercept in zip(*fits, strict=True)
        ]
    return found[..., 0] if rows.y.ndim == 1 else found


def _of_sparse(
    rows: Rows, given: SparseRows, lams: Any, asked: Asked
) -> Scores | Evidence:
    """Do as `scores_of` for sparse rows."""

    def score(grid: Any) -> Scores | Evidence:
        found = _of_sparse_at(rows, given, np.asarray(grid), asked)
        apart = rows.y.ndim == 2 or callable(asked.scoring)
        return found if apart else _of_one_target(found)

    return on_grid(score, lams, np.float64, lambda: placed(grid_of_sparse(given)))


def _of_sparse_at(
    rows: Rows, given: SparseRows, grid: Any, asked: Asked
) -> Scores | Evidence:
    if asked.cv == "loo":
        if callable(asked.scoring):
            return _judged_left_out(rows, grid, asked)
        return left_out_scores(given, grid, asked.scoring)
    if isinstance(asked.cv, str):
        return criterion(given, grid, asked.cv)
    if callable(asked.scoring):
        folds = held_out(given, grid, asked.cv)
        judged: Any = [_judgements(rows, which, p, asked) for which, p in folds]
        judged = np.stack(judged)
        return in_kind_of_input(scores_of_folds)(grid, judged, True, Route())
    return fold_scores(given, grid, asked.cv, asked.scoring)


def _of_one_target(scores: Any) -> Any:
    """Drop the targets' axis."""
    fields = ("per_fold", "mean", "standard_error", "noise")
    there = [name for name in fields if hasattr(scores, name)]
    return scores._replace(**{name: getattr(scores, name)[..., 0] for name in there})


def _given(rows: Rows) -> dict[str, Any]:
    return {"weight": rows.weight, "fit_intercept": rows.fit_intercept}


def _judged_left_out(rows: Rows, lams: Any, asked: Asked) -> Scores:
    predicted = left_out(rows, lams)
    mean: Any = _judgements(rows, np.arange(len(rows.y)), predicted, asked)
    return scores_of_all(lams, mean, True, Route())


@in_kind_of_input
def _judged_folds(rows: Rows, lams: Any, asked: Asked) -> Scores:
    given = rows.X, rows.y, lams, asked.cv
    folds, route = held_out_predictions(*given, prepare=rows.prepare, **_given(rows))
    found: Any = np.stack([_judgements(rows, *one, asked) for one in folds])
    return scores_of_folds(lams, found, True, route)


def _judgements(
    rows: Rows, which: np.ndarray, predicted: np.ndarray, asked: Asked
) -> np.ndarray:
    """Return what a judge says of each penalty, (L,), or of each target, (L, t)."""
    y = np.asarray(rows.y)[which]
    weight = None if rows.weight is None else np.asarray(rows.weight)[which]
    if weight is not None:  # rows that do not count are not shown
        there = weight > 0
        y, predicted, weight = y[there], predicted[:, there], weight[there]
    judge: Any = asked.scoring
    if y.ndim == 1 and predicted.ndim == 3:
        predicted = predicted[..., 0]
    if y.ndim == 2 and asked.per_target:
        found = [
            [judge(y[:, j], p[:, j], weight) for j in range(y.shape[1])]
            for p in predicted
        ]
    else:
        found = [judge(y, p, weight) for p in predicted]
    judged = np.array(found)
    if not np.isfinite(judged).all():
        bad = judged[~np.isfinite(judged)][0]
        raise ValueError(f"`scoring` returned {bad}: it must return a finite number")
    return judged


def _is_scorer(function: Any) -> bool:
    """Whether a function is one of (estimator, X, y), and not of (y, prediction)."""
    if hasattr(function, "set_score_request"):
        return True
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    needed = [p for p in parameters if p.kind in positional and p.default is p.empty]
    return len(needed) == 3


class _Given(RegressorMixin, BaseEstimator):
    """Predicts what it is given: scorers want an estimator to ask."""

    def fit(self, X: Any, y: Any) -> "_Given":
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return X


def _said(scorer: Any, *shown: Any, weight: np.ndarray | None) -> float:
    """Return what a scorer says, weighted if it takes weights."""
    if weight is not None:
        try:
            return float(scorer(*shown, sample_weight=weight))
        except TypeError as error:
            if "sample_weight" not in str(error):
                raise
    return float(scorer(*shown))


def _judge_of_scorer(scorer: Any, told: Any) -> Judge:
    """Show a scorer predictions, targets as `told` says them, and weights.

    Those if it takes any, and where metadata is routed, if it asks for them.
    """
    asks = get_routing_for_object(scorer).consumes("score", ["sample_weight"])
    offered = asks or not get_config()["enable_metadata_routing"]

    def judge(y: Any, prediction: np.ndarray, weight: np.ndarray | None) -> float:
        true = told.predict(y) if is_classifier(told) else y
        try:
            offer = weight if offered else None
            return _said(scorer, told, prediction, true, weight=offer)
        except (AttributeError, TypeError, ValueError) as error:
            if "predict_proba" in str(error):
                raise ValueError(
                    f"`scoring` {scorer} scores probabilities, and there are none: "
                    "take one of labels or of `decision_function`"
                ) from error
            raise ValueError(
                f"`scoring` {scorer} cannot score what is predicted here: {error}"
            ) from error

    return judge


def _judge(function: Any, told: Any) -> Judge:
    """Show a function targets and predictions as `told` says them."""

    def judge(y: np.ndarray, prediction: np.ndarray, _: np.ndarray | None) -> float:
        found = function(told.predict(y), told.predict(prediction))
        if np.ndim(found) or not np.issubdtype(np.asarray(found).dtype, np.number):
            raise TypeError(f"`scoring` must return a number, got {type(found)}")
        return float(found)

    return judge
