"""Masks of every kind of folds, and the folds that are refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)

from jaxridge import cross_validate
from jaxridge.folds import split

M = 13
Y = np.arange(M, dtype=float)
CLASSES = np.arange(M) % 3
GROUPS = np.array(["north", "south", "east", "west"])[np.arange(M) % 4]


def masks(pairs, m=M):
    """Return the rows of (train, test) row numbers as masks (k, m)."""
    return (
        np.array([np.isin(np.arange(m), rows) for rows in side])
        for side in zip(*pairs, strict=True)
    )


def assert_folds(folds, pairs):
    """Assert that masks are those of (train, test) row numbers."""
    train, held = masks(pairs)
    assert folds.train.dtype == folds.held.dtype == bool
    np.testing.assert_array_equal(folds.train, train)
    np.testing.assert_array_equal(folds.held, held)


@pytest.mark.parametrize("k", [2, 5, M, np.int32(3)])
def test_a_number_makes_the_contiguous_blocks_of_kfold(k):
    assert_folds(split(k, Y), KFold(int(k)).split(Y[:, None]))


@pytest.mark.parametrize("names", [(0, 1, 2), (7, -3, 40), (2**40, 0, 1)])
def test_fold_numbers_may_be_any_integers(names):
    ids = np.array(names)[np.arange(M) % 3]
    held = ids == np.sort(names)[:, None]
    np.testing.assert_array_equal(split(ids, Y).held, held)
    np.testing.assert_array_equal(split(ids, Y).train, ~held)


@pytest.mark.parametrize("array", [np.int8, np.uint16, np.int64, jnp.asarray])
def test_fold_numbers_may_have_any_integer_dtype(array):
    ids = np.arange(M) % 4
    held = split(array(ids), Y).held
    np.testing.assert_array_equal(held, ids == np.arange(4)[:, None])


@pytest.mark.parametrize(
    ("splitter", "y", "groups"),
    [
        (KFold(3, shuffle=True, random_state=0), Y, None),
        (ShuffleSplit(4, test_size=3, train_size=5, random_state=0), Y, None),
        (GroupKFold(3), Y, GROUPS),
        (GroupKFold(3), Y, list(GROUPS)),
        (TimeSeriesSplit(3), Y, None),
        (StratifiedKFold(3), CLASSES, None),
        (LeaveOneOut(), Y, None),
        (RepeatedKFold(n_splits=2, n_repeats=2, random_state=0), Y, None),
        (KFold(3), np.column_stack([Y, Y]), None),
        (KFold(3), list(Y), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_splitter_makes_the_folds_that_it_makes_for_scikit_learn(splitter, y, groups):
    X = np.zeros((M, 1))
    assert_folds(split(splitter, y, groups), splitter.split(X, y, groups))


PAIRS = [([0, 1, 5], [2, 3]), ([12, 4], [0, 1, 2]), ([3], [4])]


@pytest.mark.parametrize(
    "pairs",
    [
        PAIRS,
        tuple(PAIRS),
        [(np.array(train), np.array(test)) for train, test in PAIRS],
        [(np.isin(np.arange(M), a), np.isin(np.arange(M), b)) for a, b in PAIRS],
        [(np.isin(np.arange(M), a), b) for a, b in PAIRS],
        [(jnp.array(a), jnp.array(b)) for a, b in PAIRS],
        iter(PAIRS),
    ],
    ids=["lists", "tuple", "arrays", "masks", "mask and rows", "JAX", "iterator"],
)
def test_pairs_may_hold_row_numbers_or_masks_overlap_and_leave_rows_out(pairs):
    assert_folds(split(pairs, Y), PAIRS)


def test_an_array_of_pairs_is_a_list_of_pairs():
    pairs = np.array([[[0, 1], [2, 3]], [[4, 5], [6, 7]]])
    assert_folds(split(pairs, Y), pairs)


def test_a_list_of_fold_numbers_is_an_array():
    ids = [0, 1] * 6 + [0]
    listed, array = split(ids, Y), split(np.array(ids), Y)
    np.testing.assert_array_equal(listed.held, array.held)


def test_held_rows_are_numbered_and_padded():
    rows, counts = split(PAIRS, Y).held_rows
    assert [list(r[c]) for r, c in zip(rows, counts, strict=True)] == [
        held for _, held in PAIRS
    ]
    assert rows.shape == counts.shape == (3, 3)
    assert rows.max() < M


ROWS = np.arange(M)


REFUSED = [
    (1, "`folds` must be at least 2, got 1"),
    (0, "`folds` must be at least 2, got 0"),
    (-3, "`folds` must be at least 2, got -3"),
    (M + 1, f"`folds` must be at most the number of rows, {M}, got {M + 1}"),
    (ROWS[:-1] % 2, "one whole number for each of the 13 rows, got shape (12,)"),
    (ROWS % 2.0, "got shape (13,) and dtype float64"),
    (ROWS % 2 == 0, "got shape (13,) and dtype bool"),
    (np.array(list("ab") * 6 + ["a"]), "got shape (13,) and dtype <U1"),
    (ROWS * 0, "names one fold only"),
    (ROWS - 1, "`folds` holds -1: number folds from 0, or pass sklearn.model"),
    ([], "`folds` holds no pair of rows to train on and to hold out"),
    ([([0], [1]), ([2, 3], [4, 3])], "row 3 both trains fold 1 and is held out"),
    ([([0], [1]), ([], [4])], "there are no training rows of fold 1"),
    ([([0], []), ([1], [4])], "there are no held-out rows of fold 0"),
    ([([0], [1]), (ROWS < 0, ROWS == 1)], "there are no training rows of fold 1"),
    ([([0, M], [1]), ([1], [2])], "training rows of fold 0 go beyond the 13 rows"),
    ([([0], [-1]), ([1], [2])], "held-out rows of fold 0 go beyond the 13 rows"),
    ([([0, 0], [1]), ([1], [2])], "training rows of fold 0 name a row twice"),
    ([([0.5], [1]), ([1], [2])], "training rows of fold 0 must be row numbers"),
    ([([0], [[1]]), ([1], [2])], "held-out rows of fold 0 must be row numbers"),
    ([(ROWS[:-1] < 3, [4]), ([1], [2])], "training rows of fold 0 must be"),
    ([("a", [1]), ([1], [2])], "training rows of fold 0 must be row numbers"),
]


@pytest.mark.parametrize(
    ("folds", "message"), REFUSED, ids=[message for _, message in REFUSED]
)
def test_folds_that_cannot_be_are_refused(folds, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        split(folds, Y)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (2.5, "`folds` must be a whole number, got 2.5"),
        (True, "`folds` must be a whole number, got True"),
        (None, "`folds` must be a number, an array of fold numbers, .* got NoneType"),
        ("kfold", "`folds` must be a number, an array of fold numbers, .* got str"),
        (b"5", "`folds` must be a number, an array of fold numbers, .* got bytes"),
        (np.array(3), "`folds` must be a number, .* got ndarray"),
        ([([0], [1], [2])] * 2, "`folds` must be a number, .* got tuple"),
    ],
)
def test_what_folds_are_is_said_to_those_who_pass_something_else(folds, message):
    with pytest.raises(TypeError, match=message):
        split(folds, Y)


@pytest.mark.parametrize("folds", [3, ROWS % 2, PAIRS])
def test_groups_without_a_splitter_are_refused(folds):
    with pytest.raises(ValueError, match="`groups` needs a splitter"):
        split(folds, Y, GROUPS)


def test_ragged_folds_and_groups_are_named():
    with pytest.raises(ValueError, match="`folds: held-out rows of fold 0` is not a"):
        split([([0, 1], [2, [3]])], Y)
    with pytest.raises(ValueError, match="`groups` is not a rectangular array"):
        split(GroupKFold(3), Y, [0, [1]])


@pytest.mark.parametrize("groups", [GROUPS[:-1], GROUPS[:, None], "north"])
def test_groups_that_do_not_fit_are_refused(groups):
    with pytest.raises(ValueError, match=re.escape("`groups` must have shape (13,)")):
        split(GroupKFold(3), Y, groups)


def test_a_splitter_is_not_shown_targets_that_are_traced():
    X, y = np.arange(12.0)[:, None], jnp.arange(12.0) % 2

    def score(folds):
        return lambda y: cross_validate(X.astype(np.float32), y, [1.0], folds).mean

    expected = score(KFold(3))(y)
    np.testing.assert_allclose(jax.jit(score(KFold(3)))(y), expected, rtol=1e-5)
    with pytest.raises(
        TypeError, match="StratifiedKFold looks at `y`, which is traced"
    ):
        jax.jit(score(StratifiedKFold(3)))(y)


@pytest.mark.parametrize("name", ["folds", "groups"])
def test_folds_that_are_traced_are_refused(name):
    y, ids = np.arange(12.0), np.arange(12) % 3

    def score(ids):
        given = {"folds": GroupKFold(3)} | {name: ids}
        return cross_validate(y[:, None], y, [1.0], **given).mean

    with pytest.raises(TypeError, match=f"`{name}` must be known, not traced"):
        jax.jit(score)(ids)
