"""Held-out scores against scikit-learn refitted in every fold."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compilations
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ShuffleSplit,
    TimeSeriesSplit,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jaxridge import (
    Params,
    Scores,
    choose,
    cross_validate,
    descend,
    gcv,
    moments_of,
    path,
    rules,
    solve,
    training,
)
from jaxridge.columns import Columns, imputed, scaled, standardized, untouched
from jaxridge.data import Data

M = 60
RNG = np.random.default_rng(11)
X = RNG.normal(size=(M, 3)) * [1.0, 3.0, 0.5] + [5.0, 0.0, -1.0]
Y = X @ RNG.normal(size=(3, 2)) + [2.0, -7.0] + RNG.normal(size=(M, 2))
y = Y[:, 0]
WIDE = RNG.normal(size=(M, 80))
WEIGHT = RNG.integers(0, 4, M).astype(float)
LAMS = np.array([0.1, 3.0, 100.0])
GROUPS = RNG.permutation(np.repeat(np.arange(6), 10))
HOLEY = np.where(RNG.random((M, 3)) < 0.2, np.nan, X)
METHODS = ("descent", "exact")
WEIGHTED = ("standardscaler", "ridge")


def ridge(lam, fit_intercept):
    return Ridge(lam, fit_intercept=fit_intercept, solver="svd")


def losses_by_refitting(
    X, y, lams, pairs, *, model=ridge, weight=None, fit_intercept=True
):
    """Return the held-out losses (k, L[, t]) of a model refitted for each of them."""
    weight = np.ones(len(X)) if weight is None else weight
    losses = []
    for train, held in pairs:
        for lam in lams:
            fit = model(lam, fit_intercept)
            steps = [name for name, _ in getattr(fit, "steps", [])]
            names = [f"{step}__sample_weight" for step in steps if step in WEIGHTED]
            names = names or ["sample_weight"]
            fit.fit(X[train], y[train], **dict.fromkeys(names, weight[train]))
            error = fit.predict(X[held]) - y[held]
            losses.append(np.average(error**2, axis=0, weights=weight[held]))
    return np.reshape(losses, (-1, len(lams), *np.shape(y)[1:]))


def assert_scores(scores, losses, rtol=1e-6):
    """Assert the scores of every fold, and what is made of them."""
    k = len(losses)
    np.testing.assert_allclose(scores.per_fold, losses, rtol=rtol)
    np.testing.assert_allclose(scores.mean, losses.mean(axis=0), rtol=rtol)
    error = scores.per_fold.std(axis=0, ddof=1) / np.sqrt(k)
    np.testing.assert_allclose(scores.standard_error, error, rtol=rtol)
    assert not scores.greater_is_better


PROBLEMS = {
    "one target": (X, y, {}),
    "weights": (X, y, {"weight": WEIGHT}),
    "several targets, no intercept": (
        X,
        Y,
        {"weight": WEIGHT, "fit_intercept": False},
    ),
    "wide": (WIDE, y, {"weight": WEIGHT}),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_scores_are_those_of_refits_in_every_fold(name, method):
    X, y, options = PROBLEMS[name]
    scores = cross_validate(X, y, LAMS, 3, method=method, **options)
    assert isinstance(scores, Scores)
    np.testing.assert_array_equal(scores.lams, LAMS)
    assert_scores(scores, losses_by_refitting(X, y, LAMS, KFold(3).split(X), **options))


UNEVEN = np.repeat([5, -4, 2], [30, 20, 10])
FOLDS = {
    "fold numbers": (UNEVEN, None),
    "KFold": (KFold(3, shuffle=True, random_state=0), None),
    "ShuffleSplit": (ShuffleSplit(3, test_size=20, random_state=0), None),
    "TimeSeriesSplit": (TimeSeriesSplit(3, max_train_size=20), None),
    "GroupKFold": (GroupKFold(3), GROUPS),
    "pairs": (
        [(range(20, 60), range(20)), (range(9), range(9, 49)), ([0, 1], [2])],
        None,
    ),
}


def pairs_of(folds, groups):
    if isinstance(folds, np.ndarray):
        names = np.unique(folds)
        return [(np.flatnonzero(folds != i), np.flatnonzero(folds == i)) for i in names]
    if isinstance(folds, list):
        return [tuple(np.array(side) for side in pair) for pair in folds]
    return list(folds.split(X, y, groups))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", FOLDS)
def test_every_kind_of_folds_is_held_out(name, method):
    folds, groups = FOLDS[name]
    weight = WEIGHT + 1
    scores = cross_validate(
        X, y, LAMS, folds, method=method, groups=groups, weight=weight
    )
    pairs = pairs_of(folds, groups)
    losses = losses_by_refitting(X, y, LAMS, pairs, weight=weight)
    np.testing.assert_allclose(scores.per_fold, losses, rtol=1e-11)


def test_penalties_keep_their_order_and_repeats():
    lams = LAMS[[2, 0, 2]]
    scores = cross_validate(X, y, lams, 3, method="exact")
    np.testing.assert_array_equal(scores.lams, lams)
    assert_scores(scores, losses_by_refitting(X, y, lams, KFold(3).split(X)))


def test_five_contiguous_folds_are_the_default():
    expected = cross_validate(X, y, LAMS, KFold(5))
    np.testing.assert_array_equal(
        cross_validate(X, y, LAMS).per_fold, expected.per_fold
    )


@pytest.mark.parametrize("prepare", [None, standardized])
def test_integer_weights_are_repeated_rows_of_the_same_fold(prepare):
    rows = X if prepare is None else HOLEY
    weight, ids = np.tile([0, 2], 30), np.repeat([0, 1, 2], 20)
    repeated = [np.repeat(a, weight, axis=0) for a in (rows, y, ids)]
    options = {"method": "exact", "prepare": prepare}
    by_weight = cross_validate(rows, y, LAMS, ids, weight=weight, **options)
    by_rows = cross_validate(*repeated[:2], LAMS, repeated[2], **options)
    np.testing.assert_allclose(by_weight.per_fold, by_rows.per_fold, rtol=1e-9)


# --- precision and kind ---------------------------------------------------------


def leaves_are(tree, kinds, dtype):
    leaves = jax.tree.leaves(tree._replace(greater_is_better=tree.mean))
    return all(isinstance(leaf, kinds) and leaf.dtype == dtype for leaf in leaves)


def test_numpy_scores_come_in_the_precision_of_the_data():
    losses = losses_by_refitting(X, y, LAMS, KFold(3).split(X))
    data = X.astype(np.float32), y.astype(np.float32)
    single = cross_validate(*data, LAMS, 3, method="exact")
    double = cross_validate(X, y, LAMS, 3, method="exact")
    assert leaves_are(single, np.ndarray, np.float32)
    assert leaves_are(double, np.ndarray, np.float64)
    assert isinstance(double.greater_is_better, np.bool_)
    assert_scores(single, losses, 1e-4)


def test_jax_scores_come_from_inside_jit():
    def score(X, y, lams):
        scores = cross_validate(X, y, lams, UNEVEN)
        return scores, choose(scores).lam

    data = (jnp.asarray(a, jnp.float32) for a in (X, y, LAMS))
    scores, lam = jax.jit(score)(*data)
    assert leaves_are(scores, jax.Array, jnp.float32)
    losses = losses_by_refitting(X, y, LAMS, pairs_of(UNEVEN, None))
    assert_scores(jax.tree.map(np.asarray, scores), losses, 1e-4)
    assert lam == np.float32(LAMS[losses.mean(axis=0).argmin()])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["fold numbers", "KFold", "GroupKFold", "pairs"])
def test_folds_that_need_no_values_are_made_while_tracing(name, method):
    folds, groups = FOLDS[name]

    def score(X, y):
        return cross_validate(X, y, LAMS, folds, groups=groups, method=method)

    assert jax.eval_shape(score, jnp.asarray(X), jnp.asarray(y)).mean.shape == (3,)


# --- preparation of the columns -------------------------------------------------


class RootMeanSquareScaler(TransformerMixin, BaseEstimator):
    """Divide by √mean(x²)."""

    def fit(self, X, y=None):
        self.scale_ = np.sqrt(np.mean(X**2, axis=0))
        return self

    def transform(self, X):
        return X / self.scale_


def standardizing(lam, fit_intercept):
    model = ridge(lam, fit_intercept)
    return make_pipeline(SimpleImputer(), StandardScaler(), model)


def imputing(lam, fit_intercept):
    return make_pipeline(SimpleImputer(), ridge(lam, fit_intercept))


def scaling(lam, fit_intercept):
    model = ridge(lam, fit_intercept)
    return make_pipeline(SimpleImputer(), RootMeanSquareScaler(), model)


PREPARED = {
    "standardized": (standardized, standardizing, X, {"weight": WEIGHT}),
    "standardized, missing": (standardized, standardizing, HOLEY, {}),
    "imputed": (imputed, imputing, HOLEY, {}),
    "scaled": (scaled, scaling, HOLEY, {"fit_intercept": False}),
}


@pytest.mark.parametrize("name", PREPARED)
def test_columns_are_prepared_by_each_folds_training_rows_alone(name):
    learner, model, X, options = PREPARED[name]
    scores = cross_validate(X, y, LAMS, 3, prepare=learner, method="exact", **options)
    pairs = KFold(3).split(X)
    losses = losses_by_refitting(X, y, LAMS, pairs, model=model, **options)
    assert_scores(scores, losses)


def test_a_column_without_values_in_a_fold_counts_as_zeros():
    gone = np.where((np.arange(M) >= 20)[:, None] & [True, False, False], np.nan, X)
    scores = cross_validate(gone, y, LAMS, 3, prepare=standardized, method="exact")
    without = losses_by_refitting(
        X[:, 1:], y, LAMS, KFold(3).split(X), model=standardizing
    )
    np.testing.assert_allclose(scores.per_fold[0], without[0], rtol=1e-11)


@pytest.mark.parametrize(
    ("bad", "prepare", "message"),
    [
        (np.nan, None, "`X` must be finite, got nan at index (3, 1)"),
        (np.inf, None, "`X` must be finite, got inf at index (3, 1)"),
        (np.inf, standardized, "`X` must be finite, got inf at index (3, 1)"),
    ],
)
def test_values_that_nobody_fills_are_refused(bad, prepare, message):
    holey = X.copy()
    holey[3, 1] = bad
    with pytest.raises(ValueError, match=re.escape(message)):
        cross_validate(holey, y, LAMS, 3, prepare=prepare)


def own(X, weight, divide=True):
    """Learn as `standardized` does, but let a constant column have scale 0."""
    mean = jnp.average(X, axis=0, weights=weight)
    deviation = jnp.sqrt(jnp.average((X - mean) ** 2, axis=0, weights=weight))
    return Columns(mean, mean, deviation if divide else jnp.ones_like(mean))


def test_a_function_of_ones_own_may_prepare_columns():
    found = cross_validate(X, y, LAMS, 3, prepare=own)
    expected = cross_validate(X, y, LAMS, 3, prepare=standardized)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)


@pytest.mark.parametrize("scoring", ["mse", "r2"])
@pytest.mark.parametrize("first", [0, 20])
def test_gaps_that_ones_own_function_leaves_are_refused(scoring, first):
    """Everywhere, or in the rows that train one fold."""
    constant = np.where((np.arange(M) >= first)[:, None] & [True, False, False], 4, X)
    targets = np.column_stack([y, np.where(np.arange(M) < 20, 0.0, y)])
    message = "`prepare` left values that are missing or infinite"
    with pytest.raises(ValueError, match=message):
        cross_validate(constant, targets, LAMS, 3, prepare=own, scoring=scoring)
    if first:  # what a constant target leaves undefined is no gap
        given = {"prepare": partial(own, divide=False), "scoring": "r2"}
        with pytest.warns(UserWarning, match="undefined where a target is constant"):
            scores = cross_validate(constant, targets, LAMS, 3, **given)
        assert np.isfinite(scores.mean).all()


def test_nothing_learnt_fills_nothing():
    with pytest.raises(ValueError, match="`X` must be finite, got nan"):
        cross_validate(HOLEY, y, LAMS, 3, prepare=untouched)


def test_missing_targets_are_refused():
    holey = np.where(np.arange(M) == 3, np.nan, y)
    with pytest.raises(ValueError, match="`y` must be finite"):
        cross_validate(X, holey, LAMS, 3, prepare=standardized)


# --- the options of descents ----------------------------------------------------

PLAIN = {
    "method": "descent",
    "learning_rate": 0.1,
    "max_steps": 200,
    "prepare": standardized,
    "tol": 0,
}


def test_progress_changes_nothing_and_shows_nothing_without_a_terminal(capfd):
    options = PLAIN | {"tol": 1e-4}
    plain = cross_validate(X, y, LAMS, 3, **options)
    watched = cross_validate(X, y, LAMS, 3, progress=True, **options)
    assert capfd.readouterr() == ("", "")
    np.testing.assert_allclose(watched.per_fold, plain.per_fold, rtol=1e-9)


def test_every_fold_takes_the_steps_asked_for():
    rates = np.array([1e-3, 0.01, 0.1])
    with pytest.warns(UserWarning, match="9 of 9 descents stopped before") as warned:
        scores = cross_validate(X, y, LAMS, 3, **PLAIN | {"learning_rate": rates})
    assert [warning.filename for warning in warned] == [__file__]
    train, held = next(KFold(3).split(X))
    scaler = StandardScaler().fit(X[train])
    rows = scaler.transform(X[train])
    for lam, rate, loss in zip(LAMS, rates, scores.per_fold[0], strict=True):
        coef, intercept = np.zeros(3), 0.0
        for _ in range(200):
            error = rows @ coef + intercept - y[train]
            coef = coef - rate * (rows.T @ error + lam * coef) / 40
            intercept -= rate * error.mean()
        error = scaler.transform(X[held]) @ coef + intercept - y[held]
        assert loss == pytest.approx(np.mean(error**2), rel=1e-9)


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"learning_rate": 0.1, "compress": False}, 1.5),
        ({"learning_rate": 0.1, "batch_size": 16, "key": 0}, 1.5),
        ({"compress": False}, 4.5),  # what one fold takes, about its own means
    ],
    ids=str,
)
def test_folds_share_rows_that_are_not_compressed(options, most):
    m, n, k = 100_000, 200, 5
    shapes = (m, n), (m, 1), (m,), (k, m)
    made = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    data, weights = Data(*made[:3]), made[3]
    rule = rules.rule_for(data, options, True)
    start = rules.start_for(data, y, jnp.asarray(LAMS), rule, options)
    given = data, weights, start, rule, untouched
    program = training._descend_folds.lower(*given).compile()
    # A copy for each fold would be 5, and twice that where each has two.
    assert program.memory_analysis().temp_size_in_bytes < most * (4 * m * n)


@pytest.mark.parametrize("key", [5, jax.random.key(5)], ids=["int", "JAX key"])
def test_batches_are_drawn_from_the_training_rows_alone(key):
    batches = {"learning_rate": 0.01, "batch_size": 8, "max_steps": 20, "key": key}
    batches["method"] = "descent"
    rows = np.arange(M)
    folds = [(rows[:20], rows[20:25]), (rows[25:45], rows[:25]), (rows[:9], rows[9:])]
    scores = cross_validate(X, y, LAMS, iter(folds), **batches)
    assert isinstance(scores.mean, np.ndarray)
    wild = np.where(rows >= 45, 1e6, y)
    others = cross_validate(X, wild, LAMS, iter(folds), **batches)
    np.testing.assert_array_equal(scores.per_fold[:2], others.per_fold[:2])
    np.testing.assert_array_less(scores.per_fold[2], others.per_fold[2])


def named_step(message):
    """Return the step size that an error names."""
    return float(re.search(r"learning_rate=([0-9.e+-]+);", message)[1])


ALIKE = RNG.normal(size=(M, 1)) + 0.1 * RNG.normal(size=(M, 3))


FEW = (np.arange(5), np.arange(5, 20)), (np.arange(5, 20), np.arange(5))


@pytest.mark.filterwarnings("ignore:.*stopped before they converged")
@pytest.mark.parametrize(
    ("X", "folds", "lam"),
    [
        (ALIKE, 3, 1.0),
        (ALIKE, TimeSeriesSplit(3), 1e3),
        (ALIKE, (*FEW, FEW[0]), 1e3),
        (1e-3 * ALIKE, 3, 1.0),
        (1e3 * ALIKE, 3, 1.0),
    ],
    ids=["blocks", "few rows at first", "few rows", "small unit", "large unit"],
)
def test_a_descent_that_diverges_names_a_step_that_descends(X, folds, lam):
    lams = lam * np.array([0.1, 1.0, 0.5])
    with pytest.raises(ValueError, match="the descent diverged") as error:
        cross_validate(X, y, lams, folds, **PLAIN | {"learning_rate": 50.0})
    options = PLAIN | {"learning_rate": named_step(str(error.value))}
    scores = cross_validate(X, y, lams, folds, **options)
    assert np.all(scores.mean < 10 * np.var(y))


# --- one program ----------------------------------------------------------------

FRESH = {
    "descent": {"method": "descent"},
    "exact": {"method": "exact"},
    "steps": PLAIN | {"tol": 0.9},
    "prepared": {"method": "exact", "prepare": standardized},
}


@pytest.mark.parametrize("rule", FRESH)
def test_other_values_compile_nothing(rule):
    def call(i):
        data, lams = (X * i, y - i), LAMS / i
        cross_validate(
            *data, lams, np.roll(UNEVEN, i), weight=WEIGHT + i, **FRESH[rule]
        )
        cross_validate(*data, lams, UNEVEN, **FRESH[rule])

    call(1)
    with compilations() as count:
        call(2)
        call(3)
    assert count() == 0


# --- refusals -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "`method` must be one of exact, descent, got 'magic'"),
        ({"scoring": "accuracy"}, "`scoring` must be one of"),
        ({"folds": 1}, "`folds` must be at least 2"),
        ({"folds": M + 1}, "`folds` must be at most the number of rows"),
        ({"groups": GROUPS}, "`groups` needs a splitter"),
        ({"lams": []}, "`lams` is empty"),
        ({"lams": 1.0}, "`lams` must be a list of penalties"),
        ({"lams": [1.0, -1.0]}, "`lams` must be at least 0, got -1.0"),
        ({"lams": [1.0, np.nan]}, "`lams` must be finite"),
        ({"weight": WEIGHT[:-1]}, "`weight` must have shape (60,)"),
        ({"weight": -WEIGHT}, "`weight` must not be negative"),
        ({"weight": 0 * WEIGHT}, "`weight` is zero for every row"),
        (
            {"weight": np.arange(M) < 20},
            "`weight` is zero for all training rows of fold 0",
        ),
        (
            {"weight": np.arange(M) < 40},
            "`weight` is zero for all held-out rows of fold 2",
        ),
        ({"y": y[:-1]}, "`X` and `y` must have the same number of rows"),
        ({"X": X[:, 0]}, "`X` must have shape (n_samples, n_features)"),
        ({"batch_size": 8, "key": 0}, "`batch_size` needs a rule"),
        ({"learning_rate": [0.1, 0.2]}, "`learning_rate` must be one number or one"),
        ({"tol": -1}, "`tol` must be"),
        (
            {"prepare": lambda X, w: Columns(w[:2], w[:2], w[:2])},
            "Columns of 3 numbers each, one for each column of `X`, got fill of shape",
        ),
        (
            {"init": Params(np.zeros(2), np.array(0.0))},
            "`init` must have coef (3,)",
        ),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, message):
    arguments = {"X": X, "y": y, "lams": LAMS, "folds": 3} | options
    if {"batch_size", "learning_rate", "tol", "init"} & set(options):
        arguments["method"] = "descent"
    with pytest.raises(ValueError, match=re.escape(message)):
        cross_validate(**arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "exact", "max_steps": 5}, "'exact' takes no option 'max_steps'"),
        ({"max_step": 5}, "max_step"),
        ({"folds": "three"}, "`folds` must be a number"),
        ({"folds": KFold}, "`folds` is the class KFold"),
        ({"prepare": "scaled"}, "`prepare` must be a function such as"),
        ({"prepare": lambda X, w: X}, "`prepare` must return Columns"),
        (
            {"prepare": lambda X, w: Columns(*np.average(X[None], 1), 1.0)},
            "neither use NumPy nor look at values",
        ),
        (
            {"prepare": lambda X, w: standardized(X, w) if w.sum() > 1 else 0},
            "neither use NumPy nor look at values",
        ),
        ({"folds": 2.5}, "`folds` must be a whole number"),
        ({"X": np.full((M, 3), "a")}, "`X` must hold numbers"),
        (
            {"method": "descent", "optimizer": "adam"},
            "`optimizer` must be an optax rule",
        ),
    ],
)
def test_arguments_of_another_type_are_refused(options, message):
    arguments = {"X": X, "y": y, "lams": LAMS, "folds": 3} | options
    with pytest.raises(TypeError, match=re.escape(message)):
        cross_validate(**arguments)


@pytest.mark.parametrize(
    ("scoring", "error", "message"),
    [
        (lambda y, p: -((y - p) ** 2), TypeError, "one number, got an array"),
        (lambda y, p: np.nan, ValueError, "returned nan: it must return a finite"),
    ],
)
def test_a_scoring_function_returns_one_number(scoring, error, message):
    with pytest.raises(error, match=message):
        cross_validate(X, y, LAMS, 3, scoring=scoring)


@pytest.mark.parametrize("value", ["False", None, 1, []])
@pytest.mark.parametrize("function", [solve, path, gcv, cross_validate, descend])
def test_whether_there_is_an_intercept_is_true_or_false(function, value):
    lam = 1.0 if function in (solve, descend) else LAMS
    with pytest.raises(TypeError, match="`fit_intercept` must be True or False"):
        function(X, y, lam, fit_intercept=value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "descent"}, '`method` must be "exact" for Moments'),
        ({"folds": 3}, "`folds` must be left out beside Moments"),
        ({"folds": 5}, "`folds` must be left out beside Moments"),
        ({"budget": 1e9}, "`budget` must be left out beside Moments"),
    ],
)
def test_moments_are_refused_what_they_cannot_answer(options, message):
    with pytest.raises(ValueError, match=message):
        cross_validate(moments_of(X, np.ones(M), 3), None, [1.0], **options)


def test_moments_without_rows_are_refused():
    sums = moments_of(X, y, 3)
    with pytest.raises(ValueError, match="no rows in fold 0"):
        path(sums - sums, None, [1.0])


def test_a_constant_target_counts_as_0_also_while_it_is_traced():
    rng = np.random.default_rng(0)
    X = jnp.asarray(rng.normal(size=(12, 3)), jnp.float32)
    y = jnp.asarray(rng.normal(size=12), jnp.float32).at[:4].set(1.0)

    def score(y):
        return cross_validate(X, y, [1.0], 3, scoring="r2").per_fold

    with pytest.warns(UserWarning, match="undefined where a target is constant"):
        expected = score(y)
    np.testing.assert_allclose(jax.jit(score)(y), expected, rtol=1e-4)
