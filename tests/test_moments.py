"""Moments of rows against weighted means and scatters by brute force."""

import gc
import re
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, ShuffleSplit

from jaxridge import (
    Moments,
    cross_validate,
    lambda_grid,
    moments_of,
    moments_of_batches,
    path,
)
from jaxridge import sums as sums_in_memory

M, N, T, K = 12, 3, 2, 3
RNG = np.random.default_rng(5)
X = RNG.normal(size=(M, N)) * [1.0, 3.0, 0.5] + [5.0, 0.0, -1.0]
Y = RNG.normal(size=(M, T)) + [2.0, -7.0]
WEIGHT = RNG.integers(0, 4, M).astype(float)
IDS = RNG.permutation(np.arange(M) % K)
SLOPES = ((X, 1), (Y, -1))
FIELDS = ("weight", "x", "y", "xx", "xy", "yy")


def brute(X, Y, weight, ids, k=K):
    """Return the moments of each fold in extended precision."""
    sets = []
    for fold in range(k):
        w, A, B = (np.longdouble(a[ids == fold]) for a in (weight, X, Y))
        total = w.sum()
        unit = total if total > 0 else 1
        x, y = (w @ a / unit for a in (A, B))
        A, B = A - x, B - y
        scatters = (A.T * w) @ A, (A.T * w) @ B, w @ B**2
        sets.append((total, x, y, *scatters))
    return Moments(*(np.array(field) for field in zip(*sets, strict=True)))


def sizes(moments, X, Y):
    """Return what an error in each field is small beside: its own units, squared."""
    w = np.sum(moments.weight)
    x, y = (np.sqrt(w) * np.std(np.asarray(a, float), 0) for a in (X, Y))
    columns, targets = (np.max(np.abs(a), axis=0) for a in (X, Y))
    return Moments(w, columns, targets, np.outer(x, x), np.outer(x, y), y**2)


def assert_moments(actual, expected, scale, rtol=1e-12):
    for name in FIELDS:
        found, known = (np.longdouble(getattr(m, name)) for m in (actual, expected))
        assert found.shape == known.shape, name
        worst = np.max(np.abs(found - known) / getattr(scale, name))
        assert worst <= rtol, f"{name}: {float(worst):.1e}"


def batches_of(X, Y, weight, ids, cuts=()):
    edges = [0, *sorted(cuts), len(X)]
    parts = [slice(*edge) for edge in zip(edges[:-1], edges[1:], strict=True)]
    return [(X[part], Y[part], weight[part], ids[part]) for part in parts]


def counted(batches):
    """Return the batches with weight 1 for the first row where no row has weight."""
    return [
        (X, Y, w if w.any() else np.eye(len(w))[0], ids) for X, Y, w, ids in batches
    ]


rows = st.tuples(
    st.lists(st.integers(0, 3), min_size=M, max_size=M),
    st.lists(st.integers(0, K - 1), min_size=M, max_size=M),
    st.permutations(range(M)),
    st.sets(st.integers(1, M - 1)),
)


@pytest.mark.parametrize("far", [0, 1e3])
@given(drawn=rows)
def test_batches_in_any_order_are_the_rows_at_once(far, drawn):
    weight, ids, order, cuts = drawn
    data = X + far * X.std(0), Y - far * Y.std(0), 0.5 * np.array(weight), np.array(ids)
    shuffled = (a[list(order)] for a in data)
    batches = counted(batches_of(*shuffled, cuts))
    whole = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    expected = brute(*whole)
    assert_moments(moments_of_batches(batches, K), expected, sizes(expected, X, Y))


@given(drawn=rows)
def test_scatter_about_means_a_million_spreads_away(drawn):
    weight, ids, _, cuts = drawn
    far = 1e6
    data = X + far * X.std(0), Y - far * Y.std(0), np.array(weight), np.array(ids)
    batches = counted(batches_of(*data, cuts))
    whole = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    expected = brute(*whole)
    scale = sizes(expected, *data[:2])
    assert_moments(moments_of_batches([whole], K), expected, scale)
    # Means of batches are stored to eps of their own size, a million spreads.
    rtol = 2 * np.finfo(float).eps * far
    assert_moments(moments_of_batches(batches, K), expected, scale, rtol)


parts = st.lists(st.integers(0, 3), min_size=M, max_size=M)


def moments_with(weight, shift=0.0):
    """Return moments in which folds, but not all of them, may be empty."""
    weight = np.array(weight, float)
    weight[0] += not weight.any()
    return moments_of_batches([(X + shift, Y - shift, weight, IDS)], K)


