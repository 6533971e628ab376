"""Products of named precision, and the one whose derivative a sweep gets cheaply."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxridge.products import matmul, matmul_for_descent

RNG = np.random.default_rng(0)
X, COEFS = RNG.normal(size=(7, 3)), RNG.normal(size=(4, 3, 2))
TANGENTS = RNG.normal(size=(7, 3)), RNG.normal(size=(4, 3, 2))


def gradient_with(product):
    """Return the gradient in coef of a function that is no parabola."""

    def value(coef, X):
        return jnp.sum(jnp.sin(product(X, coef)) ** 2)

    return jax.grad(value)


@pytest.mark.parametrize("mapped", [(0, None), (0, 0), (None, 0)])
def test_derivatives_are_those_of_the_plain_product(mapped):
    with jax.enable_x64(True):
        coef = COEFS if mapped[0] == 0 else COEFS[0]
        rows = np.stack([X, -X, 2 * X, X + 1]) if mapped[1] == 0 else X
        found, expected = (
            jax.jit(jax.vmap(gradient_with(product), mapped))(coef, rows)
            for product in (matmul_for_descent, matmul)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_second_derivatives_are_those_of_the_plain_product():
    with jax.enable_x64(True):
        dX, dcoef = TANGENTS
        found, expected = (
            jax.jvp(
                lambda coef, X, p=product: jax.vmap(
                    lambda one: gradient_with(p)(one, X)
                )(coef),
                (COEFS, X),
                (dcoef, dX),
            )[1]
            for product in (matmul_for_descent, matmul)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_sweep_has_the_numbers_of_a_penalty_side_by_side():
    one = str(jax.make_jaxpr(gradient_with(matmul_for_descent))(COEFS[0], X))
    many = jax.vmap(gradient_with(matmul_for_descent), (0, None))
    many = str(jax.make_jaxpr(many)(COEFS, X))
    left = "dimension_numbers=(([1], [0]), ([], []))"
    assert one.count(left) >= 2  # X @ coef, and eᵀ @ X
    assert "f32[7,4,2]" not in many  # what has rows first would be transposed
    assert "f32[4,2,7]" in many
