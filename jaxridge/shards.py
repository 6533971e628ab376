"""Moments of rows that lie on several devices, each device adding up its own."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Axes
from jaxtyping import Array, Bool

from jaxridge import checks
from jaxridge.data import Data
from jaxridge.moments import Moments, total

ROWS = "rows"


def are_shared_out(X: Any) -> bool:
    """Whether rows lie on several devices, in parts of one size."""
    if checks.is_traced(X) or not isinstance(X, jax.Array):
        return False
    return len(X.sharding.device_set) > 1 and len(X) % len(X.sharding.device_set) == 0


def moments_of_shards(
    data: Data, held: Bool[np.ndarray, "k m"], sums_of: Callable[[Data], Moments]
) -> Moments:
    """Return the moments of the rows that each mask marks, by `sums_of` its rows.

    Rows stay where they are: each device adds up its own, of all folds in turn, and
    passes over folds of which it has none. Only moments travel.
    """
    there: Any = data.X.sharding.device_set
    devices = sorted(there, key=lambda device: device.id)
    mesh = Mesh(np.array(devices), (ROWS,))
    shards, masks = (NamedSharding(mesh, a) for a in (Axes(ROWS), Axes(None, ROWS)))
    placed = jax.device_put(data, shards)
    return _added_up(placed, jax.device_put(jnp.asarray(held), masks), sums_of, mesh)


@partial(jax.jit, static_argnums=(2, 3))
def _added_up(
    data: Data, held: Array, sums_of: Callable[[Data], Moments], mesh: Mesh
) -> Moments:
    def of_shard(data: Data, held: Array) -> Moments:
        return jax.tree.map(lambda a: a[None], _of_folds(data, held, sums_of))

    def of_fold(parts: Moments) -> Moments:
        return total(parts)

    every = jax.shard_map(
        of_shard,
        mesh=mesh,
        in_specs=(Axes(ROWS), Axes(None, ROWS)),
        out_specs=Axes(ROWS),
        check_vma=False,
    )(data, held)  # (devices, folds, ...)
    return jax.vmap(of_fold, in_axes=1)(every)


def _of_folds(data: Data, held: Array, sums_of: Callable[[Data], Moments]) -> Moments:
    """Return the moments of each fold of the rows of one device."""
    shapes = jax.eval_shape(sums_of, data)
    none = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)

    def of_fold(mask: Array) -> Moments:
        weight = jnp.where(mask, data.weight, 0)
        mine = data._replace(weight=weight)
        return jax.lax.cond(jnp.any(weight > 0), sums_of, lambda _: none, mine)

    return jax.lax.map(of_fold, held)
