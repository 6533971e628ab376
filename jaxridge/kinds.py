"""What a column of a table holds, and what no column may hold."""

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

YEAR = r"(1[5-9]|2[01])\d\d"
MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
# Each with a year of four digits, or slashes, or a month by its name: version numbers
# (1.2.3) and ranges (10-20-30) are text.
DATES = (
    rf"{YEAR}[-/.]\d{{1,2}}[-/.]\d{{1,2}}",
    rf"\d{{1,2}}[-/.]\d{{1,2}}[-/.]{YEAR}",
    r"\d{1,2}/\d{1,2}/\d\d",
    rf"{YEAR}[-/](0?[1-9]|1[0-2])",
    rf"(0?[1-9]|1[0-2])[-/]{YEAR}",
    rf"{YEAR}[- ]?[QW]\d{{1,2}}",
    rf"\d{{1,2}}(st|nd|rd|th|\.)?[- ]?{MONTH},?[- ]?\d\d(\d\d)?",
    rf"{MONTH}[- ]\d{{1,2}}(st|nd|rd|th)?,?[- ]{YEAR}",
    rf"{MONTH}[- ]?{YEAR}",
)
DATE = rf"(?i)^\s*([a-z]{{3,9}},? )?({'|'.join(DATES)})([T, ].*)?\s*$"
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
DIGITS = r"^\s*[+-]?\d{19,}\s*$"
COMMAS = r"^\s*[+-]?(\d+|\d{1,3}([.,]\d{3})+),\d+\s*$"
# With a unit, or with thousands set apart by what is no text of any other kind.
UNITS = (
    r"^\s*[+-]?[€$£¥]?\s*(\d+|\d{1,3}(['’\x{a0}\x{202f}]\d{3})+)([.,]\d+)?"
    r"\s*[%€$£¥]?\s*$"
)
MOSTLY = 0.5  # of the values of a column, to be taken for one of numbers with slips
ID_NAME = r"(^|_|\b)id$|[a-z]I[dD]$"
ROWS_LOOKED_AT = 2**20
LARGEST = 1e140  # or, upside down, smallest: of which many squares can be added
NUMBERS = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_decimal,
)


def refuse_unknown(name: str, table: pa.Table) -> None:
    """Refuse a column that is not in the table."""
    if name not in table.column_names:
        close = difflib.get_close_matches(name, table.column_names, 1)
        hint = (
            f"did you mean {close[0]!r}?"
            if close
            else (
                "it has "
                + ", ".join(repr(c) for c in table.column_names[:8])
                + (", ..." if table.num_columns > 8 else "")
            )
        )
        raise ValueError(f"the table has no column {name!r}: {hint}")


def type_of(of: pa.DataType) -> pa.DataType:
    """Return the type of values, also of those that are encoded by a dictionary."""
    return of.value_type if pa.types.is_dictionary(of) else of


def dropping(name: str) -> str:
    """Return how a column is left out, as a shell takes it."""
    if name != name.strip() or not name or "," in name or '"' in name:
        name = '"' + name.replace('"', '""') + '"'
    return f"--drop {shlex.quote(name)}"


def is_text(of: pa.DataType) -> bool:
    """Whether values of a type are text."""
    of = type_of(of)
    kinds = pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view
    return any(is_one(of) for is_one in kinds)


def is_wordable(of: pa.DataType) -> bool:
    """Whether values of a type are none of text, and can be written as such."""
    of = type_of(of)
    return pa.types.is_temporal(of) or any(is_number(of) for is_number in NUMBERS)


def kind_of(name: str, values: pa.ChunkedArray) -> str:
    """Return "number", "text" or "dates"; refuse everything else."""
    of = type_of(values.type)
    if pa.types.is_null(of) or values.null_count == len(values):
        raise ValueError(
            f"column {name!r} is empty: leave it out with {dropping(name)}"
        )
    if any(is_number(of) for is_number in NUMBERS):
        return "number"
    if pa.types.is_temporal(of):
        return "dates"
    if not is_text(of):
        if pa.types.is_binary(of) or pa.types.is_large_binary(of):
            raise ValueError(
                f"column {name!r} holds bytes, not UTF-8 text: save the file as UTF-8, "
                f"or leave the column out with {dropping(name)}"
            )
        raise ValueError(
            f"column {name!r} holds {of}, neither numbers nor text: leave it out with "
            f"{dropping(name)}"
        )
    looks = pc.match_substring_regex(as_text(values).drop_null().slice(0, 1000), DATE)
    return "dates" if pc.mean(looks).as_py() > 0.9 else "text"


def slip_in(values: pa.ChunkedArray) -> str:
    """Say why a column of text is none of numbers, if most of it is; "" otherwise."""
    text = as_text(values)
    numbers = pc.match_substring_regex(text, NUMBER)
    share = pc.mean(numbers).as_py() or 0.0
    commas = pc.mean(pc.match_substring_regex(text, COMMAS)).as_py() or 0.0
    if share == 1:
        long = pc.any(pc.match_substring_regex(text, DIGITS)).as_py()
        return (
            "holds whole numbers beyond 2**63, which float64 cannot tell apart: an id? "
            "leave it out, or scale it"
            if long  # and so was read as text
            else ""
        )
    if commas > MOSTLY:
        row, value = _first_where(text, pc.match_substring_regex(text, COMMAS))
        return (
            f"holds numbers with commas, {value!r} in row {row}: write decimals with a "
            "point, and nothing between thousands"
        )
    units = pc.match_substring_regex(text, UNITS)
    if (pc.mean(units).as_py() or 0.0) > MOSTLY > share:
        row, value = _first_where(text, pc.and_(units, pc.invert(numbers)))
        return (
            f"holds numbers with signs beside them, {value!r} in row {row}: write the "
            "numbers alone"
        )
    if share < MOSTLY:
        return ""
    row, value = _first_where(text, pc.invert(numbers))
    others = pc.sum(pc.invert(numbers)).as_py()
    return (
        f"holds numbers, but for {others} of {len(text) - text.null_count} values, the "
        f"first {value!r} in row {row}: mend it, or leave it empty"
    )


