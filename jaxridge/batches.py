"""Moments of rows that come in batches, and are never in memory at once."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxridge import accelerator, checks
from jaxridge.border import in_kind_of_input
from jaxridge.data import as_data_to_square, as_tile, on_device
from jaxridge.moments import Moments
from jaxridge.sent import Tile, moments_of_tiles
from jaxridge.sums import fold_moments

T = TypeVar("T")

Batch = tuple[Any, Any, Any, np.ndarray]  # X, y, weight, masks of folds


def moments_of_batches(batches: Iterable[tuple[Any, ...]], folds: int = 5) -> Moments:
    """Return the moments of rows that come in batches and are never held at once.

    Parameters
    ----------
    batches : iterable of (X, y), (X, y, weight) or (X, y, weight, fold)
        The rows, a batch at a time; `weight` may be None. `fold` is an integer array
        with the fold of each row, from 0 to ``folds - 1``; without it, row i of all
        goes to fold i mod `folds`. A batch may be empty.
    folds : int
        How many folds, at least 2.

    Returns
    -------
    Moments
        With a leading axis of folds on every field.

    Raises
    ------
    TypeError, ValueError
        As `cross_validate` does for each batch; for batches of different widths or
        precision, and for none at all.

    Notes
    -----
    O(n (n + t)) time a row; memory is O(k n (n + t)) and one batch. To a GPU a batch is
    sent while the one before is added up; four are kept at a time.

    Examples
    --------
    >>> rows = ((np.full((2, 1), i), np.full(2, i)) for i in range(3))
    >>> print(moments_of_batches(rows, folds=2).weight)
    [3. 3.]
    """
    checked = _checked(batches, checks.count("folds", folds, 2))
    first = list(islice(checked, 1))
    if not first:
        raise ValueError("`batches` yielded no rows: pass at least one batch of them")
    is_jax = any(isinstance(a, jax.Array) for a in first[0][1])
    checked = _put_back(first, checked)
    if accelerator.is_used() and not is_jax:
        # A function, as JAX warns of generators among the leaves of arguments.
        return _sent(lambda: checked, jnp.result_type(float) == jnp.float64)
    sums: Moments | None = None
    for number, batch in checked:
        part = moments_of_batch(*batch)
        if sums is not None:
            _alike(number, _kind(part.x, part.y), _kind(sums.x, sums.y))
        sums = part if sums is None else sums + part
    assert sums is not None
    return sums


def _put_back(first: list[T], rest: Iterator[T]) -> Iterator[T]:
    """Yield the first, of which nothing is kept, and the rest."""
    yield first.pop()
    yield from rest


@in_kind_of_input
def _sent(checked: Callable[[], Iterator[tuple[int, Batch]]], doubles: bool) -> Moments:
    """Return the same of NumPy's batches where another device computes.

    Each is sent there. Whoever yields them does so under the setting it had before.
    """

    def tiles() -> Iterator[Tile]:
        before = None
        for number, (X, y, weight, held) in _under(doubles, checked()):
            rows = as_tile(X, y, weight)
            kind = _kind(rows.X, rows.Y)
            before = before or kind
            _alike(number, kind, before)
            yield rows, held

    return moments_of_tiles(tiles())


def _under(doubles: bool, batches: Iterator[T]) -> Iterator[T]:
    """Yield what an iterator does, each under this setting of JAX's."""
    while True:
        with jax.enable_x64(doubles):
            one = next(batches, None)
        if one is None:
            return
        yield one


Kind = tuple[tuple[int, int], Any]


def _kind(X: Any, Y: Any) -> Kind:
    """Return how many columns and targets rows, or means of them, have, and a dtype."""
    return (X.shape[1], Y.shape[1]), X.dtype


def _alike(number: int, kind: Kind, before: Kind) -> None:
    """Refuse batches of other columns, targets or precision than those before."""
    if kind[0] != before[0]:
        raise ValueError(
            f"`batches`: number {number} has {kind[0]} columns and targets, those "
            f"before it {before[0]}"
        )
    if kind[1] != before[1]:
        raise ValueError(
            f"`batches`: number {number} is summed in {kind[1]}, those before it in "
            f"{before[1]}: pass all in one dtype, of which the digits are known"
        )


def _checked(batches: Any, k: int) -> Iterator[tuple[int, Batch]]:
    """Yield the number of each batch that has rows, its arrays, and masks of folds."""
    seen = 0
    for number, batch in enumerate(_iterated(batches)):
        try:
            X, y, weight, fold = (*batch, None, None)[: max(4, len(batch))]
        except (TypeError, ValueError):
            raise TypeError(
                "`batches` must yield (X, y[, weight[, fold]]), got "
                f"{type(batch).__name__} as number {number}"
            ) from None
        rows = np.shape(X)[0] if checks.axes("X", X) else 0
        if rows == 0 and np.ndim(X) == 2:
            continue
        ids = _batch_folds(fold, seen, rows, k)
        seen += rows
        yield number, (X, y, weight, ids == np.arange(k)[:, None])


def _iterated(batches: Any) -> Any:
    try:
        return iter(batches)
    except TypeError:
        raise TypeError(
            "`batches` must be an iterable of (X, y[, weight[, fold]]), got "
            f"{type(batches).__name__}"
        ) from None


@in_kind_of_input
def moments_of_batch(X: Any, y: Any, weight: Any, held: np.ndarray) -> Moments:
    """Return the moments of a batch, of which no row need count.

    `held` (k, m) marks the rows of each fold.
    """
    shaped = weight is not None and np.shape(weight) == np.shape(X)[:1]
    if not shaped or checks.is_traced(weight) or np.any(weight):
        data = as_data_to_square(X, y, weight)
    else:
        data = on_device(as_tile(X, y, weight))
        for name, values in (("X", data.X), ("y", data.Y)):
            checks.finite(name, values)
    return jax.tree.map(jnp.asarray, fold_moments(data, held))


def _batch_folds(fold: Any, seen: int, rows: int, k: int) -> np.ndarray:
    if fold is None:
        return (seen + np.arange(rows)) % k
    ids = np.asarray(fold)
    if ids.shape != (rows,) or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"`batches`: fold must hold a whole number for each of {rows} rows, got "
            f"shape {ids.shape} and dtype {ids.dtype}"
        )
    if ids.size and (ids.min() < 0 or ids.max() >= k):
        raise ValueError(
            f"`batches`: folds are numbered from 0 to {k - 1}, got "
            f"{ids.min()} to {ids.max()}"
        )
    return ids
