"""Which route, which tiles, and what that will cost: known from the sizes alone.

Every route leads to the same scores. What differs is how often something is factorised
and how much is multiplied (see `costs`), so what one operation of each kind takes,
measured once for each kind of device and dtype, tells which is cheapest. Tiles are as
large as the memory budget allows, and no larger than a cache likes. Nothing here looks
at a number of the data; whether a route kept their digits is seen, and mended, where it
is run.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tabulate import tabulate

from jaxridge import checks
from jaxridge.costs import Candidate, Sizes, candidates
from jaxridge.devices import Device, device_like, place, seconds_of, share_of
from jaxridge.excerpt import counted
from jaxridge.products import FAST, FULL, are_fast
from jaxridge.routes import NEARBY, ONE_A_FOLD, TRIDIAGONAL, UNAIDED, Route
from jaxridge.tiles import shrunk

ASKED = ("folds", "refits", "leave-one-out", "path")
NARROW = 256  # targets of a tile at least: fewer make products of a fold's rows slow
MOST = 10**15

# Routes that hold the coefficients of all targets and penalties at a time.
FOR_FEW_TARGETS = (*NEARBY, TRIDIAGONAL)


@dataclass(frozen=True)
class Plan:
    """How scores or coefficients will be computed, and what that is expected to cost.

    Attributes
    ----------
    route : Route
        The cheapest route that fits.
    target_tile, lam_tile, fold_tile : int
        Targets, penalties and folds to work on at a time.
    bytes : int
        Working memory expected, beside the data, the answer (which is there twice
        until NumPy has it), and a copy of NumPy's rows and targets (of targets alone,
        where folds share one pass on a CPU).
    seconds : float
        Expected. What compiling takes, in the first call, is in neither.
    budget : int
        Bytes that working memory may take.
    sizes : tuple
        (m, n, t, L, k, itemsize, held), as asked.
    others : tuple of (Route, seconds, bytes)
        The routes that were not taken.
    precision : "full" or "fast"
        That of products of rows: "fast" only where it is another, and asked for.
    asked : str
        What for.
    """

    route: Route
    target_tile: int
    lam_tile: int
    fold_tile: int
    bytes: int
    seconds: float
    budget: int
    sizes: Sizes
    others: tuple[tuple[Route, float, int], ...]
    precision: str = FULL
    asked: str = "folds"

    @property
    def fast(self) -> bool:
        """Whether products of rows are those that a GPU does fastest."""
        return self.precision == FAST

    def ways(self) -> Iterator[str]:
        """Yield the ways to share, by the route and where its fits do not hold."""
        taken = self.route.sharing
        yield taken
        if taken == UNAIDED:
            yield from [
                route.sharing
                for route, _, size in self.others
                if route.sharing in NEARBY and size <= self.budget
            ][:1]
        if taken in NEARBY:
            yield ONE_A_FOLD

    def explain(self) -> str:
        """Return the plan, and what else was possible, in words.

        Examples
        --------
        >>> print(plan(20_000, 500, budget=1e9).explain().splitlines()[0])
        20000 rows, 500 columns, 1 target, 100 penalties, 5 folds.
        """
        m, n, t, L, k, *_ = self.sizes
        rows = [(self.route, self.seconds, _in_words(self.bytes), "taken")]
        rows += [
            (route, seconds, _in_words(size), _why_not(self, seconds, size))
            for route, seconds, size in self.others
        ]
        headers = ["route", "seconds", "memory", ""]
        more = "" if n <= m else ": with more columns than rows, XXᵀ is the smaller"
        return (
            f"{counted(m, 'row')}, {counted(n, 'column')}, {counted(t, 'target')}, "
            f"{counted(L, 'penalty', 'penalties')}"
            + (f", {k} folds" if k else "")
            + f"{more}.\n{tabulate(rows, headers, floatfmt='.3g')}\n"
            f"{counted(self.target_tile, 'target')} and "
            f"{counted(self.lam_tile, 'penalty', 'penalties')} at a time, in a budget "
            f"of {_in_words(self.budget)}."
        )

    __str__ = explain

    def target_tiles(self) -> Iterator[slice]:
        """Yield slices of equal length over the targets; the last may overlap."""
        t, tile = self.sizes.t, self.target_tile
        for start in range(0, t, tile):
            yield slice(min(start, t - tile), min(start, t - tile) + tile)


def plan(
    m: int,
    n: int,
    t: int = 1,
    L: int = 100,
    k: int = 5,
    dtype: Any = "float64",
    device: Any = None,
    *,
    asked: str = "folds",
    held: int | None = None,
    budget: float | None = None,
    precision: str = FULL,
) -> Plan:
    """Plan the computation of scores or coefficients at every penalty.

    They are those of ``J = (Σ w e² + lam · ‖coef‖²) / (2m)``, whatever the route.

    Parameters
    ----------
    m, n, t, L, k : int
        Rows, columns, targets, penalties and folds, each at least 1 (k at least 2 of
        folds that hold every row out, and without meaning where there are none).
    dtype : "float32" or "float64"
        The precision of the data. What digits a route loses depends on the data: the
        `route` of a result tells what was done in the end.
    device : jax.Device or "cpu" or "gpu", optional
        Where; JAX's default device if not given.
    asked : "folds", "refits", "leave-one-out" or "path"
        What for: `cross_validate` with folds that hold every row out once, or with any
        others or columns prepared in each; `leave_one_out`, of scores that are errors;
        or `path`.
    held : int, optional
        Rows that the largest fold holds out, m/k if not given.
    budget : float, optional
        Bytes of working memory, of what `Plan` counts. If not given, a quarter of what
        the device has free, rounded down to a power of two, and at least 64 MiB.
    precision : "full" or "fast"
        As for `cross_validate`.

    Returns
    -------
    Plan
        route, tiles, bytes and seconds; ``plan(...).explain()`` says it in words.

    Raises
    ------
    TypeError, ValueError
        For sizes that are no whole numbers or too small, and for what is not known.
    MemoryError
        If no route fits the budget; the message says what would.

    Notes
    -----
    Seconds come from rates fitted to records of two CPU cores; those of a GPU are
    guesses, from what single calls of an H100's libraries take. They rank routes, and
    on other machines are off by the ratio of the machines.

    Examples
    --------
    >>> print(plan(20_000, 500, budget=1e9).route)
    primal, one tridiagonal form a fold, float64
    >>> print(plan(1_000, 5_000, 2_000, budget=1e9).route)
    dual, one factorisation a fold, float64
    """
    checks.one_of("asked", asked, ASKED)
    checks.one_of("precision", precision, (FULL, FAST))
    try:
        kind = np.dtype("" if dtype is None else dtype).name
    except TypeError:
        kind = str(dtype)
    checks.one_of("dtype", kind, ("float32", "float64"))
    names = {"m": m, "n": n, "t": t, "L": L}
    m, n, t, L = (checks.count(name, value, 1, MOST) for name, value in names.items())
    k = _checked_folds(k, m, asked)
    held = 0 if held is None or not k else checks.count("held", held, 1, m)
    sizes = Sizes(m, n, t, L, k, np.dtype(kind).itemsize, held)
    where, free = place(device)
    limit = _checked_budget(budget) if budget is not None else share_of(free)
    device = device_like(where, kind)
    # Of its numbers three or so are there at a time.
    tile = max(1, min(shrunk(device.tile), limit // (8 * sizes.itemsize)))
    device = device._replace(tile=tile)
    found = list(candidates(sizes, kind, asked, tile, on_gpu=where != "cpu"))
    made = _cheapest(found, sizes, device, limit)
    fast = are_fast(precision, kind, where != "cpu")
    return replace(made, precision=FAST if fast else FULL, asked=asked)


def _checked_folds(k: Any, m: int, asked: str) -> int:
    """Return how many folds there are, 0 where none are asked for."""
    if asked == "refits":  # of which there may be more than rows
        return checks.count("k", k, 1, MOST)
    return checks.count("k", k, 2, max(2, m)) if asked == "folds" else 0


def raised(made: Plan) -> Plan:
    """Return the plan of the same in float64, where float32 loses digits.

    Raises
    ------
    MemoryError
        If it does not fit the budget.
    """
    m, n, t, L, k, _, held = made.sizes
    how: Any = {"asked": made.asked, "held": held or None, "budget": made.budget}
    try:
        return plan(m, n, t, L, k or 2, "float64", **how)
    except MemoryError as error:
        raise MemoryError(
            f"float32 loses digits here, and in float64 {error}"
        ) from None


def _cheapest(found: list[Candidate], sizes: Sizes, device: Device, limit: int) -> Plan:
    seconds = {one.route: seconds_of(one.work, device.each) for one in found}
    ranked = sorted(found, key=lambda one: seconds[one.route])
    for best in ranked:
        tile = _target_tile(best, sizes, device.tile, limit)
        if tile:
            break
    else:
        least = min(found, key=lambda one: one.fixed + one.each)
        need = least.fixed + least.each
        raise MemoryError(
            f"{_in_words(limit)} of working memory (`budget`, where there is such an "
            f"argument) is too small for {sizes.m} rows × {sizes.n} columns: the least "
            f"that would do is {_in_words(need)} ({least.route})"
            + (", half of it in float32" if sizes.itemsize == 8 else "")
        )
    lams = min(sizes.L, max(1, device.tile // (sizes.h * tile)))
    others = tuple(
        (one.route, seconds[one.route], one.fixed + one.each * min(tile, sizes.t))
        for one in ranked
        if one is not best
    )
    size = best.fixed + best.each * tile
    cost = size, seconds[best.route]
    return Plan(best.route, tile, lams, best.folds, *cost, limit, sizes, others)


def _target_tile(one: Candidate, sizes: Sizes, numbers: int, limit: int) -> int:
    """Return how many targets to work on at a time, 0 if none fits."""
    room = (limit - one.fixed) // max(1, one.each)
    if room < 1:
        return 0
    cached = max(NARROW, numbers // sizes.h)
    # Nor are there tiles of targets where all rows are factorised.
    few = one.route.sharing in FOR_FEW_TARGETS or not sizes.k
    most = room if few or not one.cached else min(room, cached)
    if most >= sizes.t:
        return sizes.t
    if few:
        return 0
    return int(-(-sizes.t // -(-sizes.t // most)))


def _checked_budget(budget: Any) -> int:
    if isinstance(budget, bool) or not isinstance(budget, float | int | np.number):
        raise TypeError(f"`budget` must be a number of bytes, got {budget!r}")
    if not (np.isfinite(budget) and budget > 0):
        raise ValueError(f"`budget` must be a number of bytes above 0, got {budget}")
    return int(min(budget, 2**62))


def _why_not(plan: Plan, seconds: float, size: int) -> str:
    if size > plan.budget:
        return "does not fit"
    return "slower" if seconds > plan.seconds else "does not fit"


def _in_words(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
