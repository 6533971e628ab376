"""What is learnt from the columns before a fit: fills for missing values, and scales.

Anything learnt from data must be learnt from the training rows alone, or the held-out
error is flattered. So preparation is two steps, as a fit is: a `Learner` looks at the
rows that count and returns `Columns`; `prepared` applies them to any rows. A missing
value is NaN. Standardised columns make one λ fair to all: λ then refers to columns of
unit variance.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.data import Data
from jaxridge.divisors import or_one
from jaxridge.params import Params
from jaxridge.programs import compiled
from jaxridge.tiles import column_sums, fold

__all__ = ["Columns", "Learner", "imputed", "scaled", "standardized", "untouched"]


class Columns(NamedTuple):
    """How to prepare each column: (x − origin)/scale, NaN being `fill` first.

    Attributes
    ----------
    fill, origin, scale : arrays of shape (n_features,), or of no axes for all columns
        In units of the columns; no scale is 0.

    Examples
    --------
    A preparation of one's own, for `prepare`:

    >>> def by_thousands(X, weight):
    ...     return Columns(fill=0.0, origin=0.0, scale=1000.0)
    >>> by_thousands(None, None).applied(np.array([[500.0]]))
    array([[0.5]])
    """

    fill: Float[Array, " n"]
    origin: Float[Array, " n"]
    scale: Float[Array, " n"]

    def applied(self, X: Any) -> Any:
        """Return rows without missing values about the origin, in units of scale."""
        return (X - self.origin) / self.scale


Learner = Callable[[Float[Array, "m n"], Float[Array, " m"]], Columns]


def untouched(X: Float[Array, "m n"], weight: Float[Array, " m"]) -> Columns:
    """Learn nothing: columns stay as they are."""
    zero = jnp.zeros(X.shape[1], X.dtype)
    return Columns(zero, zero, zero + 1)


@compiled
def imputed(X: Float[Array, "m n"], weight: Float[Array, " m"]) -> Columns:
    """Learn to fill missing values with the weighted mean of the column.

    Examples
    --------
    >>> X = np.array([[1.0], [np.nan], [3.0]])
    >>> print(imputed(X, np.ones(3)).fill)
    [2.]
    """
    mean, _ = _moments(X, weight)
    return Columns(mean, jnp.zeros_like(mean), jnp.ones_like(mean))


@compiled
def standardized(X: Float[Array, "m n"], weight: Float[Array, " m"]) -> Columns:
    """Learn to give each column mean 0 and variance 1, missing values filled by 0.

    The variance is Σ w (x − mean)² / Σ w once missing values are filled, as
    scikit-learn's SimpleImputer and StandardScaler have it in a row. A constant column
    keeps its unit.

    Examples
    --------
    >>> X = np.array([[1.0], [3.0]])
    >>> learnt = standardized(X, np.ones(2))
    >>> print(learnt.origin, learnt.scale, learnt.applied(X)[:, 0])
    [2.] [1.] [-1.  1.]
    """
    mean, deviation = _moments(X, weight)
    return Columns(mean, mean, or_one(deviation))


@compiled
def scaled(X: Float[Array, "m n"], weight: Float[Array, " m"]) -> Columns:
    """Learn to give each column mean square 1 about 0, for models without intercept.

    Examples
    --------
    >>> print(scaled(np.array([[3.0], [-3.0]]), np.ones(2)).scale)
    [3.]
    """
    mean, deviation = _moments(X, weight)
    return Columns(mean, jnp.zeros_like(mean), or_one(jnp.hypot(deviation, mean)))


def prepared(columns: Columns, X: Float[Array, "m n"]) -> Float[Array, "m n"]:
    """Return rows with missing values filled, about the origin, in units of scale."""
    if not isinstance(columns, Columns):
        raise TypeError(
            f"`prepare` must return Columns, as standardized does, got "
            f"{type(columns).__name__}"
        )
    n = X.shape[1]
    for name, values in columns._asdict().items():
        if jnp.shape(values) not in ((), (n,)):
            raise ValueError(
                f"`prepare` must return Columns of {n} numbers each, one for each "
                f"column of `X`, got {name} of shape {jnp.shape(values)}"
            )
    filled = jnp.where(jnp.isnan(X), columns.fill, X)
    found: Array = columns.applied(filled)
    return found


@partial(compiled, static_argnames="learner")
def ready(data: Data, learner: Learner) -> Data:
    """Return rows as prepared by what all of them say."""
    return learnt(data, learner)[1]


@partial(compiled, static_argnames="learner")
def learnt(data: Data, learner: Learner) -> tuple[Columns, Data]:
    """Return what all rows say of each column, and them as prepared by it."""
    columns = learner(data.X, data.weight)
    rows = data._replace(X=prepared(columns, data.X))
    each = (jnp.broadcast_to(one, rows.X.shape[1:]) for one in columns)
    return Columns(*each), rows


def checked_learner(prepare: Learner | None) -> Learner:
    """Return what prepares the columns, nothing if it is None."""
    if prepare is not None and not callable(prepare):
        raise TypeError(
            "`prepare` must be a function such as "
            f"jaxridge.columns.standardized, got {prepare!r}"
        )
    return prepare or untouched


def try_out(learner: Learner, data: Data) -> None:
    """Refuse a function of the user's that cannot prepare these rows."""
    if learner in (untouched, imputed, standardized, scaled):
        return
    try:
        X = ready(data, learner).X
    except (
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError,
    ):
        raise TypeError(
            "`prepare` is compiled, so that it can neither use NumPy nor look at "
            "values: write it with jax.numpy, as jaxridge.columns.standardized is"
        ) from None
    if not (checks.is_traced(X) or np.isfinite(np.asarray(X)).all()):
        raise ValueError(
            "`prepare` left values that are missing or infinite in rows that train: "
            "fill NaN, and let no scale be 0"
        )


