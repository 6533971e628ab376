"""What an argument must be, said in the caller's words.

Each check looks at one argument, and raises an error that names it, what was got, and
what to do; or returns, some with what they read. Shapes and dtypes are checked always;
values only when they are known, that is outside a traced function: NaN in a traced
array is the caller's to find.
"""

import operator
import sys
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxridge import accelerator
from jaxridge.frames import columns_of, floats_of


def warn(message: str | Warning) -> None:
    """Warn at the line that called the package, however deep below this is."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and _is_ours(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level + 1)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == __name__.partition(".")[0]


def is_traced(array: Any) -> bool:
    """Whether the values are unknown, because a transformation is tracing them."""
    return isinstance(array, jax.core.Tracer)


def any_traced(*trees: Any) -> bool:
    """Whether a transformation is tracing any of the arrays."""
    return any(is_traced(leaf) for leaf in jax.tree.leaves(trees))


def as_array(name: str, array: Any) -> Any:
    """Return anything array-like as it is, or as the array that it describes."""
    if isinstance(array, np.ndarray) and not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    if isinstance(array, jax.Array | np.ndarray | float | int):
        return array
    if hasattr(array, "toarray"):
        taken = ", which `Ridge` and `RidgeCV` take" if name == "X" else ""
        raise TypeError(
            f"`{name}` is a sparse matrix{taken}: here pass `{name}.toarray()`, which "
            "fills every zero"
        )
    columns = columns_of(name, array)
    try:
        found = jnp.asarray(array) if any_traced(array) else np.asarray(array)
    except ValueError:
        raise ValueError(
            f"`{name}` is not a rectangular array of numbers: its rows differ in length"
        ) from None
    if found.dtype != object or not columns:
        return found
    floats = [floats_of(name, column) for column in columns]
    return np.stack(floats, axis=1) if found.ndim == 2 else floats[0]


def numeric(name: str, array: Any) -> None:
    """Refuse text, objects, complex and masked arrays."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"`{name}` is a masked array, whose mask would be lost: fill it "
            "(`.filled(...)`) or drop the masked rows"
        )
    dtype = array.dtype if hasattr(array, "dtype") else np.asarray(array).dtype
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(f"`{name}` must be real, got dtype {dtype}: pass its real part")
    if dtype == np.longdouble and dtype != np.float64:
        raise TypeError(f"`{name}` has dtype {dtype}: convert it with .astype(float)")
    if dtype.kind in "mM":
        raise TypeError(
            f"`{name}` holds times, dtype {dtype}: divide by a unit, such as "
            "np.timedelta64(1, 'D'), to make numbers of them"
        )
    if not (jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)):
        raise TypeError(
            f"`{name}` must hold numbers, got dtype {dtype}: convert it with "
            ".astype(float), or encode text as numbers first"
        )


def finite(name: str, array: Any, missing: bool = False, start: int = 0) -> None:
    """Refuse NaN (unless it may be `missing`) and infinity, if the values are known.

    The first row of the array is the caller's number `start`.
    """
    # A finite sum proves finite terms and needs no array of booleans; the converse
    # fails only by overflow, and then the elements are looked at one by one.
    if is_traced(array) or np.size(array) == 0 or np.isfinite(_sum(array)):
        return
    values = np.asarray(array)
    bad = np.isinf(values) if missing else ~np.isfinite(values)
    if not bad.any():
        return
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    where = f" at index {(first[0] + start, *first[1:])}" if first else ""
    raise ValueError(
        f"`{name}` must be finite, got {values[first]}{where} "
        f"({int(bad.sum())} such value(s)): drop or fill them first"
    )


def exact(name: str, array: Any, dtype: Any) -> None:
    """Refuse whole numbers that a float dtype would round."""
    if is_traced(array) or not jnp.issubdtype(jnp.result_type(array), jnp.integer):
        return
    dtype = np.dtype(dtype)
    values, most = np.asarray(array), 2 ** (jnp.finfo(dtype).nmant + 1)
    if values.size and (values.max() > most or values.min() < -most):
        raise ValueError(
            f"`{name}` holds whole numbers beyond {most}, which {dtype} cannot tell "
            "apart: subtract a constant or scale it"
            + ("" if dtype == np.float64 else ", or pass float64")
        )


