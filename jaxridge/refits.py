"""Fits to the training rows of every fold, and how each scores what it holds out.

From factors that folds share or have of their own, from sums alone, or from the rows;
all folds in one program.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxridge.columns import Learner, prepared
from jaxridge.data import Data
from jaxridge.filled import UNTOUCHED, Filling
from jaxridge.folds import Held
from jaxridge.held import FoldFit, Scored, from_rows, from_sums, rows_of
from jaxridge.moments import Moments, others_of_each
from jaxridge.nodes import Nodes
from jaxridge.programs import compiled
from jaxridge.routes import ONE_A_FOLD
from jaxridge.scoring import Score
from jaxridge.spectrum import condition, gain, of_data
from jaxridge.systems import factorised, solved
from jaxridge.tiles import at_once


class Systems(NamedTuple):
    """The training systems of all folds at every penalty, and what their fits take."""

    of_fold: Any  # what the penalties of each share, see `systems`
    nodes: Nodes | None
    parts: Moments  # of the rows held out
    training: Moments
    lams: Float[Array, " L"]


def _of_every_fold(
    systems: Systems,
    sharing: str,
    fit_intercept: bool,
    scores_of: Callable[[FoldFit, Moments, Any], tuple[Array, Array]],
    held: Held | None = None,
) -> tuple[Scored, Array]:
    """Score the fits of each fold; return also whether all of them hold."""
    of_fold, nodes, parts, training, lams = systems

    def one_fold(
        fold: tuple[Any, Moments, Moments, Any],
    ) -> tuple[Scored, Array]:
        mine, part, sums, some = fold
        fit, worst, holds = solved(mine, nodes, sums, lams, sharing, fit_intercept)
        scores, left = scores_of(fit, part, some)
        return Scored(scores, worst, left), holds

    scored, holds = jax.lax.map(one_fold, (of_fold, parts, training, held))
    return scored, jnp.all(holds)


@partial(compiled, static_argnames=("sharing", "fit_intercept", "score"))
def scored_from_sums(
    systems: Systems, sharing: str, fit_intercept: bool, score: Score
) -> tuple[Scored, Array]:
    """Score the fits of each fold from sums over its rows, and tell if all hold."""

    def scores_of(fit: FoldFit, part: Moments, _: Any) -> tuple[Array, Array]:
        return from_sums(part, fit, len(systems.lams), score)

    return _of_every_fold(systems, sharing, fit_intercept, scores_of)


@partial(compiled, static_argnames=("sharing", "fit_intercept", "score", "lam_tile"))
def scored_from_rows(
    systems: Systems,
    sharing: str,
    fit_intercept: bool,
    score: Score,
    data: Data,
    held: Held,
    lam_tile: int,
) -> tuple[Scored, Array]:
    """Do the same from the rows that each fold holds out."""

    def scores_of(fit: FoldFit, _: Moments, some: Held) -> tuple[Array, Array]:
        rows = rows_of(data, *some)
        return from_rows(rows, fit, len(systems.lams), score, lam_tile)

    return _of_every_fold(systems, sharing, fit_intercept, scores_of, held)


@partial(compiled, static_argnames=("score", "fit_intercept", "paired"))
def by_moments(
    parts: Moments,
    lams: Float[Array, " L"],
    score: Score,
    fit_intercept: bool,
    prepare: Filling = UNTOUCHED,
    paired: Callable[[Moments], tuple[Moments, Moments]] = others_of_each,
) -> Scored:
    """Score each fold from moments where they are all there is.

    `paired` tells what each fold trains on and holds out, `prepare` what that makes of
    the columns.
    """
    training, parts = jax.vmap(prepare)(*paired(parts))
    how = ONE_A_FOLD, fit_intercept
    of_fold = factorised(training, lams, *how, alone=True)
    systems = Systems(of_fold, None, parts, training, lams)
    return scored_from_sums(systems, *how, score)[0]


@partial(
    compiled,
    static_argnames=("score", "learner", "fit_intercept", "system", "rounding"),
)
def scores_of_refits(
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

        def gain_at(i: Array) -> Array:
            return gain(spectrum.values, lams[i])

        some = rows_of(data, rows, counts)
        some = some._replace(X=view(some.X))
        fit = FoldFit(centre, spectrum.right, lambda _: spectrum.along, gain_at)
        tile = at_once(some.Y.size)
        scores, left = from_rows(some, fit, len(lams), score, tile)
        worst = condition(spectrum, jnp.min(lams), weight, fit_intercept)
        return Scored(scores, worst, left)

    return jax.lax.map(one_fold, (held, weights))
