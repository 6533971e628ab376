"""A Parquet file too large for memory: its columns and rows, a piece at a time."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from jaxridge.kinds import is_text
from jaxridge.progress import bar
from jaxridge.tables import UNREADABLE, check_names, damage, worded

BATCH_BYTES = 2**24  # of numbers, read at a time
FEWEST_ROWS = 2**10  # of a batch
READ_BYTES = 2**16  # from the file at a time, of each column


def bytes_in_memory(path: Path) -> int:
    """Return the bytes of all columns of a Parquet file as float64 numbers."""
    about = pa.parquet.read_metadata(path)
    return 8 * about.num_rows * about.num_columns


class Stored:
    """The rows of a file, which answers as an Arrow table does, but holds none.

    Columns of `text` hold that, whatever it looks like.
    """

    def __init__(self, path: Path, text: Collection[str] = ()) -> None:
        schema = pa.parquet.read_schema(path)
        check_names(path, schema.names)
        written = [one.name for one in schema if is_text(one.type)]
        self._file = pa.parquet.ParquetFile(
            path,
            read_dictionary=written,
            buffer_size=READ_BYTES,
            pre_buffer=False,
            page_checksum_verification=True,
        )
        self._text = {*written, *text}
        self._name = path.name
        self.column_names: list[str] = list(schema.names)
        self.num_rows: int = self._file.metadata.num_rows

    @property
    def num_columns(self) -> int:
        """How many columns there are."""
        return len(self.column_names)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column of text; of any other, the first rows that hold a value."""
        if self.is_text(name):
            return pa.chunked_array(
                [batch.column(0) for batch in self.batches(2**20, [name])]
            )
        for batch in self.batches(2**16, [name]):
            found = pa.chunked_array([batch.column(0)])
            if found.null_count < len(found):
                break
        return found

    def pieces(
        self, names: Sequence[str], width: int, what: str
    ) -> Iterator[tuple[int, pa.Table]]:
        """Yield the rows, of some columns, a table at a time, and where each starts.

        `width` is the number of columns that they become.
        """
        rows = max(FEWEST_ROWS, BATCH_BYTES // (8 * width))
        row_bytes, start = 8 * len(names), 0
        with bar(self.num_rows, what, " rows", wanted=True) as shown:
            for batch in self.batches(rows, list(names)):
                yield start, pa.Table.from_batches([batch])
                start += batch.num_rows
                shown.set_postfix_str(f"{start * row_bytes / 1e6:,.0f} MB", False)
                shown.update(batch.num_rows)

    def is_text(self, name: str) -> bool:
        """Whether a column holds text."""
        return name in self._text

    def batches(self, rows: int, names: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows, of some columns, so many at a time."""
        try:
            some = self._file.iter_batches(rows, columns=names, use_threads=False)
            for batch in some:
                yield worded(batch, self._text)
        except UNREADABLE as error:
            raise ValueError(f"{self._name} {damage(error)}") from None
