"""Certificates: 0 at the minimum, not elsewhere, and what a path tells of itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SHAPES, brute, problem

from jaxridge import (
    Certificate,
    Params,
    ParamsPath,
    Route,
    certify,
    gcv,
    gradient,
    moments_of,
    path,
    solve,
)

LAMS = np.array([1.0, 1e-3, 1e3, 30.0])
MANY = problem(30, 5, 3, weighted=True)
# Of rows whose mean is twice their spread, and the gradient at their raw values.
LEAST = {np.float64: 1e-12, np.float32: 1e-4}


def norms(params, X, y, lam, weight):
    """Return ‖∇J‖ of a fit of one target over ‖∇J‖ at the mean alone."""
    zero = Params(np.zeros_like(params.coef), np.average(y, weights=weight))
    found = [gradient(p, X, y, lam, weight) for p in (params, zero)]
    lengths = [np.hypot(np.linalg.norm(g.coef), g.intercept) for g in found]
    return lengths[0] / lengths[1]


@pytest.mark.parametrize("dtype", LEAST)
@pytest.mark.parametrize("name", SHAPES)
def test_every_path_is_at_the_minimum(name, dtype):
    X, y, weight = SHAPES[name].astype(dtype)
    found = path(X, y, LAMS, weight=weight).certificate
    np.testing.assert_array_equal(
        found.lams, np.float64([1e-3, 1.0, 1e3]).astype(dtype)
    )
    assert (found.autodiff < LEAST[dtype]).all()
    assert (found.by_hand < LEAST[dtype]).all()
    assert found.autodiff.dtype == dtype


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_fit_of_many_targets_is_certified(fit_intercept):
    X, Y, weight = MANY.astype(np.float64)
    how = {"weight": weight, "fit_intercept": fit_intercept}
    exact = solve(X, Y, 2.0, **how)
    assert (certify(exact, X, Y, 2.0, **how).by_hand < 1e-13).all()
    coef = exact.coef.copy()
    coef[2, 1] *= 1.001  # one coefficient of one target
    wrong = certify(exact._replace(coef=coef), X, Y, 2.0, **how)
    assert (wrong.by_hand > 1e-5).all()
    np.testing.assert_allclose(wrong.autodiff, wrong.by_hand, rtol=1e-6)


def test_of_one_target_it_is_the_norm_of_the_gradient():
    made = SHAPES["weights"]
    params = brute(made.X, made.y, 5.0, made.weight)
    for lam in (0.0, 5.5, 50.0):
        found = certify(params, made.X, made.y, lam, weight=made.weight)
        expected = norms(params, made.X, made.y, lam, made.weight)
        np.testing.assert_allclose(found.autodiff, [expected], rtol=1e-9)
        np.testing.assert_allclose(found.by_hand, [expected], rtol=1e-9)


def test_a_path_of_moments_is_certified_and_knows_its_error():
    X, Y, weight = MANY.astype(np.float64)
    sums = moments_of(X, Y, 3, weight=weight)
    for fit_intercept in (True, False):
        found = path(sums, None, LAMS, fit_intercept=fit_intercept)
        rows = path(X, Y, LAMS, weight=weight, fit_intercept=fit_intercept)
        assert (found.certificate.by_hand < 1e-12).all()
        assert (found.certificate.autodiff < 1e-12).all()
        np.testing.assert_allclose(
            found.training_error, rows.training_error, rtol=1e-10
        )


@pytest.mark.parametrize("name", SHAPES)
def test_the_training_error_is_that_of_the_predictions(name):
    X, y, weight = SHAPES[name].astype(np.float64)
    found = path(X, y, LAMS, weight=weight)
    weight = np.ones(len(X)) if weight is None else weight
    for i in range(len(LAMS)):
        params = found.params.at(i)
        squares = (X @ params.coef + params.intercept - y) ** 2
        expected = np.average(squares, axis=0, weights=weight)
        scale = 1e-11 * np.var(y)
        np.testing.assert_allclose(found.training_error[i], expected, atol=scale)


def test_condition_and_route_are_told():
    found = path(MANY.X, MANY.y, [0.0, 1.0])
    A = MANY.X - MANY.X.mean(axis=0)
    true = np.linalg.cond(A.T @ A)
    np.testing.assert_allclose(found.certificate.condition, true, rtol=1e-6)
    assert found.route == Route("primal", "one factorisation", "float64")
    close = MANY.X.copy()
    close[:, 1] = close[:, 0] * (1 + 1e-9)
    raised = path(close, MANY.y, [0.0, 1.0]).route
    assert raised.system == "svd" and raised.raised
    single = path(close.astype(np.float32), MANY.y.astype(np.float32), [0.0]).route
    assert single.dtype == "float64" and single.raised
    assert gcv(MANY.X, MANY.y, [1.0]).route == found.route


def test_a_certificate_prints_and_passes_through_jit():
    with jax.enable_x64(True):
        X, y = jnp.asarray(MANY.X), jnp.asarray(MANY.y[:, 0])
        found = jax.jit(lambda lams: path(X, y, lams).certificate)(jnp.asarray(LAMS))
    assert isinstance(found, Certificate)
    text = str(jax.tree.map(np.asarray, found))
    assert "gradient norm, autodiff" in text
    assert "svd, one factorisation, float64; condition number" in text


@pytest.mark.parametrize(
    ("params", "lam", "error", "message"),
    [
        ("solution", 1.0, TypeError, "`params` must be Params, got str"),
        (Params(np.zeros(4), np.zeros(())), 1.0, ValueError, "`params` must have coef"),
        (Params(np.zeros(5), np.zeros(5)), 1.0, ValueError, "`params` must have inter"),
        (Params(np.zeros(5), np.zeros(())), [1.0], ValueError, "`lam` must be one"),
        (ParamsPath(np.zeros((1, 5)), np.zeros(1)), 1.0, ValueError, "`lam` must be a"),
        (Params(np.zeros(5), np.zeros(())), -1.0, ValueError, "`lam` must be at least"),
    ],
)
def test_what_cannot_be_certified_is_refused(params, lam, error, message):
    with pytest.raises(error, match=message):
        certify(params, MANY.X, MANY.y[:, 0], lam)


@pytest.mark.parametrize(
    ("coef", "error", "message"),
    [
        ([np.nan, 0, 0, 0], ValueError, "`coef` must be finite"),
        ([1 + 5j, 0, 0, 0], TypeError, "`coef` must be real"),
        ([None, 0, 0, 0], TypeError, "`coef`"),
        (["a", "b", "c", "d"], TypeError, "`coef`"),
        ([1e308, 0, 0, 0], ValueError, "`params` are so large"),
    ],
)
def test_coefficients_that_are_no_numbers_are_not_certified(coef, error, message):
    X = 100 * np.random.default_rng(0).normal(size=(24, 4))
    with pytest.raises(error, match=message):
        certify(Params(np.array(coef), np.array(0.0)), X, X[:, 0], 1.0)


def test_fits_wider_than_the_rows_are_certified_as_they_are():
    X, y, weight = MANY.astype(np.float32)
    exact = solve(*(a.astype(np.float64) for a in (X, y)), 2.0, weight=weight)
    found = certify(exact, X, y, 2.0, weight=weight)
    assert found.by_hand.dtype == np.float64
    assert (found.by_hand < 1e-12).all()
