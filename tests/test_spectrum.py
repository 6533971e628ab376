"""Rows whose columns differ in size by more than the digits of their dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPES, TOLERANCE, assert_close, brute, centred_rows
from sklearn.model_selection import KFold

from jaxridge import (
    RidgeCV,
    cross_validate,
    factors,
    lambda_grid,
    leave_one_out,
    moments_of,
    path,
    solve,
)

UNITS = (1e-6, 1e8, 1e16, 1e100)


def rows(shape, unit, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=shape)
    y = X @ rng.normal(size=shape[1]) + rng.normal(size=shape[0])
    X[:, shape[1] // 2] *= unit
    return X, y


def refit(X, y, lam):
    """Coefficients from rows and penalty stacked, every column in its own unit."""
    m, n = X.shape
    stacked = np.vstack([X - X.mean(axis=0), np.sqrt(lam) * np.eye(n)])
    sizes = np.linalg.norm(stacked, axis=0)
    Q, R = np.linalg.qr(stacked / sizes)
    return np.linalg.solve(R, Q[:m].T @ (y - y.mean())) / sizes


def predicted(X, y, train, held, lam):
    coef = refit(X[train], y[train], lam)
    return y[train].mean() + (X[held] - X[train].mean(axis=0)) @ coef


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("shape", [(24, 4), (60, 20), (8, 12)])
def test_a_column_in_large_units_drowns_no_other(shape, unit):
    X, y = rows(shape, unit)
    found = [solve(X, y, 1.0).coef, path(X, y, [1.0]).params.coef[0]]
    np.testing.assert_allclose(found, [refit(X, y, 1.0)] * 2, rtol=1e-9)


@pytest.mark.parametrize("unit", UNITS)
def test_scores_do_not_depend_on_a_column_of_other_units(unit):
    X, y = rows((24, 4), unit)
    everywhere = np.arange(24)
    folds = [np.setdiff1d(everywhere, held) for held in np.array_split(everywhere, 3)]
    errors = [
        np.mean((y[held] - predicted(X, y, train, held, 1.0)) ** 2)
        for train, held in zip(folds, np.array_split(everywhere, 3), strict=True)
    ]
    alone = [
        (y[i] - predicted(X, y, np.delete(everywhere, i), i, 1.0)) ** 2
        for i in everywhere
    ]
    tol = TOLERANCE["float64"]
    found = cross_validate(X, y, [1.0], 3).per_fold[:, 0]
    np.testing.assert_allclose(found, errors, rtol=tol)
    np.testing.assert_allclose(leave_one_out(X, y, [1.0]).mean, np.mean(alone), tol)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("unit", UNITS)
def test_columns_that_repeat_are_found_out_whatever_another_is_measured_in(unit, seed):
    X, y = rows((24, 4), unit, seed)
    twice = np.column_stack([X, X[:, 0]])
    coef, doubled = solve(X, y, 0.0).coef, solve(twice, y, 0.0).coef
    shared = coef * [0.5, 1, 1, 1]
    wanted = np.array([*shared, shared[0]])
    # The direction that repeats is known to eps over the least singular value.
    known = max(1e-11, 4 * np.finfo(float).eps / min(unit, 1))
    np.testing.assert_allclose(doubled, wanted, atol=known * np.abs(wanted).max())


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_moments_keep_the_digits_of_small_columns_too(unit, fit_intercept):
    X, y = rows((24, 4), unit)
    sums = moments_of(X, y, 3)
    options = {"fit_intercept": fit_intercept}
    found = path(sums, None, [1.0], **options).params.coef[..., 0]
    expected = path(X, y, [1.0], **options).params.coef
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    found = cross_validate(sums, None, [1.0], **options).per_fold[..., 0]
    expected = cross_validate(X, y, [1.0], 3, **options).per_fold
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_moments_that_have_lost_digits_say_so():
    X, y = rows((24, 4), 1.0)
    X[:, 3] = X[:, 0] + 1e-9 * X[:, 3]
    sums = moments_of(X, y, 3)
    with pytest.warns(UserWarning, match="pass dense rows"):
        path(sums, None, [0.0])
    with pytest.warns(UserWarning, match="pass dense rows"):
        cross_validate(sums, None, [0.0])
    with pytest.warns(UserWarning, match="pass dense rows"):
        cross_validate(moments_of(X, X @ np.ones(4), 3), None, [1e-6])


@pytest.mark.parametrize("lam", [1e10, 1e11, 1e14])
@pytest.mark.parametrize("wide", [False, True])
def test_small_columns_have_a_coefficient_at_penalties_above_a_large_one(lam, wide):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 300 if wide else 4)).astype(np.float32)
    X[:, 0] *= 3e4  # about 4e5 long, and the others 14
    y = (X[:, 1] + rng.normal(size=200)).astype(np.float32)
    A, b = (a - a.mean(axis=0) for a in (X.astype(float), y.astype(float)))
    expected = np.linalg.solve(A.T @ A + lam * np.eye(len(A.T)), A.T @ b)
    for coef in (
        path(X, y, [lam]).params.coef[0],
        solve(X, y[:, None], [lam]).coef[:, 0],
        RidgeCV([lam]).fit(X, y).coef_,
    ):
        assert_close(coef, expected)


def test_many_columns_are_factorised_as_few_are():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(260, 210)) + 3
    y = X[:, 0] + rng.normal(size=260)
    lams = np.array([0.5, 50.0])
    U, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    along = (U.T @ (y - y.mean()))[:, None]
    shrunk = s[:, None] ** 2 / (s[:, None] ** 2 + lams)
    rest = (y - y.mean())[:, None] - U @ (shrunk * along)
    slack = 1 - U**2 @ shrunk - 1 / 260
    np.testing.assert_allclose(
        leave_one_out(X, y, lams).mean, np.mean((rest / slack) ** 2, axis=0), rtol=1e-10
    )


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_rows_of_more_columns_are_factorised_as_few_are(dtype, fit_intercept):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(215, 260)) + 3).astype(dtype)
    X[:, 1] = X[:, 0]
    y = (X[:, :2] @ [1, -2] + rng.normal(size=215)).astype(dtype)
    weight = rng.integers(0, 3, 215).astype(dtype)
    how = {"weight": weight, "fit_intercept": fit_intercept}
    lams, before = np.array([0.5, 50.0]), X.copy()
    found = path(X, y, lams, **how).params
    for i, lam in enumerate(lams):
        assert_close(found.coef[i], brute(X, y, lam, **how).coef)
    scores = cross_validate(X, y, lams, 5, **how)
    errors = []
    for train, held in KFold(5).split(X):
        for lam in lams:
            fit = brute(X[train], y[train], lam, weight[train], fit_intercept)
            miss = X[held].astype(float) @ fit.coef + fit.intercept - y[held]
            errors.append(np.average(miss**2, weights=weight[held]))
    assert_close(scores.per_fold.ravel(), errors)
    np.testing.assert_array_equal(X, before)


def by_singular_values(X, Y, lam, weight, fit_intercept):
    """Return what NumPy's singular values say: coef, and predictions of rows."""
    A, B, x_mean, y_mean = centred_rows(X, Y, weight, fit_intercept)
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    there = s > 1e-12 * s[0]
    gain = np.where(there, s / np.where(there, s**2 + lam, 1), 0)
    coef = Vt.T @ (gain[:, None] * (U.T @ B))
    return coef, lambda rows: (rows - x_mean) @ coef + y_mean


