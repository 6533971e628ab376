"""Every penalty, fold and target exactly: beside rivals, and beside one fit's price.

The *limit* is what one fit takes however it is made: one product XᵀX (or XXᵀ, where it
is the smaller) by BLAS and one eigendecomposition by LAPACK. Contenders are timed in
turn, in one process on the same arrays, those that take long only once. Records
hold the largest relative difference of the scores from NumPy's in float64, and where
one penalty is chosen for each target, the share of targets that get the same.
"""

from typing import Any

import pytest

from benchmarks.contest import contest, is_slow, kept_arenas
from benchmarks.problems import ALL, BY_ONE, EXACT, LOOPS, TOY_EXACT

ROUNDS = 5
LONG = (
    *LOOPS,
    "GridSearchCV",
    "GridSearchCV, 2 jobs",
    ALL,
    BY_ONE,
    # Of which another setting is faster:
    "GridSearchCV, a tenth × 10",
    "loop of Ridge, a tenth × 10",
    "himalaya",
)


def _is_long(name: str, rival: str, turn: int) -> bool:
    """Whether a case is left to the full run."""
    again = name == "rows-double" and rival.startswith("RidgeCV")
    return turn > 0 or again or rival in LONG


CASES = [
    pytest.param(
        *(name, rival, turn),
        marks=[pytest.mark.full] if _is_long(name, rival, turn) else [],
    )
    for name, problem in EXACT.items()
    for turn in range(ROUNDS)
    for rival in problem.rivals
    if turn == 0 or not is_slow(rival) or name == "diabetes"
]


@pytest.fixture(scope="module")
def arenas(toy: bool, compiling: list[float]) -> Any:
    return kept_arenas(TOY_EXACT if toy else EXACT, compiling)


@pytest.mark.parametrize(("name", "rival", "turn"), CASES)
@pytest.mark.filterwarnings("ignore:the best alpha")
def test_exact(
    benchmark: Any, name: str, rival: str, turn: int, arenas: Any, toy: bool
) -> None:
    if toy and turn:
        pytest.skip("one round is enough")
    arena_of, ready_for = arenas
    arena = arena_of(name)
    once = toy or is_slow(rival) or name == "wide-gram"
    rounds = 20 if name == "diabetes" else 1 if once else 3
    contest(benchmark, rival, turn, arena, ready_for(name, rival), rounds)
