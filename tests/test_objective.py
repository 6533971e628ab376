"""The cost against NumPy, and its two gradients against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    DTYPES,
    SHAPES,
    assert_close,
    brute_cost,
    norm,
    random_params,
    sizes_of_terms,
)
from hypothesis import given
from hypothesis import strategies as st

from jaxridge import (
    GradientCheck,
    Params,
    ParamsPath,
    check_gradient,
    cost,
    gradient,
    gradient_by_hand,
    predict,
    solve,
)

LAM = 0.7
# How far apart the two gradients may be, in units of the sum of sizes of their terms.
APART = {np.float64: 1e-12, np.float32: 1e-5}


def three_decimals(shape):
    """Return a strategy for arrays in [-1000, 1000], the numbers that people type."""
    size = int(np.prod(shape, dtype=int))
    numbers = st.integers(-(10**6), 10**6).map(lambda i: i / 1000)
    return st.lists(numbers, min_size=size, max_size=size).map(
        lambda flat: np.reshape(flat, shape)
    )


@st.composite
def arguments(draw):
    """Return (params, X, y, lam, weight) for `cost`, in float64 or float32."""
    m, n = draw(st.integers(1, 12)), draw(st.integers(1, 8))
    t = draw(st.none() | st.integers(1, 3))
    targets = () if t is None else (t,)
    dtype = draw(st.sampled_from(DTYPES))
    scale = 10.0 ** draw(st.integers(-3, 3))
    X, coef = draw(three_decimals((m, n))) * scale, draw(three_decimals((n, *targets)))
    y, intercept = draw(three_decimals((m, *targets))), draw(three_decimals(targets))
    lam = draw(st.just(0.0) | st.floats(-8, 8).map(lambda power: 10**power))
    weight = draw(st.none() | three_decimals((m,)).map(np.abs).filter(np.any))
    X, y, coef, intercept = (a.astype(dtype) for a in (X, y, coef, intercept))
    weight = None if weight is None else weight.astype(dtype)
    return Params(coef, intercept), X, y, lam, weight


@given(arguments())
def test_autodiff_and_hand_written_gradients_agree(given):
    autodiff, by_hand = gradient(*given), gradient_by_hand(*given)
    apart = [norm(a - b) for a, b in zip(autodiff, by_hand, strict=True)]
    allowed = APART[given[1].dtype.type] * np.array(sizes_of_terms(*given))
    assert np.all(apart <= allowed)
    assert [a.dtype for a in autodiff] == [b.dtype for b in by_hand]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_cost_is_that_of_numpy(shape, dtype):
    X, y, weight = SHAPES[shape].astype(dtype)
    params = random_params(X, y)
    actual = cost(params, X, y, LAM, weight)
    assert actual.dtype == dtype
    assert_close(actual, brute_cost(params, X, y, LAM, weight))


def test_cost_of_an_example_worked_on_paper():
    X, y = np.array([[1.0], [2.0]]), np.array([3.0, 5.0])
    params = Params(np.array([2.0]), np.array(1.0))
    weight = np.array([1.0, 3.0])
    assert cost(params, X, y, 4.0, weight) == 4 * 2**2 / (2 * 4)
    assert cost(params, X, y + 1, 4.0, weight) == (1 + 3 + 16) / (2 * 4)


def test_cost_of_several_targets_is_the_sum_of_theirs():
    X, y, _ = SHAPES["several targets"].astype(np.float64)
    params = random_params(X, y)
    each = [
        cost(Params(params.coef[:, j], params.intercept[j]), X, y[:, j], LAM)
        for j in range(y.shape[1])
    ]
    assert_close(cost(params, X, y, LAM), sum(each))


def test_intercept_is_in_no_penalty():
    X, y, _ = SHAPES["tall"].astype(np.float64)
    at_zero = Params(np.zeros(X.shape[1]), np.array(3.0))
    assert cost(at_zero, X, y, 1e6) == cost(at_zero, X, y, 0.0)


def test_integer_weights_are_repeated_rows():
    X, y, _ = SHAPES["tall"].astype(np.float64)
    times = np.tile([0, 1, 2, 5], 3)
    rows = np.repeat(X, times, axis=0), np.repeat(y, times, axis=0)
    params = random_params(X, y)
    assert_close(cost(params, X, y, LAM, times), cost(params, *rows, LAM))
    by_weight, by_rows = solve(X, y, LAM, weight=times), solve(*rows, LAM)
    assert_close(by_weight.coef, by_rows.coef)


def test_rows_twice_with_twice_the_penalty_change_nothing():
    X, y, _ = SHAPES["tall"].astype(np.float64)
    params = random_params(X, y)
    twice = np.concatenate([X, X]), np.concatenate([y, y]), 2 * LAM
    assert_close(cost(params, *twice), cost(params, X, y, LAM))
    assert_close(solve(*twice).coef, solve(X, y, LAM).coef)


@pytest.mark.parametrize("shape", ["tall", "wide", "weights", "several targets"])
def test_gradient_is_zero_at_the_closed_form(shape):
    X, y, weight = SHAPES[shape].astype(np.float64)
    params = solve(X, y, LAM, weight=weight)
    zero = Params(*(np.zeros_like(part) for part in params))
    at_answer = gradient(params, X, y, LAM, weight)
    assert_close(at_answer.coef, zero.coef, norm(gradient(zero, X, y, LAM).coef))
    assert_close(at_answer.intercept, zero.intercept, norm(y))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ("tall", np.float64),
        ("tall", np.float32),
        ("weights, wide, several targets", np.float64),
    ],
)
def test_gradient_agrees_with_central_differences(shape, dtype):
    X, y, weight = SHAPES[shape].astype(dtype)
    check = check_gradient(random_params(X, y), X, y, LAM, weight)
    eps = np.finfo(dtype).eps
    assert check.relative_difference <= 100 * eps
    assert check.central_difference <= {np.float64: 1e-8, np.float32: 1e-2}[dtype]
    largest = max(np.abs(part).max() for part in check.by_hand)
    assert check.absolute_difference <= 100 * eps * largest
    assert {np.asarray(leaf).dtype.type for leaf in jax.tree.leaves(check)} == {dtype}


def test_check_gradient_leaves_an_unfitted_intercept_out():
    X, y, _ = SHAPES["tall"].astype(np.float64)
    params = random_params(X, y)
    check = check_gradient(params, X, y, LAM, fit_intercept=False)
    assert [g.intercept for g in (check.autodiff, check.by_hand, check.central)] == [
        0
    ] * 3
    assert_close(check.autodiff.coef, gradient(params, X, y, LAM).coef)


def test_check_gradient_where_the_gradient_is_zero():
    X, y = np.zeros((12, 4)), np.zeros(12)
    check = check_gradient(Params(np.zeros(4), np.array(0.0)), X, y, 0.0)
    assert check.absolute_difference == check.relative_difference == 0
    assert check.central_difference <= 1e-8


@pytest.mark.parametrize(
    ("coef", "intercept", "shown", "hidden"),
    [
        ((2,), (), ["coef[0]", "coef[1]", "intercept[0]"], "more"),
        ((12,), (), ["coef[0]", "coef[9]", "... 3 more"], "coef[10]"),
        ((4, 2), (2,), ["coef[0]", "coef[7]", "intercept[1]"], "more"),
        ((4, 3), (3,), ["coef[0]", "... 5 more"], "intercept"),
    ],
)
def test_gradient_check_prints_a_table_of_at_most_ten(coef, intercept, shown, hidden):
    part = Params(np.ones(coef), np.ones(intercept))
    text = str(GradientCheck(part, part, part, *np.array([1e-17, 2e-17, 3e-9])))
    for words in ("autodiff", "by hand", "central difference", "3.0e-09", *shown):
        assert words in text
    assert hidden not in text


@pytest.mark.parametrize("function", [cost, gradient, gradient_by_hand, check_gradient])
@pytest.mark.parametrize(
    ("coef", "intercept", "y"),
    [
        ((2, 3), (3,), (4,)),
        ((2,), (), (4, 3)),
        ((2, 3), (3,), (4, 2)),
        ((2,), (), (4, 1)),
    ],
)
def test_one_target_never_broadcasts_with_several(function, coef, intercept, y):
    params = Params(np.ones(coef), np.ones(intercept))
    with pytest.raises(ValueError, match="`y` has shape"):
        function(params, np.ones((4, 2)), np.ones(y), LAM)


@pytest.mark.parametrize(
    ("coef", "intercept"),
    [((3,), ()), ((2,), (1,)), ((2, 3), ()), ((2, 3), (2,)), ((), ())],
)
def test_params_that_do_not_fit_are_refused(coef, intercept):
    params = Params(np.ones(coef), np.ones(intercept))
    X, y = np.ones((4, 2)), np.ones((4, *coef[1:]))
    for call in (lambda: cost(params, X, y, LAM), lambda: predict(params, X)):
        with pytest.raises(ValueError, match="`coef` must have|`intercept` must have"):
            call()


@pytest.mark.parametrize("shape", ["tall", "several targets", "one target as a matrix"])
def test_predictions_are_those_of_numpy(shape):
    X, y, _ = SHAPES[shape].astype(np.float64)
    params = random_params(X, y)
    assert_close(predict(params, X), X @ params.coef + params.intercept)


@pytest.mark.parametrize("shape", ["tall", "several targets"])
def test_predictions_of_a_path_are_those_of_each_penalty(shape):
    X, y, _ = SHAPES[shape].astype(np.float64)
    both = [random_params(X, y, seed) for seed in (1, 2)]
    path = ParamsPath(*(np.stack(parts) for parts in zip(*both, strict=True)))
    for i, predicted in enumerate(predict(path, X)):
        assert_close(predicted, predict(both[i], X))
        assert path.at(i).coef.tolist() == both[i].coef.tolist()


@pytest.mark.parametrize("function", [cost, gradient, gradient_by_hand, check_gradient])
def test_cost_of_a_path_is_refused(function):
    # As many penalties as features and targets: the shapes alone would do.
    path = ParamsPath(np.ones((4, 4)), np.ones(4))
    with pytest.raises(TypeError, match="`params` hold every penalty"):
        function(path, np.ones((12, 4)), np.ones((12, 4)), LAM)


@pytest.mark.parametrize("x64", [False, True])
def test_cost_composes_with_the_transformations_of_jax(x64):
    X, y, weight = SHAPES["weights, wide, several targets"].astype(np.float32)
    lams = [0, LAM, 5]

    @jax.jit
    def everything(params, X, y, lam, weight):
        slopes = jax.grad(cost, argnums=(0, 2, 3))(params, X, y, lam, weight)
        by_lam = jax.vmap(lambda lam: cost(params, X, y, lam, weight))
        hessian = jax.hessian(cost)(params, X, y, lam, weight)
        return slopes, by_lam(jnp.array(lams)), hessian

    with jax.enable_x64(x64):
        dtype = jnp.result_type(float)
        given = jax.tree.map(
            lambda a: jnp.asarray(a, dtype), (random_params(X, y), X, y, LAM, weight)
        )
        answers = everything(*given)
        assert {leaf.dtype for leaf in jax.tree.leaves(answers)} == {dtype}
    (by_params, by_y, by_lam), costs, hessian = answers
    params, X, y, _, weight = jax.tree.map(np.float64, given)
    m = weight.sum()
    assert_close(costs, [brute_cost(params, X, y, lam, weight) for lam in lams])
    assert_close(by_params.coef, gradient_by_hand(params, X, y, LAM, weight).coef)
    assert_close(by_y, -weight[:, None] * (predict(params, X) - y) / m)
    assert_close(by_lam, norm(params.coef) ** 2 / (2 * m))
    curvature = (X.T * weight) @ X / m + LAM / m * np.eye(X.shape[1])
    assert_close(hessian.coef.coef[:, 0, :, 0], curvature)
    assert not np.any(hessian.coef.coef[:, 0, :, 1])


@pytest.mark.parametrize("fill", [-9999.0, 1e30])
def test_rows_that_do_not_count_have_no_part_in_the_cost(fill):
    """Not even where their squares leave the range of float32."""
    X, y, weight = SHAPES["weights, wide, several targets"].astype(np.float32)
    params = random_params(X, y)
    weight[[0, 2]] = 0
    there = weight > 0
    among = np.where(there[:, None], X, fill), np.where(there[:, None], y, fill)
    among, alone = (
        tuple(np.float32(a) for a in (*given, LAM, weight)) for given in (among, (X, y))
    )
    for function in (cost, gradient, gradient_by_hand):
        one, other = (function(params, *given) for given in (among, alone))
        for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    by_weight = jax.grad(lambda w: cost(params, X, y, LAM, w))(jnp.asarray(weight))
    squares = np.sum((predict(params, X) - y) ** 2, axis=1)
    influence = (squares / 2 - cost(params, X, y, LAM, weight)) / weight.sum()
    assert_close(by_weight, influence)
