"""What every scikit-learn face does: choose a penalty, fit, and keep the answer.

The numbers come from the floors below; what is set on the estimator is NumPy's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted

from jaxridge import checks
from jaxridge.choice import Choice, Evidence, Scores, choose
from jaxridge.columns import (
    Columns,
    Learner,
    original_units,
    scaled,
    standardized,
)
from jaxridge.data import (
    as_data_to_square,
    as_penalty,
    in_kind_of_input,
    promoting,
)
from jaxridge.factors import Known
from jaxridge.fits import ONE_CHOLESKY, Fit, FitAlongAxes, fit_along_axes, fit_at_once
from jaxridge.objective import Params
from jaxridge.plans import Plan, plan
from jaxridge.routes import SVD, Route
from jaxridge.selection import (
    Asked,
    Rows,
    asked_once,
    left_out,
    scores_of,
    sparse_rows,
)
from jaxridge.sparse import turned, turned_back
from jaxridge.sparse_fits import ITERATED, MOST, fit_by_steps, fit_sparse

# Of arguments: on the floors below, and here.
NAMES = {
    "lams": "alphas",
    "lam": "alpha",
    "folds": "cv",
    "weight": "sample_weight",
    "scores": "scoring",
}
SOLVERS = ("auto", "cholesky", "eigh", "svd")


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

    def _keep(self, ready: Ready, fit: Fit | FitAlongAxes) -> None:
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


class Choosing(Linear):
    """A face that chooses alpha itself."""

    alphas: Any
    rule: str
    scoring: Any
    standardize: bool
    store_cv_results: bool
    cv_results_: np.ndarray
    cv: Any
    # Those of a splitter around the whole, unless `cv` asks for them, or the user.
    __metadata_request__fit: ClassVar = {"groups": False}

    def get_metadata_routing(self) -> MetadataRouter:
        """Return which arguments of `fit` are wanted: also those that `cv` uses.

        Returns
        -------
        MetadataRouter
            Of scikit-learn, as it wants it.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        to = MethodMapping().add(caller="fit", callee="split")
        return router.add(splitter=self.cv, method_mapping=to)

    @property
    def plan_(self) -> Plan:
        """The plan of a problem of the size that was fitted."""
        check_is_fitted(self)
        return plan(**self._sizes)

    def _choose(self, rows: Rows, asked: Asked) -> Ready:
        """Choose alpha by the scores asked for, fit rows at it, and return those."""
        standardize = checks.flag("standardize", self.standardize)
        store = checks.flag("store_cv_results", self.store_cv_results)
        ready = made_ready(rows, standardize)
        # Folds learn scales of their own.
        apart = not isinstance(asked.cv, str)
        grid, of_targets = grid_asked(self.alphas), asked.per_target
        with promoting(), jax.enable_x64(True), in_these_names():
            once = asked_once(ready.rows, asked)
            if apart and standardize:
                raw = rows._replace(prepare=learner_of(rows))
                scores = scores_of(raw, grid, asked, asked_once(raw, asked))
            else:
                scores = scores_of(ready.rows, grid, asked, once)
            choice = choose(scores, self.rule, per_target=of_targets)
            fit = _fit_of_scored(ready.rows, choice.lam, once)
            found = jax.tree.map(lambda a: np.array(a)[()], (scores, choice, fit))
        scores, choice, fit = found
        # Sparse rows are computed in float64.
        told = scores, choice, fit.df
        scores, choice, df = jax.tree.map(partial(_narrowed, ready.dtype), told)
        _warn_of_edge(choice, scores, self.alphas)
        self._keep(ready, fit)
        # As they were given, and not as the rows' dtype has them.
        self.alphas_ = scores.lams.astype(float) if isinstance(grid, str) else grid
        self.alpha_, self.at_edge_ = self.alphas_[choice.index], choice.at_edge
        self.scores_route_ = str(scores.route)
        self.df_ = df if np.ndim(choice.lam) else df[0]
        self.best_score_ = _best(scores, choice)
        if hasattr(self, "cv_results_"):
            del self.cv_results_  # of a fit before
        if store:
            self.cv_results_ = _results(ready.rows, scores, asked, self.scoring)
        t, k = rows.y.size // len(rows.y), len(scores.per_fold)
        self._sizes = {
            **dict(zip("mntL", (*rows.X.shape, t, len(scores.lams)), strict=True)),
            "k": max(2, k),
            "dtype": str(rows.X.dtype),
            "asked": "folds" if apart else "leave-one-out",
        }
        return ready


