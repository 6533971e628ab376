"""The scikit-learn faces beside scikit-learn's own, option by option."""

import json
import pickle
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
from scipy import sparse
from sklearn import linear_model, metrics
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.inspection import permutation_importance
from sklearn.metrics import get_scorer, make_scorer, mean_squared_log_error
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    PredefinedSplit,
    ShuffleSplit,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import jaxridge
from jaxridge import (
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    factors,
    holdout,
    intervals,
    sparse_fits,
)

# Edges are told of; one test says so.
pytestmark = pytest.mark.filterwarnings("ignore:the best alpha")

RNG = np.random.default_rng(0)
M, N, T = 40, 6, 3
X = RNG.normal(size=(M, N)) + np.arange(N)
Y = X @ RNG.normal(size=(N, T)) + RNG.normal(size=(M, T)) + 5
WEIGHT = RNG.integers(1, 4, M).astype(float)
GROUPS = np.arange(M) // 4
ALPHAS = np.geomspace(1e-2, 1e3, 11)
LABELS = np.array(["high", "low", "mid"])[Y.argmax(axis=1)]
EXACT = 1e-8


@parametrize_with_checks([Ridge(), RidgeCV(), RidgeClassifier(), RidgeClassifierCV()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def alike(ours, theirs, tol=EXACT):
    for name in ("coef_", "intercept_"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=tol, atol=tol)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=tol, atol=tol)


INPUTS = {
    "one target": (X, Y[:, 0]),
    "many targets": (X, Y),
    "a column of targets": (X, Y[:, :1]),
    "integers": (X.round().astype(int), Y[:, 0].round().astype(int)),
    "pandas": (pd.DataFrame(X, columns=list("abcdef")), pd.Series(Y[:, 0])),
    "wide": (X[:5], Y[:5]),
    "sparse": (sparse.csr_array(np.where(np.abs(X) > 2, X, 0)), Y),
}


@pytest.mark.parametrize("given", INPUTS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_is_scikit_learns(given, fit_intercept, weighted):
    rows, y = INPUTS[given]
    weight = WEIGHT[: rows.shape[0]] if weighted else None
    alphas = [0.7] if np.ndim(y) == 1 else [0.7, np.arange(1.0, 1 + y.shape[1])]
    for alpha in alphas:
        options = {"alpha": alpha, "fit_intercept": fit_intercept}
        ours = Ridge(**options).fit(rows, y, weight)
        # Its iterative solver stops at tol, and its direct ones take no sparse rows.
        tight = {"tol": 1e-14} if sparse.issparse(rows) else {}
        theirs = linear_model.Ridge(**options, **tight).fit(rows, y, weight)
        at = rows if not isinstance(rows, pd.DataFrame) else rows.head(3)
        for name in ("coef_", "intercept_"):
            one, other = getattr(ours, name), getattr(theirs, name)
            assert np.shape(one) == np.shape(other)
            np.testing.assert_allclose(one, other, rtol=EXACT, atol=EXACT)
        np.testing.assert_allclose(ours.predict(at), theirs.predict(at), rtol=EXACT)


SPLITS = {
    "left out": None,
    "a number": 4,
    "shuffled": KFold(4, shuffle=True, random_state=0),
    "overlapping": ShuffleSplit(3, random_state=0),
    "pairs": list(KFold(3).split(X)),
}


@pytest.mark.parametrize("cv", SPLITS)
@pytest.mark.parametrize("targets", [slice(0, 1), slice(None), 0])
@pytest.mark.parametrize("scoring", [None, "neg_mean_absolute_error"])
def test_ridge_cv_chooses_as_scikit_learn_does(cv, targets, scoring):
    y, options = Y[:, targets], {"cv": SPLITS[cv], "scoring": scoring}
    ours = RidgeCV(ALPHAS, **options).fit(X, y)
    theirs = linear_model.RidgeCV(ALPHAS, **options).fit(X, y)
    assert ours.alpha_ == theirs.alpha_
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=EXACT)
    np.testing.assert_allclose(
        ours.coef_.ravel(), theirs.coef_.ravel(), rtol=EXACT, atol=EXACT
    )


def test_weights_choose_as_scikit_learns_do():
    ours = RidgeCV(ALPHAS, store_cv_results=True).fit(X, Y, WEIGHT)
    theirs = linear_model.RidgeCV(ALPHAS, store_cv_results=True).fit(X, Y, WEIGHT)
    assert ours.alpha_ == theirs.alpha_
    alike(ours, theirs)
    np.testing.assert_allclose(ours.cv_results_, theirs.cv_results_, rtol=EXACT)


@pytest.mark.parametrize("cv", ["loo", "gcv", "evidence", 4, KFold(3, shuffle=True)])
def test_each_target_has_the_alpha_it_would_have_alone(cv):
    if isinstance(cv, KFold):
        cv = list(cv.split(X))
    together = RidgeCV(ALPHAS, cv=cv, alpha_per_target=True).fit(X, Y)
    for j in range(T):
        alone = RidgeCV(ALPHAS, cv=cv).fit(X, Y[:, j])
        assert together.alpha_[j] == alone.alpha_
        np.testing.assert_allclose(together.best_score_[j], alone.best_score_)
        np.testing.assert_allclose(together.coef_[j], alone.coef_, rtol=1e-9)
        np.testing.assert_allclose(together.df_[j], alone.df_)


@pytest.mark.parametrize(
    "scoring",
    [
        "neg_max_error",
        "explained_variance",
        make_scorer(lambda y, p: -np.mean(np.abs(y - p) ** 1.5)),
        lambda estimator, rows, y: estimator.score(rows, y),
    ],
)
@pytest.mark.parametrize("cv", [None, 4])
def test_any_scorer_of_scikit_learns_scores(scoring, cv):
    options = {"cv": cv, "scoring": scoring}
    ours = RidgeCV(ALPHAS, **options).fit(X, Y[:, 0])
    theirs = linear_model.RidgeCV(ALPHAS, **options).fit(X, Y[:, 0])
    assert ours.alpha_ == theirs.alpha_
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=EXACT)


def test_a_function_of_targets_and_predictions_scores():
    def close(y, prediction):
        return -np.median(np.abs(y - prediction))

    ours = RidgeCV(ALPHAS, cv=4, scoring=close).fit(X, Y[:, 0])
    theirs = RidgeCV(ALPHAS, cv=4, scoring="neg_median_absolute_error").fit(X, Y[:, 0])
    assert ours.alpha_ == theirs.alpha_ and ours.best_score_ == theirs.best_score_


@pytest.mark.parametrize("y", [Y[:, 0], Y])
def test_results_of_folds_and_of_rows_are_kept(y):
    t = y.shape[1:]
    folds = RidgeCV(ALPHAS, cv=4, store_cv_results=True).fit(X, y)
    assert folds.cv_results_.shape == (4, *t, len(ALPHAS))
    grid = GridSearchCV(linear_model.Ridge(), {"alpha": ALPHAS}, cv=4).fit(X, y)
    each = np.array([grid.cv_results_[f"split{i}_test_score"] for i in range(4)])
    found = folds.cv_results_.mean(axis=1) if t else folds.cv_results_
    np.testing.assert_allclose(found, each, rtol=EXACT)
    for scoring in (None, "r2"):
        options = {"scoring": scoring, "store_cv_results": True}
        ours = RidgeCV(ALPHAS, **options).fit(X, y)
        theirs = linear_model.RidgeCV(ALPHAS, **options).fit(X, y)
        np.testing.assert_allclose(ours.cv_results_, theirs.cv_results_, rtol=EXACT)


def test_groups_stay_together():
    ours = RidgeCV(ALPHAS, cv=GroupKFold(4)).fit(X, Y[:, 0], groups=GROUPS)
    pairs = list(GroupKFold(4).split(X, groups=GROUPS))
    theirs = linear_model.RidgeCV(ALPHAS, cv=pairs).fit(X, Y[:, 0])
    assert ours.alpha_ == theirs.alpha_
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=EXACT)


