"""The closed form against other routes to it, and its derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    DTYPES,
    KNOWN,
    SHAPES,
    assert_close,
    assert_params_close,
    brute,
    centred_rows,
    norm,
    problem,
)
from sklearn.linear_model import ElasticNet, Ridge

import jaxridge
from jaxridge import Params, certify, factors, path, solve, solvers

LAMS = (0.02, 0.7, 1e3)
IN_FLOAT32 = set(SHAPES) - {"square", "one column", "one target as a matrix"}
EVERYWHERE = [(shape, np.float64) for shape in SHAPES]
EVERYWHERE += [(shape, np.float32) for shape in sorted(IN_FLOAT32)]
SINGULAR = ("rank-deficient", "duplicate columns", "wide", "square")


@pytest.mark.parametrize(("shape", "dtype"), EVERYWHERE)
def test_solution_is_that_of_numpy(shape, dtype):
    X, y, weight = SHAPES[shape].astype(dtype)
    for lam in LAMS:
        fit = solve(X, y, lam, weight=weight)
        assert fit.coef.dtype == fit.intercept.dtype == dtype
        assert_params_close(fit, brute(X, y, lam, weight), X, y)


@pytest.mark.parametrize("shape", sorted(IN_FLOAT32))
def test_solution_without_intercept_is_that_of_numpy(shape):
    X, y, weight = SHAPES[shape].astype(np.float64)
    for lam in (0.0, *LAMS):
        fit = solve(X, y, lam, weight=weight, fit_intercept=False)
        assert_close(fit.coef, brute(X, y, lam, weight, fit_intercept=False).coef)
        assert not np.any(fit.intercept)


@pytest.mark.parametrize("shape", KNOWN)
def test_solution_is_the_one_the_data_were_built_from(shape):
    made = KNOWN[shape]
    fit = solve(made.X, made.y, 0.7, weight=made.weight)
    assert_close(fit.coef, made.coef(0.7))


@pytest.mark.parametrize("shape", SHAPES)
def test_lam_is_the_alpha_of_scikit_learn(shape):
    X, y, weight = SHAPES[shape].astype(np.float64)
    fit = solve(X, y, 0.7, weight=weight)
    peer = Ridge(alpha=0.7, solver="svd").fit(X, y, sample_weight=weight)
    coef = peer.coef_.T.reshape(fit.coef.shape)
    intercept = np.reshape(peer.intercept_, fit.intercept.shape)
    assert_params_close(fit, Params(coef, intercept), X, y)


@pytest.mark.parametrize(("shape", "dtype"), EVERYWHERE)
def test_without_a_penalty_the_answer_has_minimum_norm(shape, dtype):
    X, y, weight = SHAPES[shape].astype(dtype)
    fit = solve(X, y, 0.0, weight=weight)
    assert_params_close(fit, brute(X, y, 0.0, weight), X, y)


@pytest.mark.parametrize("shape", SINGULAR)
def test_tiny_penalties_approach_the_minimum_norm_answer(shape):
    X, y, _ = SHAPES[shape].astype(np.float64)
    assert_close(solve(X, y, 1e-13).coef, solve(X, y, 0.0).coef)


def test_huge_penalties_leave_the_mean():
    X, y, _ = SHAPES["several targets"].astype(np.float64)
    fit = solve(X, y, 1e30)
    assert norm(fit.coef) < 1e-25
    assert_close(fit.intercept, y.mean(axis=0))


@pytest.mark.parametrize("lam", [0.0, 0.7])
@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_primal_and_dual_agree(shape, lam):
    X, y, _ = SHAPES[shape].astype(np.float64)
    m, n = X.shape
    fit = solve(X, y, lam)
    if m < n:  # rows that do not count make it tall
        spare = n - m + 1
        more = np.concatenate([X, np.ones((spare, n))]), np.append(y, np.ones(spare))
        other = solve(*more, lam, weight=np.repeat([1.0, 0.0], [m, spare])).coef
    else:  # columns of zeros make it wide
        other, rest = np.split(solve(np.pad(X, ((0, 0), (0, m))), y, lam).coef, [n])
        assert not np.any(rest)
    assert_close(other, fit.coef)


@pytest.mark.parametrize("lam", [0.0, 0.7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_column_has_coefficient_zero_exactly(dtype, lam):
    X, y, weight = SHAPES["constant columns"].astype(dtype)
    for weights in (weight, 1 + np.arange(len(y), dtype=dtype) % 3):
        coef = solve(X, y, lam, weight=weights).coef
        assert np.array_equal(np.flatnonzero(coef), [1, 2])


@pytest.mark.parametrize("lam", [0.0, 0.7])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_constant_target_is_all_intercept_exactly(shape, dtype, lam):
    X, y, _ = SHAPES[shape].astype(dtype)
    fit = solve(X, np.full_like(y, 0.1), lam)
    assert not np.any(fit.coef)
    assert fit.intercept == dtype(0.1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_means_a_thousand_times_the_spread_cost_no_digits(dtype):
    X, y, _ = problem(12, 4, mean=2000.0).astype(dtype)
    fit = solve(X, y + 1000, 0.7)
    assert_params_close(fit, brute(X, y + 1000, 0.7), X, y + 1000)


@pytest.mark.parametrize("dtype", DTYPES)
def test_full_rank_columns_of_unlike_units_are_not_taken_for_dependent(dtype):
    X, y, _ = SHAPES["tall"].astype(dtype)
    units = 10.0 ** np.array([-12, -4, 4, 12], dtype)
    coef = solve(X * units, y, 0.0).coef * units
    assert_close(coef, brute(X, y, 0.0).coef)


@pytest.mark.parametrize("unit", [1e-25, 1e25])
def test_units_whose_squares_float32_cannot_hold_change_nothing(unit):
    X, y, _ = SHAPES["tall"].astype(np.float32)
    coef = solve(X * np.float32(unit), y, 0.0).coef
    assert_close(coef * np.float32(unit), brute(X, y, 0.0).coef)


@pytest.mark.parametrize("lam", [1e-9, 1e-6, 1e-3])
def test_penalties_below_the_rounding_of_the_gram_still_count(lam):
    made = KNOWN["tall"]
    s = np.array([1.0, 1e-1, 1e-2, 1e-4])
    made = made._replace(
        X=(made.X - made.X.mean(0)) @ made.Vt.T / made.s * s @ made.Vt, s=s
    )
    X, y, _ = made.astype(np.float32)
    expected = made.coef(lam)
    # Rounding the matrix to float32 moves each singular value by about eps, and so by
    # eps/s the part of the answer along its direction, s/(s² + lam) of what y has.
    parts = made.Vt @ expected
    allowed = 10 * np.finfo(np.float32).eps * norm(parts / s)
    assert norm(solve(X, y, lam).coef - expected) <= allowed


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("shape", [(20, 40), (4, 6), (8, 8)])
def test_columns_far_from_0_keep_the_answer_of_minimum_norm(shape, repeats):
    """What rounding leaves of a mean is in every row, but no direction of the rows."""
    rng = np.random.default_rng(0)
    near = np.repeat(rng.normal(size=shape), repeats, axis=0)
    y = rng.normal(size=len(near))
    for far in (10.0, 1e2, 1e6):
        X = near + far
        A = (X - far) - (X - far).mean(axis=0)
        expected = np.linalg.pinv(A, rcond=1e-9) @ (y - y.mean())
        with jax.enable_x64(True):
            traced = jax.jit(solve)(jnp.asarray(X), jnp.asarray(y), 0.0)
        for found in (solve(X, y, 0.0), traced):
            assert norm(np.asarray(found.coef) - expected) <= 1e-9 * norm(expected)


@pytest.mark.parametrize("weight", [1e2, 1e4, 1e6])
def test_a_row_that_outweighs_all_others_keeps_the_answer_of_minimum_norm(weight):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 8)), rng.normal(size=8)
    # A fit through every row goes through the heavy one.
    expected = np.linalg.pinv(X[:-1] - X[-1]) @ (y[:-1] - y[-1])
    found = solve(X, y, 0.0, weight=np.append(np.ones(7), weight))
    assert norm(found.coef - expected) <= 1e-11 * norm(expected)


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_many_penalties_by_vmap_are_a_loop(shape):
    X, y, _ = SHAPES[shape].astype(np.float64)
    with jax.enable_x64(True):
        fits = jax.jit(jax.vmap(partial(solve, X, y)))(jnp.array([0.0, *LAMS]))
    for i, lam in enumerate([0.0, *LAMS]):
        assert_params_close(
            Params(fits.coef[i], fits.intercept[i]), solve(X, y, lam), X, y
        )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mean", [1e4, 1e5, 1e6])
@pytest.mark.parametrize("shape", [(600, 1800), (2200, 500)])
def test_many_rows_far_from_0_keep_their_digits(shape, mean, weighted):
    rng = np.random.default_rng(0)
    X = (mean + rng.normal(size=shape)).astype(np.float32)
    y = rng.normal(size=len(X)).astype(np.float32)
    weight = rng.integers(1, 4, len(X)).astype(np.float32) if weighted else None
    w = np.ones(len(X)) if weight is None else weight.astype(float)
    A, b = (a.astype(float) - np.average(a.astype(float), 0, w) for a in (X, y))
    expected = np.linalg.solve((w * A.T) @ A + 30 * np.eye(len(A.T)), (w * A.T) @ b)
    for coef in (
        solve(X, y, 30.0, weight=weight).coef,
        jaxridge.Ridge(30.0).fit(X, y, weight).coef_,
    ):
        assert np.abs(coef - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.fixture
def soon(monkeypatch):
    """Have all rows of NumPy's taken for many, and return what their factors told."""
    told, by_cholesky = [], solvers.by_cholesky

    def noted(*given):
        told.append(by_cholesky(*given))
        return told[-1]

    monkeypatch.setattr(solvers, "SMALL", 1)
    monkeypatch.setattr(solvers, "by_cholesky", noted)
    return told


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("shape", "dtype"), EVERYWHERE)
def test_many_rows_are_solved_as_few_are(shape, dtype, fit_intercept, soon):
    """Duplicate columns, weights of 0 and squares too: a factor may not be enough."""
    X, y, weight = SHAPES[shape].astype(dtype)
    how = {"weight": weight, "fit_intercept": fit_intercept}
    for lam in (0.0, *LAMS):
        fit = solve(X, y, lam, **how)
        assert fit.coef.dtype == fit.intercept.dtype == dtype
        assert_params_close(fit, brute(X, y, lam, **how), X, y)
    # At 0 there is no factor where columns are more.
    assert len(soon) == (3 if len(X.T) > len(X) else 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(12, 4), (6, 9)])
