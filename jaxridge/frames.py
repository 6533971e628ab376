"""Data frames to numbers, column by column, so that what is none is refused by name.

Whose frame it is, pandas', polars' or Arrow's, is narwhals' to know.
"""

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

TIMES = (nw.Date, nw.Datetime, nw.Duration, nw.Time)


def framed(given: Any, **which: Any) -> Any:
    """Return a data frame as narwhals has it, anything else as it is."""
    if isinstance(given, np.ndarray):  # as narwhals takes long to find
        return given
    return nw.from_native(given, pass_through=True, **which)


def numbers_of(given: Any) -> np.ndarray | None:
    """Return the columns of a data frame as floats, missing ones NaN; None of others.

    Raises
    ------
    ValueError
        For a column of times, or of text that is no number, by its name.
    """
    frame = framed(given, eager_only=True)
    if not isinstance(frame, nw.DataFrame):
        return None
    return np.column_stack([floats_of(column) for column in frame.iter_columns()])


def floats_of(column: Any) -> np.ndarray:
    """Return a column as floats, missing ones NaN, or refuse it."""
    refuse_times(column)
    given, empty = column.to_list(), column.is_null().to_list()
    floats = np.full(len(given), np.nan)
    for i, (value, absent) in enumerate(zip(given, empty, strict=True)):
        try:
            floats[i] = np.nan if absent else float(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"column {column.name!r} holds {value!r}, which is no number (could "
                "not convert it to float): encode it, such as with OneHotEncoder of "
                "scikit-learn, or leave it out"
            ) from None
    return floats


def refuse_times(column: Any) -> None:
    """Refuse a column, or series, of times."""
    if isinstance(column.dtype, TIMES):
        raise ValueError(
            f"column {column.name!r} holds times, {column.dtype}: make numbers of them "
            "(days since a start, the hour of the day) or leave it out"
        )
