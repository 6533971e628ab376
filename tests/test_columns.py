"""What is learnt from columns with missing, constant and uncounted values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, compilations, norm
from sklearn.preprocessing import StandardScaler

from jaxridge import Params, predict
from jaxridge.columns import (
    imputed,
    original_units,
    prepared,
    scaled,
    standardized,
    untouched,
)

NAN = np.nan
LEARNERS = (untouched, imputed, standardized, scaled)
WEIGHT = np.array([0.0, 1, 3, 1, 0, 2])
# One column each: complete; with gaps; constant; constant with gaps; missing wherever
# the weight is not 0; missing everywhere; of mean far from 0 beside its spread.
X = np.array(
    [
        [1.0, NAN, 0.1, 7.0, 5.0, NAN, 1e6],
        [2.0, 4.0, 0.1, NAN, NAN, NAN, 1e6 + 1],
        [0.0, NAN, 0.1, 7.0, NAN, NAN, 1e6 + 2],
        [5.0, -3.0, 0.1, 7.0, NAN, NAN, 1e6 - 1],
        [9.0, 99.0, 0.1, NAN, 5.0, NAN, 1e6],
        [3.0, 8.0, 0.1, 7.0, NAN, NAN, 1e6 + 4],
    ]
)
CONSTANT = [2, 3]
ABSENT = [4, 5]
PRESENT = [0, 1, 2, 3, 6]


def learn(learner, X=X, weight=WEIGHT):
    """Return what is learnt in float64, as NumPy arrays."""
    with jax.enable_x64(True):
        learnt = jax.jit(learner)(jnp.asarray(X), jnp.asarray(weight))
    return jax.tree.map(np.asarray, learnt)


def apply(columns, X=X):
    """Return prepared rows in float64, as a NumPy array."""
    with jax.enable_x64(True):
        return np.asarray(prepared(columns, jnp.asarray(X)))


def assert_each_close(actual, expected):
    """Assert that every column that is there is close, however large the others."""
    for j in PRESENT:
        assert_close(actual[j], expected[j])


def moments():
    """Return means of what is there, 0 where nothing is, and variances once filled."""
    means, variances = np.zeros((2, X.shape[1]))
    for j in PRESENT:
        there = ~np.isnan(X[:, j])
        weight = WEIGHT[there]
        means[j] = np.average(X[there, j], weights=weight)
        filled = np.where(there, X[:, j], means[j])
        variances[j] = np.average((filled - means[j]) ** 2, weights=WEIGHT)
    variances[CONSTANT] = 0
    return means, variances


@pytest.mark.parametrize("learner", [imputed, standardized, scaled])
def test_missing_values_are_filled_with_the_weighted_mean_of_those_there(learner):
    means, _ = moments()
    fill = learn(learner).fill
    assert_each_close(fill, means)
    assert list(fill[CONSTANT]) == [0.1, 7.0]


@pytest.mark.parametrize("learner", [imputed, standardized, scaled])
def test_column_without_a_value_that_counts_is_zero_in_its_own_unit(learner):
    fill, origin, scale = learn(learner)
    assert list(fill[ABSENT]) == list(origin[ABSENT]) == [0, 0]
    assert list(scale[ABSENT]) == [1, 1]


def test_scales_are_those_of_the_values_that_count():
    means, variances = moments()
    deviation = np.sqrt(np.where(variances > 0, variances, 1))
    assert_each_close(learn(standardized).scale, deviation)
    assert_each_close(learn(scaled).scale, np.sqrt(variances + means**2))
    assert list(learn(imputed).scale) == [1] * X.shape[1]


@pytest.mark.parametrize("learner", LEARNERS)
def test_rows_that_do_not_count_teach_nothing(learner):
    other = X.copy()
    other[WEIGHT == 0] = [[-50, NAN, 3, 8, NAN, 1e9, 0], [NAN, 2, NAN, 0, -4, 6, NAN]]
    before, after = learn(learner), learn(learner, other)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_standardized_columns_are_those_of_scikit_learn():
    means, _ = moments()
    filled = np.where(np.isnan(X), means, X)
    peer = StandardScaler().fit(filled[:, PRESENT], sample_weight=WEIGHT)
    learnt = learn(standardized)
    for j, mean, scale in zip(PRESENT, peer.mean_, peer.scale_, strict=True):
        assert_close(learnt.origin[j], mean)
        assert_close(learnt.scale[j], scale)


def test_standardized_columns_have_mean_zero_and_variance_one():
    rows = apply(learn(standardized))
    there = ~np.isnan(X)
    for j in (0, 1, 6):
        assert abs(np.average(rows[:, j], weights=WEIGHT)) < 1e-14
        assert np.average(rows[:, j] ** 2, weights=WEIGHT) == pytest.approx(1, 1e-12)
    assert not np.any(rows[~there])
    assert not np.any(rows[:, CONSTANT])


def test_scaled_columns_have_mean_square_one_about_zero():
    learnt = learn(scaled)
    rows = apply(learnt)
    assert not np.any(learnt.origin)
    for j in (0, 2, 6):
        assert np.average(rows[:, j] ** 2, weights=WEIGHT) == pytest.approx(1, 1e-12)


@pytest.mark.parametrize("learner", [imputed, standardized, scaled])
def test_prepared_rows_have_no_gaps(learner):
    assert np.all(np.isfinite(apply(learn(learner))))


def test_untouched_columns_are_untouched():
    whole = np.nan_to_num(X)
    assert np.array_equal(apply(learn(untouched), whole), whole)


@pytest.mark.parametrize("targets", [(), (3,)])
@pytest.mark.parametrize("learner", LEARNERS)
def test_params_in_original_units_predict_the_same(learner, targets):
    rng = np.random.default_rng(0)
    params = Params(rng.normal(size=(7, *targets)), rng.normal(size=targets))
    columns = learn(learner)
    whole = np.where(np.isnan(X), columns.fill, X)
    with jax.enable_x64(True):
        raw = jax.tree.map(np.asarray, original_units(columns, params))
    expected = predict(params, apply(columns, whole))
    scale = norm(np.abs(whole) @ np.abs(raw.coef))
    assert_close(predict(raw, whole), expected, scale)
    assert raw.coef.shape == params.coef.shape
    assert raw.intercept.shape == params.intercept.shape


def test_learners_keep_float32_and_learn_under_vmap():
    weights = jnp.asarray(np.stack([WEIGHT, np.ones(6)]), jnp.float32)
    rows = jnp.asarray(X, jnp.float32)
    learnt = jax.jit(jax.vmap(standardized, in_axes=(None, 0)))(rows, weights)
    assert {part.dtype for part in learnt} == {np.dtype(np.float32)}
    assert_close(learnt.fill[0], learn(standardized).fill)


@pytest.mark.parametrize("unit", [1e-20, 1e20])
@pytest.mark.parametrize("learner", [standardized, scaled])
def test_no_unit_is_too_small_or_too_large(learner, unit):
    X = np.array([[1.0], [3.0], [2.0], [7.0]], np.float32)
    unit = np.float32(unit)
    plain, other = (learner(jnp.asarray(x), jnp.ones(4)) for x in (X, X * unit))
    np.testing.assert_allclose(other.scale, plain.scale * unit, rtol=1e-6)


def test_what_is_learnt_from_rows_of_many_tiles_is_compiled_once(monkeypatch):
    monkeypatch.setattr("jaxridge.tiles.TILE", {"cpu": 16})
    rows = np.tile(np.arange(40.0)[:, None], 3)
    standardized(rows, np.ones(40))
    with compilations() as count:
        standardized(2 * rows, np.ones(40))
    assert count() == 0
