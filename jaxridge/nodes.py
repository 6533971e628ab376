"""A few penalties that stand for all: every other fit is a combination of theirs.

Along each axis a fit is a multiple of 1/(s² + λ). Take any R penalties λₚ, the nodes,
and any R numbers σₚ. The rational function of λ with poles at the −σₚ that agrees with
1/(s² + λ) at every node, Σ cₚ(λ)/(s² + λₚ) with shares

    cₚ(λ) = Πᵣ (λₚ + σᵣ)/(λ + σᵣ) · Πᵣ≠ₚ (λ − λᵣ)/(λₚ − λᵣ),

whatever s² is, errs by the part r(s²)/r(−λ) of it, r(z) = Π (z − σₚ)/(z + λₚ). With
s² in [a, b] and λ in [c, d] Zolotarev's points make the largest part least, and it is
below 4 exp(−π² R / log 16γ), γ = (a + d)(b + c)/((a + c)(b + d)) (Beckermann and
Townsend 2017). With s² over one decade or two, and λ over a few more, that takes about
12 nodes in float32 and 22 in float64, however many the penalties; the wider s² are
spread, the more. What is paid for each penalty, a product of matrices for each target,
is then paid for each node.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import ellipj, ellipkm1

from jaxridge import accelerator, checks
from jaxridge.costs import ROOM, WORTH
from jaxridge.products import matmul
from jaxridge.spectrum import gain
from jaxridge.tiles import NARROW

T = TypeVar("T")
# The sum, by the shares of one penalty, of what is known at the nodes.
Combination = Callable[[Float[Array, " R"]], Float[Array, "m t"]]

ROUNDINGS = 16  # of the dtype, that a gain may err by
SHORT = 1e-3  # of the other interval
MOST = 2**15  # targets at a time, of which a GPU makes a product each


class Nodes(NamedTuple):
    """Penalties, and the share that each has in the fit at every penalty asked for."""

    lams: Float[Array | np.ndarray, " R"]
    shares: Float[Array | np.ndarray, "L R"]


class Few(NamedTuple):
    """g at a few nodes, a, and the shares in the fit at each penalty."""

    gains: Float[Array, "r R"]
    along: Float[Array, "r t"]
    shares: Float[Array, "L R"]


def few_of(
    values: Float[Array, " r"], along: Float[Array, "r t"], nodes: Nodes | None
) -> Few | None:
    """Return the gains 1/(s² + λ) at nodes, if there are any."""
    if nodes is None:
        return None
    lams, shares = map(jnp.asarray, nodes)
    return Few(gain(values[:, None], lams), along, shares)


def nodes_for(values: Any, lams: Any, flop: float) -> Nodes | None:
    """Return nodes for known s² and λ if they save work, which is `flop` for each.

    None are made while those are traced. s² that are 0 have no part in any fit.
    """
    if checks.any_traced(values, lams):
        return None
    grid = np.asarray(lams, np.float64)
    if flop * len(grid) < WORTH:
        return None
    dtype = np.dtype(values.dtype)
    kept = np.asarray(values, np.float64)
    kept = kept[kept > 0]
    part, (c, d) = ROUNDINGS * np.finfo(dtype).eps, (grid.min(), grid.max())
    if not kept.size or c == d:
        return None
    # Below this s² + λ is λ; and intervals must have a length that tells in sums.
    a = max(kept.min(), part * c)
    b = max(kept.max(), 1.1 * a, SHORT * c)
    d = max(d, 1.1 * c, SHORT * a)
    with np.errstate(over="ignore"):  # then nothing is far enough apart from nothing
        count = np.log(16 * (1 + _apart(a, b, c, d))) * np.log(4 / part) / np.pi**2
    count = 2 * np.ceil(count / 2)  # so that the number seldom changes
    if flop * (len(grid) - count) < WORTH:
        return None
    at, poles = zolotarev(a, b, c, d, int(count))
    at = at.astype(dtype)
    return Nodes(at, _shares(at.astype(np.float64), poles, grid).astype(dtype))


def zolotarev(
    a: float, b: float, c: float, d: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the λₚ in [c, d] and σₚ in [a, b] that make the largest error least.

    On [−α, −1] and [1, α] they are ∓α dn((p − ½)K/R), dn Jacobi's of modulus
    √(1 − 1/α²) and K its quarter period; a map (uz + v)/(wz + x) takes those to
    [−d, −c] and [a, b], if the two pairs have the same cross-ratio γ.
    """
    more = _apart(a, b, c, d)
    alpha = 1 + 2 * more + 2 * np.sqrt(more * (1 + more))
    period = ellipkm1(alpha**-2.0)
    u = (np.arange(count) + 0.5) * period / count
    # dn is known near 0, and elsewhere by dn(u) dn(K − u) = 1/α.
    near = ellipj(np.minimum(u, period - u), 1 - alpha**-2.0)[2]
    z = alpha * np.where(u <= period / 2, near, 1 / (alpha * near))
    # (T + c)/(T − a) = k (z + 1)/(z − 1), k near 1: b's is that of α, −d's that of −α.
    above = (alpha * (a + c) - (2 * b + c - a)) / ((b - a) * (alpha + 1))
    k = 1 + above

    def image(z: np.ndarray) -> np.ndarray:
        return (c * (z - 1) + k * a * (z + 1)) / (above * z + (k + 1))

    return -image(-z), image(z)


def _apart(a: float, b: float, c: float, d: float) -> float:
    """Return γ − 1."""
    return (b - a) / (b + d) * ((d - c) / (a + c))


