"""Meshes whose axes are explicit, as `jax.make_mesh` makes them: here they are not.

On an explicit axis JAX asks of every step how its result is to lie. Here XLA chooses
that, and what comes out lies on the mesh of those who asked.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, TypeVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, auto_axes

from jaxridge import checks

R = TypeVar("R")


def by_automatic_axes(function: Callable[..., R], *args: Any, **how: Any) -> R:
    """Call a function, with all axes of meshes that arrays lie on automatic."""
    leaves, tree = jax.tree.flatten((args, how), lambda a: isinstance(a, Iterator))
    places = [i for i, leaf in enumerate(leaves) if _is_explicit(leaf)]
    around = _has_explicit_axes(jax.sharding.get_abstract_mesh())
    if not places and not around:
        return function(*args, **how)
    traced = any(map(checks.is_traced, leaves))
    # What is traced cannot set another mesh, nor can JAX 0.8 tell which one is set.
    if not places and (traced or not hasattr(jax.sharding, "get_mesh")):
        return function(*args, **how)

    def call(*arrays: Any) -> R:
        given = dict(enumerate(leaves)) | dict(zip(places, arrays, strict=True))
        args, how = jax.tree.unflatten(tree, given.values())
        return function(*args, **how)

    arrays = [leaves[i] for i in places]
    if checks.any_traced(arrays) or (around and traced):
        with jax.sharding.use_abstract_mesh(jax.typeof(arrays[0]).sharding.mesh):
            return auto_axes(call, out_sharding=PartitionSpec())(*arrays)
    mesh = arrays[0].sharding.mesh if arrays else jax.sharding.get_mesh()
    automatic = Mesh(mesh.devices, mesh.axis_names)
    with jax.set_mesh(automatic) if around else nullcontext():
        found = call(*(_moved(array, automatic) for array in arrays))

    def back(leaf: Any) -> Any:
        """Return what lies on the automatic mesh where the arrays lay."""
        known = isinstance(leaf, jax.Array) and not checks.is_traced(leaf)
        there = known and isinstance(leaf.sharding, NamedSharding)
        return _moved(leaf, mesh) if there else leaf

    return jax.tree.map(back, found)


def _is_explicit(leaf: Any) -> bool:
    if not isinstance(leaf, jax.Array):
        return False
    sharding = jax.typeof(leaf).sharding if checks.is_traced(leaf) else leaf.sharding
    return isinstance(sharding, NamedSharding) and _has_explicit_axes(sharding.mesh)


def _has_explicit_axes(mesh: Any) -> bool:
    return AxisType.Explicit in mesh.axis_types


def _moved(array: jax.Array, mesh: Mesh) -> jax.Array:
    """Return an array that lies where it did, on a mesh of the same devices."""
    place: Any = array.sharding
    return jax.device_put(array, NamedSharding(mesh, place.spec))
