"""What the faces do that choose a penalty themselves: score, choose, fit, keep."""

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted

from jaxridge import checks
from jaxridge.alphas import grid_asked, in_these_names
from jaxridge.border import computing_now
from jaxridge.choice import Choice, Evidence, Scores, choose
from jaxridge.factors import Known
from jaxridge.fits import FitOfEach, fit_of_each
from jaxridge.linear import Linear, Ready, learner_of, made_ready
from jaxridge.plans import Plan, plan
from jaxridge.selection import (
    Asked,
    Rows,
    asked_once,
    left_out,
    scores_of,
)
from jaxridge.sparse_fits import SparseRows, fit_sparse


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

    def _choose(self, rows: Rows, asked: Asked) -> tuple[Ready, Known | SparseRows]:
        """Choose alpha by the scores asked for, and fit rows at it.

        Return those, and what is known of them.
        """
        standardize = checks.flag("standardize", self.standardize)
        store = checks.flag("store_cv_results", self.store_cv_results)
        ready = made_ready(rows, standardize)
        # Folds learn scales of their own.
        apart = not isinstance(asked.cv, str)
        grid, of_targets = grid_asked(self.alphas), asked.per_target
        with computing_now(), in_these_names():
            once = asked_once(ready.rows, asked)
            if apart and standardize:
                raw = rows._replace(prepare=learner_of(rows))
                scores = scores_of(raw, grid, asked, asked_once(raw, asked))
            else:
                scores = scores_of(ready.rows, grid, asked, once)
            choice = choose(scores, self.rule, per_target=of_targets)
            fit = _fit_of_scored(once, choice.lam)
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
        of_folds = "refits" if standardize else "folds"
        self._sizes = {
            **dict(zip("mntL", (*rows.X.shape, t, len(scores.lams)), strict=True)),
            "k": max(2, k),
            "dtype": str(rows.X.dtype),
            "asked": of_folds if apart else "leave-one-out",
        }
        return ready, once


def _fit_of_scored(once: Known | SparseRows, lam: Any) -> FitOfEach:
    """Do as `linear.of_each` for rows that were scored, and so have been checked."""
    if isinstance(once, SparseRows):
        return fit_sparse(once, lam)
    each = jnp.broadcast_to(lam, once.data.Y.shape[1:])
    return fit_of_each(once, each)


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