def test_many_rows_a_thousand_spreads_away_cost_no_digits(shape, dtype, soon):
    for weighted in (False, True):
        made = problem(*shape, mean=2000.0, weighted=weighted)
        X, y, weight = made.astype(dtype)
        fit = solve(X, y + 1000, 0.7, weight=weight)
        assert_params_close(fit, brute(X, y + 1000, 0.7, weight), X, y + 1000)
    assert len(soon) == 2


def _read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


LAYOUTS = {
    "read-only": _read_only,
    "column by column": np.asfortranarray,
    "every other number": lambda X: np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[
        ::2, ::2
    ],
    "backwards": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["weights", "weights, wide, several targets"])
def test_many_rows_may_lie_in_any_way_and_are_left_as_they_are(layout, name, soon):
    X, y, weight = KNOWN[name].astype(np.float64)
    given = [LAYOUTS[layout](X), _read_only(y), _read_only(weight)]
    for fit_intercept in (True, False):
        how = {"fit_intercept": fit_intercept}
        fit = solve(*given[:2], 0.7, weight=given[2], **how)
        assert_params_close(fit, brute(X, y, 0.7, weight, **how), X, y)
    assert len(soon) == 2
    for one, before in zip(given, (X, y, weight), strict=True):
        np.testing.assert_array_equal(one, before)


