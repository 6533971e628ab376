"""Options and machine facts for all benchmarks."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import pytest

PACKAGES = ("jaxridge", "jax", "jaxlib", "numpy", "scikit-learn", "himalaya")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--toy", action="store_true", help="tiny problems, one round")


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
        versions={name: version(name) for name in PACKAGES},
    )


def pytest_benchmark_update_commit_info(config: Any, commit_info: dict) -> None:
    for name in set(commit_info) - {"id", "dirty"}:
        commit_info.pop(name)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
