"""What share of new rows 90 % intervals hold, over many random splits.

Alpha is chosen by leave-one-out on the training rows of each split, which theory does
not allow for; the figures say what that costs.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from jaxridge import RidgeCV

LEVEL, SPLITS, TRAINING = 0.9, 200, 0.7
PROSTATE = Path(__file__).parents[1] / "tests" / "data" / "prostate.data"

Rows = tuple[np.ndarray, np.ndarray]


def simulated(rng: np.random.Generator, kind: str) -> Rows:
    """Return rows with normal, skewed or unequal noise."""
    m, n = (150, 20) if kind != "wide" else (80, 120)
    X = rng.normal(size=(m, n))
    noise = rng.normal(size=m)
    if kind == "skewed":
        noise = rng.exponential(size=m) - 1
    if kind == "unequal":
        noise *= 0.5 + np.abs(X[:, 0])
    return X, X @ rng.normal(size=n) / np.sqrt(n) * 2 + noise


def diabetes(_: np.random.Generator) -> Rows:
    X, y = load_diabetes(return_X_y=True)
    return X, y


def prostate(_: np.random.Generator) -> Rows:
    """Return log PSA and eight measurements of 97 men (Stamey et al. 1989)."""
    lines = PROSTATE.read_text().splitlines()[1:]
    table = np.array([line.split()[1:10] for line in lines], float)
    return table[:, :8], table[:, 8]


SETS = {
    "normal noise": lambda rng: simulated(rng, "normal"),
    "skewed noise": lambda rng: simulated(rng, "skewed"),
    "wide": lambda rng: simulated(rng, "wide"),
    "diabetes": diabetes,
    "prostate": prostate,
}


def coverage(name: str, splits: int) -> dict[str, np.ndarray]:
    """Return the share held in each split, by either method."""
    shares: dict[str, list[float]] = {"jackknife+": [], "posterior": []}
    for seed in range(splits):
        rng = np.random.default_rng(seed)
        X, y = SETS[name](rng)
        order = rng.permutation(len(y))
        first = round(TRAINING * len(y))
        train, test = order[:first], order[first:]
        model = RidgeCV(standardize=True, intervals=True).fit(X[train], y[train])
        for method, found in shares.items():
            _, low, high = model.predict(
                X[test], interval=LEVEL, interval_method=method
            )
            found.append(float(np.mean((low <= y[test]) & (y[test] <= high))))
    return {method: np.array(found) for method, found in shares.items()}


@pytest.mark.full
@pytest.mark.parametrize("name", SETS)
@pytest.mark.filterwarnings("ignore:the best alpha")
def test_coverage(name: str, benchmark: Any, toy: bool) -> None:
    if toy and name != "prostate":
        pytest.skip("one set is enough")
    splits = 2 if toy else SPLITS
    shares = benchmark.pedantic(lambda: coverage(name, splits), rounds=1)
    if benchmark.stats is not None:
        benchmark.extra_info["coverage"] = {
            "set": name,
            "splits": splits,
            "level": LEVEL,
            **{method: float(found.mean()) for method, found in shares.items()},
        }