OF_TARGETS = {
    "tall": problem(30, 6, 4, weighted=True),
    "wide": problem(12, 30, 4, weighted=True),
    "many rows": problem(240, 210, 4),
    "rank-deficient": problem(30, 8, 4, rank=5),
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", OF_TARGETS)
def test_each_target_may_have_a_penalty_of_its_own(shape, dtype, traced):
    X, Y, weight = OF_TARGETS[shape].astype(dtype)
    lams = np.array([0.0, 1e-2, 3.0, 1e4], dtype)
    fit = partial(solve, weight=weight)
    with jax.enable_x64(dtype == np.float64):
        found = (jax.jit(fit) if traced else fit)(X, Y, lams)
        found = jax.tree.map(np.asarray, found)
    made = certify(found, X, Y, lams, weight=weight)
    assert found.coef.shape == (X.shape[1], 4) and found.intercept.shape == (4,)
    for j, lam in enumerate(lams):
        alone = brute(X, Y[:, j], lam, weight)
        each = Params(found.coef[:, j], found.intercept[j])
        assert_params_close(each, alone, X, Y[:, j])
    # Predictions about a mean of 28 blur the gradient in single precision.
    assert made.by_hand < (1e-10 if dtype == np.float64 else 1e-3)
    np.testing.assert_array_equal(made.lams, [0])


def test_many_targets_with_a_penalty_each_fit_in_little_memory(monkeypatch):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2200, 500)), rng.normal(size=(2200, 3000))
    lams = np.geomspace(1, 1e4, 3000)
    monkeypatch.setattr(factors, "place", lambda _: ("cpu", 2**28))
    found = solve(X, Y, lams).coef
    for j in (0, 2999):
        assert_close(found[:, j], solve(X, Y[:, j], lams[j]).coef)


