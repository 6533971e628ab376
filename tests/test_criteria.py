"""Leave-one-out, GCV and the evidence against refits, hat matrices and densities."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SHAPES, TALL, centred_rows, problem
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_normal
from sklearn.linear_model import RidgeCV

import jaxridge
from jaxridge import (
    Evidence,
    Scores,
    choose,
    cross_validate,
    evidence,
    gcv,
    left_out,
    moments_of,
    path,
)
from jaxridge import leave_one_out as loo
from jaxridge.data import as_data_to_square
from jaxridge.factors import known

LAMS = np.array([0.3, 0.0, 1e6, 1e-12, 10.0])
RNG = np.random.default_rng(3)
ONE_ROW = np.arange(12) == 7
LEVELS = np.repeat([0, 1, 2], [7, 1, 4])[:, None] == np.arange(3)
FAR = ONE_ROW[:, None] & (np.arange(4) == 1)
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
    "a row far from all others": (np.where(FAR, 1e3, TALL.X), TALL.y, None),
}
del CASES["weights, wide, several targets"]
THROUGH_0 = ("wide", "rank-deficient", "weights")
RUNS = [(name, True) for name in CASES] + [(name, False) for name in THROUGH_0]


def weights_of(X, weight):
    return np.ones(len(X)) if weight is None else np.asarray(weight, float)


def predictions(X, y, lams, train, held, weight, fit_intercept):
    """Return predictions (L, h, t) of minimum-norm fits to the rows that train.

    By singular values of the training rows: `helpers.brute` at 1e-12 on dependent
    columns divides rounding noise by 1e-12.
    """
    A, B, x_mean, y_mean = centred_rows(
        X[train], y[train], weight[train], fit_intercept
    )
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    there = s > np.finfo(X.dtype).eps * max(A.shape) * s[0]
    U, s, Vt = U[:, there], s[there], Vt[there]
    rows = np.float64(X[held]) - x_mean
    gains = [s / (s**2 + lam) for lam in lams]
    return np.array([rows @ Vt.T @ (g[:, None] * (U.T @ B)) + y_mean for g in gains])


def errors_left_out(X, y, weight, fit_intercept, lams=LAMS):
    """Return the errors (L, m, t) of predicting each row that counts by the others."""
    weight, Y = weights_of(X, weight), y.reshape(len(X), -1)
    rows = np.flatnonzero(weight)
    errors = [
        predictions(X, Y, lams, rows[rows != i], [i], weight, fit_intercept) - Y[i]
        for i in rows
    ]
    return np.concatenate(errors, axis=1), weight[rows]


def check_left_out(X, y, weight, fit_intercept, scoring, rtol):
    scores = loo(
        X, y, LAMS, scoring=scoring, weight=weight, fit_intercept=fit_intercept
    )
    errors, counts = errors_left_out(X, y, weight, fit_intercept)
    losses = np.abs(errors) if scoring == "mae" else errors**2
    mean = np.average(losses, axis=1, weights=counts)
    error = losses.std(axis=1, ddof=1) / np.sqrt(len(counts))
    found, found_error = (np.reshape(a, mean.shape) for a in scores[2:4])
    if scoring == "r2":
        Y = np.float64(y.reshape(len(X), -1)[weights_of(X, weight) > 0])
        square = np.average((Y - np.average(Y, 0, counts)) ** 2, 0, counts)
        found, error = (1 - found) * square, error / square
    np.testing.assert_allclose(found, mean, rtol=rtol)
    if len(set(counts)) == 1:
        np.testing.assert_allclose(found_error, error, rtol=rtol)
    assert scores.mean.shape == (len(LAMS), *y.shape[1:])
    assert scores.mean.dtype == X.dtype
    np.testing.assert_array_equal(scores.per_fold, scores.mean[None])
    np.testing.assert_array_equal(scores.lams, LAMS.astype(X.dtype))
    assert scores.greater_is_better == (scoring == "r2")


@pytest.mark.parametrize(("name", "fit_intercept"), RUNS)
def test_rows_are_left_out_as_by_refitting(name, fit_intercept):
    check_left_out(*CASES[name], fit_intercept, "mse", 1e-9)


ONE_SHAPE = [run for run in RUNS if np.shape(CASES[run[0]][1]) == (12,)]


@pytest.mark.parametrize(("name", "fit_intercept"), [*ONE_SHAPE, ("wide", True)])
def test_rows_are_left_out_in_single_precision(name, fit_intercept):
    X, y, weight = (None if a is None else np.float32(a) for a in CASES[name])
    check_left_out(X, y, weight, fit_intercept, "mse", 1e-3)


@pytest.mark.parametrize("scoring", ["mae", "r2"])
@pytest.mark.parametrize(
    "name", ["zero weights", "several targets", "fits almost perfectly"]
)
def test_other_losses_of_rows_left_out(name, scoring):
    check_left_out(*CASES[name], True, scoring, 1e-9)


@pytest.mark.parametrize("criterion", [loo, gcv])
def test_least_squares_knows_no_units(criterion):
    expected = criterion(TALL.X, TALL.y, LAMS).mean[1]
    found = criterion(TALL.X * [1.0, 1e-8, 1.0, 1.0], TALL.y, LAMS).mean[1]
    # What is left of 16 digits at a condition number of 1e8.
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("criterion", [loo, gcv])
def test_least_squares_knows_no_units_in_single_precision(criterion):
    X, y = np.float32(TALL.X * [1.0, 1e-4, 1.0, 1.0]), np.float32(TALL.y)
    expected = criterion(np.float64(X), np.float64(y), LAMS).mean
    np.testing.assert_allclose(criterion(X, y, LAMS).mean, expected, rtol=1e-5)


@pytest.mark.parametrize("criterion", [loo, gcv])
def test_columns_that_almost_depend_are_not_dropped(criterion):
    X = TALL.X.copy()
    expected = criterion(X, TALL.y, LAMS).mean[1]
    X[:, 1] = X[:, 0] + 1e-8 * X[:, 1]
    # The same least-squares fit, and what is left of 16 digits.
    np.testing.assert_allclose(criterion(X, TALL.y, LAMS).mean[1], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["leave-one-out", "GCV", "evidence", "folds"])
def test_many_rows_drop_no_column(name):
    rng = np.random.default_rng(0)
    X = np.float32(rng.normal(size=(200_000, 2)) * [1.0, 0.1])
    y = np.float32(X @ [1.0, 10.0] + rng.normal(size=len(X)))
    scores = CRITERIA[name](X, y, np.ones(1))
    found = scores.noise if name == "evidence" else scores.mean
    residual = y - X @ np.linalg.lstsq(X, y)[0]
    error = float(np.mean(np.float64(residual) ** 2))
    assert found == pytest.approx(error, rel=1e-3)


@pytest.mark.parametrize("far", [1e3, 1e5, 1e8, 1e12])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_row_that_the_fit_hangs_on_is_left_out_in_earnest(far, fit_intercept, dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4))
    y = X @ np.array([1.0, 2.0, 3.0, 4.0]) + rng.normal(size=30)
    X[3, 1] = far
    X, y, lams = X.astype(dtype), y.astype(dtype), [0.0, 1e-3, 1.0]
    options = {"fit_intercept": fit_intercept, "weight": np.arange(1, 31, dtype=dtype)}
    errors = cross_validate(X, y, lams, 30, **options).per_fold
    found = loo(X, y, lams, **options).mean
    expected = np.average(errors.astype(float), axis=0, weights=options["weight"])
    rtol = {np.float64: 1e-10, np.float32: 1e-5}[dtype]
    np.testing.assert_allclose(found, expected, rtol=rtol)


@pytest.mark.parametrize("size", [1e-10, 1e10])
@pytest.mark.parametrize("scoring", ["mse", "mae", "r2"])
def test_standard_errors_know_no_units(size, scoring):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)).astype(np.float32)
    y = (X @ np.ones(4) + 3 * rng.normal(size=60)).astype(np.float32)
    lams, scored = np.logspace(-2, 3, 30), {"scoring": scoring}
    for score in (loo, cross_validate):
        plain, sized = (score(X, v, lams, **scored) for v in (y, (y * size)))
        unit = {"mse": size**2, "mae": size, "r2": 1}[scoring]
        np.testing.assert_allclose(
            sized.standard_error, plain.standard_error * unit, rtol=1e-4
        )
        assert choose(sized, "1se").lam == choose(plain, "1se").lam


@pytest.mark.parametrize("size", [1e-160, 1e160])
@pytest.mark.parametrize("argument", ["X", "y", "weight"])
@pytest.mark.parametrize("function", [loo, gcv, evidence, cross_validate, path])
def test_numbers_without_squares_are_refused(function, argument, size):
    rng = np.random.default_rng(0)
    given = {"X": rng.normal(size=(12, 2)), "y": rng.normal(size=12)}
    given["weight"] = np.ones(12)
    given[argument] = given[argument] * size
    with pytest.raises(ValueError, match=f"`{argument}` reaches .* rescale it"):
        function(**given, lams=[1.0])


def test_scikit_learn_leaves_rows_out_alike():
    X, y, _ = CASES["several targets"]
    lams = np.array([0.1, 3.0, 100.0, 1.0, 10.0])
    model = RidgeCV(lams, store_cv_results=True).fit(X, y)
    found = loo(X, y, lams)
    np.testing.assert_allclose(found.mean, model.cv_results_.mean(axis=0).T, rtol=1e-9)
    assert choose(found).lam == model.alpha_


def test_of_two_rows_each_predicts_the_other():
    X, y = RNG.normal(size=(2, 3)), np.array([1.0, 4.0])
    scores = loo(X, y, LAMS)
    np.testing.assert_allclose(scores.mean, 9.0, rtol=1e-9)
    np.testing.assert_allclose(scores.standard_error, 0, atol=1e-8)


@pytest.mark.parametrize("criterion", [loo, gcv, evidence])
@pytest.mark.parametrize("rows", ["one", "one that counts"])
def test_one_row_is_refused(criterion, rows):
    X, y, weight = (
        (TALL.X, TALL.y, 2.0 * ONE_ROW) if rows != "one" else (TALL.X[:1], [2.0], None)
    )
    with pytest.raises(
        ValueError, match="two rows that count|adds up to 1|has no evidence"
    ):
        criterion(X, y, [1.0], weight=weight)


@pytest.mark.parametrize("far", [1e4, 1e6])
def test_single_precision_columns_far_from_0_have_the_scores_of_the_same_numbers(far):
    rng = np.random.default_rng(5)
    X = (rng.normal(size=(12, 4)) + [far, 0, 0, 0]).astype(np.float32)
    y = X @ [1, -2, 3, 0] - far + 2 * rng.normal(size=12)
    y, lams = y.astype(np.float32), np.array([0.1, 3.0], np.float32)
    wide = [a.astype(np.float64) for a in (X, y, lams)]
    for criterion in (loo, gcv, evidence):
        found, expected = criterion(X, y, lams), criterion(*wide)
        assert found.mean.dtype == np.float32
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5)
    found, expected = path(X, y, lams), path(*wide)
    np.testing.assert_allclose(found.training_error, expected.training_error, rtol=1e-5)


# Rows and columns of which two are alike but for so much.
ALIKE = {np.float64: 1e-7, np.float32: 1e-3}


@pytest.mark.parametrize("dtype", ALIKE)
@pytest.mark.parametrize(("m", "n"), [(12, 4), (6, 5), (6, 6), (6, 9)])
def test_directions_that_products_hardly_see_cost_no_digits(m, n, dtype):
    rng = np.random.default_rng(38)
    X, apart = rng.normal(size=(m, n)), ALIKE[dtype] * rng.normal(size=max(m, n))
    if n < m:
        X[:, -1] = X[:, 0] + apart[:m]
    else:
        X[5] = X[4] + apart[:n]
    y = rng.normal(size=m)
    if n < m:
        y = (X[:, -1] - X[:, 0]) / ALIKE[dtype]  # all of it along that direction
    X, y, lams = X.astype(dtype), y.astype(dtype), np.array([0.05, 3.0])
    A, B, *_ = centred_rows(X, y)
    fitted = [A @ regularized(A, lam) @ B for lam in lams]
    errors, _ = errors_left_out(X, y, None, True, lams)
    expected = {
        loo: np.mean(errors[..., 0] ** 2, axis=1),
        gcv: np.ravel([generalized(X, y, lam, None, True) for lam in lams]),
        evidence: [density(np.float64(X), y, lam, True)[0] for lam in lams],
    }
    rtol = 1e-8 if dtype == np.float64 else 2e-4
    for criterion, mean in expected.items():
        np.testing.assert_allclose(criterion(X, y, lams).mean, mean, rtol=rtol)
    error = [np.mean((B - fit) ** 2) for fit in fitted]
    np.testing.assert_allclose(path(X, y, lams).training_error, error, rtol=rtol)


def test_a_flat_spectrum_of_many_rows_keeps_the_digits_of_its_dtype():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 800)), rng.normal(size=200)
    exact, found = (
        path(X.astype(dtype), y.astype(dtype), [1.0, 100.0]).params.coef
        for dtype in (np.float64, np.float32)
    )
    assert np.linalg.norm(found - exact) < 5e-6 * np.linalg.norm(exact)


def test_two_rows_have_a_standard_error_of_0():
    scores = loo(np.array([[0.0], [1.0]]), np.array([0.0, 1.0]), [1.0, 2.0])
    assert choose(scores, "1se").lam == 2


@pytest.mark.parametrize("n", [4, 40])
def test_a_constant_target_has_no_part_in_the_derivative_of_gcv(n):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        X, y = jnp.asarray(rng.normal(size=(30, n))), jnp.asarray(rng.normal(size=30))
        Y, lams = jnp.stack([y, jnp.ones(30)], axis=1), jnp.array([0.1, 1.0])
        both = jax.grad(lambda lams: gcv(X, Y, lams).mean.sum())(lams)
        alone = jax.grad(lambda lams: gcv(X, y, lams).mean.sum())(lams)
    np.testing.assert_allclose(both, alone, rtol=1e-9)


@pytest.mark.parametrize("score", [path, gcv, loo])
def test_nan_is_seen_beside_weights_that_are_traced(score):
    X = jnp.asarray(TALL.X, jnp.float32).at[3, 1].set(jnp.nan)
    y = jnp.asarray(TALL.y, jnp.float32)

    def of(weight):
        return jax.tree.leaves(score(X, y, jnp.ones(1), weight=weight))

    with pytest.raises(ValueError, match="`X` must be finite, got nan at index .3, 1"):
        jax.jit(of)(jnp.ones(len(y)))


# --- GCV ------------------------------------------------------------------------


def generalized(X, y, lam, weight, fit_intercept):
    """Return GCV by an explicit hat matrix, at λ = 0 its limit where that is 0/0."""
    A, B, *_ = centred_rows(X, y, weight, fit_intercept)
    weight = weights_of(X, weight)
    m = weight.sum()
    root = np.sqrt(weight)[:, None]
    rank = np.linalg.matrix_rank(A)
    if lam == 0 and rank + fit_intercept == m:
        inverse = np.linalg.pinv(A @ A.T, rcond=1e-12, hermitian=True)
        return m * np.sum((inverse @ B) ** 2, axis=0) / np.trace(inverse) ** 2
    inverse = np.linalg.pinv(A) if lam == 0 else regularized(A, lam)
    hat = A @ inverse + fit_intercept * root @ root.T / m
    left = root * np.float64(y.reshape(len(X), -1))
    left = left - hat @ left
    return np.sum(left**2, axis=0) / m / (1 - np.trace(hat) / m) ** 2


def regularized(A, lam):
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    s = np.where(s > 1e-14 * s[0], s, 0)
    return (Vt.T * s / (s**2 + lam)) @ U.T


@pytest.mark.parametrize(("name", "fit_intercept"), RUNS)
def test_gcv_is_that_of_an_explicit_hat_matrix(name, fit_intercept):
    X, y, weight = CASES[name]
    scores = gcv(X, y, LAMS, weight=weight, fit_intercept=fit_intercept)
    assert isinstance(scores, Scores)
    expected = [generalized(X, y, lam, weight, fit_intercept) for lam in LAMS]
    # Repeated rows can be fitted perfectly with degrees of freedom to spare.
    rounding = 1e-24 * np.mean(y**2)
    found = scores.mean.reshape(len(LAMS), -1)
    # At 1e-12 a fit through all rows is as good as its limit, and 1 − df/m of it is
    # told by NumPy to no digit.
    through = np.all(found[1] > 0) and np.allclose(found[1], found[3], rtol=1e-6)
    limit = X.shape[0] <= X.shape[1] and through
    expected = np.array(expected)
    if limit:
        expected[3] = expected[1]
    rtol = np.where(limit & (LAMS == 1e-12), 1e-8, 1e-9)[:, None]
    assert np.all(np.abs(found - expected) <= rtol * expected + rounding)
    assert scores.mean.shape == (len(LAMS), *y.shape[1:])
    assert scores.per_fold.shape == (0, len(LAMS), *y.shape[1:])
    assert not scores.greater_is_better


def test_gcv_in_single_precision():
    for name in ("tall", "wide", "means far from 0", "fits almost perfectly"):
        X, y = (np.float32(a) for a in CASES[name][:2])
        expected = [generalized(X, y, lam, None, True) for lam in LAMS]
        found = gcv(X, y, LAMS).mean
        np.testing.assert_allclose(
            found[[0, 1, 2, 4]], np.ravel(expected)[[0, 1, 2, 4]], rtol=1e-5
        )
        assert found.dtype == np.float32


# --- the evidence ---------------------------------------------------------------

POSITIVE = np.array([0.3, 1e3, 0.01, 10.0, 1.0])
SPLINE = ("tall", "square", "wide", "rank-deficient", "several targets", "weights")
EVIDENCE_RUNS = [
    *((name, True) for name in (*SPLINE, "zero weights", "constant columns")),
    ("weights", False),
    ("means far from 0", True),
    ("fits almost perfectly", True),
]


def density(X, y, lam, fit_intercept):
    """Return the greatest log density of one target over σ², and where it is."""
    m = len(X)
    Q = np.linalg.svd(np.ones((m, 1)))[0][:, 1:] if fit_intercept else np.eye(m)
    seen = Q.T @ (y - y.mean() if fit_intercept else y)
    rows = Q.T @ (X - X.mean(axis=0) if fit_intercept else X)
    covariance = np.eye(len(seen)) + rows @ rows.T / lam

    def below(log_noise):
        return -multivariate_normal.logpdf(seen, cov=np.exp(log_noise) * covariance)

    start = np.log(seen @ np.linalg.solve(covariance, seen) / len(seen)) + 0.3
    best = minimize_scalar(below, bracket=(start - 1, start + 1), tol=1e-10)
    return -best.fun, np.exp(best.x)


@pytest.mark.parametrize(("name", "fit_intercept"), EVIDENCE_RUNS)
def test_evidence_is_the_density_of_the_targets(name, fit_intercept):
    X, y, weight = CASES[name]
    found = evidence(X, y, POSITIVE, weight=weight, fit_intercept=fit_intercept)
    assert isinstance(found, Evidence)
    copies = np.rint(weights_of(X, weight)).astype(int)
    rows = np.repeat(X, copies, axis=0)
    Y = np.repeat(y.reshape(len(X), -1), copies, axis=0)
    best = [[density(rows, b, lam, fit_intercept) for b in Y.T] for lam in POSITIVE]
    value, noise = np.moveaxis(best, -1, 0)
    shape = (len(POSITIVE), *y.shape[1:])
    np.testing.assert_allclose(found.mean, value.reshape(shape), rtol=1e-8)
    np.testing.assert_allclose(found.noise, noise.reshape(shape), rtol=1e-6)
    assert found.per_fold.shape == (0, *shape)
    assert found.greater_is_better


@pytest.mark.parametrize("criterion", [gcv, evidence])
def test_integer_weights_are_repeated_rows(criterion):
    X, y, weight = CASES["zero weights"]
    times = np.rint(weight).astype(int)
    copies = [np.repeat(a, times, axis=0) for a in (X, y)]
    by_weight, by_rows = (
        criterion(X, y, POSITIVE, weight=weight),
        criterion(*copies, POSITIVE),
    )
    for one, other in zip(*map(jax.tree.leaves, (by_weight, by_rows)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11)


def test_rows_that_do_not_count_leave_no_trace():
    X, y, weight = CASES["zero weights"]
    there = weight > 0
    wild = np.where(there, y, 1e9), np.where(there[:, None], X, -1e9)
    ones = 1.0 * there
    for criterion in (loo, gcv, evidence):
        among = criterion(wild[1], wild[0], POSITIVE, weight=ones)
        alone = criterion(X[there], y[there], POSITIVE)
        leaves = map(jax.tree.leaves, (among, alone))
        for one, other in zip(*leaves, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("fill", [-9999.0, 1e30])
def test_what_stands_for_a_missing_target_hides_no_other(fill):
    X, y, weight = (np.float32(a) for a in CASES["zero weights"])
    y, there = y * np.float32(1e-6), weight > 0
    filled = np.where(there, y, np.float32(fill))
    for score in (loo, gcv, evidence, partial(cross_validate, folds=3)):
        among, alone = (score(X, one, POSITIVE, weight=weight) for one in (filled, y))
        for one, other in zip(*map(jax.tree.leaves, (among, alone)), strict=True):
            np.testing.assert_array_equal(one, other)
    tiny = np.where(there, y * np.float32(1e-16), np.float32(fill))
    for score in (loo, gcv, evidence, partial(cross_validate, folds=3)):
        with pytest.raises(ValueError, match="`y` reaches .*e-22, and squares of that"):
            score(X, tiny, POSITIVE, weight=weight)
    low = np.where(there[:, None], X * np.float32(1e-22), X)
    with pytest.raises(ValueError, match="`X` reaches .*e-22, and squares of that"):
        gcv(low, y, POSITIVE, weight=weight)


def test_evidence_in_single_precision():
    for name in ("tall", "wide", "means far from 0", "fits almost perfectly"):
        X, y = (np.float32(a) for a in CASES[name][:2])
        expected = evidence(np.float64(X), np.float64(y), POSITIVE)
        found = evidence(X, y, POSITIVE)
        assert found.mean.dtype == found.noise.dtype == np.float32
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5)
        np.testing.assert_allclose(found.noise, expected.noise, rtol=1e-5)


def test_a_flat_prior_has_no_evidence():
    with pytest.raises(ValueError, match="`lams` holds 0, and a flat prior"):
        evidence(TALL.X, TALL.y, LAMS)


@pytest.mark.parametrize("value", [7.0, 0.1, 0.0])
def test_a_constant_target_has_no_evidence(value):
    Y = np.column_stack([TALL.y, np.full(12, value), TALL.y])
    with pytest.raises(ValueError, match="`y` has no evidence in target 1:"):
        evidence(TALL.X, Y, POSITIVE)


@pytest.mark.parametrize("seed", range(8))
def test_a_constant_target_has_no_evidence_whatever_the_weights(seed):
    rng = np.random.default_rng(seed)
    X, weight = rng.normal(size=(12, 3)), rng.uniform(0.1, 3, 12)
    for value in (0.1, 1000.1):
        y = np.full(12, value)
        with pytest.raises(ValueError, match="`y` has no evidence"):
            evidence(X, y, POSITIVE, weight=weight)
        with pytest.raises(ValueError, match="`y` has no evidence"):
            jaxridge.RidgeCV(POSITIVE, cv="evidence").fit(
                sparse.csr_array(X), y, weight
            )


def test_a_target_of_zeros_has_no_evidence_through_0():
    with pytest.raises(ValueError, match="`y` has no evidence"):
        evidence(TALL.X, np.zeros(12), POSITIVE, fit_intercept=False)


# --- derivatives and tracing ----------------------------------------------------

CRITERIA = {
    "leave-one-out": loo,
    "GCV": gcv,
    "evidence": evidence,
    "folds": lambda X, y, lams: cross_validate(X, y, lams, 3),
}
ORTHONORMAL = np.linalg.qr(np.column_stack([np.ones(12), RNG.normal(size=(12, 4))]))[0]
SEVERAL = CASES["several targets"][1]
SMOOTH = {
    "tall": CASES["several targets"][:2],
    "equal eigenvalues": (ORTHONORMAL[:, 1:] + 2, SEVERAL),
    "rank-deficient": (CASES["rank-deficient"][0], SEVERAL),
    "constant columns": (CASES["constant columns"][0], SEVERAL),
    "wide": CASES["wide"][:2],
}
LOGS = np.log([0.05, 1.0, 20.0, 0.3, 5.0])


def total_of(score):
    def total(logs, X, y):
        scores = score(X, y, jnp.exp(logs))
        # Each penalty has a score of its own, so the gradient holds every derivative.
        return scores.mean.sum(), scores

    return total


SLOPES = {name: jax.grad(total_of(f), has_aux=True) for name, f in CRITERIA.items()}
COMPILED = {name: jax.jit(slope) for name, slope in SLOPES.items()}


def assert_slopes(found, X, y, score):
    def at(logs):
        return score(X, y, np.exp(logs)).mean.reshape(len(logs), -1).sum(axis=1)

    h = 1e-4
    difference = (at(LOGS + h) - at(LOGS - h)) / (2 * h)
    worst = np.abs(np.asarray(found) - difference).max() / np.abs(difference).max()
    assert worst <= 1e-6


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_traced_rows_are_scored_and_derivatives_are_differences(criterion, name):
    X, y = SMOOTH[name]
    with jax.enable_x64(True):
        data = jnp.asarray(X), jnp.asarray(y)
        slope, scores = COMPILED[criterion](jnp.asarray(LOGS), *data)
    assert_slopes(slope, X, y, CRITERIA[criterion])
    expected = CRITERIA[criterion](X, y, np.exp(LOGS))
    leaves = map(jax.tree.leaves, (scores, expected))
    for one, other in zip(*leaves, strict=True):
        assert isinstance(one, jax.Array)
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("kind", ["JAX data", "NumPy data", "traced penalties"])
def test_derivatives_about_known_rows(kind, criterion):
    X, y = SMOOTH["equal eigenvalues"]
    slope = SLOPES[criterion]
    with jax.enable_x64(True):
        logs, data = jnp.asarray(LOGS), (jnp.asarray(X), jnp.asarray(y))
        if kind == "JAX data":
            found = slope(logs, *data)[0]
        elif kind == "NumPy data":
            found = slope(logs, X, y)[0]
        else:
            found = jax.jit(lambda logs: slope(logs, X, y)[0])(logs)
    assert_slopes(found, X, y, CRITERIA[criterion])


# --- choice ---------------------------------------------------------------------


@pytest.mark.parametrize("criterion", [loo, gcv, evidence])
def test_a_penalty_is_chosen(criterion):
    made = problem(12, 4, 3, seed=4)
    grid = np.array([0.01, 1e3, 1.0, 10.0, 0.1])
    scores = criterion(made.X, made.y, grid)
    sign = -1 if criterion is evidence else 1
    best = (sign * scores.mean).argmin(axis=0)
    np.testing.assert_array_equal(choose(scores, per_target=True).index, best)
    shared = (sign * scores.mean.mean(axis=1)).argmin()
    assert choose(scores).index == shared
    assert str(scores).splitlines()[0].split()[0] == "lam"


@pytest.mark.parametrize("criterion", [gcv, evidence])
@pytest.mark.parametrize("per_target", [False, True])
def test_one_standard_error_needs_one(criterion, per_target):
    scores = criterion(*CASES["several targets"][:2], POSITIVE)
    with pytest.raises(ValueError, match=re.escape('`rule` "1se" needs a standard')):
        choose(scores, "1se", per_target)


@pytest.mark.parametrize("criterion", [loo, gcv, evidence])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lams": 1.0}, ValueError, "`lams` must be a list of penalties"),
        ({"lams": []}, ValueError, "`lams` is empty"),
        ({"lams": [-1.0]}, ValueError, "`lams` must be at least 0"),
        ({"y": TALL.y[:-1]}, ValueError, "same number of rows"),
        ({"X": np.where(ONE_ROW[:, None], np.nan, 1.0)}, ValueError, "`X` must be fin"),
        ({"weight": -np.ones(12)}, ValueError, "`weight` must not be negative"),
        ({"X": np.full((12, 2), "a")}, TypeError, "`X` must hold numbers"),
    ],
)
def test_arguments_that_cannot_be_are_refused(criterion, options, error, message):
    with pytest.raises(error, match=message):
        criterion(**{"X": TALL.X, "y": TALL.y, "lams": [1.0]} | options)


def test_leave_one_out_knows_its_losses():
    with pytest.raises(ValueError, match="`scoring` must be one of mse, mae, r2, corr"):
        loo(TALL.X, TALL.y, [1.0], scoring="median")


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("criterion", [gcv, evidence])
def test_moments_stand_for_the_rows(criterion, fit_intercept):
    X, y, weight = CASES["weights"]
    sums = moments_of(X, y, 3, weight=weight)
    found = criterion(sums, None, POSITIVE, fit_intercept=fit_intercept)
    rows = criterion(X, y, POSITIVE, weight=weight, fit_intercept=fit_intercept)
    np.testing.assert_allclose(found.mean[:, 0], rows.mean, rtol=1e-10)
    assert found.route.system == "primal"
    grown = criterion(sums, None, "auto", fit_intercept=fit_intercept)
    like = criterion(X, y, "auto", weight=weight, fit_intercept=fit_intercept)
    np.testing.assert_allclose(grown.lams, like.lams, rtol=1e-9)


@pytest.mark.parametrize("criterion", [gcv, evidence])
def test_moments_bring_their_targets(criterion):
    X, y, weight = CASES["weights"]
    with pytest.raises(ValueError, match="`y` and `weight` are in the Moments"):
        criterion(moments_of(X, y, 3), y, POSITIVE)


def test_digits_that_moments_do_not_hold_are_warned_of():
    X, y = (np.float32(a) for a in CASES["fits almost perfectly"][:2])
    for function in (gcv, path):  # of which it is the training error
        with pytest.warns(UserWarning, match="products are not precise enough"):
            function(moments_of(X, y, 3), None, [1e-3])


def test_directions_that_are_rounding_are_not_counted_in_moments_of_few_rows():
    X, y = SHAPES["wide"].astype(np.float64)[:2]
    lams = np.array([1e-3, 1e-5])
    found = gcv(moments_of(X, y, 2), None, lams).mean[:, 0]
    np.testing.assert_allclose(found, gcv(X, y, lams).mean, rtol=1e-9)


def correlations(y, predictions):
    return [np.corrcoef(y, p)[0, 1] for p in predictions]


def left_out_predictions(X, y, lams):
    """Return predictions (L, m) of each row by a refit to all others."""
    found = []
    for lam in lams:
        row = []
        for i in range(len(X)):
            A, b, x, mean = centred_rows(np.delete(X, i, 0), np.delete(y, i, 0))
            U, s, Vt = np.linalg.svd(A, full_matrices=False)
            there = s > 1e-12 * s[0]
            gain = np.where(there, s / (s**2 + lam), 0)
            row.append((X[i] - x) @ Vt.T @ (gain[:, None] * (U.T @ b)) + mean)
        found.append(np.ravel(row))
    return np.array(found)


@pytest.mark.parametrize("name", ["tall", "wide", "duplicate columns", "hangs"])
def test_left_out_predictions_are_scored_together(name):
    X, y = SHAPES["tall" if name == "hangs" else name].astype(np.float64)[:2]
    if name == "hangs":  # one row alone decides a column
        X = np.column_stack([X[:, :3], np.arange(len(X)) == 5])
    lams = np.array([1e-9, 0.5, 20.0]) if name == "hangs" else np.array([0.5, 20.0])
    predicted = left_out_predictions(X, y, lams)
    found = loo(X, y, lams, scoring="correlation")
    np.testing.assert_allclose(found.mean, correlations(y, predicted), rtol=1e-8)
    assert found.per_fold.shape == (0, len(lams)) and found.greater_is_better

    def worst(y, prediction):
        return -np.abs(y - prediction).max()

    found = loo(X, y, lams, scoring=worst)
    expected = -np.abs(y - predicted).max(axis=1)
    np.testing.assert_allclose(found.mean, expected, rtol=1e-8)
    with pytest.raises(ValueError, match='`rule` "1se" needs a standard error'):
        choose(found, "1se")


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(
    "name", ["tall", "wide", "weights", "duplicate columns", "hangs"]
)
def test_each_target_is_left_out_at_its_own_penalty(name, fit_intercept):
    X, y, weight = SHAPES["tall" if name == "hangs" else name].astype(np.float64)
    if name == "hangs":
        X = np.column_stack([X[:, :3], np.arange(len(X)) == 5])
    y = y.reshape(len(y), -1)[:, 0]
    Y, lams = np.column_stack([y, y**2, -y, np.exp(y)]), np.array([20.0, 0.5, 1e-9, 20])
    expected = -errors_left_out(X, Y, weight, fit_intercept, lams)[0]
    with jax.enable_x64(True):
        rows = known(as_data_to_square(X, Y, weight), fit_intercept)
        found = left_out.errors_left_out(rows, jnp.asarray(lams))
    each, there = np.arange(len(lams)), weights_of(X, weight) > 0
    own, size = expected[each, :, each].T, np.abs(Y).max()
    np.testing.assert_allclose(found[there], own, rtol=1e-7, atol=1e-9 * size)


@pytest.mark.parametrize(("dtype", "lam"), [(np.float32, 1e8), (np.float64, 1e18)])
@pytest.mark.parametrize("how", ["rows left out", "folds"])
def test_correlations_of_predictions_near_0_keep_their_digits(how, dtype, lam):
    """At λ → ∞ the fit to A and b is Aᵀb/λ, and no correlation depends on λ."""
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(30, 60)).astype(dtype), rng.normal(size=30).astype(dtype)
    if how == "folds":
        found = cross_validate(X, y, [lam], scoring="correlation").per_fold[:, 0]
    else:
        choice = {"scoring": "correlation", "fit_intercept": False}
        found = loo(X, y, [lam], **choice).mean
    folds = np.arange(30).reshape((5, 6) if how == "folds" else (30, 1))
    predicted = np.zeros(30)
    for held in folds:
        rest = np.delete(np.arange(30), held)
        A, b, *_ = centred_rows(X[rest], y[rest], fit_intercept=how == "folds")
        predicted[held] = X[held].astype(float) @ A.T @ b[:, 0]
    groups = folds if how == "folds" else np.arange(30)[None]
    expected = [np.corrcoef(predicted[i], y[i])[0, 1] for i in groups]
    np.testing.assert_allclose(found, expected, atol=1e-5 if lam == 1e8 else 1e-12)


def test_weights_and_several_targets_are_scored_together():
    X, Y, weight = SHAPES["several targets"].astype(np.float64)
    times = np.arange(len(X)) % 2 + 1.0
    found = loo(X, Y, [2.0], scoring="correlation", weight=times)
    for j in range(Y.shape[1]):
        one = loo(X, Y[:, j], [2.0], scoring="correlation", weight=times)
        np.testing.assert_allclose(found.mean[:, j], one.mean, rtol=1e-9)


@pytest.mark.parametrize(("dtype", "far"), [(np.float64, 1e8), (np.float32, 1e4)])
def test_targets_far_from_0_cost_rows_of_high_leverage_no_digits(dtype, far):
    """The rounding of their mean is in every residual, which is divided by 1 − h."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    X[7, 0] = 500 if dtype == np.float64 else 50
    X, y = dtype(X), dtype(y + far)
    near = np.float64(y) - far
    expected = loo(np.float64(X), near, [1e-3]).mean
    rtol = 1e-11 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(loo(X, y, [1e-3]).mean, expected, rtol=rtol)


