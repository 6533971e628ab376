"""On a GPU: exact scores, descent, sums of products, and rows that do not fit there.

Arrays are there before the clock starts, but those of the stream. `--toy` runs tiny
sizes of the same wherever it is called.
"""

import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.lax.linalg import symmetric_product

import jaxridge
from benchmarks.contest import Failed, attempted, contest, kept_arenas
from benchmarks.memory import Peak
from benchmarks.problems import (
    GPU,
    LARGE_SWEEPS,
    SEED,
    TOY_GPU,
    TOY_SWEEP,
    SweepProblem,
)
from benchmarks.test_sweep import (
    COMPRESSED,
    LIMIT,
    PART,
    TENTH,
    a_tenth,
    exact_steps,
    jitted_loop,
    products_on_device,
    vmapped,
)
from jaxridge.data import Data
from jaxridge.folds import numbered
from jaxridge.scatter import How, moments_of_sets
from jaxridge.sent import LANES

pytestmark = pytest.mark.gpu
ROUNDS = 3


@pytest.fixture(scope="module")
def arenas(toy: bool, compiling: list[float]) -> Any:
    return kept_arenas(TOY_GPU if toy else GPU, compiling, on_device=True)


@pytest.mark.parametrize(
    ("name", "rival", "turn"),
    [
        (name, rival, turn)
        for name, problem in GPU.items()
        for turn in range(ROUNDS)
        for rival in problem.rivals
    ],
)
def test_exact_on_gpu(
    benchmark: Any, name: str, rival: str, turn: int, arenas: Any, toy: bool
) -> None:
    if toy and (turn or name not in ("folds-4096", "targets", "targets-kernel")):
        pytest.skip("one round of three problems is enough")
    arena_of, ready_for = arenas
    with jax.enable_x64(True):  # float32 rows stay that; sums of them may be float64
        contest(benchmark, rival, turn, arena_of(name), ready_for(name, rival))


SWEEPS: dict[str, Callable[..., Any]] = {
    LIMIT: products_on_device,
    "loop over the jitted fit, a tenth × 10": a_tenth(jitted_loop(compress=False)),
    COMPRESSED: a_tenth(jitted_loop(compress=True)),
    "vmapped": vmapped(compress=False),
    "vmapped, fast products": vmapped(compress=False, precision="fast"),
    "vmapped, compressed rows": vmapped(compress=True),
}


@pytest.mark.parametrize("contender", SWEEPS)
@pytest.mark.parametrize("problem", LARGE_SWEEPS, ids=lambda problem: problem.name)
def test_sweep_on_gpu(
    benchmark: Any, problem: Any, contender: str, compiling: list[float], toy: bool
) -> None:
    if toy and problem is not LARGE_SWEEPS[0]:
        pytest.skip("one problem is enough")
    made = TOY_SWEEP if toy else problem
    X, y, lams, rates = made.make()
    looped, kept = "loop" in contender, []
    with jax.enable_x64(True):
        fit = SWEEPS[contender](X, y, lams, rates, made.steps)
        before = sum(compiling)
        # What a loop compiles, it does at its first penalty.
        once = X, y, lams[:TENTH], rates[:TENTH], made.steps
        peak = Peak()
        peak.watched(SWEEPS[contender](*once) if looped else fit)()
        spent = sum(compiling) - before
        benchmark.pedantic(lambda: kept.append(fit()), rounds=1 if looped else ROUNDS)
    exact, found = _exact(made), np.asarray(kept[-1])
    alone = contender == LIMIT  # which is no descent
    apart = 0 if alone else np.abs(found - (exact[::TENTH] if looped else exact)).max()
    if benchmark.stats is not None:
        benchmark.extra_info.update(
            problem=made._asdict(),
            contender=contender,
            compile_seconds=spent,
            error_against_float64=None if alone else float(apart / np.abs(exact).max()),
            peak_bytes=peak.bytes,
            part_of=PART if alone else TENTH if looped else 1,
        )
    assert apart < (1e-2 if "fast" in contender else 1e-4) * np.abs(exact).max()


@cache
def _exact(problem: SweepProblem) -> np.ndarray:
    X, y, lams, rates = problem.make()
    return exact_steps((X, y, lams, rates), problem.steps)


def _moments(X: Any, fast: bool) -> Any:
    m = len(X)
    data = Data(X, X[:, :1], jnp.ones(m, X.dtype))
    sets = jax.device_put(numbered(np.ones((1, m), bool)))
    return lambda: moments_of_sets(data, sets, How(fast, even=True)).xx[0]