def test_the_rule_of_one_standard_error_shrinks_more():
    best, simple = (
        RidgeCV(ALPHAS, cv=5, rule=r).fit(X, Y[:, 0]) for r in ("min", "1se")
    )
    assert simple.alpha_ > best.alpha_ and simple.df_ < best.df_


@pytest.mark.parametrize("cv", ["loo", 5])
def test_standardizing_is_a_pipeline_in_each_fold(cv):
    units = 10.0 ** np.arange(-2, N - 2)
    ours = RidgeCV(ALPHAS, cv=cv, standardize=True).fit(X * units, Y[:, 0])
    pipe = make_pipeline(StandardScaler(), linear_model.Ridge())
    if cv == 5:
        grid = GridSearchCV(pipe, {"ridge__alpha": ALPHAS}, cv=5).fit(X, Y[:, 0])
        assert ours.alpha_ == grid.best_params_["ridge__alpha"]
        np.testing.assert_allclose(ours.best_score_, grid.best_score_, rtol=EXACT)
    pipe.set_params(ridge__alpha=ours.alpha_).fit(X, Y[:, 0])
    np.testing.assert_allclose(ours.predict(X * units), pipe.predict(X), rtol=EXACT)
    intervals = RidgeCV(ALPHAS, cv=cv, standardize=True, intervals=True)
    one = intervals.fit(X * units, Y[:, 0]).predict(X * units, interval=0.8)
    other = intervals.fit(X, Y[:, 0]).predict(X, interval=0.8)
    np.testing.assert_allclose(one, other, rtol=EXACT)


@pytest.mark.parametrize("scoring", ["r2", "neg_median_absolute_error"])
def test_automatic_alphas_of_scaled_columns_are_in_their_units(scoring):
    model = RidgeCV(cv=5, standardize=True, scoring=scoring)
    one, other = (clone(model).fit(X * unit, Y[:, 0]) for unit in (1, 1e6))
    np.testing.assert_allclose(other.alphas_, one.alphas_, rtol=1e-6)
    assert one.alphas_.max() < 1e6


class Counted(ShuffleSplit):
    """Draws other folds each time, and counts."""

    times = 0

    def split(self, *given):
        type(self).times += 1
        return super().split(*given)


@pytest.mark.parametrize("rows", [X, sparse.csr_array(X)], ids=["dense", "sparse"])
@pytest.mark.parametrize("scoring", ["r2", "neg_mean_absolute_error", "neg_max_error"])
def test_folds_are_drawn_once_for_all_alphas(rows, scoring, monkeypatch):
    monkeypatch.setattr(Counted, "times", 0)
    target = Y[:, 0] + 1e3 * X[:, 0]  # so good a fit that the grid goes on
    model = RidgeCV(cv=Counted(3), scoring=scoring).fit(rows, target)
    assert Counted.times == 1 and len(model.alphas_) > 1
    ids = np.arange(M) % 4
    pairs = ((np.flatnonzero(ids != i), np.flatnonzero(ids == i)) for i in range(4))
    one, other = (
        RidgeCV(ALPHAS, cv=cv, scoring=scoring).fit(rows, target) for cv in (ids, pairs)
    )
    np.testing.assert_allclose(one.best_score_, other.best_score_, rtol=1e-12)


def test_the_edge_of_the_grid_is_told():
    with pytest.warns(
        UserWarning, match="lies at an edge of `alphas` .1000.: .* widen"
    ):
        model = RidgeCV([1e3, 1e4]).fit(X, Y[:, 0])
    assert model.at_edge_ and model.alpha_ == 1e3
    noise = np.random.default_rng(0).normal(size=len(X))
    with pytest.warns(UserWarning, match="of 2 target.* `alphas` .1e-09 and 1000."):
        RidgeCV([1e-9, 1.0, 1e3], alpha_per_target=True, cv=5).fit(
            X, np.column_stack([X[:, 0], noise])
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        least = RidgeCV([0.0, 1e4]).fit(X, Y[:, 0])  # below 0 there is none
        rows, target = (a[89:] for a in load_diabetes(return_X_y=True))
        grown = RidgeCV(cv=5).fit(rows, target)  # went on while that helped
    assert least.alpha_ == 0 and not least.at_edge_ and grown.at_edge_


def test_warnings_name_the_line_that_called():
    sums = jaxridge.moments_of(X, X[:, 0] * (1 + 1e-9), 4)
    calls = {
        "at an edge": lambda: RidgeCV([1e3, 1e4]).fit(X, Y[:, 0]),
        "of moments": lambda: jaxridge.cross_validate(sums, None, [1e-9]),
        "GCV of moments": lambda: jaxridge.gcv(sums, None, [1e-9]),
        "cut short": lambda: jaxridge.cross_validate(
            X, Y[:, 0], [1.0], method="descent", max_steps=2
        ),
    }
    for name, call in calls.items():
        with pytest.warns(UserWarning) as told:
            call()
        assert {one.filename for one in told} == {__file__}, name


def test_weights_too_large_are_named():
    for fit in (Ridge().fit, RidgeCV(ALPHAS).fit):
        with pytest.raises(ValueError, match="`sample_weight` reaches 1e.300"):
            fit(X, Y[:, 0], np.full(M, 1e300))


@pytest.mark.parametrize("scoring", [None, "neg_median_absolute_error"])
def test_one_set_of_rows_may_validate(scoring):
    train, held = np.arange(30), np.arange(30, M)
    cv = PredefinedSplit(np.where(np.arange(M) < 30, -1, 0))
    ours = RidgeCV(ALPHAS, cv=cv, scoring=scoring).fit(X, Y[:, 0])
    theirs = GridSearchCV(
        linear_model.Ridge(), {"alpha": ALPHAS}, cv=[(train, held)], scoring=scoring
    ).fit(X, Y[:, 0])
    assert ours.alpha_ == theirs.best_params_["alpha"]
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=EXACT)
    with pytest.raises(ValueError, match="at least 2 folds"):
        RidgeCV(ALPHAS, cv=[(train, held)], rule="1se").fit(X, Y[:, 0])


def test_a_badly_scaled_column_is_chosen_for_as_brute_force_does():
    units = np.array([1e7, 1, 1, 1, 1, 1e-5])
    rows, y = X * units, Y[:, 0]
    alphas = np.geomspace(1e-8, 1e4, 25)
    folds = list(LeaveOneOut().split(rows))
    errors = [
        np.mean(
            [
                (linear_model.Ridge(a, solver="svd").fit(rows[i], y[i]).predict(rows[o])
                 - y[o]) ** 2
                for i, o in folds
            ]
        )
        for a in alphas
    ]  # fmt: skip
    model = RidgeCV(alphas).fit(rows, y)
    assert model.alpha_ == alphas[np.argmin(errors)]
    np.testing.assert_allclose(-model.best_score_, min(errors), rtol=1e-6)


# --- what is returned -------------------------------------------------------------


