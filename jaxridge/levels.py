"""A column of text as 0/1 columns: one for each of its most frequent levels."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxridge.excerpt import counted
from jaxridge.kinds import as_text, dropping, refuse_slip, refuse_unknown

# Pooled levels, and missing text: a level that is called the same is refused.
OTHER, MISSING = "(other)", "(missing)"


@dataclass(frozen=True)
class Column:
    """One column of the table: a number, or text by its levels.

    `levels` is None for a number. ``(other)`` among them stands for every level that
    is not, ``(missing)`` for no value.
    """

    name: str
    levels: tuple[str, ...] | None = None

    @property
    def features(self) -> list[str]:
        """Names of the columns that this one becomes."""
        if self.levels is None:
            return [self.name]
        return [f"{self.name}={level}" for level in self.levels]


def one_hot(
    name: str,
    text: pa.ChunkedArray,
    slip: str,
    max_levels: int,
    missing: str,
    notes: list[str],
) -> Column:
    """Return the levels of a column's text, of rows that are fitted."""
    present = text.drop_null()
    counts = pc.value_counts(present)
    ordered = sorted(
        zip(counts.field(1).to_pylist(), counts.field(0).to_pylist(), strict=True),
        key=lambda pair: (-pair[0], pair[1]),
    )
    rows, distinct = len(present), len(ordered)
    if rows >= 10 and (distinct >= 0.9 * rows or distinct > max(max_levels, rows / 2)):
        refuse_slip(name, slip)
        raise ValueError(
            f"column {name!r} has {distinct} levels in {rows} rows, like an id or free "
            f"text: leave it out with {dropping(name)}"
        )
    ours = {OTHER, MISSING} & {level for _, level in ordered}
    if ours:
        raise ValueError(
            f"column {name!r} has a level called {ours.pop()!r}, a name that is needed "
            "for pooled or missing levels: rename it"
        )
    levels = [level for _, level in ordered[:max_levels]]
    pooled = [count for count, _ in ordered[max_levels:]]
    if pooled:
        levels.append(OTHER)
        notes.append(
            f"column {name!r}: kept {counted(max_levels, 'level')}, the most frequent, "
            f"and pooled {counted(len(pooled), 'other')} "
            f"({counted(sum(pooled), 'row')}) as {OTHER}"
        )
    else:
        notes.append(f"column {name!r}: text, encoded as {counted(distinct, 'level')}")
    if slip:
        notes.append(f"column {name!r} {slip}, if it is to be one of numbers")
    if text.null_count and missing == "mean":
        levels.append(MISSING)
        holes = counted(text.null_count, "row")
        notes.append(f"column {name!r}: {holes} without text, as a level {MISSING}")
    return Column(name, tuple(levels))


def fill_one_hot(block: np.ndarray, table: pa.Table, column: Column) -> None:
    """Write 0s and 1s; NaN where text is missing that had no such level."""
    refuse_unknown(column.name, table)
    block[:] = 0
    levels = column.levels or ()
    encoded = as_text(table.column(column.name)).combine_chunks().dictionary_encode()
    place = {level: at for at, level in enumerate(levels)}
    other = place.get(OTHER, -1)
    of_code = np.array(
        [place.get(level, other) for level in encoded.dictionary.to_pylist()] + [-2]
    )
    codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
    at = of_code[codes]
    missing = at == -2
    if MISSING in place:
        at = np.where(missing, place[MISSING], at)
    else:
        block[missing] = np.nan
    rows = np.flatnonzero(at >= 0)
    block[rows, at[rows]] = 1
