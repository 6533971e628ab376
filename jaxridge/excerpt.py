"""A long table as text: a few of its rows, spread over all of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

ROWS_SHOWN = 12


def excerpt(
    columns: Sequence[Any], headers: Sequence[str], floatfmt: Any = ".6g"
) -> str:
    """Return a table of such columns, of at most twelve rows."""
    shown = places(len(columns[0]), ROWS_SHOWN)
    rows = zip(*(np.asarray(one)[shown] for one in columns), strict=True)
    return tabulate(list(rows), headers, floatfmt=floatfmt)


def places(count: int, most: int) -> np.ndarray:
    """Return places from the first to the last of so many, evenly, at most `most`."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(int))
