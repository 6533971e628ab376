"""Data frames to numbers, column by column, so that what is none is refused by name.

Whose frame it is, pandas', polars' or Arrow's, is narwhals' to know.
"""

from datetime import date, time, timedelta
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from narwhals.exceptions import DuplicateError

NO_FRAMES = (np.ndarray, np.generic, list, tuple, float, int)
TIMES = (nw.Date, nw.Datetime, nw.Duration, nw.Time)
OF_TIME = (date, time, timedelta, np.datetime64, np.timedelta64)
MOST = 2**53  # of whole numbers that float64 can tell apart


def framed(given: Any, **which: Any) -> Any:
    """Return a data frame as narwhals has it, anything else as it is."""
    if isinstance(given, NO_FRAMES):  # as narwhals takes long to find
        return given
    return nw.from_native(given, pass_through=True, **which)


def columns_of(name: str, given: Any) -> list[Any]:
    """Return the columns of a data frame, or a series; none of what is neither.

    Nor of a frame whose columns share a name, which only pandas has, and NumPy reads.

    Raises
    ------
    ValueError
        For a column of times.
    """
    try:
        frame = framed(given, eager_only=True, allow_series=True)
        columns = [*frame.iter_columns()] if isinstance(frame, nw.DataFrame) else []
    except DuplicateError:
        return []
    columns = [frame] if isinstance(frame, nw.Series) else columns
    for column in columns:
        refuse_times(name, column)
    return columns


def refuse_times(name: str, column: Any) -> None:
    """Refuse a column of times."""
    if isinstance(column.dtype, TIMES):
        raise _times(name, column)


def floats_of(name: str, column: Any) -> np.ndarray:
    """Return a column as floats, missing ones NaN.

    Raises
    ------
    ValueError
        For what holds times, text that is no number, complex numbers, or whole ones
        that float64 would round.
    """
    of = column.dtype
    if of == nw.Boolean or (of.is_numeric() and not of.is_integer()):
        return np.asarray(column.cast(nw.Float64).to_numpy(), float)
    given, empty = column.to_list(), column.is_null().to_list()
    if of.is_integer() and not any(empty):
        whole = np.array(given)
        if whole.size and (whole.max() > MOST or whole.min() < -MOST):
            raise _rounded(name, column)
        return whole.astype(float)
    floats = np.full(len(given), np.nan)
    for i, (value, absent) in enumerate(zip(given, empty, strict=True)):
        floats[i] = np.nan if absent else _float(name, column, value)
    return floats


def _float(name: str, column: Any, value: Any) -> float:
    if isinstance(value, OF_TIME):
        raise _times(name, column)
    try:
        if isinstance(value, complex):  # of which float() keeps the real part
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"`{name}`: column {column.name!r} holds {value!r}, which is no number "
            "(could not convert it to float): encode it, such as with OneHotEncoder of "
            "scikit-learn, or leave it out"
        ) from None
    if isinstance(value, int | np.integer) and not -MOST <= value <= MOST:
        raise _rounded(name, column)
    return number


def _times(name: str, column: Any) -> ValueError:
    return ValueError(
        f"`{name}`: column {column.name!r} holds times, {column.dtype}: make numbers "
        "of them (days since a start, the hour of the day) or leave it out"
    )


def _rounded(name: str, column: Any) -> ValueError:
    return ValueError(
        f"`{name}`: column {column.name!r} holds whole numbers beyond {MOST}, which "
        "float64 cannot tell apart: subtract a constant or scale it"
    )


def is_number(value: Any) -> bool:
    """Whether a value is a number, or text that says one."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
