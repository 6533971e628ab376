"""Problems with known answers, answers by brute force, and one idea of "close"."""

from contextlib import contextmanager
from typing import NamedTuple

import jax
import numpy as np

import jaxridge
from jaxridge import Params

# The largest ‖actual − expected‖ / ‖expected‖, for problems conditioned as `SHAPES`.
TOLERANCE = {"float64": 1e-11, "float32": 1e-4}
DTYPES = (np.float64, np.float32)


class Problem(NamedTuple):
    """Data made from √w (X − x̄) = U diag(s) Vᵀ and √w (y − ȳ) = U b + noise ⟂ U."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    s: np.ndarray
    Vt: np.ndarray
    b: np.ndarray

    def coef(self, lam):
        """Return the minimiser of J: V s/(s² + λ) b."""
        return self.Vt.T @ (self._gain(lam) * self.b.T).T

    def coef_by_lam(self, lam):
        """Return its first two derivatives in λ."""
        gain, damped = self._gain(lam), self.s**2 + lam
        first = self.Vt.T @ (-gain / damped * self.b.T).T
        return first, self.Vt.T @ (2 * gain / damped**2 * self.b.T).T

    def _gain(self, lam):
        s = self.s
        return np.divide(s, s**2 + lam, out=np.zeros_like(s), where=s > 0)

    def astype(self, dtype):
        """Return (X, y, weight) in another precision."""
        weight = None if self.weight is None else self.weight.astype(dtype)
        return self.X.astype(dtype), self.y.astype(dtype), weight


def problem(m, n, t=None, *, rank=None, weighted=False, mean=2.0, seed=0):
    """Make a problem with singular values from 3 down to 1, `rank` of them not 0."""
    rng = np.random.default_rng(seed)
    root = np.sqrt(rng.integers(1, 4, m) if weighted else np.ones(m))
    k = min(m - 1, n)
    ones_and_U = np.column_stack([root, rng.normal(size=(m, m - 1))])
    Q = np.linalg.qr(ones_and_U)[0][:, 1:]
    s = np.where(np.arange(k) < (rank or k), np.linspace(3, 1, k), 0)
    Vt = np.linalg.qr(rng.normal(size=(n, n)))[0][:k]
    targets = () if t is None else (t,)
    b = rng.normal(size=(k, *targets))
    noise = Q[:, k:] @ rng.normal(size=(m - 1 - k, *targets))
    X = (Q[:, :k] * s) @ Vt / root[:, None] + mean * rng.normal(size=n)
    y = ((Q[:, :k] @ b + noise).T / root).T + rng.normal(size=targets)
    return Problem(X, y, root**2 if weighted else None, s, Vt, b)


def _with_columns(made, columns):
    """Return a problem, of unknown answer, with columns of X replaced."""
    X = made.X.copy()
    for j, column in columns.items():
        X[:, j] = column
    return made._replace(X=X)


def _with_some_zero_weights(made):
    """Return a problem, of unknown answer, in which some rows do not count."""
    return made._replace(weight=np.where(np.arange(len(made.X)) % 3, made.weight, 0))


# Few sizes, because each is compiled anew.
KNOWN = {
    "tall": problem(12, 4),
    "square": problem(6, 6),
    "wide": problem(5, 8),
    "rank-deficient": problem(12, 4, rank=2),
    "one column": problem(8, 1),
    "one target as a matrix": problem(12, 4, 1),
    "several targets": problem(12, 4, 3),
    "weights": problem(12, 4, weighted=True),
    "weights, wide, several targets": problem(5, 8, 3, weighted=True),
}
TALL = KNOWN["tall"]
SHAPES = KNOWN | {
    "duplicate columns": _with_columns(TALL, {1: TALL.X[:, 0], 3: TALL.X[:, 0]}),
    "constant columns": _with_columns(TALL, {0: 0.1, 3: -7.0}),
    "zero weights": _with_some_zero_weights(KNOWN["weights"]),
}


def centred_rows(X, y, weight=None, fit_intercept=True):
    """Return √w (X − x̄) and √w (y − ȳ) as float64 matrices, and x̄ and ȳ."""
    X, y = np.asarray(X, np.float64), np.asarray(y, np.float64)
    Y = y.reshape(len(X), -1)
    weight = np.ones(len(X)) if weight is None else np.asarray(weight, np.float64)
    means = [np.zeros(X.shape[1]), np.zeros(Y.shape[1])]
    if fit_intercept:
        # From differences, so that a constant column has its own value as the mean.
        first = np.argmax(weight > 0)
        means = [A[first] + np.average(A - A[first], 0, weight) for A in (X, Y)]
    root = np.sqrt(weight)[:, None]
    return root * (X - means[0]), root * (Y - means[1]), *means


def brute(X, y, lam, weight=None, fit_intercept=True):
    """Return the minimum-norm minimiser of J, by lstsq on rows extended by √λ I."""
    A, B, x_mean, y_mean = centred_rows(X, y, weight, fit_intercept)
    n = A.shape[1]
    # Columns that depend on each other do so to the precision that X came in.
    rcond = np.finfo(np.asarray(X).dtype).eps * max(A.shape)
    A = np.concatenate([A, np.sqrt(lam) * np.eye(n)])
    B = np.concatenate([B, np.zeros((n, B.shape[1]))])
    coef = np.linalg.lstsq(A, B, rcond=rcond)[0]
    intercept = y_mean - x_mean @ coef
    targets = np.shape(y)[1:]
    return Params(coef.reshape(n, *targets), intercept.reshape(targets))


def brute_cost(params, X, y, lam, weight=None):
    """Return J in float64."""
    coef, intercept, X, y = (np.asarray(a, np.float64) for a in (*params, X, y))
    weight = np.ones(len(X)) if weight is None else np.asarray(weight, np.float64)
    squares = weight @ (X @ coef + intercept - y) ** 2
    return (np.sum(squares) + lam * np.sum(coef**2)) / (2 * np.sum(weight))


def brute_gradient(params, X, y, lam, weight=None):
    """Return ∂J/∂θ in float64."""
    coef, intercept, X, y = (np.asarray(a, np.float64) for a in (*params, X, y))
    weight = np.ones(len(X)) if weight is None else np.asarray(weight, np.float64)
    weighted = ((X @ coef + intercept - y).T * weight).T
    m = weight.sum()
    return Params((X.T @ weighted + lam * coef) / m, weighted.sum(axis=0) / m)


def sizes_of_terms(params, X, y, lam, weight=None):
    """Return the norms of ∂J/∂θ with every part of every term made positive.

    Rounding in a gradient is small beside these, and not beside the gradient itself.
    """
    coef, intercept, X, y = (np.abs(np.float64(a)) for a in (*params, X, y))
    positive = brute_gradient(Params(coef, intercept), X, -y, lam, weight)
    return Params(*map(norm, positive))


def random_params(X, y, seed=1):
    """Return parameters that fit the shapes of X and y, in their dtype."""
    rng = np.random.default_rng(seed)
    shapes = (np.shape(X)[1], *np.shape(y)[1:]), np.shape(y)[1:]
    return Params(
        *(np.asarray(rng.normal(size=s), np.asarray(X).dtype) for s in shapes)
    )


def norm(array):
    """Return the Euclidean norm of all elements, in float64."""
    return np.linalg.norm(np.ravel(np.asarray(array, np.float64)))


def assert_close(actual, expected, scale=None):
    """Assert equality to the precision of `actual`, relative to ‖expected‖ or scale."""
    assert np.shape(actual) == np.shape(expected)
    allowed = TOLERANCE[str(np.asarray(actual).dtype)]
    error = norm(np.asarray(actual, np.float64) - np.asarray(expected, np.float64))
    size = norm(expected) if scale is None else scale
    assert error <= allowed * size, f"{error:.2e} > {allowed:.0e} * {size:.2e}"


def assert_params_close(actual, expected, X, y):
    """Assert close coefficients, and intercepts that are as good as x̄ and ȳ allow."""
    assert_close(actual.coef, expected.coef)
    allowed = norm(np.mean(np.abs(X), axis=0) @ np.abs(expected.coef))
    allowed += norm(np.mean(np.abs(y), axis=0))
    assert_close(actual.intercept, expected.intercept, scale=allowed)


_compiled = []


def _note(event, duration, **_):
    if event == "/jax/core/compile/backend_compile_duration":
        _compiled.append(event)


# Listeners cannot be taken off again in every JAX version, so one listens for good.
jax.monitoring.register_event_duration_secs_listener(_note)


@contextmanager
def compilations():
    """Yield a function that counts the XLA programs compiled since."""
    before = len(_compiled)
    yield lambda: len(_compiled) - before


def scores_of_all_kinds(X, Y, lams, **given):
    """Return the mean scores by folds, by leaving one out, and by either criterion."""
    functions = (
        jaxridge.cross_validate,
        jaxridge.leave_one_out,
        jaxridge.gcv,
        jaxridge.evidence,
    )
    return {f.__name__: f(X, Y, lams, **given).mean for f in functions}
