"""Contenders at a problem: called in turn, judged by float64, and put on record."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.model_selection import KFold

from benchmarks.memory import working_bytes
from benchmarks.problems import ScoreProblem
from benchmarks.rivals import RIVALS, TENTH, Answer, Call, failure_of
from jaxridge.placement import placed

# A call of all others takes so long that it is not repeated.
QUICK = ("jaxridge", "limit", "fracridge", "himalaya, torch_cuda")
OURS = ("jaxridge", "jaxridge, refitted", "jaxridge.path")


class Failed(NamedTuple):
    """How a rival failed, in a line."""

    how: str


class Arena(NamedTuple):
    """A problem, its arrays, and the answer in float64."""

    problem: ScoreProblem
    data: tuple[Any, ...]
    truth: np.ndarray
    transfer_seconds: float


class Warm(NamedTuple):
    """A contender that has been called once, unless it is slow: what that told."""

    call: Call
    answer: Any
    compile_seconds: float
    working_bytes: float | None


def arena(problem: ScoreProblem, on_device: bool = False) -> Arena:
    """Make a problem's arrays, and see how long it takes to put them on the device.

    They stay there, and are judged there, if contenders are to find them there.
    """
    X, Y, lams = problem.make()
    with jax.enable_x64(True):
        started = time.perf_counter()
        there = jax.block_until_ready((placed(X), placed(Y)))
        seconds = time.perf_counter() - started
        if on_device:
            truth = scores(*there, lams, problem.folds)
            return Arena(problem, (*there, lams, problem.folds), truth, seconds)
    truth = (coefs if problem.asked == "path" else scores)(X, Y, lams, problem.folds)
    return Arena(problem, (X, Y, lams, problem.folds), truth, seconds)


def warm(rival: str, arena: Arena, compiling: list[float]) -> Warm:
    """Make a contender ready, and call it once if that does not take too long."""
    before = sum(compiling)
    call = attempted(lambda: RIVALS[rival](*arena.data))
    if isinstance(call, Failed):
        return Warm(lambda: None, call, 0.0, None)
    slow = is_slow(rival) and not arena.problem.name.startswith("diabetes")
    answer = None if slow else attempted(call)
    spent = sum(compiling) - before
    ours = rival in OURS and not isinstance(answer, Failed)
    return Warm(call, answer, spent, working_bytes(call) if ours else None)


def is_slow(rival: str) -> bool:
    """Whether a contender is called once, and not to warm up."""
    return not rival.startswith(QUICK)


def attempted(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or how it failed."""
    try:
        return call()
    except Exception as error:  # whatever it is goes on record
        return Failed(failure_of(error))


def contest(
    benchmark: Any, rival: str, turn: int, arena: Arena, ready: Warm, rounds: int = 1
) -> None:
    """Time a contender that is ready, see that ours are right, and record it all."""
    kept: list[Any] = [ready.answer]
    if not isinstance(ready.answer, Failed):
        benchmark.pedantic(lambda: kept.append(attempted(ready.call)), rounds=rounds)
    else:
        benchmark.pedantic(lambda: None)
    answer = kept[-1]
    error, same = judged(answer, arena)
    if benchmark.stats is not None:
        benchmark.extra_info.update(
            problem=arena.problem._asdict(),
            contender=rival,
            round=turn,
            compile_seconds=ready.compile_seconds,
            transfer_seconds=arena.transfer_seconds if rival in OURS else None,
            error_against_float64=error,
            same_penalty=same,
            working_bytes=ready.working_bytes,
            route=answer.route if isinstance(answer, Answer) else "",
            failed=answer.how if isinstance(answer, Failed) else None,
            part_of=TENTH if rival.endswith("× 10") else 1,
        )
    if rival in OURS:  # on record before
        assert error is not None
        assert error < (1e-9 if arena.problem.dtype == "float64" else 1e-3)