@pytest.mark.parametrize("shape", OF_TARGETS)
def test_derivatives_with_a_penalty_for_each_target_are_those_of_one_at_a_time(shape):
    X, Y = OF_TARGETS[shape][:2]
    given = X, Y, np.array([1e-2, 0.5, 3.0, 1e4])

    def together(X, Y, lams):
        return smooth(solve(X, Y, lams))

    def one_at_a_time(X, Y, lams):
        return sum(smooth(solve(X, Y[:, j], lams[j])) for j in range(4))

    with jax.enable_x64(True):
        found, expected = (
            jax.jit(jax.grad(f, argnums=(0, 1, 2)))(*given)
            for f in (together, one_at_a_time)
        )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9 * norm(other))


@pytest.mark.parametrize("size", [1e-170, 1e170])
def test_columns_that_have_no_squares_may_have_a_penalty_for_each_target(size):
    X, Y, weight = OF_TARGETS["tall"].astype(np.float64)
    found = solve(X * size, Y, np.zeros(4), weight=weight)
    assert_close(found.coef * size, solve(X, Y, np.zeros(4), weight=weight).coef)


@pytest.mark.parametrize("lam", [0.0, np.zeros(2)])
def test_small_columns_keep_their_digits_beside_a_row_that_does_not_count(lam):
    rng = np.random.default_rng(0)
    X, Y, weight = (
        rng.normal(size=(2100, 500)),
        rng.normal(size=(2100, 2)),
        np.ones(2100),
    )
    weight[3] = 0
    expected = solve(np.delete(X, 3, 0), np.delete(Y, 3, 0), lam).coef
    X *= 1e-170
    X[3] = 1
    assert_close(solve(X, Y, lam, weight=weight).coef * 1e-170, expected)


@pytest.mark.parametrize("columns", [(), (3,)])
def test_penalties_that_are_none_of_the_targets_are_refused(columns):
    X, Y = np.eye(5), np.ones((5, *columns))
    with pytest.raises(ValueError, match=r"`lam` must be one number.*shape \(2,\)"):
        solve(X, Y, [1.0, 2.0])
    with pytest.raises(ValueError, match="`lam` must be at least 0, got -1"):
        solve(X, np.ones((5, 2)), [1.0, -1.0])