@pytest.mark.parametrize("estimator", [Ridge(), RidgeCV(ALPHAS), RidgeCV(ALPHAS, cv=3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_the_rows_own(estimator, dtype):
    before = X.astype(dtype), Y.astype(dtype)
    given = [a.copy() for a in before]
    flag = jax.config.jax_enable_x64
    model = clone(estimator).fit(*given)
    assert model.coef_.dtype == model.intercept_.dtype == dtype
    assert type(model.coef_) is np.ndarray
    assert model.predict(given[0]).dtype == dtype
    assert jax.config.jax_enable_x64 == flag
    for one, other in zip(before, given, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_travels():
    model = RidgeCV(ALPHAS, intervals=True).fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    for one, other in zip(
        *(m.predict(X, interval=0.8) for m in (model, again)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    leaves = jax.tree.leaves(vars(again))
    assert not any(isinstance(leaf, jax.Array) for leaf in leaves)
    assert str(again.plan_).startswith("40 rows, 6 columns, 3 targets")


def test_models_work_where_scikit_learns_do():
    pipe = make_pipeline(
        StandardScaler().set_output(transform="pandas"), RidgeCV(ALPHAS)
    )
    pipe.fit(X, Y[:, 0])
    assert list(pipe[-1].feature_names_in_) == [f"x{i}" for i in range(N)]
    grid = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0, 1e4]}, cv=3).fit(X, Y[:, 0])
    assert grid.best_params_["alpha"] < 1e4
    theirs = cross_val_score(linear_model.Ridge(), X, Y[:, 0], cv=3)
    np.testing.assert_allclose(cross_val_score(Ridge(), X, Y[:, 0], cv=3), theirs)
    found = permutation_importance(pipe, X, Y[:, 0], n_repeats=2, random_state=0)
    assert found.importances_mean.shape == (N,)


def test_solvers_say_what_ran():
    ran = {
        name: Ridge(1e-3, solver=name).fit(X, Y).solver_
        for name in ("auto", "cholesky", "eigh", "svd", "sag", "lsqr")
    }
    free = dict.fromkeys(("auto", "sag", "lsqr"), "cholesky")
    assert ran == {name: name for name in ran} | free
    ill = X @ np.diag(10.0 ** -np.arange(0, 12, 2))
    model = Ridge(1e-20, solver="cholesky").fit(ill, Y)
    assert model.solver_ == "svd" and model.certificate_.route.raised
    assert model.certificate_.by_hand.max() < 1e-12


# --- what comes in ----------------------------------------------------------------

NAMES = list("abcdef")
FRAMES = {
    "pandas": lambda a: pd.DataFrame(a, columns=NAMES),
    "polars": lambda a: pl.DataFrame(a, schema=NAMES),
    "arrow": lambda a: pa.table(dict(zip(NAMES, a.T, strict=True))),
    "objects": lambda a: pd.DataFrame(a, columns=NAMES).astype({"b": object}),
    "numbers as text": lambda a: pd.DataFrame(a, columns=NAMES).astype({"c": str}),
}


@pytest.mark.parametrize("frame", FRAMES)
def test_data_frames_keep_their_names(frame):
    table = FRAMES[frame](X)
    model = Ridge().fit(table, Y[:, 0])
    assert list(model.feature_names_in_) == NAMES
    np.testing.assert_allclose(model.coef_, Ridge().fit(X, Y[:, 0]).coef_, rtol=1e-12)
    np.testing.assert_allclose(model.predict(table), Ridge().fit(X, Y[:, 0]).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(FRAMES["pandas"](X)[NAMES[::-1]])
    with pytest.raises(ValueError, match=r"(?s)seen at fit time, yet now missing.*- f"):
        model.predict(FRAMES["pandas"](X)[NAMES[:-1]])


def test_jax_arrays_come_in():
    model = Ridge().fit(jnp.asarray(X, jnp.float32), jnp.asarray(Y, jnp.float32))
    assert model.coef_.dtype == np.float32 and type(model.coef_) is np.ndarray


def test_traced_rows_are_refused_in_words():
    model = Ridge().fit(X, Y[:, 0])
    for call, name in (
        (lambda x: Ridge().fit(x, Y).coef_, "X"),
        (lambda x: Ridge().fit(X, x[:, 0]).coef_, "y"),
        (lambda x: Ridge().fit(X, Y, sample_weight=x[:, 0]).coef_, "sample_weight"),
        (model.predict, "X"),
    ):
        with pytest.raises(TypeError, match=f"`{name}` is being traced"):
            jax.jit(call)(X)


DAYS = pd.date_range("2020-01-01", periods=M)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"when": DAYS}, "column 'when' holds times"),
        ({"nothing": np.full(M, np.nan)}, "column 'nothing' holds no value at all"),
        ({"city": ["Rome"] * M}, "column 'city' holds 'Rome', which is no number"),
        ({"hole": np.r_[np.nan, np.ones(M - 1)]}, "column 'hole' contains 1 missing"),
    ],
)
def test_columns_that_cannot_be_used_are_named(columns, message):
    table = pd.DataFrame(X, columns=NAMES).assign(**columns)
    with pytest.raises(ValueError, match=re.escape(message)):
        Ridge().fit(table, Y[:, 0])


@pytest.mark.parametrize("size", [1e150, 1e-150])
@pytest.mark.parametrize("estimator", [Ridge(), RidgeCV(ALPHAS)])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_sizes_without_squares_are_right_or_refused(estimator, size, kind):
    with pytest.raises(ValueError, match="leave the range of float64: rescale it"):
        clone(estimator).fit(kind(X * size), Y)
    with pytest.raises(ValueError, match="leave the range of float64: rescale it"):
        clone(estimator).fit(kind(X), Y * size)


@pytest.mark.parametrize("size", [1e140, 1e-140])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_sizes_that_have_squares_change_nothing(size, kind):
    plain = RidgeCV(ALPHAS, store_cv_results=True).fit(X, Y, WEIGHT)
    grid = size**2 * np.array(ALPHAS)
    other = RidgeCV(grid, store_cv_results=True).fit(kind(size * X), Y, WEIGHT)
    assert other.alpha_ == pytest.approx(size**2 * plain.alpha_)
    np.testing.assert_allclose(other.coef_ * size, plain.coef_, rtol=1e-9)
    np.testing.assert_allclose(other.cv_results_, plain.cv_results_, rtol=1e-6)


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (Ridge(-1.0), ValueError, "`alpha` must be at least 0"),
        (Ridge("auto"), TypeError, "`alpha` must be a number"),
        (Ridge([1.0, 2.0]), ValueError, "do not correspond"),
        (RidgeCV(cv="5"), ValueError, "loo, gcv, evidence, a number of folds, a"),
        (Ridge(solver="qr"), ValueError, "`solver` must be one of auto, cholesky"),
        (Ridge(positive=True), ValueError, "positive=True is not supported"),
        (RidgeCV("all"), ValueError, "`alphas` must be one of auto"),
        (RidgeCV([]), ValueError, '`alphas` must be "auto", a number or a list'),
        (RidgeCV(None), ValueError, '`alphas` must be "auto", a number or a list'),
        (RidgeCV(["a"]), ValueError, '`alphas` must be "auto", a number or a list'),
        (RidgeCV([[1.0]]), ValueError, '`alphas` must be "auto", a number or a list'),
        (RidgeCV([-1.0]), ValueError, "`alphas` must be at least 0"),
        (RidgeCV([np.nan]), ValueError, "`alphas` must be finite"),
        (RidgeCV(gcv_mode="fast"), ValueError, "`gcv_mode` must be one of auto, svd"),
        (RidgeCV([0.0], cv="evidence"), ValueError, "`alphas` holds 0"),
        (Ridge(1e307), ValueError, "which float64 cannot hold, or its inverse: pass"),
        (Ridge("1"), TypeError, "`alpha` must be a number, or one a target, got '1'"),
        (RidgeCV(ALPHAS, cv="looo"), ValueError, "`cv` must be one of loo, gcv"),
        (RidgeCV(ALPHAS, cv=1), ValueError, "`cv` must be at least 2"),
        (
            RidgeCV(ALPHAS, scoring="neg_log_loss"),
            ValueError,
            "probabilities, and there",
        ),
        (
            RidgeCV(ALPHAS, scoring=lambda *_: np.nan),
            ValueError,
            "`scoring` returned nan: it must return a finite number",
        ),
        (RidgeCV(ALPHAS, alpha_per_target=1), TypeError, "`alpha_per_target` must"),
        (RidgeCV(ALPHAS, store_cv_results="no"), TypeError, "`store_cv_results` must"),
        (RidgeCV(ALPHAS, intervals="no"), TypeError, "`intervals` must be True"),
        (Ridge(intervals=None), TypeError, "`intervals` must be True"),
        (RidgeCV(ALPHAS, scoring="mape"), ValueError, "`scoring` must be one of"),
        (RidgeCV(ALPHAS, rule="2se"), ValueError, "`rule` must be one of"),
        (RidgeCV(ALPHAS, cv="gcv", rule="1se"), ValueError, '"1se" needs a standard'),
        (RidgeCV(ALPHAS, standardize="yes"), TypeError, "`standardize` must be True"),
    ],
)
def test_what_cannot_be_is_refused(estimator, error, message):
    with pytest.raises(error, match=re.escape(message)):
        estimator.fit(X, Y)


