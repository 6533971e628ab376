"""What every scikit-learn face does: fit rows, and keep the answer.

The numbers come from the floors below; what is set on the estimator is NumPy's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator

from jaxridge import checks
from jaxridge.alphas import in_these_names
from jaxridge.border import in_kind_of_input
from jaxridge.columns import (
    Columns,
    Learner,
    original_units,
    scaled,
    standardized,
)
from jaxridge.data import as_data_to_square, as_penalty
from jaxridge.factors import known
from jaxridge.fits import ONE_CHOLESKY, Fit, FitOfEach, fit_at_once, fit_of_each
from jaxridge.params import Params
from jaxridge.routes import SVD, Route
from jaxridge.selection import (
    Rows,
    sparse_rows,
)
from jaxridge.sparse import turned, turned_back
from jaxridge.sparse_fits import ITERATED, MOST, fit_by_steps, fit_sparse

# Those of scikit-learn that take steps: here they are "auto", which is exact.
STEPPING = ("sparse_cg", "lsqr", "sag", "saga", "lbfgs")
SOLVERS = ("auto", "cholesky", "eigh", "svd", *STEPPING)


class Ready(NamedTuple):
    """Rows as they are fitted, and the way back to coefficients of what came in."""

    rows: Rows
    undo: Callable[[Params], Params]
    columns: Columns | None
    dtype: Any


class Linear(BaseEstimator):
    """Coefficients and where they came from."""

    # Whether those of a single column of targets have one axis, as in scikit-learn.
    _flat = True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _keep(self, ready: Ready, fit: Fit | FitOfEach) -> None:
        """Set what every face has, of the columns as they came."""
        rows, params = ready.rows, ready.undo(fit.params)
        coef, intercept = (np.asarray(a).astype(ready.dtype) for a in params)
        flat = self._flat and coef.shape[1] == 1
        self.coef_ = coef[:, 0] if flat else np.ascontiguousarray(coef.T)
        self.intercept_ = intercept[0] if rows.y.ndim == 1 else intercept
        if not rows.fit_intercept:
            self.intercept_ = 0.0
        self.certificate_ = fit.certificate
        self.route_ = str(fit.certificate.route)


def fitted(rows: Rows, lam: Any, solver: str) -> tuple[Ready, Fit | FitOfEach]:
    """Return rows ready and the fit to them, at one penalty or one for each target."""
    free = solver in ("auto", *STEPPING)
    stepped = _by_steps(rows, lam) if free else None
    if stepped is not None:
        return Ready(rows, _unchanged, None, rows.X.dtype), stepped
    ready = made_ready(rows)
    if sparse.issparse(ready.rows.X) or np.ndim(lam) or solver in ("eigh", "svd"):
        return ready, of_each(ready.rows, lam, solver)
    with in_these_names():
        return ready, _at_once(ready.rows, lam)


def _by_steps(rows: Rows, lam: Any) -> FitOfEach | None:
    """Return the fit to few sparse rows of many columns, if steps are enough."""
    if not sparse.issparse(rows.X) or not _are_few(rows):
        return None
    with in_these_names():
        return fit_by_steps(sparse_rows(rows), lam)


def of_each(rows: Rows, lam: Any, solver: str = "eigh") -> FitOfEach:
    """Return the fit to rows, at one penalty or one for each target."""
    with in_these_names():
        if sparse.issparse(rows.X):
            return fit_sparse(sparse_rows(rows), lam)
        return _of_each(rows, lam, solver)


@in_kind_of_input
def _at_once(rows: Rows, lam: Any) -> Fit:
    data = as_data_to_square(rows.X, rows.y, rows.weight)
    return fit_at_once(data, as_penalty("alpha", lam, data.X.dtype), rows.fit_intercept)


@in_kind_of_input
def _of_each(rows: Rows, lam: Any, solver: str) -> FitOfEach:
    data = as_data_to_square(rows.X, rows.y, rows.weight)
    each = jnp.broadcast_to(as_penalty("alpha", lam, data.X.dtype), data.Y.shape[1:])
    system = SVD if solver == "svd" else ""
    return fit_of_each(known(data, rows.fit_intercept), each, system)


def solver_of(route: Route) -> tuple[str, int | None]:
    """Return the solver that answered, by scikit-learn's name, and its iterations."""
    if route.sharing == ITERATED:
        return "sparse_cg", None
    if route.sharing == ONE_CHOLESKY:
        return "cholesky", 1
    return "svd" if route.system == SVD else "eigh", 1


def made_ready(rows: Rows, standardize: bool = False) -> Ready:
    """Return rows to fit: scaled, or, wide sparse ones, in axes of their own."""
    checks.flag("fit_intercept", rows.fit_intercept)
    dtype = rows.X.dtype
    if sparse.issparse(rows.X):
        if standardize:
            raise ValueError(
                "standardize=True would make sparse rows dense: scale their columns "
                "before, such as with MaxAbsScaler of scikit-learn"
            )
        return Ready(*_in_few_axes(rows), None, dtype)
    if not standardize:
        return Ready(rows, _unchanged, None, dtype)
    columns = _learnt(rows, learner_of(rows))
    scaled_rows = rows._replace(X=columns.applied(rows.X))
    undo = partial(in_kind_of_input(original_units), columns)
    return Ready(scaled_rows, undo, columns, dtype)


def _in_few_axes(rows: Rows) -> tuple[Rows, Callable[[Params], Params]]:
    if not _are_few(rows):
        return rows, _unchanged
    given = sparse_rows(rows)
    few = turned(given.X, given.weight, given.fit_intercept)
    y = rows.y.astype(np.float64)
    return rows._replace(X=few.X, y=y), partial(turned_back, few, given.X)


def _are_few(rows: Rows) -> bool:
    """Whether there are few rows enough to be turned, and fewer than columns."""
    m, n = rows.X.shape
    return bool(m <= min(MOST, n - 1))


def _unchanged(params: Params) -> Params:
    return params


def learner_of(rows: Rows) -> Learner:
    """Return what learns the scales of columns."""
    return standardized if rows.fit_intercept else scaled


@in_kind_of_input
def _learnt(rows: Rows, learner: Learner) -> Columns:
    data = as_data_to_square(rows.X, rows.y, rows.weight)
    return learner(data.X, data.weight)
