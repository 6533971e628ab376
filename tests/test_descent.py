"""Descents against the closed form, against loops in NumPy, and against themselves."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, brute, brute_cost, compilations, norm
from sklearn.datasets import load_diabetes

from jaxridge import Descent, Params, descend, solve, sweep, trajectory
from jaxridge.draws import cumulative, draw
from jaxridge.trajectory import BLOCK, STRIDE

RNG = np.random.default_rng(7)
X = RNG.normal(size=(40, 3)) * [1.0, 2.0, 0.5] + [0.5, -1.0, 0.0]
Y = X @ RNG.normal(size=(3, 2)) + [1.0, -3.0] + RNG.normal(size=(40, 2))
y = Y[:, 0]
WEIGHT = RNG.integers(0, 4, 40).astype(float)
LAM, RATE = 2.0, 0.15
LAMS = np.array([1e-3, 1.0, 30.0, 1e3])
ZERO = Params(np.zeros(3), np.array(0.0))
SMALL = X, y, LAMS
# Few programs for many tests: a compilation takes longer than they do.
DEFAULT = {"compress": False}
PLAIN = {"learning_rate": RATE, "compress": False, "max_steps": 130}
AUTO = {"learning_rate": "auto", "compress": False, "max_steps": 130}


class Path(NamedTuple):
    """Params, J and ‖∇J‖/‖∇J(0)‖ before each step and after the last."""

    params: list
    J: np.ndarray
    norm: np.ndarray


def slope(params, X, y, lam, weight=None, fit_intercept=True):
    """Return ∇J by the formula on paper, in NumPy."""
    coef, intercept = params
    weight = np.ones(len(X)) if weight is None else weight
    error = ((X @ coef + intercept - y).T * weight).T
    moves = error.sum(0) if fit_intercept else 0 * error.sum(0)
    return Params((X.T @ error + lam * coef) / weight.sum(), moves / weight.sum())


def steepness(params, *data, **options):
    """Return ‖∇J‖ at params."""
    return np.sqrt(sum(np.sum(part**2) for part in slope(params, *data, **options)))


def plain_descent(X, y, lam, rate, steps, *, weight=None, fit_intercept=True):
    """Take steps of plain gradient descent on (coef, intercept) from 0."""
    targets = np.shape(y)[1:]
    params = Params(np.zeros((X.shape[1], *targets)), np.zeros(targets))
    path = [params]
    for _ in range(steps):
        down = slope(params, X, y, lam, weight, fit_intercept)
        params = Params(*(p - rate * d for p, d in zip(params, down, strict=True)))
        path.append(params)
    norms = [steepness(p, X, y, lam, weight, fit_intercept) for p in path]
    values = [brute_cost(p, X, y, lam, weight) for p in path]
    return Path(path, np.array(values), np.array(norms) / norms[0])


def first_within(path, tol):
    """Return the first place on a path with ‖∇J‖ ≤ tol ‖∇J(0)‖, or its end."""
    within = np.flatnonzero(path.norm <= tol)
    return within[0] if within.size else len(path.J) - 1


def assert_history(history, path, steps):
    """Assert J before each of the steps, and after them J where they led."""
    assert_close(history[:steps], path.J[:steps])
    assert_close(history[steps:], np.full(len(history) - steps, path.J[steps]))


def assert_follows(fit, path):
    """Assert that a descent took every step of a path."""
    steps = len(path.J) - 1
    assert fit.steps == len(fit.history) == steps
    assert_history(fit.history, path, steps)
    assert_close(fit.params.coef, path.params[-1].coef)
    assert_close(fit.params.intercept, path.params[-1].intercept)
    assert fit.gradient_norm == pytest.approx(path.norm[-1], rel=1e-6, abs=1e-13)
    assert not fit.converged


# --- the answer -----------------------------------------------------------------


def diabetes(scaled):
    return load_diabetes(return_X_y=True, scaled=scaled)


def made(m, n):
    rng = np.random.default_rng(m * n)
    X = rng.normal(size=(m, n))
    return X, X @ rng.normal(size=n) + 5 + rng.normal(size=m)


PROBLEMS = {
    "diabetes": (*diabetes(True), LAMS),
    "diabetes, raw": (*diabetes(False), LAMS),
    "wide": (*made(50, 200), np.array([1.0, 10.0, 100.0, 1e4])),
    "one feature": (*made(50, 1), LAMS),
}


def assert_within(actual, expected, digits=1e-6):
    for one, other in zip(actual, expected, strict=True):
        assert norm(one - other) <= digits * norm(other)


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("diabetes", True),
        ("diabetes", False),
        ("diabetes, raw", True),
        ("diabetes, raw", False),
        ("wide", False),
        ("one feature", True),
    ],
)
def test_every_row_of_a_sweep_is_the_closed_form(name, compress):
    X, y, lams = PROBLEMS[name]
    fits = sweep(X, y, lams, compress=compress)
    assert fits.converged.all()
    assert fits.history.shape == (len(lams), 1000)
    np.testing.assert_array_equal(fits.lam, lams)
    for coef, intercept, lam in zip(*fits.params, lams, strict=True):
        assert_within((coef, intercept), brute(X, y, lam))


@pytest.mark.parametrize("name", ["diabetes", "diabetes, raw", "wide"])
def test_a_descent_ends_at_the_closed_form(name):
    X, y, lams = PROBLEMS[name]
    for lam in lams:
        fit = descend(X, y, lam)
        assert fit.converged
        assert fit.lam == lam
        assert_within(fit.params, brute(X, y, lam))


def test_automatic_steps_reach_the_closed_form():
    X, y, lams = PROBLEMS["diabetes"]
    fits = sweep(X, y, lams, learning_rate="auto")
    np.testing.assert_array_equal(fits.converged, [False, True, True, True])
    for coef, intercept, lam in list(zip(*fits.params, lams, strict=True))[1:]:
        assert_within((coef, intercept), brute(X, y, lam))


@pytest.mark.parametrize(
    ("target", "fit_intercept", "compress"),
    [(y, True, True), (y, True, False), (Y, False, False)],
    ids=["one target, compressed", "one target", "several targets, no intercept"],
)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weights"])
def test_weights_targets_and_models_without_intercept(
    target, fit_intercept, compress, weight
):
    options = {"weight": weight, "fit_intercept": fit_intercept}
    fit = descend(X, target, LAM, compress=compress, **options)
    expected = brute(X, target, LAM, **options)
    assert fit.converged
    assert fit.params.coef.shape == expected.coef.shape
    assert_within(fit.params, expected)


@pytest.mark.parametrize("scaled", [True, False])
def test_float32_stays_float32_and_reaches_its_digits(scaled):
    X, y = diabetes(scaled)
    fit = descend(X.astype(np.float32), y.astype(np.float32), 1.0)
    floats = (fit.lam, *fit.params, fit.history, fit.gradient_norm)
    assert {a.dtype for a in floats} == {np.dtype(np.float32)}
    assert fit.converged
    assert fit.gradient_norm <= 1e-5
    assert_within((fit.params.coef,), (brute(X, y, 1.0).coef,), 1e-5)


@pytest.mark.parametrize("rule", [DEFAULT, AUTO], ids=["default", "auto"])
def test_a_constant_target_needs_no_step(rule):
    fit = descend(X, np.full(40, 0.1), LAM, **rule)
    assert (fit.steps, fit.converged, fit.gradient_norm) == (0, True, 0)
    np.testing.assert_array_equal(fit.params.coef, 0)
    assert fit.params.intercept == 0.1


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("lam", [0.0, LAM])
def test_a_constant_column_gets_no_coefficient(compress, lam):
    with_constant = np.column_stack([X[:, :2], np.full(40, 0.1)])
    fit = descend(with_constant, y, lam, compress=compress)
    assert fit.converged
    assert fit.params.coef[2] == 0
    assert_within((fit.params.coef[:2],), (brute(X[:, :2], y, lam).coef,))


@pytest.mark.parametrize("scale", [1e-15, 1e12])
def test_units_of_the_target_do_not_matter_in_float32(scale):
    X, y = diabetes(True)
    fit = descend(X.astype(np.float32), (y * scale).astype(np.float32), LAM)
    assert fit.converged
    assert_within((fit.params.coef / scale,), (brute(X, y, LAM).coef,), 1e-4)


@pytest.mark.parametrize("power", [-14, -7, 0, 12])
def test_units_of_all_data_do_not_matter_in_float32(power):
    small = [(a * 10.0**power).astype(np.float32) for a in (X, y)]
    fit = descend(*small, 0.0)
    assert fit.converged and fit.steps <= 2 * X.shape[1]
    assert_within((fit.params.coef,), (brute(X, y, 0.0).coef,), 1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"progress": "no"}, TypeError, "`progress` must be True or False"),
        ({"compress": np.ones(3)}, ValueError, '`compress` must be True, False or "a'),
    ],
)
def test_options_that_are_no_flags_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        descend(X, y, LAM, **options)


def test_products_below_the_range_are_refused():
    for dtype, size in ((np.float32, 1e-18), (np.float64, 1e-170)):
        with pytest.raises(ValueError, match="products of those are below the range"):
            descend(*((a * size).astype(dtype) for a in (X, y)), 0.0)


def test_a_good_start_may_rise_a_little():
    start = descend(X, y, 1.0).params
    fit = descend(X, y, 1.01, init=start, optimizer=optax.adam(0.01), max_steps=20)
    assert fit.steps == 20


def test_a_gradient_whose_square_underflows_is_not_taken_for_zero():
    X, y = diabetes(True)
    with pytest.raises(ValueError, match="out of the range of this dtype"):
        descend(X.astype(np.float32), (y * 1e-25).astype(np.float32), LAM)


def test_integer_weights_are_repeated_rows():
    weight = np.arange(40) % 3
    weight[0] = 1
    rows = np.repeat(X, weight, axis=0), np.repeat(y, weight, axis=0)
    by_weight = descend(X, y, LAM, weight=weight, **DEFAULT)
    by_rows = descend(*rows, LAM, **DEFAULT)
    assert by_weight.steps == by_rows.steps
    assert_close(by_weight.history, by_rows.history)
    assert_within(by_weight.params, by_rows.params)


# --- step by step ---------------------------------------------------------------

CASES = {
    "one target": (y, {}),
    "weights": (y, {"weight": WEIGHT}),
    "several targets, no intercept": (Y, {"weight": WEIGHT, "fit_intercept": False}),
}


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_a_learning_rate_takes_the_steps_of_a_loop(case, compress):
    target, options = CASES[case]
    path = plain_descent(X, target, LAM, RATE, 130, **options)
    options = PLAIN | {"compress": compress, "tol": 0} | options
    fit = descend(X, target, LAM, **options)
    assert_follows(fit, path)
    if not options.get("fit_intercept", True):
        np.testing.assert_array_equal(fit.params.intercept, [0, 0])


@pytest.mark.parametrize("max_steps", [1, BLOCK, BLOCK + 1])
def test_every_number_of_steps_is_kept(max_steps):
    path = plain_descent(X, y, LAM, RATE, max_steps)
    options = PLAIN | {"max_steps": max_steps, "tol": 0}
    assert_follows(descend(X, y, LAM, **options), path)


# A schedule computes in float32, whatever the params: powers of 2 are exact.
HALVED = optax.exponential_decay(0.125, 5, 0.5, staircase=True)
OPTIMIZERS = {
    "adam": (optax.adam(RATE), {}),
    "schedule, momentum": (optax.sgd(HALVED, momentum=0.8), {}),
    "weight decay, no intercept": (optax.adamw(RATE), {"fit_intercept": False}),
}
TWELVE = {"max_steps": 12, "tol": 0, "compress": False}


def loop_over(optimizer, lam, fit_intercept=True):
    """Take twelve steps of an optimizer from 0, one by one."""
    params = ZERO
    path = [params]
    with jax.enable_x64(True):
        memory = optimizer.init(params)
        for _ in range(12):
            down = slope(params, X, y, lam, None, fit_intercept)
            updates, memory = optimizer.update(down, memory, params)
            params = jax.tree.map(np.asarray, optax.apply_updates(params, updates))
            path.append(params)
    norms = np.array([steepness(p, X, y, lam, None, fit_intercept) for p in path])
    values = np.array([brute_cost(p, X, y, lam) for p in path])
    return Path(path, values, norms / norms[0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_takes_the_steps_of_a_loop_over_it(name):
    optimizer, options = OPTIMIZERS[name]
    fit = descend(X, y, LAM, optimizer=optimizer, **TWELVE, **options)
    assert_follows(fit, loop_over(optimizer, LAM, **options))


def test_an_optimizer_in_a_sweep_keeps_to_itself_and_to_float32():
    data = X.astype(np.float32), y.astype(np.float32)
    fits = sweep(*data, LAMS, optimizer=optax.adam(RATE), **TWELVE)
    assert {a.dtype.itemsize for a in jax.tree.leaves(fits)} == {4, 1}
    for i, lam in enumerate(LAMS):
        path = loop_over(optax.adam(RATE), lam)
        assert_history(fits.history[i], path, 12)
        assert_close(fits.params.coef[i], path.params[-1].coef)


# --- stopping -------------------------------------------------------------------


@pytest.fixture(params=[1, STRIDE], ids=["a look a step", "as on a GPU"])
def stride(request, monkeypatch):
    """So many steps between two looks at what has stopped."""
    jax.clear_caches()
    monkeypatch.setattr(trajectory, "_stride", lambda rows: request.param)
    yield
    jax.clear_caches()


@pytest.mark.usefixtures("stride")
def test_plain_descent_stops_at_the_first_point_within_tol():
    for tol in (1.0, 0.5, 1e-2, 1e-4, 0.0):
        _stops_at_the_first_point_within(tol)


def _stops_at_the_first_point_within(tol):
    path = plain_descent(X, y, LAM, RATE, 130)
    steps = first_within(path, tol)
    fit = descend(X, y, LAM, tol=tol, **PLAIN)
    assert (fit.steps, fit.converged) == (steps, path.norm[steps] <= tol)
    assert_history(fit.history, path, steps)
    assert_close(fit.params.coef, path.params[steps].coef, scale=1)


@pytest.mark.usefixtures("stride")
def test_a_sweep_keeps_each_penalty_until_it_stops():
    lams, tol = np.array([1e-3, 15.0, 1e3, 1e9]), 1e-5
    fits = sweep(X, y, lams, tol=tol, **AUTO)
    centred = X - X.mean(axis=0)
    rates = len(X) / (np.linalg.norm(centred, 2) ** 2 + lams)
    for i, (lam, rate) in enumerate(zip(lams, rates, strict=True)):
        path = plain_descent(centred, y - y.mean(), lam, rate, 130)
        steps = first_within(path, tol)
        assert (fits.steps[i], fits.converged[i]) == (steps, path.norm[steps] <= tol)
        assert_history(fits.history[i], path, steps)
    assert fits.steps[0] == 130
    assert BLOCK < fits.steps[1] < 130
    assert fits.steps[3] <= 2


GRADIENTS = {
    "default": (DEFAULT, y, True),
    "default, no intercept": (DEFAULT, Y, False),
    "auto": (AUTO, y, True),
    "plain": (PLAIN, y, True),
    "plain, no intercept": (PLAIN, Y, False),
}


@pytest.mark.parametrize("case", GRADIENTS)
def test_gradient_norm_is_that_of_the_answer_over_that_at_zero(case):
    rule, target, fit_intercept = GRADIENTS[case]
    options = {"weight": WEIGHT, "fit_intercept": fit_intercept, "tol": 0.01}
    fit = descend(X, target, LAM, **options, **rule)
    best = np.average(target, axis=0, weights=WEIGHT)
    starts_at_best = fit_intercept and rule is not PLAIN
    zero = Params(0 * fit.params.coef, best if starts_at_best else 0 * best)
    data = X, target, LAM, WEIGHT, fit_intercept
    expected = steepness(fit.params, *data) / steepness(zero, *data)
    assert fit.gradient_norm == pytest.approx(expected, rel=1e-6)
    assert fit.gradient_norm <= 0.01
    assert fit.converged
    last = brute_cost(fit.params, X, target, LAM, WEIGHT)
    assert_close(fit.history[fit.steps :], np.full(len(fit.history) - fit.steps, last))
    assert np.all(np.diff(fit.history[: fit.steps + 1]) < 0)


def test_the_default_rule_stands_still_once_nothing_is_left_to_descend():
    fit = descend(X, y, LAM, tol=0, **DEFAULT)
    assert fit.gradient_norm <= 1e-14
    assert_within(fit.params, brute(X, y, LAM), 1e-12)


# --- starting -------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [DEFAULT, AUTO, PLAIN, TWELVE | {"optimizer": optax.adam(RATE), "tol": 1e-10}],
    ids=["default", "auto", "plain", "adam"],
)
def test_a_warm_start_at_the_answer_takes_no_step(rule):
    answer = brute(X, y, LAM)
    fit = descend(X, y, LAM, init=answer, **rule)
    assert (fit.steps, fit.converged) == (0, True)
    np.testing.assert_array_equal(fit.params.coef, answer.coef)
    assert_close(fit.params.intercept, answer.intercept)
    assert_close(fit.history, np.full_like(fit.history, brute_cost(answer, X, y, LAM)))


@pytest.mark.parametrize("rule", [DEFAULT, PLAIN], ids=["default", "plain"])
def test_a_warm_start_of_several_targets_takes_no_step(rule):
    answer = brute(X, Y, LAM, fit_intercept=False)
    fit = descend(X, Y, LAM, init=answer, fit_intercept=False, **rule)
    assert (fit.steps, fit.converged) == (0, True)
    np.testing.assert_array_equal(fit.params.coef, answer.coef)


def test_a_start_is_where_plain_descent_goes_on_from():
    path = plain_descent(X, y, LAM, RATE, 140)
    fit = descend(X, y, LAM, init=path.params[10], tol=0, **PLAIN)
    assert fit.steps == 130
    assert_close(fit.history, path.J[10:-1])
    assert_close(fit.params.coef, path.params[-1].coef)


def test_a_sweep_starts_every_penalty_at_the_same_point():
    X, y, lams = PROBLEMS["diabetes"]
    answer = brute(X, y, lams[1])
    fits = sweep(X, y, lams, init=answer, **DEFAULT)
    assert fits.steps[1] == 0
    assert np.all(fits.steps[[0, 2, 3]] > 0)
    expected = [brute_cost(answer, X, y, lam) for lam in lams]
    assert_close(fits.history[:, 0], expected)


def test_a_target_of_zeros_brings_any_start_to_zero():
    start = Params(np.ones(3), np.array(1.0))
    fit = descend(X, 0 * y, LAM, init=start, **DEFAULT)
    assert norm(fit.params.coef) <= 1e-10
    assert fit.params.intercept == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    "init",
    [
        Params(np.zeros(2), np.array(0.0)),
        Params(np.zeros((3, 1)), np.zeros(1)),
        Params(np.zeros(3), np.zeros(1)),
    ],
)
def test_a_start_that_does_not_fit_is_refused(init):
    with pytest.raises(ValueError, match=re.escape("`init` must have coef (3,) and")):
        descend(X, y, LAM, init=init)


# --- mini-batches ---------------------------------------------------------------

BATCHES = {"learning_rate": 0.05, "batch_size": 8, "max_steps": 60}


def test_the_key_decides_the_batches():
    by_int, again, by_key, by_numpy = (
        descend(X, y, LAM, key=key, **BATCHES)
        for key in (3, 3, jax.random.key(3), np.int64(3))
    )
    other = descend(X, y, LAM, key=4, **BATCHES)
    for same in (again, by_key, by_numpy):
        np.testing.assert_array_equal(same.history, by_int.history)
        np.testing.assert_array_equal(same.params.coef, by_int.params.coef)
    assert np.all(other.history[1:] != by_int.history[1:])


@pytest.mark.parametrize("key", [3, jax.random.key(3)], ids=["int", "JAX key"])
def test_every_penalty_of_a_sweep_draws_the_same_batches(key):
    fits = sweep(X, y, np.full(4, LAM), key=key, **BATCHES)
    assert isinstance(fits.history, np.ndarray)
    alone = descend(X, y, LAM, key=3, **BATCHES)
    assert_close(fits.history, np.tile(alone.history, (4, 1)))


def test_every_step_is_taken_and_tol_judges_the_end_over_all_rows():
    fit = descend(X, y, LAM, key=0, weight=WEIGHT, **BATCHES)
    data = X, y, LAM, WEIGHT
    expected = steepness(fit.params, *data) / steepness(ZERO, *data)
    assert fit.gradient_norm == pytest.approx(expected, rel=1e-9)
    assert (fit.steps, fit.converged) == (60, False)
    assert len(np.unique(fit.history)) == 60
    loose = descend(X, y, LAM, key=0, weight=WEIGHT, tol=1.0, **BATCHES)
    assert (loose.steps, loose.converged) == (60, True)


def test_batches_of_rows_that_are_all_alike_are_the_whole():
    alike = np.tile(X[:1], (40, 1)), np.tile(y[:1], 40)
    how = {"weight": WEIGHT, "fit_intercept": False}
    path = plain_descent(*alike, LAM, 0.05, 60, **how)
    fit = descend(*alike, LAM, key=0, **how, **BATCHES)
    assert_close(fit.history, path.J[:-1])
    assert_close(fit.params.coef, path.params[-1].coef)


def test_rows_are_drawn_in_proportion_to_their_weights_and_never_at_zero():
    rng = np.random.default_rng(0)
    weight = np.repeat(WEIGHT, 500) * rng.integers(0, 2, 20_000) * rng.random(20_000)
    some = jax.jit(lambda key, w: draw(key, cumulative(w), 500_000))
    drawn = some(jax.random.key(0), jnp.asarray(weight, jnp.float32))
    share = np.bincount(drawn // 500, minlength=40) / 500_000
    expected = weight.reshape(40, 500).sum(axis=1) / weight.sum()
    np.testing.assert_allclose(share, expected, atol=0.002)
    assert np.all(weight[drawn] > 0)


def test_of_many_rows_none_is_between_two_numbers_that_may_be_drawn():
    m = 2**24 + 3  # of which float32 shares of 2⁻²³ would name every second
    some = jax.jit(lambda key, w: draw(key, cumulative(w), 100_000))
    drawn = np.asarray(some(jax.random.key(0), jnp.ones(m, jnp.float32)))
    assert drawn.min() >= 0 and m - m // 1000 < drawn.max() < m
    for divisor in (2, 3):
        share = np.bincount(drawn % divisor) / len(drawn)
        np.testing.assert_allclose(share, 1 / divisor, atol=0.01)


def test_rows_of_weight_zero_are_never_drawn():
    away = np.where(WEIGHT > 0, 0, 1e9)
    plain = descend(X, y, LAM, key=0, weight=WEIGHT, **BATCHES)
    wild = descend(X + away[:, None], y - away, LAM, key=0, weight=WEIGHT, **BATCHES)
    np.testing.assert_array_equal(wild.history, plain.history)
    np.testing.assert_array_equal(wild.params.coef, plain.params.coef)


def test_batches_may_start_at_the_answer():
    answer = brute(X, y, LAM)
    fit = descend(X, y, LAM, key=0, init=answer, **BATCHES)
    assert fit.steps == 60
    assert norm(fit.params.coef - answer.coef) <= 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": RATE}, "`batch_size` needs a `key`"),
        ({"key": 0}, "`batch_size` needs a rule that bears noisy gradients"),
        (
            {"key": 0, "learning_rate": "auto"},
            "`batch_size` needs a rule that bears noisy gradients",
        ),
        (
            {"key": 0, "learning_rate": RATE, "compress": True},
            "`compress` works on all rows",
        ),
        ({"key": -1, "learning_rate": RATE}, "`key` must be at least 0"),
        ({"key": 0, "learning_rate": RATE, "batch_size": 0}, "`batch_size` must be at"),
    ],
)
def test_batches_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        descend(X, y, LAM, **({"batch_size": 8} | options))


# --- divergence -----------------------------------------------------------------


def named_step(message):
    """Return the step size that an error names."""
    return float(re.search(r"learning_rate=([0-9.e+-]+);", message)[1])


FAST = PLAIN | {"learning_rate": 5.0}
GRID = np.array([1e4, 1.0, 1e3, 10.0])
DIVERGING = {
    "one penalty": (descend, X, y, LAM, FAST),
    "compressed": (descend, X, y, LAM, FAST | {"compress": True}),
    "far from the origin": (descend, X + 1000, y, LAM, PLAIN),
    "no intercept": (descend, X, Y, LAM, FAST | {"fit_intercept": False}),
    "weights": (descend, X, y, LAM, FAST | {"weight": WEIGHT}),
    "optimizer": (descend, X, y, LAM, TWELVE | {"optimizer": optax.sgd(5.0)}),
    "sweep": (sweep, X, y, GRID, PLAIN | {"learning_rate": 0.2}),
    "batches": (descend, X, y, LAM, BATCHES | {"learning_rate": 5.0, "key": 0}),
}


@pytest.mark.parametrize("case", DIVERGING)
def test_a_descent_that_diverges_names_a_step_that_descends(case):
    train, X, y, lam, options = DIVERGING[case]
    with pytest.raises(ValueError, match="the descent diverged at lam") as error:
        train(X, y, lam, **options)
    fit_intercept = options.get("fit_intercept", True)
    options = PLAIN | {"weight": options.get("weight"), "fit_intercept": fit_intercept}
    options["learning_rate"] = named_step(str(error.value))
    history = np.atleast_2d(train(X, y, lam, **options).history)
    assert np.all(np.diff(history) <= 1e-12 * history[:, :1])
    assert np.all(history[:, -1] < history[:, 0])


def test_divergence_says_where_and_how_many():
    with pytest.raises(ValueError, match=r"at lam = 10000 \(2 of 4 descents\)"):
        sweep(X, y, GRID, **PLAIN | {"learning_rate": 0.2})


@pytest.mark.parametrize(
    ("X", "y"),
    [(X, y * 1e200), (X * 1e200, y)],
    ids=["J overflows", "its gradient overflows"],
)
def test_data_too_large_for_the_dtype_are_refused(X, y):
    with pytest.raises(ValueError, match="out of the range of this dtype"):
        descend(X, y, LAM, **DEFAULT)


@pytest.mark.usefixtures("stride")
def test_divergence_under_jit_is_finite_and_not_converged():
    data = jnp.asarray(X, jnp.float32), jnp.asarray(y, jnp.float32)
    train = jax.jit(lambda X, y, rate: sweep(X, y, LAMS, learning_rate=rate))
    for rate in (5.0, 1e30):
        fits = train(*data, rate)
        assert not np.any(fits.converged)
        assert all(np.isfinite(part).all() for part in fits.params)
        assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(fits))


# --- one program ----------------------------------------------------------------

FRESH = {
    "default": lambda i: DEFAULT,
    "learning rate": lambda i: PLAIN | {"learning_rate": 1e-3 / i},
    "rates": lambda i: PLAIN | {"learning_rate": np.full(4, 1e-3 / i)},
    "optimizer": lambda i: TWELVE | {"optimizer": optax.sgd(1e-3)},
    "batches": lambda i: BATCHES | {"learning_rate": 1e-3 / i, "key": i},
}


@pytest.mark.parametrize("rule", FRESH)
def test_other_values_compile_nothing(rule):
    X, y, _ = PROBLEMS["diabetes"] if rule == "default" else SMALL
    init, weight = Params(0 * X[0], np.array(0.0)), np.arange(len(y)) % 3

    def call(i):
        options = FRESH[rule](i) | {"tol": 1e-3 / i, "init": init, "weight": weight + i}
        sweep(X * i, y - i, LAMS / i, **options)

    call(1)
    with compilations() as count:
        for i in (2, 3):
            call(i)
    assert count() == 0


def test_a_learning_rate_may_differ_from_penalty_to_penalty():
    rates = RATE / np.array([1.0, 2.0, 3.0, 50.0])
    fits = sweep(X, y, LAMS, **PLAIN | {"learning_rate": rates, "tol": 0})
    for i, (lam, rate) in enumerate(zip(LAMS, rates, strict=True)):
        path = plain_descent(X, y, lam, rate, 130)
        assert_close(fits.history[i], path.J[:-1])


def test_progress_changes_nothing_and_shows_nothing_without_a_terminal(capfd):
    plain = sweep(X, y, LAMS, tol=1e-4, **AUTO)
    watched = sweep(X, y, LAMS, tol=1e-4, progress=True, **AUTO)
    assert capfd.readouterr() == ("", "")
    assert plain.steps.min() < BLOCK < 2 * BLOCK < plain.steps.max()
    for one, other in zip(*map(jax.tree.leaves, (plain, watched)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


def test_progress_is_left_out_under_a_transformation():
    data = X.astype(np.float32), y.astype(np.float32)
    many = jax.vmap(lambda lam: descend(*data, lam, progress=True, **PLAIN).steps)
    assert many(jnp.array([1.0, 2.0])).shape == (2,)


# --- composition ----------------------------------------------------------------


def test_descents_compose_with_jit_and_vmap():
    many = jax.jit(jax.vmap(descend, in_axes=(None, 0, 0)))
    data = jnp.asarray(X, jnp.float32), jnp.asarray(Y.T, jnp.float32)
    fits = many(*data, jnp.array([1.0, 30.0]))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(fits))
    assert fits.params.coef.shape == (2, 3)
    assert fits.converged.all()
    for j, lam in enumerate([1.0, 30.0]):
        fit = fits.params.coef[j], fits.params.intercept[j]
        assert_within(fit, brute(X, Y[:, j], lam), 1e-4)


def test_the_answer_has_the_kind_of_the_data():
    by_numpy = descend(X, y, LAM, **PLAIN)
    data = jnp.asarray(X, jnp.float32), jnp.asarray(y, jnp.float32)
    by_jax = descend(*data, LAM, **PLAIN)
    for leaf, other in zip(*map(jax.tree.leaves, (by_numpy, by_jax)), strict=True):
        assert isinstance(leaf, np.ndarray | np.generic)
        assert isinstance(other, jax.Array)
        assert leaf.shape == other.shape


# --- refusals and words ---------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": optax.sgd(0.1), "learning_rate": 0.1}, "pass one of the two"),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0, got 0.0"),
        ({"learning_rate": -1.0}, "`learning_rate` must be above 0, got -1.0"),
        ({"learning_rate": np.nan}, "`learning_rate` must be finite"),
        ({"init": Params(X[0] * np.nan, 0.0)}, "`init.coef` must be finite"),
        ({"learning_rate": [0.1, 0.2]}, "`learning_rate` must be one number or one"),
        ({"learning_rate": "fast"}, '`learning_rate` must be a number or "auto"'),
        ({"max_steps": 0}, "`max_steps` must be at least 1, got 0"),
        ({"max_steps": 10**13}, "`max_steps` must be at most 10000000"),
        ({"tol": -1e-3}, "`tol` must be a number of at least 0, got -0.001"),
        ({"tol": np.nan}, "`tol` must be a number of at least 0, got nan"),
        ({"compress": "yes"}, "`compress` must be True, False or \"auto\", got 'yes'"),
        ({"weight": -WEIGHT}, "`weight` must not be negative"),
    ],
)
@pytest.mark.parametrize("train", [descend, sweep])
def test_options_that_cannot_be_are_refused(train, options, message):
    lam = LAM if train is descend else [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match=re.escape(message)):
        train(X, y, lam, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adam"}, "`optimizer` must be an optax rule .* got str"),
        ({"optimizer": optax.adam}, "`optimizer` must be an optax rule .* function"),
        ({"max_steps": 2.5}, "`max_steps` must be a whole number, got 2.5"),
        ({"max_step": 5}, "max_step"),
        ({"tol": 10**400}, "`tol` must hold numbers, got dtype object"),
        ({"batch_size": 2.5, "learning_rate": 0.1, "key": 0}, "`batch_size` must be a"),
        ({"batch_size": 8, "learning_rate": 0.1, "key": 0.5}, "`key` must be a whole"),
    ],
)
@pytest.mark.parametrize("train", [descend, sweep])
def test_options_of_another_type_are_refused(train, options, message):
    with pytest.raises(TypeError, match=message):
        train(X, y, LAM if train is descend else LAMS, **options)


@pytest.mark.parametrize(
    ("train", "lam", "message"),
    [
        (descend, LAMS, "`lam` must be one number, .* use `sweep`"),
        (sweep, LAM, "`lams` must be a list of penalties"),
        (sweep, [], "`lams` is empty"),
        (sweep, [[1.0]], "`lams` must be a list of penalties"),
        (sweep, [[1.0], [1.0, 2.0]], "`lams` is not a rectangular array"),
        (descend, [[1.0], [1.0, 2.0]], "`lam` is not a rectangular array"),
        (descend, -1.0, "`lam` must be at least 0, got -1.0"),
        (sweep, [1.0, -1.0], "`lams` must be at least 0, got -1.0"),
        (sweep, [1.0, np.nan], "`lams` must be finite"),
        (sweep, [-1.0], "`lams` must be at least 0, got -1.0"),
    ],
)
def test_penalties_that_cannot_be_are_refused(train, lam, message):
    with pytest.raises(ValueError, match=message):
        train(X, y, lam)


@pytest.mark.parametrize("transform", [jax.grad, jax.jacfwd])
def test_a_descent_has_no_derivative(transform):
    def last(lam, y):
        return descend(X, y, lam).history[-1]

    with jax.enable_x64(True):
        with pytest.raises(TypeError, match="a descent has no derivative.*`solve`"):
            transform(last)(LAM, y)
        with pytest.raises(TypeError, match="a descent has no derivative.*`solve`"):
            jax.jit(transform(last, argnums=1))(LAM, y)


def test_a_descent_prints_one_line():
    fit = Descent(1.5, ZERO, np.array([4.0, 3.0, 3.0]), 2, np.True_, 1e-12)
    header, _, line = str(fit).splitlines()
    assert header.split()[:5] == ["lam", "J", "at", "first", "step"]
    assert line.split() == ["1.5", "4", "3", "2", "yes", "1.0e-12"]


def test_a_sweep_prints_at_most_twelve_lines_spread_over_the_grid():
    lams = np.arange(1.0, 101.0)
    fits = Descent(
        lam=lams,
        params=Params(np.zeros((100, 3)), np.zeros(100)),
        history=np.ones((100, 4)),
        steps=np.arange(100),
        converged=lams > 50,
        gradient_norm=lams,
    )
    lines = [line.split() for line in str(fits).splitlines()[2:]]
    assert len(lines) == 12
    assert [lines[0][0], lines[-1][0]] == ["1", "100"]
    assert [lines[0][4], lines[-1][4]] == ["no", "yes"]


def test_a_start_at_an_exact_fit_is_where_it_ends():
    X, y = np.array([[1.0], [2.0], [3.0]]), np.array([2.0, 4.0, 6.0])
    exact = Params(np.array([2.0]), np.array(0.0))
    for options in ({}, {"learning_rate": 0.1}):
        fit = descend(X, y, 0.0, init=exact, **options)
        assert (fit.params.coef, fit.converged, fit.steps) == (2, True, 0)


@pytest.mark.parametrize("optimizer", [None, optax.adam(0.05)])
@pytest.mark.parametrize("compress", [True, False])
def test_a_constant_column_leaves_everything_to_the_intercept(optimizer, compress):
    rng = np.random.default_rng(3)
    rows = np.column_stack([rng.normal(size=40), np.full(40, 3.0)])
    target = rows[:, 0] + 5
    how = {"optimizer": optimizer} if optimizer else {"learning_rate": 0.05}
    fits = sweep(rows, target, [0.0, 1e-9], max_steps=5000, compress=compress, **how)
    assert fits.converged.all()
    np.testing.assert_array_equal(fits.params.coef[:, 1], 0)
    np.testing.assert_allclose(fits.params.coef[:, 0], 1, rtol=1e-6)
    np.testing.assert_allclose(fits.params.intercept, 5, rtol=1e-6)


def test_a_descent_from_an_exact_fit_is_no_divergence():
    exact = X @ np.arange(1.0, X.shape[1] + 1) + 3
    start = solve(X, exact, 0.0)
    fit = descend(X, exact, 0.0, init=start, tol=0.0, learning_rate=0.01, max_steps=50)
    assert_close(fit.params.coef, start.coef)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (jnp.array(3), TypeError, "`key` must be a whole number or one key"),
        (jnp.zeros(5), TypeError, "`key` must be a whole number or one key"),
        (jax.random.split(jax.random.key(0)), TypeError, "`key` must be a whole"),
        (2**32, ValueError, "`key` must be at most"),
        (-1, ValueError, "`key` must be at least 0"),
    ],
)
def test_keys_that_cannot_be_are_refused(key, error, message):
    with pytest.raises(error, match=message):
        descend(X, y, LAM, learning_rate=RATE, batch_size=2, key=key)
