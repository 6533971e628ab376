"""Rows that are checked and of one form, and what they are centred about.

Inside, all arrays are of one float dtype, the widest that came in; targets are always
(m, t), and every row has a weight: `Data`, made here. Only the cost itself, which takes
both forms, keeps a target as it comes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import accelerator, checks
from jaxridge.idle import blanked
from jaxridge.placement import placed
from jaxridge.programs import quick_if_few
from jaxridge.threads import few_for
from jaxridge.tiles import View, as_stored, column_sums

Stay = Callable[[np.ndarray], bool]
R = TypeVar("R")


class Data(NamedTuple):
    """Rows ready to compute with: one float dtype, two-dimensional targets."""

    X: Float[Array, "m n"]
    Y: Float[Array, "m t"]
    weight: Float[Array, " m"]


class Centre(NamedTuple):
    """Weighted means of the columns of X and of the targets."""

    x: Float[Array, " n"]
    y: Float[Array, " t"]


def on_a_cpu(_: np.ndarray) -> bool:
    """Let NumPy rows stay where a CPU computes."""
    return not accelerator.is_used()


def if_too_large(X: np.ndarray) -> bool:
    """Let rows stay that are too large for the accelerator which computes.

    Such rows can only be added up, so that there must be more of them than columns.
    """
    many = X.ndim == 2 and X.shape[0] >= X.shape[1]
    return on_a_cpu(X) or (many and accelerator.is_too_large(X))


def as_floats(**arrays: Any) -> list[Array]:
    """Return the named arrays as finite JAX arrays of one float dtype, the widest.

    Integers and bools count as float64 (float32 where JAX holds the data and x64 is
    off), as do Python numbers and lists, float16 and bfloat16 as float32.

    Raises
    ------
    TypeError
        For text, complex, object, masked and sparse arrays.
    ValueError
        For NaN and infinity, and for NumPy float64 beside JAX arrays while x64 is off.
    """
    given, dtype = _numeric(arrays)
    ready = {name: _placed(array, dtype) for name, array in given.items()}
    for name, array in ready.items():
        checks.finite(name, array)
    return list(ready.values())


def _numeric(arrays: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return arrays of numbers, and the float dtype that holds all of them."""
    given = {name: checks.as_array(name, array) for name, array in arrays.items()}
    for name, array in given.items():
        checks.numeric(name, array)
    dtypes = [_float_dtype(name, array, given[name]) for name, array in arrays.items()]
    dtype = np.result_type(*dtypes)
    for name, array in given.items():
        checks.exact(name, array, dtype)
    return given, dtype


def as_data(
    X: Any,
    y: Any,
    weight: Any = None,
    missing: bool = False,
    stay: Stay | None = None,
) -> Data:
    """Check, convert and lift: targets become (m, t), absent weights become ones.

    `X` may hold NaN for `missing` values. Where `stay` says so, one of NumPy's remains
    that.

    Raises
    ------
    TypeError, ValueError
        As `as_floats`, and for shapes that do not fit each other.
    """
    X, y, *weights = _rows(X, y, weight, stay)
    checks.finite("X", X, missing)
    checks.finite("y", y)
    return _lifted(X, y, *weights)


def _rows(X: Any, y: Any, weight: Any, stay: Stay | None = None) -> list[Any]:
    """Return rows in one float dtype, their values not looked at yet.

    Where `stay` says so, `X` of NumPy's remains that.
    """
    for name, value in (("X", X), ("y", y)):
        if value is None or "xx" in getattr(value, "__dataclass_fields__", ()):
            what = "is missing" if value is None else "must be rows here, not Moments"
            raise TypeError(f"`{name}` {what}: pass an array")
    given = {"X": X, "y": y} | ({} if weight is None else {"weight": weight})
    found, dtype = _numeric(given)
    return [
        _placed(array, dtype, stay if name == "X" else None)
        for name, array in found.items()
    ]