def _first_where(text: pa.ChunkedArray, which: pa.ChunkedArray) -> tuple[int, str]:
    """Return the row, counted from 1, and the value of the first marked one."""
    at = pc.index(which, True).as_py()
    return at + 1, text[at].as_py()


def refuse_slip(name: str, slip: str) -> None:
    """Refuse text that is numbers but for a few values, as `slip_in` says."""
    if slip:
        raise ValueError(f"column {name!r} {slip}, or use {dropping(name)}")


def refuse_other_than_numbers(table: pa.Table, names: list[str]) -> None:
    """Refuse a target or weight that holds no numbers."""
    for name in names:
        values = table.column(name)
        if pa.types.is_null(values.type) or values.null_count == len(values):
            raise ValueError(
                f"column {name!r} is empty: it has no number to learn from"
            )
        if (kind := kind_of(name, values)) != "number":
            classes = " (classes are for RidgeClassifierCV, from Python)"
            raise ValueError(
                f"column {name!r} must hold numbers: {_instead(values)}"
                + (classes if kind == "text" and not slip_in(values) else "")
            )


def refuse_dates(name: str, kind: str) -> None:
    """Refuse dates, and say what to make of them."""
    if kind == "dates":
        raise ValueError(
            f"column {name!r} holds dates or times, which ridge regression cannot use "
            f"as they are: leave it out with {dropping(name)}, or turn it into numbers "
            "(a year, days since a start)"
        )


def _instead(values: pa.ChunkedArray) -> str:
    """Say what a column holds in the place of numbers."""
    of = type_of(values.type)
    if not (is_text(of) or pa.types.is_temporal(of)):
        return f"it holds {of}"
    if slip := slip_in(values):
        return f"it {slip}"
    text = as_text(values)
    row, value = _first_where(text, pc.is_valid(text))
    if pa.types.is_temporal(of):
        return f"it holds dates or times, {value!r} in row {row}"
    if pc.all(pc.match_substring_regex(text, NUMBER)).as_py():
        return f"it holds numbers stored as text, {value!r} in row {row}"
    return f"it holds text or dates, {value!r} in row {row}"


def refuse_text(slips: Mapping[str, str]) -> None:
    """Refuse columns of text, if there are any, each with what `slip_in` says of it."""
    for name, slip in slips.items():
        refuse_slip(name, slip)
    if slips:
        listed = ", ".join(repr(name) for name in slips)
        raise ValueError(
            f"column(s) {listed} hold text: --categorical onehot encodes them, "
            "--categorical drop leaves them out"
        )


def counts_rows(name: str, values: pa.ChunkedArray) -> bool:
    """Whether a column only numbers the rows: 1, 2, 3 … in any order, or ids."""
    values = values[:ROWS_LOOKED_AT]
    if not pa.types.is_integer(values.type) or values.null_count or len(values) < 10:
        return False
    if pc.count_distinct(values).as_py() < len(values):
        return False
    ends = pc.min_max(values).as_py()
    gapless = ends["max"] - ends["min"] == len(values) - 1
    return gapless or re.search(ID_NAME, name) is not None


def as_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text."""
    return without_nan(values).cast(pa.string())


def are_there(table: pa.Table, names: Iterable[str]) -> np.ndarray:
    """Tell the rows that miss no value of some columns."""
    found = np.ones(table.num_rows, bool)
    for name in names:
        found &= without_nan(table.column(name)).is_valid().to_numpy()
    return found


def without_nan(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with NaN as missing."""
    if not pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.is_nan(values), None, values)


def as_numbers(table: pa.Table, name: str) -> np.ndarray:
    """Return a column of the table as float64, NaN where a value is missing."""
    try:
        values = table.column(name)
    except KeyError:
        refuse_unknown(name, table)
        raise
    if values.null_count == len(values):
        return np.full(len(values), np.nan)
    if not any(is_number(values.type) for is_number in NUMBERS):
        raise ValueError(f"column {name!r} must hold numbers: {_instead(values)}")
    try:
        numbers = values.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        raise ValueError(
            f"column {name!r} holds whole numbers beyond 2**53, which float64 cannot "
            "tell apart: an id? leave it out, or scale it"
        ) from None
    if np.isinf(numbers).any():
        raise ValueError(
            f"column {name!r} holds infinity, first in row "
            f"{int(np.isinf(numbers).argmax()) + 1}: mend it, or leave the column out"
        )
    size = float(np.nanmax(np.abs(numbers), initial=0))
    if size > LARGEST or 0 < size < 1 / LARGEST:
        raise ValueError(
            f"column {name!r} reaches {size:.3g}, and squares of that leave the range "
            "of float64: scale it"
        )
    return numbers