def fitted(rows: Rows, lam: Any, solver: str) -> tuple[Ready, Fit | FitAlongAxes]:
    """Return rows ready and the fit to them, at one penalty or one for each target."""
    stepped = _by_steps(rows, lam) if solver == "auto" else None
    if stepped is not None:
        return Ready(rows, _unchanged, None, rows.X.dtype), stepped
    ready = made_ready(rows)
    if sparse.issparse(ready.rows.X) or np.ndim(lam) or solver in ("eigh", "svd"):
        return ready, along_axes(ready.rows, lam, solver)
    with in_these_names():
        return ready, _at_once(ready.rows, lam)


def _by_steps(rows: Rows, lam: Any) -> FitAlongAxes | None:
    """Return the fit to few sparse rows of many columns, if steps are enough."""
    if not sparse.issparse(rows.X) or not _are_few(rows):
        return None
    with in_these_names():
        return fit_by_steps(sparse_rows(rows), lam)


def along_axes(rows: Rows, lam: Any, solver: str = "eigh") -> FitAlongAxes:
    """Return the fit to rows, at one penalty or one for each target, and its axes."""
    with in_these_names():
        if sparse.issparse(rows.X):
            return fit_sparse(sparse_rows(rows), lam)
        return _along_axes(rows, lam, solver)


@in_kind_of_input
def _at_once(rows: Rows, lam: Any) -> Fit:
    data = as_data_to_square(rows.X, rows.y, rows.weight)
    return fit_at_once(data, as_penalty("alpha", lam, data.X.dtype), rows.fit_intercept)


@in_kind_of_input
def _along_axes(rows: Rows, lam: Any, solver: str) -> FitAlongAxes:
    data = as_data_to_square(rows.X, rows.y, rows.weight)
    each = jnp.broadcast_to(as_penalty("alpha", lam, data.X.dtype), data.Y.shape[1:])
    system = SVD if solver == "svd" else ""
    return fit_along_axes(data, each, rows.fit_intercept, system)


def _fit_of_scored(rows: Rows, lam: Any, once: Known | None) -> FitAlongAxes:
    """Do as `along_axes` for rows that were scored, and so have been checked."""
    if once is None:
        return fit_sparse(sparse_rows(rows), lam)
    each = jnp.broadcast_to(lam, once.data.Y.shape[1:])
    return fit_along_axes(once.data, each, rows.fit_intercept, factors=once.factors)


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


def given_alpha(alpha: Any, y: np.ndarray) -> np.ndarray:
    """Return a checked penalty, one number or one for each target."""
    try:
        lam = np.asarray(
            "" if alpha is None or isinstance(alpha, str) else alpha, float
        )
    except (TypeError, ValueError):
        raise TypeError(
            f"`alpha` must be a number, or one a target, got {alpha!r}"
        ) from None
    targets = y.shape[1:] or (1,)
    if lam.ndim and lam.shape != targets:
        raise ValueError(
            f"`alpha` has shape {lam.shape} and `y` {targets[0]} target(s), which do "
            "not correspond: pass one number for all, or one for each"
        )
    checks.penalty("alpha", lam)
    return lam


def refuse_positive(positive: Any) -> None:
    """Refuse constraints on signs."""
    if positive:
        raise ValueError(
            "positive=True is not supported: use sklearn.linear_model.Ridge for it"
        )


