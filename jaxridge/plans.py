"""Which route, which tiles, and what that will cost: known from the sizes alone.

Every route leads to the same scores. What differs is how often something is factorised
and how much is multiplied, so a handful of rates, measured once for each kind of device
and dtype, tell which is cheapest. Tiles are as large as the memory budget allows, and
no larger than a cache likes. Nothing here looks at a number of the data; whether a
route kept their digits is seen, and mended, where it is run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from tabulate import tabulate

from jaxridge import checks
from jaxridge.devices import Rates, place, rates_of, share_of
from jaxridge.routes import (
    BLOCKS,
    CHOLESKY,
    DUAL,
    ONE,
    ONE_A_FOLD,
    ONE_FOR_ALL,
    PRIMAL,
    TRIDIAGONAL,
    Route,
)

ASKED = ("folds", "leave-one-out", "path")
CACHED = 2**20  # numbers of one tile that a cache holds
NARROW = 256  # targets, fewer of which make a product of matrices slow
STEPS = {"float32": 6, "float64": 13}  # of conjugate gradients, to rounding
STEP = 2e-8  # s, of a tridiagonal solution
MOST = 10**15
# Routes that hold the coefficients of all targets and penalties at a time.
FOR_FEW_TARGETS = (ONE_FOR_ALL, TRIDIAGONAL)


class Sizes(NamedTuple):
    """What is asked: rows, features, targets, penalties, folds, and their dtype."""

    m: int
    n: int
    t: int
    L: int
    k: int
    itemsize: int


class Candidate(NamedTuple):
    """A route and what it is expected to cost.

    Bytes are `fixed` ones, and those `each` target takes that is worked on at a time.
    """

    route: Route
    seconds: float
    fixed: int
    each: int


@dataclass(frozen=True)
class Plan:
    """How scores or coefficients will be computed, and what that is expected to cost.

    Attributes
    ----------
    route : Route
        The cheapest route that fits.
    target_tile, lam_tile : int
        Targets and penalties to work on at a time.
    bytes : int
        Working memory beside the data and the answer, expected.
    seconds : float
        Expected; compiling, which the first call does, not counted.
    budget : int
        Bytes that working memory may take.
    sizes : tuple
        (m, n, t, L, k, itemsize), as asked.
    others : tuple of (Route, seconds, bytes)
        The routes that were not taken.
    """

    route: Route
    target_tile: int
    lam_tile: int
    bytes: int
    seconds: float
    budget: int
    sizes: Sizes
    others: tuple[tuple[Route, float, int], ...]

    def explain(self) -> str:
        """Return the plan, and what else was possible, in words."""
        m, n, t, L, k, _ = self.sizes
        rows = [(self.route, self.seconds, _in_words(self.bytes), "taken")]
        rows += [
            (route, seconds, _in_words(size), _why_not(self, seconds, size))
            for route, seconds, size in self.others
        ]
        headers = ["route", "seconds", "memory", ""]
        more = "" if n <= m else ": with more columns than rows, XXᵀ is the smaller"
        return (
            f"{m} rows, {n} columns, {t} target(s), {L} penalties"
            + (f", {k} folds" if k else "")
            + f"{more}.\n{tabulate(rows, headers, floatfmt='.3g')}\n"
            f"{self.target_tile} target(s) and {self.lam_tile} penalties at a time, in "
            f"a budget of {_in_words(self.budget)}."
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
    budget: float | None = None,
) -> Plan:
    """Plan the computation of scores or coefficients at every penalty.

    They are those of ``J = (Σ w e² + lam · ‖coef‖²) / (2m)``, whatever the route.

    Parameters
    ----------
    m, n, t, L, k : int
        Rows, columns, targets, penalties and folds, each at least 1 (k at least 2, and
        without meaning unless folds are asked for).
    dtype : "float32" or "float64"
        The precision of the data. What digits a route loses depends on the data: the
        `route` of a result tells what was done in the end.
    device : jax.Device or "cpu" or "gpu", optional
        Where; JAX's default device if not given.
    asked : "folds", "leave-one-out" or "path"
        What for: `cross_validate` with folds that hold every row out once,
        `leave_one_out`, or `path`.
    budget : float, optional
        Bytes of working memory, beside the data and the answer. If not given, a quarter
        of what the device has free, rounded down to a power of two.

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
    Seconds come from rates measured on two CPU cores and, for a GPU, on an H100: they
    rank routes, and on other machines are off by the ratio of the machines.

    Examples
    --------
    >>> print(plan(20_000, 500, budget=1e9).route)
    primal, one tridiagonal form a fold, float64
    >>> print(plan(1_000, 5_000, 2_000, budget=1e9).route)
    dual, one factorisation a fold, float64
    """
    checks.one_of("asked", asked, ASKED)
    try:
        kind = np.dtype("" if dtype is None else dtype).name
    except TypeError:
        kind = str(dtype)
    checks.one_of("dtype", kind, ("float32", "float64"))
    names = {"m": m, "n": n, "t": t, "L": L}
    m, n, t, L = (checks.count(name, value, 1, MOST) for name, value in names.items())
    k = checks.count("k", k, 2, max(2, m)) if asked == "folds" else 0
    sizes = Sizes(m, n, t, L, k, np.dtype(kind).itemsize)
    where, free = place(device)
    limit = _checked_budget(budget) if budget is not None else share_of(free)
    rates = rates_of(where, kind)
    found = list(_candidates(sizes, rates, kind, asked))
    return _cheapest(found, sizes, limit)


def _cheapest(found: list[Candidate], sizes: Sizes, limit: int) -> Plan:
    ranked = sorted(found, key=lambda one: one.seconds)
    for best in ranked:
        tile = _target_tile(best, sizes, limit)
        if tile:
            break
    else:
        least = min(found, key=lambda one: one.fixed + one.each)
        need = least.fixed + least.each
        raise MemoryError(
            f"`budget` of {_in_words(limit)} is too small for {sizes.m} rows × "
            f"{sizes.n} columns: the least that would do is {_in_words(need)} "
            f"({least.route})"
            + (", half of it in float32" if sizes.itemsize == 8 else "")
        )
    held = max(1, sizes.m // max(1, sizes.k))
    lams = min(sizes.L, max(1, CACHED // (held * tile)))
    others = tuple(
        (one.route, one.seconds, one.fixed + one.each * min(tile, sizes.t))
        for one in ranked
        if one is not best
    )
    size = best.fixed + best.each * tile
    return Plan(best.route, tile, lams, size, best.seconds, limit, sizes, others)


def _target_tile(one: Candidate, sizes: Sizes, limit: int) -> int:
    """Return how many targets to work on at a time, 0 if none fits."""
    room = (limit - one.fixed) // max(1, one.each)
    if room < 1:
        return 0
    cached = max(NARROW, CACHED // max(1, sizes.m // max(1, sizes.k)))
    few = one.route.sharing in FOR_FEW_TARGETS
    most = room if few else min(room, cached)
    if most >= sizes.t:
        return sizes.t
    if few:
        return 0
    return int(-(-sizes.t // -(-sizes.t // most)))


def _candidates(
    sizes: Sizes, rates: Rates, kind: str, asked: str
) -> Iterator[Candidate]:
    if asked != "folds":
        return _of_all_rows(sizes, rates, kind, asked == "leave-one-out")
    return (_of_sums if sizes.n <= sizes.m else _of_kernel)(sizes, rates, kind)


def _of_all_rows(
    sizes: Sizes, rates: Rates, kind: str, left_out: bool
) -> Iterator[Candidate]:
    """Yield the one way to factorise all rows."""
    m, n, t, L, _, size = sizes
    r, wide = min(m, n), n > m
    once = _products(sizes, rates) + _eigh(rates, r)
    # Rows along the axes, and for each penalty coefficients or residuals of rows.
    once += 2 * m * n * r / rates.product if left_out else 0
    each = 2 * (m if left_out else n) * r * (t + 1) / rates.product
    yield Candidate(
        Route(DUAL if wide else PRIMAL, ONE, kind),
        once + L * each,
        size * (4 * r * r + (n * r + m * n) * wide + 2 * min(CACHED, m * (n + t))),
        size * (2 * r + L),
    )


def _of_sums(sizes: Sizes, rates: Rates, kind: str) -> Iterator[Candidate]:
    """Yield the ways to solve every fold's system, given the sums of each fold."""
    m, n, t, L, k, size = sizes
    h = -(-m // k)
    square = 2.0 * n * n / rates.product  # a product with a vector
    scores = k * L * (min(h * n / rates.product, square) * 2 * t + rates.call)
    sums = _products(sizes, rates) + scores
    fixed, each = size * (2 * k + 3) * n * n, size * (4 * k * n + m + 4 * h + k * L)
    ways = {
        # Eigenvectors: VᵀC once, and then a number for each penalty.
        ONE_A_FOLD: (_eigh(rates, n) + square * t, k * n * n, 0),
        # A third of that, and then n steps and two products for each penalty.
        TRIDIAGONAL: (
            0.35 * _eigh(rates, n) + t * L * (2 * square + n * STEP),
            2 * k * n * n,
            4 * n * L,
        ),
        # Gᵢ turned into the axes of all rows, and conjugate gradients.
        ONE_FOR_ALL: (
            _eigh(rates, n) / k + square * (2 * n + STEPS[kind] * t * L),
            3 * n * n,
            8 * n * L,
        ),
        CHOLESKY: (
            L * (n**3 / 3 / rates.cholesky + 2 * square * t + rates.call),
            2 * n * n,
            0,
        ),
    }
    for sharing, (seconds, numbers, per_target) in ways.items():
        yield Candidate(
            Route(PRIMAL, sharing, kind),
            sums + k * seconds,
            fixed + size * numbers,
            each + size * per_target,
        )


def _of_kernel(sizes: Sizes, rates: Rates, kind: str) -> Iterator[Candidate]:
    """Yield the ways to leave folds out, given products of all rows."""
    m, n, t, L, k, size = sizes
    h = -(-m // k)
    r = m - h
    kernel = 2.0 * m * n * m / rates.product + 3 * m * n * size / rates.bandwidth
    fixed = size * (2 * m * n + 4 * m * m)
    turned = 2.0 * r * r * (t + h) / rates.product
    scores = 2.0 * L * h * r * t / rates.product
    yield Candidate(
        Route(DUAL, ONE_A_FOLD, kind),
        kernel + k * (_eigh(rates, r) + turned + scores),
        fixed + size * k * r * m,
        size * (4 * k * m + m + 4 * h + k * L),
    )
    # Products of blocks, and triangular solves, run at a quarter of the rate.
    blocks = 4 * 6.0 * m * m * h / rates.product + k * h**3 / 3 / rates.cholesky
    solves = 2.0 * m * m * t / rates.product
    yield Candidate(
        Route(DUAL, BLOCKS, kind),
        kernel + _eigh(rates, m) + L * (blocks + solves + k * rates.call),
        fixed + size * (m * m + 3 * h * h),
        size * (6 * m + k * L),
    )


def _products(sizes: Sizes, rates: Rates) -> float:
    """Return the seconds for XᵀX (or XXᵀ) and XᵀY, and for three looks at X."""
    m, n, t, *_, size = sizes
    looks = 3 * m * n * size / rates.bandwidth
    return 2.0 * m * n * (min(m, n) / rates.symmetric + t / rates.product) + looks


def _eigh(rates: Rates, n: int) -> float:
    return rates.eigh[0] * n**2 + rates.eigh[1] * n**3


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
