"""The estimator beside scikit-learn's: leave-one-out over a grid, and predictions.

Both choose among the same penalties on the same arrays, in turns; the error is the
largest difference of the predictions, relative to the targets' spread.
"""

import time
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn import linear_model

import jaxridge
from benchmarks.memory import Peak, working_bytes
from benchmarks.problems import SEED, rows

SMALL = ((100, 5), (442, 10), (5_000, 50))
LARGE = ((20_000, 500), (50_000, 300))
TOY_SHAPES = ((40, 3),)
LAMS = np.geomspace(1e-2, 1e4, 100)
ROUNDS, SLOW = 5, 10**5  # numbers in X, beyond which a rival is timed once
FACES = {
    "RidgeCV": linear_model.RidgeCV,
    "RidgeCV, svd": partial(linear_model.RidgeCV, gcv_mode="svd"),
    "jaxridge": jaxridge.RidgeCV,
}


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
    once = m * n > SLOW and face != "jaxridge"
    if (toy and (turn or shape != SMALL[0])) or (turn and once):
        pytest.skip("timed in another turn")
    X, Y = rows(m, n, 1)
    y, peak = Y[:, 0], Peak()

    def call() -> Any:
        model = FACES[face](LAMS).fit(X, y)
        return model, model.predict(X)

    started = time.perf_counter()
    model, predicted = call()
    first = time.perf_counter() - started
    theirs = linear_model.RidgeCV([model.alpha_]).fit(X, y).predict(X)
    error = float(np.abs(predicted - theirs).max() / y.std())
    assert error < 1e-9
    many = 1 if once else max(1, SLOW // (m * n))
    benchmark.pedantic(call, rounds=1, iterations=many)
    if benchmark.stats is not None:
        seconds, ours = benchmark.stats.stats.median, face == "jaxridge"
        peak.watched(call)()
        benchmark.extra_info.update(
            problem={
                "name": f"face-{m}x{n}",
                "n_samples": m,
                "n_features": n,
                "n_lams": len(LAMS),
                "folds": 0,
                "dtype": "float64",
                "seed": SEED,
            },
            contender=face,
            compile_seconds=max(0.0, first - seconds) if ours else 0.0,
            error_against_float64=error,
            working_bytes=working_bytes(call) if ours else None,
            peak_bytes=peak.bytes,
            route=str(model.certificate_.route) if ours else "",
        )