def turned(X):
    """Return few rows in as many axes, and those: X = ZQᵀ, penalties being the same."""
    Q, R = np.linalg.qr(X.T)
    return R.T, Q


def errors_held_out(X, Y, lams, weight, fit_intercept, pairs):
    """Return the mean squared errors of each fold, penalty and target."""
    found = []
    for train, held in pairs:
        for lam in lams:
            given = X[train], Y[train], lam, weight[train], fit_intercept
            miss = by_singular_values(*given)[1](X[held]) - Y[held]
            found.append(np.average(miss**2, axis=0, weights=weight[held]))
    return np.reshape(found, (-1, len(lams), Y.shape[1]))


@pytest.fixture
def kernels_made(monkeypatch):
    """Return which kernels were factorised by themselves."""
    made, by_kernel = [], factors._by_kernel

    def noted(data, inner, fit_intercept):
        made.append(inner.products.shape)
        return by_kernel(data, inner, fit_intercept)

    monkeypatch.setattr(factors, "_by_kernel", noted)
    return made


# More than 2**20 numbers of few rows, and as many as are multiplied at once elsewhere.
FEW_ROWS = {"many numbers": (12, 88_000), "few": (12, 20)}


def few_rows(size, monkeypatch):
    """Return few rows of many columns, two of them equal, targets, weights, penalties.

    Rows that are taken for many numbers though they are not compile and run sooner.
    """
    m, n = FEW_ROWS[size]
    if size == "few":
        monkeypatch.setattr(factors, "SMALL", 1)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(m, n)) + rng.normal(size=n)
    X[3] = X[4]
    Y = rng.normal(size=(m, 2)) + X[:, :2] + 5
    return X, Y, rng.integers(1, 4, m).astype(float), np.array([0.1, 1.0, 30.0]) * n


