"""On a GPU: every route against the CPU in float64; run by ``pytest -m gpu``."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_plans import FOLDS, LAMS, ROUTES, TALL, WIDE, refitted, squares

import jaxridge
from jaxridge import accelerator, fold_scores, plan
from jaxridge.data import Data
from jaxridge.folds import numbered
from jaxridge.routes import DUAL, Route
from jaxridge.scatter import moments_of_sets

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-9), (np.float32, 1e-3)])
@pytest.mark.parametrize(("system", "sharing"), ROUTES)
def test_every_route_scores_as_a_cpu_does(monkeypatch, system, sharing, dtype, rtol):
    def forced(*sizes, **rest):
        made = plan(*sizes, **rest)
        route = Route(system, sharing, made.route.dtype)
        return dataclasses.replace(made, route=route)

    monkeypatch.setattr(fold_scores, "plan", forced)
    data = WIDE if system == DUAL else TALL
    X, Y, weight = data.astype(dtype)
    found = jaxridge.cross_validate(X, Y, LAMS, FOLDS, weight=weight)
    np.testing.assert_allclose(found.per_fold, refitted(data, True, squares), rtol=rtol)


def test_nothing_is_multiplied_in_tf32():
    m, n = 4096, 256
    X = np.random.default_rng(0).standard_normal((m, n), np.float32)
    exact = np.float64(X).T @ np.float64(X)
    data = Data(jnp.asarray(X), jnp.asarray(X[:, :1]), jnp.ones(m, np.float32))
    sets = numbered(np.ones((1, m), bool))
    mean = np.float64(X).mean(axis=0)
    found = moments_of_sets(data, sets).xx[0] + m * np.outer(mean, mean)
    assert np.abs(found - exact).max() / np.abs(exact).max() < 1e-6


def test_rows_that_do_not_fit_are_sent(monkeypatch):
    expected = jaxridge.moments_of(TALL.X, TALL.y, 3)
    monkeypatch.setattr(accelerator, "free_bytes", lambda device: 1000)
    found = jaxridge.moments_of(TALL.X, TALL.y, 3)
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def test_a_device_without_room_says_so_in_our_words():
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" not in stats:
        pytest.skip("the device does not tell how much memory it has")
    # Rows that fit once, and not three times.
    X = jnp.ones((1000, int(stats["bytes_limit"] * 0.4 / 4000)), np.float32)
    with pytest.raises(MemoryError, match="ran out of memory in `path`|is too small"):
        jaxridge.path(X, X[:, 0], LAMS)
