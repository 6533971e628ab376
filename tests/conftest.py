"""What every test runs under: fixed examples, no windows, no skipping in silence."""

import os

import hypothesis
import jax
import pytest

os.environ.setdefault("MPLBACKEND", "Agg")

hypothesis.settings.register_profile(
    "fixed", deadline=None, derandomize=True, database=None, max_examples=30
)
hypothesis.settings.load_profile("fixed")


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and jax.default_backend() == "cpu":
        pytest.skip("needs an accelerator, and JAX sees only the CPU")


@pytest.fixture(autouse=True, scope="module")
def forgotten_programs():
    """Forget compiled programs: each takes maps of memory, and a process has few."""
    yield
    jax.clear_caches()
