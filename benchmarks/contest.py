"""Contenders at a problem: called in turn, judged by float64, and put on record."""

import time
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.memory import Peak, working_bytes
from benchmarks.problems import ScoreProblem
from benchmarks.rivals import ELSEWHERE, RIVALS, TENTH, Answer, Call, failure_of
from benchmarks.truth import WITHIN, coefs, error_of_coefs, error_of_scores, scores
from jaxridge.placement import placed

# A call of all others takes so long that it is not repeated.
QUICK = ("jaxridge", "limit", "fracridge", "himalaya, torch_cuda")
OURS = ("jaxridge", "jaxridge, refitted", "jaxridge.path")


class Failed(NamedTuple):
    """How a rival failed, in a line."""

    how: str


class Arena(NamedTuple):
    """A problem, its arrays, and how to find the answer in float64.

    Which is found when it is first asked for: on a GPU it takes memory too.
    """

    problem: ScoreProblem
    data: tuple[Any, ...]
    truth: Callable[[], np.ndarray]
    transfer_seconds: float


class Warm(NamedTuple):
    """A contender that has been called once, unless it is slow: what that told."""

    call: Call
    answer: Any
    compile_seconds: float
    working_bytes: float | None
    peak: Peak


def arena(problem: ScoreProblem, on_device: bool = False) -> Arena:
    """Make a problem's arrays, and see how long it takes to put them on the device.

    They stay there, and are judged there, if contenders are to find them there.
    """
    X, Y, lams = problem.make()
    find = coefs if problem.asked == "path" else scores
    with jax.enable_x64(True):
        started = time.perf_counter()
        there = jax.block_until_ready((placed(X), placed(Y)))
        seconds = time.perf_counter() - started
    data = (*(there if on_device else (X, Y)), lams, problem.folds)

    @cache
    def truth() -> np.ndarray:
        with jax.enable_x64(True):
            return find(*data)

    return Arena(problem, data, truth, seconds)


def warm(rival: str, arena: Arena, compiling: list[float]) -> Warm:
    """Make a contender ready, and call it once if that does not take too long."""
    before, peak = sum(compiling), Peak()
    call = attempted(lambda: RIVALS[rival](*arena.data), rival in OURS)
    if isinstance(call, Failed):
        return Warm(lambda: None, call, 0.0, None, peak)
    watched = peak.watched(call)
    if is_slow(rival) and not arena.problem.name.startswith("diabetes"):
        return Warm(watched, None, sum(compiling) - before, None, peak)
    answer = attempted(watched, rival in OURS)
    spent, size = sum(compiling) - before, None
    if rival in OURS and not isinstance(answer, Failed):
        size = working_bytes(watched)
    elif not isinstance(answer, Failed):
        watched()
    return Warm(call, answer, spent, size, peak)


def is_slow(rival: str) -> bool:
    """Whether a contender is called once, and not to warm up."""
    return not rival.startswith(QUICK)


def attempted(call: Callable[[], Any], ours: bool = False) -> Any:
    """Return what a call returns, or how it failed; only ours may not warn."""
    try:
        with warnings.catch_warnings():
            if not ours:
                warnings.simplefilter("ignore")
            return call()
    except Exception as error:  # whatever it is goes on record
        return Failed(failure_of(error))


def contest(
    benchmark: Any, rival: str, turn: int, arena: Arena, ready: Warm, rounds: int = 1
) -> None:
    """Time a contender that is ready, see that ours are right, and record it all."""
    kept: list[Any] = [ready.answer]
    if not isinstance(ready.answer, Failed):
        ours = rival in OURS
        benchmark.pedantic(
            lambda: kept.append(attempted(ready.call, ours)), rounds=rounds
        )
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
            peak_bytes=None if rival in ELSEWHERE else ready.peak.bytes,
            route=answer.route if isinstance(answer, Answer) else "",
            failed=answer.how if isinstance(answer, Failed) else None,
            part_of=TENTH if rival.endswith("× 10") else 1,
        )
    if rival in OURS:  # on record before
        assert error is not None
        assert error < WITHIN[arena.problem.dtype]


def judged(answer: Any, arena: Arena) -> tuple[float | None, float]:
    """Return the error of an answer, and what share of targets agree on a penalty."""
    if not isinstance(answer, Answer):
        return None, float("nan")
    if answer.coef is not None:
        return error_of_coefs(answer.coef, arena.truth()), float("nan")
    best = arena.data[2][np.argmin(arena.truth(), axis=0)]
    same = float(np.mean(np.isclose(np.ravel(answer.chosen), best, rtol=1e-4)))
    if answer.scores is None:
        return None, same
    return error_of_scores(answer.scores, arena.truth()), same


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