@pytest.mark.parametrize("cv", [None, "gcv", 4])
def test_alphas_that_cannot_be_are_refused_of_sparse_rows_too(cv):
    for alphas in ([-1.0], [np.nan], [np.inf], [], [1e307]):
        with pytest.raises(ValueError, match="`alphas`"):
            RidgeCV(alphas, cv=cv).fit(sparse.csr_array(X), Y)


@pytest.mark.parametrize("rows", [X, sparse.csr_array(X)], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-WEIGHT, "`sample_weight` must not be negative"),
        (WEIGHT * np.nan, "`sample_weight` must be finite"),
        (WEIGHT[1:], "`sample_weight` must have shape"),
        (WEIGHT * 0, "`sample_weight` is zero for every row"),
        (["a"] * M, "`sample_weight` must hold numbers"),
    ],
)
@pytest.mark.parametrize("estimator", [Ridge(), RidgeCV(ALPHAS), RidgeClassifier()])
def test_weights_that_cannot_be_are_refused(estimator, weight, message, rows):
    with pytest.raises(ValueError, match=re.escape(message)):
        clone(estimator).fit(rows, np.arange(M) % 2, weight)


def test_numbers_beyond_the_dtype_of_the_rows_are_refused():
    with pytest.raises(ValueError, match="`y` reaches .* which float32"):
        Ridge().fit(X.astype(np.float32), Y[:, 0] * 1e300)
    with pytest.raises(ValueError, match="`y` holds times"):
        Ridge().fit(X, DAYS)


@pytest.mark.parametrize(
    "times",
    [
        pd.DataFrame({"y": DAYS}),
        pl.Series(DAYS),
        pl.DataFrame({"y": DAYS}),
        pa.array(DAYS),
        list(DAYS.astype(object)),
        pl.Series(DAYS).cast(pl.Date),
        pd.Series(DAYS) - DAYS[0],
    ],
)
def test_times_are_no_targets(times):
    with pytest.raises(ValueError, match="`y` holds times"):
        Ridge().fit(X, times)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="`y` holds one class only"):
        RidgeClassifier().fit(X, np.zeros(M, int))
    two = (np.arange(M) % 2).astype(int)
    with pytest.raises(ValueError, match=r"weights leave one class only, \[1\]"):
        RidgeClassifier(class_weight={0: 0, 1: 1}).fit(X, two)


@pytest.mark.parametrize("value", [None, pd.NA, "nan", np.nan])
def test_missing_cells_of_text_are_named(value):
    table = pd.DataFrame(X, columns=NAMES).astype(object)
    table.iloc[3, 1] = value
    with pytest.raises(ValueError, match=f"column '{NAMES[1]}' contains 1 missing"):
        Ridge().fit(table, Y[:, 0])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_values_that_are_not_finite_are_named(frame):
    table = dict(zip(NAMES, X.T.copy(), strict=True))
    table[NAMES[1]][[2, 4]] = np.inf
    with pytest.raises(ValueError, match=f"column '{NAMES[1]}' holds inf in 2 row"):
        Ridge().fit(frame(table), Y[:, 0])


def test_tables_that_are_no_rows_are_refused():
    table = pd.DataFrame(X, columns=NAMES)
    with pytest.raises(ValueError, match="`X` has columns of the same name"):
        Ridge().fit(table.rename(columns={NAMES[0]: NAMES[1]}), Y)
    with pytest.raises(ValueError, match="`X` is a lazy frame"):
        Ridge().fit(pl.DataFrame(X).lazy(), Y)
    with pytest.raises(ValueError, match=r"`X` has 0 feature\(s\)"):
        Ridge().fit(table[[]], Y)


def test_columns_in_another_order_are_named():
    table = pd.DataFrame(X, columns=NAMES)
    model = Ridge().fit(table, Y)
    with pytest.raises(ValueError, match=f"column 0 is '{NAMES[-1]}' and was"):
        model.predict(table[NAMES[::-1]])
    with pytest.raises(ValueError, match=f"now missing:\n- {NAMES[0]}"):
        model.predict(table[NAMES[1:]])
    with pytest.raises(ValueError, match="unseen at fit time:\n- more"):
        model.predict(table.assign(more=1.0))


def test_a_fit_forgets_what_the_one_before_kept():
    model = RidgeCV(ALPHAS, store_cv_results=True, intervals=True).fit(X, Y)
    assert hasattr(model, "cv_results_") and hasattr(model, "coef_std_")
    model.set_params(store_cv_results=False, intervals=False).fit(X, Y)
    assert not hasattr(model, "cv_results_") and not hasattr(model, "coef_std_")
    with pytest.raises(ValueError, match="fit with intervals=True"):
        model.predict(X, interval=0.9)


def test_sparse_rows_have_intervals_of_a_model_of_dense_ones():
    model = RidgeCV(ALPHAS, intervals=True, standardize=True).fit(X, Y)
    for how in ({"interval": 0.8}, {"return_std": True}):
        found = model.predict(sparse.csr_array(X), **how)
        for one, other in zip(found, model.predict(X, **how), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_attributes_have_the_precision_of_the_rows(kind):
    model = RidgeCV(ALPHAS, intervals=kind is np.asarray)
    model.fit(kind(X.astype(np.float32)), Y.astype(np.float32))
    names = ["coef_", "intercept_", "df_"]
    for name in names + ["coef_std_"] * model.intervals:
        assert np.asarray(getattr(model, name)).dtype == np.float32, name


@pytest.mark.parametrize("cv", [None, "gcv", 4])
@pytest.mark.parametrize("scoring", [None, "neg_max_error"])
def test_sparse_rows_have_automatic_alphas_too(cv, scoring):
    if cv == "gcv" and scoring:
        return
    nearly = X[:, 0] + 1e-2 * Y[:, 0]
    model = RidgeCV(cv=cv, scoring=scoring)
    dense = clone(model).fit(X, nearly)
    model.fit(sparse.csr_array(X), nearly)
    assert model.alpha_ == pytest.approx(dense.alpha_, rel=1e-6)


# --- classifiers ------------------------------------------------------------------

MARKS = {
    "two classes": np.where(Y[:, 0] > np.median(Y[:, 0]), "yes", "no"),
    "three classes": LABELS,
    "many labels": (Y > np.median(Y, axis=0)).astype(int),
}


@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_ridge_classifier_is_scikit_learns(marks, class_weight):
    y = MARKS[marks]
    if marks == "many labels" and class_weight:
        class_weight = None
    options = {"alpha": 0.3, "class_weight": class_weight}
    ours = RidgeClassifier(**options).fit(X, y, WEIGHT)
    theirs = linear_model.RidgeClassifier(**options).fit(X, y, WEIGHT)
    for name in ("coef_", "intercept_"):
        one, other = getattr(ours, name), getattr(theirs, name)
        np.testing.assert_allclose(one, np.reshape(other, one.shape), rtol=EXACT)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(
        ours.decision_function(X), theirs.decision_function(X), rtol=EXACT, atol=EXACT
    )
    assert ours.score(X, y) == theirs.score(X, y)


@pytest.mark.parametrize("marks", ["two classes", "three classes"])
@pytest.mark.parametrize(("cv", "scoring"), [(None, None), (4, None), (4, "f1_macro")])
def test_ridge_classifier_cv_chooses_as_scikit_learns_does(marks, cv, scoring):
    options = {"cv": cv, "scoring": scoring}
    ours = RidgeClassifierCV(ALPHAS, **options).fit(X, MARKS[marks])
    theirs = linear_model.RidgeClassifierCV(ALPHAS, **options).fit(X, MARKS[marks])
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=EXACT)
    if cv is None:
        assert ours.alpha_ == theirs.alpha_
        coef = theirs.coef_.reshape(ours.coef_.shape)
        np.testing.assert_allclose(ours.coef_, coef, rtol=EXACT)


