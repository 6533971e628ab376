"""Automatic grids: where they begin and end, and that the best is found on them."""

import numpy as np
import pytest

from jaxridge import (
    cross_validate,
    evidence,
    factors,
    gcv,
    lambda_grid,
    leave_one_out,
    moments_of,
)
from jaxridge.columns import standardized

RNG = np.random.default_rng(0)
INCOME = RNG.lognormal(10.5, 0.7, 300)
SHARE, AGE = RNG.uniform(size=300), RNG.uniform(18, 90, 300)
EARNED = 3 * SHARE + 0.02 * AGE + 1e-5 * INCOME + 0.3 * RNG.normal(size=300)
FIVE = RNG.normal(size=(300, 5))
# Columns in units so unequal that XᵀX cannot tell the smallest from its rounding.
UNEQUAL = {
    "an income, a share and an age": (np.c_[INCOME, SHARE, AGE], EARNED),
    "a cent of income and a share of thousands": (
        np.c_[1e4 * INCOME, 1e-3 * SHARE, AGE],
        EARNED,
    ),
    "sixteen decades": (
        FIVE * [1e-8, 1, 1e8, 1e4, 1e-4],
        FIVE.sum(axis=1) + 0.3 * RNG.normal(size=300),
    ),
}
SCORES = {
    "leave-one-out": leave_one_out,
    "gcv": gcv,
    "5 folds": cross_validate,
}


def brute_error(X, y, lam):
    """Return the mean squared leave-one-out error, columns in units of their own.

    With coefficients in those units, √λ differs from column to column, and QR keeps the
    digits of each.
    """
    A, B = X - X.mean(axis=0), y - y.mean()
    size = np.linalg.norm(A, axis=0)
    Q = np.linalg.qr(np.concatenate([A / size, np.sqrt(lam) * np.diag(1 / size)]))[0]
    Q = Q[: len(X)]
    slack = 1 - np.sum(Q**2, axis=1) - 1 / len(X)
    return np.mean(((B - Q @ (Q.T @ B)) / slack) ** 2)


def test_rows_are_multiplied_once_for_the_grid_and_its_scores(monkeypatch):
    y = UNEQUAL["an income, a share and an age"][1]

    def never(_):
        raise AssertionError("all rows are multiplied apart from their folds")

    monkeypatch.setattr(factors, "moments_of_all", never)
    found = cross_validate(FIVE, y, "auto", 5)
    given = cross_validate(FIVE, y, found.lams, 5)
    np.testing.assert_allclose(found.mean, given.mean, rtol=1e-12)
    with pytest.raises(AssertionError, match="apart from their folds"):
        leave_one_out(FIVE, y, "auto")


@pytest.mark.parametrize(
    ("score", "case", "dtype"),
    [
        *(("leave-one-out", case, np.float32) for case in UNEQUAL),
        ("leave-one-out", "sixteen decades", np.float64),
        ("gcv", "sixteen decades", np.float32),
        ("5 folds", "an income, a share and an age", np.float32),
    ],
)
def test_the_best_is_found_among_columns_of_unequal_size(score, case, dtype):
    score, (X, y) = SCORES[score], (a.astype(dtype) for a in UNEQUAL[case])
    found = score(X, y, "auto")
    chosen = float(found.lams[np.argmin(found.mean)])
    wide = np.asarray(X, np.float64), np.asarray(y, np.float64)
    errors = [brute_error(*wide, lam) for lam in np.logspace(-22, 22, 200)]
    # Folds and GCV estimate another error, of nearly the same least penalty.
    allowed = 1e-3 if score is leave_one_out else 5e-3
    assert brute_error(*wide, chosen) < min(errors) * (1 + allowed)
    if score is leave_one_out:
        assert found.mean.min() == pytest.approx(brute_error(*wide, chosen), rel=1e-4)


@pytest.mark.parametrize("case", UNEQUAL.values(), ids=UNEQUAL)
def test_a_grid_begins_where_every_direction_is_kept(case):
    X, _ = case
    A = X - X.mean(axis=0)
    size = np.linalg.norm(A, axis=0)
    # tr (AᵀA)⁻¹, by the inverse of the correlations.
    inverse = np.linalg.inv((A / size).T @ (A / size))
    least = 0.01 / np.sum(np.diagonal(inverse) / size**2)
    for grid in (lambda_grid(X), lambda_grid(X.astype(np.float32))):
        assert grid[0] == pytest.approx(least, rel=1e-3)
        assert grid[-1] == pytest.approx(np.sum(size**2) / 0.01, rel=1e-3)
    sums = moments_of(X, EARNED, 2)
    assert lambda_grid(sums)[0] == pytest.approx(least, rel=1e-3)


def test_few_rows_of_unequal_columns_have_their_smallest_direction():
    X = np.random.default_rng(1).normal(size=(12, 30))
    X[:, :5] *= 1e7
    s = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)[:-1]
    assert lambda_grid(X)[0] == pytest.approx(0.01 / np.sum(s**-2.0), rel=1e-3)


def test_columns_that_depend_on_each_other_add_nothing():
    X = FIVE[:, :3]
    twice = np.c_[X, X[:, 0]]
    s = np.linalg.svd(twice - twice.mean(axis=0), compute_uv=False)[:-1]
    assert lambda_grid(twice)[0] == pytest.approx(0.01 / np.sum(s**-2.0), rel=1e-6)
    assert lambda_grid(np.ones((5, 2))).tolist() == pytest.approx(
        np.geomspace(0.01, 100, 100).tolist()
    )


@pytest.mark.parametrize("criterion", [leave_one_out, gcv, evidence])
def test_a_grid_goes_on_while_that_makes_a_difference(criterion):
    X = FIVE[:, :2]
    nearly = X.sum(axis=1) + 1e-6 * FIVE[:, 2]
    least = lambda_grid(X)[0]
    found = criterion(X, nearly, "auto")
    assert found.lams[0] < 1e-3 * least
    assert (np.diff(found.lams) > 0).all()
    noise = np.random.default_rng(3).normal(size=300)
    # Of two targets, one asks for less and one for all that there is.
    both = criterion(X, np.c_[nearly, noise], "auto")
    assert both.lams[0] == found.lams[0]
    assert len(both.lams) >= len(found.lams)


def test_a_grid_stops_at_the_limits_of_the_dtype():
    X = np.float32(1e-15) * FIVE.astype(np.float32)
    y = np.float32(1e3) * X[:, 0] / np.float32(1e-15)
    found = evidence(X, y, "auto")
    assert found.lams.dtype == np.float32
    assert np.isfinite(found.mean).all() and (found.lams > 0).all()


def test_prepared_columns_have_a_grid_of_their_own():
    X, y = UNEQUAL["sixteen decades"]
    found = cross_validate(X, y, "auto", prepare=standardized)
    assert 1e-3 < found.lams[0] < 10 and found.lams[-1] == pytest.approx(5 * 300 / 0.01)


def test_the_grid_has_the_precision_of_the_rows():
    X = np.arange(12, dtype=np.float32).reshape(6, 2)
    assert lambda_grid(X).dtype == np.float32
    with pytest.raises(ValueError, match="`count` must be at most 1000000"):
        lambda_grid(X, 10**13)