def judged(answer: Any, arena: Arena) -> tuple[float | None, float]:
    """Return the error of an answer, and the share of targets with the penalty chosen.

    The error is relative: of each score, or of coefficients to the largest.
    """
    if not isinstance(answer, Answer):
        return None, float("nan")
    if answer.coef is not None:
        size = np.abs(arena.truth).max()
        return float(np.abs(answer.coef - arena.truth).max() / size), float("nan")
    best = arena.data[2][np.argmin(arena.truth, axis=0)]
    same = float(np.mean(np.isclose(np.ravel(answer.chosen), best, rtol=1e-4)))
    if answer.scores is None:
        return None, same
    found = np.reshape(answer.scores, arena.truth.shape)
    return float(np.max(np.abs(found - arena.truth) / arena.truth)), same


def scores(X: Any, Y: Any, lams: Any, folds: int) -> np.ndarray:
    """Return mean squared held-out errors (L, t) by refits in float64.

    Where the rows are: by NumPy or, on a device, by XLA. By eigenvectors of products,
    as in float64 they keep the digits that matter at condition numbers up to 1e3.
    """
    if not folds:
        return _left_out(np.float64(X), np.float64(Y), lams)
    xp: Any = jnp if isinstance(X, jax.Array) else np
    per_fold = []
    for train, held in KFold(folds).split(X):
        rows, others = (X[i].astype(xp.float64) for i in (train, held))
        x, y = rows.mean(axis=0), Y[train].astype(xp.float64).mean(axis=0)
        A, B, H = rows - x, Y[train] - y, others - x
        if A.shape[0] >= A.shape[1]:
            values, V = xp.linalg.eigh(A.T @ A)
            along, turned = V.T @ (A.T @ B), H @ V
        else:
            values, V = xp.linalg.eigh(A @ A.T)
            along, turned = V.T @ B, (H @ A.T) @ V
        shrunk = (along / (values + lam)[:, None] for lam in lams)
        errors = (turned @ one + y - Y[held] for one in shrunk)
        per_fold.append([np.asarray((e**2).mean(axis=0)) for e in errors])
    return np.mean(per_fold, axis=0)


def coefs(X: Any, Y: Any, lams: Any, folds: int) -> np.ndarray:
    """Return coefficients (L, n, t), from float64 NumPy."""
    X, Y = np.float64(X), np.float64(Y)
    values, V, U = _axes(X - X.mean(axis=0))
    along = np.sqrt(values)[:, None] * (U.T @ (Y - Y.mean(axis=0)))
    return np.array([V @ (along / (values + lam)[:, None]) for lam in lams])


def _axes(A: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return s², V and U of more rows than columns."""
    values, V = np.linalg.eigh(A.T @ A)
    return values, V, A @ (V / np.sqrt(values))


def _left_out(X: np.ndarray, Y: np.ndarray, lams: Any) -> np.ndarray:
    values, _, U = _axes(X - X.mean(axis=0))
    B = Y - Y.mean(axis=0)
    shrink = values[:, None] / (values[:, None] + lams)  # (n, L)
    kept = 1 - U**2 @ shrink - 1 / len(X)
    each = [B[:, [j]] - U @ (shrink * (U.T @ B[:, [j]])) for j in range(B.shape[1])]
    return np.stack([((e / kept) ** 2).mean(axis=0) for e in each], axis=1)


def kept_arenas(
    problems: dict[str, ScoreProblem],
    compiling: list[float],
    on_device: bool = False,
) -> tuple[Callable[[str], Arena], Callable[[str, str], Warm]]:
    """Return functions that make arenas, one in memory at a time, and contenders."""
    made: dict[str, Arena] = {}
    ready: dict[tuple[str, str], Warm] = {}

    def arena_of(name: str) -> Arena:
        if name not in made:
            made.clear()
            ready.clear()
            made[name] = arena(problems[name], on_device)
        return made[name]

    def ready_for(name: str, rival: str) -> Warm:
        if (name, rival) not in ready:
            ready[name, rival] = warm(rival, arena_of(name), compiling)
        return ready[name, rival]

    return arena_of, ready_for
