"""What each route does, counted: operations, steps, and bytes that it holds.

What they take on a device is for `devices` to say. Counts are of the largest terms, and
of the small things that happen so often that they tell.
"""

from collections.abc import Iterator
from math import log
from typing import NamedTuple

from jaxridge.devices import Work, together
from jaxridge.routes import (
    ANCHORS,
    BLOCKS,
    CHOLESKY,
    DUAL,
    NEARBY,
    ONE,
    ONE_A_FOLD,
    ONE_FOR_ALL,
    PRIMAL,
    TRIDIAGONAL,
    UNAIDED,
    Route,
    system_of,
)

HALF_WAY = 0.2  # what a tridiagonal form has of the small steps to eigenvectors
BATCHED = 512  # columns, of which a GPU factorises systems of all penalties at once
# Steps of conjugate gradients go on until so little of the error is left.
LEFT = {"float32": 1e-6, "float64": 1e-14}
MOST_STEPS = 40
# Factors at a few penalties, and the steps from there: each factor takes as long as
# many steps, of which float64 needs twice as many.
ANCHORS_AT_MOST = {"float32": 5, "float64": 8}
STEPS_FROM_ANCHORS = {"float32": 16, "float64": 24}
# Steps from nothing: more of them are a sign that columns are alike, and something is
# factorised after all.
STEPS_UNAIDED = {"float32": 32, "float64": 64}
# How many nodes are expected, for penalties over five decades and s² over one or two.
# There are none where they save fewer FLOP: to compile for them takes longer.
NODES = {"float32": 12, "float64": 22}
WORTH = 1e10
ROOM = 4  # tiles of numbers, of nodes and of what is made of them


