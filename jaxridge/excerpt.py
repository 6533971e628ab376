"""Results as text: of a long table a few rows, spread over all of them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from jaxridge import checks

ROWS_SHOWN = 12


def where_known(tell: Callable[[Any], str]) -> Callable[[Any], str]:
    """Let a result tell its numbers where they are known, and what it is if traced."""

    @functools.wraps(tell)
    def told(self: Any) -> str:
        return repr(self) if checks.any_traced(self) else tell(self)

    return told


def excerpt(
    columns: Sequence[Any], headers: Sequence[str], floatfmt: Any = ".6g"
) -> str:
    """Return a table of such columns, of at most twelve rows."""
    shown = places(len(columns[0]), ROWS_SHOWN)
    rows = zip(*(np.asarray(one)[shown] for one in columns), strict=True)
    return tabulate(list(rows), headers, floatfmt=floatfmt)


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number and its noun, in the singular or the plural."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def places(count: int, most: int) -> np.ndarray:
    """Return places from the first to the last of so many, evenly, at most `most`."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(int))
