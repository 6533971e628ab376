"""Moments of rows that lie on several devices, each device adding up its own."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Axes
from jaxtyping import Bool

from jaxridge import checks
from jaxridge.data import Data
from jaxridge.folds import Held, are_even, numbered
from jaxridge.moments import Moments, total
from jaxridge.programs import compiled
from jaxridge.scatter import How, moments_of_sets

ROWS = "rows"


def are_shared_out(X: Any) -> bool:
    """Whether rows lie on several devices, in parts of one size."""
    if checks.is_traced(X) or not isinstance(X, jax.Array):
        return False
    return len(X.sharding.device_set) > 1 and len(X) % len(X.sharding.device_set) == 0


def moments_of_shards(
    data: Data, held: Bool[np.ndarray, "k m"], fast: bool = False
) -> Moments:
    """Return the moments of the rows that each mask marks.

    Rows stay where they are: each device adds up its own, of all folds in turn. Only
    moments travel.
    """
    there: Any = data.X.sharding.device_set
    devices = sorted(there, key=lambda device: device.id)
    mesh = Mesh(np.array(devices), (ROWS,))
    shard = NamedSharding(mesh, Axes(ROWS))
    of_device = np.split(held, len(devices), axis=1)  # the rows of each, by mask
    masks = np.concatenate(of_device)
    rows, counts = numbered(masks)
    how = How(fast, are_even(masks))
    sets = Held(*(a.reshape(len(devices), len(held), -1) for a in (rows, counts)))
    # Whatever mesh is set around it, which may not be that of the rows.
    with jax.core.eval_context(), jax.set_mesh(mesh):
        return _added_up(*jax.device_put((data, sets), shard), how, mesh)


@partial(compiled, static_argnums=(2, 3))
def _added_up(data: Data, sets: Held, how: How, mesh: Mesh) -> Moments:
    def of_shard(data: Data, sets: Held) -> Moments:
        mine = jax.tree.map(lambda a: a[0], sets)
        return jax.tree.map(lambda a: a[None], moments_of_sets(data, mine, how))

    every = jax.shard_map(
        of_shard,
        mesh=mesh,
        in_specs=(Axes(ROWS), Axes(ROWS)),
        out_specs=Axes(ROWS),
        check_vma=False,
    )(data, sets)  # (devices, folds, ...)
    return jax.vmap(total, in_axes=1)(every)
