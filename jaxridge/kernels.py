"""The kernel K = XXᵀ of all rows, of which every fold's is a part: the way with n > m.

About the training means μ = Σ pᵢxᵢ, p the training weights as shares, products of rows
are (xᵢ − μ)(xⱼ − μ) = Kᵢⱼ − aᵢ − aⱼ + b with a = Kp and b = pᵀa, so that K, about a
centre near μ, is all that is needed of X. With √w K √w = U S² Uᵀ over training rows,
predictions of other rows are (K_other,train √w U) (S² + λ)⁻¹ UᵀB + ȳ.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import dynamic_slice_in_dim
from jaxtyping import Array, Float

from jaxridge import accelerator
from jaxridge.data import Centre, Data, weighted_mean
from jaxridge.folds import Held
from jaxridge.held import FoldFit, Scored, from_rows
from jaxridge.nodes import Nodes, few_of
from jaxridge.placement import placed
from jaxridge.products import across_rows, matmul, mirrored, plus_gram
from jaxridge.programs import compiled
from jaxridge.scoring import Score
from jaxridge.spectrum import above, gain
from jaxridge.tiles import fold_blocks, summed_in, terms_at_once
from jaxridge.twofold import Twofold, zeros


class Kernels(NamedTuple):
    """Each fold's factorised kernel, and its held-out rows along the axes."""

    values: Float[Array, "k r"]
    left: Float[Array, "k r r"]
    others: Float[Array, "k h r"]
    condition: Float[Array, " k"]


def kernel_of(
    X: Float[Array | np.ndarray, "m n"],
    weight: Float[Array, " m"],
    fit_intercept: bool,
    fast: bool = False,
) -> Float[Array, "m m"]:
    """Return products of rows about their mean, or about 0 without an intercept."""
    if isinstance(X, np.ndarray):
        return placed(across_rows(_about_mean(X, weight, fit_intercept)))
    return products_of_rows(X, weight, fit_intercept, fast)


@partial(compiled, static_argnums=2)
def _about_mean(X: Array, weight: Array, fit_intercept: bool) -> Array:
    return X - weighted_mean(X, weight) if fit_intercept else X


@partial(compiled, static_argnames=("fit_intercept", "fast"))
def products_of_rows(
    X: Float[Array, "m n"],
    weight: Float[Array, " m"],
    fit_intercept: bool,
    fast: bool = False,
) -> Float[Array, "m m"]:
    """Do as `kernel_of` where XLA computes: on a GPU, columns a block at a time."""
    x = weighted_mean(X, weight) if fit_intercept else jnp.zeros_like(X[0])
    if not accelerator.is_used():
        return matmul(X - x, (X - x).T)
    dtype = summed_in(X.dtype, fast)
    width = min(X.shape[1], terms_at_once(dtype, len(X), fast))

    def add(sums: Twofold, counts: Array, at: Array) -> Twofold:
        columns = dynamic_slice_in_dim(X, at[0, 0], len(at), 1)
        about = (columns - dynamic_slice_in_dim(x, at[0, 0], len(at))) * counts
        return plus_gram(sums, about.T.astype(dtype), fast)

    every = jnp.arange(X.shape[1])[:, None]
    ones, start = jnp.ones(len(every), X.dtype), zeros((len(X), len(X)), dtype)
    K = fold_blocks(add, start, ones, every, terms=width, parts=1).value()
    return mirrored(K.astype(X.dtype))


@partial(compiled, static_argnames="fit_intercept")
def factorised(
    kernel: Float[Array, "m m"],
    weight: Float[Array, " m"],
    train: Held,
    held: Held,
    least: Float[Array, ""],
    fit_intercept: bool,
) -> Kernels:
    """Factorise the part of the kernel that each fold trains on."""

    def one_fold(fold: tuple[Held, Held]) -> tuple[Array, ...]:
        (rows, counts), (others, _) = fold
        w = jnp.where(counts, weight[rows], 0)
        K, across = kernel[rows][:, rows], kernel[others][:, rows]
        if fit_intercept:
            share = w / jnp.sum(w)
            a, b = matmul(K, share), matmul(across, share)
            middle = matmul(share, a)
            K, across = K - a - a[:, None] + middle, across - a - b[:, None] + middle
        root = jnp.sqrt(w)
        values, left = jnp.linalg.eigh(root[:, None] * K * root)
        values = above(values, least)
        # Rows that do not count, and the intercept, have no direction; values increase.
        none = len(values) - jnp.sum(w > 0) + int(fit_intercept)
        smallest = values[jnp.minimum(none, len(values) - 1)]
        worst = (jnp.max(values) + least) / (smallest + least)
        # Nothing lies along those, so that they may have any value but a new least one.
        values = jnp.where(values > 0, jnp.maximum(values, smallest), 0)
        return values, left, matmul(across * root, left), worst

    return Kernels(*jax.lax.map(one_fold, (train, held)))


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
        (values, left, others, worst), (rows, counts), (some, there) = fold
        w, y = jnp.where(counts, weight[rows], 0), Y[rows]
        middle = weighted_mean(y, w) if fit_intercept else jnp.zeros_like(y[0])
        along = matmul(left.T, jnp.sqrt(w)[:, None] * (y - middle))
        fit = FoldFit(
            Centre(jnp.zeros_like(values), middle),
            None,
            lambda _: along,
            lambda i: gain(values, lams[i]),
            few_of(values, along, nodes),
        )
        rest = Data(others, Y[some], jnp.where(there, weight[some], 0))
        scores, least = from_rows(rest, fit, len(lams), score, lam_tile)
        return Scored(scores, worst, least)

    return jax.lax.map(one_fold, (kernels, train, held))