@pytest.mark.filterwarnings("ignore:the best alpha")
@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("size", FEW_ROWS)
def test_penalties_of_few_rows_are_chosen_as_by_refits(
    size, fit_intercept, cv, monkeypatch, kernels_made
):
    X, Y, weight, lams = few_rows(size, monkeypatch)
    pairs, (Z, Q) = KFold(cv or len(X)).split(X), turned(X)
    errors = errors_held_out(Z, Y, lams, weight, fit_intercept, pairs)
    means = np.average(errors, axis=0, weights=None if cv else weight)
    how = {"alpha_per_target": True, "fit_intercept": fit_intercept}
    model = RidgeCV(lams, cv=cv, scoring="neg_mean_squared_error", **how)
    model.fit(X, Y, weight)
    np.testing.assert_array_equal(model.alpha_, lams[means.argmin(axis=0)])
    assert_close(-model.best_score_, means.min(axis=0))
    for j, lam in enumerate(model.alpha_):
        coef, _ = by_singular_values(Z, Y, lam, weight, fit_intercept)
        assert_close(model.coef_[j], Q @ coef[:, j])
    assert kernels_made == [(len(X), len(X))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", FEW_ROWS)
def test_few_rows_of_jaxs_are_scored_and_fitted_as_by_refits(
    size, dtype, monkeypatch, kernels_made
):
    given = [a.astype(dtype) for a in few_rows(size, monkeypatch)]
    X, Y, weight, lams = (a.astype(float) for a in given)
    Z, Q = turned(X)
    with jax.enable_x64(dtype == np.float64):
        rows, targets, counts, grid = map(jnp.asarray, given)
        fits = path(rows, targets, grid, weight=counts).params
        alone = leave_one_out(rows, targets, grid, weight=counts)
        folds = cross_validate(rows, targets, grid, 3, weight=counts)
    assert isinstance(fits.coef, jax.Array) and fits.coef.dtype == dtype
    for found, k, of_folds in ((alone, len(X), weight), (folds, 3, None)):
        pairs = KFold(k).split(X)
        errors = errors_held_out(Z, Y, lams, weight, True, pairs)
        assert_close(found.mean, np.average(errors, axis=0, weights=of_folds))
    for i, lam in enumerate(lams):
        coef, _ = by_singular_values(Z, Y, lam, weight, True)
        assert_close(fits.coef[i], Q @ coef)
    assert kernels_made == [(len(X), len(X))] * 2  # of the path, and of leaving one out


def fading(m, n, dtype, t=None):
    """Return rows whose extents fade over eight decades, and their factors."""
    rng = np.random.default_rng(1)
    A, _ = np.linalg.qr(rng.normal(size=(m, min(m, n))))
    V, _ = np.linalg.qr(rng.normal(size=(n, min(m, n))))
    X = ((A * np.logspace(0, -8, min(m, n))) @ V.T).astype(dtype)
    Y = rng.normal(size=(m, t or 1)) * 1e-3 + X @ rng.normal(size=(n, t or 1))
    Y = (Y if t else Y[:, 0]).astype(dtype)
    wide = X.astype(float) - X.astype(float).mean(axis=0)
    return X, Y, np.linalg.svd(wide, full_matrices=False)


def fit(factors, Y, lam):
    U, s, Vt = factors
    return Vt.T @ ((s / (s**2 + lam)) * (U.T @ (Y - Y.mean(axis=0))).T).T


@pytest.mark.parametrize(
    ("m", "n", "dtype"),
    [(120, 80, np.float64), (120, 80, np.float32), (80, 120, np.float64)],
)
def test_directions_that_products_do_not_see_have_their_part(m, n, dtype):
    X, y, factors = fading(m, n, dtype)
    least, tol = (1e-5, 1e-9) if dtype == np.float64 else (2e-3, 1e-4)
    for lam in (least, 10 * least):
        expected = fit(factors, y.astype(float), lam)
        found = path(X, y, [lam])
        apart = np.linalg.norm(found.params.coef[0] - expected)
        assert apart < tol * np.linalg.norm(expected)
        U, s, _ = factors
        df = np.sum(s**2 / (s**2 + lam)) + 1
        np.testing.assert_allclose(found.df, [df], rtol=tol)
        if m > n:
            sums = moments_of(X, y, 3)
            apart = np.linalg.norm(
                path(sums, None, [lam]).params.coef[0, :, 0] - expected
            )
            assert apart < 10 * tol * np.linalg.norm(expected)


@pytest.mark.parametrize(("m", "n", "t"), [(120, 80, 12), (80, 120, None)])
def test_folds_see_directions_that_products_do_not(m, n, t):
    X, Y, _ = fading(m, n, np.float64, t)
    lam, held = 1e-5, np.arange(m) // (m // 4) == np.arange(4)[:, None]
    errors = []
    for mask in held:
        x, y = X[~mask].mean(axis=0), Y[~mask].mean(axis=0)
        coef = fit(np.linalg.svd(X[~mask] - x, full_matrices=False), Y[~mask], lam)
        errors.append(np.mean(((X[mask] - x) @ coef + y - Y[mask]) ** 2, axis=0))
    found = cross_validate(X, Y, [lam], 4).mean[0]
    np.testing.assert_allclose(found, np.mean(errors, axis=0), rtol=1e-9)


@pytest.mark.parametrize("shape", [(8, 12), (20, 12)])
@pytest.mark.parametrize("size", [1e4, 1e6, 1e8])
def test_a_huge_row_hides_no_other_in_float32(shape, size):
    rng = np.random.default_rng(2)
    X = rng.normal(size=shape).astype(np.float32)
    y = X[:, 0] + rng.normal(size=shape[0]).astype(np.float32)
    X[3] *= np.float32(size)
    wide = X.astype(float)
    for lam in (0.1, 10.0):
        K = wide @ wide.T + lam * np.eye(shape[0])
        expected = wide.T @ np.linalg.solve(K, y.astype(float))
        fit = path(X, y, [lam], fit_intercept=False)
        np.testing.assert_allclose(fit.params.coef[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("m", [200, 4000, 30_000])
def test_levels_of_a_column_have_a_direction_less_than_there_are(m):
    rng = np.random.default_rng(0)
    levels = np.eye(5)[rng.integers(0, 5, m)]
    X = (levels - levels.mean(axis=0)) / levels.std(axis=0) + 1e3
    y = levels @ rng.normal(size=5) + rng.normal(size=m)
    A = X - X.mean(axis=0)
    expected = np.linalg.lstsq(A, y - y.mean(), rcond=1e-8)[0]
    fit = path(X, y, [0.0])
    np.testing.assert_allclose(fit.params.coef[0], expected, rtol=1e-9)
    np.testing.assert_allclose(fit.df, 5, rtol=1e-9)
    assert lambda_grid(X)[0] > 1e-3 * m


def test_a_mean_far_from_0_is_no_direction():
    rng = np.random.default_rng(0)
    X = (rng.random((30, 60)) < 0.1).astype(float)
    X[:, -1] = rng.normal(size=30)
    y = X[:, -1] + X[:, 0] + 0.1 * rng.normal(size=30)
    lams = [0.01, 1.0]
    expected = leave_one_out(X, y, lams).mean
    X[:, -1] += 1e8
    np.testing.assert_allclose(leave_one_out(X, y, lams).mean, expected, rtol=1e-6)
