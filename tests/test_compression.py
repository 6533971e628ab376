"""Few rows with the cost of many."""

from functools import cache, partial

import jax
import numpy as np
import pytest
from helpers import (
    SHAPES,
    assert_close,
    assert_params_close,
    brute,
    brute_cost,
    brute_gradient,
    problem,
    random_params,
    sizes_of_terms,
)

from jaxridge import accelerator, compression, tiles
from jaxridge.data import as_data, centre_of, centred

LAM = 0.7
LONG, MANY = problem(90, 4), problem(90, 4, 3, weighted=True)
ZERO_ONE_TWO = np.arange(90.0) % 3
DUPLICATE = np.repeat(LONG.X[:, :1], 4, axis=1)
PROBLEMS = {
    "several tiles": LONG,
    "weights, some 0": LONG._replace(weight=ZERO_ONE_TWO),
    "several targets, weights": MANY,
    "duplicate columns": LONG._replace(X=DUPLICATE),
    "means a thousand times the spread": problem(90, 4, mean=2000.0),
    "wide": SHAPES["wide"],
}
MODES = ("no intercept", "intercept", "intercept at its best")


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    """Make tiles of some twenty rows, which do not divide the rows there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "TILE_BYTES", 1000)
        yield


@partial(jax.jit, static_argnums=1)
def few_and_many(data, mode):
    """Return the few rows, and the rows that they stand for."""
    centre = centre_of(data, mode != "no intercept")
    few = compression.compress(data, centre, mode == "intercept")
    return few, centred(data, centre) if mode == "intercept at its best" else data


@cache
def compressed(shape, dtype, mode):
    """Return data and the few rows for it as float64 NumPy arrays, and `rest`."""
    with jax.enable_x64(True):
        made = PROBLEMS[shape]
        weight = np.ones_like(made.y) if made.weight is None else made.weight
        (rows, rest), data = few_and_many(
            as_data(*made._replace(weight=weight).astype(dtype)), mode
        )
        assert all(leaf.dtype == dtype for leaf in (*rows, rest))
        return *jax.tree.map(np.float64, (data, rows)), float(rest)


def params_for(data, mode):
    """Return some params, and the best, whose errors are small beside the targets."""
    some = random_params(data.X, data.Y)
    best = brute(*data[:2], LAM, data.weight, fit_intercept=mode == "intercept")
    some, best = (
        p if mode == "intercept" else p._replace(intercept=0 * p.intercept)
        for p in (some, best)
    )
    return some, best


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", PROBLEMS)
def test_cost_and_gradient_are_kept(shape, mode):
    data, rows, rest = compressed(shape, np.float64, mode)
    m = data.weight.sum()
    for params in params_for(data, mode):
        few, many = (
            brute_cost(params, X, Y, LAM, weight) for X, Y, weight in (rows, data)
        )
        assert_close(few + rest / (2 * m), many)
        few, many = (
            brute_gradient(params, X, Y, LAM, weight) for X, Y, weight in (rows, data)
        )
        sizes = sizes_of_terms(params, data.X, data.Y, LAM, data.weight)
        assert_close(few.coef, many.coef, sizes.coef)
        if mode == "intercept":
            assert_close(few.intercept, many.intercept, sizes.intercept)


@pytest.mark.parametrize("mode", MODES)
def test_float32_keeps_the_cost_to_float32(mode):
    data, rows, rest = compressed("means a thousand times the spread", np.float32, mode)
    params = params_for(data, mode)[0]
    few, many = (
        brute_cost(params, *part[:2], LAM, part.weight) for part in (rows, data)
    )
    assert np.float32(few + rest / (2 * data.weight.sum())) == pytest.approx(many, 1e-5)


UNEVEN = np.array([1e-9, 1.0, 1e9, 0.0])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [*PROBLEMS, "uneven columns"])
def test_where_doubles_are_free_float32_rows_are_squared_in_them(
    shape, mode, monkeypatch
):
    monkeypatch.setattr(accelerator, "has_fast_doubles", lambda: True)
    monkeypatch.setattr(tiles, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(tiles, "SHORT", 20)
    uneven = LONG._replace(X=LONG.X * UNEVEN)
    monkeypatch.setitem(PROBLEMS, "uneven columns", uneven)
    for cached in (few_and_many.clear_cache, compressed.cache_clear):
        cached()
    data, rows, rest = compressed(shape, np.float32, mode)
    for cached in (few_and_many.clear_cache, compressed.cache_clear):
        cached()
    m = data.weight.sum()
    for params in params_for(data, mode):
        few, many = (
            brute_cost(params, *part[:2], LAM, part.weight) for part in (rows, data)
        )
        sizes = sizes_of_terms(params, data.X, data.Y, LAM, data.weight)
        assert few + rest / (2 * m) == pytest.approx(many, rel=1e-5)
        few, many = (
            brute_gradient(params, *part[:2], LAM, part.weight) for part in (rows, data)
        )
        assert (np.abs(few.coef - many.coef) <= 4e-6 * sizes.coef).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", PROBLEMS)
def test_rows_are_few_and_weigh_as_much(shape, mode):
    data, rows, rest = compressed(shape, np.float64, mode)
    n = data.X.shape[1]
    assert len(rows.X) == len(rows.Y) == n + (mode == "intercept")
    assert rows.weight.sum() == pytest.approx(data.weight.sum(), rel=1e-14)
    assert np.all(rows.weight > 0)
    assert rest >= 0


def test_minimiser_is_kept():
    data, rows, _ = compressed("several targets, weights", np.float64, "intercept")
    few, many = (brute(*part[:2], LAM, part.weight) for part in (rows, data))
    assert_params_close(few, many, data.X, data.Y)


@pytest.mark.parametrize(("m", "worthwhile"), [(23, False), (24, True)])
def test_compression_is_worthwhile_from_four_rows_a_column(m, worthwhile):
    data = as_data(np.ones((m, 4), np.float32), np.ones((m, 2), np.float32))
    assert compression.is_worthwhile(data) == worthwhile