# --- sparse rows ------------------------------------------------------------------

HOLES = np.where(RNG.uniform(size=X.shape) < 0.6, X, 0)


@pytest.mark.parametrize("cv", ["loo", "gcv", "evidence"])
def test_sparse_rows_are_added_up_once_to_choose_and_to_fit(monkeypatch, cv):
    made, sums_of = [], sparse_fits.sums_of
    monkeypatch.setattr(
        sparse_fits, "sums_of", lambda *rows: made.append(1) or sums_of(*rows)
    )
    model = RidgeCV(ALPHAS, cv=cv).fit(sparse.csr_array(HOLES), Y)
    assert len(made) == 1
    dense = RidgeCV(ALPHAS, cv=cv).fit(HOLES, Y)
    np.testing.assert_allclose(model.coef_, dense.coef_, rtol=1e-9)


@pytest.mark.parametrize(
    "cv", ["loo", "gcv", "evidence", 4, ShuffleSplit(3, random_state=0)]
)
@pytest.mark.parametrize("scoring", [None, "neg_mean_absolute_error", "neg_max_error"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_sparse_rows_are_dense_rows(cv, scoring, fit_intercept):
    if cv in ("gcv", "evidence") and scoring:
        scoring = None
    options = {"cv": cv, "scoring": scoring, "fit_intercept": fit_intercept}
    y = Y[:, 0] if scoring == "neg_max_error" else Y
    model = RidgeCV(ALPHAS, **options, alpha_per_target=y.ndim == 2)
    dense = clone(model).fit(HOLES, y, WEIGHT)
    thin = clone(model).fit(sparse.csr_array(HOLES), y, WEIGHT)
    np.testing.assert_array_equal(dense.alpha_, thin.alpha_)
    for name in ("best_score_", "coef_", "intercept_", "df_"):
        np.testing.assert_allclose(getattr(thin, name), getattr(dense, name), rtol=1e-9)
    assert thin.certificate_.autodiff.max() < 1e-12
    assert thin.certificate_.by_hand.max() < 1e-12


def test_a_full_column_far_from_0_keeps_its_digits():
    rows = HOLES.copy()
    rows[:, 2] = 1e6 + X[:, 2]
    dense, thin = (Ridge().fit(a, Y) for a in (rows, sparse.csc_array(rows)))
    np.testing.assert_allclose(thin.coef_, dense.coef_, rtol=1e-8)


def wide(m, n):
    rng = np.random.default_rng(1)
    rows = sparse.random_array((m, n), density=5 / n, rng=rng, format="csr")
    return rows, rows @ rng.normal(size=n) + 0.1 * rng.normal(size=m) + 3


@pytest.mark.parametrize("cv", ["gcv", "evidence"])
@pytest.mark.parametrize("n", [3, 50])
def test_sparse_columns_far_from_0_are_those_of_dense_rows(n, cv):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(M, n)) * (rng.random((M, n)) < 0.4)
    rows[:, 1] = 1e5
    rows[:, 2] = 1e6 + rng.normal(size=M)
    y = rows[:, 0] + rows[:, 2] + rng.normal(size=M) + 1e6
    dense, thin = (
        RidgeCV([1e-3, 1.0], cv=cv).fit(made, y)
        for made in (rows, sparse.csr_array(rows))
    )
    assert thin.alpha_ == dense.alpha_
    np.testing.assert_allclose(thin.coef_, dense.coef_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(thin.best_score_, dense.best_score_, rtol=1e-6)


@pytest.mark.parametrize("far", [1e5, 1e8])
@pytest.mark.parametrize("scoring", [None, "r2", "correlation"])
def test_sparse_rows_that_a_fit_hangs_on_are_left_out_in_earnest(far, scoring):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(12, 1))
    rows[0] = far
    y = 0.5 * rows[:, 0] + rng.normal(size=12)
    dense, thin = (
        RidgeCV([1.0], scoring=scoring).fit(made, y).best_score_
        for made in (rows, sparse.csr_array(rows))
    )
    np.testing.assert_allclose(thin, dense, rtol=1e-10)


@pytest.mark.parametrize("rows", [X, sparse.csr_array(X)], ids=["dense", "sparse"])
@pytest.mark.parametrize("y", [Y[:, 0], Y], ids=["one", "several"])
def test_rows_that_do_not_count_are_predicted_by_all_that_do(rows, y):
    weight = np.where(np.arange(M) % 7, WEIGHT, 0)
    options = {"scoring": "r2", "store_cv_results": True}
    found = RidgeCV(ALPHAS, **options).fit(rows, y, weight).cv_results_
    for i, alpha in enumerate(ALPHAS):
        fit = linear_model.Ridge(alpha).fit(X, y, weight)
        none = weight == 0
        np.testing.assert_allclose(found[none][..., i], fit.predict(X[none]), rtol=1e-9)


def test_predictions_are_kept_where_scoring_is_named():
    options = {"scoring": "neg_mean_squared_error", "store_cv_results": True}
    ours, theirs = (
        face(ALPHAS, **options).fit(X, Y[:, 0]).cv_results_
        for face in (RidgeCV, linear_model.RidgeCV)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_few_wide_sparse_rows_are_turned():
    rows, y = wide(60, 5200)
    for cv in ("loo", 4):
        thin = RidgeCV(ALPHAS, cv=cv).fit(rows, y, WEIGHT[np.arange(60) % M])
        dense = RidgeCV(ALPHAS, cv=cv).fit(rows.toarray(), y, WEIGHT[np.arange(60) % M])
        assert thin.alpha_ == dense.alpha_
        np.testing.assert_allclose(thin.best_score_, dense.best_score_, rtol=1e-9)
        np.testing.assert_allclose(thin.coef_, dense.coef_, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(thin.predict(rows), dense.predict(rows), rtol=1e-9)


def test_many_wide_sparse_rows_are_iterated(monkeypatch):
    for module in ("sparse_fits", "linear"):
        monkeypatch.setattr(f"jaxridge.{module}.MOST", 4)
    options = {"cv": 4, "scoring": "r2"}
    thin = RidgeCV(ALPHAS[3:], **options).fit(sparse.csr_array(HOLES), Y, WEIGHT)
    dense = RidgeCV(ALPHAS[3:], **options).fit(HOLES, Y, WEIGHT)
    assert thin.route_ == "conjugate gradients, float64" and thin.alpha_ == dense.alpha_
    one = Ridge().fit(sparse.csr_array(HOLES), Y, WEIGHT)
    assert one.solver_ == "sparse_cg" and one.n_iter_ is None
    np.testing.assert_allclose(thin.best_score_, dense.best_score_, rtol=1e-9)
    np.testing.assert_allclose(thin.coef_, dense.coef_, rtol=1e-8)
    assert 0 < thin.certificate_.by_hand.max() < 1e-10
    for cv in ("loo", "gcv", "evidence"):
        with pytest.raises(ValueError, match="use folds, such as cv=5"):
            RidgeCV(ALPHAS, cv=cv).fit(sparse.csr_array(HOLES), Y)


@pytest.mark.parametrize("scoring", ["r2", "correlation"])
def test_sparse_rows_left_out_are_scored_as_dense_ones(scoring):
    options = {"scoring": scoring, "fit_intercept": False}
    dense = RidgeCV(ALPHAS, **options).fit(HOLES, Y, WEIGHT)
    thin = RidgeCV(ALPHAS, **options).fit(sparse.csr_array(HOLES), Y, WEIGHT)
    assert thin.alpha_ == dense.alpha_
    np.testing.assert_allclose(thin.best_score_, dense.best_score_, rtol=1e-9)
    for constant in (1.0, 0.1, 1000.1):
        both = np.column_stack([Y[:, 0], np.full(M, constant)])
        with pytest.warns(UserWarning, match="counts as 0 there.* 1 target.* 1 first"):
            model = RidgeCV(ALPHAS, scoring="r2", alpha_per_target=True)
            model.fit(sparse.csr_array(HOLES), both)
        assert model.best_score_[1] == 0 and model.best_score_[0] > 0


@pytest.mark.parametrize("kind", ["alike", "words", "unlike in size"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_few_sparse_rows_of_many_columns_take_steps_if_those_are_enough(
    kind, fit_intercept
):
    rng = np.random.default_rng(0)
    m, n = 600, 2000
    places = np.minimum((rng.pareto(0.8, size=m * 8) * 20).astype(int), n - 1)
    if kind == "alike":
        places = rng.integers(0, n, m * 8)
    thin = sparse.csr_array(
        (rng.normal(size=m * 8), places, np.arange(0, m * 8 + 1, 8)), shape=(m, n)
    )
    thin.sum_duplicates()
    if kind == "unlike in size":
        thin = (thin @ sparse.diags_array(10 ** rng.uniform(-5, 5, n))).tocsr()
    targets, weight = rng.normal(size=(m, 2)) + 5, rng.integers(0, 3, m)
    model = Ridge([0.5, 20.0], fit_intercept=fit_intercept)
    found = clone(model).fit(thin, targets, weight)
    expected = clone(model).fit(thin.toarray(), targets, weight)
    steps = kind != "unlike in size"
    assert (found.solver_ == "sparse_cg") == steps
    apart = np.linalg.norm(found.coef_ - expected.coef_, axis=1)
    assert (apart <= 1e-11 * np.linalg.norm(expected.coef_, axis=1)).all()
    np.testing.assert_allclose(found.intercept_, expected.intercept_, rtol=1e-9)
    assert (
        clone(model).set_params(solver="cholesky").fit(thin, targets, weight).solver_
        != "sparse_cg"
    )


@pytest.mark.parametrize("model", [Ridge(2.0), RidgeCV(ALPHAS, cv=4)])
def test_sparse_rows_have_intervals_as_dense_ones(model):
    model.set_params(intervals=True)
    dense = clone(model).fit(HOLES, Y, WEIGHT)
    thin = clone(model).fit(sparse.csr_array(HOLES), Y, WEIGHT)
    np.testing.assert_allclose(thin.coef_std_, dense.coef_std_, rtol=1e-9)
    found = (model.predict(X, interval=0.9) for model in (thin, dense))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("far", [0.0, 1e8])
def test_wide_sparse_rows_keep_small_columns_beside_large(far):
    rng = np.random.default_rng(0)
    thin = sparse.random(60, 5010, density=0.01, random_state=0, format="csr")
    column = rng.normal(size=(60, 1)) * (1 if far else 1e7) + far
    rows = sparse.hstack([thin, sparse.csr_array(column)]).tocsr()
    y = thin @ rng.normal(size=5010) + rng.normal(size=60)
    for model in (Ridge(1.0), RidgeCV([0.01, 1.0, 100.0]), RidgeCV(ALPHAS, cv=4)):
        ours, dense = clone(model).fit(rows, y), clone(model).fit(rows.toarray(), y)
        np.testing.assert_allclose(ours.coef_, dense.coef_, rtol=1e-6, atol=1e-12)
        assert getattr(ours, "alpha_", 1.0) == getattr(dense, "alpha_", 1.0)


def test_fits_in_threads_leave_warnings_as_they_are():
    before, rows = warnings.filters[:], sparse.csr_array(X)

    def fits(_):
        return [RidgeCV().fit(rows, Y[:, 0]).alpha_ for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        found = [alpha for some in pool.map(fits, range(4)) for alpha in some]
    assert len(set(found)) == 1 and warnings.filters[:] == before


def test_a_perfect_fit_is_found_by_r2_as_by_errors():
    alphas = [
        RidgeCV(cv=5, scoring=scoring).fit(X, X[:, 0]).alpha_
        for scoring in ("r2", "neg_mean_squared_error")
    ]
    # R² of nearly 1 tells errors to the rounding of 1 only.
    assert alphas[0] < 1e-5 and alphas[1] < 1e-9


def test_sparse_rows_that_a_fit_goes_through_alarm_nobody():
    rows = sparse.csr_array(RNG.normal(size=(12, 30)))
    for cv in ("gcv", "evidence"):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Moments cannot")
            thin = RidgeCV(ALPHAS, cv=cv).fit(rows, Y[:12, 0])
        dense = RidgeCV(ALPHAS, cv=cv).fit(rows.toarray(), Y[:12, 0])
        np.testing.assert_allclose(thin.best_score_, dense.best_score_, rtol=1e-9)


def test_text_that_is_a_number_is_one():
    text = [str(value) for value in Y[:, 0]]
    np.testing.assert_allclose(
        Ridge().fit(X, text).coef_, Ridge().fit(X, Y[:, 0]).coef_
    )
    with pytest.raises(ValueError, match="`y` holds 'many', which is no number"):
        Ridge().fit(X, ["many", *text[1:]])


def test_what_would_silently_become_something_else_is_refused():
    masked = np.ma.masked_less(X, 0)
    with pytest.raises(TypeError, match="`X` is a masked array"):
        Ridge().fit(masked, Y)
    with pytest.raises(TypeError, match="`sample_weight` is a masked array"):
        Ridge().fit(X, Y, np.ma.masked_less(WEIGHT, 2))
    whole = 2**60 + np.arange(M * N).reshape(M, N)
    sparse_rows = sparse.csr_array(whole)
    frames = pd.DataFrame(whole), pl.DataFrame(whole)
    for rows in (whole, whole.tolist(), sparse_rows, *frames):
        with pytest.raises(ValueError, match="`X` holds whole numbers beyond.*float64"):
            Ridge().fit(rows, Y)
    for targets in (whole[:, 0], whole[:, 0].tolist(), pd.Series(whole[:, 0])):
        with pytest.raises(ValueError, match="`y` holds whole numbers beyond"):
            Ridge().fit(X, targets)
    with pytest.raises(ValueError, match="rows differ in length"):
        Ridge().fit(X, Y, [[1.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match="`groups` have no part in `cv`"):
        RidgeCV(ALPHAS).fit(X, Y, groups=GROUPS)
    for scoring in (lambda y, p: p, lambda y, p: None):
        with pytest.raises(TypeError, match="`scoring` must return a number"):
            RidgeCV(ALPHAS, scoring=scoring).fit(X, Y[:, 0])
    with pytest.raises(ValueError, match="`class_weight` must not be negative"):
        RidgeClassifier(class_weight={"high": -1.0}).fit(X, LABELS)


def test_sparse_rows_are_refused_what_would_make_them_dense(monkeypatch):
    rows = sparse.csr_array(HOLES)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=99))
    with pytest.raises(ValueError, match="intervals=True keeps the rows in full"):
        Ridge(intervals=True).fit(rows, Y)
    with pytest.raises(
        ValueError, match="standardize=True would make sparse rows dense"
    ):
        RidgeCV(ALPHAS, standardize=True).fit(rows, Y)


# --- intervals --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 3), (8, 12)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_jackknife_plus_is_what_refits_say(monkeypatch, shape, fit_intercept):
    monkeypatch.setattr(intervals, "AT_ONCE", 7 * shape[1])  # numbers of a block
    rng = np.random.default_rng(2)
    rows, y = rng.normal(size=shape) + 1, rng.normal(size=shape[0])
    weight, new = (
        rng.integers(1, 3, shape[0]).astype(float),
        rng.normal(size=(5, shape[1])),
    )
    options = {"alpha": 0.5, "fit_intercept": fit_intercept}
    model = Ridge(**options, intervals=True).fit(rows, y, weight)
    _, low, high = model.predict(new, interval=0.7)
    ends = []
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        one = linear_model.Ridge(**options).fit(rows[others], y[others], weight[others])
        error = abs(y[i] - one.predict(rows[i : i + 1])[0])
        ends.append((one.predict(new) - error, one.predict(new) + error))
    lows, highs = np.sort(np.swapaxes(ends, 0, 1), axis=1)
    m = len(y)
    first, last = (
        int(np.floor(0.3 * (m + 1) + 1e-9)),
        int(np.ceil(0.7 * (m + 1) - 1e-9)),
    )
    np.testing.assert_allclose(low, lows[first - 1], rtol=1e-9)
    np.testing.assert_allclose(high, highs[last - 1], rtol=1e-9)
    _, low, high = model.predict(new, interval=0.999)
    assert (low == -np.inf).all() and (high == np.inf).all()


@pytest.mark.parametrize("shape", [(30, 4), (8, 12)])
def test_standard_errors_are_those_of_the_posterior(shape):
    rng = np.random.default_rng(3)
    rows = rng.normal(size=shape)
    y = rows @ rng.normal(size=shape[1]) + rng.normal(size=shape[0])
    lam, new = 2.0, rng.normal(size=(5, shape[1]))
    model = Ridge(lam, intervals=True).fit(rows, y)
    # y ~ N(θ₀ + Xθ, σ²), θ ~ N(0, σ²/λ), flat in θ₀.
    design = np.column_stack([np.ones(len(y)), rows])
    prior = np.diag([0.0] + [lam] * shape[1])
    inverse = np.linalg.inv(design.T @ design + prior)
    hat = design @ inverse @ design.T
    residual = y - hat @ y
    noise = residual @ residual / (len(y) - np.trace(hat))
    at = np.column_stack([np.ones(5), new])
    expected = np.sqrt(noise * (1 + np.einsum("ij,jk,ik->i", at, inverse, at)))
    np.testing.assert_allclose(model.predict(new, return_std=True)[1], expected)
    np.testing.assert_allclose(model.coef_std_, np.sqrt(noise * np.diag(inverse)[1:]))


@pytest.mark.parametrize("method", ["jackknife+", "posterior"])
def test_intervals_of_many_targets_are_those_of_each(method):
    how = {"interval": 0.8, "interval_method": method}
    model = RidgeCV(ALPHAS, alpha_per_target=True, intervals=True).fit(X, Y)
    for j in range(T):
        alone = RidgeCV(ALPHAS, intervals=True).fit(X, Y[:, j]).predict(X, **how)
        for one, other in zip(model.predict(X, **how), alone, strict=True):
            np.testing.assert_allclose(one[:, j], other, rtol=1e-9)


def test_intervals_in_single_precision_keep_the_digits_of_a_row_far_from_others():
    rng = np.random.default_rng(3)
    far, new = np.r_[1e4, np.ones(11)][:, None], rng.normal(size=(5, 4))
    rows = (rng.normal(size=(12, 4)) * far).astype(np.float32)
    targets = (rows @ rng.normal(size=4) + 50 * rng.normal(size=12)).astype(np.float32)
    new = np.float32(new * np.r_[1e4, np.ones(4)][:, None])
    for how in ({"interval": 0.8}, {"return_std": True}):
        ends, wide = (
            Ridge(0.02, intervals=True)
            .fit(rows.astype(dtype), targets.astype(dtype))
            .predict(new.astype(dtype), **how)
            for dtype in (np.float32, np.float64)
        )
        for one, other in zip(ends, wide, strict=True):
            assert one.dtype == np.float32
            np.testing.assert_allclose(one, other, rtol=1e-5)


def test_intervals_cover_what_they_should():
    rng = np.random.default_rng(4)
    rows, y = load_diabetes(return_X_y=True)
    covered = []
    for _ in range(20):
        order = rng.permutation(len(y))
        train, test = order[:300], order[300:]
        model = RidgeCV("auto", intervals=True).fit(rows[train], y[train])
        _, low, high = model.predict(rows[test], interval=0.9)
        covered.append(np.mean((low <= y[test]) & (y[test] <= high)))
    assert 0.87 < np.mean(covered) < 0.94


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": 1.0}, "`interval` must be a share between 0 and 1"),
        ({"interval": "0.9x"}, "`interval` must be a share between 0 and 1"),
        (
            {"interval": 0.9, "interval_method": "normal"},
            "`interval_method` must be one",
        ),
        ({"interval": 0.9, "return_std": True}, "exclude each other"),
    ],
)
def test_intervals_that_cannot_be_are_refused(options, message):
    model = Ridge(intervals=True).fit(X, Y)
    with pytest.raises(ValueError, match=message):
        model.predict(X, **options)


def test_intervals_want_what_a_fit_forgets():
    for how in ({"interval": 0.9}, {"return_std": True}):
        with pytest.raises(ValueError, match="fit with intervals=True"):
            Ridge().fit(X, Y).predict(X, **how)
    model = Ridge(0.0, intervals=True).fit(X[:4], Y[:4, 0])
    with pytest.raises(ValueError, match="less than one degree of freedom"):
        model.predict(X, return_std=True)
    # Student's t of a hundredth of a degree would reach to 1e98.
    rng = np.random.default_rng(0)
    model = Ridge(0.03, intervals=True).fit(rng.normal(size=(40, 150)), X[:40, 0])
    with pytest.raises(ValueError, match="use a larger alpha, or jackknife"):
        model.predict(np.zeros((1, 150)), interval=0.9, interval_method="posterior")


def test_negative_targets_are_the_scorers_to_refuse():
    nothing = make_scorer(lambda y, p: np.nan)
    with pytest.raises(
        ValueError, match="`scoring` returned nan: it must return a fin"
    ):
        RidgeCV(ALPHAS, cv=3, scoring=nothing).fit(X, Y)
    scorer = make_scorer(mean_squared_log_error, greater_is_better=False)
    with pytest.raises(ValueError, match="Mean Squared Logarithmic Error"):
        RidgeCV(ALPHAS, cv=3, scoring=scorer).fit(X, Y[:, 0] - 100)


def test_names_are_public():
    assert {"Ridge", "RidgeCV", "RidgeClassifier"} < set(jaxridge.__all__)


@pytest.mark.parametrize("face", [Ridge, RidgeCV, RidgeClassifier, RidgeClassifierCV])
def test_flags_are_true_or_false(face):
    with pytest.raises(TypeError, match="`fit_intercept` must be True or False"):
        face(fit_intercept="x").fit(np.eye(6), np.arange(6) % 2)


@pytest.mark.parametrize("cv", ["gcv", "evidence"])
@pytest.mark.parametrize("scoring", ["r2", "explained_variance", lambda y, p: 0.0])
def test_criteria_take_no_scoring(cv, scoring):
    with pytest.raises(ValueError, match="`scoring` has no part in `cv`"):
        RidgeCV(ALPHAS, cv=cv, scoring=scoring).fit(X, Y)
    with pytest.raises(ValueError, match="`scoring` has no part in `cv`"):
        RidgeClassifierCV(ALPHAS, cv=cv, scoring=scoring).fit(X, LABELS)


def test_classifiers_take_the_folds_that_regressors_take():
    ids = np.arange(M) % 3
    by_ids, by_splitter = (
        RidgeClassifierCV(ALPHAS, cv=cv).fit(X, LABELS)
        for cv in (ids, PredefinedSplit(ids))
    )
    assert by_ids.alpha_ == by_splitter.alpha_
    assert by_ids.best_score_ == by_splitter.best_score_
    with pytest.raises(TypeError, match=r"`cv` is the class KFold: pass one"):
        RidgeClassifierCV(ALPHAS, cv=KFold).fit(X, LABELS)
    with pytest.raises(ValueError, match="`groups` needs a splitter that uses them"):
        RidgeClassifierCV(ALPHAS, cv=3).fit(X, LABELS, groups=GROUPS)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_few_sparse_rows_have_singular_values_too(fit_intercept):
    rng = np.random.default_rng(3)
    few = (rng.normal(size=(12, 30)) + 1e4) * (rng.random((12, 30)) < 0.5)
    y = rng.normal(size=12) + few[:, 0]
    how = {"alpha": 0.1, "fit_intercept": fit_intercept, "solver": "svd"}
    theirs = linear_model.Ridge(**how).fit(few, y)
    ours = Ridge(**how).fit(sparse.csr_array(few), y)
    assert ours.solver_ == "svd"
    size = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-12 * size)


@pytest.mark.parametrize("inner", [3, GroupKFold(3)])
def test_groups_of_a_splitter_around_the_whole_go_where_they_are_used(inner):
    options = {"cv": GroupKFold(4), "params": {"groups": GROUPS}}
    with sklearn.config_context(enable_metadata_routing=True):
        ours, theirs = (
            cross_validate(of(ALPHAS, cv=inner), X, Y[:, 0], **options)["test_score"]
            for of in (RidgeCV, linear_model.RidgeCV)
        )
        asked = RidgeCV(ALPHAS, cv=inner).set_fit_request(groups=True)
        assert asked.get_metadata_routing().consumes("fit", ["groups"]) == {"groups"}
    np.testing.assert_allclose(ours, theirs, rtol=EXACT)


def test_a_scorer_that_asks_for_weights_is_given_them():
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = get_scorer("neg_root_mean_squared_error")
        scorer = scorer.set_score_request(sample_weight=True)
        ours, theirs = (
            of(ALPHAS, cv=4, scoring=scorer).fit(X, Y[:, 0], sample_weight=WEIGHT)
            for of in (RidgeCV, linear_model.RidgeCV)
        )
    assert ours.alpha_ == theirs.alpha_
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=EXACT)


@pytest.mark.parametrize("folds", [KFold(4), LeaveOneOut()])
@pytest.mark.parametrize(
    ("scoring", "metric"),
    [
        ("explained_variance", metrics.explained_variance_score),
        (make_scorer(metrics.r2_score), metrics.r2_score),
        ("neg_max_error", lambda y, p, sample_weight: -metrics.max_error(y, p)),
    ],
)
def test_a_scorer_that_takes_weights_is_given_them(scoring, metric, folds):
    loo, y = isinstance(folds, LeaveOneOut), Y[:, 0]
    predicted = np.empty((len(ALPHAS), M))
    pairs = list(folds.split(X))
    for train, test in pairs:
        for at, alpha in enumerate(ALPHAS):
            model = linear_model.Ridge(alpha).fit(X[train], y[train], WEIGHT[train])
            predicted[at, test] = model.predict(X[test])
    judged = [slice(None)] if loo else [test for _, test in pairs]
    expected = [
        np.mean([metric(y[i], p[i], sample_weight=WEIGHT[i]) for i in judged])
        for p in predicted
    ]
    ours = RidgeCV(ALPHAS, cv=None if loo else folds, scoring=scoring)
    ours.fit(X, y, sample_weight=WEIGHT)
    assert ours.alpha_ == ALPHAS[np.argmax(expected)]
    np.testing.assert_allclose(ours.best_score_, max(expected), rtol=EXACT)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8])
