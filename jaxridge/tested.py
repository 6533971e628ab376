"""Which rows of a table are set apart to test on, and which belong together."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from jaxridge.kinds import is_text, is_wordable, refuse_unknown, without_nan
from jaxridge.request import Request
from jaxridge.tables import read_table


def split_table(
    table: pa.Table, request: Request
) -> tuple[pa.Table, pa.Table | None, Callable[[list[str]], pa.Table] | None]:
    """Return training and test rows, or how to read them, given what is text."""
    if request.test is None:
        return table, None, None
    path, fraction = request.test, test_share(request)
    if fraction is None:
        return table, None, lambda text: read_table(path, text=text, progress=True)
    rows = table.num_rows
    n_test = round(fraction * rows) if 0 < fraction < 1 else 0
    if not 0 < n_test < rows:
        raise ValueError(
            f"--test {request.test} must be a file, or a fraction between 0 and 1 that "
            f"leaves rows on both sides of {rows}"
        )
    tested = _tested(table, request, n_test)
    return (
        table.take(pa.array(np.flatnonzero(~tested))),
        table.take(pa.array(np.flatnonzero(tested))),
        None,
    )


def _tested(table: pa.Table, request: Request, n_test: int) -> np.ndarray:
    """Return which rows are test rows: the last in time, whole groups, or any."""
    rows, tested = table.num_rows, np.zeros(table.num_rows, bool)
    if request.in_time:
        tested[rows - n_test :] = True
        return tested
    rng = np.random.default_rng(request.seed)
    if request.group is None:
        tested[rng.permutation(rows)[:n_test]] = True
        return tested
    names, groups = grouped(table, request.group)
    counts = np.bincount(groups)
    order = rng.permutation(len(names))
    # As many groups as come nearest to the rows asked for, and one left to train on.
    enough = int(np.abs(np.cumsum(counts[order]) - n_test).argmin()) + 1
    tested[np.isin(groups, order[: min(enough, len(names) - 1)])] = True
    if not tested.any():
        raise ValueError(
            f"column {request.group!r} has one group only: none is left to test on"
        )
    return tested


def grouped(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what a column holds, each once, and the place among those of each row."""
    refuse_unknown(name, table)
    column = without_nan(table.column(name))
    if not (is_text(column.type) or is_wordable(column.type)):
        raise ValueError(
            f"column {name!r}, which groups rows, holds {column.type}: it must hold "
            "names, numbers or dates"
        )
    if column.null_count:
        raise ValueError(
            f"column {name!r}, which groups rows, misses {column.null_count} value(s): "
            "name their groups, or take those rows out"
        )
    names, at = np.unique(column.to_pylist(), return_inverse=True)
    return names, at


def test_share(request: Request) -> float | None:
    """Return the share of rows to test on, None if they are in another file."""
    try:
        return float(request.test or "")
    except ValueError:
        return None
