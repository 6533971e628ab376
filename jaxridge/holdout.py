"""Exact scores of held-out rows at every penalty: the routes there, and which to take.

Folds that hold every row out once share one pass over the rows. With n ≤ m it yields
the moments of each fold (see `systems`), with n > m a kernel (see `blocks`). Any other
folds, and columns prepared anew in each, are factorised from their rows, one by one.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import blocks, checks, kernels
from jaxridge.columns import Learner, prepared, untouched
from jaxridge.costs import flop_of_blocks, flop_of_each
from jaxridge.data import Data, stays_outside
from jaxridge.filled import UNTOUCHED, Filling
from jaxridge.folds import Folds, Held
from jaxridge.held import FoldFit, Scored, from_rows, from_sums, rows_of
from jaxridge.moments import Moments, complements, left_out, total
from jaxridge.nodes import nodes_for
from jaxridge.placement import placed
from jaxridge.plans import Plan
from jaxridge.precision import SINGLE, by_cheapest, is_kept, is_lost, sums_keep
from jaxridge.products import FAST, FULL
from jaxridge.programs import compiled
from jaxridge.routes import BLOCKS, DUAL, NEARBY, ONE_A_FOLD, PRIMAL, SVD, Route
from jaxridge.scoring import OF_SUMS, Score, predictions
from jaxridge.spectrum import condition, gain, of_data
from jaxridge.sums import fold_moments, with_targets
from jaxridge.systems import factorised, solved, solved_nearby
from jaxridge.tiles import at_once

Scoring = tuple[Scored, Route]
PartsOf = Callable[[np.ndarray], Moments]


def score_folds(
    data: Data,
    folds: Folds,
    lams: Float[Array, " L"],
    score: Score,
    learner: Learner,
    fit_intercept: bool,
    plan: Plan,
    rounding: float | None = None,
    parts_of: PartsOf | None = None,
) -> tuple[Float[Array, "k L *score"], Route]:
    """Score every fold by the cheapest route that keeps the digits of the data.

    `parts_of` is what makes the moments of folds of all the data, if need be.
    """
    given = score, learner, fit_intercept

    def cheap() -> tuple[Array, Route] | None:
        return _by_products(data, folds, lams, *given, plan, parts_of)

    def wide(data: Data, lams: Array) -> tuple[Array, Route]:
        exact = replace(plan, precision=FULL)
        scores, route = score_folds(data, folds, lams, *given, exact, SINGLE)
        return scores, route.as_raised()

    def sure() -> tuple[Array, Route]:
        of_fold = SVD, rounding
        scored, route = _one_by_one(data, folds, lams, *given, plan, *of_fold)
        traced = checks.any_traced(data, lams)
        return scored.per_fold, route if traced else route.as_raised()

    if checks.any_traced(data, lams):
        return sure()
    return by_cheapest(cheap, wide, sure, data, lams)


def _by_products(
    data: Data,
    folds: Folds,
    lams: Float[Array, " L"],
    score: Score,
    learner: Learner,
    fit_intercept: bool,
    plan: Plan,
    parts_of: PartsOf | None,
) -> tuple[Float[Array, "k L *score"], Route] | None:
    """Score every fold by products of the data, if those keep their digits."""
    m, n = data.X.shape
    shared = learner is untouched and folds.is_partition
    dtype, fast = data.X.dtype, plan.precision == FAST and shared
    given = lams, score, fit_intercept, plan
    if not shared:
        how = score, learner, fit_intercept, plan, PRIMAL if n <= m else DUAL, None
        scored, route = _one_by_one(data, folds, lams, *how)
    elif n <= m:
        scored, route = _by_sums(data, folds, *given, parts_of)
    else:
        scored, route = _by_kernel(data, folds, *given)
    lost = is_lost(scored.left, dtype)
    if stays_outside(data.X):  # no rows were there to make up for sums
        lost = not sums_keep(scored.left, dtype)
    if is_kept(scored.condition, dtype, fast) and not lost:
        told = f"{dtype}, {FAST} products" if fast else str(dtype)
        return scored.per_fold, replace(route, dtype=told)
    if fast:
        exact = replace(plan, precision=FULL)
        again = score, learner, fit_intercept, exact, parts_of
        return _by_products(data, folds, lams, *again)
    return None


def _one_by_one(
    data: Data,
    folds: Folds,
    lams: Float[Array, " L"],
    score: Score,
    learner: Learner,
    fit_intercept: bool,
    plan: Plan,
    system: str,
    rounding: float | None,
) -> Scoring:
    """Score folds of any kind from the rows that each trains on."""
    _refuse_outside(data)
    held, weights = folds.held_rows, jnp.asarray(folds.train) * data.weight
    given = held, weights, lams, score, learner, fit_intercept, system, rounding
    found = [by_rows(part, *given) for part in _parts(data, plan)]
    return _joined(found, plan), Route(system, ONE_A_FOLD, str(data.X.dtype))


def _refuse_outside(data: Data) -> None:
    """Refuse rows that do not fit on the device where it is they that are needed."""
    if stays_outside(data.X):
        raise MemoryError(
            "`X` does not fit on the device, and these scores need its rows there: "
            'sums over them serve `scoring` "mse" and "r2" of few `folds` that hold '
            "each row out once, where the fit is not nearly perfect"
        )


def _by_sums(
    data: Data,
    folds: Folds,
    lams: Float[Array, " L"],
    score: Score,
    fit_intercept: bool,
    plan: Plan,
    parts_of: PartsOf | None = None,
    sharing: str | None = None,
) -> Scoring:
    """Score folds that are a partition from sums over each, from one pass over rows.

    Where errors from sums would cancel, or a score needs more, rows are read again.
    """
    m, n = data.X.shape
    fast = plan.precision == FAST
    one_tile = plan.target_tile == plan.sizes.t
    sharing = plan.route.sharing if sharing is None else sharing
    given = sharing, fit_intercept
    if one_tile and parts_of:
        parts = parts_of(folds.held)
    else:
        design = data if one_tile else data._replace(Y=data.Y[:, :0])
        parts = fold_moments(design, folds.held, fast)
    parts = jax.tree.map(jax.device_put, parts)  # once for all that works on them
    whole = total(parts)
    training = complements(parts, whole)
    of_fold, of_all = factorised(training, whole, lams, *given, alone=False)
    if sharing == ONE_A_FOLD:
        flop = flop_of_each(m, n, plan.sizes.t, len(folds.held))
        of_all = nodes_for(of_fold[0].values, lams, flop)
    rows = cache(lambda: (placed(data.X), folds.held_rows))
    found = []
    for part in _parts(data, plan):
        sums = parts
        if not one_tile:
            sums = with_targets(parts, part, folds.held, fast)
            training = complements(sums, total(sums))
        shared = of_fold, of_all
        if sharing in NEARBY:
            near = of_all, training, lams, *given, plan.fold_tile
            shared = solved_nearby(*near), None
        fits = shared, sums, training, lams
        scored, holds = _from_either(fits, part, rows, *given, score, plan)
        found.append(scored)
    kept = is_kept(found[-1].condition, data.X.dtype, fast)
    if sharing in NEARBY and not (holds and kept):
        again = (lambda _: parts) if one_tile else None
        others = score, fit_intercept, plan, again, ONE_A_FOLD
        return _by_sums(data, folds, lams, *others)
    return _joined(found, plan), Route(PRIMAL, sharing, str(data.X.dtype))


def _from_either(
    fits: tuple[Any, Moments, Moments, Array],
    part: Data,
    rows: Callable[[], tuple[Array, Held]],
    sharing: str,
    fit_intercept: bool,
    score: Score,
    plan: Plan,
) -> tuple[Scored, Array]:
    """Score the fits of some targets from sums if they keep the digits, else from rows.

    `rows` puts X where XLA computes, and tells what each fold holds out.
    """
    (m, n, *_), given = plan.sizes, (sharing, fit_intercept, score)
    if score in OF_SUMS and plan.sizes.k * n <= m:
        scored, holds = _from_sums(*fits, *given)
        if sums_keep(scored.left, part.X.dtype) or stays_outside(part.X):
            return scored, holds
    _refuse_outside(part)
    X, held = rows()
    return _from_rows(*fits, part._replace(X=X), held, *given, plan.lam_tile)


def _by_kernel(
    data: Data,
    folds: Folds,
    lams: Float[Array, " L"],
    score: Score,
    fit_intercept: bool,
    plan: Plan,
) -> Scoring:
    """Score folds that are a partition from one kernel, as blocks left out or apart."""
    (m, n), train, held = data.X.shape, folds.train_rows, folds.held_rows
    w, sharing = data.weight, plan.route.sharing
    if score is predictions and not (np.asarray(w) > 0).all():
        sharing = ONE_A_FOLD  # left out are rows of √w A, which tell nothing of w = 0
    design = data._replace(Y=data.Y[:, :1])
    K = kernels.kernel_of(design, fit_intercept, plan.precision == FAST)
    given = lams, score, fit_intercept
    if sharing == BLOCKS:
        whole = blocks.factorised(K, w, fit_intercept)
        nodes = blocks.nodes_of(
            whole, lams, flop_of_blocks(m, plan.sizes.t, len(folds.held))
        )
        found = [
            blocks.scored(whole, part.Y, w, held, *given, plan.lam_tile, nodes)
            for part in _parts(data, plan)
        ]
    else:
        each = kernels.factorised(K, w, train, held, jnp.min(lams), fit_intercept)
        flop = flop_of_each(m, n, plan.sizes.t, len(folds.held))
        nodes = nodes_for(each.values, lams, flop)
        how = *given, plan.lam_tile, nodes
        found = [
            kernels.scored(each, part.Y, w, train, held, *how)
            for part in _parts(data, plan)
        ]
    return _joined(found, plan), Route(DUAL, sharing, str(data.X.dtype))


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


def _of_every_fold(
    shared: tuple[Any, Any],
    parts: Moments,
    training: Moments,
    lams: Array,
    sharing: str,
    fit_intercept: bool,
    scores_of: Callable[[FoldFit, Moments, Any], tuple[Array, Array]],
    held: Held | None = None,
) -> tuple[Scored, Array]:
    """Score the fits of each fold; return also whether all of them hold."""
    of_fold, of_all = shared

    def one_fold(
        fold: tuple[Any, Moments, Moments, Any],
    ) -> tuple[Scored, Array]:
        mine, part, sums, some = fold
        given = lams, fit_intercept
        fit, worst, holds = solved(sharing, mine, of_all, sums, *given)
        scores, left = scores_of(fit, part, some)
        return Scored(scores, worst, left), holds

    scored, holds = jax.lax.map(one_fold, (of_fold, parts, training, held))
    return scored, jnp.all(holds)


@partial(compiled, static_argnums=(4, 5, 6))
def _from_sums(
    shared: tuple[Any, Any],
    parts: Moments,
    training: Moments,
    lams: Array,
    sharing: str,
    fit_intercept: bool,
    score: Score,
) -> tuple[Scored, Array]:
    given = shared, parts, training, lams, sharing, fit_intercept
    return _of_every_fold(
        *given, lambda fit, part, _: from_sums(part, fit, len(lams), score)
    )


@partial(compiled, static_argnums=(6, 7, 8, 9))
def _from_rows(
    shared: tuple[Any, Any],
    parts: Moments,
    training: Moments,
    lams: Array,
    data: Data,
    held: Held,
    sharing: str,
    fit_intercept: bool,
    score: Score,
    lam_tile: int,
) -> tuple[Scored, Array]:
    def scores_of(fit: FoldFit, _: Moments, some: Held) -> tuple[Array, Array]:
        return from_rows(rows_of(data, *some), fit, len(lams), score, lam_tile)

    given = shared, parts, training, lams, sharing, fit_intercept
    return _of_every_fold(*given, scores_of, held)


@partial(compiled, static_argnames=("score", "fit_intercept", "paired"))
def by_moments(
    parts: Moments,
    lams: Float[Array, " L"],
    score: Score,
    fit_intercept: bool,
    prepare: Filling = UNTOUCHED,
    paired: Callable[[Moments], tuple[Moments, Moments]] = left_out,
) -> Scored:
    """Score each fold from moments where they are all there is.

    `paired` tells what each fold trains on and holds out, `prepare` what that makes of
    the columns.
    """
    whole = total(parts)
    training, parts = jax.vmap(prepare)(*paired(parts))
    given = ONE_A_FOLD, fit_intercept
    shared = factorised(training, whole, lams, *given, alone=True)
    of_fold = shared, parts, training, lams
    return _from_sums(*of_fold, *given, score)[0]


@partial(
    compiled,
    static_argnames=("score", "learner", "fit_intercept", "system", "rounding"),
)
def by_rows(
    data: Data,
    held: Held,
    weights: Float[Array, "k m"],
    lams: Float[Array, " L"],
    score: Score,
    learner: Learner,
    fit_intercept: bool,
    system: str,
    rounding: float | None,
) -> Scored:
    """Score each fold from its training rows, given by their weights."""

    def one_fold(fold: tuple[Held, Array]) -> Scored:
        (rows, counts), weight = fold
        columns = learner(data.X, weight)
        view = partial(prepared, columns)
        train = data._replace(weight=weight)
        centre, spectrum = of_data(train, fit_intercept, system, view, rounding)

        def middle(i: Array) -> tuple[Array, Array]:
            return gain(spectrum.values, lams[i]), spectrum.along

        some = rows_of(data, rows, counts)
        some = some._replace(X=view(some.X))
        fit = FoldFit(centre, spectrum.right, middle)
        tile = at_once(some.Y.size)
        scores, left = from_rows(some, fit, len(lams), score, tile)
        worst = condition(spectrum, jnp.min(lams), weight, fit_intercept)
        return Scored(scores, worst, left)

    return jax.lax.map(one_fold, (held, weights))