@pytest.mark.parametrize("kind", [RidgeClassifier, partial(RidgeClassifierCV, ALPHAS)])
def test_labels_of_any_dtype_are_those_of_int(kind, dtype):
    labels = np.c_[Y[:, 0] > 5, X[:, 1] > 1, X[:, 2] > 2]
    found, expected = (kind().fit(X, labels.astype(of)) for of in (dtype, int))
    np.testing.assert_array_equal(found.coef_, expected.coef_)
    assert (found.predict(X) == labels).mean() > 0.9


def test_what_was_chosen_is_as_it_was_given_and_json():
    alphas = [0.1, 1.0, 10.0, 100.0]
    single = X.astype(np.float32), Y[:, 0].astype(np.float32)
    model = RidgeCV(alphas, cv=4).fit(*single)
    assert model.alpha_ in alphas and model.coef_.dtype == np.float32
    np.testing.assert_array_equal(model.alphas_, alphas)
    json.dumps([model.alpha_, model.best_score_])
    each = RidgeCV(alphas, alpha_per_target=True).fit(X, Y).alpha_
    assert set(each) <= set(alphas)


def test_weights_may_come_from_a_table_of_mixed_columns():
    model = Ridge().fit(X, Y, WEIGHT.astype(object))
    np.testing.assert_array_equal(model.coef_, Ridge().fit(X, Y, WEIGHT).coef_)