THREE = "jnp.matmul, three products in TF32"
GRAMS: dict[str, Callable[[Any], Callable[[], Any]]] = {
    "jaxridge, scatter": lambda X: _moments(X, False),
    "jaxridge, scatter, fast": lambda X: _moments(X, True),
    "jnp.matmul": lambda X: _jitted(lambda X: jnp.matmul(X.T, X), X),
    "jnp.matmul, highest": lambda X: _jitted(
        lambda X: jnp.matmul(X.T, X, precision="highest"), X
    ),
    THREE: lambda X: _jitted(
        lambda X: jnp.matmul(
            X.T, X, precision=jax.lax.DotAlgorithmPreset.TF32_TF32_F32_X3
        ),
        X,
    ),
    "symmetric_product": lambda X: _jitted(
        lambda X: symmetric_product(X.T, jnp.zeros((X.shape[1],) * 2, X.dtype)), X
    ),
    "symmetric_product, of Xᵀ as stored": lambda X: _jitted(
        lambda across: symmetric_product(
            across, jnp.zeros((len(across),) * 2, X.dtype)
        ),
        jax.block_until_ready(jnp.array(X.T)),
    ),
}


def _jitted(function: Callable[[Any], Any], X: Any) -> Callable[[], Any]:
    compiled = jax.jit(function)
    return lambda: compiled(X)


@pytest.mark.parametrize("contender", GRAMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gram_on_gpu(
    benchmark: Any, contender: str, dtype: str, compiling: list[float], toy: bool
) -> None:
    if contender == THREE and (dtype == "float64" or jax.default_backend() == "cpu"):
        pytest.skip("three products in TF32 make one of float32, on a GPU")
    m, n = (5000, 8) if toy else (1_000_000, 1000)
    name, sizes = f"gram-{m}x{n}-{dtype}", {"n_samples": m, "n_features": n}
    told: dict[str, Any] = {
        "problem": {"name": name, **sizes, "n_lams": 0, "dtype": dtype, "seed": SEED},
        "contender": contender,
        "compile_seconds": 0.0,
    }
    with jax.enable_x64(True):
        X = jax.random.normal(jax.random.key(SEED), (m, n), dtype)
        call = GRAMS[contender](X)
        before = sum(compiling)
        first = attempted(call)
        told["compile_seconds"] = sum(compiling) - before
        if isinstance(first, Failed):
            benchmark.pedantic(lambda: None)
            if benchmark.stats is not None:
                benchmark.extra_info.update(told, failed=first.how)
            assert "jaxridge" not in contender  # on record before
            return
        found = jnp.tril(jax.block_until_ready(first))
        blocks = jnp.array_split(X, max(1, m // 10_000))
        exact = sum(b.T @ b for b in (block.astype(jnp.float64) for block in blocks))
        if "scatter" in contender:
            exact -= m * jnp.outer(X.mean(axis=0), X.mean(axis=0))
        apart = jnp.abs(jnp.tril(found - exact)).max()
        error = float(apart / jnp.abs(exact).max())
        benchmark.pedantic(lambda: jax.block_until_ready(call()), rounds=ROUNDS)
    if benchmark.stats is not None:
        benchmark.extra_info.update(told, error_against_float64=error)
    assert contender != "jaxridge, scatter" or error < 1e-6


def _device_bytes() -> int:
    """Return the memory of the device, of which JAX takes a fraction."""
    stats = jax.devices()[0].memory_stats() or {}
    taken = float(os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.75"))
    return int(stats["bytes_limit"] / taken)


SENDERS = ("device_put alone", "device_put alone, in parts", "jaxridge, sent")


@pytest.mark.parametrize("contender", SENDERS)
def test_stream_on_gpu(benchmark: Any, contender: str, toy: bool) -> None:
    """Send twice the memory of the device, tiles of it over and over."""
    rows, n, folds = (200, 5, 5) if toy else (2**18, 1000, 5)
    count = 4 if toy else max(4, -(-2 * _device_bytes() // (rows * n * 4)))
    rng = np.random.default_rng(SEED)
    X = rng.standard_normal((rows, n), np.float32)
    y = X[:, 0] + rng.standard_normal(rows, np.float32)
    lams = np.geomspace(1e-2, 1e6, 100)

    def tiles() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for _ in range(count):
            yield X, y

    def sent() -> None:
        before: Any = None
        for rows, targets in tiles():
            parts = np.array_split(rows, LANES) if "parts" in contender else rows
            now = jax.device_put((parts, targets))
            jax.block_until_ready(before)  # no more than two at a time
            before = now
        jax.block_until_ready(before)

    def scored() -> None:
        sums = jaxridge.moments_of_batches(tiles(), folds)
        jaxridge.cross_validate(sums, None, lams)

    alone = contender.startswith("device_put")
    call = sent if alone else scored
    jax.block_until_ready(jax.device_put((X, y)))  # which is slow once
    started = time.perf_counter()
    if toy or not alone:
        some = jaxridge.moments_of_batches([(X, y)], folds)  # compiles
        jaxridge.cross_validate(some, None, lams)
    spent = time.perf_counter() - started
    benchmark.pedantic(call, rounds=1)
    if benchmark.stats is not None:
        benchmark.extra_info.update(
            problem={
                "name": f"sent-{rows * count}x{n}",
                "n_samples": rows * count,
                "n_features": n,
                "n_lams": len(lams),
                "folds": folds,
                "dtype": "float32",
                "seed": SEED,
            },
            contender=contender,
            compile_seconds=spent,
        )