@pytest.mark.parametrize("lam", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("large", [1e6, 1e9])
def test_a_row_that_is_an_axis_of_its_own_is_left_out_in_earnest(lam, large):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6, 9)), rng.normal(size=6)
    X[:, 2] = np.arange(6) == 5
    X[:, 2] *= large
    errors = []
    for i in range(6):
        others = np.arange(6) != i
        fit = jaxridge.solve(X[others], y[others], lam)
        errors.append(y[i] - jaxridge.predict(fit, X[i : i + 1])[0])
    expected = np.mean(np.square(errors))
    np.testing.assert_allclose(loo(X, y, [lam]).mean[0], expected, rtol=1e-11)


def test_weights_that_add_up_to_less_than_a_fit_takes_have_no_gcv():
    X, y, _ = CASES["tall"]
    weight = np.full(len(y), 1 / len(y))
    with pytest.raises(ValueError, match="`weight` adds up to less than .* scale them"):
        gcv(X, y, [0.01], weight=weight)
    with pytest.raises(ValueError, match="scale them to their number"):
        gcv(jaxridge.moments_of(X, y, weight=weight), None, [0.01])


def test_a_scoring_function_sees_no_row_that_does_not_count():
    X, y, weight = CASES["zero weights"]
    there = weight > 0

    def error(y, prediction):
        return -np.mean((y - prediction) ** 2)

    found = loo(X, y, POSITIVE, weight=1.0 * there, scoring=error)
    alone = loo(X[there], y[there], POSITIVE)
    np.testing.assert_allclose(-found.mean, alone.mean, rtol=1e-9)


