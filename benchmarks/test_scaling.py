"""How time and memory grow with rows, columns, targets, penalties and folds.

Each is swept alone over two decades, the others kept. A record holds what the plan said
beforehand: its route, its seconds and its bytes.
"""

import time
from typing import Any

import numpy as np
import pytest

import jaxridge
from benchmarks.memory import working_bytes
from benchmarks.problems import SEED, rows
from benchmarks.truth import WITHIN, error_of_scores, scores

BASE = {"m": 4000, "n": 100, "t": 1, "L": 50, "k": 5}
TOY_BASE = {"m": 60, "n": 5, "t": 1, "L": 5, "k": 3}
SWEPT = {
    "m": (1000, 3000, 10_000, 30_000, 100_000),
    "n": (20, 60, 200, 600, 2000),
    "t": (10, 30, 100, 300, 1000),
    "L": (5, 15, 50, 150, 500),
    "k": (2, 6, 20, 60, 200),
}
# The largest exponents expected, of seconds, O(m n (n + k⁰ t L) + k n³), and of bytes
# beside the rows, O(m + k n (n + t) + k t L).
THEORY = {"m": (1, 1), "n": (3, 2), "t": (1, 1), "L": (1, 1), "k": (1, 1)}
ROUNDS = 5


@pytest.mark.full
@pytest.mark.parametrize(
    ("axis", "value"), [(axis, value) for axis, all_ in SWEPT.items() for value in all_]
)
def test_scaling(axis: str, value: int, benchmark: Any, toy: bool) -> None:
    if toy and value != SWEPT[axis][0]:
        pytest.skip("one value of each is enough")
    base = TOY_BASE if toy else BASE
    sizes = base | ({} if toy else {axis: value})
    m, n, t, L, k = sizes.values()
    X, Y = rows(m, n, t)
    lams = np.geomspace(1, 1e4, L)

    def call() -> np.ndarray:
        return jaxridge.cross_validate(X, Y, lams, k).mean

    started = time.perf_counter()
    found = call()
    first = time.perf_counter() - started
    error = error_of_scores(found, scores(X, Y, lams, k))
    assert error < WITHIN["float64"]
    planned = jaxridge.plan(m, n, t, L, k)
    benchmark.pedantic(call, rounds=1 if toy else ROUNDS)
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["scaling"] = {
            "axis": axis,
            "value": value,
            "sizes": sizes,
            "route": str(planned.route),
            "compile_seconds": max(0.0, first - seconds),
            "error_against_float64": error,
            "seed": SEED,
            "predicted_seconds": planned.seconds,
            "predicted_bytes": planned.bytes,
            "working_bytes": working_bytes(call),
        }
