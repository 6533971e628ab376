"""Every route at many sizes, forced: what each takes, and what the plan said of it.

The plan's prices are fitted to these timings (see `prices`).
"""

import dataclasses
import time
from functools import lru_cache
from typing import Any

import jax
import numpy as np
import pytest

import jaxridge
from benchmarks.problems import SEED, rows
from benchmarks.truth import WITHIN, coefs, error_of_coefs, error_of_scores, scores
from jaxridge import fold_scores
from jaxridge.routes import Route

# Rows, columns, targets, penalties, folds.
FOLDS = (
    (1000, 20, 1, 50, 5),
    (1000, 100, 1, 100, 5),
    (4000, 100, 1, 10, 5),
    (4000, 100, 1, 200, 5),
    (4000, 100, 30, 50, 5),
    (4000, 100, 1, 50, 20),
    (4000, 60, 1, 50, 100),
    (20_000, 50, 1, 100, 5),
    (60_000, 100, 1, 50, 5),
    (20_000, 200, 1, 100, 5),
    (5000, 200, 10, 30, 10),
    (2000, 500, 1, 30, 5),
    (20_000, 500, 1, 100, 5),
    (2000, 500, 100, 10, 5),
    (3000, 1000, 1, 10, 5),
    (3000, 300, 300, 10, 4),
    (100, 300, 1, 50, 5),
    (200, 1000, 1, 100, 5),
    (300, 2000, 50, 30, 5),
    (800, 1500, 1, 10, 10),
    (1000, 2000, 300, 20, 5),
    (500, 1500, 3, 100, 20),
)
ALL_ROWS = (
    (442, 10, 1, 100),
    (4000, 100, 30, 30),
    (5000, 50, 1, 100),
    (20_000, 500, 1, 100),
    (300, 1000, 1, 50),
)
ROUNDS = 3


def cases() -> list[tuple[str, str, tuple[int, ...], Route]]:
    """Return what is asked, the dtype, the sizes and a route, for all of them."""
    found = []
    for dtype, each in (("float64", 1), ("float32", 2)):
        for sizes in FOLDS[::each]:
            made = jaxridge.plan(*sizes, dtype, device="cpu", budget=8e9)
            routes = (made.route, *(route for route, *_ in made.others))
            found += [("folds", dtype, sizes, route) for route in routes]
        for asked in ("leave-one-out", "path"):
            for sizes in ALL_ROWS:
                made = jaxridge.plan(*sizes, dtype=dtype, asked=asked, device="cpu")
                found.append((asked, dtype, (*sizes, 0), made.route))
    return found


CASES = cases()


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes every plan take a route, where it fits."""

    def force(route: Route) -> None:
        def fixed(*sizes: Any, **rest: Any) -> Any:
            made = jaxridge.plan(*sizes, **rest)
            if made.route == route:
                return made
            seconds, size = {r: (s, b) for r, s, b in made.others}[route]
            return dataclasses.replace(made, route=route, seconds=seconds, bytes=size)

        monkeypatch.setattr(fold_scores, "plan", fixed)

    yield force
    jax.clear_caches()  # no other case has these shapes


@lru_cache(1)  # all routes of the same sizes come one after the other
def made(asked: str, dtype: str, sizes: tuple[int, ...]) -> tuple[Any, ...]:
    """Return rows, targets, penalties, and the answer in float64."""
    m, n, t, L, k = sizes
    X, Y = rows(m, n, t, dtype)
    lams = np.geomspace(1, 1e4, L)
    return X, Y, lams, (coefs if asked == "path" else scores)(X, Y, lams, k)


@pytest.mark.full
@pytest.mark.parametrize(("asked", "dtype", "sizes", "route"), CASES, ids=str)
def test_routes(
    asked: str,
    dtype: str,
    sizes: tuple[int, ...],
    route: Route,
    benchmark: Any,
    toy: bool,
    forced: Any,
) -> None:
    if toy and (sizes != FOLDS[0] or dtype == "float32"):
        pytest.skip("one size is enough")
    X, Y, lams, truth = made(asked, dtype, sizes)
    forced(route)

    def call() -> Any:
        if asked == "folds":
            return jaxridge.cross_validate(X, Y, lams, sizes[-1])
        if asked == "path":
            return jaxridge.path(X, Y, lams)
        return jaxridge.leave_one_out(X, Y, lams)

    started = time.perf_counter()
    found = call()
    first = time.perf_counter() - started
    if asked == "path":
        taken, error = found.certificate.route, error_of_coefs(found.params.coef, truth)
    else:
        taken, error = found.route, error_of_scores(found.mean, truth)
    assert taken == route and error < WITHIN[dtype]
    benchmark.pedantic(call, rounds=1 if toy else ROUNDS)
    if benchmark.stats is not None:
        benchmark.extra_info["route"] = {
            "asked": asked,
            "dtype": dtype,
            "sizes": sizes,
            "system": route.system,
            "sharing": route.sharing,
            "compile_seconds": max(0.0, first - benchmark.stats.stats.median),
            "error_against_float64": error,
            "seed": SEED,
        }
