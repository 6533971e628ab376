"""Moments of rows that come in batches, and are never in memory at once."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxridge import checks
from jaxridge.data import as_data_to_square, in_kind_of_input
from jaxridge.moments import Moments
from jaxridge.sums import fold_moments


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
        As `cross_validate` does for each batch; for batches of different widths, and
        for none at all.

    Notes
    -----
    O(n (n + t)) time a row; memory is O(k n (n + t)) and one batch.

    Examples
    --------
    >>> rows = ((np.full((2, 1), i), np.full(2, i)) for i in range(3))
    >>> print(moments_of_batches(rows, folds=2).weight)
    [3. 3.]
    """
    k = checks.count("folds", folds, 2)
    sums: Moments | None = None
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
        part = moments_of_batch(X, y, weight, ids == np.arange(k)[:, None])
        if sums is not None and part.xy.shape != sums.xy.shape:
            raise ValueError(
                f"`batches`: number {number} has {part.xy.shape[1:]} columns and "
                f"targets, those before it {sums.xy.shape[1:]}"
            )
        sums = part if sums is None else sums + part
    if sums is None:
        raise ValueError("`batches` yielded no rows: pass at least one batch of them")
    return sums


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
    if weight is None or np.shape(weight) != np.shape(X)[:1] or np.any(weight):
        data = as_data_to_square(X, y, weight)
    else:
        data = as_data_to_square(X, y)
        data = data._replace(weight=jnp.zeros_like(data.weight))
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
