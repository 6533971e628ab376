"""Which rows train and which are held out, in each fold.

A fold is a pair of masks over the rows, so that every fold has the same shape and one
compiled program serves them all. Folds are known before anything is traced: NumPy, here
and in the callers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxridge import checks

EVEN = 1.25  # rows with those that pad, as a multiple of rows


class Held(NamedTuple):
    """Sets of rows by their numbers, padded to the same length, and which count."""

    rows: Int[Array, "*k h"]
    counts: Bool[Array, "*k h"]


@dataclass(frozen=True, eq=False)
class Folds:
    """Masks of shape (k, m): the rows that train each fold, and those held out."""

    train: np.ndarray
    held: np.ndarray

    @cached_property
    def is_partition(self) -> bool:
        """Whether every row is held out once, and trains all other folds."""
        every = self.held.any(axis=0).all()
        once = every and np.count_nonzero(self.held) == self.held.shape[1]
        return bool(once and np.array_equal(self.train, ~self.held))

    @cached_property
    def held_rows(self) -> Held:
        """The rows that each fold holds out."""
        return numbered(self.held)

    @cached_property
    def train_rows(self) -> Held:
        """The same of the rows that train."""
        return numbered(self.train)


def numbered(masks: Bool[np.ndarray, "k m"], length: int = 1) -> Held:
    """Return the rows that each mask marks, by their numbers, in sets of some length.

    It is that of the largest, and at least `length`.
    """
    numbers = np.arange(masks.shape[1])
    found = [numbers[marked(mask)] for mask in masks]
    sizes = np.array([len(some) for some in found])
    counts = np.arange(sizes.max(initial=length)) < sizes[:, None]
    rows = np.zeros(counts.shape, np.int32)
    for row, some in zip(rows, found, strict=True):
        row[: len(some)] = some
    made: Any = Held
    return made(rows, counts)


def marked(mask: Bool[np.ndarray, " m"]) -> Any:
    """Return what selects the rows that are marked: a slice, if they stand together."""
    size, first = np.count_nonzero(mask), int(mask.argmax())
    if mask[first : first + size].all():
        return slice(first, first + size)
    return np.flatnonzero(mask)


def are_even(masks: Bool[np.ndarray, "k m"]) -> bool:
    """Whether little is lost where each set is made as long as the longest."""
    sizes = np.array([np.count_nonzero(mask) for mask in masks])
    return bool(len(sizes) * sizes.max(initial=0) <= EVEN * sizes.sum())


def split(folds: Any, y: Any, groups: Any = None) -> Folds:
    """Return the masks that `folds` describes for the rows of `y`.

    Parameters
    ----------
    folds : int, array, scikit-learn splitter, iterable of pairs, or Folds
        A number of contiguous, unshuffled blocks of rows, as scikit-learn's ``KFold``
        makes them; whole numbers, an array or list of shape (n_samples,), the fold that
        holds each row out; anything with a ``split`` method; or pairs (train, test) of
        row numbers or masks, which may overlap between pairs and leave rows out.
    y : array of shape (n_samples,) or (n_samples, n_targets)
        The targets, which some splitters look at.
    groups : array of shape (n_samples,), optional
        For splitters that keep groups together.

    Raises
    ------
    ValueError
        For fewer than 2 folds or more than rows, no pair or one without rows on one
        side, or a row on both sides of a pair.
    TypeError
        If `folds` is none of the above.
    """
    if isinstance(folds, Folds):
        return folds
    _refuse_traced(folds=folds, groups=groups)
    m = len(y)
    groups = _groups(groups, m)
    if isinstance(folds, str | bytes | type) or folds is None:
        raise TypeError(_what_folds_are(folds))
    if hasattr(folds, "split"):
        return _from_pairs(_pairs_of_splitter(folds, m, y, groups), m)
    if groups is not None:
        raise ValueError(
            "`groups` needs a splitter that uses them as `folds`, such as "
            f"sklearn.model_selection.GroupKFold, got {type(folds).__name__}"
        )
    if np.isscalar(folds) or not isinstance(folds, Iterable):
        return _contiguous(checks.count("folds", folds, 2), m)
    axes = getattr(folds, "ndim", None)
    pairs = _listed(folds) if axes != 1 else []
    if axes == 1 or (pairs and all(map(np.isscalar, pairs))):
        return _from_ids(np.asarray(folds if axes else pairs), m)
    return _from_pairs(pairs, m)


def _pairs_of_splitter(splitter: Any, m: int, y: Any, groups: Any) -> list[Any]:
    """Return the folds of a scikit-learn splitter, which may look at the targets."""
    # At the number of rows of X all of them do, and not at what is in it.
    rows = np.zeros((m, 1))
    if not checks.is_traced(y):
        return _listed(splitter.split(rows, np.asarray(y), groups))
    try:
        return _listed(splitter.split(rows, None, groups))
    except (TypeError, ValueError):
        raise TypeError(
            f"`folds`: {type(splitter).__name__} looks at `y`, which is traced: pass "
            "its pairs, list(splitter.split(X, y)), made outside of the transformation"
        ) from None


def _refuse_traced(**given: Any) -> None:
    for name, value in given.items():
        array_like = isinstance(value, jax.Array | list | tuple)
        if array_like and checks.any_traced(value):
            raise TypeError(
                f"`{name}` must be known, not traced by a transformation such as jit: "
                "leave it out of what that is given"
            )


def _groups(groups: Any, m: int) -> np.ndarray | None:
    if groups is None:
        return None
    checks.axes("groups", groups)
    groups = np.asarray(groups)
    if groups.shape != (m,):
        raise ValueError(
            f"`groups` must have shape ({m},), one for each row, got {groups.shape}"
        )
    return groups


def _contiguous(k: int, m: int) -> Folds:
    if k > m:
        raise ValueError(f"`folds` must be at most the number of rows, {m}, got {k}")
    ends = np.cumsum(np.full(k, m // k) + (np.arange(k) < m % k))
    held = np.zeros((k, m), bool)
    for start, end, mask in zip([0, *ends], ends, held, strict=False):
        mask[start:end] = True
    return Folds(~held, held)


def _from_ids(ids: np.ndarray, m: int) -> Folds:
    if ids.shape != (m,) or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"`folds` as an array must hold one whole number for each of the {m} rows, "
            f"got shape {ids.shape} and dtype {ids.dtype}"
        )
    if ids.min() == -1:  # which scikit-learn does not take for a fold
        raise ValueError(
            "`folds` holds -1: number folds from 0, or pass "
            "sklearn.model_selection.PredefinedSplit(folds), in which -1 is of no fold"
        )
    held = ids == np.unique(ids)[:, None]
    if len(held) < 2:
        raise ValueError("`folds` names one fold only: at least 2 are needed")
    return Folds(~held, held)


def _from_pairs(pairs: list[Any], m: int) -> Folds:
    train, held = [], []
    for number, pair in enumerate(pairs):
        try:
            rows, others = pair
        except (TypeError, ValueError):
            raise TypeError(_what_folds_are(pair)) from None
        train.append(_mask(rows, m, f"training rows of fold {number}"))
        held.append(_mask(others, m, f"held-out rows of fold {number}"))
        both = np.flatnonzero(train[-1] & held[-1])
        if both.size:
            raise ValueError(
                f"`folds`: row {both[0]} both trains fold {number} and is held out by "
                "it, which would flatter the score"
            )
    if not train:
        raise ValueError("`folds` holds no pair of rows to train on and to hold out")
    return Folds(np.array(train), np.array(held))


def _listed(pairs: Any) -> list[Any]:
    try:
        return list(pairs)
    except TypeError:
        raise TypeError(_what_folds_are(pairs)) from None


def _mask(rows: Any, m: int, what: str) -> np.ndarray:
    checks.axes(f"folds: {what}", rows)
    rows = np.asarray(rows)
    if rows.dtype == bool and rows.shape == (m,):
        mask = rows
    elif rows.ndim == 1 and (np.issubdtype(rows.dtype, np.integer) or rows.size == 0):
        if rows.size and (rows.min() < 0 or rows.max() >= m):
            raise ValueError(f"`folds`: the {what} go beyond the {m} rows there are")
        mask = np.zeros(m, bool)
        mask[rows.astype(int)] = True
        if mask.sum() != rows.size:
            raise ValueError(f"`folds`: the {what} name a row twice: use `weight`")
    else:
        raise ValueError(f"`folds`: the {what} must be row numbers or a mask")
    if not mask.any():
        raise ValueError(f"`folds`: there are no {what}")
    return mask


def _what_folds_are(got: Any) -> str:
    if isinstance(got, type):
        return f"`folds` is the class {got.__name__}: pass one of it, {got.__name__}()"
    return (
        "`folds` must be a number, an array of fold numbers, a scikit-learn splitter, "
        f"or (train, test) pairs, got {type(got).__name__}"
    )
