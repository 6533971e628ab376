"""Moments of rows at hand, summed by NumPy on a CPU and by XLA elsewhere."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxridge import checks
from jaxridge.data import (
    ArrayLike,
    Centre,
    Data,
    as_data_to_square,
    in_kind_of_input,
    weighted_mean,
    weighted_rows,
)
from jaxridge.folds import split
from jaxridge.moments import Moments
from jaxridge.products import matmul
from jaxridge.shards import are_shared_out, moments_of_shards


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
    data = as_data_to_square(X, y, weight)
    masks = split(folds, y, groups)
    if not masks.is_partition:
        raise ValueError(
            "`folds` must hold every row out once and train on all others: moments of "
            "folds that overlap, or leave rows out, do not add up"
        )
    return jax.tree.map(jnp.asarray, fold_moments(data, masks.held))


def fold_moments(data: Data, held: np.ndarray) -> Moments:
    """Return the moments of the rows that each mask of `held` marks."""
    if are_shared_out(data.X):
        return moments_of_shards(data, held, _in_jax)
    parts = [moments_of_rows(data, np.flatnonzero(mask)) for mask in held]
    return _stacked(parts)


def with_targets(design: Moments, data: Data, held: np.ndarray) -> Moments:
    """Return the moments of folds whose rows' own, without targets, are known."""
    found = [
        _cross_of_rows(data, np.flatnonzero(mask), *of)
        for mask, *of in zip(held, design.weight, design.x, design.xx, strict=True)
    ]
    y, xy, yy = jax.tree.map(lambda *a: jnp.stack(a), *found)
    return Moments(design.weight, design.x, y, design.xx, xy, yy)


def moments_of_rows(data: Data, rows: np.ndarray) -> Moments:
    """Return the moments of some of the rows, by their numbers, as one set."""
    if are_shared_out(data.X):
        mask = np.isin(np.arange(len(data.X)), rows)[None]
        return jax.tree.map(lambda a: a[0], moments_of_shards(data, mask, _in_jax))
    if _in_compiled(data):
        return _in_jax(_chosen(data, rows))
    X, Y, weight = _chosen_in_numpy(data, rows)
    total, x, xx = _design_in_numpy(X, weight)
    y, xy, yy = _cross_in_numpy(X, Y, weight, total, x, xx)
    found: tuple[Any, ...] = total, x, y, xx, xy, yy
    return Moments(*found)


def _cross_of_rows(
    data: Data, rows: np.ndarray, total: Array, x: Array, xx: Array
) -> tuple[Any, ...]:
    """Return y, xy and yy of rows whose weight, x and xx are known."""
    if _in_compiled(data):
        return _cross_in_jax(_chosen(data, rows), total, x)
    known = map(np.asarray, (total, x, xx))
    return tuple(
        map(jnp.asarray, _cross_in_numpy(*_chosen_in_numpy(data, rows), *known))
    )


def _stacked(parts: list[Any]) -> Any:
    """Return parts with an axis of folds, NumPy's as NumPy's."""
    leaves = jax.tree.leaves(parts[0])
    stack = jnp if any(isinstance(a, jax.Array) for a in leaves) else np
    return jax.tree.map(lambda *a: stack.stack(a), *parts)


def _in_compiled(data: Data) -> bool:
    elsewhere = jax.default_backend() != "cpu" or are_shared_out(data.X)
    return checks.any_traced(data) or elsewhere


def _chosen(data: Data, rows: np.ndarray) -> Data:
    return Data(*(a[_selection(rows)] for a in data))


def _chosen_in_numpy(
    data: Data, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    which = _selection(rows)
    X, Y, weight = (np.asarray(a)[which] for a in data)
    return X, Y, weight


def _selection(rows: np.ndarray) -> Any:
    """Return rows that stand together as a slice, which copies nothing."""
    together = rows.size > 0 and rows[-1] - rows[0] == rows.size - 1
    return slice(rows[0], rows[-1] + 1) if together else rows


@jax.jit
def _in_jax(data: Data) -> Moments:
    weight = jnp.sum(data.weight)
    x = jnp.where(weight > 0, weighted_mean(data.X, data.weight), 0)
    A, _ = weighted_rows(data, Centre(x, jnp.zeros_like(data.Y[0])))
    y, xy, yy = _cross_in_jax(data, weight, x)
    return Moments(weight, x, y, matmul(A.T, A), xy, yy)


@jax.jit
def _cross_in_jax(data: Data, total: Array, x: Array) -> tuple[Array, Array, Array]:
    y = jnp.where(total > 0, weighted_mean(data.Y, data.weight), 0)
    A, B = weighted_rows(data, Centre(x, y))
    return y, matmul(A.T, B), jnp.sum(B**2, axis=0)


def _design_in_numpy(
    X: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weight, x and xx; NumPy multiplies AᵀA in half the time that XLA takes.

    BLAS has a routine for a product with its own transpose, and XLA on a CPU has not.
    """
    total = weight.sum()
    unit = total if total > 0 else X.dtype.type(1)
    if (weight == 1).all():
        # Without a copy of X, if its means are so small that nothing cancels.
        x, xx = weight @ X / unit, X.T @ X
        if (2 * unit * x**2 <= xx.diagonal()).all():
            xx -= unit * np.outer(x, x)
            return total, x, xx
    A, x = _about_mean(X, weight, unit)
    A *= np.sqrt(weight)[:, None]
    return total, x, A.T @ A


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
    B, y = _about_mean(Y, weight, unit)
    yy = weight @ B**2
    B *= weight[:, None]
    # B has mean 0, so that x matters to the digits only, and that if it is large.
    if (total * x**2 > xx.diagonal()).any():
        X = X - x
    return y, X.T @ B, yy


def _about_mean(
    A: np.ndarray, weight: np.ndarray, unit: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows about their mean, and the mean, found in two steps for its digits."""
    first = weight @ A / unit
    about = A - first
    second = weight @ about / unit
    about -= second
    return about, first + second
