"""What every test runs under: fixed examples, no windows, no skipping in silence."""

import dataclasses
import os
from pathlib import Path

import hypothesis
import jax
import pytest
from matplotlib.figure import Figure

from jaxridge import Route, fold_scores, plan
from jaxridge.cli import main

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
    """Forget compiled programs: each takes maps of memory, and a process has 65,530."""
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or len(maps.read_bytes().splitlines()) > 35_000:
        jax.clear_caches()


@pytest.fixture
def away(tmp_path, tmp_path_factory, monkeypatch):
    """Work in an empty folder, with a compilation cache that these tests share."""
    monkeypatch.chdir(tmp_path)
    shared = tmp_path_factory.getbasetemp() / "compiled"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(shared))
    return tmp_path


@pytest.fixture
def drawn():
    """Have the pictures of a run of the command line drawn: see `run`."""


def blank(figure, path, **options):
    """Write a picture of nothing: to draw one takes longer than to fit it."""
    Path(path).write_bytes(b"\x89PNG, not drawn")


@pytest.fixture
def run(capsys, monkeypatch, request):
    """Run the command line, and return (exit code, standard output, error).

    What is plotted is plotted, but drawn only for tests that ask for `drawn`.
    """
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(Figure, "savefig", blank)

    def run(*args):
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


@pytest.fixture
def planned(monkeypatch):
    """Return a function that makes every plan take a route, with tiles of targets."""

    def take(system, sharing, target_tile):
        def fixed(m, n, t, L, k, dtype, **rest):
            made = plan(m, n, t, L, k, dtype, **rest)
            route = Route(system, sharing, str(dtype))
            tile = min(target_tile, t)
            return dataclasses.replace(made, route=route, target_tile=tile)

        monkeypatch.setattr(fold_scores, "plan", fixed)

    return take