@given(parts, parts, parts)
def test_addition_is_commutative_and_associative(first, second, third):
    a, b, c = moments_with(first), moments_with(second, 1.0), moments_with(third, -9.0)
    scale = sizes(a + b + c, np.r_[X - 9, X + 1], np.r_[Y + 9, Y - 1])
    assert_moments(a + b, b + a, scale)
    assert_moments((a + b) + c, a + (b + c), scale)
    assert_moments(sum([a, b, c]), (a + b) + c, scale)
    with pytest.raises(TypeError):
        1 + a


@given(parts, parts)
def test_what_was_added_can_be_taken_out(first, second):
    a, b = moments_with(first), moments_with(second, 1.0)
    scale = sizes(a + b, np.r_[X, X + 1], np.r_[Y, Y - 1])
    assert_moments((a + b) - b, a, scale)
    empty = a - a
    assert all(not np.any(getattr(empty, name)) for name in FIELDS)


def test_a_generator_is_read_once_and_never_held():
    alive, most, reads = [], [], []

    def read():
        reads.append(1)
        for i in range(6):
            gc.collect()
            most.append(sum(ref() is not None for ref in alive))
            batch = X + i, Y - i, WEIGHT + 1, IDS
            alive.append(weakref.ref(batch[0]))
            yield batch
            del batch

    moments = moments_of_batches(read(), K)
    assert len(reads) == 1
    assert max(most) <= 1
    whole = [
        np.concatenate([a + s * i for i in range(6)]) for a, s in ((X, 1), (Y, -1))
    ]
    expected = brute(*whole, np.tile(WEIGHT + 1, 6), np.tile(IDS, 6))
    assert_moments(moments, expected, sizes(expected, *whole))


def test_rows_without_folds_take_turns():
    batches = [(X[:5], Y[:5]), (X[5:], Y[5:], None)]
    expected = brute(X, Y, np.ones(M), np.arange(M) % K)
    assert_moments(moments_of_batches(batches, K), expected, sizes(expected, X, Y))


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_rows_at_once_and_in_batches_agree(weight):
    expected = brute(X, Y, np.ones(M) if weight is None else weight, IDS)
    batches = [(X[a], Y[a], weight if weight is None else weight[a], IDS[a])
               for a in (slice(0, 5), slice(5, M))]  # fmt: skip
    for found in (moments_of(X, Y, IDS, weight=weight), moments_of_batches(batches, K)):
        assert_moments(found, expected, sizes(expected, X, Y))


