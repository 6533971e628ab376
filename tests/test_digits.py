"""Digits of the answer where columns all but depend on each other."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from jaxridge import path, solve

NIST = sorted((Path(__file__).parent / "data" / "nist").glob("*.dat"))
FILIP = 6.5  # digits that no answer from products of its columns can have
MOST_DIGITS = 15


def digits(found, certified):
    """Return how many digits of the worst coefficient are right."""
    apart = np.abs(np.asarray(found) - certified) / np.abs(certified)
    return min(MOST_DIGITS, -np.log10(max(apart.max(), 1e-16)))


def certified(file):
    """Return (y, X, coefficients, whether the first is an intercept)."""
    lines = file.read_text().splitlines()
    coef = [float(s.split()[1]) for s in lines if re.match(r"\s+B\d+\s+[-\d.]", s)]
    start = [i for i, s in enumerate(lines) if s.startswith("Data:")][-1] + 1
    y, *x = np.array([s.split() for s in lines[start:] if s.strip()], float).T
    intercept = not file.stem.startswith("NoInt")
    X = np.column_stack(x) if len(x) > 1 else x[0][:, None]
    degree = len(coef) - intercept
    return y, X if len(x) > 1 else X ** np.arange(1, degree + 1), coef, intercept


@pytest.mark.parametrize("file", NIST, ids=lambda file: file.stem)
def test_least_squares_has_the_digits_of_numpy(file):
    y, X, coef, intercept = certified(file)
    design = np.column_stack([np.ones(len(y)), X]) if intercept else X
    numpy = digits(np.linalg.lstsq(design, y, rcond=1e-17)[0], coef)
    one = solve(X, y, 0.0, fit_intercept=intercept)
    along = path(X, y, [0.0], fit_intercept=intercept).params.at(0)
    for params in (one, along):
        found = [params.intercept, *params.coef] if intercept else params.coef
        assert digits(found, coef) >= numpy - 0.5
        assert digits(found, coef) >= FILIP or file.stem == "Wampler5"


def hilbert(n):
    return 1.0 / (np.arange(n)[:, None] + np.arange(n) + 1)


COLLINEAR = {
    "Hilbert": hilbert(10),
    "Vandermonde": np.linspace(0, 1, 30)[:, None] ** np.arange(11),
    "duplicated columns": np.repeat(np.linspace(0, 1, 20)[:, None] ** [1, 2, 3], 2, 1),
}


def exactly(X, y, lam):
    """Solve (XᵀX + lam) θ = Xᵀy in fractions."""
    X, lam = np.vectorize(Fraction, otypes=[object])(X), Fraction(lam)
    n = X.shape[1]
    system = X.T @ X + lam * np.vectorize(Fraction, otypes=[object])(np.eye(n))
    rows = np.column_stack([system, X.T @ np.vectorize(Fraction, otypes=[object])(y)])
    for i in range(n):
        rows[i] = rows[i] / rows[i, i]
        for j in set(range(n)) - {i}:
            rows[j] = rows[j] - rows[j, i] * rows[i]
    return rows[:, -1].astype(float)


def least_squares(X, y, lam):
    """Return NumPy's answer of minimum norm, a penalty being n more rows."""
    stacked = np.vstack([X, np.sqrt(lam) * np.eye(X.shape[1])]) if lam else X
    return np.linalg.lstsq(stacked, np.append(y, np.zeros(len(stacked) - len(y))))[0]


@pytest.mark.parametrize("name", COLLINEAR)
@pytest.mark.parametrize("lam", [0.0, 1e-12])
def test_collinear_columns_keep_the_digits_of_numpy(name, lam):
    X = COLLINEAR[name]
    y = X @ np.ones(X.shape[1]) + np.cos(np.arange(len(X)))
    if name == "duplicated columns" and not lam:
        # The shortest answer shares each coefficient between the two.
        expected = np.repeat(exactly(X[:, ::2], y, 0) / 2, 2)
    else:
        expected = exactly(X, y, lam)

    def right(coef):
        apart = np.linalg.norm(coef - expected) / np.linalg.norm(expected)
        return min(MOST_DIGITS, -np.log10(max(apart, 1e-16)))

    numpy = right(least_squares(X, y, lam))
    options = {"fit_intercept": False}
    assert right(solve(X, y, lam, **options).coef) >= numpy - 1
    assert right(path(X, y, [lam], **options).params.coef[0]) >= numpy - 1