def squarable(name: str, array: Any, weight: Any, missing: bool = False) -> None:
    """Refuse numbers whose squares, or 1 over those, leave the range of their dtype.

    And what `finite` refuses, so that one look at an array tells both.
    """
    if any_traced(array, weight):
        finite(name, array, missing)  # which a traced array passes
        return
    if has_squares(array, weight):
        return
    with np.errstate(all="ignore"):
        heaviest = ends(weight)[1]
        finite(name, array, missing)
        values = np.nan_to_num(np.asarray(array))
        squares = _sum_of_squares(values)
        if not values.any() or have_squares(array.dtype, squares * heaviest):
            return
    if have_squares(array.dtype, squares):
        raise ValueError(
            f"`weight` reaches {float(heaviest):.3g}, and times squares of `{name}` "
            f"that leaves the range of {values.dtype}: rescale it"
        )
    raise ValueError(
        f"`{name}` reaches {float(np.abs(values).max()):.3g}, and squares of that "
        f"leave the range of {values.dtype}: rescale it"
        + ("" if values.dtype == np.float64 else ", or pass float64")
    )


def has_squares(array: Any, weight: Any) -> bool:
    """Whether squares of known numbers, times weights, are numbers with all digits."""
    with np.errstate(all="ignore"):
        total = _sum_of_squares(array) * ends(weight)[1]
    return bool(have_squares(array.dtype, total))


def have_squares(dtype: Any, total: Any) -> Any:
    """Whether squares that add up to this are numbers with all their digits."""
    least = least_square(dtype)
    return (least <= total) & (total <= 1 / least)


def least_square(dtype: Any) -> float:
    """Return below what a product of numbers has lost digits."""
    limits = np.finfo(dtype)
    return float(limits.tiny / limits.eps)


def have_products(X: Any, Y: Any) -> None:
    """Refuse rows and targets so small that their products are lost below the range."""
    if any_traced(X, Y):
        return
    size, of_targets = (max(map(abs, ends(array))) for array in (X, Y))
    if size and of_targets and size * of_targets < least_square(X.dtype):
        raise ValueError(
            f"`X` reaches {size:.3g} and `y` {of_targets:.3g}, and products of those "
            f"are below the range of {X.dtype}: rescale them"
            + ("" if X.dtype == np.float64 else ", or pass float64")
        )


def _sum(array: Any) -> float:
    """Return the sum of the elements, found where they are."""
    if accelerator.holds(array):
        return float(_summed(array))
    with np.errstate(all="ignore"):
        return float(np.sum(np.asarray(array)))


def _sum_of_squares(array: Any) -> float:
    """Return the sum of the squares of the elements, found where they are."""
    if accelerator.holds(array):
        return float(_squares_summed(array))
    values = np.asarray(array).ravel(order="K")  # a copy of none, column by column too
    return float(np.vdot(values, values))


def ends(array: Any) -> tuple[float, float]:
    """Return the smallest and the largest element, found where they are."""
    if accelerator.holds(array):
        least, most = np.asarray(_both_ends(array))
        return float(least), float(most)
    values = np.asarray(array)
    return float(values.min()), float(values.max())


_summed = jax.jit(jnp.sum)
_squares_summed = jax.jit(lambda array: jnp.sum(jnp.square(array)))
_both_ends = jax.jit(lambda array: jnp.array([jnp.min(array), jnp.max(array)]))


def design(X: Any) -> None:
    """Refuse a design matrix that is not (rows, columns), each at least one."""
    if X.ndim != 2:
        raise ValueError(
            f"`X` must have shape (n_samples, n_features), got shape {X.shape}: "
            "one feature is X.reshape(-1, 1), one row is X.reshape(1, -1)"
        )
    if X.shape[0] == 0:
        raise ValueError(f"`X` has no rows (shape {X.shape}): pass at least one")
    if X.shape[1] == 0:
        raise ValueError(f"`X` has no columns (shape {X.shape}): pass at least one")


def targets(y: Any, n_samples: int) -> None:
    """Refuse targets that are not (m,) or (m, t) with t at least one."""
    if y.ndim not in (1, 2):
        raise ValueError(
            "`y` must have shape (n_samples,) or (n_samples, n_targets), "
            f"got shape {y.shape}"
        )
    if y.shape[0] != n_samples:
        raise ValueError(
            f"`X` and `y` must have the same number of rows, got {n_samples} and "
            f"{y.shape[0]}"
        )
    if y.ndim == 2 and y.shape[1] == 0:
        raise ValueError(f"`y` has no targets (shape {y.shape}): pass at least one")


