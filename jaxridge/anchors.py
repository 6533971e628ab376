"""Every fold at every penalty from Cholesky factors at a few penalties, the anchors.

A factor takes a small part of the time of an eigendecomposition, and a still smaller
one on a GPU and where columns are many. G₀ of all rows is inverted at each anchor a; of
(Gᵢ + λ) θ = cᵢ, for λ near a, (G₀ + a)⁻¹ leaves eigenvalues between about λ/a and 1,
and conjugate gradients do the rest.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float, Int

from jaxridge import probes
from jaxridge.conjugate import ALIKE, PROBES, conjugate_gradients
from jaxridge.costs import ANCHORS_AT_MOST
from jaxridge.power import grown
from jaxridge.products import matmul

FAR = 60  # steps from an anchor to the ends of a wide grid's part


class Anchors(NamedTuple):
    """G₀, its inverses at the anchors, the penalties near each, and its condition."""

    gram: Float[Array, "n n"]
    inverses: Float[Array, "a n n"]
    near: Int[Array, "a g"]  # places in the grid, some more than once
    middles: Float[Array, " a"]
    condition: Float[Array, ""]


def anchors_of(gram: Float[Array, "n n"], lams: Float[Array, " L"]) -> Anchors:
    """Invert G₀ at anchors, each in the middle of as many penalties."""
    L, one = len(lams), jnp.eye(len(gram), dtype=gram.dtype)
    each = -(-L // ANCHORS_AT_MOST[str(gram.dtype)])
    count = -(-L // each)
    places = jnp.minimum(jnp.arange(count * each), L - 1)
    near = jnp.argsort(lams)[places].reshape(count, -1)
    noise = jnp.finfo(gram.dtype).eps * len(gram) * jnp.max(jnp.diagonal(gram))
    ends = jnp.maximum(lams[near[:, jnp.array([0, -1])]], noise)
    middles = jnp.sqrt(ends[:, 0]) * jnp.sqrt(ends[:, 1])

    def inverted(middle: Array) -> Array:
        return cho_solve((jnp.linalg.cholesky(gram + middle * one), True), one)

    inverses = jax.lax.map(inverted, middles)
    least = jnp.min(lams)
    # Power steps tell both to a small factor.
    largest = 2 * grown(lambda v: matmul(gram, v), gram)
    smallest = 0.5 / grown(lambda v: matmul(inverses[0], v), gram) - middles[0]
    smallest = jnp.where(smallest > middles[0], smallest, 0)
    bottom = smallest + least
    worst = jnp.where(bottom > 0, (largest + least) / bottom, jnp.inf)
    return Anchors(gram, inverses, near, middles, worst)


def solved_near(
    anchors: Anchors,
    gram: Float[Array, "n n"],
    right: Float[Array, "n t"],
    lams: Float[Array, " L"],
) -> tuple[Float[Array, "L n t"], Bool[Array, ""]]:
    """Solve a fold's systems at every penalty; return also whether all are solved."""
    t, random = right.shape[1], probes.normal(len(right), PROBES, dtype=right.dtype)
    turned = matmul(anchors.gram, random)

    def at_anchor(anchor: tuple[Array, ...]) -> tuple[Array, Array]:
        inverse, near, middle = anchor
        # A direction shows in the one or the other, be its extent large or small.
        both = jnp.concatenate([random, turned + middle * random], axis=1)
        here = jnp.repeat(lams[near], t)
        shift = jnp.append(here, jnp.repeat(jnp.min(here), both.shape[1]))
        columns, enough = conjugate_gradients(
            lambda z: matmul(gram, z) + shift * z,
            lambda z: matmul(inverse, z),
            jnp.concatenate([jnp.tile(right, (1, len(near))), both], axis=1),
            ALIKE * jnp.minimum(shift / middle, 1),
            FAR,
        )
        columns = columns[:, : len(here)].reshape(-1, len(near), t)
        return columns.swapaxes(0, 1), enough

    found, enough = jax.lax.map(
        at_anchor, (anchors.inverses, anchors.near, anchors.middles)
    )
    coefs = jnp.zeros((len(lams), *right.shape), right.dtype)
    places = anchors.near.reshape(-1)
    coefs = coefs.at[places].set(found.reshape(-1, *right.shape))
    return coefs, jnp.all(enough)
