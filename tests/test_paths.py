"""Fits along a grid of penalties against one fit at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPES, SHAPES, TALL, assert_close, brute, centred_rows, norm
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jaxridge import (
    Params,
    ParamsPath,
    Path,
    choose,
    cross_validate,
    path,
    predict,
    solve,
    sweep,
)
from jaxridge.columns import Columns, standardized

LAMS = np.array([0.3, 1e6, 0.0, 10.0, 0.3])
RUNS = [(name, True) for name in SHAPES] + [
    (name, False) for name in ("tall", "wide", "weights")
]


def at(params, i):
    return Params(params.coef[i], params.intercept[i])


def assert_same(found, expected, X, y, rtol):
    """Assert equality of coefficients, and of intercepts as x̄ and ȳ allow."""
    assert np.shape(found.coef) == np.shape(expected.coef)
    assert np.shape(found.intercept) == np.shape(expected.intercept)
    assert norm(found.coef - expected.coef) <= rtol * norm(expected.coef)
    size = norm(np.abs(X).mean(axis=0)) * norm(expected.coef) + norm(y.mean(axis=0))
    assert norm(found.intercept - expected.intercept) <= rtol * size


@pytest.mark.parametrize(("name", "fit_intercept"), RUNS)
def test_every_penalty_has_the_fit_of_solve(name, fit_intercept):
    X, y, weight = SHAPES[name][:3]
    options = {"weight": weight, "fit_intercept": fit_intercept}
    found = path(X, y, LAMS, **options)
    assert isinstance(found, Path)
    assert isinstance(found.params, ParamsPath)
    np.testing.assert_array_equal(found.lams, LAMS)
    for i, lam in enumerate(LAMS):
        assert_same(at(found.params, i), solve(X, y, lam, **options), X, y, 1e-10)


@pytest.mark.parametrize("name", ["wide", "rank-deficient", "duplicate columns"])
def test_least_squares_are_of_minimum_norm(name):
    X, y = SHAPES[name][:2]
    found = path(X, y, LAMS).params
    assert_same(at(found, 2), brute(X, y, 0.0), X, y, 1e-10)


@pytest.mark.parametrize(("name", "fit_intercept"), RUNS)
def test_degrees_of_freedom_are_the_trace_of_the_hat_matrix(name, fit_intercept):
    X, y, weight = SHAPES[name][:3]
    A, *_ = centred_rows(X, y, weight, fit_intercept)
    lams = np.where(LAMS == 0, 1e-3, LAMS)
    penalty = [lam * np.eye(A.shape[1]) for lam in lams]
    expected = [np.trace(A @ np.linalg.solve(A.T @ A + P, A.T)) for P in penalty]
    options = {"weight": weight, "fit_intercept": fit_intercept}
    found = path(X, y, lams, **options).df
    np.testing.assert_allclose(found, np.array(expected) + fit_intercept, rtol=1e-10)
    rank = np.linalg.matrix_rank(A) + fit_intercept
    np.testing.assert_allclose(path(X, y, LAMS, **options).df[2], rank, rtol=1e-12)


def test_penalties_keep_their_order_and_repeats():
    found = path(TALL.X, TALL.y, LAMS)
    order = np.argsort(LAMS, kind="stable")
    by_size = path(TALL.X, TALL.y, LAMS[order])
    for one, other in zip(
        jax.tree.leaves(found[:-1]), jax.tree.leaves(by_size[:-1]), strict=True
    ):
        np.testing.assert_array_equal(one[order], other)
    ends = found.certificate.lams
    np.testing.assert_array_equal(ends[[0, -1]], [LAMS.min(), LAMS.max()])
    np.testing.assert_array_equal(found.params.coef[0], found.params.coef[4])


def test_tiny_penalties_are_not_lost():
    X = TALL.X * 1e-8
    lams = LAMS * 1e-16
    expected = path(TALL.X, TALL.y, LAMS).params
    found = path(X, TALL.y, lams).params
    np.testing.assert_allclose(found.coef * 1e-8, expected.coef, rtol=1e-10)


# --- digits ---------------------------------------------------------------------


def test_least_squares_know_no_units():
    units = np.array([1.0, 1e-8, 1.0, 1.0])
    found = path(TALL.X * units, TALL.y, LAMS).params.coef[2] * units
    expected = solve(TALL.X, TALL.y, 0.0).coef
    # What is left of 16 digits at a condition number of 1e8.
    assert norm(found - expected) <= 1e-6 * norm(expected)


def test_least_squares_know_no_units_in_single_precision():
    units = np.array([1.0, 1e-4, 1.0, 1.0])
    X, y = np.float32(TALL.X * units), np.float32(TALL.y)
    found = path(X, y, LAMS).params.coef[2] * units
    expected = brute(X.astype(float), y.astype(float), 0.0).coef * units
    assert norm(found - expected) <= 1e-3 * norm(expected)


@pytest.mark.parametrize(
    ("dtype", "unit", "rtol"), [(np.float32, 0.1, 1e-3), (np.float64, 1e-6, 1e-6)]
)
def test_many_rows_drop_no_column(dtype, unit, rtol):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200_000, 2)).astype(dtype)
    y = X @ np.ones(2, dtype) + rng.normal(size=len(X)).astype(dtype)
    units = np.array([1, unit], dtype)
    found = path(X * units, y, np.zeros(1)).params.coef[0] * units
    expected = np.linalg.lstsq(X - X.mean(axis=0), y - y.mean())[0]
    assert norm(found - expected) <= rtol * norm(expected)


def test_columns_that_almost_depend_are_not_dropped():
    X = TALL.X.copy()
    X[:, 1] = X[:, 0] + 1e-8 * X[:, 1]
    found, expected = path(X, TALL.y, LAMS).params, solve(X, TALL.y, 0.0)
    assert_same(at(found, 2), expected, X, TALL.y, 1e-6)


def test_single_precision_keeps_its_digits_far_from_0():
    far = 600 * np.array([1, -1, 1, -1])
    X, y = np.float32(TALL.X + far), np.float32(TALL.y)
    found = path(X, y, LAMS)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(found))
    for i, lam in enumerate(LAMS):
        expected = brute(X.astype(float), y.astype(float), lam)
        assert_same(at(found.params, i), expected, X, y, 1e-3)


# --- kinds ----------------------------------------------------------------------


def test_numpy_comes_from_numpy():
    leaves = jax.tree.leaves(path(TALL.X, TALL.y, LAMS))
    assert all(isinstance(leaf, np.ndarray | np.generic) for leaf in leaves)
    assert all(leaf.dtype == np.float64 for leaf in leaves)


@pytest.mark.parametrize("wrap", [jax.jit, lambda function: function])
def test_jax_comes_from_jax(wrap):
    data = (jnp.asarray(a, jnp.float32) for a in (TALL.X, TALL.y, LAMS))
    found = wrap(path)(*data)
    leaves = jax.tree.leaves(found)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    assert all(leaf.dtype == np.float32 for leaf in leaves)
    expected = path(TALL.X, TALL.y, LAMS)
    for one, other in zip(
        *map(jax.tree.leaves, (found[:-1], expected[:-1])), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert (found.certificate.by_hand < 1e-4).all()


def test_derivatives_by_lam_are_those_of_the_answer():
    made = SHAPES["rank-deficient"]
    lams = np.array([0.5, 2.0, 7.0, 1.0, 3.0])
    with jax.enable_x64(True):
        slope = jax.jacfwd(lambda lams: path(made.X, made.y, lams).params.coef)
        found = np.array(slope(jnp.asarray(lams)))
    for i, lam in enumerate(lams):
        expected = made.coef_by_lam(lam)[0]
        assert norm(found[i, :, i] - expected) <= 1e-10 * norm(expected)


def test_a_path_is_printed_as_a_table():
    lines = str(path(TALL.X, TALL.y, np.logspace(-2, 2, 30))).splitlines()
    assert lines[0].split() == ["lam", "degrees", "of", "freedom", "norm", "of", "coef"]
    rows = np.array([line.split() for line in lines[2:]], float)
    assert rows.shape == (12, 3)
    np.testing.assert_allclose(rows[[0, -1], 0], [0.01, 100])
    assert (np.diff(rows, axis=0) * [1, -1, -1] > 0).all()


def test_results_that_are_traced_are_printed_as_such():
    told = []

    @jax.jit
    def fit(X, y):
        found = path(X, y, LAMS)
        told.extend([str(found), str(found.certificate)])
        scores = cross_validate(X, y, LAMS)
        told.extend([str(scores), str(choose(scores))])
        told.append(str(sweep(X, y, LAMS, max_steps=2)))
        return found

    fit(jnp.asarray(TALL.X), jnp.asarray(TALL.y))
    names = ("Path", "Certificate", "Scores", "Choice", "Descent")
    assert [one.split("(")[0] for one in told] == list(names)


@pytest.mark.parametrize("t", [None, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_path_of_prepared_columns_is_in_the_columns_own_units(dtype, t):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(50, 4)) * [1, 10, 100, 0.1] + 5).astype(dtype)
    y = rng.normal(size=50 if t is None else (50, t)).astype(dtype)
    holed = X.copy()
    holed[3, 1] = np.nan
    weight = rng.integers(0, 3, 50).astype(dtype)
    lams = [0.5, 7.0]
    found = path(holed, y, lams, weight=weight, prepare=standardized)
    assert found.params.coef.dtype == dtype
    often = np.repeat(np.arange(50), weight.astype(int))
    for lam, predicted in zip(lams, predict(found.params, X), strict=True):
        peer = make_pipeline(SimpleImputer(), StandardScaler(), Ridge(lam))
        peer.fit(holed[often].astype(float), y[often])
        assert_close(predicted, peer.predict(X.astype(float)))


def test_columns_may_be_prepared_by_a_function_of_ones_own():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)) + 1, rng.normal(size=20)
    for learner in (
        lambda X, w: Columns(0.0, 0.0, 2.0),
        lambda X, w: Columns(X.at[0].get(), 1.0, jnp.full(3, 2.0)),
    ):
        found = path(X, y, [0.5], prepare=learner).params.at(0)
        expected = solve(X / 2, y, 0.5)
        np.testing.assert_allclose(found.coef, expected.coef / 2, rtol=1e-10)
        np.testing.assert_allclose(found.intercept, expected.intercept, rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prepare": 1}, TypeError, "`prepare` must be a function"),
        ({"lams": 1.0}, ValueError, "`lams` must be a list of penalties"),
        ({"lams": "auto"}, ValueError, "got 'auto': `lambda_grid` makes one"),
        ({"lams": []}, ValueError, "`lams` is empty"),
        ({"lams": [-1.0]}, ValueError, "`lams` must be at least 0"),
        ({"y": TALL.y[:-1]}, ValueError, "same number of rows"),
        ({"X": TALL.X + np.nan}, ValueError, "`X` must be finite"),
        ({"weight": -np.ones(12)}, ValueError, "`weight` must not be negative"),
        ({"y": ["a"] * 12}, TypeError, "`y` must hold numbers"),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        path(**{"X": TALL.X, "y": TALL.y, "lams": [1.0]} | options)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_places_beyond_the_grid_are_refused(kind):
    params = ParamsPath(kind(np.ones((3, 4))), kind(np.arange(3.0)))
    assert params.among([0, -1]).intercept.tolist() == [0, 2]
    assert params.at(2).intercept == 2
    for wrong in (3, -4):
        with pytest.raises(IndexError, match="`index` must be places in a grid of 3"):
            params.at(wrong)
        with pytest.raises(IndexError, match="`indices` must be places in a grid of"):
            params.among([0, wrong])
