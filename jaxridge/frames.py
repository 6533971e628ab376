"""What comes in through the scikit-learn faces: arrays, data frames, sparse matrices.

scikit-learn's own validation does the work. Before it, a data frame's columns are
looked at one by one, through narwhals, so that what cannot be used is refused by name.
"""

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.utils.validation import validate_data

TIMES = (nw.Date, nw.Datetime, nw.Duration, nw.Time)
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
    return validate_data(estimator, _usable(X), *y, reset=reset, **checked)


def sample_weights(weight: Any, X: Any) -> np.ndarray | None:
    """Return a weight for each row of X, in its dtype; None where all are alike."""
    if weight is None:
        return None
    array = np.asarray(weight)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"`sample_weight` must hold numbers, got {array.dtype}")
    if array.ndim > 1:
        raise ValueError(
            f"`sample_weight` must be 1D, one for each row, got shape {array.shape}"
        )
    if array.ndim == 0:
        array = np.full(X.shape[0], array)
    return array.astype(X.dtype)


def _usable(X: Any) -> Any:
    """Return a data frame with columns of numbers; anything else as it is."""
    frame = nw.from_native(X, eager_only=True, pass_through=True)
    if not isinstance(frame, nw.DataFrame):
        return X
    numbers = {}
    for column in frame.iter_columns():
        name, of = column.name, column.dtype
        if isinstance(of, TIMES):
            raise ValueError(
                f"column {name!r} holds times, {of}: make numbers of them (days since "
                "a start, the hour of the day) or leave it out"
            )
        if len(column) and column.null_count() == len(column):
            raise ValueError(f"column {name!r} holds no value at all: leave it out")
        if not (of.is_numeric() or of == nw.Boolean):
            numbers[name] = _as_numbers(name, column)
        elif column.null_count():
            raise ValueError(
                f"column {name!r} contains {column.null_count()} missing values (NaN "
                "or null): fill them, such as with sklearn.impute.SimpleImputer, or "
                "drop those rows"
            )
    if not numbers:
        return X
    return frame.with_columns(*numbers.values()).to_native()


def _as_numbers(name: str, column: Any) -> Any:
    """Return a column of text or objects as floats, if that is what it holds."""
    given = column.to_list()
    try:
        floats = [np.nan if value is None else float(value) for value in given]
    except (TypeError, ValueError):
        text = next(value for value in given if not _is_number(value))
        raise ValueError(
            f"column {name!r} holds {text!r}, which is no number (could not convert "
            "it to float): encode it, such as with OneHotEncoder of scikit-learn, or "
            "leave it out"
        ) from None
    return nw.new_series(name, floats, nw.Float64, backend=column.implementation)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