BAD_PENALTIES = {
    "not a number": ([1.0, np.nan], ValueError, "`lam` must be finite, got nan"),
    "infinite": ([np.inf, 1.0], ValueError, "`lam` must be finite, got inf"),
    "negative": ([1.0, -1e-9], ValueError, "`lam` must be at least 0, got -1e-09"),
    "none": ([], ValueError, r"`lam` must be one number.*shape \(0,\)"),
    "too many": ([1.0] * 3, ValueError, r"`lam` must be one number.*shape \(3,\)"),
    "a row": ([[1.0, 2.0]], ValueError, r"`lam` must be one number.*shape \(1, 2\)"),
    "ragged": ([1.0, [2.0]], ValueError, "`lam` is not a rectangular array"),
    "complex": ([1.0, 1j], TypeError, "`lam` must be real"),
    "text": (["1", "2"], TypeError, "`lam` must hold numbers"),
    "beyond float32": ([1.0, 1e39], ValueError, "`lam` holds 1e.39, which float32"),
    "below float32": ([1.0, 1e-39], ValueError, "`lam` holds 1e-39, which float32"),
}


@pytest.mark.parametrize("what", BAD_PENALTIES)
def test_penalties_of_targets_are_refused_by_name(what):
    lam, error, message = BAD_PENALTIES[what]
    X, Y = np.eye(5, dtype=np.float32), np.ones((5, 2), np.float32)
    with pytest.raises(error, match=message):
        solve(X, Y, lam)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ["tall", "wide", "rank-deficient"])
def test_penalties_of_targets_may_be_of_another_dtype_and_huge(shape, dtype):
    X, Y, weight = OF_TARGETS[shape].astype(dtype)
    lams = np.array([0.5, 1e30, 3.0, 2e30])  # above the squares of all singular values
    for given in (lams, lams.astype(np.float32), list(lams), jnp.asarray(lams)):
        if isinstance(given, jax.Array) and dtype == np.float64:
            continue  # JAX's own dtype is float32 here
        found = solve(X, Y, given, weight=weight)
        assert found.coef.dtype == dtype
        A, B, _, means = centred_rows(X, Y, weight)
        for j in (0, 2):
            assert_close(found.coef[:, j], brute(X, Y[:, j], lams[j], weight).coef)
        for j in (1, 3):
            of_float = float(np.asarray(given)[j])
            assert_close(found.coef[:, j], A.T @ B[:, j] / of_float)
            assert_close(found.intercept[j], means[j], scale=norm(Y[:, j]))


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_derivatives_by_penalties_of_targets_are_those_of_finite_differences(shape):
    X, Y, weight = OF_TARGETS[shape].astype(np.float64)
    lams, rng = np.array([1e-2, 0.5, 3.0, 1e4]), np.random.default_rng(0)
    given = [X, Y, lams, weight]

    def value(X, Y, lams, weight):
        return smooth(solve(X, Y, lams, weight=weight))

    def by_numpy(X, Y, lams, weight):
        each = [brute(X, Y[:, j], lams[j], weight) for j in range(4)]
        return smooth(Params(*(np.stack(a, axis=-1) for a in zip(*each, strict=True))))

    with jax.enable_x64(True):
        slopes = jax.jit(jax.grad(value, argnums=(0, 1, 2, 3)))(*given)
    for at, slope in enumerate(np.asarray(part) for part in slopes):
        assert np.isfinite(slope).all()
        h = 1e-6 * rng.normal(size=slope.shape) * np.abs(given[at])
        up, down = (
            by_numpy(*given[:at], given[at] + step, *given[at + 1 :])
            for step in (h, -h)
        )
        allowed = 1e-7 * norm(slope) * norm(h) + 1e-15 * by_numpy(*given)
        assert abs((up - down) / 2 - np.sum(slope * h)) <= allowed


@pytest.mark.parametrize("x64", [False, True])
def test_jit_changes_nothing_but_the_kind_of_array(x64):
    X, y, weight = SHAPES["weights, wide, several targets"].astype(np.float32)
    with jax.enable_x64(x64):
        X, y, weight = (jnp.asarray(a, jnp.result_type(float)) for a in (X, y, weight))
        jitted = jax.jit(solve)(X, y, 0.7, weight=weight)
        assert jitted.coef.dtype == X.dtype
    plain = solve(*map(np.asarray, (X, y)), 0.7, weight=np.asarray(weight))
    assert_params_close(jitted, plain, X, y)


