"""Options and machine facts for all benchmarks."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import pytest
from threadpoolctl import threadpool_info

PACKAGES = (
    "jaxridge",
    "jax",
    "jaxlib",
    "numpy",
    "scikit-learn",
    "himalaya",
    "fracridge",
    "torch",
)
SETTINGS = (
    "XLA_FLAGS",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)
STARTED = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--toy", action="store_true", help="tiny problems, one round")
    parser.addoption(
        "--seconds",
        type=float,
        default=float("inf"),
        help="start none later, so that what was measured by then is on record",
    )


@pytest.fixture(scope="session")
def toy(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--toy"))


@pytest.fixture(scope="module")
def compiling() -> list[float]:
    """Return a list that grows by the seconds of everything JAX compiles."""
    spent: list[float] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            spent.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return spent


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict) -> None:
    """Record what matters for a timing, and not whose machine it was."""
    machine_info.clear()
    machine_info.update(
        cpu=_cpu_model(),
        cores=os.cpu_count(),
        device=jax.devices()[0].device_kind,
        platform=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        threads={
            pool["internal_api"]: pool["num_threads"] for pool in threadpool_info()
        },
        versions=dict(_versions()),
        settings={key: os.environ[key] for key in SETTINGS if key in os.environ},
    )


def pytest_benchmark_update_commit_info(config: Any, commit_info: dict) -> None:
    for name in set(commit_info) - {"id", "dirty"}:
        commit_info.pop(name)


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            yield name, version(name)


def pytest_runtest_setup(item: pytest.Item) -> None:
    here = jax.default_backend() != "cpu" or item.config.getoption("--toy")
    if item.get_closest_marker("gpu") and not here:
        pytest.skip("needs an accelerator, and JAX sees only the CPU")
    if time.monotonic() - STARTED > item.config.getoption("--seconds"):
        pytest.skip("the time given by --seconds is up")


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
