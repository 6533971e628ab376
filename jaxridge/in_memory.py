"""A fit of a table whose rows are all in memory."""

import math
import time
from collections.abc import Generator, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from jaxridge.account import Tally, describe_data, digest_of, encoding_for
from jaxridge.encoding import (
    Encoded,
    Encoding,
    encode,
    encode_some,
    idle_weights,
    refuse_no_rows,
    refuse_weights,
)
from jaxridge.examples import DIABETES_TARGET, diabetes
from jaxridge.intervals import Kept
from jaxridge.outputs import Fitted
from jaxridge.report import page
from jaxridge.request import Request
from jaxridge.story import Story
from jaxridge.study import study
from jaxridge.tables import is_parquet, read_table
from jaxridge.tested import grouped, split_table
from jaxridge.trial import Trial
from jaxridge.unseen import errors_on, kept_of_study, unseen_rows


def fit_in_memory(request: Request) -> Generator[str, None, Fitted]:
    """Choose λ for a table and fit it, and say what is done to its rows."""
    started = time.perf_counter()
    table, targets = _table(request)
    train, test, read_test = split_table(table, request)
    encoding = encoding_for(train, targets, request, table)
    del table
    rows, n_read = encode(train, encoding), train.num_rows
    test = read_test(encoding.text) if read_test else test
    refuse_weights(rows.weight, encoding)
    groups = _groups(train, request, rows.kept)
    tally = Tally()
    held = None if test is None else _encode_test(test, encoding, tally)
    del train, test
    pa.default_memory_pool().release_unused()  # before the fit takes its own
    read_seconds = time.perf_counter() - started
    digest = digest_of(rows, n_read)
    said = [*describe_data(request, encoding, digest), *tally.lines()]
    said += _about_memory(request, rows.X.nbytes)
    yield from said
    trial = _trial(request, len(rows.Y), groups)
    _refuse_idle_folds(trial, rows, encoding)
    task = request.task(trial)
    found = study(rows.X, rows.Y, rows.weight, task)
    kept = None
    if request.interval is not None or request.report:
        kept = kept_of_study(rows, found, task)
    errors: Sequence[dict[str, float] | None] = [None] * len(targets)
    if held is not None:
        errors = errors_on(found, held, kept, request.interval)
    told = None
    if kept is not None and request.interval is not None:
        more = list(_about_intervals(request, request.interval, kept))
        yield from more
        said += more
    if kept is not None and request.report:
        unknown = unseen_rows(rows, held, found, task, kept)
        given = request, trial, encoding, rows, found, said, unknown, kept
        told = partial(page, Story(*given))
    if request.interval is None:
        kept = None  # which was for the report alone
    n_rows = len(rows.Y)
    return Fitted(
        request, trial, encoding, n_rows, found, errors, kept, told, read_seconds
    )


def _about_memory(request: Request, size: int) -> Iterator[str]:
    """Say where a table is in memory that was not to be."""
    path = request.data
    if path is not None and size > request.memory and not is_parquet(path):
        yield (
            f"note: the columns fill {size / 1e6:,.1f} MB, more than --memory: only "
            "Parquet files are read in pieces"
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
        table, targets = diabetes(), request.targets or (DIABETES_TARGET,)
        for name in targets:
            if name not in table.column_names:
                raise ValueError(
                    "no DATA, and the diabetes data that are fitted then have no "
                    f"column {name!r}: name a file before --target"
                )
        return table, targets
    table = read_table(request.data, text=request.text, progress=True)
    return table, request.targets


def _groups(table: pa.Table, request: Request, kept: np.ndarray) -> np.ndarray | None:
    return None if request.group is None else grouped(table, request.group)[1][kept]


def _refuse_idle_folds(trial: Trial, rows: Encoded, encoding: Encoding) -> None:
    """Refuse folds on one side of which no row counts."""
    if trial.folds is None or rows.weight is None or rows.weight.all():
        return
    folds = trial.folds.split(rows.Y, groups=trial.groups)
    for number, sides in enumerate(folds, 1):
        for which, side in zip(("before", "in"), sides, strict=True):
            if not rows.weight[side].any():
                where = which if trial.in_time else "in"
                raise ValueError(idle_weights(encoding, f" {where} fold {number}"))


def _encode_test(test: pa.Table, encoding: Encoding, tally: Tally) -> Encoded:
    try:
        held = encode_some(test, encoding)
        refuse_no_rows(len(held.Y))
        tally.add(test, held.X, encoding)
        refuse_weights(held.weight, encoding)
        return held
    except ValueError as error:
        raise ValueError(f"--test: {error}") from None
