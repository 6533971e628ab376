"""From scores to a penalty: the best one, or the simplest that is not clearly worse.

The one-standard-error rule takes the largest λ whose mean score is within one standard
error of the best (Breiman, Friedman, Olshen and Stone 1984): an error estimated from
few folds does not tell such neighbours apart, and more shrinkage is the simpler model.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxridge import checks
from jaxridge.border import in_kind_of_input
from jaxridge.excerpt import excerpt, where_known
from jaxridge.programs import quick_if_few
from jaxridge.routes import Route

TIES = 4  # units in the last place, in which equal means of folds may differ


class Scores(NamedTuple):
    """How well every penalty predicted held-out rows.

    Attributes
    ----------
    lams : array of shape (n_lams,)
        The penalties, in the order given.
    per_fold : array of shape (n_folds, n_lams[, n_targets])
        Each fold's weighted mean loss Σ w · loss / Σ w over its held-out rows, or its
        R², correlation or what a function says; of `leave_one_out` one entry, of `gcv`
        and `evidence` none.
    mean : array of shape (n_lams[, n_targets])
        Plain mean over folds.
    standard_error : array of shape (n_lams[, n_targets])
        Standard deviation over folds (ddof 1) divided by √n_folds, NaN of one fold; of
        `leave_one_out` that of the mean over rows, of `gcv` and `evidence` 0 as there
        is none.
    greater_is_better : bool array of shape ()
        Direction of the score; False for errors.
    route : Route
        How the scores were computed.
    """

    lams: Float[Array, " L"]
    per_fold: Float[Array, "k L *t"]
    mean: Float[Array, "L *t"]
    standard_error: Float[Array, "L *t"]
    greater_is_better: Bool[Array, ""]
    route: Route = Route()

    @where_known
    def __str__(self) -> str:
        """Return one line for each penalty, at most twelve spread over the grid."""
        mean, error = (
            np.asarray(a).reshape(len(self.lams), -1).mean(axis=1)
            for a in (self.mean, self.standard_error)
        )
        if np.size(self.mean) > len(mean):
            headers = ["lam", "score, mean of targets", "standard error, mean"]
        else:
            headers = ["lam", "score", "standard error"]
        known = 3 if has_standard_errors(self) else 2
        return excerpt((self.lams, mean, error)[:known], headers[:known])


class Evidence(NamedTuple):
    """Log evidence of every penalty, as `Scores` without folds, and the noise.

    Attributes
    ----------
    lams, per_fold, mean, standard_error, greater_is_better
        As in `Scores`; per_fold has no entries, and standard_error is 0.
    noise : array of shape (n_lams[, n_targets])
        The noise variance at which the evidence is greatest, in squared units of `y`.
    route : Route
        How the evidence was computed.
    """

    lams: Float[Array, " L"]
    per_fold: Float[Array, "0 L *t"]
    mean: Float[Array, "L *t"]
    standard_error: Float[Array, "L *t"]
    greater_is_better: Bool[Array, ""]
    noise: Float[Array, "L *t"]
    route: Route = Route()

    @where_known
    def __str__(self) -> str:
        """Return one line for each penalty, at most twelve spread over the grid."""
        return str(Scores(*self[:5]))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Choice:
    """A chosen penalty, or one for each target.

    A dataclass, because a field of a NamedTuple cannot be called index.

    Attributes
    ----------
    lam : array of shape () or (n_targets,)
        The penalty.
    index : int array of shape () or (n_targets,)
        Its place in ``scores.lams``.
    at_edge : bool array of shape () or (n_targets,)
        Whether it is the smallest or largest of the grid, so that the best may lie
        beyond: widen the grid. False for a grid of one, and for λ = 0: none is below.
    """

    lam: Float[Array, "*t"]
    index: Int[Array, "*t"]
    at_edge: Bool[Array, "*t"]

    @where_known
    def __str__(self) -> str:
        """Return the penalty, or the range of penalties, in words."""
        lam = np.atleast_1d(self.lam)
        if lam.size == 1:
            text = f"lam {lam[0]:.6g}"
        else:
            text = f"lam from {lam.min():.6g} to {lam.max():.6g} for {lam.size} targets"
        edge = int(np.sum(self.at_edge))
        return text + (f" ({edge} at the edge of the grid: widen it)" if edge else "")


@in_kind_of_input
def choose(
    scores: Scores | Evidence, rule: str = "min", per_target: bool = False
) -> Choice:
    """Choose a penalty from held-out scores.

    Parameters
    ----------
    scores : Scores or Evidence
        From `cross_validate` and the like: λ is the one of
        ``J = (Σ w e² + lam · ‖coef‖²) / (2m)``.
    rule : "min" or "1se"
        The best mean score; or the largest penalty whose mean score is within one
        standard error, that of the best, of it.
    per_target : bool
        One penalty for each target; otherwise one for all, by the mean score over
        targets, with the standard error of that mean over folds.

    Returns
    -------
    Choice
        lam, index and at_edge, each of shape () or, with `per_target`, (n_targets,).

    Raises
    ------
    TypeError
        For anything else than scores.
    ValueError
        For an unknown rule, for scores that are not finite, and for "1se" with scores
        that have no standard error (`gcv`, `evidence`, one fold, rows left out one by
        one and judged together).

    Notes
    -----
    Ties go to the larger penalty. Penalties may be in any order and repeat. O(k L t)
    time.

    References
    ----------
    Breiman, Friedman, Olshen and Stone (1984), Classification and Regression Trees,
    section 3.4.3.

    Examples
    --------
    >>> per_fold = np.array([[3.0, 1.0, 1.5, 4.0], [4.0, 2.0, 1.5, 5.0]])
    >>> scores = Scores(
    ...     lams=np.array([0.1, 1.0, 10.0, 100.0]),
    ...     per_fold=per_fold,
    ...     mean=per_fold.mean(axis=0),
    ...     standard_error=per_fold.std(axis=0, ddof=1) / np.sqrt(2),
    ...     greater_is_better=np.array(False),
    ... )
    >>> print(choose(scores))
    lam 10
    """
    checks.one_of("rule", rule, ("min", "1se"))
    per_target = checks.flag("per_target", per_target)
    if not isinstance(scores, Scores | Evidence):
        raise TypeError(f"`scores` must be Scores, got {type(scores).__name__}")
    if np.shape(scores.lams) != np.shape(scores.mean)[:1]:
        raise ValueError(
            f"`scores` hold {np.size(scores.lams)} penalties and means of shape "
            f"{np.shape(scores.mean)}: the first axis is that of the penalties"
        )
    if rule == "1se" and not has_standard_errors(scores):
        raise ValueError(
            '`rule` "1se" needs a standard error, and these scores have none: use '
            '"min", or score with at least 2 folds, or by "mse", "mae" or "r2" of '
            "leave-one-out"
        )
    checks.finite("scores", scores.mean)
    if rule == "1se":
        checks.finite("scores.standard_error", scores.standard_error)
    checks.finite("scores.lams", scores.lams)
    shared = not per_target or np.ndim(scores.mean) == 1
    return _chosen(scores._replace(route=Route()), rule=rule, shared=shared)


def has_standard_errors(scores: Scores | Evidence) -> bool:
    """Whether there are folds that differ, or rows that were left out."""
    folds, error = np.shape(scores.per_fold)[0], scores.standard_error
    unknown = folds == 1 and not checks.is_traced(error) and np.isnan(error).any()
    return folds > 0 and not unknown


@partial(quick_if_few, static=("rule", "shared"))
def _chosen(scores: Any, *, rule: str, shared: bool) -> Choice:
    losses, errors, lams = scores.mean, scores.standard_error, scores.lams
    if shared:
        losses, errors = _over_targets(scores)
    xp = losses.__array_namespace__()
    losses = xp.where(scores.greater_is_better, -losses, losses)
    best = losses.min(axis=0)
    best = best + TIES * xp.finfo(losses.dtype).eps * abs(best)
    if rule == "1se":
        at = _largest(lams, losses <= best)
        best = best + xp.take_along_axis(errors, at[None], axis=0)[0]
    index = _largest(lams, losses <= best)
    lam = lams[index]
    least = (lam == lams.min()) & (lam > 0)  # below 0 there is none
    edge = (least | (lam == lams.max())) & (lams.min() < lams.max())
    choice = Choice(lam, index, edge)
    return jax.tree.map(lambda a: a[0], choice) if shared else choice


def scores_of_folds(
    lams: Float[Array, " L"],
    per_fold: Float[Array, "k L *t"],
    greater_is_better: bool,
    route: Route,
) -> Scores:
    """Return scores with their mean over folds, and its standard error."""
    mean, error = _summary(per_fold)
    return Scores(lams, per_fold, mean, error, jnp.asarray(greater_is_better), route)


def scores_of_all(
    lams: Float[Array, " L"],
    mean: Float[Array, "L *t"],
    greater_is_better: bool,
    route: Route,
) -> Scores:
    """Return scores of all rows together: of no folds, and without standard errors."""
    xp = mean.__array_namespace__()
    better = xp.asarray(greater_is_better)
    return Scores(lams, mean[None][:0], mean, xp.zeros_like(mean), better, route)


@quick_if_few
def _summary(per_fold: Any) -> tuple[Any, Any]:
    return per_fold.mean(axis=0), standard_error(per_fold)


def _over_targets(scores: Any) -> tuple[Any, Any]:
    """Return the mean over targets, and its standard error, (n_lams, 1)."""
    mean, error, per_fold = scores.mean, scores.standard_error, scores.per_fold
    if mean.ndim == 1:
        return mean[:, None], error[:, None]
    mean = mean.mean(axis=-1, keepdims=True)
    if per_fold.shape[0] == 1:
        # Of leave-one-out, errors of the targets are known but not how they vary
        # together: at worst, as one.
        return mean, error.mean(axis=-1, keepdims=True)
    return mean, standard_error(per_fold.mean(axis=-1))[:, None]


def standard_error(per_fold: Float[Array, "k *score"]) -> Float[Array, "*score"]:
    """Return std(ddof=1)/√k over the k folds, NaN for one and 0 for none."""
    k = per_fold.shape[0]
    if k < 2:
        return per_fold[:0].sum(axis=0) + (np.nan if k else 0)
    # In a unit of its own, as scores may be squares, and this squares them again.
    size = abs(per_fold).max(axis=0)
    size = size + (size == 0)
    return size * (per_fold / size).std(axis=0, ddof=1) / k**0.5


def _largest(lams: Any, allowed: Any) -> Any:
    """Return the place of the largest penalty that is allowed, for each column."""
    where = lams.__array_namespace__().where
    return where(allowed, lams[:, None], -1).argmax(axis=0)
