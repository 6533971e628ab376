"""Scores of predictions against scikit-learn's metrics and NumPy's correlation."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

import jaxridge
from jaxridge.scoring import SCORINGS, predictions, scoring_of

RNG = np.random.default_rng(2)
Y = RNG.normal(size=(20, 3)) + [0.0, 5.0, -100.0]
PREDICTION = Y + RNG.normal(size=(20, 3)) * [0.1, 1.0, 5.0]
WEIGHT = RNG.integers(0, 4, 20).astype(float)
WEIGHTS = {"ones": np.ones(20), "integers, some 0": WEIGHT, "parts": RNG.random(20)}


def pearson(y, prediction, sample_weight, multioutput):
    """Return NumPy's correlation, weights as covariances have them."""
    pairs = zip(y.T, prediction.T, strict=True)
    return [pearson_of(*pair, sample_weight) for pair in pairs]


def pearson_of(y, prediction, weight):
    c = np.cov(y, prediction, aweights=weight)
    return c[0, 1] / np.sqrt(c[0, 0] * c[1, 1])


METRICS = {
    "mse": (mean_squared_error, False),
    "mae": (mean_absolute_error, False),
    "r2": (r2_score, True),
    "correlation": (pearson, True),
}


def score(name, *arrays):
    with jax.enable_x64(True):
        return np.array(SCORINGS[name].score(*map(jnp.asarray, arrays)))


def test_every_scoring_has_its_metric():
    assert set(SCORINGS) == set(METRICS)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", METRICS)
def test_scores_are_those_of_known_metrics(name, weights):
    metric, greater_is_better = METRICS[name]
    weight = WEIGHTS[weights]
    expected = metric(Y, PREDICTION, sample_weight=weight, multioutput="raw_values")
    found = score(name, Y, PREDICTION, weight)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)
    assert scoring_of(name).greater_is_better is greater_is_better


@pytest.mark.parametrize("name", METRICS)
def test_integer_weights_are_repeated_rows(name):
    copies = [np.repeat(a, WEIGHT.astype(int), axis=0) for a in (Y, PREDICTION)]
    by_rows = score(name, *copies, np.ones(len(copies[0])))
    np.testing.assert_allclose(score(name, Y, PREDICTION, WEIGHT), by_rows, rtol=1e-11)


def test_correlation_is_numpys():
    found = score("correlation", Y, PREDICTION, np.ones(20))
    expected = [
        np.corrcoef(*pair)[0, 1] for pair in zip(Y.T, PREDICTION.T, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_correlation_knows_neither_unit_nor_origin():
    found = score("correlation", 1e-150 * Y, 1e100 * PREDICTION - 7, WEIGHT)
    expected = score("correlation", Y, PREDICTION, WEIGHT)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert np.all(np.abs(score("correlation", Y, 3 * Y + 1, WEIGHT) - 1) < 1e-12)


@pytest.mark.parametrize("value", [7.0, 0.1, 1e6 / 3])
def test_a_constant_prediction_correlates_with_nothing(value):
    found = score("correlation", Y, np.full_like(Y, value), WEIGHT)
    np.testing.assert_allclose(found, 0, atol=1e-12)


@pytest.mark.parametrize("name", ["r2", "correlation"])
@pytest.mark.parametrize("value", [7.0, 0.1, 1e6 / 3])
def test_a_constant_target_has_no_score(name, value):
    found = score(name, np.full_like(Y, value), PREDICTION, WEIGHT)
    assert np.isnan(found).all()


def test_rows_without_weight_are_not_seen():
    counts = WEIGHT > 0
    wild = np.where(counts[:, None], PREDICTION, 1e30)
    for name in METRICS:
        found = score(name, Y, wild, WEIGHT)
        np.testing.assert_allclose(
            found, score(name, Y, PREDICTION, WEIGHT), rtol=1e-9, err_msg=name
        )


def test_single_precision_keeps_its_digits_far_from_0():
    data = [np.float32(a) for a in (Y + 1000, PREDICTION + 1000, WEIGHT)]
    for name, (metric, _) in METRICS.items():
        found = SCORINGS[name].score(*map(jnp.asarray, data))
        y, prediction, weight = (a.astype(float) for a in data)
        expected = metric(y, prediction, sample_weight=weight, multioutput="raw_values")
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_function_is_called_later_and_is_better_when_greater():
    scoring = scoring_of(mean_absolute_error)
    assert scoring == (predictions, True)
    assert scoring.score(Y, PREDICTION, WEIGHT) is PREDICTION


@pytest.mark.parametrize(
    ("scoring", "error", "message"),
    [
        ("accuracy", ValueError, "`scoring` must be one of mse, mae, r2, correlation"),
        (None, TypeError, "`scoring` must be one of"),
        (3, TypeError, "or a function of (y, prediction), got int"),
        (["mse"], TypeError, "`scoring` must be one of"),
    ],
)
def test_what_is_no_scoring_is_refused(scoring, error, message):
    with pytest.raises(error, match=re.escape(message)):
        scoring_of(scoring)


def test_a_function_is_shown_numpy_s_arrays_and_may_write_to_them():
    X = np.random.default_rng(0).normal(size=(30, 3))
    y = X[:, 0] + X[:, 1] ** 2
    before = y.copy()

    def positive(y, prediction):
        prediction[prediction < 0] = 0
        return -np.mean((y - prediction) ** 2)

    found = jaxridge.cross_validate(X, y, [0.1, 1.0], 3, scoring=positive)
    shown = jaxridge.cross_validate(
        X, y, [0.1, 1.0], 3, scoring=lambda y, p: -np.mean((y - p.clip(0)) ** 2)
    )
    np.testing.assert_array_equal(found.mean, shown.mean)
    np.testing.assert_array_equal(y, before)


def test_a_function_is_shown_jax_s_arrays_where_those_were_given():
    X = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    found = jaxridge.cross_validate(
        jnp.asarray(X),
        jnp.asarray(X[:, 0]),
        [0.1, 1.0],
        3,
        scoring=lambda y, p: -jnp.mean((y - p.at[0].set(0)) ** 2),
    )
    assert np.isfinite(found.mean).all()