def test_gcv_is_its_formula_whatever_the_weights_add_up_to():
    rng = np.random.default_rng(0)
    X, y, weight = rng.normal(size=(50, 5)), rng.normal(size=50), np.full(50, 0.2)
    found = gcv(X, y, [0.0, 0.1], weight=weight)
    fits = path(X, y, [0.0, 0.1], weight=weight)
    m = weight.sum()
    expected = fits.training_error / (1 - fits.df / m) ** 2
    np.testing.assert_allclose(found.mean, expected, rtol=1e-9)


@pytest.mark.parametrize("total", [1.0, 0.05])
def test_weights_that_leave_no_noise_are_named(total):
    X, y, _ = CASES["tall"]
    weight = np.full(len(y), total / len(y))
    with pytest.raises(ValueError, match="`weight` adds up to"):
        evidence(X, y, [1.0], weight=weight)
    with pytest.raises(ValueError, match="`weight` adds up to"):
        evidence(moments_of(X, y, 3, weight=weight), None, [1.0])


@pytest.mark.parametrize("shape", [(12, 4), (6, 9)], ids=["tall", "wide"])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", ["path", "leave_one_out", "gcv", "evidence"])
def test_known_rows_are_scored_alike_while_penalties_are_traced(name, shape, weighted):
    rng = np.random.default_rng(0)
    function = getattr(jaxridge, name)
    with jax.enable_x64(True):
        X = jnp.asarray(rng.normal(size=shape))
        Y = jnp.asarray(rng.normal(size=(shape[0], 2)))
        given = {"weight": jnp.ones(shape[0])} if weighted else {}
        lams = jnp.array([0.1, 1.0])

        def numbers(lams):
            found = function(X, Y, lams, **given)
            return found.params.coef if name == "path" else found.mean

        for one in (numbers, jax.jacfwd(numbers)):
            np.testing.assert_allclose(jax.jit(one)(lams), one(lams), rtol=1e-9)