class Sizes(NamedTuple):
    """What is asked: rows, features, targets, penalties, folds, and their dtype.

    And how many rows the largest fold holds out, or 0 for folds of one size.
    """

    m: int
    n: int
    t: int
    L: int
    k: int
    itemsize: int
    held: int = 0

    @property
    def h(self) -> int:
        """Rows that a fold holds out; all, if there are none."""
        return self.held or -(-self.m // max(1, self.k))


class Candidate(NamedTuple):
    """A route and what it is expected to do.

    It holds `fixed` bytes, and `each` for every target that is worked on at a time; so
    many `folds` are solved side by side. Tiles of targets that are `cached` take no
    longer than all at once; else all is made anew for each.
    """

    route: Route
    work: Work
    fixed: int
    each: int
    folds: int = 1
    cached: bool = True


def candidates(
    sizes: Sizes, kind: str, asked: str, tile: int, on_gpu: bool = False
) -> Iterator[Candidate]:
    """Yield the routes to what is asked (see `plans.ASKED`) in a dtype.

    So many numbers, a `tile`, are worked on at a time; of folds side by side on a GPU,
    which one alone would not fill.
    """
    if asked == "refits":
        return _of_refits(sizes, kind, tile)
    if asked != "folds":
        return _of_all_rows(sizes, kind, asked == "leave-one-out", tile)
    if sizes.n > sizes.m:
        return _of_kernel(sizes, kind, tile, on_gpu)
    return _of_sums(sizes, kind, tile, on_gpu)


def _of_all_rows(
    sizes: Sizes, kind: str, left_out: bool, tile: int
) -> Iterator[Candidate]:
    """Yield the one way to factorise all rows."""
    m, n, t, L, _, size, _ = sizes
    r, wide = min(m, n), system_of(m, n) == DUAL
    # Rows along the axes, and for each penalty coefficients or residuals of rows.
    along = 2.0 * m * n * r if left_out and not wide else 0
    flop = flop_of_each(m, n, t) if left_out else flop_of_coef(n, r, t)
    at = _multiplied_at(flop, L, kind)
    fits = 2.0 * (m if left_out else n) * r * (t * at + L)
    # Products, a copy to be factorised, vectors, and twice as much on the way to them.
    numbers = 6 * r * r + m * n * wide
    if at < L and not left_out:
        fits += 2.0 * at * n * t * L
    # Of a tile of rows there are those, the same along the axes, and errors.
    tiles = 8 * (5 if left_out else 2) * min(tile, m * (n + t))
    yield Candidate(
        Route(system_of(m, n), ONE, kind),
        together(_sums(sizes), _eigh(r), Work(start=1, calls=L, product=along + fits)),
        size * numbers + tiles,
        size * (2 * r + 4 * L + n * min(at, L) * (at < L) * (not left_out)),
    )


def _of_refits(sizes: Sizes, kind: str, tile: int) -> Iterator[Candidate]:
    """Yield the one way to fold rows of any kind: each trains anew."""
    m, n, t, L, k, size, _ = sizes
    r, h, wide = min(m, n), sizes.h, system_of(m, n) == DUAL
    turned = 2.0 * h * n * r * (h <= L * t) * (1 + wide)
    scored = Work(folds=1, calls=L, product=turned + 2.0 * h * r * t * L)
    a_fold = together(_sums(sizes), _eigh(r), scored)
    # More columns than rows are prepared, and turned across √w; after that there are
    # those held out, about a centre and along the axes.
    rows = m * n * wide
    numbers = 6 * r * r + max(2 * rows, rows + 3 * h * n)
    yield Candidate(
        Route(system_of(m, n), ONE_A_FOLD, kind),
        together(*[a_fold] * k),
        size * (numbers + 5 * min(tile, m * (n + t)) + 3 * min(tile, h * t * L)),
        size * (2 * r + m + 4 * h + k * L),
        cached=False,
    )


class Way(NamedTuple):
    """A way to solve the folds' systems: what each takes, and the numbers it holds.

    `at` tells how many penalties fits V g(λ) a(λ) are multiplied at, 0 for others.
    """

    factors: Work
    fits: Work
    at: int = 0
    fixed: int = 0
    each: int = 0  # target


def _of_sums(sizes: Sizes, kind: str, tile: int, on_gpu: bool) -> Iterator[Candidate]:
    """Yield the ways to solve every fold's system, given the sums of each fold."""
    m, n, t, L, k, size, _ = sizes
    sums = together(_sums(sizes), Work(start=1, bytes=6.0 * k * n * n * size))
    state = 8 * n * L  # of conjugate gradients, for each target
    folds = min(k, max(1, tile // (state * t))) if on_gpu else 1
    # Predictions, or errors, and where rows are read what is made of those held out.
    h = sizes.h
    formed = 3 * min(tile, (n if k * n <= m else h) * t * L)
    # Of each fold its sums, those of the others, and a form of them (or room on the way
    # there); and a few matrices under way.
    fixed = (3 * k + 6) * n * n + formed + 3 * h * n * (k * n > m)
    each = 4 * k * n + m + 4 * h + k * L
    given = tile, state * folds + k * n * L, on_gpu
    for sharing, way in _ways(sizes, kind, *given).items():
        scores = _scores(sizes, way.at, tile)
        a_fold = together(way.factors, way.fits, scores, Work(folds=1))
        yield Candidate(
            Route(PRIMAL, sharing, kind),
            together(sums, *[a_fold] * k),
            size * (fixed + way.fixed),
            size * (each + way.each),
            folds if sharing in NEARBY else 1,
        )


def _ways(
    sizes: Sizes, kind: str, tile: int, of_steps: int, on_gpu: bool
) -> dict[str, Way]:
    """Return the ways by name; steps hold so many numbers for each target."""
    m, n, t, L, k, size, _ = sizes
    square = 2.0 * n * n  # a product with a vector
    at = _multiplied_at(flop_of_each(m, n, t, k), L, kind)
    a, far = -(-L // -(-L // ANCHORS_AT_MOST[kind])), STEPS_FROM_ANCHORS[kind]
    steps = _steps(m * (k - 1) / n, kind, MOST_STEPS)
    ways = {
        # Eigenvectors: VᵀC once, and then a number for each penalty.
        ONE_A_FOLD: Way(
            _eigh(n), Work(product=square * t), at, fixed=ROOM * tile * (at < L)
        ),
        TRIDIAGONAL: _tridiagonal(n, t, L, on_gpu),
        # The axes of all rows, and conjugate gradients: with Gᵢ, into them, and back.
        ONE_FOR_ALL: Way(
            _eigh(n, 1 / k),
            # Of few columns a product takes as long as to read the matrix.
            Work(
                calls=steps,
                product=3 * steps * square * t * L,
                bytes=3 * steps * n * n * size,
            ),
            fixed=3 * n * n,
            each=of_steps,
        ),
        # Inverses at a few penalties, and conjugate gradients from there.
        ANCHORS: Way(
            Work(cholesky=a / k * n**3 / 3, product=2 * a / k * n**3),
            Work(
                calls=far * a,
                product=2 * far * square * t * L,
                bytes=2.0 * far * a * n * n * size,
            ),
            fixed=(a + 2) * n * n,
            each=of_steps,
        ),
        CHOLESKY: Way(
            Work(calls=3 * L),
            # Triangular solutions run at half the rate of products.
            Work(cholesky=(L + 1) * n**3 / 3, product=2 * square * t * L),
            fixed=(3 * L if n <= BATCHED else 2) * n * n,
        ),
    }
    # A GPU does so many products before it has factorised anything.
    if on_gpu:
        unaided = _steps(m * (k - 1) / k / n, kind, STEPS_UNAIDED[kind])
        ways[UNAIDED] = Way(
            Work(),
            Work(calls=unaided, product=unaided * square * t * L),
            fixed=3 * n * n,
            each=of_steps,
        )
    return ways


def _tridiagonal(n: int, t: int, L: int, on_gpu: bool) -> Way:
    """Return the way by a cheaper form, then n steps and two products a penalty."""
    form = Work(
        calls=n / 64,
        eigh_step=HALF_WAY * n,
        eigh_square=HALF_WAY * n**2,
        reduction=n**3,
    )
    # On a GPU each penalty's steps are kernels of their own.
    calls, product = L * on_gpu, 4.0 * n * n * t * L
    fits = Work(calls=calls, product=product, solves=float(n * t * L))
    return Way(form, fits, each=4 * n * L)


def _steps(alike: float, kind: str, most: int) -> float:
    """Return the steps to the system of a fold of random rows.

    Its eigenvalues, beside those of all, are within δ = 2 √(n / (m (k − 1))) of 1, and
    each step leaves about δ/2 of the error, 1/√alike. Beside 1 alone, and of columns
    that have nothing to do with each other, the same is so with m (k − 1)/k rows.
    """
    return min(most, 2 * log(1 / LEFT[kind]) / log(max(alike, 1.1)))


def _scores(sizes: Sizes, axes: int, tile: int) -> Work:
    """Return the work of scoring one fold's fits.

    With `axes` they are V g(λ) a(λ), and multiplied at so many penalties.
    """
    m, n, t, L, k, size, _ = sizes
    h = sizes.h
    at = axes if axes and min(n, h) <= L * t else L
    if k * n <= m:  # from sums
        steps = max(1.0, n * t * L / tile)
        along = axes > 0 and n <= L * t  # sums are turned into the axes, not the fits
        product = (
            2.0 * n * n * (2 * n * along + t * at * (1 + (axes > 0 and not along)))
        )
        looks = _combined(n * t, L, at, size) + n * t * L * size
        return Work(calls=steps, product=product, bytes=looks)
    steps = max(1.0, h * t * L / tile)
    turned = (2.0 * h * n * n if h <= L * t else 2.0 * n * n * t * L) * (axes > 0)
    looks = (4.0 * n + t * L) * h * size + _combined(h * t, L, at, size)
    return Work(calls=steps, product=turned + 2.0 * h * n * t * at, bytes=looks)


def flop_of_each(m: int, n: int, t: int, k: int = 0) -> float:
    """Return the FLOP of multiplying out the fits at one penalty, by eigenvectors.

    Of each fold, from sums or from rows, or of rows left out where there are none.
    """
    if k and n <= m:
        return 2.0 * min(m, k * n) * n * t
    held = -(-m // k) if k else 0
    return 2.0 * m * (min(m, n) - held) * t


def flop_of_coef(n: int, r: int, t: int) -> float:
    """Return the FLOP of coefficients at one penalty, made of r directions."""
    return 2.0 * n * r * t


def flop_of_blocks(m: int, t: int, k: int) -> float:
    """Return the same where folds are blocks left out of one kernel."""
    # Products of blocks, and triangular solves, run at a quarter of the rate.
    return 4 * 6.0 * m * m * -(-m // k) + 2.0 * m * m * t


def _multiplied_at(flop: float, L: int, kind: str) -> int:
    """Return at how many penalties there is a product; others are made of those.

    See `nodes`.
    """
    return NODES[kind] if flop * (L - NODES[kind]) > WORTH else L


def _combined(numbers: int, L: int, at: int, size: int) -> float:
    """Return the bytes read to make so many numbers for each of L from a few.

    They are in a cache, whose bytes count as a quarter.
    """
    return at * L * numbers * size / 4 if at < L else 0.0


def _of_kernel(sizes: Sizes, kind: str, tile: int, on_gpu: bool) -> Iterator[Candidate]:
    """Yield the ways to leave folds out, given products of all rows."""
    m, n, t, L, k, size, _ = sizes
    h = sizes.h
    r = m - h
    sums = Work(start=1, symmetric=2.0 * m * n * m, bytes=6.0 * m * n * size)
    # Beside rows about their mean a GPU holds blocks of them.
    fixed = size * ((1 + on_gpu) * m * n + 4 * m * m)
    at = _multiplied_at(flop_of_each(m, n, t, k), L, kind)
    steps = L if h <= t else max(1.0, h * t * L / tile)
    scaled = 2.0 * L * h * r * size * (h <= t)
    if at < L:
        scaled = _combined(h * t, L, at, size) + 2.0 * at * r * t * size
    a_fold = together(
        _eigh(r),
        Work(calls=steps, product=2.0 * r * r * (t + h) + 2.0 * at * h * r * t),
        Work(folds=1, bytes=5.0 * r * r * size + scaled),
    )
    yield Candidate(
        Route(DUAL, ONE_A_FOLD, kind),
        together(sums, *[a_fold] * k),
        fixed + size * (k * r * m + ROOM * tile * (at < L)),
        size * (4 * k * m + m + 4 * h + k * L),
    )
    way = _tridiagonal(r, t, L, on_gpu)
    predicted = Work(folds=1, product=2.0 * h * r * t * L, bytes=5.0 * r * r * size)
    a_fold = together(way.factors, way.fits, predicted)
    yield Candidate(
        Route(DUAL, TRIDIAGONAL, kind),
        together(sums, *[a_fold] * k),
        fixed + size * k * r * m,
        size * (4 * k * m + m + 4 * h + k * L + way.each),
    )
    flop = flop_of_blocks(m, t, k)
    at = _multiplied_at(flop, L, kind)
    each = Work(calls=k, product=flop, cholesky=k * h**3 / 3)
    combined = Work(folds=k, bytes=_combined(m * t, L, at, size))
    rows = at * h * m + ROOM * tile if at < L else m * m
    yield Candidate(
        Route(DUAL, BLOCKS, kind),
        together(sums, _eigh(m), combined, *[each] * at),
        fixed + size * (2 * m * m + 3 * h * h + rows),
        size * (6 * m + k * L),
    )


def _sums(sizes: Sizes) -> Work:
    """Return the work of XᵀX (or XXᵀ) and XᵀY, and of some looks at X and Y."""
    m, n, t, *_, size, _ = sizes
    smaller = 2.0 * m * n * min(m, n)
    looks = (4.0 * n + 10.0 * t) * m * size
    return Work(symmetric=smaller, product=2.0 * m * n * t, bytes=looks)


def _eigh(n: int, share: float = 1.0) -> Work:
    """Return the work of (a share of) one eigendecomposition.

    Its vectors are products, of some 4 n³ operations, beside what is its own.
    """
    own = {"eigh_step": n, "eigh_square": n**2, "eigh_cube": n**3}
    return Work(product=share * 4.0 * n**3, **{k: share * v for k, v in own.items()})