DIFFERENTIABLE = {
    "wide": KNOWN["weights, wide, several targets"].astype(np.float64),
    "rank-deficient": KNOWN["rank-deficient"].astype(np.float64),
    # Singular values that repeat.
    "one-hot": (np.eye(3)[[0, 1, 2, 0, 1, 2]], np.array([1.0, 2, 4, 3, 5, 7]), None),
}


def smooth(params):
    """Return some smooth number made of a solution."""
    return (params.coef**2 / (1 + params.coef**2)).sum() + (params.intercept**2).sum()


@pytest.mark.parametrize("shape", DIFFERENTIABLE)
def test_derivative_is_that_of_finite_differences(shape):
    X, y, weight = DIFFERENTIABLE[shape]
    rng = np.random.default_rng(0)
    weight = rng.uniform(1, 2, len(X)) if weight is None else weight
    given = [X, y, np.float64(0.7), weight]

    def value(X, y, lam, weight):
        return smooth(solve(X, y, lam, weight=weight))

    with jax.enable_x64(True):
        slopes = jax.jit(jax.grad(value, argnums=(0, 1, 2, 3)))(*given)
    for at, slope in enumerate(np.asarray(part) for part in slopes):
        h = 1e-5 * rng.normal(size=slope.shape)
        up, down = (
            smooth(brute(*given[:at], given[at] + step, *given[at + 1 :]))
            for step in (h, -h)
        )
        allowed = 1e-7 * norm(slope) * norm(h)  # truncation of order h², and rounding
        assert abs((up - down) / 2 - np.sum(slope * h)) <= allowed


@pytest.mark.parametrize("shape", ["tall", "weights", "weights, wide, several targets"])
@pytest.mark.parametrize(
    ("lam", "dtype"), [(1e-2, np.float32), (1e-4, np.float32), (1e-10, np.float64)]
)
def test_small_penalties_cost_a_derivative_no_digits(shape, lam, dtype):
    _follows_the_answer(shape, lam, dtype)


@pytest.mark.parametrize("shape", ["tall", "wide", "weights, wide, several targets"])
def test_without_a_penalty_the_derivative_is_that_of_the_answer_of_minimum_norm(shape):
    _follows_the_answer(shape, 0.0, np.float64)


def _follows_the_answer(shape, lam, dtype):
    """Assert that derivatives, forwards and backwards, are NumPy's differences."""
    X, y, weight = KNOWN[shape].astype(dtype)
    weight = np.ones(len(X), dtype) if weight is None else weight
    rng = np.random.default_rng(3)
    h = [1e-4 * rng.normal(size=a.shape) for a in (X, y, weight)]
    up, down = (
        brute(X + sign * h[0], y + sign * h[1], lam, weight + sign * h[2]).coef
        for sign in (1, -1)
    )
    expected = (up - down) / 2
    seen = rng.normal(size=expected.shape)

    def fit(X, y, weight):
        return solve(X, y, lam, weight=weight).coef

    with jax.enable_x64(dtype == np.float64):
        steps = tuple(jnp.asarray(b, dtype) for b in h)
        change = jax.jit(lambda *d: jax.jvp(fit, (X, y, weight), d)[1])(*steps)
        back = jax.jit(lambda c: jax.vjp(fit, X, y, weight)[1](c))(seen.astype(dtype))
    change, *back = (np.asarray(a, np.float64) for a in (change, *back))
    allowed = 1e-4 if dtype == np.float32 else 1e-6
    assert norm(change - expected) <= allowed * norm(expected)
    along = sum(np.sum(a * b) for a, b in zip(back, h, strict=True))
    sizes = sum(norm(a) * norm(b) for a, b in zip(back, h, strict=True))
    assert abs(along - np.sum(seen * expected)) <= allowed * sizes


