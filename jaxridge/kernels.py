"""The kernel K = XXᵀ of all rows, of which every fold's is a part: the way with n > m.

About the training means μ = Σ pᵢxᵢ, p the training weights as shares, products of rows
are (xᵢ − μ)(xⱼ − μ) = Kᵢⱼ − aᵢ − aⱼ + b with a = Kp and b = pᵀa, so that K, about a
centre near μ, is all that is needed of X. Other rows are predicted from those that
train as K_other,train √w (√w K √w + λ)⁻¹ B + ȳ: by eigenvectors √w K √w = U S² Uᵀ,
however many targets there are, or for few of them by a tridiagonal form.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxridge.data import Centre, Data, weighted_mean
from jaxridge.folds import Held
from jaxridge.held import FoldFit, Scored, from_rows
from jaxridge.nodes import Nodes, few_of, nodes_for
from jaxridge.products import matmul
from jaxridge.programs import compiled
from jaxridge.reflection import Eigen
from jaxridge.routes import TRIDIAGONAL
from jaxridge.scoring import Score
from jaxridge.spectrum import above, gain
from jaxridge.tridiagonal import Tridiagonal, condition, solved, tridiagonal


class Kernels(NamedTuple):
    """Each fold's kernel, factorised, and products of its held-out rows with others."""

    factors: Eigen | Tridiagonal  # of √w K √w
    others: Float[Array, "k h r"]  # along the axes, if there are any
    condition: Float[Array, " k"]


@partial(compiled, static_argnames=("fit_intercept", "sharing"))
def factorised(
    kernel: Float[Array, "m m"],
    weight: Float[Array, " m"],
    train: Held,
    held: Held,
    least: Float[Array, ""],
    fit_intercept: bool,
    sharing: str,
) -> Kernels:
    """Factorise the part of the kernel that each fold trains on."""

    def one_fold(fold: tuple[Held, Held]) -> Kernels:
        (rows, counts), (others, _) = fold
        w = jnp.where(counts, weight[rows], 0)
        K, across = kernel[rows][:, rows], kernel[others][:, rows]
        if fit_intercept:
            share = w / jnp.sum(w)
            a, b = matmul(K, share), matmul(across, share)
            middle = matmul(share, a)
            K, across = K - a - a[:, None] + middle, across - a - b[:, None] + middle
        root = jnp.sqrt(w)
        how = _reduced if sharing == TRIDIAGONAL else _along_axes
        return how(root[:, None] * K * root, across * root, w, least, fit_intercept)

    return jax.lax.map(one_fold, (train, held))


def _along_axes(
    K: Array, across: Array, w: Array, least: Array, fit_intercept: bool
) -> Kernels:
    values, left = jnp.linalg.eigh(K)
    values = above(values, least)
    # Rows that do not count, and the intercept, have no direction; values increase.
    none = len(values) - jnp.sum(w > 0) + int(fit_intercept)
    smallest = values[jnp.minimum(none, len(values) - 1)]
    worst = (jnp.max(values) + least) / (smallest + least)
    # Nothing lies along those, so that they may have any value but a new least one.
    values = jnp.where(values > 0, jnp.maximum(values, smallest), 0)
    return Kernels(Eigen(values, left), matmul(across, left), worst)


def _reduced(
    K: Array, across: Array, w: Array, least: Array, fit_intercept: bool
) -> Kernels:
    # Nothing lies along rows that do not count, nor along √w, so that they may have any
    # value, such as the mean of all others: not a new least one.
    middle = jnp.trace(K) / jnp.sum(w > 0, dtype=K.dtype)
    K = K + jnp.diag(jnp.where(w > 0, 0, middle))
    if fit_intercept:
        u = jnp.sqrt(w / jnp.sum(w))
        K = K + middle * jnp.outer(u, u)
    reduced = tridiagonal(K)
    return Kernels(reduced, across, condition(reduced, least))


def nodes_of(each: Kernels, lams: Any, flop: float) -> Nodes | None:
    """Return nodes for many targets."""
    if isinstance(each.factors, Tridiagonal):
        return None
    return nodes_for(each.factors.values, lams, flop)


@partial(compiled, static_argnames=("score", "fit_intercept", "lam_tile"))
def scored(
    kernels: Kernels,
    Y: Float[Array, "m t"],
    weight: Float[Array, " m"],
    train: Held,
    held: Held,
    lams: Float[Array, " L"],
    score: Score,
    fit_intercept: bool,
    lam_tile: int,
    nodes: Nodes | None = None,
) -> Scored:
    """Score the held-out rows of each fold."""

    def one_fold(fold: tuple[Kernels, Held, Held]) -> Scored:
        (factors, others, worst), (rows, counts), (some, there) = fold
        w, y = jnp.where(counts, weight[rows], 0), Y[rows]
        middle = weighted_mean(y, w) if fit_intercept else jnp.zeros_like(y[0])
        B = jnp.sqrt(w)[:, None] * (y - middle)
        fit = _fit(factors, B, Centre(jnp.zeros_like(w), middle), lams, nodes)
        rest = Data(others, Y[some], jnp.where(there, weight[some], 0))
        scores, least = from_rows(rest, fit, len(lams), score, lam_tile)
        return Scored(scores, worst, least)

    return jax.lax.map(one_fold, (kernels, train, held))


def _fit(
    factors: Eigen | Tridiagonal,
    B: Float[Array, "r t"],
    centre: Centre,
    lams: Float[Array, " L"],
    nodes: Nodes | None,
) -> FoldFit:
    """Return (√w K √w + λ)⁻¹ B, along the axes if there are any."""
    if isinstance(factors, Tridiagonal):
        shares = solved(factors, lams, B)
        return FoldFit(centre, None, lambda i: shares[i])
    values, along = factors.values, matmul(factors.left.T, B)
    few = few_of(values, along, nodes)
    return FoldFit(centre, None, lambda _: along, lambda i: gain(values, lams[i]), few)
