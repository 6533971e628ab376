"""One vmapped sweep of λ against loops: the same steps, the same answers.

Contenders are timed in turn, in one process on the same arrays. Data are on the device
before the clock starts; what JAX spends on compiling in the first call is recorded
apart; and each record holds the largest difference from the same steps in NumPy
float64.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxridge
from benchmarks.memory import Peak, working_bytes
from benchmarks.problems import SEED, SWEEP, TOY_SWEEP

Fit = Callable[[], Any]
ROUNDS = 3


@pytest.fixture(scope="module")
def problem(toy: bool) -> Any:
    return TOY_SWEEP if toy else SWEEP


@pytest.fixture(scope="module")
def arrays(problem: Any) -> tuple[np.ndarray, ...]:
    return problem.make()


@pytest.fixture(scope="module")
def truth(arrays: Any, problem: Any) -> np.ndarray:
    return exact_steps(arrays, problem.steps)


def exact_steps(arrays: tuple[np.ndarray, ...], steps: int) -> np.ndarray:
    """Take the same steps in float64, all penalties as columns.

    By products of the rows with each other, which are well conditioned here.
    """
    X, y, lams, rates = (a.astype(np.float64) for a in arrays)
    m, n = X.shape
    rows = np.column_stack([X, np.ones(m)])
    gram, cross = rows.T @ rows, (rows.T @ y)[:, None]
    shrunk = np.append(np.ones(n), 0)[:, None] * lams
    params = np.zeros((n + 1, len(lams)))
    for _ in range(steps):
        params -= rates * (gram @ params - cross + shrunk * params) / m
    return params[:n].T


def numpy_loop(X: Any, y: Any, lams: Any, rates: Any, steps: int) -> Fit:
    def one(lam: float, rate: float) -> np.ndarray:
        m = len(X)
        coef, intercept = np.zeros_like(X[0]), X.dtype.type(0)
        history = np.zeros(steps)
        for s in range(steps):
            e = X @ coef + intercept - y
            history[s] = (e @ e + lam * (coef @ coef)) / (2 * m)
            coef = coef - rate * (e @ X + lam * coef) / m
            intercept = intercept - rate * e.mean()
        return coef

    return lambda: np.array([one(*pair) for pair in zip(lams, rates, strict=True)])


def jitted_loop(compress: bool) -> Callable[..., Fit]:
    def make(X: Any, y: Any, lams: Any, rates: Any, steps: int) -> Fit:
        X, y = jnp.asarray(X), jnp.asarray(y)

        def one(lam: float, rate: float) -> Any:
            how: Any = {"learning_rate": rate, "max_steps": steps, "tol": 0}
            return jaxridge.descend(X, y, lam, compress=compress, **how).params.coef

        return lambda: np.array([one(*pair) for pair in zip(lams, rates, strict=True)])

    return make


def vmapped(compress: bool, precision: str = "full") -> Callable[..., Fit]:
    def make(X: Any, y: Any, lams: Any, rates: Any, steps: int) -> Fit:
        X, y, lams = (jnp.asarray(a) for a in (X, y, lams))

        def fit() -> Any:
            fits = jaxridge.sweep(
                X,
                y,
                lams,
                learning_rate=rates,
                max_steps=steps,
                tol=0,
                compress=compress,
                precision=precision,
            )
            return jax.block_until_ready(fits.params.coef)

        return fit

    return make


def products_alone(X: Any, y: Any, lams: Any, rates: Any, steps: int) -> Fit:
    """Return a part of the products that descent on raw rows cannot do without."""
    coef = np.zeros((X.shape[1], len(lams)), X.dtype)

    def some_steps() -> Any:
        found = coef
        for _ in range(max(1, steps // PART)):
            found = X.T @ (X @ found)
        return found

    return some_steps


def products_on_device(X: Any, y: Any, lams: Any, rates: Any, steps: int) -> Fit:
    """Return the same where JAX computes."""
    X, shape = jnp.asarray(X), (X.shape[1], len(lams))
    # A GPU multiplies zeros sooner than other numbers; nor may these grow beyond all.
    coef = jax.random.normal(jax.random.key(SEED), shape, X.dtype)
    product = partial(jnp.matmul, precision="highest")

    @jax.jit
    def some_steps(X: Any, coef: Any) -> Any:
        def step(_: Any, found: Any) -> Any:
            return product(X.T, product(X, found)) / len(X)

        return jax.lax.fori_loop(0, max(1, steps // PART), step, coef)

    return lambda: jax.block_until_ready(some_steps(X, coef))


def a_tenth(of: Callable[..., Fit]) -> Callable[..., Fit]:
    """Return a loop over every tenth penalty, each of which takes it as long."""

    def make(X: Any, y: Any, lams: Any, rates: Any, steps: int) -> Fit:
        return of(X, y, lams[::TENTH], rates[::TENTH], steps)

    return make


PART, TENTH = 20, 10
LIMIT = "limit: products alone, a part × 20"
LOOPS = ("NumPy loop", "loop over the jitted fit")
COMPRESSED = "loop over the jitted fit, compressed rows, a tenth × 10"
CONTENDERS = {
    LIMIT: products_alone,
    "NumPy loop": numpy_loop,
    "loop over the jitted fit": jitted_loop(compress=False),
    "NumPy loop, a tenth × 10": a_tenth(numpy_loop),
    "loop over the jitted fit, a tenth × 10": a_tenth(jitted_loop(compress=False)),
    COMPRESSED: a_tenth(jitted_loop(compress=True)),
    "vmapped": vmapped(compress=False),
    "vmapped, compressed rows": vmapped(compress=True),
}


class Warm(NamedTuple):
    """A contender, the seconds of what it has compiled, and the memory it takes."""

    fit: Fit
    compile_seconds: float
    working_bytes: float | None
    peak: Peak


@pytest.fixture(scope="module")
def contenders(arrays: Any, problem: Any, compiling: list[float]) -> dict[str, Warm]:
    X, y, lams, rates = arrays
    warm = {}
    for name, make in CONTENDERS.items():
        fit, before = make(*arrays, problem.steps), sum(compiling)
        # What a loop compiles, and the memory it takes, it does at its first penalty.
        looped = "loop" in name
        once = make(X, y, lams[:1], rates[:1], problem.steps) if looped else fit
        peak = Peak()
        watched = peak.watched(once)
        watched()
        spent = sum(compiling) - before
        size = None
        if name.startswith("vmapped"):
            size = working_bytes(watched)
        else:
            watched()
        warm[name] = Warm(fit, spent, size, peak)
    return warm


# Round by round, not contender by contender: the machine may be slower a minute later,
# and a ratio is only worth something within a round.
@pytest.mark.parametrize(
    ("turn", "name"),
    [
        pytest.param(
            *(turn, name),
            marks=[pytest.mark.full] if turn or name in LOOPS else [],
        )
        for turn in range(ROUNDS)
        for name in CONTENDERS
    ],
)
def test_sweep(
    benchmark: Any,
    turn: int,
    name: str,
    problem: Any,
    contenders: dict[str, Warm],
    truth: np.ndarray,
    toy: bool,
) -> None:
    if toy and turn:
        pytest.skip("one round is enough")
    fit, compile_seconds, size, peak = contenders[name]
    kept: list[Any] = []
    rounds = 1 if toy or "loop" in name else 3
    benchmark.pedantic(lambda: kept.append(fit()), rounds=rounds)
    exact = truth[::TENTH] if "tenth" in name else truth
    apart = 0 if name == LIMIT else np.abs(np.asarray(kept[-1]) - exact).max()
    error = float(apart / np.abs(truth).max())
    assert error < 1e-4
    if benchmark.stats is not None:
        benchmark.extra_info.update(
            problem=problem._asdict(),
            contender=name,
            round=turn,
            compile_seconds=compile_seconds,
            error_against_float64=None if name == LIMIT else error,
            working_bytes=size,
            peak_bytes=peak.bytes,
            part_of=PART if name == LIMIT else TENTH if "tenth" in name else 1,
        )
