"""A table file in, a chosen λ and its files out: what ``jaxridge fit`` does.

`fit_table` yields the lines to show as they become known, so that a long run speaks
before it ends.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pyarrow as pa

from jaxridge import checks
from jaxridge.account import (
    Request,
    describe_data,
    describe_device,
    describe_target,
    without_column,
)
from jaxridge.encoding import (
    Encoding,
    Rows,
    encode,
    learn_encoding,
    unseen_levels,
)
from jaxridge.examples import DIABETES_TARGET, diabetes
from jaxridge.files import (
    refuse_overwriting,
    refuse_unwritable,
)
from jaxridge.kinds import known
from jaxridge.outputs import WRITTEN, result_of, write_all
from jaxridge.report import Story, page
from jaxridge.study import Task, study
from jaxridge.tables import read_table
from jaxridge.trial import Trial
from jaxridge.unseen import kept_for, test_errors, unseen_rows


def fit_table(request: Request) -> Iterator[str]:
    """Choose λ for a table, fit it, write the files, and say what was done."""
    refuse_unwritable(request.out, WRITTEN)
    refuse_overwriting(
        [request.out / name for name in WRITTEN],
        {"DATA": request.data, "--test": request.test},
    )
    started = time.perf_counter()
    compiling = _compile_seconds()
    _refuse_contradictions(request)
    table, targets = _table(request)
    train, test, read_test = _split_table(table, request)
    del table
    encoding = learn_encoding(
        train,
        targets,
        weight=request.weight,
        drop=(*request.drop, *([request.group] if request.group else [])),
        categorical=request.categorical,
        max_levels=request.max_levels,
        missing=request.missing,
    )
    rows, n_read = encode(train, encoding), train.num_rows
    test = read_test(encoding.text) if read_test else test
    if rows.weight is not None and (rows.weight < 0).any():
        raise ValueError(f"the weights in column {request.weight!r} hold negative ones")
    groups = _groups(train, request, rows.kept)
    held = None if test is None else _encode_test(test, encoding)
    unseen = {} if test is None else unseen_levels(test, encoding)
    del train, test
    pa.default_memory_pool().release_unused()  # before the fit takes its own
    seconds = {"read": time.perf_counter() - started}
    said = list(describe_data(request, encoding, rows, n_read))
    said += ["--test: " + without_column(name, count) for name, count in unseen.items()]
    yield describe_device()
    yield from said
    trial = _trial(request, len(rows.Y), groups)
    task = Task(
        request.lams,
        trial,
        request.rule,
        request.method,
        request.standardize,
        request.fit_intercept,
    )
    found = study(rows.X, rows.Y, rows.weight, task, progress=True)
    seconds["compile"] = compiling()
    kept = None
    if request.interval is not None or request.report:
        kept = kept_for(rows, found, task)
    errors: list[dict[str, float] | None] = [None] * len(targets)
    if held is not None:
        errors = test_errors(found, held, kept, request.interval)
    each = zip(targets, found.of_each_target(), errors, strict=True)
    for name, one, error in each:
        if len(targets) > 1:
            yield f"\n--- target {name!r}"
        yield from describe_target(request, trial, encoding, one, error)
    seconds["total"] = time.perf_counter() - started
    given = request, trial, encoding, len(rows.Y), found, errors
    result = result_of(*given, seconds)
    told = None
    if kept is not None and request.report:
        told = page(
            Story(
                request,
                trial,
                encoding,
                rows,
                found,
                result,
                said,
                unseen_rows(rows, held, found, task),
                kept,
            )
        )
    if request.interval is None:
        kept = None
    yield from write_all(request.out, trial, encoding, found, kept, result, told)


def _refuse_contradictions(request: Request) -> None:
    if isinstance(request.cv, str) and (request.group or request.in_time):
        raise ValueError(
            f"--group and --time-ordered make folds, and --cv {request.cv} has none: "
            "pass a number of folds as --cv"
        )
    if request.group and request.in_time:
        raise ValueError("--group and --time-ordered exclude each other: pass one")
    if isinstance(request.cv, str) and request.method == "descent":
        raise ValueError(
            f"--method descent needs folds, and --cv {request.cv} has none: pass a "
            "number of folds as --cv"
        )


def _trial(request: Request, rows: int, groups: np.ndarray | None) -> Trial:
    """Return by what penalties are judged, if there are rows or groups enough."""
    most = rows if groups is None else len(np.unique(groups))
    if not isinstance(request.cv, str) and request.cv > most - request.in_time:
        what = "rows" if groups is None else f"groups in column {request.group!r}"
        raise ValueError(
            f"--cv {request.cv} asks for more folds than there are {what}, {most}"
        )
    return Trial(request.cv, request.seed, groups, request.in_time)


def _table(request: Request) -> tuple[pa.Table, tuple[str, ...]]:
    if request.data is None:
        return diabetes(), request.targets or (DIABETES_TARGET,)
    return read_table(request.data, progress=True), request.targets


def _split_table(
    table: pa.Table, request: Request
) -> tuple[pa.Table, pa.Table | None, Callable[[list[str]], pa.Table] | None]:
    """Return training and test rows, or how to read them, given what is text."""
    if request.test is None:
        return table, None, None
    try:
        fraction = float(request.test)
    except ValueError:
        path = request.test
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
    groups = _codes(table, request.group)
    names, counts = np.unique(groups, return_counts=True)
    order = rng.permutation(len(names))
    # As many groups as come nearest to the rows asked for, and one left to train on.
    enough = int(np.abs(np.cumsum(counts[order]) - n_test).argmin()) + 1
    tested[np.isin(groups, names[order[: min(enough, len(names) - 1)]])] = True
    if not tested.any():
        raise ValueError(
            f"column {request.group!r} has one group only: none is left to test on"
        )
    return tested


def _codes(table: pa.Table, name: str) -> np.ndarray:
    """Return a number for each row, the same where a column holds the same."""
    known(name, table)
    column = table.column(name)
    if column.null_count:
        raise ValueError(
            f"column {name!r}, which groups rows, misses {column.null_count} values: "
            "name their groups, or take those rows out"
        )
    return np.unique(column.to_pylist(), return_inverse=True)[1]


def _groups(table: pa.Table, request: Request, kept: np.ndarray) -> np.ndarray | None:
    return None if request.group is None else _codes(table, request.group)[kept]


def _encode_test(test: pa.Table, encoding: Encoding) -> Rows:
    try:
        held = encode(test, encoding)
        if held.weight is not None:
            checks.weights(held.weight, len(held.Y))
        return held
    except ValueError as error:
        raise ValueError(f"--test: {error}") from None


def _compile_seconds() -> Any:
    """Start adding up what JAX spends on compiling; return a function that tells."""
    spent: list[float] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            spent.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return lambda: sum(spent)