def test_folds_are_those_of_cross_validation():
    groups = np.repeat([2, 0, 1, 3], 3)
    blocks = np.repeat(np.arange(K), M // K)
    expected = brute(X, Y, np.ones(M), blocks)
    assert_moments(moments_of(X, Y, K), expected, sizes(expected, X, Y))
    found = moments_of(X, Y, GroupKFold(2), groups=groups)
    ids = np.zeros(M, int)
    for i, (_, held) in enumerate(GroupKFold(2).split(X, Y, groups)):
        ids[held] = i
    expected = brute(X, Y, np.ones(M), ids, 2)
    assert_moments(found, expected, sizes(expected, X, Y))


def test_one_target_is_one_column():
    found = moments_of(X, Y[:, 0], IDS)
    expected = brute(X, Y[:, :1], np.ones(M), IDS)
    assert_moments(found, expected, sizes(expected, X, Y[:, :1]))


# --- precision and kind ---------------------------------------------------------


def routes(X, Y, weight):
    return {
        "at once": lambda: moments_of(X, Y, IDS, weight=weight),
        "in batches": lambda: moments_of_batches([(X, Y, weight, IDS)] * 2, K),
        "added": lambda: moments_of(X, Y, IDS) + moments_of(X, Y, IDS),
        "taken out": lambda: (
            moments_of(X, Y, IDS, weight=weight) - moments_of(X, Y, IDS)
        ),
    }


@pytest.mark.parametrize("route", routes(X, Y, WEIGHT))
@pytest.mark.parametrize(
    ("convert", "kind"), [(np.asarray, np.ndarray), (jnp.asarray, jax.Array)]
)
def test_single_precision_and_kind_are_kept(route, convert, kind):
    data = (convert(a.astype(np.float32)) for a in (X, Y, WEIGHT))
    leaves = jax.tree.leaves(routes(*data)[route]())
    assert [leaf.dtype for leaf in leaves] == [np.float32] * 6
    assert all(isinstance(leaf, kind) for leaf in leaves)


@pytest.mark.parametrize("route", routes(X, Y, WEIGHT))
def test_double_precision_is_kept(route):
    leaves = jax.tree.leaves(routes(X, Y, WEIGHT)[route]())
    assert [leaf.dtype for leaf in leaves] == [np.float64] * 6
    assert all(isinstance(leaf, np.ndarray) for leaf in leaves)


def test_single_precision_keeps_its_digits_far_from_0():
    data = [(a + 1000).astype(np.float32) for a in (X, Y)]
    weight = WEIGHT.astype(np.float32)
    found = moments_of(*data, IDS, weight=weight)
    expected = brute(*data, weight, IDS)
    assert_moments(found, expected, sizes(expected, *data), 1e-6)


def test_a_batch_may_be_empty():
    empty = X[:0], Y[:0]
    found = moments_of_batches([empty, (X[:5], Y[:5]), empty, (X[5:], Y[5:])], K)
    expected = moments_of_batches([(X[:5], Y[:5]), (X[5:], Y[5:])], K)
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_moments_come_from_inside_jit():
    data = [jnp.asarray(a, jnp.float32) for a in (X, Y, WEIGHT)]
    found = jax.jit(lambda X, Y, w: moments_of(X, Y, IDS, weight=w))(*data)
    expected = brute(X, Y, WEIGHT, IDS)
    assert_moments(found, expected, sizes(expected, X, Y), 1e-6)


def test_moments_that_are_known_are_scored_inside_jit():
    with jax.enable_x64(True):
        known = jax.tree.map(jnp.asarray, moments_of(X, Y, IDS))
        lams = jnp.array([0.1, 10.0])
        found = jax.jit(lambda lams: cross_validate(known, None, lams).mean)(lams)
        expected = cross_validate(known, None, lams).mean
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        with pytest.raises(ValueError, match="automatic grid needs moments that are"):
            jax.jit(lambda _: lambda_grid(known))(lams)


# --- refusals -------------------------------------------------------------------

HOLEY = np.where(np.arange(M)[:, None] == 3, np.nan, X)


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], ValueError, "`batches` yielded no rows"),
        (5, TypeError, "`batches` must"),
        ([3], TypeError, "`batches` must yield"),
        ([(X,)], TypeError, "`batches` must yield"),
        ([(X, Y, None, IDS, None)], TypeError, "`batches` must yield"),
        ([np.ones((2, M))], ValueError, "`X` must have shape"),
        ([{"X": X, "y": Y}], TypeError, "`X` must hold numbers"),
        ([(X, Y), (X[:, :2], Y)], ValueError, "`batches`: number 1 has"),
        (
            [(X, Y), (np.float32(X), np.float32(Y))],
            ValueError,
            "1 is summed in float32",
        ),
        ([(X, Y), (X, Y[:, 0])], ValueError, "`batches`: number 1 has"),
        ([(X, Y, None, IDS - 1)], ValueError, "numbered from 0 to 2, got -1 to 1"),
        ([(X, Y, None, IDS + 1)], ValueError, "numbered from 0 to 2, got 1 to 3"),
        ([(X, Y, None, IDS[:-1])], ValueError, "`batches`: fold must hold"),
        ([(X, Y, None, IDS / 2)], ValueError, "`batches`: fold must hold"),
        ([(X, Y, None, 0)], ValueError, "`batches`: fold must hold"),
        ([(HOLEY, Y)], ValueError, "`X` must be finite"),
        ([(X, HOLEY)], ValueError, "`y` must be finite"),
        ([(X, Y, HOLEY[:, 0])], ValueError, "`weight` must be finite"),
        ([(X, Y, -WEIGHT)], ValueError, "`weight` must not be negative"),
        ([(X, Y, WEIGHT[:-1])], ValueError, "`weight` must have shape (12,)"),
        ([(X, Y[:-1])], ValueError, "`X` and `y` must have the same number of rows"),
        ([(X.astype(str), Y)], TypeError, "`X` must hold numbers"),
        ([([[1.0, 2.0], [3.0]], Y)], ValueError, "`X` is not a rectangular array"),
        ([(X[:0], Y[:0])], ValueError, "`batches` yielded no rows"),
    ],
)
def test_batches_that_cannot_be_are_refused(batches, error, message):
    with pytest.raises(error, match=re.escape(message)):
        moments_of_batches(batches, K)


@pytest.mark.parametrize(
    ("folds", "error"), [(1, ValueError), (2.5, TypeError), ("3", TypeError)]
)
def test_numbers_of_folds_that_cannot_be_are_refused(folds, error):
    with pytest.raises(error, match="`folds` must be"):
        moments_of_batches([(X, Y)], folds)


def test_a_batch_that_does_not_count_changes_nothing():
    nothing = X, Y, 0 * WEIGHT, IDS
    alone = moments_of_batches([(X, Y, WEIGHT, IDS)], K)
    for batches in ([(X, Y, WEIGHT, IDS), nothing], [nothing, (X, Y, WEIGHT, IDS)]):
        assert_moments(moments_of_batches(batches, K), alone, sizes(alone, X, Y))


@pytest.mark.parametrize(
    "folds",
    [
        ShuffleSplit(3, test_size=4, random_state=0),
        [(range(4, 12), range(4)), (range(4), range(4, 8))],
        [(range(6, 11), range(6)), (range(6), range(6, 12))],
    ],
    ids=["overlapping", "rows left out", "a row trains nothing"],
)
def test_folds_that_do_not_add_up_are_refused(folds):
    with pytest.raises(ValueError, match="`folds` must hold every row out once"):
        moments_of(X, Y, folds)


