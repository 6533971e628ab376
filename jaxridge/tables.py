"""Files that hold a table, as Arrow tables.

CSV (comma, semicolon, tab or bar between columns, gzipped or not) and Parquet, with a
header. What is no such file is refused with the file's name and what is wrong, rather
than read as something else.
"""

import codecs
import csv
import gzip
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from jaxridge.frames import is_number
from jaxridge.kinds import DIGITS, as_text, is_text, is_wordable
from jaxridge.progress import bar

PARQUET_MAGIC, PARQUET_NAMES = b"PAR1", (".parquet", ".pq")
SEPARATORS = ",;\t|"
DICTIONARY_LEVELS = 1000
CHUNK_BYTES = 2**22
BLOCK, LONGEST = 2**20, 2**26  # bytes that Arrow reads at a time, and of a line
UNREADABLE = (pa.ArrowException, OSError, EOFError, csv.Error)


def read_table(
    path: str | Path, *, text: Collection[str] = (), progress: bool = False
) -> pa.Table:
    """Read a CSV or Parquet file with a header.

    Parameters
    ----------
    path : str or Path
        The file. Parquet is recognised by its first and last bytes, everything else is
        CSV.
    text : collection of str
        Columns that hold text, whatever it looks like.
    progress : bool
        Show a bar of bytes read, if standard error is a terminal.

    Returns
    -------
    pyarrow.Table
        Text columns of few levels come dictionary-encoded. An unnamed first column, as
        pandas writes its row numbers, is named "".

    Raises
    ------
    ValueError
        If the file is missing, empty, truncated or no table, has rows of different
        lengths, has no rows, or has unnamed or duplicate columns.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: no such file")
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a CSV or Parquet file")
    if not path.is_file():
        raise ValueError(f"{path} is a pipe or a device: save it to a file first")
    try:
        if is_parquet(path):
            table = _read_parquet(path, text)
        elif path.suffix.lower() in PARQUET_NAMES:
            raise ValueError(f"{path} is not a Parquet file, whatever its name says")
        else:
            table = _read_csv(path, text, progress)
    except UNREADABLE as error:
        raise ValueError(f"{path} {_reason(error)}") from None
    check_names(path, table.column_names)
    if table.num_rows == 0:
        raise ValueError(f"{path} has column names but no rows")
    return table


def _read_parquet(path: Path, text: Collection[str]) -> pa.Table:
    try:
        check_names(path, pa.parquet.read_schema(path).names)
        table = pa.parquet.read_table(path, page_checksum_verification=True)
    except UNREADABLE as error:
        raise ValueError(f"{path} {damage(error)}") from None
    return worded(table, text)


def damage(error: Exception) -> str:
    """Say that Arrow could not read a Parquet file."""
    reason = " ".join(str(error).split())
    return f"is Parquet that is damaged, cut short or of an unknown kind: {reason}"


def _reason(error: Exception) -> str:
    """Say why Arrow could not read a file of text."""
    reason = " ".join(str(error).split())
    if "invalid UTF8" in reason:
        return "is not UTF-8: save it as UTF-8"
    if "Empty CSV file" in reason:
        return "has no rows"
    return f"cannot be read as a table: {reason}"


def worded(table: Any, text: Collection[str]) -> Any:
    """Return a table, or some rows of one, with some of its columns as text."""
    for place, column in enumerate(table.schema):
        if column.name in text and is_wordable(column.type):
            values = as_text(table.column(place)).dictionary_encode()
            table = table.set_column(place, column.name, values)
    return table


def is_parquet(path: Path) -> bool:
    """Whether a file starts as Parquet does, and ends so or is called so."""
    size = len(PARQUET_MAGIC)
    with path.open("rb") as file:
        start = file.read(size)
        file.seek(max(0, path.stat().st_size - size))
        end = file.read(size)
    named = path.suffix.lower() in PARQUET_NAMES
    return start == PARQUET_MAGIC and (end == PARQUET_MAGIC or named)


def _read_csv(path: Path, text: Collection[str], progress: bool) -> pa.Table:
    header, second = _first_lines(path)
    separator = _separator(header, second)
    names = [name.strip() for name in _split(header, separator)]
    if all(is_number(name) for name in names):
        raise ValueError(
            f"{path} starts with numbers ({header[:40].strip()}): its first line must "
            "hold the column names"
        )
    loaded = _loaded(path, progress)

    def stream() -> Any:
        plain = pa.BufferReader(loaded)
        zipped = path.suffix.lower() == ".gz"
        return pa.CompressedInputStream(plain, "gzip") if zipped else plain

    def read(as_text: Iterable[str], **only: Any) -> pa.Table:
        table = pa.csv.read_csv(
            stream(),
            # A block holds whole lines.
            read_options=pa.csv.ReadOptions(block_size=max(BLOCK, 8 * len(header))),
            parse_options=pa.csv.ParseOptions(
                delimiter=separator, newlines_in_values=True
            ),
            convert_options=pa.csv.ConvertOptions(
                strings_can_be_null=True,
                auto_dict_encode=True,
                auto_dict_max_cardinality=DICTIONARY_LEVELS,
                column_types=dict.fromkeys(as_text, pa.string()),
                **only,
            ),
        )
        return _without_empty(table)

    table = read(text)
    check_names(path, table.column_names)
    _refuse_open_quote(path, table, stream)
    return _unrounded(table, text, read)


def _without_empty(table: pa.Table) -> pa.Table:
    """Return a table without columns of no name and no value, as commas at ends make.

    The first column is kept, for pandas gives row numbers no name.
    """
    kept = [
        place
        for place, name in enumerate(table.column_names)
        if place == 0 or name.strip() or table.column(place).null_count < len(table)
    ]
    return table.select(kept) if len(kept) < table.num_columns else table


def _refuse_open_quote(path: Path, table: pa.Table, stream: Callable[[], Any]) -> None:
    """Refuse a file whose last value begins with a quote that is never closed.

    Arrow takes all lines from there to the end of the file for one value.
    """
    for name in table.column_names:
        values = table.column(name)
        last = values[-1:].to_pylist() if is_text(values.type) else []
        for value in last:
            if value and "\n" in value and stream().read().count(b'"') % 2:
                raise ValueError(
                    f"{path}: in row {table.num_rows}, column {name!r}, a quote is "
                    f"opened and never closed, and {value.count(chr(10))} lines follow"
                )


def _unrounded(
    table: pa.Table, text: Collection[str], read: Callable[..., pa.Table]
) -> pa.Table:
    """Return a table with whole numbers that float64 would round, long ids, as text."""
    large = [
        name
        for name in table.column_names
        if pa.types.is_float64(table.schema.field(name).type)
        and (pc.max(pc.abs(table.column(name))).as_py() or 0) >= 2**63
    ]
    if not large:
        return table
    written = read(large, include_columns=large)
    ids = [
        name
        for name in large
        if pc.any(pc.match_substring_regex(written.column(name), DIGITS)).as_py()
    ]
    return read([*text, *ids]) if ids else table


def _loaded(path: Path, progress: bool) -> pa.Buffer:
    """Return the bytes of a file, in memory that Arrow's own threads can let go of.

    Arrow could read from a Python file itself, but would do so from a thread of its
    own, which aborts the process if that is about to end.
    """
    buffer = pa.allocate_buffer(path.stat().st_size)
    rest = memoryview(buffer)
    what = f"reading {path.name}"
    with path.open("rb") as file, bar(len(rest), what, "B", wanted=progress) as shown:
        while count := file.readinto(rest[:CHUNK_BYTES]):
            rest = rest[count:]
            shown.update(count)
    return buffer


def _separator(header: str, second: str) -> str:
    """Return what cuts both lines into as many, and most, columns.

    Or, where none cuts them alike, into most names.
    """
    split = {s: (len(_split(header, s)), len(_split(second, s))) for s in SEPARATORS}
    alike = [s for s in SEPARATORS if split[s][0] == split[s][1] > 1]
    return max(alike or SEPARATORS, key=lambda s: split[s][0])


def _split(line: str, separator: str) -> list[str]:
    """Return the columns of a line; separators within quotes do not separate."""
    before = csv.field_size_limit(max(csv.field_size_limit(), len(line)))
    try:
        return next(csv.reader([line], delimiter=separator), [])
    finally:
        csv.field_size_limit(before)


def _first_lines(path: Path) -> tuple[str, str]:
    """Return the header, and the line after it."""
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rb") as file:
        line, second = file.readline(LONGEST), file.readline(LONGEST)
    if not line.strip():
        what = "starts with an empty line" if line else "is empty"
        raise ValueError(f"{path} {what}: it needs a line of column names, and rows")
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path} is UTF-16: save it as UTF-8")
    if line.lower().startswith(b"sep="):
        raise ValueError(
            f"{path} starts with {line.strip().decode()!r}, which is for Excel alone: "
            "take that line out"
        )
    if line.lstrip().startswith((b'{"', b'[{"', b"[[")) or line.strip() in (b"[", b"{"):
        raise ValueError(f"{path} looks like JSON: convert it to CSV or Parquet")
    if b"\0" in line:
        raise ValueError(f"{path} holds binary data, not text: is it a table at all?")
    if b"\r" in line.rstrip(b"\r\n"):
        raise ValueError(
            f"{path} ends lines with a carriage return alone: save it with line feeds"
        )
    try:
        return line.decode("utf-8-sig"), second.decode("utf-8", "replace")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8: save it as UTF-8") from None


def check_names(path: Path, names: list[str]) -> None:
    """Refuse columns without a name, or two of the same."""
    seen = set[str]()
    for place, name in enumerate(names):
        if name in seen:
            raise ValueError(
                f"{path} has two columns named {name!r}: rename or remove one"
            )
        if not name.strip() and place > 0:
            raise ValueError(f"{path}: column {place + 1} has no name: give it one")
        seen.add(name)