def weights(weight: Any, n_samples: int, name: str = "weight") -> None:
    """Refuse weights that are not (m,), negative, all zero, or have no sum."""
    if weight.shape != (n_samples,):
        raise ValueError(
            f"`{name}` must have shape ({n_samples},), one for each row of `X`, "
            f"got shape {weight.shape}"
        )
    finite(name, weight)
    if is_traced(weight):
        return
    least, most = ends(weight)
    if least < 0:
        raise ValueError(
            f"`{name}` must not be negative, got {least}: a row that must not count "
            "has weight 0"
        )
    if most == 0:
        raise ValueError(f"`{name}` is zero for every row: at least one must count")
    limits = np.finfo(weight.dtype)
    if not limits.tiny <= most <= limits.max / n_samples:
        raise ValueError(
            f"`{name}` reaches {most:.3g}, and sums of that leave the range of "
            f"{weight.dtype}: rescale it"
        )


def penalty(name: str, lam: Any) -> None:
    """Refuse a penalty that is negative or not finite."""
    if not is_traced(lam) and not np.isfinite(np.asarray(lam)).all():
        raise ValueError(
            f"`{name}` must be finite, got {_first_not_finite(lam)}: a penalty is a "
            "number of at least 0"
        )
    if not is_traced(lam) and bool((np.asarray(lam) < 0).any()):
        raise ValueError(
            f"`{name}` must be at least 0, got {float(np.asarray(lam).min())}: a "
            "negative penalty would reward large coefficients"
        )


def _first_not_finite(lam: Any) -> Any:
    values = np.ravel(np.asarray(lam))
    return values[~np.isfinite(values)][0]


def axes(name: str, array: Any) -> int:
    """Return the number of axes of anything array-like, or refuse a ragged one."""
    return int(array.ndim if hasattr(array, "ndim") else np.ndim(as_array(name, array)))


def single_penalty(lam: Any, many: str) -> None:
    """Refuse anything but one number, and say what takes many."""
    if axes("lam", lam) != 0:
        raise ValueError(
            f"`lam` must be one number, got shape {np.shape(lam)}: for many "
            f"penalties at once {many}"
        )


def penalty_of_targets(lam: Any, y: Any, many: str) -> None:
    """Refuse anything but one number, or one for each column of y; say what is."""
    shape = np.shape(as_array("lam", lam))
    if shape == () or (axes("y", y) == 2 and shape == np.shape(y)[1:]):
        return
    raise ValueError(
        "`lam` must be one number, or one for each target where `y` is of shape "
        f"(n_samples, n_targets), got shape {shape} and y {np.shape(y)}: for many "
        f"penalties at once {many}"
    )


def grid(lams: Any, name: str = "lams") -> None:
    """Refuse a grid that is not a list of at least one penalty."""
    if isinstance(lams, str):
        raise ValueError(
            f"`{name}` must be a list of penalties, got {lams!r}: `lambda_grid` makes "
            "one"
        )
    shape = np.shape(as_array(name, lams))
    if len(shape) != 1:
        raise ValueError(
            f"`{name}` must be a list of penalties, shape (n_lams,), got shape {shape}"
        )
    if shape[0] == 0:
        raise ValueError(f"`{name}` is empty: pass at least one penalty")


def count(name: str, value: Any, least: int, most: int = 2**63 - 1) -> int:
    """Return `value` as an int from `least` to `most`, or refuse it."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        whole = operator.index(value)
    except TypeError:
        got = repr(value) if np.isscalar(value) else type(value).__name__
        raise TypeError(f"`{name}` must be a whole number, got {got}") from None
    if whole > most:
        raise ValueError(f"`{name}` must be at most {most}, got {whole}")
    if whole < least:
        raise ValueError(f"`{name}` must be at least {least}, got {whole}")
    return whole


def flag(name: str, value: Any) -> bool:
    """Return `value` as a bool, or refuse what only would do for one."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")
    return bool(value)


def one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    """Refuse an option that is not among the known ones."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(known)}, got {value!r}")