def _shares(at: np.ndarray, poles: np.ndarray, lams: np.ndarray) -> np.ndarray:
    """Return cₚ(λ), (L, R)."""
    lams, shares = lams[:, None], np.ones((len(lams), len(at)))
    for r, (node, pole) in enumerate(zip(at, poles, strict=True)):
        others = np.arange(len(at)) != r
        shares *= (at + pole) / (lams + pole)
        shares[:, others] *= (lams - node) / (at[others] - node)
    return shares


def by_few(
    rows: Float[Array, "m r"],
    few: Few,
    judged: Callable[..., T],
    of_targets: tuple[Array, ...],
    numbers: int,
    of_lams: tuple[Array, ...] = (),
) -> T:
    """Judge rows · g(λ) ∘ a at every penalty, made of those at the nodes.

    Targets are taken in tiles, so that what there is of a tile at all nodes is no more
    than a few times `numbers`. `judged` is given the tile's columns of `of_targets`,
    and the penalty's of `of_lams`.
    """
    r, nodes = few.gains.shape
    size = max(NARROW, ROOM * numbers // ((len(rows) + r) * nodes))
    at_once = ROOM * numbers // len(rows)
    of_some = partial(_from_nodes, rows, few.gains)
    given = few.along, few.shares, judged, of_targets, size, at_once, of_lams
    return _in_parts(of_some, *given)


def by_rows_at_nodes(
    rows: Float[Array, "R m r"],
    along: Float[Array, "r t"],
    shares: Float[Array, "L R"],
    judged: Callable[..., T],
    of_targets: tuple[Array, ...],
    numbers: int,
    of_lams: tuple[Array, ...] = (),
) -> T:
    """Do the same of rows that are others at each node: Σ cₚ rowsₚ · a."""
    nodes, m, _ = rows.shape
    size = max(NARROW, ROOM * numbers // (m * nodes))
    at_once = ROOM * numbers // m

    given = along, shares, judged, of_targets, size, at_once, of_lams
    return _in_parts(partial(_from_rows, rows), *given)


def _in_parts(
    of_some: Callable[[Array], Combination],
    along: Float[Array, "r t"],
    shares: Float[Array, "L R"],
    judged: Callable[..., T],
    of_targets: tuple[Array, ...],
    size: int,
    at_once: int,
    of_lams: tuple[Array, ...],
) -> T:
    """Judge combinations by all shares, of at most `size` targets at a time."""
    t = along.shape[1]
    count = -(-t // min(t, size, MOST))
    length = -(-t // count)

    def apart(a: Array) -> Array:
        """Return targets in parts of equal size, the last one repeated in the last."""
        ends = [(0, 0)] * (a.ndim - 1) + [(0, count * length - t)]
        parts = jnp.pad(a, ends, mode="edge").reshape(*a.shape[:-1], count, length)
        return jnp.moveaxis(parts, -2, 0)

    def together(a: Array) -> Array:
        return jnp.moveaxis(a, 0, -2).reshape(*a.shape[1:-1], count * length)[..., :t]

    def some(part: tuple[Array, ...]) -> T:
        along, *others = part
        combined = of_some(along)

        def one(at: tuple[Array, ...]) -> T:
            share, *more = at
            return judged(combined(share), *others, *more)

        # A GPU makes all that are at hand in one look at the nodes.
        batch = max(1, at_once // length) if accelerator.is_used() else None
        return jax.lax.map(one, (shares, *of_lams), batch_size=batch)

    found = jax.lax.map(some, jax.tree.map(apart, (along, *of_targets)))
    return jax.tree.map(together, found)


def _from_nodes(
    rows: Float[Array, "m r"], gains: Float[Array, "r R"], along: Float[Array, "r t"]
) -> Combination:
    """Return combinations of rows · g ∘ a at every node, whichever is less to scale."""
    r, nodes = gains.shape
    if accelerator.is_used() and len(rows) <= along.shape[1]:
        return _from_rows(rows * gains.T[:, None], along)
    if accelerator.is_used():
        scaled = (along.T[:, None] * gains.T).reshape(-1, r)
        return _targets_apart(matmul(scaled, rows.T).reshape(-1, nodes, len(rows)))
    scaled = (gains[:, :, None] * along[:, None]).reshape(r, -1)
    at_nodes = matmul(rows, scaled).reshape(len(rows), nodes, -1)
    return _written_out(at_nodes.swapaxes(0, 1))


def _from_rows(rows: Float[Array, "R m r"], along: Float[Array, "r t"]) -> Combination:
    """Return combinations of rows that are others at each node."""
    nodes, m, r = rows.shape
    flat = rows.reshape(nodes * m, r)
    if accelerator.is_used():
        return _targets_apart(matmul(along.T, flat.T).reshape(-1, nodes, m))
    return _written_out(matmul(flat, along).reshape(nodes, m, -1))


def _targets_apart(at_nodes: Float[Array, "t R m"]) -> Combination:
    """Return a function of shares: the sum of what is at the nodes by those.

    A product for each target, of all shares that are at hand, leaves its rows side by
    side, as a GPU sums them up, and needs nothing transposed.
    """
    t, nodes, _ = at_nodes.shape

    def combined(share: Array) -> Array:
        each = jnp.broadcast_to(share, (t, 1, nodes))
        return matmul(each, at_nodes)[:, 0].T

    return combined


def _written_out(at_nodes: Float[Array, "R m t"]) -> Combination:
    """Return the same as a sum, which becomes one loop with what is made of it."""
    return lambda share: sum(c * at_nodes[j] for j, c in enumerate(share))