@pytest.mark.parametrize("alphas", [["1", "2"], [True, False]])
def test_alphas_that_are_no_numbers_are_refused(alphas):
    with pytest.raises(ValueError, match="`alphas` must be"):
        RidgeCV(alphas).fit(X, Y)


@pytest.mark.filterwarnings("error:the best alpha")
def test_an_edge_is_not_told_of_where_the_score_is_that_of_others():
    labels = X[:, 0] > 0
    model = RidgeClassifierCV([1e-6, 1e-5, 1e-4], cv=4).fit(X, labels)
    assert model.alpha_ == 1e-4 and model.at_edge_


def test_probabilities_are_said_not_to_be_there():
    with pytest.raises(ValueError, match="scores probabilities, and there are none"):
        RidgeClassifierCV(ALPHAS, scoring="neg_log_loss", cv=3).fit(X, X[:, 0] > 0)


def test_whole_targets_that_float32_cannot_hold_are_refused():
    X = np.eye(30, dtype=np.float32)
    with pytest.raises(ValueError, match="`y`.*float32"):
        Ridge().fit(X, 20_000_001 + np.arange(30))
    Ridge().fit(X, 20_000_000 + 2 * np.arange(30))  # of which it holds each


def test_intervals_are_made_inside_of_a_traced_function_too():
    X, found = np.random.default_rng(0).normal(size=(60, 4)), []
    y = X[:, 0] + X[:, 1] ** 2

    def traced(z):
        found.append(Ridge(intervals=True).fit(X, y).coef_)
        return z

    jax.jit(traced)(1.0)
    np.testing.assert_allclose(found[0], Ridge().fit(X, y).coef_, rtol=1e-10)


