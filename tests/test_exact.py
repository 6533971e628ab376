"""Exact held-out scores against a refit for every fold and penalty."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SHAPES, TALL, centred_rows
from sklearn.metrics import mean_absolute_error, median_absolute_error, r2_score
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
)

from jaxridge import cross_validate, leave_one_out, moments_of

LAMS = np.array([0.3, 0.0, 1e6, 1e-12, 10.0])
RNG = np.random.default_rng(8)
ONE_ROW = np.arange(12) == 7
LEVELS = np.repeat([0, 1, 2], [7, 1, 4])[:, None] == np.arange(3)
FIT = TALL.X @ [1.0, -2.0, 0.5, 1.0]
# Few sizes, because each is compiled anew.
SIZES = ((12, 4), (6, 6), (5, 8))
CASES = {name: made[:3] for name, made in SHAPES.items() if made.X.shape in SIZES} | {
    "a column that is 1 in one row": (
        np.column_stack([TALL.X[:, :3], ONE_ROW]),
        TALL.y,
        SHAPES["weights"].weight,
    ),
    "levels, one of them in one row": (
        np.column_stack([LEVELS, TALL.X[:, 0]]),
        TALL.y,
        None,
    ),
    "means far from 0": (TALL.X + 600 * np.array([1, -1, 1, -1]), TALL.y + 600, None),
    "fits almost perfectly": (
        TALL.X,
        FIT + 1e-4 * np.std(FIT) * RNG.normal(size=12),
        None,
    ),
}
THROUGH_0 = ("wide", "rank-deficient", "weights")
RUNS = [(name, True) for name in CASES] + [(name, False) for name in THROUGH_0]


def weights_of(X, weight):
    return np.ones(len(X)) if weight is None else np.asarray(weight, float)


def predictions(X, y, lams, train, held, weight, fit_intercept):
    """Return predictions (L, h, t) of minimum-norm fits to the rows that train.

    By singular values of the training rows: `helpers.brute` at 1e-12 on dependent
    columns divides rounding noise by 1e-12.
    """
    A, B, x, mean = centred_rows(X[train], y[train], weight[train], fit_intercept)
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    there = s > np.finfo(X.dtype).eps * max(A.shape) * s[0]
    U, s, Vt = U[:, there], s[there], Vt[there]
    rows = np.float64(X[held]) - x
    gains = [s / (s**2 + lam) for lam in lams]
    return np.array([rows @ Vt.T @ (g[:, None] * (U.T @ B)) + mean for g in gains])


def mse(y, prediction, weight):
    return np.average((prediction - y) ** 2, weights=weight)


def mae(y, prediction, weight):
    return mean_absolute_error(y, prediction, sample_weight=weight)


def r2(y, prediction, weight):
    return r2_score(y, prediction, sample_weight=weight)


def correlation(y, prediction, weight):
    c = np.cov(y, prediction, aweights=weight)
    return c[0, 1] / np.sqrt(c[0, 0] * c[1, 1])


def by_refits(X, y, pairs, weight=None, fit_intercept=True, metric=mse, lams=LAMS):
    """Return scores (k, L[, t]) of a refit for each fold and penalty."""
    weight, Y = weights_of(X, weight), np.float64(y.reshape(len(X), -1))
    scores = []
    for train, held in pairs:
        found = predictions(X, Y, lams, train, held, weight, fit_intercept)
        targets = range(Y.shape[1])
        scores += [
            metric(Y[held, j], one[:, j], weight[held])
            for one in found
            for j in targets
        ]
    return np.reshape(scores, (-1, len(lams), *y.shape[1:]))


def assert_scores(scores, expected, rtol, atol=0.0):
    np.testing.assert_allclose(scores.per_fold, expected, rtol=rtol, atol=atol)
    mean = expected.mean(axis=0)
    np.testing.assert_allclose(scores.mean, mean, rtol=rtol, atol=atol)
    error = scores.per_fold.std(axis=0, ddof=1) / np.sqrt(len(expected))
    np.testing.assert_allclose(scores.standard_error, error, rtol=rtol, atol=atol)


@pytest.mark.parametrize(("name", "fit_intercept"), RUNS)
def test_folds_are_scored_as_by_refitting(name, fit_intercept):
    X, y, weight = CASES[name]
    options = {"weight": weight, "fit_intercept": fit_intercept}
    scores = cross_validate(X, y, LAMS, 3, **options)
    assert_scores(scores, by_refits(X, y, KFold(3).split(X), **options), 1e-9)


ONE_SHAPE = [run for run in RUNS if np.shape(CASES[run[0]][1]) == (12,)]


@pytest.mark.parametrize(("name", "fit_intercept"), [*ONE_SHAPE, ("wide", True)])
def test_folds_are_scored_in_single_precision(name, fit_intercept):
    X, y, weight = (None if a is None else np.float32(a) for a in CASES[name])
    options = {"weight": weight, "fit_intercept": fit_intercept}
    scores = cross_validate(X, y, LAMS, 3, **options)
    assert scores.per_fold.dtype == np.float32
    assert_scores(scores, by_refits(X, y, KFold(3).split(X), **options), 1e-3)


@pytest.mark.parametrize(("name", "fit_intercept"), ONE_SHAPE)
def test_few_penalties_are_scored_as_by_refitting(name, fit_intercept):
    X, y, weight = CASES[name]
    options = {"weight": weight, "fit_intercept": fit_intercept}
    scores = cross_validate(X, y, LAMS[:4], 3, **options)
    pairs = KFold(3).split(X)
    assert_scores(scores, by_refits(X, y, pairs, lams=LAMS[:4], **options), 1e-9)


@pytest.mark.parametrize(("name", "fit_intercept"), ONE_SHAPE)
def test_few_penalties_are_scored_in_single_precision(name, fit_intercept):
    X, y, weight = (None if a is None else np.float32(a) for a in CASES[name])
    options = {"weight": weight, "fit_intercept": fit_intercept}
    scores = cross_validate(X, y, LAMS[:4], 3, **options)
    pairs = KFold(3).split(X)
    assert_scores(scores, by_refits(X, y, pairs, lams=LAMS[:4], **options), 1e-3)


# Of columns that depend on each other they cannot know whether they lost digits.
@pytest.mark.filterwarnings("ignore:sums of products are not precise")
@pytest.mark.parametrize(("name", "fit_intercept"), ONE_SHAPE)
def test_moments_are_scored_as_by_refitting(name, fit_intercept):
    X, y, weight = CASES[name]
    sums = moments_of(X, y[:, None], 3, weight=weight)
    scores = cross_validate(sums, None, LAMS, fit_intercept=fit_intercept)
    options = {"weight": weight, "fit_intercept": fit_intercept}
    expected = by_refits(X, y[:, None], KFold(3).split(X), **options)
    # Errors are what is left of the targets' square, here as little as 1e-8 of it.
    rtol = 1e-7 if name == "fits almost perfectly" else 1e-9
    assert_scores(scores, expected, rtol)


def test_moments_are_scored_by_r2():
    sums = moments_of(X, Y, UNEVEN, weight=WEIGHT)
    scores = cross_validate(sums, None, LAMS, scoring="r2")
    expected = by_refits(X, Y, pairs_of(UNEVEN), WEIGHT, metric=r2)
    assert_scores(scores, expected, 1e-9, 1e-9)
    assert scores.greater_is_better


# --- kinds of folds -------------------------------------------------------------

M = 20
X = RNG.normal(size=(M, 3)) * [1.0, 3.0, 0.5] + [5.0, 0.0, -1.0]
Y = X @ RNG.normal(size=(3, 2)) + [2.0, -7.0] + RNG.normal(size=(M, 2))
y = Y[:, 0]
WIDE = RNG.normal(size=(M, 24)) + 1
WEIGHT = RNG.integers(0, 4, M) + np.isin(np.arange(M), [0, 5, 12, 19])
GROUPS = RNG.permutation(np.repeat(np.arange(5), 4))
UNEVEN = RNG.permutation(np.repeat([5, -4, 2], [10, 7, 3]))
FOLDS = {
    "five": 5,
    "numbers of uneven folds": UNEVEN,
    "GroupKFold": GroupKFold(3),
    "TimeSeriesSplit": TimeSeriesSplit(3),
    "RepeatedKFold": RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
    "ShuffleSplit": ShuffleSplit(3, test_size=5, random_state=1),
    "LeaveOneOut": LeaveOneOut(),
}


def pairs_of(folds):
    if isinstance(folds, np.ndarray):
        names = np.unique(folds)
        return [(np.flatnonzero(folds != i), np.flatnonzero(folds == i)) for i in names]
    folds = KFold(folds) if isinstance(folds, int) else folds
    return list(folds.split(X, y, GROUPS if isinstance(folds, GroupKFold) else None))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        *((name, "tall") for name in FOLDS),
        ("numbers of uneven folds", "wide"),
        ("ShuffleSplit", "wide"),
    ],
)
def test_every_kind_of_folds_is_scored_as_by_refitting(name, rows):
    # On tall rows as many penalties as columns, on wide ones all.
    lams = LAMS[: X.shape[1]] if rows == "tall" else LAMS
    folds = FOLDS[name]
    A = X if rows == "tall" else WIDE
    weight = WEIGHT + 1.0
    groups = GROUPS if name == "GroupKFold" else None
    scores = cross_validate(A, y, lams, folds, weight=weight, groups=groups)
    expected = by_refits(A, y, pairs_of(folds), weight, lams=lams)
    assert_scores(scores, expected, 1e-9)


def test_folds_of_one_row_are_rows_left_out():
    scores = cross_validate(X, y, LAMS, LeaveOneOut())
    left_out = leave_one_out(X, y, LAMS)
    np.testing.assert_allclose(scores.mean, left_out.mean, rtol=1e-9)
    error = left_out.standard_error
    np.testing.assert_allclose(scores.standard_error, error, rtol=1e-9)


def test_rows_without_weight_neither_train_nor_score():
    weight = np.where(np.arange(M) % 4, 1.0, 0.0)
    there = weight > 0
    wild = np.where(there[:, None], X, 1e8), np.where(there, y, -1e8)
    scores = cross_validate(*wild, LAMS, UNEVEN, weight=weight)
    alone = cross_validate(X[there], y[there], LAMS, UNEVEN[there])
    np.testing.assert_allclose(scores.per_fold, alone.per_fold, rtol=1e-9)


def test_many_targets_are_scored_each_on_its_own():
    many = RNG.normal(size=(M, 50)) * np.logspace(-3, 3, 50) + np.linspace(-5, 5, 50)
    scores = cross_validate(X, many, LAMS, UNEVEN, weight=WEIGHT)
    assert scores.per_fold.shape == (3, 5, 50)
    assert_scores(scores, by_refits(X, many, pairs_of(UNEVEN), WEIGHT), 1e-9)


# --- scorings -------------------------------------------------------------------

METRICS = {"mse": mse, "mae": mae, "r2": r2, "correlation": correlation}


@pytest.mark.parametrize("scoring", METRICS)
def test_scorings_are_those_of_refits(scoring):
    scores = cross_validate(X, Y, LAMS, UNEVEN, scoring=scoring, weight=WEIGHT)
    expected = by_refits(X, Y, pairs_of(UNEVEN), WEIGHT, metric=METRICS[scoring])
    assert_scores(scores, expected, 1e-9, 1e-9 * (scoring in ("r2", "correlation")))
    assert scores.greater_is_better == (scoring in ("r2", "correlation"))


def negative_median(y, prediction, weight=None):
    return -median_absolute_error(y, prediction)


def test_a_function_scores_every_fold_penalty_and_target():
    seen = set()

    def score(y, prediction):
        seen.add((np.shape(y), np.shape(prediction)))
        return negative_median(y, prediction)

    scores = cross_validate(X, Y, LAMS, UNEVEN, scoring=score)
    expected = by_refits(X, Y, pairs_of(UNEVEN), metric=negative_median)
    assert_scores(scores, expected, 1e-9)
    assert scores.greater_is_better
    assert seen == {((h,), (h,)) for h in (3, 7, 10)}


def test_descents_end_at_the_same_scores():
    options = {"scoring": negative_median, "weight": WEIGHT}
    lams = np.array([0.3, 3.0, 10.0, 30.0, 100.0])
    exact = cross_validate(X, y, lams, UNEVEN, **options)
    descended = cross_validate(X, y, lams, UNEVEN, method="descent", **options)
    np.testing.assert_allclose(exact.per_fold, descended.per_fold, rtol=1e-11)


def test_an_outlier_in_one_fold_costs_the_others_nothing():
    far = np.where(np.arange(M) == 4, 1e12, y)
    scores = cross_validate(X, far, LAMS, UNEVEN, scoring=negative_median)
    expected = by_refits(X, far, pairs_of(UNEVEN), metric=negative_median)
    np.testing.assert_allclose(scores.per_fold, expected, rtol=1e-9)


@pytest.mark.parametrize("scoring", ["r2", "correlation"])
@pytest.mark.parametrize("value", [7.0, 0.1])
def test_where_a_target_is_constant_its_score_is_0(scoring, value):
    """So that one target, or one fold of it, does not end the fit of all others."""
    flat = np.where(UNEVEN == 2, value, y)
    Y = np.column_stack([y, flat, np.full(M, value)])
    expected = cross_validate(X, y, LAMS, UNEVEN, scoring=scoring).per_fold
    said = (
        f"`scoring` '{scoring}' .* counts as 0 there: in 3 of 3 .* 2 target.* 1 first"
    )
    for moments in (False, True):
        if moments and scoring == "correlation":
            continue
        rows = (moments_of(X, Y, UNEVEN), None, LAMS)
        with pytest.warns(UserWarning, match=said):
            found = cross_validate(
                *(rows if moments else (X, Y, LAMS, UNEVEN)), scoring=scoring
            ).per_fold
        np.testing.assert_allclose(found[..., 0], expected, rtol=1e-9)
        np.testing.assert_array_equal(found[1, :, 1:], 0)
        np.testing.assert_array_equal(found[..., 2], 0)
        assert (found[[0, 2], :, 1] != 0).all()
    with pytest.warns(UserWarning, match="counts as 0 there"):
        found = leave_one_out(X, Y, LAMS, scoring=scoring)
    np.testing.assert_array_equal(found.mean[:, 2], 0)
    np.testing.assert_array_equal(found.standard_error[:, 2], 0)


@pytest.mark.parametrize("lams", [[0.0], [0.0, 1.0]])
@pytest.mark.parametrize("n", [1, 4])
def test_columns_may_be_constant_in_all_training_rows(n, lams):
    flat = np.where(np.arange(40)[:, None] < 32, 0.5, RNG.normal(size=(40, n)))
    target = RNG.normal(size=40)
    scores = cross_validate(flat, target, lams, 5)
    expected = by_refits(flat, target, pairs_of(np.arange(40) // 8), lams=lams)
    np.testing.assert_allclose(scores.per_fold, expected, rtol=1e-9)
    none = cross_validate(0 * flat, target, lams, 5)
    expected = by_refits(0 * flat, target, pairs_of(np.arange(40) // 8), lams=lams)
    np.testing.assert_allclose(none.per_fold, expected, rtol=1e-9)


def test_a_correlation_of_one_row_is_refused():
    with pytest.raises(
        ValueError, match="`scoring` 'correlation' is undefined in every fold"
    ):
        cross_validate(X, y, LAMS, LeaveOneOut(), scoring="correlation")


def test_a_constant_prediction_correlates_with_nothing():
    constant = np.full((M, 3), 0.1)
    scores = cross_validate(constant, y, LAMS, UNEVEN, scoring="correlation")
    np.testing.assert_array_equal(scores.per_fold, 0)


# --- digits ---------------------------------------------------------------------


@pytest.mark.parametrize("folds", [UNEVEN, FOLDS["ShuffleSplit"]], ids=["ids", "pairs"])
def test_least_squares_know_no_units(folds):
    expected = cross_validate(X, y, LAMS, folds).per_fold[:, 1]
    found = cross_validate(X * [1.0, 1e-8, 1.0], y, LAMS, folds).per_fold[:, 1]
    # What is left of 16 digits at a condition number of 1e8.
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_least_squares_know_no_units_in_single_precision():
    A, b = np.float32(X * [1.0, 1e-4, 1.0]), np.float32(y)
    expected = by_refits(np.float64(A), np.float64(b), pairs_of(UNEVEN))
    assert_scores(cross_validate(A, b, LAMS, UNEVEN), expected, 1e-3)


def test_traced_rows_are_scored_alike():
    expected = cross_validate(X, Y, LAMS, UNEVEN, weight=WEIGHT)
    with jax.enable_x64(True):
        data = jnp.asarray(X), jnp.asarray(Y), jnp.asarray(WEIGHT, float)
        score = jax.jit(lambda X, Y, w: cross_validate(X, Y, LAMS, UNEVEN, weight=w))
        found = score(*data)
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("scoring", ["mse", "mae", "correlation"])
@pytest.mark.parametrize(("m", "n"), [(60, 4), (20, 30)])
def test_a_large_mean_of_the_targets_costs_no_digits(m, n, scoring):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(m, n)) + 1000
    y = X.sum(axis=1) + 0.04 * rng.normal(size=m)
    for dtype, rtol in ((np.float64, 1e-9), (np.float32, 1e-3)):
        rows, target = X.astype(dtype), y.astype(dtype)
        found = cross_validate(rows, target, [1e-3, 1.0], 5, scoring=scoring)
        about = np.float64(rows) - 1000, np.float64(target) - np.float64(target[0])
        expected = cross_validate(*about, [1e-3, 1.0], 5, scoring=scoring)
        np.testing.assert_allclose(found.per_fold, expected.per_fold, rtol=rtol)


def test_a_correlation_does_not_fade_with_the_penalty():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X.sum(axis=1) + rng.normal(size=60) + 1e6
    found = cross_validate(X, y, [1e10, 1e12], 5, scoring="correlation")
    expected = cross_validate(X, y - 1e6, [1e10, 1e12], 5, scoring="correlation")
    np.testing.assert_allclose(found.per_fold, expected.per_fold, rtol=1e-7)
