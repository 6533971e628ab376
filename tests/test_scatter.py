"""Sums of products of many rows: as exact as their dtype, and with derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxridge import accelerator
from jaxridge.data import Data
from jaxridge.folds import numbered
from jaxridge.products import mirrored, plus_gram
from jaxridge.scatter import How, cross_of_sets, moments_of_sets
from jaxridge.sums import moments_of
from jaxridge.twofold import zeros

RNG = np.random.default_rng(0)


def test_a_twofold_sum_of_a_million_terms_is_rounded_once():
    terms = RNG.uniform(0.5, 1.5, (1_000_000, 1)).astype(np.float32)
    exact = terms.astype(np.float64).sum()

    def plainly(sums, term):
        return sums + term, None

    def kept(sums, term):
        return sums.plus(term), None

    plain = jax.lax.scan(plainly, jnp.zeros(1, np.float32), terms)[0]
    found = jax.lax.scan(kept, zeros((1,), np.float32), terms)[0].value()
    assert abs(float(found[0]) / exact - 1) < 1e-7 < abs(float(plain[0]) / exact - 1)


def test_a_million_rows_do_not_drift():
    m, n = 1_000_000, 3
    X = RNG.standard_normal((m, n), np.float32) + np.float32(2)
    data = Data(X, X[:, :1], np.ones(m, np.float32))
    sets = numbered(np.arange(m) % 2 == np.arange(2)[:, None])
    found = jax.tree.map(np.asarray, moments_of_sets(data, sets))
    for fold in range(2):
        A = X[fold::2].astype(np.float64)
        mean, A = A.mean(axis=0), A - A.mean(axis=0)
        np.testing.assert_allclose(found.x[fold], mean, rtol=1e-7)
        exact = A.T @ A
        assert np.abs(found.xx[fold] - exact).max() < 1e-6 * np.abs(exact).max()
        assert np.abs(found.xy[fold] - exact[:, :1]).max() < 1e-6 * exact.max()
    y, xy, yy = cross_of_sets(data, sets, found.weight, found.x)
    # Of many targets, apart from X.
    for one, other in ((xy, found.xy), (yy, found.yy), (y, found.y)):
        atol = 1e-6 * np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=atol)


LATE = 0.5 ** (np.arange(20_000)[::-1] / 500.0)
# Of float64 sums the roundings of as many terms, of either sign.
ROUNDED = np.sqrt(20_000) * np.finfo(float).eps / 2
SHIFT = np.where(np.arange(20_000) < 10_000, 0.0, 1000.0)


@pytest.mark.parametrize(
    ("weight", "away"),
    [
        (LATE, SHIFT),
        (LATE, np.arange(20_000.0)),
        (LATE[::-1], SHIFT),
        (np.ones(20_000), 1000.0 * (np.arange(20_000) >= 2000)),
        (1.0 * (np.arange(20_000) // 50 == 301), np.arange(20_000.0)),
    ],
    ids=["late rows", "a trend", "early rows", "after the first", "only a few"],
)
@pytest.mark.parametrize(("kind", "rtol"), [("float32", 1e-6), ("float64", ROUNDED)])
@pytest.mark.parametrize("targets", [1, 70])
def test_rows_may_come_in_any_order(weight, away, kind, rtol, targets):
    noise = np.random.default_rng(0).normal(size=(20_000, 2))
    X = (noise + away[:, None]).astype(kind)
    Y = np.repeat(X[:, :1], targets, axis=1)
    with jax.enable_x64(kind == "float64"):
        data = Data(X, Y, weight.astype(kind))
        found = moments_of_sets(data, numbered(np.ones((1, 20_000), bool)))
    found = jax.tree.map(np.asarray, found)
    A, w = X.astype(np.longdouble), weight.astype(kind).astype(np.longdouble)
    A = A - w @ A / w.sum()
    exact = (w[:, None] * A).T @ A
    size = np.sqrt(np.diagonal(exact))
    assert np.abs(found.xx[0] - exact).max() < rtol * size.max() * size.min()
    assert np.abs(found.xy[0] - exact[:, :1]).max() < rtol * size.max() * size.min()
    assert np.abs(found.yy[0] - exact[0, 0]).max() < rtol * exact[0, 0]


def test_where_doubles_are_free_float32_rows_are_added_up_in_them(monkeypatch):
    jax.clear_caches()
    monkeypatch.setattr(accelerator, "has_fast_doubles", lambda: True)
    with jax.enable_x64(True):
        X = RNG.standard_normal((5000, 4), np.float32)
        data = Data(X, X[:, :1], np.ones(len(X), np.float32))
        sets = numbered(np.ones((1, len(X)), bool))
        found = moments_of_sets(data, sets)
        text = moments_of_sets.lower(data, sets, How(fast=True)).as_text()
    jax.clear_caches()
    A = np.float64(X)
    mean, A = A.mean(axis=0), A - A.mean(axis=0)
    assert found.xx.dtype == np.float32
    rounded_once = {"rtol": 1.01 * np.finfo(np.float32).eps / 2}
    np.testing.assert_allclose(found.xx[0], A.T @ A, **rounded_once)
    np.testing.assert_allclose(found.x[0], mean, **rounded_once)
    assert "f64" not in text  # what a GPU multiplies fastest is float32


@pytest.mark.parametrize("fast", [False, True])
def test_a_gram_has_derivatives(fast):
    def gram(A, fast):
        none = zeros((A.shape[1], A.shape[1]), A.dtype)
        return mirrored(plus_gram(none, A, fast).value())

    with jax.enable_x64(True):
        A = jnp.asarray(RNG.normal(size=(6, 3)))
        np.testing.assert_allclose(gram(A, fast), A.T @ A, rtol=1e-14)
        check_grads(lambda A: gram(A, fast), (A,), order=2)


def test_moments_have_derivatives():
    with jax.enable_x64(True):
        X, y = (jnp.asarray(RNG.normal(size=size)) for size in ((8, 2), (8,)))
        check_grads(lambda X, y: moments_of(X, y, 2).xx, (X, y), order=1)
        check_grads(lambda X, y: moments_of(X, y, 2).xy, (X, y), order=1)