def grid_asked(alphas: Any) -> Any:
    """Return "auto" or an array of checked penalties."""
    if isinstance(alphas, str):
        checks.one_of("alphas", alphas, ("auto",))
        return alphas
    try:
        given = np.atleast_1d(np.asarray(alphas))
        grid = given.astype(float) if given.dtype.kind in "fiuO" else np.zeros(0)
    except (TypeError, ValueError):
        grid = np.zeros(0)
    if alphas is None or grid.ndim != 1 or not grid.size:
        raise ValueError(
            f'`alphas` must be "auto", a number or a list of numbers, got {alphas!r}'
        )
    checks.penalty("alphas", grid)
    return grid


@contextmanager
def in_these_names() -> Iterator[None]:
    """Say what the floors below refuse in the names that arguments have here."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if type(error) not in (TypeError, ValueError):
            raise
        said = str(error)
        for below, here in NAMES.items():
            said = said.replace(f"`{below}`", f"`{here}`")
        raise type(error)(said) from error


def _warn_of_edge(choice: Choice, scores: Scores | Evidence, alphas: Any) -> None:
    edge, lam = np.atleast_1d(choice.at_edge), np.atleast_1d(choice.lam)
    if not edge.any() or isinstance(alphas, str):  # which went on while that helped
        return
    edge = edge & ~_has_an_equal(choice, scores)
    if not edge.any():
        return
    who = f"of {edge.sum()} target(s) " if edge.size > 1 else ""
    ends = " and ".join(f"{one:.6g}" for one in np.unique(lam[edge]))
    what = f"alpha {who}lies at an edge of `alphas` ({ends})"
    hint = "the best may lie beyond: widen them"
    checks.warn(f"the best {what}: {hint}")


def _has_an_equal(choice: Choice, scores: Scores | Evidence) -> np.ndarray:
    """Return of which choices the score is also that of a penalty inside of the grid.

    As often with accuracy: then nothing says that the best lies beyond.
    """
    lams = np.asarray(scores.lams)
    mean = np.asarray(scores.mean).reshape(len(lams), -1)
    mean = mean if np.ndim(choice.index) else mean.mean(axis=1, keepdims=True)
    inside = (lams > lams.min()) & (lams < lams.max())
    best = mean[np.atleast_1d(choice.index), np.arange(mean.shape[1])]
    return np.asarray((mean[inside] == best).any(axis=0))


def _narrowed(dtype: Any, array: Any) -> Any:
    """Return a float array in a dtype that is no wider, others as they are."""
    return array.astype(dtype) if array.dtype.kind == "f" else array


def _sign(scores: Scores | Evidence) -> int:
    return 1 if scores.greater_is_better else -1


def _best(scores: Scores | Evidence, choice: Choice) -> Any:
    """Return the score of the chosen penalty, greater being better."""
    mean = _sign(scores) * np.asarray(scores.mean)
    if np.ndim(choice.index):
        return np.take_along_axis(mean, np.asarray(choice.index)[None], axis=0)[0]
    return mean[choice.index].mean(dtype=float)


def _results(
    rows: Rows, scores: Scores | Evidence, asked: Asked, scoring: Any
) -> np.ndarray:
    """Return scores of folds, or errors or predictions of rows, penalties last."""
    if not (isinstance(asked.cv, str) and asked.cv == "loo"):
        many = scores.per_fold if len(scores.per_fold) else scores.mean[None]
        return np.moveaxis(_sign(scores) * np.asarray(many), 1, -1)
    found = left_out(rows, np.asarray(scores.lams))
    if scoring is None:
        found = (found - rows.y) ** 2
        if rows.weight is not None:
            found *= rows.weight.reshape(-1, *[1] * (rows.y.ndim - 1))
    return np.moveaxis(found, 0, -1)
