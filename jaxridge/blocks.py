"""Blocks of rows left out of one factorised kernel: every fold, with n > m.

Let A = √w (X − x̄), B = √w (Y − ȳ), K = AAᵀ, and u = √w/‖√w‖, the direction that the
intercept takes away. With Q(λ) = (K + λ)⁻¹ restricted to the directions across u, the
errors of predicting the rows I from all others are, times √w,

    e_I = (Q_II)⁻¹ (Q B)_I,

for any set I: leave-one-out is the case of one row. Derivation: at the fit to the other
rows, put in place of the targets of I what it predicts of them. The fit to all rows is
then the same, so its residuals Q B' vanish on I, and B' differs from B by e_I there.
Nothing cancels as λ → 0, since Q has no eigenvalue near 0 but u's own.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float

from jaxridge import accelerator
from jaxridge.data import weighted_mean
from jaxridge.divisors import inverse, or_one
from jaxridge.folds import Held
from jaxridge.held import Scored
from jaxridge.nodes import Nodes, by_rows_at_nodes, nodes_for
from jaxridge.products import matmul
from jaxridge.programs import compiled
from jaxridge.reflection import Eigen, eigh_across
from jaxridge.scoring import Score, score_about, squared_error


@partial(compiled, static_argnames="fit_intercept")
def factorised(
    kernel: Float[Array, "m m"], weight: Float[Array, " m"], fit_intercept: bool
) -> Eigen:
    """Factorise the kernel of all rows, which is about their weighted mean."""
    root = jnp.sqrt(weight)
    K = root[:, None] * kernel * root
    u = root / jnp.linalg.norm(root) if fit_intercept else None
    values, left = eigh_across(K, u)
    return Eigen(jnp.maximum(values, 0), left)


def nodes_of(kernel: Eigen, lams: Any, flop: float) -> Nodes | None:
    """Return nodes for every fold, whose kernel's eigenvalues lie between those of K.

    They are those of K on a smaller space: what is left of training rows across their
    own √w is across u as well (Cauchy 1829). Where one of K is 0, theirs may be as
    small as can be.
    """
    values = np.asarray(kernel.values)
    return nodes_for(np.maximum(values, np.finfo(values.dtype).tiny), lams, flop)


@partial(compiled, static_argnames=("score", "fit_intercept", "lam_tile"))
def scored(
    kernel: Eigen,
    Y: Float[Array, "m t"],
    weight: Float[Array, " m"],
    held: Held,
    lams: Float[Array, " L"],
    score: Score,
    fit_intercept: bool,
    lam_tile: int,
    nodes: Nodes | None = None,
) -> Scored:
    """Return the scores of each block of rows, every row of B being in one of them."""
    root = jnp.sqrt(weight)[:, None]
    middle = weighted_mean(Y, weight) if fit_intercept else jnp.zeros_like(Y[0])
    along = matmul(kernel.left.T, root * (Y - middle))  # UᵀB
    unit = or_one(root)[held.rows]
    y, w = Y[held.rows] - middle, jnp.where(held.counts, weight[held.rows], 0)
    U = jnp.where(held.counts[..., None], kernel.left[held.rows], 0)
    square = or_one(jax.vmap(squared_error)(y, jnp.zeros_like(y), w))

    def one_fold(fold: tuple[Array, ...]) -> tuple[Array, Array]:
        U, counts, y, w, unit, square = fold
        missed_by = partial(_missed_by, kernel.values, U, counts, unit)

        def judged(error: Array, y: Array, square: Array, middle: Array) -> Any:
            prediction = y - error
            left = squared_error(y, prediction, w) / square
            return score_about(middle, score, y, prediction, w), left

        of_targets = y, square, middle
        if nodes is None:
            return jax.lax.map(
                lambda lam: judged(matmul(missed_by(lam), along), *of_targets), lams
            )
        # Predictions less the training mean are what those at the nodes make others of.
        mean = -matmul(w, y) / (jnp.sum(weight) - jnp.sum(w)) * fit_intercept

        def judged_of(error: Array, y: Array, *rest: Array) -> Any:
            *of_targets, mean, lost = rest
            return judged(error + lost * (y - mean), y, *of_targets)

        at, shares = map(jnp.asarray, nodes)
        at_once = len(at) if accelerator.is_used() else None
        rows = jax.lax.map(missed_by, at, batch_size=at_once)
        given = judged_of, (*of_targets, mean), lam_tile * y.size
        return by_rows_at_nodes(rows, along, shares, *given, (1 - shares.sum(axis=1),))

    of_folds = U, held.counts, y, w, unit, square
    scores, left = jax.lax.map(one_fold, of_folds)
    largest, least = jnp.max(kernel.values), jnp.min(kernel.values) + jnp.min(lams)
    noise = jnp.finfo(largest.dtype).eps * len(kernel.left) * largest
    worst = jnp.where(least > noise, (largest + jnp.min(lams)) / least, jnp.inf)
    k = held.rows.shape[0]
    return Scored(scores, jnp.full(k, worst), jnp.min(left, axis=(1, 2)))


def _missed_by(
    values: Float[Array, " r"],
    U: Float[Array, "h r"],
    counts: Bool[Array, " h"],
    unit: Float[Array, "h 1"],
    lam: Float[Array, ""],
) -> Float[Array, "h r"]:
    """Return rows whose products with UᵀB are the errors of a block."""
    gains = inverse(values + lam)
    # Rows that only pad stand apart, with error 0.
    Q = matmul(U * gains, U.T) + jnp.diag(jnp.where(counts, 0, gains[0]))
    # Inverted first: a GPU is slow at triangular systems of many columns, side by side.
    factor, one = (jnp.linalg.cholesky(Q), True), jnp.eye(len(Q), dtype=Q.dtype)
    return matmul(cho_solve(factor, one), U * gains) / unit