RNG = np.random.default_rng(3)
ROWS, TARGET = RNG.normal(size=(50, 3)), RNG.normal(size=50)


@pytest.mark.parametrize(
    "other",
    [
        moments_of(ROWS[:, :1], TARGET, 5),
        moments_of(ROWS, np.column_stack([TARGET, TARGET]), 5),
        moments_of(ROWS, TARGET, 2),
        moments_of(np.float32(ROWS), np.float32(TARGET), 5),
    ],
)
def test_moments_of_other_shapes_or_digits_do_not_add_up(other):
    sums = moments_of(ROWS, TARGET, 5)
    with pytest.raises(ValueError, match="do not add up"):
        sums + other
    with pytest.raises(ValueError, match="do not add up"):
        sums - other


def test_digits_of_moments_are_not_lost_beside_jax_arrays():
    sums = moments_of(ROWS, TARGET, 5)
    single = jnp.asarray(ROWS, jnp.float32), jnp.asarray(TARGET, jnp.float32)
    for call in (
        lambda: path(sums, None, jnp.array([1.0])),
        lambda: sums + moments_of(*single, 5),
        lambda: cross_validate(sums, None, jnp.array([1.0])),
    ):
        with pytest.raises(ValueError, match="would lose half its digits"):
            call()


def test_taking_all_rows_away_leaves_none():
    weight, folds = RNG.random(50), np.repeat(np.arange(5), 10)
    sums = moments_of(ROWS, TARGET, folds, weight=weight)
    back = moments_of(ROWS[::-1], TARGET[::-1], folds[::-1], weight=weight[::-1])
    for values in jax.tree.leaves(sums - back):
        np.testing.assert_array_equal(values, 0)
    with pytest.raises(ValueError, match="cannot lose more rows than they hold"):
        sums - (sums + sums)


@pytest.mark.filterwarnings("ignore::jaxridge.precision.LostDigits")
@pytest.mark.parametrize("seed", range(5))
def test_a_column_that_is_constant_in_what_is_left_does_no_harm(seed):
    rng = np.random.default_rng(seed)
    ones, y = np.full((12, 1), 5.1), rng.normal(size=12)
    X, other = np.hstack([ones, rng.normal(size=(12, 4))]), rng.normal(size=(12, 5))
    other[:, 0] *= 100
    one = moments_of(X, y, 3)
    left = (one + moments_of(other, y, 3)) - moments_of(other, y, 3)
    for scored in (path(left, None, [1.0]).params, cross_validate(left, None, [1.0])):
        assert all(np.isfinite(a).all() for a in jax.tree.leaves(scored) if a.ndim)
    found, expected = (path(s, None, [1.0]).params.coef for s in (left, one))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_moments_made_by_hand_are_checked():
    sums = moments_of(ROWS, TARGET, 5)
    fields = vars(sums)
    with pytest.raises(ValueError, match="`Moments.xx` must have shape"):
        path(Moments(**fields | {"xx": fields["xx"][:, :2]}), None, [1.0])
    with pytest.raises(ValueError, match="a negative scatter"):
        path(Moments(**fields | {"xx": -fields["xx"]}), None, [1.0])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("away", [0.0, 1.0, 1e6])
def test_blocks_of_rows_and_of_targets_add_up(monkeypatch, weighted, away):
    monkeypatch.setattr(sums_in_memory, "BLOCK", 60)
    monkeypatch.setattr(sums_in_memory, "NARROW", 2)
    X, Y = RNG.normal(size=(50, 6)) + away, RNG.normal(size=(50, 5)) - away
    X[:, 2] = 0.1
    weight = RNG.integers(0, 3, 50).astype(float) if weighted else None
    found = moments_of(X, Y, 2, weight=weight)
    for fold, rows in enumerate(np.split(np.arange(50), 2)):
        w = np.ones(25) if weight is None else weight[rows]
        A, B = np.longdouble(X[rows]), np.longdouble(Y[rows])
        A, B = A - w @ A / w.sum(), B - w @ B / w.sum()
        xx, xy, yy = A.T @ (w[:, None] * A), A.T @ (w[:, None] * B), w @ B**2
        rtol = 1e-13 * max(1, away)  # the digits that the rows have
        np.testing.assert_allclose(found.xx[fold], xx, rtol=0, atol=rtol * xx.max())
        np.testing.assert_allclose(found.xy[fold], xy, rtol=0, atol=rtol * xx.max())
        np.testing.assert_allclose(found.yy[fold], yy, rtol=rtol)
        assert not found.xx[fold][2].any()