def as_tile(X: Any, y: Any, weight: Any = None) -> Data:
    """Do as `as_data` of rows that are to be sent on, without a look at their values.

    Weights may be 0 in all of them.

    Raises
    ------
    TypeError, ValueError
        For what holds no numbers, and for shapes that do not fit each other.
    """
    given = {"X": X, "y": y} | ({} if weight is None else {"weight": weight})
    found, dtype = _numeric(given)
    there = weight is None or bool(np.any(np.asarray(found["weight"]) != 0))
    rows: Any = [np.asarray(a).astype(dtype, copy=False) for a in found.values()]
    if there:
        return _lifted(*rows)
    # Of the right shape, and of no weight.
    X, Y, none = rows
    shaped = _lifted(X, Y, np.ones_like(none))
    return Data(blanked(X, none), blanked(shaped.Y, none), none)


def _lifted(X: Any, Y: Any, weight: Any = None) -> Data:
    """Return arrays of one dtype as data, if their shapes fit."""
    checks.design(X)
    checks.targets(Y, X.shape[0])
    if weight is None:
        ones: Any = np if isinstance(X, np.ndarray) else jnp
        weight = ones.ones(X.shape[:1], X.dtype)
    else:
        checks.weights(weight, X.shape[0])
        Y = blanked(Y, weight)
    return Data(X, Y.reshape(-1, 1) if Y.ndim == 1 else Y, weight)


def as_data_to_square(
    X: Any,
    y: Any,
    weight: Any = None,
    missing: bool = False,
    stay: Stay = on_a_cpu,
) -> Data:
    """Do as `as_data`, and refuse what has no square in its dtype.

    On a CPU a NumPy `X` stays where it is: XLA would copy it, which takes as long as
    multiplying XᵀX, and sums over rows are made by NumPy there. One that stays outside
    of an accelerator is not looked at; who makes sums of it does that.

    Raises
    ------
    TypeError, ValueError
        As `as_data`, and for numbers too large or too small.
    """
    data = _lifted(*_rows(X, y, weight, stay))
    weights = np.ones(1) if weight is None else data.weight
    with few_for(*data.X.shape):
        if not stays_outside(data.X):
            checks.squarable("X", data.X, weights, missing)
            counted = data.X if weight is None else blanked(data.X, data.weight)
            if counted is not data.X:  # small beside rows that do not count
                checks.squarable("X", counted, weights, missing)
        # As it was given, so that an error names the place where it was.
        checks.squarable(
            "y", data.Y.reshape(data.Y.shape[: checks.axes("y", y)]), weights
        )
    checks.squarable("weight", weights, np.ones(1))
    return data


def stays_outside(array: Any) -> bool:
    """Whether an array is too large for the accelerator that computes with it."""
    return isinstance(array, np.ndarray) and accelerator.is_used()


def on_device(data: Data) -> Data:
    """Return data where XLA computes."""
    return Data(*map(placed, data))


def as_penalty(name: str, lam: Any, dtype: Any) -> Array:
    """Return a checked penalty (or grid) in the dtype of the data.

    Penalties follow the data, so a float64 grid beside float32 rows does not widen the
    work. A positive penalty that this dtype cannot hold is refused, never made 0.
    """
    lam = checks.as_array(name, lam)
    checks.numeric(name, lam)
    checks.penalty(name, lam)
    with np.errstate(over="ignore", under="ignore"):
        xp = jnp if isinstance(lam, jax.Array) else np
        cast = placed(xp.array(lam, dtype))  # not the caller's memory
    if not (checks.is_traced(cast) or checks.is_traced(lam)):
        lost = (np.asarray(lam) > 0) & (np.asarray(cast) < np.finfo(dtype).tiny)
        # Nor one so large that its inverse is lost.
        lost |= ~(np.asarray(cast) < 0.1 / np.finfo(dtype).tiny)
        if lost.any():
            raise ValueError(
                f"`{name}` holds {float(np.asarray(lam)[lost].ravel()[0])!r}, which "
                f"{np.dtype(dtype)} cannot hold, or its inverse: pass another penalty"
                + ("" if dtype == np.float64 else ", or float64 data")
            )
    return cast


