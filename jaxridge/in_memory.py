"""A fit of a table whose rows are all in memory."""

import math
import time
from collections.abc import Generator, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from jaxridge import checks
from jaxridge.account import (
    Request,
    describe_data,
    digest_of,
    encoding_for,
    rare_levels,
)
from jaxridge.encoding import Encoded, Encoding, encode, unseen_levels
from jaxridge.examples import DIABETES_TARGET, diabetes
from jaxridge.intervals import Kept
from jaxridge.outputs import Fitted
from jaxridge.report import page
from jaxridge.story import Story
from jaxridge.study import study
from jaxridge.tables import read_table
from jaxridge.tested import grouped, split_table
from jaxridge.trial import Trial
from jaxridge.unseen import errors_on, kept_of_study, unseen_rows


def fit_in_memory(request: Request) -> Generator[str, None, Fitted]:
    """Choose λ for a table and fit it, and say what is done to its rows."""
    started = time.perf_counter()
    table, targets = _table(request)
    train, test, read_test = split_table(table, request)
    del table
    encoding = encoding_for(train, targets, request)
    rows, n_read = encode(train, encoding), train.num_rows
    test = read_test(encoding.text) if read_test else test
    if rows.weight is not None and (rows.weight < 0).any():
        raise ValueError(f"the weights in column {request.weight!r} hold negative ones")
    groups = _groups(train, request, rows.kept)
    held = None if test is None else _encode_test(test, encoding)
    unseen = {} if test is None else unseen_levels(test, encoding)
    del train, test
    pa.default_memory_pool().release_unused()  # before the fit takes its own
    read_seconds = time.perf_counter() - started
    digest = digest_of(rows, n_read)
    said = list(describe_data(request, encoding, digest))
    said += ["--test: " + rare_levels(name, count) for name, count in unseen.items()]
    yield from said
    trial = _trial(request, len(rows.Y), groups)
    task = request.task(trial)
    found = study(rows.X, rows.Y, rows.weight, task)
    kept = None
    if request.interval is not None or request.report:
        kept = kept_of_study(rows, found, task)
    errors: Sequence[dict[str, float] | None] = [None] * len(targets)
    if held is not None:
        errors = errors_on(found, held, kept, request.interval)
    told = None
    if kept is not None and request.report:
        unknown = unseen_rows(rows, held, found, task, kept)
        given = request, trial, encoding, rows, found, said, unknown, kept
        told = partial(page, Story(*given))
    if kept is not None and request.interval is not None:
        yield from _about_intervals(request, request.interval, kept)
    else:
        kept = None  # which was for the report alone
    n_rows = len(rows.Y)
    return Fitted(
        request, trial, encoding, n_rows, found, errors, kept, told, read_seconds
    )


def _about_intervals(request: Request, level: float, kept: Kept) -> Iterator[str]:
    """Say where intervals hold less than asked for, or have no ends."""
    if request.group or request.in_time:
        alike = "a group" if request.group else "neighbouring times"
        yield (
            f"--interval {level:g}: intervals are learnt from rows left out one by "
            f"one, and rows of {alike} are alike: they may hold fewer of new ones; "
            "--test tells how many"
        )
    least = math.ceil(level / (1 - level) - 1e-9)
    if len(kept.weight) < least:
        yield (
            f"--interval {level:g} takes at least {least} rows that count, got "
            f"{len(kept.weight)}: intervals have no ends"
        )


def _trial(request: Request, rows: int, groups: np.ndarray | None) -> Trial:
    """Return by what penalties are judged, if there are rows or groups enough."""
    most = rows if groups is None else len(np.unique(groups))
    if not isinstance(request.cv, str) and request.cv > most - request.in_time:
        what = "rows" if groups is None else f"groups in column {request.group!r}"
        before = ": some come before all folds" if request.in_time else ""
        raise ValueError(
            f"--cv {request.cv} asks for more folds than there are {what}, "
            f"{most}{before}"
        )
    return Trial(request.cv, request.seed, groups, request.in_time)


def _table(request: Request) -> tuple[pa.Table, tuple[str, ...]]:
    if request.data is None:
        return diabetes(), request.targets or (DIABETES_TARGET,)
    table = read_table(request.data, text=request.text, progress=True)
    return table, request.targets


def _groups(table: pa.Table, request: Request, kept: np.ndarray) -> np.ndarray | None:
    return None if request.group is None else grouped(table, request.group)[1][kept]


def _encode_test(test: pa.Table, encoding: Encoding) -> Encoded:
    try:
        held = encode(test, encoding)
        if held.weight is not None:
            checks.weights(held.weight, len(held.Y))
        return held
    except ValueError as error:
        raise ValueError(f"--test: {error}") from None