@pytest.mark.parametrize("shape", ["wide", "rank-deficient"])
def test_first_and_second_derivatives_in_lam_are_the_known_ones(shape):
    made = KNOWN[shape]
    with jax.enable_x64(True):
        coef = lambda lam: solve(made.X, made.y, lam).coef  # noqa: E731
        first, second = jax.jacfwd(coef), jax.jacfwd(jax.jacrev(coef))
        slopes = jax.jit(lambda lam: (first(lam), second(lam)))(0.7)
    for actual, expected in zip(slopes, made.coef_by_lam(0.7), strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_derivative_in_a_weight_of_zero_is_the_influence_of_its_row(shape, backwards):
    X, y, _ = SHAPES[shape].astype(np.float64)
    weight = np.append(0.0, np.ones(len(X) - 1))
    left_out = brute(X, y, 0.7, weight)
    # J is linear in the weight, so the minimiser moves by −H⁻¹ (row's own gradient).
    rows = np.column_stack([X, np.ones(len(X))])
    damping = 0.7 * np.diag(np.append(np.ones(X.shape[1]), 0))
    error = rows[0] @ np.append(left_out.coef, left_out.intercept) - y[0]
    influence = -np.linalg.solve((rows.T * weight) @ rows + damping, rows[0] * error)

    def fit(first):
        return solve(X, y, 0.7, weight=jnp.append(first, weight[1:]))

    with jax.enable_x64(True):
        slope = jax.jit((jax.jacrev if backwards else jax.jacfwd)(fit))(0.0)
    assert_close(slope.coef, influence[:-1])
    assert_close(slope.intercept, influence[-1])


def test_derivative_without_penalty_is_that_of_least_squares():
    X, y, _ = SHAPES["tall"].astype(np.float64)
    with jax.enable_x64(True):
        by_y = jax.jit(jax.jacrev(lambda y: solve(X, y, 0.0).coef))(y)
    assert_close(by_y, np.linalg.pinv(X - X.mean(axis=0)))


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_single_precision_has_its_digits_where_products_would_lose_them(kind):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        m, n = rng.integers(2, 6), rng.integers(1, 4)
        X = (rng.normal(size=(m, n)) + 10 ** rng.uniform(3, 5)).astype(np.float32)
        y = (rng.normal(size=m) + X[:, 0]).astype(np.float32)
        lam = 10 ** rng.uniform(-3, 1)
        found = solve(kind(X), kind(y), lam, fit_intercept=False).coef
        assert found.dtype == np.float32
        U, s, V = np.linalg.svd(np.float64(X), full_matrices=False)
        exact = V.T @ (s / (s**2 + lam) * (U.T @ y))
        size = np.abs(exact).max()
        np.testing.assert_allclose(found, exact, rtol=0, atol=3e-5 * size)


def test_columns_that_are_sums_in_single_precision_stay_of_minimum_norm():
    X = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    X[:, 2] = X[:, 0] + X[:, 1]  # to rounding
    y = X[:, 0] + 1
    found = solve(X, y, 0.0)
    np.testing.assert_allclose(found.coef, [2 / 3, -1 / 3, 1 / 3], atol=1e-5)


def test_rows_that_leave_the_range_once_centred_are_refused():
    X, y = np.array([[1.7e308], [-1.7e308], [1e308]]), np.array([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="leave the range of their dtype"):
        solve(X, y, 1.0)
    assert np.isfinite(solve(X / 1e308, y * 1e300, 1.0).coef).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_digits_are_kept_as_those_of_a_path_are(dtype):
    # The condition number of XᵀX is 5e6: a factor would lose what singular values keep.
    rng = np.random.default_rng(0)
    U = np.linalg.qr(rng.normal(size=(60, 8)))[0]
    V = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    X = (U * np.geomspace(5e6**0.5, 1, 8)) @ V.T
    y = X @ rng.normal(size=8) + rng.normal(size=60)
    X, y = X.astype(dtype), y.astype(dtype)
    expected = np.linalg.lstsq(X.astype(float), y.astype(float), rcond=None)[0]
    for found in (
        solve(X, y, 0.0, fit_intercept=False).coef,
        path(X, y, [0.0], fit_intercept=False).params.coef[0],
    ):
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert error < {np.float64: 1e-11, np.float32: 1e-6}[dtype]


def test_penalties_of_a_mean_are_m_times_as_small():
    """As the table of other libraries in README says."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)) + 1, rng.normal(size=40)
    peer = ElasticNet(alpha=2.0 / 40, l1_ratio=0.0, tol=1e-14)
    np.testing.assert_allclose(solve(X, y, 2.0).coef, peer.fit(X, y).coef_, rtol=1e-9)
