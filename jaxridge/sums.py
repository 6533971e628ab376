"""Moments of rows at hand, summed by NumPy on a CPU and by XLA elsewhere."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from jaxridge import accelerator, checks
from jaxridge.border import ArrayLike, in_kind_of_input
from jaxridge.data import (
    Data,
    as_data_to_square,
    if_too_large,
    stays_outside,
)
from jaxridge.folds import are_even, marked, numbered, split
from jaxridge.moments import Moments
from jaxridge.placement import room
from jaxridge.scatter import How, cross_of_sets, moments_of_sets
from jaxridge.sent import moments_of_tiles, tiles_of
from jaxridge.shards import are_shared_out, moments_of_shards
from jaxridge.threads import all_for
from jaxridge.tiles import NARROW, until_it_fits

BLOCK = 2**20  # numbers of rows, or of targets, that are about a point at a time
SOME = 256  # rows that tell about how large numbers are


@in_kind_of_input
def moments_of(
    X: ArrayLike,
    y: ArrayLike,
    folds: Any = 5,
    *,
    weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> Moments:
    """Return the moments of each fold of the rows.

    They are all that the k-fold scores of ``J = (Σ w e² + lam ‖coef‖²) / (2m)`` need.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        The rows, finite.
    y : array of shape (n_samples,) or (n_samples, n_targets)
        The targets.
    folds : int, array or scikit-learn splitter
        As for `cross_validate`; each row must be held out exactly once.
    weight : array of shape (n_samples,), optional
        How often each row counts.
    groups : array of shape (n_samples,), optional
        For splitters that keep groups together.

    Returns
    -------
    Moments
        With a leading axis of folds on every field.

    Raises
    ------
    TypeError, ValueError
        As `cross_validate` does, and for folds that hold a row out twice or never.

    Notes
    -----
    O(m n (n + t)) time, however many the folds, and O(k n (n + t)) memory.

    Examples
    --------
    >>> X, y = np.arange(6.0)[:, None], np.arange(6.0)
    >>> moments_of(X, y, folds=2).x
    array([[1.],
           [4.]])
    """
    data = as_data_to_square(X, y, weight, stay=if_too_large)
    masks = split(folds, y, groups)
    if not masks.is_partition:
        raise ValueError(
            "`folds` must hold every row out once and train on all others: moments of "
            "folds that overlap, or leave rows out, do not add up"
        )
    found = until_it_fits(lambda: fold_moments(data, masks.held))
    return jax.tree.map(jnp.asarray, found)


def fold_moments(
    data: Data, held: Bool[np.ndarray, "k m"], fast: bool = False
) -> Moments:
    """Return the moments of the rows that each mask of `held` marks.

    With `fast` XLA multiplies them in the precision that the device does fastest.
    """
    if are_shared_out(data.X):
        return moments_of_shards(data, held, fast)
    if stays_outside(data.X) and not checks.any_traced(data):
        return moments_of_tiles(tiles_of(data, held), fast)
    if _is_for_xla(data):
        return moments_of_sets(data, numbered(held), How(fast, are_even(held)))
    n = data.X.shape[1]
    xx = room((len(held), n, n), data.X.dtype)
    with all_for(*data.X.shape):
        parts = [
            _moments_in_numpy(data, mask, into)
            for mask, into in zip(held, xx, strict=True)
        ]
    total, x, y, xy, yy = (np.stack(each) for each in zip(*parts, strict=True))
    found: tuple[Any, ...] = total, x, y, xx, xy, yy
    return Moments(*found)


def with_targets(
    design: Moments, data: Data, held: Bool[np.ndarray, "k m"], fast: bool = False
) -> Moments:
    """Return the moments of folds whose rows' own, without targets, are known."""
    if stays_outside(data.X):
        return fold_moments(data, held, fast)
    if _is_for_xla(data):
        of_sets = numbered(held), design.weight, design.x
        y, xy, yy = cross_of_sets(data, *of_sets, How(fast, are_even(held)))
    else:
        found = [
            _cross_in_numpy(*_chosen(data, mask), *map(np.asarray, of))
            for mask, *of in zip(held, design.weight, design.x, design.xx, strict=True)
        ]
        y, xy, yy = (jnp.asarray(np.stack(a)) for a in zip(*found, strict=True))
    return Moments(design.weight, design.x, y, design.xx, xy, yy)


def moments_of_all(data: Data) -> Moments:
    """Return the moments of all rows, as one set."""
    parts = fold_moments(data, np.ones((1, len(data.X)), bool))
    return jax.tree.map(lambda a: a[0], parts)


