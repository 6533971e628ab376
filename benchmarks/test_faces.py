"""The estimator beside scikit-learn's: leave-one-out over a grid, and predictions.

Both choose among the same penalties on the same arrays, in turns; the error is the
largest difference of the predictions, relative to the targets' spread.
"""

import time
from typing import Any

import numpy as np
import pytest
from sklearn import linear_model

import jaxridge

SMALL = ((100, 5), (442, 10), (5_000, 50))
LARGE = ((20_000, 500), (50_000, 300))
TOY_SHAPES = ((40, 3),)
LAMS = np.geomspace(1e-2, 1e4, 100)
ROUNDS, SLOW = 5, 10**5  # numbers in X, beyond which a rival is timed once
FACES = {"RidgeCV": linear_model.RidgeCV, "jaxridge": jaxridge.RidgeCV}


def rows(m: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(m, n))
    return X, X @ rng.normal(size=n) + np.sqrt(n) * rng.normal(size=m)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    "turn", [0, *(pytest.param(i, marks=pytest.mark.full) for i in range(1, ROUNDS))]
)
@pytest.mark.parametrize(
    "shape",
    [*SMALL, *(pytest.param(shape, marks=pytest.mark.full) for shape in LARGE)],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:the best alpha")
def test_faces(
    shape: tuple[int, int], turn: int, face: str, benchmark: Any, toy: bool
) -> None:
    m, n = TOY_SHAPES[0] if toy else shape
    once = m * n > SLOW and face == "RidgeCV"
    if (toy and (turn or shape != SMALL[0])) or (turn and once):
        pytest.skip("timed in another turn")
    X, y = rows(m, n)

    def call() -> Any:
        model = FACES[face](LAMS).fit(X, y)
        return model.alpha_, model.predict(X)

    started = time.perf_counter()
    alpha, predicted = call()
    first = time.perf_counter() - started
    theirs = linear_model.RidgeCV([alpha]).fit(X, y).predict(X)
    error = float(np.abs(predicted - theirs).max() / y.std())
    assert error < 1e-9
    many = 1 if once else max(1, SLOW // (m * n))
    benchmark.pedantic(call, rounds=1, iterations=many)
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        benchmark.extra_info.update(
            problem={
                "name": f"face-{m}x{n}",
                "n_samples": m,
                "n_features": n,
                "n_lams": len(LAMS),
                "folds": 0,
                "dtype": "float64",
            },
            contender=face,
            compile_seconds=max(0.0, first - seconds),
            error_against_float64=error,
        )