def drop_target_axis(tree: R, y: Any) -> R:
    """Drop the last axis, the targets', from every array when `y` had none."""
    if checks.axes("y", y) == 2:
        return tree
    return _without_last_axis(tree)


@quick_if_few
def _without_last_axis(tree: R) -> R:
    return jax.tree.map(lambda a: a.reshape(a.shape[:-1]), tree)


def weighted_mean(
    A: Float[Array, "m n"], weight: Float[Array, " m"], view: View = as_stored
) -> Float[Array, " n"]:
    """Return Σ w a / Σ w for each column, summed as differences from one of the rows.

    Differences from a row that counts are as small as the spread of the column, so a
    mean a thousand times the spread costs no digits; and a constant column has the mean
    that it should, to the last bit, so that centring makes it exactly 0. The row is the
    heaviest, whose own small distance from the mean, times √w, then keeps its digits.
    """
    origin = view(A[jnp.argmax(weight)][None])[0]
    return origin + column_sums(lambda a: view(a) - origin, weight, A) / jnp.sum(weight)


def mean_square(
    Y: Float[Array, "m t"], about: Float[Array, " t"], weight: Float[Array, " m"]
) -> Float[Array, " t"]:
    """Return Σ w (y − a)² / Σ w for each column, a tile of rows at a time."""
    return column_sums(lambda y: (y - about) ** 2, weight, Y) / jnp.sum(weight)


def centre_of(data: Data, fit_intercept: bool, view: View = as_stored) -> Centre:
    """Return the point the data are centred about: the means, or 0 with no intercept.

    For every coef the best unpenalised intercept is ȳ − x̄·coef; put in J, it leaves the
    same J of the centred data without one. Hence: centre once, solve without intercept,
    and take it from `intercept_at` at the end.
    """
    if not fit_intercept:
        return Centre(jnp.zeros_like(data.X[0]), jnp.zeros_like(data.Y[0]))
    return Centre(
        weighted_mean(data.X, data.weight, view), weighted_mean(data.Y, data.weight)
    )


def centred(data: Data, centre: Centre) -> Data:
    """Return the data about `centre`."""
    return Data(data.X - centre.x, data.Y - centre.y, data.weight)


def weighted_rows(
    data: Data, centre: Centre, view: View = as_stored
) -> tuple[Float[Array, "m n"], Float[Array, "m t"]]:
    """Return A = √w (X − x̄) and B = √w (Y − ȳ), whose products are the scatter."""
    root = jnp.sqrt(data.weight)[:, None]
    return root * (view(data.X) - centre.x), root * (data.Y - centre.y)


def intercept_at(
    coef: Float[Array | np.ndarray, "*lams n t"], centre: Centre
) -> Float[Array, "*lams t"]:
    """Return the best intercept for `coef`: ȳ − x̄·coef."""
    return centre.y - jnp.einsum(
        "n,...nt->...t", centre.x, coef, precision=jax.lax.Precision.HIGHEST
    )


def _placed(array: Any, dtype: Any, stay: Stay | None = None) -> Any:
    if not isinstance(array, np.ndarray):
        return jnp.asarray(array, dtype)
    converted = np.asarray(array, dtype)
    return converted if stay and stay(converted) else placed(converted)


def _float_dtype(name: str, given: Any, array: Any) -> Any:
    default = jnp.result_type(float)
    if isinstance(given, float | int | list | tuple):
        return default
    if array.dtype == np.float64 and default != np.float64:
        raise ValueError(
            f"`{name}` is float64 and would lose half its digits, because another "
            "argument is a JAX array and JAX's 64-bit mode is off: pass NumPy arrays "
            "only, switch it on (`jax.enable_x64(True)`), or convert "
            f"`{name}` with .astype('float32')"
        )
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return default
    return array.dtype if array.dtype.itemsize >= 4 else np.dtype(np.float32)
