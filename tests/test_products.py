"""Products of named precision, and the one whose derivative a sweep gets cheaply."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxridge
from jaxridge.products import matmul, matmul_for_descent, power_of_2

RNG = np.random.default_rng(0)
FASTEST = partial(matmul_for_descent, fast=True)
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
        found, fast, expected = (
            jax.jit(jax.vmap(gradient_with(product), mapped))(coef, rows)
            for product in (matmul_for_descent, FASTEST, matmul)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        np.testing.assert_allclose(fast, expected, rtol=1e-12)  # the same, on a CPU


def test_second_derivatives_are_those_of_the_plain_product():
    with jax.enable_x64(True):
        dX, dcoef = TANGENTS
        found, fast, expected = (
            jax.jvp(
                lambda coef, X, p=product: jax.vmap(
                    lambda one: gradient_with(p)(one, X)
                )(coef),
                (COEFS, X),
                (dcoef, dX),
            )[1]
            for product in (matmul_for_descent, FASTEST, matmul)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        np.testing.assert_allclose(fast, expected, rtol=1e-12)


def test_a_sweep_has_the_numbers_of_a_penalty_side_by_side():
    one = str(jax.make_jaxpr(gradient_with(matmul_for_descent))(COEFS[0], X))
    many = jax.vmap(gradient_with(matmul_for_descent), (0, None))
    many = str(jax.make_jaxpr(many)(COEFS, X))
    left = "dimension_numbers=(([1], [0]), ([], []))"
    assert one.count(left) >= 2  # X @ coef, and eᵀ @ X
    assert "f32[7,4,2]" not in many  # what has rows first would be transposed
    assert "f32[4,2,7]" in many


LAMS = jnp.array([0.1, 1.0, 10.0], jnp.float32)
BY_DESCENT = {"learning_rate": 0.1, "max_steps": 3, "compress": True}
ASKED = {
    "folds": lambda X, Y: jaxridge.cross_validate(X, Y, LAMS, 3).mean,
    "left out": lambda X, Y: jaxridge.leave_one_out(X, Y, LAMS).mean,
    "gcv": lambda X, Y: jaxridge.gcv(X, Y, LAMS).mean,
    "evidence": lambda X, Y: jaxridge.evidence(X, Y, LAMS).mean,
    "path": lambda X, Y: jaxridge.path(X, Y, LAMS),
    "solution": lambda X, Y: jaxridge.solve(X, Y, 0.1),
    "derivative": jax.grad(lambda X, Y: jnp.sum(jaxridge.solve(X, Y, 0.1).coef)),
    "sweep": lambda X, Y: jaxridge.sweep(X, Y, LAMS, **BY_DESCENT).params,
    "sweep by L-BFGS": lambda X, Y: jaxridge.sweep(X, Y, LAMS, compress=False).params,
}


def products_in(jaxpr):
    """Yield the matrix products of a program, and of the programs it calls."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for part in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        ):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield from products_in(inner)


@pytest.mark.parametrize("what", ASKED)
@pytest.mark.parametrize("shape", [(12, 3), (6, 9)], ids=["tall", "wide"])
def test_every_product_names_its_precision(what, shape):
    rng = np.random.default_rng(0)
    X = jnp.asarray(rng.normal(size=shape), jnp.float32)
    Y = jnp.asarray(rng.normal(size=(shape[0], 2)), jnp.float32)
    found = list(products_in(jax.make_jaxpr(ASKED[what])(X, Y).jaxpr))
    highest = (jax.lax.Precision.HIGHEST,) * 2
    named = [equation.params["precision"] == highest for equation in found]
    assert named and all(named), found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_of_2_are_exact(dtype):
    limits = np.finfo(dtype)
    sizes = np.geomspace(limits.tiny, limits.max / 8, 201, dtype=dtype)
    with jax.enable_x64(True):
        found = np.asarray(jax.jit(power_of_2)(np.append(sizes, dtype(0))))
        slope = float(jax.grad(power_of_2)(dtype(3)))
    assert found.dtype == dtype and found[-1] == 1 and slope == 0
    part, _ = np.frexp(found)
    assert (part == 0.5).all()
    assert (np.abs(np.log2(sizes / found[:-1])) < 1).all()


def test_fast_products_are_full_ones_on_a_cpu():
    X, Y = RNG.normal(size=(2, 20, 3)).astype(np.float32)
    fast, full = (
        jaxridge.cross_validate(X, Y, [0.5, 30.0], 3, precision=precision)
        for precision in ("fast", "full")
    )
    np.testing.assert_array_equal(fast.per_fold, full.per_fold)
    assert fast.route == full.route
