"""A fit of a Parquet file that is larger than memory, from sums over its rows.

Columns are read for what they hold, those of text for their levels; then all rows once,
for the moments of every fold; and once more if some of them are to be tested on. What
needs rows to be there (leave-one-out, intervals, descents, the report) is refused.
"""

import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from jaxridge.account import Digest, Tally, describe_data, encoding_for
from jaxridge.batches import moments_of_batch
from jaxridge.encoding import (
    Encoded,
    Encoding,
    encode_some,
    refuse_empty,
    refuse_negative,
    refuse_no_rows,
)
from jaxridge.filled import Holed, widened
from jaxridge.kinds import are_there
from jaxridge.lots import Lots
from jaxridge.moments import Moments
from jaxridge.outputs import Fitted
from jaxridge.parquet import Stored, bytes_in_memory
from jaxridge.precision import LostDigits
from jaxridge.request import Request
from jaxridge.study import Study
from jaxridge.sums_alone import study_of_sums
from jaxridge.tables import UNREADABLE, is_parquet, read_table
from jaxridge.tested import test_share
from jaxridge.trial import Trial


def is_too_large(request: Request) -> bool:
    """Whether the data are in a Parquet file that is not to be read into memory."""
    path = request.data
    if path is None or not path.is_file() or not is_parquet(path):
        return False
    try:
        return bytes_in_memory(path) > request.memory
    except UNREADABLE:  # which whoever reads it says better
        return False


class Piece(NamedTuple):
    """Some rows of the file, and encoded; the folds of all, or -1 to be tested on."""

    table: pa.Table
    rows: Encoded
    lot: np.ndarray

    @property
    def fold(self) -> np.ndarray:
        """The folds of the encoded rows."""
        return self.lot[self.rows.kept]


class Sums(NamedTuple):
    """What one pass finds: the moments of each fold, and the digest."""

    parts: Moments
    holed: Holed
    digest: Digest


def fit_in_passes(request: Request) -> Generator[str, None, Fitted]:
    """Choose λ for a file and fit it, and say what is done to its rows."""
    _refuse_what_needs_rows(request)
    started, path = time.perf_counter(), Path(str(request.data))
    stored = Stored(path, request.text)
    yield (
        f"{path.name} would fill {bytes_in_memory(path) / 1e9:.2g} GB: read in pieces, "
        "of which sums are kept"
    )
    trained = TrainingRows(stored, partial(Lots, request, stored.num_rows))
    encoding = encoding_for(trained, request.targets, request, stored)
    lots = trained.lots()
    sums = _added_up(_pieces(stored, encoding, lots, "adding up"), encoding, lots)
    read_seconds = time.perf_counter() - started
    yield from describe_data(request, encoding, sums.digest)
    if request.in_time and sums.digest.read > sums.digest.rows:
        yield "folds are equal stretches of the file, also of the rows left out there"
    groups = None if request.group is None else np.zeros(0)  # told apart already
    trial = Trial(request.cv, request.seed, groups, request.in_time)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", LostDigits)
        found = study_of_sums(sums.parts, sums.holed, request.task(trial))
    told = [one.message for one in warned]
    for message in told:
        if not isinstance(message, LostDigits):
            warnings.warn(message, stacklevel=1)
    if any(isinstance(message, LostDigits) for message in told):
        yield (
            "note: sums over the rows have lost some digits of these answers, which "
            "the rows have: raise --memory, or use larger --lambdas"
        )
    errors: list[dict[str, float] | None] = [None] * len(encoding.targets)
    if request.test is not None:
        tally = Tally()
        rows = _tested(stored, encoding, request, tally)
        errors = list(_test_errors(rows, found, request))
        yield from tally.lines()
    given = request, trial, encoding, sums.digest.rows, found, errors
    return Fitted(*given, None, None, read_seconds)


def _refuse_what_needs_rows(request: Request) -> None:
    for asked, what in (
        (request.cv == "loo", "--cv loo"),
        (request.interval is not None, "--interval"),
        (request.method == "descent", "--method descent"),
        (request.report, "--report"),
    ):
        if asked:
            raise ValueError(
                f"{what} needs all rows in memory, and {request.data} would fill more "
                f"than --memory, {request.memory / 1e9:.2g} GB: raise that, or do "
                f"without {what}"
            )


