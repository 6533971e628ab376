"""Rows that never sit in memory whole: held-out scores from one pass over batches.

The peak is of memory resident in a process that does nothing else, batches that are
made on the way included; the error is the largest relative difference from the scores
of a part of the rows held in memory.
"""

import multiprocessing
import resource
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import jaxridge
from benchmarks.problems import SEED

ROWS, COLUMNS, BATCH, FOLDS = 2_000_000, 100, 20_000, 5
LAMS = np.geomspace(1e-2, 1e6, 100)


def batches(rows: int, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield float64 rows about 5, and targets with ten times as much noise."""
    rng = np.random.default_rng(SEED)
    coef = np.random.default_rng(SEED + 1).normal(size=COLUMNS)
    for _ in range(rows // batch):
        X = rng.normal(size=(batch, COLUMNS)) + 5
        yield X, X @ coef + 10 * np.sqrt(COLUMNS) * rng.normal(size=batch)


def scores(rows: int, batch: int) -> jaxridge.Scores:
    sums = jaxridge.moments_of_batches(batches(rows, batch), FOLDS)
    return jaxridge.cross_validate(sums, None, LAMS)


def peak_bytes(rows: int, batch: int) -> int:
    """Return the peak of this process, which is to have done nothing before."""
    scores(rows, batch)
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says on Linux begins with a parent's peak
        text = status.read_text().split("VmHWM:")[1]
        return int(text.split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_stream(benchmark: Any, toy: bool) -> None:
    rows, batch = (2000, 200) if toy else (ROWS, BATCH)
    benchmark.pedantic(lambda: scores(rows, batch), rounds=1)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
        peak = alone.submit(peak_bytes, rows, batch).result()
    part = rows // 10
    X, y = (np.concatenate(a) for a in zip(*batches(part, batch), strict=True))
    whole = jaxridge.cross_validate(X, y, LAMS, np.arange(part) % FOLDS).per_fold
    found = scores(part, batch)
    error = float(np.max(np.abs(found.per_fold[..., 0] / whole - 1)))
    assert error < 1e-10
    if benchmark.stats is not None:
        benchmark.extra_info.update(
            problem={
                "name": f"stream-{rows}x{COLUMNS}",
                "n_samples": rows,
                "n_features": COLUMNS,
                "n_lams": len(LAMS),
                "folds": FOLDS,
                "dtype": "float64",
                "seed": SEED,
            },
            contender="jaxridge, in batches",
            compile_seconds=0.0,
            error_against_float64=error,
            working_bytes=float(peak),
            route=str(found.route),
        )
