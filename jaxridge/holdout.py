"""Exact scores of held-out rows at every penalty: the routes there, and which to take.

Folds that hold every row out once share one pass over the rows. With n ≤ m it yields
the moments of each fold (see `systems`), with n > m a kernel (see `kernels`). Any
other folds, and columns prepared anew in each, are factorised from their rows, one by
one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import blocks, checks, kernels
from jaxridge.columns import Learner, untouched
from jaxridge.costs import flop_of_blocks, flop_of_each
from jaxridge.data import Data, stays_outside
from jaxridge.factors import Known
from jaxridge.folds import Folds
from jaxridge.held import Scored
from jaxridge.inner import inner_of
from jaxridge.moments import Moments, complements, total
from jaxridge.nodes import nodes_for
from jaxridge.placement import placed
from jaxridge.plans import Plan, raised
from jaxridge.precision import (
    SINGLE,
    by_cheapest,
    is_kept,
    is_lost,
    sums_keep,
    warn_if_lost,
)
from jaxridge.products import FULL
from jaxridge.refits import (
    Systems,
    by_moments,
    scored_from_rows,
    scored_from_sums,
    scores_of_refits,
)
from jaxridge.routes import (
    BLOCKS,
    DUAL,
    NEARBY,
    ONE_A_FOLD,
    PRIMAL,
    SVD,
    TRIDIAGONAL,
    Route,
    dtype_told,
)
from jaxridge.scoring import OF_SUMS, Score, correlation, predictions
from jaxridge.sums import fold_moments, with_targets
from jaxridge.systems import factorised, factorised_together, solved_nearby

Answer = tuple[Scored, Route]


class HoldOut(NamedTuple):
    """What is asked of rows: the score of every fold and penalty, and by which plan.

    `known` are the same rows, if what is made of them is kept.
    """

    folds: Folds
    lams: Float[Array, " L"]
    score: Score
    learner: Learner
    fit_intercept: bool
    plan: Plan
    known: Known | None = None

    @property
    def shared(self) -> bool:
        """Whether one pass over the rows serves all folds."""
        return self.learner is untouched and self.folds.is_partition

    def exactly(self) -> "HoldOut":
        """Return the same, of products in full precision."""
        return self._replace(plan=replace(self.plan, precision=FULL))


def score_folds(
    data: Data, asked: HoldOut, rounding: float | None = None
) -> tuple[Float[Array, "k L *score"], Route]:
    """Score every fold by the cheapest route that keeps the digits of the data."""

    def wide(data: Data, lams: Array) -> tuple[Array, Route]:
        again = asked._replace(lams=lams, known=None, plan=raised(asked.plan))
        scores, route = score_folds(data, again, SINGLE)
        return scores, route.as_raised()

    def sure() -> tuple[Array, Route]:
        if stays_outside(data.X) and asked.shared and asked.score in OF_SUMS:
            return _by_sums_alone(data, asked)
        scored, route = _one_by_one(data, asked, SVD, rounding)
        traced = checks.any_traced(data, asked.lams)
        return scored.per_fold, route if traced else route.as_raised()

    if checks.any_traced(data, asked.lams):
        return sure()
    return by_cheapest(lambda: _by_products(data, asked), wide, sure, data, asked.lams)


def _by_products(
    data: Data, asked: HoldOut
) -> tuple[Float[Array, "k L *score"], Route] | None:
    """Score every fold by products of the data, if those keep their digits."""
    m, n = data.X.shape
    dtype, fast = data.X.dtype, asked.plan.fast and asked.shared
    if not asked.shared:
        scored, route = _one_by_one(data, asked, PRIMAL if n <= m else DUAL, None)
    else:
        scored, route = (_by_sums if n <= m else _by_kernel)(data, asked)
    lost = is_lost(scored.left, dtype)
    if stays_outside(data.X):  # no rows were there to make up for sums
        lost = not sums_keep(scored.left, dtype)
    if is_kept(scored.condition, dtype, fast) and not lost:
        return scored.per_fold, replace(route, dtype=dtype_told(dtype, fast))
    return _by_products(data, asked.exactly()) if fast else None


def _one_by_one(
    data: Data, asked: HoldOut, system: str, rounding: float | None
) -> Answer:
    """Score folds of any kind from the rows that each trains on."""
    _refuse_outside(data)
    data = data._replace(X=placed(data.X))  # once for all tiles of targets
    folds, lams, score, learner, fit_intercept, plan, _ = asked
    held, weights = folds.held_rows, jnp.where(folds.train, data.weight, 0)
    given = held, weights, lams, score, learner, fit_intercept, system, rounding
    found = [scores_of_refits(part, *given) for part in _parts(data, plan)]
    return _joined(found, plan), Route(system, ONE_A_FOLD, str(data.X.dtype))


def _refuse_outside(data: Data) -> None:
    """Refuse rows that do not fit on the device where it is they that are needed."""
    if stays_outside(data.X):
        raise MemoryError(
            "`X` does not fit on the device, and these scores need its rows there: "
            'sums over them serve `scoring` "mse" and "r2" of `folds` that hold each '
            "row out once"
        )


def _by_sums_alone(data: Data, asked: HoldOut) -> tuple[Array, Route]:
    """Score folds from sums that may lose digits, as `warn_if_lost` then tells.

    The rows, which have them, do not fit where XLA computes.
    """
    dtype, given = data.X.dtype, (asked.lams, asked.score, asked.fit_intercept)
    tiles = _with_sums(data, asked, _sums_of_folds(data, asked))
    scored = _joined([by_moments(sums, *given) for _, sums in tiles], asked.plan)
    warn_if_lost(scored.condition, scored.left, dtype)
    return scored.per_fold, Route(PRIMAL, ONE_A_FOLD, str(dtype))


def _by_sums(data: Data, asked: HoldOut) -> Answer:
    """Score folds that are a partition from sums over each, from one pass over rows."""
    dtype, plan = data.X.dtype, asked.plan
    sums = _sums_of_folds(data, asked)
    for sharing in plan.ways():
        scored, holds = _scored_by_sums(data, asked, sums, sharing)
        kept = is_kept(scored.condition, dtype, plan.fast)
        # Or columns are too alike, or some fold is unlike all rows.
        if sharing not in NEARBY or (all(holds) and kept):
            break
    return scored, Route(PRIMAL, sharing, str(dtype))


def _sums_of_folds(data: Data, asked: HoldOut) -> Moments:
    """Return the moments of each fold, of X alone where targets come in tiles."""
    held, plan = asked.folds.held, asked.plan
    in_tiles = plan.target_tile < plan.sizes.t
    if asked.known and not in_tiles:
        sums = asked.known.parts(held)
    else:
        design = data._replace(Y=data.Y[:, :0]) if in_tiles else data
        sums = fold_moments(design, held, plan.fast)
    return jax.tree.map(jax.device_put, sums)  # once for all that works on them


def _with_sums(
    data: Data, asked: HoldOut, parts: Moments
) -> Iterator[tuple[Data, Moments]]:
    """Yield the data, a tile of targets at a time, and the moments of its folds.

    Those of one tile are held at a time, as they are as large as k matrices.
    """
    fast = asked.plan.fast
    for part in _parts(data, asked.plan):
        whole = part is data
        yield (
            part,
            parts if whole else with_targets(parts, part, asked.folds.held, fast),
        )


def _scored_by_sums(
    data: Data, asked: HoldOut, parts: Moments, sharing: str
) -> tuple[Scored, list[Array]]:
    """Score all targets, a tile at a time; tell of each tile whether its fits hold.

    Where errors from sums would cancel, or a score needs more, rows are read again.
    """
    folds, lams, score, _, fit_intercept, plan, _ = asked
    (m, n), k = data.X.shape, len(folds.held)
    how = sharing, fit_intercept
    whole, nodes = total(parts), None
    training = complements(parts, whole)
    shared = (
        factorised_together(whole, lams, *how)
        if sharing in NEARBY
        else factorised(training, lams, *how)
    )
    if sharing == ONE_A_FOLD:
        flop = flop_of_each(m, n, plan.sizes.t, k)
        nodes = nodes_for(shared[0].values, lams, flop)
    X = cache(lambda: placed(data.X))

    def scored(part: Data, systems: Systems) -> tuple[Scored, Array]:
        if score in OF_SUMS and (k * n <= m or stays_outside(data.X)):
            found = scored_from_sums(systems, *how, score)
            if sums_keep(found[0].left, data.X.dtype) or stays_outside(data.X):
                return found
        _refuse_outside(data)
        rows = part._replace(X=X()), folds.held_rows
        return scored_from_rows(systems, *how, score, *rows, plan.lam_tile)

    found, holds = [], []
    for part, sums in _with_sums(data, asked, parts):
        if sums is not parts:
            training = complements(sums, total(sums))
        of_fold = shared
        if sharing in NEARBY:
            of_fold = solved_nearby(shared, training, lams, *how, plan.fold_tile)
        one, hold = scored(part, Systems(of_fold, nodes, sums, training, lams))
        found.append(one)
        holds.append(hold)
    return _joined(found, plan), holds


def _by_kernel(data: Data, asked: HoldOut) -> Answer:
    """Score folds that are a partition from one kernel, as blocks left out or apart."""
    folds, lams, score, _, fit_intercept, plan, _ = asked
    (m, n), train, held = data.X.shape, folds.train_rows, folds.held_rows
    w, sharing = data.weight, plan.route.sharing
    if sharing == BLOCKS and score is predictions and not (np.asarray(w) > 0).all():
        sharing = ONE_A_FOLD  # left out are rows of √w A, which tell nothing of w = 0
    fast = plan.fast
    known = asked.known
    inner = known.inner() if known else inner_of(data.X, w, fit_intercept, fast)
    K = inner.products
    small = score in (predictions, correlation)
    if sharing == BLOCKS and small and _may_vanish(K, w, lams):
        sharing = ONE_A_FOLD  # left out, a prediction is y less an error as large
    t, k, how = plan.sizes.t, len(folds.held), (lams, score, fit_intercept)
    if sharing == BLOCKS:
        whole = blocks.factorised(K, w, fit_intercept)
        nodes = blocks.nodes_of(whole, lams, flop_of_blocks(m, t, k))
        more = *how, plan.lam_tile, nodes
        found = [
            blocks.scored(whole, part.Y, w, held, *more) for part in _parts(data, plan)
        ]
    elif sharing in (ONE_A_FOLD, TRIDIAGONAL):
        sides, least = (train, held), jnp.min(lams)
        each = kernels.factorised(K, w, *sides, least, fit_intercept, sharing)
        nodes = kernels.nodes_of(each, lams, flop_of_each(m, n, t, k))
        more = *how, plan.lam_tile, nodes
        found = [
            kernels.scored(each, part.Y, w, train, held, *more)
            for part in _parts(data, plan)
        ]
    else:
        raise ValueError(f"no way to use one kernel for folds is called {sharing!r}")
    return _joined(found, plan), Route(DUAL, sharing, str(data.X.dtype))


def _may_vanish(K: Array, weight: Array, lams: Array) -> bool:
    """Whether predictions may be small beside the targets: λ above all that K has."""
    if checks.is_traced(lams):
        return True
    return np.asarray(lams).max() > np.asarray(weight) @ np.asarray(jnp.diagonal(K))


def _parts(data: Data, plan: Plan) -> Iterable[Data]:
    """Yield the data with as many targets at a time as the plan says."""
    if plan.target_tile == data.Y.shape[1]:
        return [data]
    return (data._replace(Y=data.Y[:, tile]) for tile in plan.target_tiles())


def _joined(found: list[Scored], plan: Plan) -> Scored:
    """Return the scores of all tiles of targets; the last may repeat some."""
    if len(found) == 1:
        return found[0]
    new = plan.sizes.t - plan.target_tile * (len(found) - 1)
    parts = [one.per_fold for one in found]
    parts[-1] = parts[-1][..., -new:]
    return Scored(
        jnp.concatenate(parts, axis=-1),
        found[0].condition,
        jnp.min(jnp.stack([one.left for one in found]), axis=0),
    )
