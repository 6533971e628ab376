"""Every penalty, fold and target exactly: beside rivals, and beside one fit's price.

The *limit* is what one fit takes however it is made: one product XᵀX (or XXᵀ, where it
is the smaller) by BLAS and one eigendecomposition by LAPACK. Contenders are timed in
turn, in one process on the same arrays, those that take a minute only once. Records
hold the largest relative difference of the scores from NumPy's in float64, and where
one penalty is chosen for each target, the share of targets that get the same.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold

import jaxridge
from benchmarks.memory import working_bytes
from benchmarks.problems import EXACT, TOY_EXACT, ScoreProblem

ROUNDS = 5
SLOW = ("GridSearchCV", "GridSearchCV, 2 jobs", "RidgeCV", "himalaya")


class Answer(NamedTuple):
    """Mean scores (L, t), or the penalty chosen for each target, whichever is told."""

    scores: np.ndarray | None
    chosen: np.ndarray


class Warm(NamedTuple):
    """A contender that has been called once: what that compiled, and how it erred."""

    call: Callable[[], Any]
    compile_seconds: float
    error: float | None
    same_penalty: float
    working_bytes: float | None


def limit(X: np.ndarray, Y: Any, lams: Any, folds: int) -> Callable[[], None]:
    def call() -> None:
        np.linalg.eigh(X.T @ X if X.shape[0] >= X.shape[1] else X @ X.T)

    return call


def ours(X: Any, Y: Any, lams: Any, folds: int) -> Callable[[], Answer]:
    def call() -> Answer:
        if folds:
            scores = jaxridge.cross_validate(X, Y, lams, folds)
        else:
            scores = jaxridge.leave_one_out(X, Y, lams)
        return Answer(scores.mean, jaxridge.choose(scores, per_target=True).lam)

    return call


def estimator(X: Any, Y: Any, lams: Any, folds: int) -> Callable[[], Answer]:
    """Return the face: it fits all rows too, at the penalty of each target."""
    how = {"cv": folds or None, "scoring": "mse" if folds else None}

    def call() -> Answer:
        model = jaxridge.RidgeCV(lams, alpha_per_target=True, **how)
        return Answer(None, model.fit(X, Y).alpha_)

    return call


def grid_search(
    X: Any, Y: Any, lams: Any, folds: int, jobs: int | None = None
) -> Callable[[], Answer]:
    def call() -> Answer:
        search = GridSearchCV(
            Ridge(),
            {"alpha": lams},
            cv=KFold(folds),
            scoring="neg_mean_squared_error",
            n_jobs=jobs,
        )
        search.fit(X, Y[:, 0])
        scores = -search.cv_results_["mean_test_score"]
        return Answer(scores[:, None], np.array([search.best_params_["alpha"]]))

    return call


def ridge_cv(X: Any, Y: Any, lams: Any, folds: int) -> Callable[[], Answer]:
    def call() -> Answer:
        model = RidgeCV(lams, store_cv_results=True).fit(X, Y[:, 0])
        scores = model.cv_results_.mean(axis=0).reshape(-1, 1)
        return Answer(scores, np.array([model.alpha_]))

    return call


def himalaya(X: Any, Y: Any, lams: Any, folds: int) -> Callable[[], Answer]:
    ridge = pytest.importorskip("himalaya.ridge")
    scoring = pytest.importorskip("himalaya.scoring")

    def call() -> Answer:
        how = {"score_func": scoring.l2_neg_loss, "warn": False}
        alphas, cv = lams.astype(X.dtype), KFold(folds)
        model = ridge.RidgeCV(alphas, fit_intercept=True, cv=cv, solver_params=how)
        return Answer(None, model.fit(X, Y).best_alphas_)

    return call


RIVALS = {
    "jaxridge": ours,
    "jaxridge.RidgeCV": estimator,
    "GridSearchCV": grid_search,
    "GridSearchCV, 2 jobs": partial(grid_search, jobs=2),
    "RidgeCV": ridge_cv,
    "himalaya": himalaya,
    "limit": limit,
}


def reference(X: Any, Y: Any, lams: Any, folds: int) -> np.ndarray:
    """Return mean squared held-out errors (L, t), from float64 NumPy."""
    X, Y = np.float64(X), np.float64(Y)
    if not folds:
        return _left_out(X, Y, lams)
    per_fold = []
    for train, held in KFold(folds).split(X):
        x, y = X[train].mean(axis=0), Y[train].mean(axis=0)
        U, s, Vt = np.linalg.svd(X[train] - x, full_matrices=False)
        rows, along = (X[held] - x) @ Vt.T, U.T @ (Y[train] - y)
        per_fold.append(
            [
                ((rows * (s / (s**2 + lam)) @ along + y - Y[held]) ** 2).mean(axis=0)
                for lam in lams
            ]
        )
    return np.mean(per_fold, axis=0)


def _left_out(X: np.ndarray, Y: np.ndarray, lams: Any) -> np.ndarray:
    U, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    B = Y - Y.mean(axis=0)
    along, scores = U.T @ B, []
    for lam in lams:
        shrink = s**2 / (s**2 + lam)
        kept = 1 - U**2 @ shrink - 1 / len(X)
        scores.append((((B - U * shrink @ along) / kept[:, None]) ** 2).mean(axis=0))
    return np.array(scores)


@pytest.fixture(scope="module")
def arrays(toy: bool) -> Callable[[str], Any]:
    made: dict[str, Any] = {}

    def of(name: str) -> tuple[ScoreProblem, tuple, np.ndarray]:
        if name not in made:
            made.clear()  # one problem in memory at a time
            problem = (TOY_EXACT if toy else EXACT)[name]
            X, Y, lams = problem.make()
            data = X, Y, lams, problem.folds
            made[name] = problem, data, reference(*data)
        return made[name]

    return of


@pytest.fixture(scope="module")
def warm(arrays: Any, compiling: list[float]) -> Callable[[str, str], Warm]:
    known: dict[tuple[str, str], Warm] = {}

    def of(name: str, rival: str) -> Warm:
        if (name, rival) not in known:
            _, data, truth = arrays(name)
            call, before = RIVALS[rival](*data), sum(compiling)
            slow = rival in SLOW and name != "diabetes"
            answer = None if slow else call()
            spent = sum(compiling) - before
            used = working_bytes(call) if rival == "jaxridge" else None
            known[name, rival] = Warm(call, spent, *_judged(answer, data, truth), used)
        return known[name, rival]

    return of


def _judged(answer: Any, data: Any, truth: np.ndarray) -> tuple[Any, float]:
    """Return the error of the scores, and the share of penalties that are the same."""
    if answer is None:
        return None, float("nan")
    best = data[2][np.argmin(truth, axis=0)]
    same = float(np.mean(np.isclose(np.ravel(answer.chosen), best, rtol=1e-4)))
    if answer.scores is None:
        return None, same
    found = np.reshape(answer.scores, truth.shape)
    return float(np.max(np.abs(found - truth) / truth)), same


def _is_long(name: str, rival: str, turn: int) -> bool:
    """Whether a case is left to the full run."""
    searches = rival == "GridSearchCV" and name == "folds-double" or "jobs" in rival
    return turn > 0 or name == "wide-gram" or searches


CASES = [
    pytest.param(
        *(name, rival, turn),
        marks=[pytest.mark.full] if _is_long(name, rival, turn) else [],
    )
    for name, problem in EXACT.items()
    for turn in range(ROUNDS)
    for rival in ("jaxridge", *problem.rivals)
    if turn == 0 or rival not in SLOW or name == "diabetes"
]


@pytest.mark.parametrize(("name", "rival", "turn"), CASES)
@pytest.mark.filterwarnings("ignore:the best alpha")
def test_exact(
    benchmark: Any, name: str, rival: str, turn: int, arrays: Any, warm: Any
) -> None:
    problem, data, truth = arrays(name)
    contender = warm(name, rival)
    kept: list[Any] = []
    rounds = 20 if name == "diabetes" else 1
    benchmark.pedantic(lambda: kept.append(contender.call()), rounds=rounds)
    error, same = contender.error, contender.same_penalty
    if rival in SLOW:
        error, same = _judged(kept[-1], data, truth)
    if rival == "jaxridge":
        assert error is not None
        assert error < (1e-9 if problem.dtype == "float64" else 1e-3)
    if benchmark.stats is not None:
        benchmark.extra_info.update(
            problem=problem._asdict(),
            contender=rival,
            round=turn,
            compile_seconds=contender.compile_seconds,
            error_against_float64=error,
            same_penalty=same,
            working_bytes=contender.working_bytes,
        )
