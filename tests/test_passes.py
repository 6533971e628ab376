"""Passes: the same numbers from rows that stay where they are, and no copy of those."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPES, TOLERANCE, problem

from jaxridge import Ridge, RidgeCV, certify, evidence, gcv, passes, path
from jaxridge.tiles import EVEN, fold

LAMS = np.array([0.3, 1e-3, 20.0])
# Numbers, a quarter of them at a time: of the tall problem 10 rows, and 4 once more.
TILE = 140
ROWS = {
    "tall": problem(36, 5, weighted=True),
    "targets": problem(36, 5, 3),
    "dependent": problem(36, 5, 2, rank=3, weighted=True),
    "wide": problem(12, 30, 2, weighted=True),
}
ASKED = {
    "path": lambda X, y, weight: path(X, y, LAMS, weight=weight),
    "gcv": lambda X, y, weight: gcv(X, y, LAMS, weight=weight),
    "evidence": lambda X, y, weight: evidence(X, y, LAMS, weight=weight),
    "certify": lambda X, y, weight: certify(
        path(X, y, 2 * LAMS).params, X, y, LAMS, weight=weight
    ),
    "fit": lambda X, y, weight: fitted(Ridge(2.0), X, y, weight),
    "fit of each": lambda X, y, weight: fitted(
        RidgeCV(np.logspace(-4, 6, 6), alpha_per_target=True), X, y, weight
    ),
}


def fitted(estimator, X, y, weight):
    made = estimator.fit(X, y, weight)
    return made.coef_, made.intercept_, made.certificate_


@pytest.fixture
def sent(monkeypatch):
    """Read rows in small tiles, and note how many numbers go to where XLA computes."""
    sizes, send = [], jax.device_put
    monkeypatch.setattr(passes, "tile", lambda: TILE)

    def noted(array, *args, **how):
        sizes.append(np.size(array))
        return send(array, *args, **how)

    monkeypatch.setattr(jax, "device_put", noted)
    return sizes


@pytest.mark.filterwarnings("ignore:the best alpha")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("asked", ASKED)
def test_rows_that_stay_say_what_rows_that_go_say(asked, name, dtype, sent):
    X, y, weight = ROWS[name].astype(dtype)
    if weight is not None:
        weight[::7] = 0
    found = ASKED[asked](X, y, weight)
    before = X.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "tile", lambda: 2**20)
        expected = ASKED[asked](X, y, weight)
    np.testing.assert_array_equal(X, before)
    close = TOLERANCE[np.dtype(dtype).name]
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        if isinstance(one, str):
            assert one == other
            continue
        one, other = np.asarray(one), np.asarray(other)
        assert one.dtype == other.dtype
        # A gradient that is 0 but for rounding has no digits of its own.
        atol = close * np.abs(other).max(initial=1)
        np.testing.assert_allclose(one, other, rtol=close, atol=atol)


def test_only_tiles_of_rows_are_sent(sent):
    X, y, weight = problem(3000, 5).astype(np.float64)
    path(X, y, LAMS)
    assert max(sent) <= len(y)  # the targets, of which the certificate is a sum


def test_one_program_reads_any_number_of_rows(sent):
    traced = []

    def count(total, scale, weight, X):
        traced.append(X.shape)
        return total + scale * jnp.sum(weight[:, None] * X)

    for m in (300, 36, 1007):
        X = np.arange(2.0 * m).reshape(m, 2)
        weight = np.arange(m) % 3.0
        total = passes.over_rows(count, np.zeros(()), np.float64(2), weight, X)
        assert total == 2 * (weight @ X).sum()
    assert traced == [(TILE // 8, 2)]


def test_a_slope_by_the_penalties_is_taken_of_rows_at_once(sent):
    X, y, _ = ROWS["tall"].astype(np.float64)

    def error(lam):
        return path(X, y, jnp.array([lam])).training_error[0]

    step = 1e-6
    with jax.enable_x64(True):
        expected = (error(0.3 + step) - error(0.3 - step)) / 2 / step
        np.testing.assert_allclose(jax.grad(error)(0.3), expected, rtol=1e-6)


@pytest.mark.parametrize("parts", [1, 8])
@pytest.mark.parametrize("m", [17, 97, 264, 1056, 4099])
@pytest.mark.parametrize("least", [5, 64, 100, 256])
def test_tiles_hold_every_row_once_and_read_few_again(m, least, parts):
    rows = jnp.arange(float(m))[:, None]

    def add(state, weight, rows):
        read, counted, total = state
        return read + len(weight), counted + weight.sum(), total + weight @ rows[:, 0]

    start = jnp.array(0), jnp.array(0.0), jnp.array(0.0)
    how = {"least": least, "room": 0, "parts": parts}
    read, counted, total = fold(add, start, jnp.ones(m), rows, **how)
    assert counted == m and total == m * (m - 1) / 2
    tiles = -(-m // least)
    assert m <= read < m + (EVEN + parts) * (tiles + 1)
