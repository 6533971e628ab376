"""What comes in through the scikit-learn faces: arrays, data frames, sparse matrices.

scikit-learn's own validation does the work. Before it, a data frame's columns are
looked at one by one, through narwhals, so that what cannot be used is refused by name.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import psutil
from narwhals.exceptions import DuplicateError
from scipy import sparse
from sklearn.utils.validation import validate_data

from jaxridge import checks
from jaxridge.excerpt import counted
from jaxridge.frames import OF_TIME, TIMES, floats_of, framed, is_number, refuse_times

SPARSE = ("csr", "csc")


def validated(estimator: Any, X: Any, *y: Any, reset: bool = True, **how: Any) -> Any:
    """Return X, or X and y, as float arrays of scikit-learn's making.

    Raises
    ------
    ValueError
        As scikit-learn does; and for columns of a data frame that hold times, text that
        is no number, nothing, or missing values, by name.
    """
    checked = {"accept_sparse": SPARSE, "dtype": [np.float64, np.float32]} | how
    for name, given in (("X", X), *(("y", array) for array in y)):
        _refuse_traced(name, given)
    name = "X"
    try:
        frame = _usable(X)
        for name, given in (("X", X), *(("y", array) for array in y)):
            _refuse_what_changes(name, given)
    except DuplicateError as error:
        which = " ".join(str(error).split())
        raise ValueError(f"`{name}` has columns of the same name. {which}") from None
    try:
        return validate_data(estimator, frame, *y, reset=reset, **checked)
    except ValueError as error:
        raise ValueError(f"{_where(frame, estimator)}{error}") from None


def _refuse_what_changes(name: str, array: Any) -> None:
    """Refuse arrays that would silently become others on the way to floats."""
    _refuse_masked(name, array)
    if _holds_times(array):
        raise ValueError(f"`{name}` holds times: make numbers of them, such as days")
    for whole in _whole_numbers(array):
        checks.exact(name, whole, np.float64)


def _holds_times(array: Any) -> bool:
    """Whether an array, frame, series or list holds times, which turn into floats."""
    if sparse.issparse(array):
        return False
    frame = framed(array, eager_only=True)
    if isinstance(frame, nw.DataFrame):
        return any(isinstance(kind, TIMES) for kind in frame.schema.values())
    try:
        values = np.asarray(array)
    except ValueError:  # of lists of unequal length
        return False
    if values.dtype == object:
        return any(isinstance(value, OF_TIME) for value in values.flat)
    return values.dtype.kind in "mM"


def _whole_numbers(given: Any) -> Iterator[np.ndarray]:
    """Yield what is in 64-bit integers: an array, its entries, columns or a list."""
    columns, frame = [given], framed(given, eager_only=True, allow_series=True)
    if isinstance(frame, nw.DataFrame | nw.Series):
        columns = [frame] if isinstance(frame, nw.Series) else [*frame.iter_columns()]
        columns = [c.to_numpy() for c in columns if c.dtype in (nw.Int64, nw.UInt64)]
    elif isinstance(given, list | tuple):
        with suppress(ValueError):  # of lists of lists of unequal length
            columns = [np.asarray(given)]
    elif sparse.issparse(given) and hasattr(given, "data"):
        columns = [given.data]
    for column in columns:
        if isinstance(column, np.ndarray) and column.dtype in (np.int64, np.uint64):
            yield column


def _refuse_traced(name: str, array: Any) -> None:
    if checks.any_traced(array):
        raise TypeError(
            f"`{name}` is being traced, by jit, vmap or grad, and estimators compute "
            "with NumPy: call `jaxridge.solve` or `path` there"
        )


def _refuse_masked(name: str, array: Any) -> None:
    if isinstance(array, np.ma.MaskedArray):
        checks.numeric(name, array)


def in_dtype_of(X: Any, name: str, array: np.ndarray) -> np.ndarray:
    """Return an array in the dtype of X, or refuse what it cannot hold."""
    with np.errstate(over="ignore"):
        try:
            found = array.astype(X.dtype, copy=False)
        except (TypeError, ValueError):
            text = next(value for value in array.ravel() if not is_number(value))
            raise ValueError(
                f"`{name}` holds {str(text)!r}, which is no number"
            ) from None
    if name == "y" and array.dtype.kind in "iu" and (found != array).any():
        checks.exact(name, array, X.dtype)
    is_wide = array.dtype.kind == "f" and found.dtype != array.dtype
    if is_wide and np.isinf(found).any() > np.isinf(array).any():
        raise ValueError(
            f"`{name}` reaches {np.abs(array).max():.3g}, which {X.dtype}, the dtype "
            "of `X`, cannot hold: rescale it, or pass `X` in float64"
        )
    return found


def dense(X: Any) -> Any:
    """Return sparse rows in full, where as many numbers are to be kept of them."""
    if not hasattr(X, "toarray"):
        return X
    size, free = X.shape[0] * X.shape[1] * 8, psutil.virtual_memory().available
    if size > free // 4:
        raise ValueError(
            f"intervals=True keeps the rows in full, {size / 2**30:.3g} GiB, and "
            f"{free / 2**30:.3g} GiB are free: fit without, or to fewer rows"
        )
    return X.toarray()


def sample_weights(weight: Any, X: Any) -> np.ndarray | None:
    """Return a weight for each row of X, in its dtype; None where all are alike."""
    if weight is None:
        return None
    _refuse_traced("sample_weight", weight)
    if isinstance(weight, list | tuple):
        checks.axes("sample_weight", weight)
    _refuse_masked("sample_weight", weight)
    array = np.asarray(weight)
    if array.dtype.kind == "O" and all(map(is_number, array.ravel())):
        array = array.astype(float)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"`sample_weight` must hold numbers, got {array.dtype}")
    if array.ndim == 0:
        array = np.full(X.shape[0], array)
    wide = array.astype(float, copy=False)
    checks.weights(wide, X.shape[0], name="sample_weight")
    return in_dtype_of(X, "sample_weight", array)


def _where(frame: Any, estimator: Any) -> str:
    """Return what more can be said of columns that were refused."""
    frame = framed(frame, eager_only=True)
    if not isinstance(frame, nw.DataFrame):
        return ""
    names, fitted = frame.columns, list(getattr(estimator, "feature_names_in_", ()))
    if sorted(names) == sorted(fitted) and names != fitted:
        at = next(
            i
            for i, pair in enumerate(zip(names, fitted, strict=True))
            if pair[0] != pair[1]
        )
        return (
            f"column {at} is {names[at]!r} and was {fitted[at]!r}: select "
            "X[list(model.feature_names_in_)]. "
        )
    for column in frame.iter_columns():
        if column.dtype.is_float():
            values = np.asarray(column.to_numpy(), float)
            bad = ~np.isfinite(values)
            if bad.any():
                return (
                    f"column {column.name!r} holds {values[bad][0]} in {bad.sum()} "
                    "row(s): fill or drop those first. "
                )
    return ""


def _usable(X: Any) -> Any:
    """Return a data frame with columns of numbers; anything else as it is."""
    frame = framed(X)
    if isinstance(frame, nw.LazyFrame):
        raise ValueError("`X` is a lazy frame, of which no row is known: .collect() it")
    if not isinstance(frame, nw.DataFrame):
        return X
    if not frame.columns:
        raise ValueError(f"`X` has 0 feature(s) (shape={frame.shape}): pass at least 1")
    numbers = [c for c in map(_as_numbers, frame.iter_columns()) if c is not None]
    return frame.with_columns(*numbers).to_native() if numbers else X


def _as_numbers(column: Any) -> Any | None:
    """Return a column of text or objects as floats; None for one of numbers."""
    name, of, missing = column.name, column.dtype, column.null_count()
    refuse_times("X", column)
    if len(column) and missing == len(column):
        raise ValueError(f"column {name!r} holds no value at all: leave it out")
    if not (of.is_numeric() or of == nw.Boolean):
        return _read(column)
    if missing:
        raise _missing(name, missing)
    return None


def _read(column: Any) -> Any:
    """Return a column of text or objects as floats, if that is what it holds."""
    floats = floats_of("X", column)
    missing = int(np.isnan(floats).sum())
    if missing:
        raise _missing(column.name, missing)
    backend = column.implementation
    return nw.new_series(column.name, floats.tolist(), nw.Float64, backend=backend)


def _missing(name: str, count: int) -> ValueError:
    return ValueError(
        f"column {name!r} contains {counted(count, 'missing value')} (NaN or null): "
        "fill them, such as with sklearn.impute.SimpleImputer, or drop those rows"
    )
