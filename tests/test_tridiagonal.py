"""The tridiagonal form against the matrix it came from."""

import jax
import numpy as np
import pytest

from jaxridge import tridiagonal as form

# Compiled, as they are used, instead of step by step.
tridiagonal, turned, turned_back, solved_at, condition = map(
    jax.jit,
    (form.tridiagonal, form.turned, form.turned_back, form.solved_at, form.condition),
)
SIZES = (1, 2, 3, 64, 65, 66, 130)


def matrix(n, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(2 * n, n))
    return A.T @ A, rng.normal(size=(n, 2))


def dense(of):
    beside = np.asarray(of.beside)[:-1]
    return np.diag(of.diagonal) + np.diag(beside, 1) + np.diag(beside, -1)


@pytest.mark.parametrize("n", SIZES)
def test_it_is_the_matrix_in_other_axes(n):
    G, B = matrix(n)
    with jax.enable_x64(True):
        of = tridiagonal(jax.numpy.asarray(G))
        Q = np.asarray(turned(of, np.eye(n)))
        back = np.asarray(turned_back(of, B))
    np.testing.assert_allclose(Q @ Q.T, np.eye(n), atol=1e-13)
    np.testing.assert_allclose(Q @ dense(of) @ Q.T, G, atol=1e-11 * np.abs(G).max())
    np.testing.assert_allclose(back, Q.T @ B, atol=1e-12)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("lam", [0.0, 3.0])
def test_systems_are_solved_at_a_penalty(n, lam):
    G, B = matrix(n)
    with jax.enable_x64(True):
        of = tridiagonal(jax.numpy.asarray(G))
        found = turned(of, solved_at(of, lam, turned_back(of, B)))
    expected = np.linalg.solve(G + lam * np.eye(n), B)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_a_matrix_that_is_diagonal_already_needs_no_reflection():
    with jax.enable_x64(True):
        of = tridiagonal(jax.numpy.diag(jax.numpy.arange(1.0, 6.0)))
        np.testing.assert_allclose(turned(of, np.eye(5)), np.eye(5))


@pytest.mark.parametrize("lam", [0.0, 1e-3, 10.0])
def test_the_condition_is_told_to_a_small_factor(lam):
    G, _ = matrix(30)
    with jax.enable_x64(True):
        told = float(condition(tridiagonal(jax.numpy.asarray(G)), lam))
    true = np.linalg.cond(G + lam * np.eye(30))
    assert true / 2 <= told <= 4 * true


def test_a_singular_matrix_is_told():
    with jax.enable_x64(True):
        of = tridiagonal(jax.numpy.ones((4, 4)))
        assert not float(condition(of, 0.0)) < 1e14
