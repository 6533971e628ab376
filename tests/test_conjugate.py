"""Many systems that are nearly one, solved at once, and told where they are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxridge import probes
from jaxridge.conjugate import ALIKE, PROBES, conjugate_gradients
from jaxridge.products import matmul

RNG = np.random.default_rng(0)
N = 40
AXES = np.linalg.qr(RNG.normal(size=(N, N)))[0]


def solve(near, ratios, right, least=ALIKE):
    """Solve A = M^½ Q diag(ratios) Qᵀ M^½, M = diag(near), with M as nearly A."""
    root = np.sqrt(near)
    A = root[:, None] * (AXES * ratios @ AXES.T) * root
    mixed = root[:, None] * probes.normal(N, PROBES, dtype=right.dtype)
    both = jnp.concatenate([jnp.asarray(right), mixed], axis=1)
    columns, holds = conjugate_gradients(
        lambda z: matmul(jnp.asarray(A), z),
        lambda z: z / near[:, None],
        both,
        jnp.full(both.shape[1], least),
    )
    return A, np.asarray(columns[:, : right.shape[1]]), bool(holds)


@pytest.mark.parametrize("near", [np.ones(N), np.geomspace(1e-6, 1e6, N)])
def test_systems_that_are_nearly_one_are_solved(near):
    with jax.enable_x64(True):
        right = RNG.normal(size=(N, 3))
        A, found, holds = solve(near, RNG.uniform(0.6, 1.2, N), right)
    assert holds
    root = np.sqrt(near)[:, None]
    expected = np.linalg.solve(A / root / root.T, right / root) / root
    np.testing.assert_allclose(root * found, root * expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("least", [1e-12, 1e-3, 0.05])
@pytest.mark.parametrize("near", [np.ones(N), np.geomspace(1e-6, 1e6, N)])
def test_a_direction_in_which_they_differ_is_seen_also_where_no_answer_has_it(
    near, least
):
    ratios = RNG.uniform(0.6, 1.2, N)
    ratios[7] = least
    with jax.enable_x64(True):
        inside = AXES * (np.arange(N) != 7) @ RNG.normal(size=(N, 3))
        right = np.sqrt(near)[:, None] * inside  # without a part along it
        assert not solve(near, ratios, right)[2]
        assert solve(near, ratios, right, least=0.0)[2] == (least > 1e-6)


def test_a_direction_that_is_the_difference_of_two_axes_is_seen_as_well():
    pairs = np.array([(i, j) for i in range(N) for j in range(i)])
    ones = (np.arange(N) == pairs[..., None]).astype(float)

    @jax.jit
    def holds(one, other, sign):
        z = (one + sign * other) / np.sqrt(2)
        A = np.eye(N) - (1 - 1e-6) * jnp.outer(z, z)
        random = probes.normal(N, PROBES, dtype=z.dtype)
        right = jnp.concatenate([(1 - z * z)[:, None], random], axis=1)
        right = right.at[:, 0].add(-z * (z @ right[:, 0]))  # without a part along it
        least = jnp.full(right.shape[1], ALIKE)
        return conjugate_gradients(lambda v: matmul(A, v), lambda v: v, right, least)[1]

    with jax.enable_x64(True):
        for sign in (-1.0, 1.0):
            assert not any(holds(*pair, sign) for pair in ones)


def test_pivots_tell_eigenvalues_as_an_eigendecomposition_does():
    ratios = np.linspace(0.3, 1.0, N)
    with jax.enable_x64(True):
        for least, expected in ((0.29, True), (0.31, False)):
            right = RNG.normal(size=(N, 1))
            assert solve(np.ones(N), ratios, right, least)[2] == expected
