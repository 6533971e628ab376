"""How sure a prediction is: from the rows a fit was left without, or from a posterior.

**Jackknife+** (Barber, Candès, Ramdas and Tibshirani 2021). Let Rᵢ = |eᵢ| be the error
of predicting row i from all others, and μ₋ᵢ(x) what the fit without row i says of x. Of
m rows, the interval runs from the ⌊α(m + 1)⌋-th smallest of μ₋ᵢ(x) − Rᵢ to the
⌈(1 − α)(m + 1)⌉-th smallest of μ₋ᵢ(x) + Rᵢ. No fit is made: ridge without row i is
ridge with yᵢ replaced by its own prediction, and linear in y, so that

    μ₋ᵢ(x) = μ(x) − H(x, i) eᵢ,      H(x, i) = wᵢ (zᵀ(S² + λ)⁻¹ zᵢ + 1/Σw),

z and zᵢ being x − x̄ and xᵢ − x̄ along the axes V of the rows.

**Posterior.** With y ~ N(xθ, σ²) and θ ~ N(0, σ²/λ), flat in the intercept, θ given the
rows has the covariance σ² (V(S² + λ)⁻¹Vᵀ + (I − VVᵀ)/λ); σ² is RSS/(m − df).
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from jaxridge.fits import Axes, FitOfEach

AT_ONCE = 2**22  # numbers of H, or of rows about the centre, formed at a time


class Kept(NamedTuple):
    """What intervals need of the rows fitted: (m + n) r + m t numbers, and a few.

    `share` is 1/Σw, and 0 without an intercept; `freedom` is m − df, and `noise` is σ²,
    NaN where that is less than 1. Rows that do not count are left out.
    """

    x: np.ndarray  # (n,), the centre
    right: np.ndarray  # (n, r)
    values: np.ndarray  # (r,), all above 0
    lam: np.ndarray  # (t,)
    weight: np.ndarray  # (m,)
    along: np.ndarray  # (m, r)
    errors: np.ndarray  # (m, t)
    share: np.ndarray  # ()
    noise: np.ndarray  # (t,)
    freedom: np.ndarray  # (t,)


def kept_of(
    X: np.ndarray,
    Y: np.ndarray,
    weight: np.ndarray | None,
    fit: FitOfEach,
    axes: Axes,
    lam: np.ndarray,
    errors: np.ndarray,
    fit_intercept: bool,
) -> Kept:
    """Return what intervals need of rows, their fit and their axes."""
    coef, intercept = map(np.asarray, fit.params)
    weight = np.ones(len(X), X.dtype) if weight is None else weight
    there, m = weight > 0, weight.sum()
    x, values, right = map(np.asarray, (axes.centre.x, axes.values, axes.right))
    if not (values > 0).all():
        right = np.ascontiguousarray(right[:, values > 0])
    square = weight @ (Y - X @ coef - intercept) ** 2
    freedom = m - np.asarray(fit.df)
    # Of less than one degree of freedom Student's t has ends that say nothing: 1e98.
    few = freedom < 1
    noise = np.where(few, np.nan, square / np.where(few, 1, freedom))
    return Kept(
        x,
        right,
        values[values > 0],
        lam,
        weight[there],
        _along(X, np.flatnonzero(there), x, right),
        errors[there],
        np.asarray(1 / m if fit_intercept else 0, X.dtype),
        noise,
        freedom,
    )


def _along(
    X: np.ndarray, rows: np.ndarray, x: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Return some rows about the centre along the axes, a block of them at a time."""
    along = np.empty((len(rows), right.shape[1]), X.dtype)
    tile = max(1, AT_ONCE // len(x))
    for start in range(0, len(rows), tile):
        some = rows[start : start + tile]
        np.matmul(X[some] - x, right, out=along[start : start + len(some)])
    return along


def jackknife_plus(
    kept: Kept, X: np.ndarray, prediction: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of intervals about predictions (q, t) of rows X.

    They are infinite where `level` asks for more than m rows can tell. O(q m (r d + t))
    time, d the number of different penalties.
    """
    m, alpha = len(kept.weight), 1 - level
    # Guarded against (1 − 0.9) · 10 being below 1.
    first = int(np.floor(alpha * (m + 1) + 1e-9)) - 1
    last = int(np.ceil(level * (m + 1) - 1e-9)) - 1
    lower, upper = np.full_like(prediction, -np.inf), np.full_like(prediction, np.inf)
    if first < 0 or last >= m:
        return lower, upper
    beside = kept.weight[:, None] * kept.along
    tile = max(1, AT_ONCE // m)
    for start in range(0, len(X), tile):
        rows = slice(start, start + tile)
        z = (X[rows] - kept.x) @ kept.right
        for lam in np.unique(kept.lam):
            H = (z / (kept.values + lam)) @ beside.T + kept.share * kept.weight
            for j in np.flatnonzero(kept.lam == lam):
                error = kept.errors[:, j]
                without = prediction[rows, j, None] - H * error
                low, high = without - np.abs(error), without + np.abs(error)
                lower[rows, j] = np.partition(low, first, axis=1)[:, first]
                upper[rows, j] = np.partition(high, last, axis=1)[:, last]
    return lower, upper


def standard_error(kept: Kept, X: np.ndarray) -> np.ndarray:
    """Return the posterior standard deviation (q, t) of a new observation at rows X.

    σ √(1 + zᵀ(S² + λ)⁻¹z + 1/Σw + ‖x − x̄ − Vz‖²/λ).
    """
    dx = X - kept.x
    z = dx @ kept.right
    beyond = _beyond(dx, z, kept)
    spread = (z**2) @ (1 / (kept.values[:, None] + kept.lam)) + kept.share
    return np.sqrt(kept.noise * (1 + spread + _over(beyond, kept.lam)))


def posterior_interval(
    kept: Kept, X: np.ndarray, prediction: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of intervals, by Student's t as σ² is an estimate."""
    half = stdtrit(kept.freedom, (1 + level) / 2) * standard_error(kept, X)
    return prediction - half, prediction + half


def coef_deviation(kept: Kept) -> np.ndarray:
    """Return the posterior standard deviation (n, t) of each coefficient."""
    inside = kept.right**2
    spread = inside @ (1 / (kept.values[:, None] + kept.lam))
    n, r = kept.right.shape
    beyond = np.maximum(1 - inside.sum(axis=1), 0) if r < n else np.zeros(n)
    noise = np.finfo(beyond.dtype).eps * n
    beyond = np.where(beyond > noise, beyond, 0)
    return np.sqrt(kept.noise * (spread + _over(beyond, kept.lam)))


def _beyond(dx: np.ndarray, z: np.ndarray, kept: Kept) -> np.ndarray:
    """Return ‖dx − Vz‖², 0 where it is rounding or the axes span all directions."""
    n, r = kept.right.shape
    if r == n:
        return np.zeros(len(dx), dx.dtype)
    beyond = ((dx - z @ kept.right.T) ** 2).sum(axis=1)
    noise = (np.finfo(dx.dtype).eps * n) ** 2 * (dx**2).sum(axis=1)
    return np.where(beyond > noise, beyond, 0)


def _over(beyond: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """Return beyond/λ, infinite at λ = 0: no row says anything of that direction."""
    there = beyond[:, None] > 0
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(there, beyond[:, None] / np.where(there, lam, 1), 0)
