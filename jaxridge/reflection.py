"""Eigenvectors across a known null vector, by the reflection that takes it to an axis.

Rows about their mean have no extent along √w, and a kernel of them has the eigenvalue 0
there, which rounding would mix with small ones.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxridge.products import matmul


class Eigen(NamedTuple):
    """Eigenvalues and eigenvectors of a kernel."""

    values: Float[Array, " r"]
    left: Float[Array, "m r"]


def eigh_across(K: Float[Array, "m m"], u: Float[Array, " m"] | None) -> Eigen:
    """Return the eigenvalues, and vectors, of K at a right angle to its null vector u.

    Or all, if there is no u.
    """
    values, inner = jnp.linalg.eigh(part_across(K, u))
    return Eigen(values, turned_across(inner, u))


def part_across(
    K: Float[Array, "m m"], u: Float[Array, " m"] | None
) -> Float[Array, "r r"]:
    """Return HKH without its last row and column, of zeros.

    H is the reflection that takes the last axis to the null vector u. Eigenvectors of
    the rest do not mix with u, small as their values may be.
    """
    if u is None:
        return K
    v, w = _mirror(u)
    half = K - jnp.outer(v, matmul(w, K))
    return (half - jnp.outer(matmul(half, w), v))[:-1, :-1]


def turned_across(
    inner: Float[Array, "r r"], u: Float[Array, " m"] | None
) -> Float[Array, "m r"]:
    """Return eigenvectors of that part as those of K."""
    if u is None:
        return inner
    v, w = _mirror(u)
    inner = jnp.pad(inner, ((0, 1), (0, 0)))
    return inner - jnp.outer(v, matmul(w, inner))


def _mirror(u: Float[Array, " m"]) -> tuple[Array, Array]:
    """Return v and w with H = 1 − vwᵀ."""
    v = u.at[-1].add(jnp.where(u[-1] < 0, -1, 1))
    return v, 2 / jnp.sum(v**2) * v
