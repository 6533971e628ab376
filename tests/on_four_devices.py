"""Rows on four devices against the same rows on one: run by `test_shards.py`.

How many devices a CPU stands for is settled before JAX starts, so in a process apart.
"""

import math
import re

import jax
import numpy as np
from helpers import scores_of_all_kinds
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxridge
from jaxridge import tiles
from jaxridge.criteria import GCV, _of_rows
from jaxridge.data import Data
from jaxridge.factors import known
from jaxridge.folds import Held, numbered
from jaxridge.left_out import _left_out
from jaxridge.scatter import ALL_DIGITS
from jaxridge.shards import _added_up, moments_of_shards

M, N, TOLERANCE = 400, 6, 1e-12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(M, N)) + 5
Y = X[:, :2] + RNG.normal(size=(M, 2))
WEIGHT = RNG.integers(0, 3, M).astype(float)
LAMS = np.geomspace(1e-2, 1e3, 7)
MESH = Mesh(np.array(jax.devices()), ("rows",))


# Fewer rows than columns, which have a kernel.
FEW, MANY = 40, 60
WIDE = RNG.normal(size=(FEW, MANY)) + RNG.normal(size=MANY)
WIDE_Y = WIDE[:, :2] + RNG.normal(size=(FEW, 2))
WIDE_WEIGHT = RNG.integers(0, 3, FEW).astype(float)


def shared_out(array):
    return jax.device_put(array, NamedSharding(MESH, PartitionSpec("rows")))


def alike(name, found, expected):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for one, other in pairs:
        apart = np.max(np.abs(np.asarray(one) - other)) / np.max(np.abs(other))
        assert apart < TOLERANCE, f"{name}: {apart:.1e}"


def on_explicit_axes():
    """Assert that a mesh of `make_mesh`'s, whose axes are explicit, changes nothing."""
    mesh = jax.make_mesh((2, 2), ("rows", "columns"))
    expected = answers(X, Y, WEIGHT)
    rows = PartitionSpec("rows")
    given = [jax.device_put(a, NamedSharding(mesh, rows)) for a in (X, Y, WEIGHT)]
    for name, one in answers(*given).items():
        alike(name, one, expected[name])
    with jax.set_mesh(mesh):
        found = jaxridge.path(*given[:2], LAMS, weight=given[2]).params
        alike("path, the mesh set", found, expected["path"])
        solved = jax.jit(lambda X, Y: jaxridge.solve(X, Y, 1.0).coef)(*given[:2])
        alike("solve, compiled", solved, jaxridge.solve(X, Y, 1.0).coef)
        by_lam = jax.jit(lambda lam: jaxridge.solve(X, Y, lam).coef)(1.0)
        alike("rows of NumPy's, compiled", by_lam, solved)
        assert (given[0] @ found.coef[0]).shape == (M, 2)  # on the mesh of the rows


def one_on_each():
    """Assert that data apart on each device are fitted there."""

    def fitted(X, Y):
        exact = jaxridge.solve(X[0], Y[0], 1.0)
        steps = jaxridge.sweep(X[0], Y[0], LAMS, max_steps=5).params
        return jax.tree.map(lambda a: a[None], (exact, steps))

    given, rows = [a.reshape(4, M // 4, -1) for a in (X, Y)], PartitionSpec("rows")
    mapped = jax.shard_map(fitted, mesh=MESH, in_specs=rows, out_specs=rows)
    each = [fitted(*(a[i : i + 1] for a in given)) for i in range(4)]
    expected = jax.tree.map(lambda *a: np.concatenate(a), *each)
    alike("on each", jax.jit(mapped)(*given), expected)


def stay_apart(function, *args):
    """Assert that no device sees all rows in a compiled function."""
    text = function.lower(*args).compile().as_text()
    shapes = [
        [int(n) for n in one.split(",")] for one in re.findall(r"\[([\d,]+)\]", text)
    ]
    assert max(map(math.prod, shapes)) < M * Y.shape[1]
    assert [M // 4, N] in shapes


def answers(X, Y, weight):
    """Return what every function says of the rows."""
    given = {"weight": weight}
    return scores_of_all_kinds(X, Y, LAMS, **given) | {
        "moments": jaxridge.moments_of(X, Y, 5, **given),
        "one row in seven": jaxridge.cross_validate(
            X, Y, LAMS, np.arange(len(X)) % 7, scoring="mae", **given
        ).mean,
        "path": jaxridge.path(X, Y, LAMS, **given).params,
        "solve": jaxridge.solve(X, Y, 1.0, **given),
        "sweep": jaxridge.sweep(X, Y, LAMS, **given).params,
        "grid": jaxridge.leave_one_out(X, Y, "auto", **given).lams,
    }


if __name__ == "__main__":
    with jax.enable_x64(True):
        assert len(jax.devices()) == 4
        found = answers(*map(shared_out, (X, Y, WEIGHT)))
        for name, expected in answers(X, Y, WEIGHT).items():
            alike(name, found[name], expected)
        wide = WIDE, WIDE_Y, WIDE_WEIGHT
        found = answers(*map(shared_out, wide))
        for name, expected in answers(*wide).items():
            if name != "sweep":  # which ends where a gradient is small, not exactly 0
                alike(f"wide {name}", found[name], expected)
        on_explicit_axes()
        one_on_each()
        model = jaxridge.RidgeCV(LAMS).fit(shared_out(X), shared_out(Y))
        alike("RidgeCV", model.coef_, jaxridge.RidgeCV(LAMS).fit(X, Y).coef_)
        model = jaxridge.RidgeCV(LAMS, cv=4).fit(*map(shared_out, wide[:2]))
        alone = jaxridge.RidgeCV(LAMS, cv=4).fit(*wide[:2])
        alike("wide RidgeCV", model.coef_, alone.coef_)
        there = jax.devices()[2]
        few = (jax.device_put(a[:40], there) for a in (X, Y[:, 0]))
        assert jaxridge.path(*few, LAMS).params.coef.devices() == {there}
        in_one_tile = jaxridge.leave_one_out(X, Y, LAMS).mean
        data = Data(*map(shared_out, (X, Y, np.ones(M))))
        held = np.arange(M) // (M // 5) == np.arange(5)[:, None]
        sums = moments_of_shards(data, held)
        alike("moments", sums, jaxridge.moments_of(X, Y, 5))
        sets = Held(*(np.stack([a] * 4) for a in numbered(held[:, : M // 4])))
        sets = jax.device_put(sets, NamedSharding(MESH, PartitionSpec("rows")))
        stay_apart(_added_up, data, sets, ALL_DIGITS, MESH)
        tiles.TILE["cpu"] = 2**7  # numbers, so that the rows are many tiles
        jax.clear_caches()
        axes = *known(data, True).factors(), jax.numpy.asarray(LAMS)
        stay_apart(_of_rows, data, *axes, True, GCV.formula)
        own = data.weight, np.ones(2), None
        stay_apart(_left_out, data, *axes, *own, jax.numpy.square, True)
        alike("tiles", jaxridge.leave_one_out(data.X, data.Y, LAMS).mean, in_one_tile)
    print("as on one device")