def test_a_row_that_a_fit_hangs_on_is_found_while_penalties_are_traced():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 4)), rng.normal(size=12)
    X[:, 3] = 1e-8 * X[:, 3]
    X[0, 3] = 1.0
    lams = np.array([1e-12, 1e-6])
    expected = loo(X, y, lams).mean
    with jax.enable_x64(True):
        data = jnp.asarray(X), jnp.asarray(y)
        found, slope = jax.value_and_grad(
            lambda s: loo(*data, jnp.exp(s)[None]).mean[0]
        )(np.log(1e-6))
    np.testing.assert_allclose(found, expected[1], rtol=1e-6)
    up, down = (loo(X, y, [1e-6 * np.exp(h)]).mean[0] for h in (1e-3, -1e-3))
    np.testing.assert_allclose(slope, (up - down) / 2e-3, rtol=1e-3)


@pytest.mark.parametrize("lam", [1e-100, 1e-160, 1e-200, 1e-300])
def test_tiny_penalties_of_wide_rows_have_the_limit(lam):
    X, y, _ = CASES["wide"]
    for criterion in (gcv, loo):
        found, limit = criterion(X, y, [lam, 0.0]).mean
        np.testing.assert_allclose(found, limit, rtol=1e-9)


def test_penalties_whose_inverse_is_lost_are_refused():
    X, y, _ = CASES["tall"]
    with pytest.raises(ValueError, match="`lams` holds 1e\\+308, which float64 cannot"):
        gcv(X, y, [1e308])
    with pytest.raises(ValueError, match="which float32 cannot hold, or its inverse"):
        path(np.float32(X), np.float32(y), np.float32([1e38]))


def test_moments_are_not_enough_to_leave_rows_out():
    X, y, _ = CASES["tall"]
    with pytest.raises(TypeError, match="`X` must be rows here, not Moments"):
        loo(moments_of(X, y, 3), None, [1.0])
    with pytest.raises(TypeError, match="`y` is missing"):
        loo(X, None, [1.0])