def test_intervals_factorise_known_rows_no_second_time(monkeypatch):
    X = np.random.default_rng(0).normal(size=(60, 4))
    made, factorise = [], factors._factorised

    def noted(*given):
        made.append(given)
        return factorise(*given)

    monkeypatch.setattr(factors, "_factorised", noted)
    found = RidgeCV(intervals=True).fit(X, X[:, 0] + X[:, 1] ** 2)
    assert len(made) == 1
    alone = Ridge(found.alpha_, intervals=True).fit(X, X[:, 0] + X[:, 1] ** 2)
    expected = alone.predict(X, interval=0.9)
    for one, other in zip(found.predict(X, interval=0.9), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("cv", [None, 3])
def test_rows_of_more_columns_are_multiplied_once_for_scores_and_fit(cv, monkeypatch):
    rng = np.random.default_rng(0)
    X, made, multiply = rng.normal(size=(220, 300)), [], factors.inner_of
    y = X[:, 0] + rng.normal(size=220)

    def noted(*given):
        made.append(given)
        return multiply(*given)

    for room in (factors, holdout):
        monkeypatch.setattr(room, "inner_of", noted)
    found = RidgeCV(ALPHAS, cv=cv, scoring="neg_mean_squared_error").fit(X, y)
    assert len(made) == 1
    alone = Ridge(found.alpha_, solver="svd").fit(X, y)
    np.testing.assert_allclose(found.coef_, alone.coef_, rtol=1e-9)


def test_rows_of_more_columns_are_scored_inside_of_a_traced_function_too():
    X, found = np.random.default_rng(0).normal(size=(210, 230)), []
    y = X[:, 0] + X[:, 1] ** 2

    def traced(z):
        found.append(RidgeCV(ALPHAS, cv=3).fit(X, y).coef_)
        return z

    jax.jit(traced)(1.0)
    expected = RidgeCV(ALPHAS, cv=3).fit(X, y).coef_
    np.testing.assert_allclose(found[0], expected, rtol=1e-10)
