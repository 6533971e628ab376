"""Programs: the same numbers, however they are compiled."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxridge import accelerator, programs
from jaxridge.programs import FEW, SOON, WELL, compiled


@pytest.fixture
def asked(monkeypatch):
    """Note of each program whether it is to be compiled soonest."""
    found, known = [], programs.options_for

    def noted(soon):
        found.append(soon)
        return known(soon)

    monkeypatch.setattr(programs, "options_for", noted)
    return found


def sums_of_cubes(**how):
    how["static_argnames"] = "power"
    return compiled(lambda x, power=3: jnp.sum(x**power), **how)


def test_few_numbers_are_computed_with_soonest(asked):
    function = sums_of_cubes()
    assert function(np.ones(FEW)) == FEW
    assert function(np.ones(FEW + 1)) == FEW + 1
    assert asked == [True, False]


def test_many_steps_are_compiled_well_with_few_numbers_too(asked):
    assert sums_of_cubes(many_steps=True)(np.ones(3)) == 3
    assert asked == [False]


def test_this_xla_knows_the_options_that_matter_most():
    assert programs.options_for(True)["xla_backend_optimization_level"] == "0"
    assert "xla_cpu_parallel_codegen_split_count" in programs.options_for(False)


@pytest.mark.parametrize("soon", (True, False))
def test_options_that_an_xla_does_not_know_are_left_out(soon, monkeypatch):
    before = dict(programs.options_for(soon))
    monkeypatch.setitem(SOON if soon else WELL, "xla_cpu_unheard_of", True)
    programs.options_for.cache_clear()
    assert programs.options_for(soon) == before
    assert sums_of_cubes()(np.ones(3)) == 3
    monkeypatch.undo()
    programs.options_for.cache_clear()


def test_another_device_has_none(asked, monkeypatch):
    monkeypatch.setattr(accelerator, "is_used", lambda: True)
    assert sums_of_cubes()(np.ones(3)) == 3
    assert not asked


def test_transformations_pass_through():
    function, x = sums_of_cubes(), jnp.arange(3.0)
    np.testing.assert_array_equal(jax.jit(function)(x), 9)
    np.testing.assert_array_equal(jax.grad(function)(x), 3 * x**2)
    np.testing.assert_array_equal(jax.vmap(function)(x[:, None]), x**3)
    np.testing.assert_array_equal(jax.hessian(function)(x), np.diag(6 * x))
    # What it is called with need not be traced itself.
    np.testing.assert_array_equal(jax.jit(lambda a: a * function(x))(2.0), 18)
    np.testing.assert_array_equal(function(x, power=2), 5)


def test_errors_are_those_of_the_function():
    @compiled
    def refuses(x):
        raise ValueError("`x` is not to my liking")

    with pytest.raises(ValueError, match="not to my liking"):
        refuses(np.ones(2))


def test_the_same_shapes_are_compiled_once():
    traces = []

    @compiled
    def traced(x):
        traces.append(x.shape)
        return x + 1

    for shape in (3, 3, FEW + 1, FEW + 1, 3):
        traced(np.zeros(shape))
    assert traces == [(3,), (FEW + 1,)]


USED_LATE = """
import jax
traced = []
double = jax.jit(lambda x: (traced.append(1), 2 * x)[1])
double(1.0)
import jaxridge
jaxridge.cross_validate([[1.0], [2.0], [4.0]], [1.0, 2.0, 3.0], [1.0], 3)
double(1.0)
assert len(traced) == 1, traced
"""


def test_what_others_have_compiled_is_left_alone():
    subprocess.run([sys.executable, "-c", USED_LATE], check=True)