class TrainingRows:
    """The rows of a file that are trained on: an encoding is learnt from them alone."""

    def __init__(
        self, stored: Stored, lots: Callable[[], Lots], needed: Sequence[str] = ()
    ) -> None:
        self.column_names, self.num_columns = stored.column_names, stored.num_columns
        self.lots, self._stored, self._needed = lots, stored, needed

    def among(self, needed: Sequence[str]) -> "TrainingRows":
        """Return those of these rows that miss no value of some columns."""
        return TrainingRows(self._stored, self.lots, needed)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column, as `Stored` does."""
        lots = self.lots()
        if not self._stored.is_text(name) or not (lots.leaves_out or self._needed):
            return self._stored.column(name)
        beside = {name, *self._needed} | ({lots.group} if lots.group else set())
        start, kept = 0, []
        for batch in self._stored.batches(2**20 // len(beside), sorted(beside)):
            table = pa.Table.from_batches([batch])
            trained = (lots.drawn(start, table) >= 0) & are_there(table, self._needed)
            kept.append(table.column(name).filter(trained))
            start += table.num_rows
        if not any(map(len, kept)):
            raise ValueError(_too_few(0, start))
        return pa.chunked_array([c for one in kept for c in one.chunks], kept[0].type)


def _pieces(
    stored: Stored, encoding: Encoding, lots: Lots, what: str
) -> Iterator[Piece]:
    """Yield the rows of the file, a piece at a time, and the fold of each."""
    names, width = encoding.needed(lots.group), len(encoding.features)
    for start, table in stored.pieces(names, width, what):
        try:
            rows = _encoded(table, encoding)
        except ValueError as error:
            raise ValueError(f"{error} (in rows from {start + 1} on)") from None
        yield Piece(table, rows, lots.drawn(start, table))


def _encoded(table: pa.Table, encoding: Encoding) -> Encoded:
    """Return the rows of a piece, of which none need count."""
    rows = encode_some(table, encoding)
    refuse_negative(rows.weight, encoding)
    return rows


def _added_up(pieces: Iterable[Piece], encoding: Encoding, lots: Lots) -> Sums:
    """Return the moments of every fold, of columns with their holes apart."""
    n, t = len(encoding.features), len(encoding.targets)
    parts: Moments | None = None
    offset, known, holed = np.zeros(n), np.zeros(n, bool), np.zeros(0, int)
    low, high = np.full(n + t, np.inf), np.full(n + t, -np.inf)
    unknown, in_fold = np.zeros(n, int), np.zeros(lots.sets, int)
    read = tested = counting = holes = 0
    for piece in pieces:
        (X, Y, weight), fold = _some(piece, piece.fold >= 0)
        left_for_test = len(piece.rows.Y) - len(Y)
        tested += left_for_test
        read += piece.table.num_rows - left_for_test
        if not len(Y):
            continue
        both, missing = np.concatenate([X, Y], axis=1), np.isnan(X)
        counts = slice(None) if weight is None else weight > 0
        low = np.fmin(low, np.fmin.reduce(both[counts], initial=np.inf))
        high = np.fmax(high, np.fmax.reduce(both[counts], initial=-np.inf))
        counting += len(both[counts])
        unknown += missing[counts].sum(axis=0)
        holes += int(missing.sum())
        in_fold += np.bincount(fold, minlength=lots.sets)
        # About the first value: exact for a constant column, sharp for a large mean. A
        # row that does not count may be far from all others.
        there = ~missing if weight is None else ~missing & (weight > 0)[:, None]
        new = ~known & there.any(axis=0)
        offset[new] = X[there.argmax(axis=0), np.arange(n)][new]
        known |= new
        first_holes = np.setdiff1d(np.flatnonzero(missing.any(axis=0)), holed)
        holed = np.concatenate([holed, first_holes])
        X = np.where(missing, 0, X - offset)
        X = np.concatenate([X, missing[:, holed]], axis=1)
        held = fold == np.arange(lots.sets)[:, None]
        part = moments_of_batch(X, Y, weight, held)
        parts = part if parts is None else widened(parts, len(first_holes)) + part
    rows = int(in_fold.sum())
    if parts is None or rows < 2:
        refuse_no_rows(rows or int(tested > 0))
        raise ValueError(_too_few(rows, read + tested))
    refuse_empty(counting, unknown, encoding)
    lots.refuse_empty(in_fold, np.asarray(parts.weight), encoding)
    constant = np.where(low == high, low, np.nan)
    digest = Digest(rows, read, holes, constant[:n], constant[n:])
    return Sums(parts, Holed(offset, holed), digest)


def _too_few(rows: int, read: int) -> str:
    return f"{rows} of {read} rows are left to train on: choosing a penalty needs more"


def _some(piece: Piece, which: np.ndarray) -> tuple[tuple[Any, ...], np.ndarray]:
    """Return X, Y and weight of some rows of a piece, and their folds."""
    (X, Y, weight, _), fold = piece.rows, piece.fold
    if which.all():
        return (X, Y, weight), fold
    weight = None if weight is None else weight[which]
    return (X[which], Y[which], weight), fold[which]


def _tested(
    stored: Stored, encoding: Encoding, request: Request, tally: Tally
) -> Iterator[tuple[Any, ...]]:
    """Yield X, Y and weight of the rows to be tested on, a piece at a time."""
    if test_share(request) is not None:
        lots = Lots(request, stored.num_rows)
        for piece in _pieces(stored, encoding, lots, "testing"):
            given, _ = _some(piece, piece.fold < 0)
            tally.add(piece.table.filter(piece.lot < 0), given[0], encoding)
            yield given
        return
    path = Path(str(request.test))
    if path.is_file() and is_parquet(path):
        width = len(encoding.features)
        held = Stored(path, encoding.text)
        tables = held.pieces(encoding.needed(), width, "testing")
    else:
        tables = iter([(0, read_table(path, text=encoding.text, progress=True))])
    for _, table in tables:
        try:
            given = _encoded(table, encoding)[:3]
            tally.add(table, given[0], encoding)
            yield given
        except ValueError as error:
            raise ValueError(f"--test: {error}") from None


def _test_errors(
    rows: Iterable[tuple[Any, ...]], found: Study, request: Request
) -> Iterator[dict[str, float]]:
    """Yield the error of each target on rows that chose nothing."""
    coef, intercept = map(np.asarray, found.raw)
    centre = intercept + coef.T @ found.columns.fill
    count, total, sums = 0, 0.0, np.zeros((3, len(centre)))
    for X, Y, weight in rows:
        weight = np.ones(len(Y)) if weight is None else weight
        X, dy = np.where(np.isnan(X), found.columns.fill, X), Y - centre
        e = X @ coef + intercept - Y  # by NumPy: XLA would compile each length
        sums += np.stack([weight @ e**2, weight @ dy**2, weight @ dy])
        count, total = count + int((weight > 0).sum()), total + weight.sum()
    if not total > 0:
        raise ValueError(
            f"--test {request.test} gives no row that counts to test on: ask for more"
        )
    for mse, square, mean in (sums / total).T:
        around = square - mean**2
        known = {"r2": float(1 - mse / around)} if around > 1e-12 * square else {}
        yield {"rows": count, "mse": float(mse)} | known
