"""Table columns as numbers: which columns become features, and how.

Numbers stay as they are, with NaN where a value is missing; text becomes one 0/1 column
for each of its most frequent levels. How is learnt once, from the training table, kept
with the model, and applied by column name to every later table.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxridge.kinds import (
    are_there,
    as_numbers,
    as_text,
    counts_rows,
    dropping,
    kind_of,
    refuse_dates,
    refuse_other_than_numbers,
    refuse_text,
    refuse_unknown,
    slip_in,
)
from jaxridge.levels import Column, fill_one_hot, one_hot
from jaxridge.placement import room

INDEX = r"|__index_level_\d+__"  # names that pandas gives to an index


@dataclass(frozen=True)
class Encoding:
    """How a table becomes a design matrix, targets and weights."""

    targets: tuple[str, ...]
    columns: tuple[Column, ...]
    weight: str | None = None
    missing: str = "error"
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def text(self) -> list[str]:
        """Names of the columns of the table that hold text."""
        return [column.name for column in self.columns if column.levels is not None]

    @property
    def features(self) -> list[str]:
        """Names of the columns of the design matrix."""
        return [name for column in self.columns for name in column.features]

    def needed(self, *more: str | None) -> list[str]:
        """Return the names of all columns of the table that are read."""
        names = [*self.targets, self.weight, *(c.name for c in self.columns), *more]
        return [name for name in names if name is not None]


class Encoded(NamedTuple):
    """Rows of a table as float64 arrays, and where in the table they stand."""

    X: np.ndarray  # (m, n)
    Y: np.ndarray  # (m, t)
    weight: np.ndarray | None
    kept: np.ndarray

    @property
    def counting(self) -> Any:
        """Which rows count: all, or those whose weight is above 0."""
        return slice(None) if self.weight is None else self.weight > 0


def learn_encoding(
    table: pa.Table,
    targets: Sequence[str],
    *,
    weight: str | None = None,
    drop: Iterable[str] = (),
    categorical: str = "error",
    text: Collection[str] = (),
    max_levels: int = 50,
    missing: str = "error",
    whole: Any = None,
) -> Encoding:
    """Decide how the columns of a table become features.

    Parameters
    ----------
    table : pyarrow.Table
        The training rows.
    targets : sequence of str
        Columns of numbers: what to predict.
    weight : str, optional
        Column of numbers: how often each row counts.
    drop : iterable of str
        Columns to leave out.
    categorical : "error", "drop" or "onehot"
        What to do with columns of text. "onehot" makes a 0/1 column for each of the
        `max_levels` most frequent levels and one for all the others; it refuses columns
        of dates and columns where nearly every row has a level of its own.
    text : collection of str
        Columns that hold text, whatever it looks like.
    max_levels : int
        How many levels of a text column get a column of their own, at least 1.
    missing : "error", "drop" or "mean"
        Refuse missing values; leave out their rows; or leave NaN for a mean to fill,
        and give missing text a level of its own. Rows that miss a target or the
        weight are left out by the last two.
    whole : pyarrow.Table, optional
        The table with rows that are not trained on, in which slips of the pen are
        looked for, so that they have the row numbers of the file.

    Returns
    -------
    Encoding
        With `notes`: sentences about what was done, for the user.

    Raises
    ------
    ValueError
        For columns that are unknown, empty, of dates, like an id, or of text when
        `categorical` is "error"; and if no feature is left.
    """
    wanted = [*targets, *([weight] if weight else [])]
    _refuse_two_roles(wanted, drop)
    used, whole = {*wanted, *drop}, table if whole is None else whole

    def slip(name: str) -> str:
        return "" if name in text else slip_in(whole.column(name))

    for name in sorted(used | {*text}):
        refuse_unknown(name, table)
    refuse_other_than_numbers(whole, wanted)
    notes: list[str] = []
    kinds = _kinds(table, used, text, notes)
    if categorical == "error":
        refuse_text({n: slip(n) for n, kind in kinds.items() if kind == "text"})
    columns: list[Column] = []
    others = [name for name, kind in kinds.items() if kind != "number"]
    kept = [name for name in kinds if name not in others or categorical != "drop"]
    needed = {"error": [], "mean": wanted, "drop": [*wanted, *kept]}[missing]
    fitted = _fitted(table, others, needed)
    for name, kind in kinds.items():
        if kind == "number":
            columns.append(_number_column(name, table.column(name), notes))
        elif categorical == "drop":
            notes.append(f"left out column {name!r}, which holds {kind}")
        else:
            refuse_dates(name, kind)
            values, fault = as_text(fitted.column(name)), slip(name)
            columns.append(one_hot(name, values, fault, max_levels, missing, notes))
    if not columns:
        raise ValueError(f"no column is left to predict {targets[0]!r} from")
    encoding = Encoding(tuple(targets), tuple(columns), weight, missing, tuple(notes))
    _refuse_namesakes(encoding.features)
    return encoding


def _kinds(
    table: Any, used: Collection[str], text: Collection[str], notes: list[str]
) -> dict[str, str]:
    """Return what each column holds that is not used otherwise, nor an index."""
    index = [n for n in table.column_names if n not in used and re.fullmatch(INDEX, n)]
    for name in index:
        what = f"index {name!r}" if name else "unnamed first column"
        notes.append(f"left out the {what}, as pandas writes the names of rows")
    kinds = {
        name: kind_of(name, table.column(name))
        for name in table.column_names
        if name not in used and name not in index
    }
    return kinds | dict.fromkeys(kinds.keys() & text, "text")


def encode(table: pa.Table, encoding: Encoding) -> Encoded:
    """Return the rows of a table that has a target, as the encoding says.

    Raises
    ------
    ValueError
        If a column is not there or of another kind; for missing values where they are
        an error, infinite values, and if no row is left.
    """
    rows = encode_some(table, encoding)
    refuse_no_rows(len(rows.Y))
    holes = np.isnan(rows.X)[rows.counting]
    refuse_empty(len(holes), holes.sum(axis=0), encoding)
    return rows


def encode_some(table: pa.Table, encoding: Encoding) -> Encoded:
    """Do as `encode` for some of the rows, of which none need be left."""
    Y = np.stack([as_numbers(table, name) for name in encoding.targets], axis=1)
    weight = as_numbers(table, encoding.weight) if encoding.weight else None
    beside = [*Y.T, *([] if weight is None else [weight])]
    X = encode_features(table, encoding)
    holes = np.isnan(X)
    if encoding.missing == "error":
        empty = [int(np.isnan(values).sum()) for values in beside]
        names = [*encoding.targets, *([encoding.weight] if encoding.weight else [])]
        refuse_missing(holes, encoding, also=dict(zip(names, empty, strict=True)))
    kept = ~np.isnan(beside).any(axis=0)
    if encoding.missing == "drop":
        kept &= ~holes.any(axis=1)
    where = np.flatnonzero(kept)
    if kept.all():
        return Encoded(X, Y, weight, where)
    return Encoded(X[kept], Y[kept], None if weight is None else weight[kept], where)


def refuse_no_rows(rows: int) -> None:
    """Refuse rows of which none is left."""
    if not rows:
        raise ValueError("no row is left: every one of them misses a value")


def refuse_empty(rows: int, holes: np.ndarray, encoding: Encoding) -> None:
    """Refuse columns that have holes in all rows that count, and so no mean."""
    nothing = np.flatnonzero(holes == rows)
    if rows and encoding.missing == "mean" and nothing.size:
        name = encoding.features[nothing[0]]
        raise ValueError(
            f"column {name!r} has no value in the {rows} rows that count: "
            f"leave it out with {dropping(name)}"
        )


def refuse_negative(weight: np.ndarray | None, encoding: Encoding) -> None:
    """Refuse weights below 0."""
    if weight is not None and (weight < 0).any():
        raise ValueError(
            f"the weights in column {encoding.weight!r} hold negative ones"
        )


def refuse_weights(weight: np.ndarray | None, encoding: Encoding) -> None:
    """Refuse weights that are negative, or 0 for every row."""
    refuse_negative(weight, encoding)
    if weight is not None and not weight.any():
        raise ValueError(idle_weights(encoding))


def idle_weights(encoding: Encoding, where: str = "") -> str:
    """Say that no row counts."""
    return (
        f"the weights in column {encoding.weight!r} are all 0{where}: no row counts "
        "there"
    )


def encode_features(table: pa.Table, encoding: Encoding) -> np.ndarray:
    """Return the design matrix of a table, NaN where a value is missing."""
    there = set(table.column_names)
    absent = [c.name for c in encoding.columns if c.name not in there]
    if len(absent) > 1:
        listed = ", ".join(map(repr, absent[:8])) + (", ..." if absent[8:] else "")
        raise ValueError(f"the table has no columns {listed}")
    X = room((table.num_rows, len(encoding.features)), np.float64)
    start = 0
    for column in encoding.columns:
        stop = start + len(column.features)
        if column.levels is None:
            X[:, start] = as_numbers(table, column.name)
        else:
            fill_one_hot(X[:, start:stop], table, column)
        start = stop
    return X


def refuse_missing(
    holes: np.ndarray,
    encoding: Encoding,
    advice: str = "",
    also: dict[str, int] | None = None,
) -> None:
    """Raise ValueError if a design matrix has holes, naming their columns.

    `also` counts those of target and weight, whose rows can only be left out.
    """
    missing = {name: n for name, n in (also or {}).items() if n}
    missing |= missing_in(holes, encoding)
    if not missing:
        return
    listed = ", ".join(f"{name!r} ({n})" for name, n in list(missing.items())[:8])
    more = ", ..." if len(missing) > 8 else ""
    if not advice:
        advice = "--missing drop leaves those rows out"
        if fillable := missing.keys() - (also or {}).keys():
            advice += ", --missing mean fills " + (
                "them" if len(fillable) == len(missing) else "those of features"
            )
    raise ValueError(f"values are missing in column(s) {listed}{more}: {advice}")


def missing_in(holes: np.ndarray, encoding: Encoding) -> dict[str, int]:
    """Count the values that a design matrix misses, of each column that misses any."""
    counts, start = {}, 0
    for column in encoding.columns:
        if column.features:
            counts[column.name] = int(holes[:, start].sum())
        start += len(column.features)
    return {name: count for name, count in counts.items() if count}


def unseen_levels(table: pa.Table, encoding: Encoding) -> dict[str, int]:
    """Count, for each text column, the rows whose level has no column of its own."""
    counts = {}
    for column in encoding.columns:
        if column.levels is not None:
            values = as_text(table.column(column.name))
            known = pc.is_in(values, value_set=pa.array(column.levels, pa.string()))
            unseen = pc.sum(pc.and_(pc.invert(known), pc.is_valid(values))).as_py()
            if unseen:
                counts[column.name] = unseen
    return counts


def _refuse_two_roles(wanted: list[str], drop: Iterable[str]) -> None:
    names = [*wanted, *drop]
    for place, name in enumerate(wanted):
        if name in names[place + 1 :]:
            raise ValueError(
                f"column {name!r} is named twice, and can have one role: target, "
                "weight or dropped"
            )


def _refuse_namesakes(features: list[str]) -> None:
    seen = set[str]()
    for name in features:
        if name in seen:
            raise ValueError(f"two features would be called {name!r}: rename a column")
        seen.add(name)


def _number_column(name: str, values: pa.ChunkedArray, notes: list[str]) -> Column:
    if counts_rows(name, values):
        notes.append(
            f"column {name!r} numbers the rows, each with its own: if that is all it "
            f"does, leave it out with {dropping(name)}"
        )
    return Column(name)


def _fitted(table: Any, text: list[str], needed: list[str]) -> Any:
    """Return columns of text without the rows that a fit leaves out."""
    if not needed or not text:
        return table
    if isinstance(table, pa.Table):
        return table.select(text).filter(pa.array(are_there(table, needed)))
    return table.among(needed)