def _is_for_xla(data: Data) -> bool:
    return checks.any_traced(data) or accelerator.is_used() or are_shared_out(data.X)


def _moments_in_numpy(
    data: Data, mask: np.ndarray, xx: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return the moments of some rows, of which xx is written to its place."""
    X, Y, weight = _chosen(data, mask)
    total, x = _design_in_numpy(X, weight, xx)
    y, xy, yy = _cross_in_numpy(X, Y, weight, total, x, xx)
    return total, x, y, xy, yy


def _chosen(data: Data, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    which = marked(mask)
    X, Y, weight = (np.asarray(a)[which] for a in data)
    return X, Y, weight


def _design_in_numpy(
    X: np.ndarray, weight: np.ndarray, xx: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and x, and write xx, sooner than XLA multiplies AᵀA.

    BLAS has a routine for a product with its own transpose, and XLA on a CPU has not.
    """
    total = weight.sum()
    unit = total if total > 0 else X.dtype.type(1)
    equal, small = bool((weight == 1).all()), X.size <= BLOCK
    if equal:
        # About 0, if means are so small that nothing cancels. A few rows tell if not.
        x = weight @ X / unit
        if small or (x**2 <= (X[:: len(X) // SOME + 1] ** 2).mean(axis=0)).all():
            np.matmul(X.T, X, out=xx)
            if (2 * unit * x**2 <= xx.diagonal()).all():
                xx -= unit * np.outer(x, x)
                return total, x
    if small:
        A, x = about_mean(X, weight, unit)
        A *= np.sqrt(weight)[:, None]
        np.matmul(A.T, A, out=xx)
        return total, x
    x = mean_of(X, weight) if total > 0 else np.zeros_like(X[0])
    xx[:] = 0
    left = np.zeros_like(x)  # in all rows, as the mean is rounded
    # A row for each column at least, so that adding products costs little beside them.
    for some, A in _blocks_about(x, X, X.shape[1]):
        root = np.sqrt(weight[some])
        if not equal:
            A *= root[:, None]
        left += root @ A
        xx += A.T @ A
    xx -= np.outer(left, left / unit)
    return total, x


def mean_of(X: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the means of columns, as differences from a row: see `weighted_mean`."""
    origin = X[np.argmax(weight > 0)]
    away = sum(weight[some] @ A for some, A in _blocks_about(origin, X))
    return np.asarray(origin + away / weight.sum())


def _blocks_about(
    point: np.ndarray, X: np.ndarray, least: int = 1
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield which rows, and these about a point, a block at a time.

    Each block, of so many rows at least, takes the place of the one before, as new
    memory costs more than to fill it.
    """
    m, n = X.shape
    length = min(m, max(least, BLOCK // n))
    place = np.empty((length, n), X.dtype)
    for start in range(0, m, length):
        some = slice(start, min(start + length, m))
        yield some, np.subtract(X[some], point, out=place[: some.stop - start])


def _cross_in_numpy(
    X: np.ndarray,
    Y: np.ndarray,
    weight: np.ndarray,
    total: np.ndarray,
    x: np.ndarray,
    xx: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return y, xy and yy of rows of this weight, mean and scatter."""
    unit = total if total > 0 else X.dtype.type(1)
    width = max(NARROW, BLOCK // max(1, len(X)))
    if Y.shape[1] > width:
        given = weight, total, x, xx
        starts = range(0, Y.shape[1], width)
        found = [_cross_in_numpy(X, Y[:, i : i + width], *given) for i in starts]
        y, xy, yy = (np.concatenate(a, axis=-1) for a in zip(*found, strict=True))
        return y, xy, yy
    B, y = about_mean(Y, weight, unit)
    yy = weight @ B**2
    B *= weight[:, None]
    # B has mean 0, so that x matters to the digits only, and that if it is large.
    if not (total * x**2 > xx.diagonal()).any():
        return y, X.T @ B, yy
    if X.size <= BLOCK:
        return y, (X - x).T @ B, yy
    xy = sum(A.T @ B[some] for some, A in _blocks_about(x, X))
    return y, np.asarray(xy), yy


def about_mean(
    A: np.ndarray, weight: np.ndarray, unit: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows about their mean, and the mean, found in two steps for its digits.

    As differences from a row that counts, which of a constant column are exactly 0; the
    mean of no such row is 0.
    """
    counts = weight > 0
    one = A[counts.argmax()] if counts.any() else np.zeros_like(A, shape=A.shape[1:])
    about = A - one
    first = weight @ about / unit
    about -= first
    second = weight @ about / unit
    about -= second
    return about, one + (first + second)