def original_units(columns: Columns, params: Params) -> Params:
    """Return coefficients of prepared columns as coefficients of the raw ones."""
    scale = columns.scale.reshape(-1, *[1] * (params.coef.ndim - 1))
    coef = params.coef / scale
    shift = jnp.tensordot(columns.origin, coef, axes=1, precision="highest")
    return Params(coef, params.intercept - shift)


def _moments(X: Array, weight: Array) -> tuple[Array, Array]:
    """Return mean and deviation of columns filled with their means, 0 where empty.

    Squares are taken in units of the largest, so that none leaves the dtype's range.
    """
    total = column_sums(lambda x: ~jnp.isnan(x), weight, X)
    total = or_one(total)
    # About a value that is there: exact for a constant column, sharp for a large mean.
    nowhere = jnp.full(X.shape[1], jnp.nan, X.dtype)
    origin = jnp.nan_to_num(fold(_first_there, nowhere, weight, X))
    mean = origin + column_sums(lambda x: _apart(x, origin), weight, X) / total
    largest = fold(
        lambda found, w, x: jnp.maximum(
            found, jnp.max(jnp.abs(_apart(x, mean)) * (w > 0)[:, None], axis=0)
        ),
        jnp.zeros_like(mean),
        weight,
        X,
    )
    unit = or_one(largest)
    squares = column_sums(lambda x: (_apart(x, mean) / unit) ** 2, weight, X)
    return mean, unit * jnp.sqrt(squares / jnp.sum(weight))


def _first_there(found: Array, weight: Array, X: Array) -> Array:
    """Return `found`, and where it is NaN the first value of X that is not."""
    first = jnp.argmax(~jnp.isnan(X) & (weight[:, None] > 0), axis=0)
    value = jnp.take_along_axis(X, first[None], axis=0)[0]
    value = jnp.where(weight[first] > 0, value, jnp.nan)
    return jnp.where(jnp.isnan(found), value, found)


def _apart(X: Array, origin: Array) -> Array:
    """Return differences from `origin`, 0 where a value is missing."""
    return jnp.where(jnp.isnan(X), 0, X - origin)
