"""Files to tables: what is read, and what is refused in which words."""

import gzip
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from jaxridge.kinds import as_numbers
from jaxridge.parquet import Stored
from jaxridge.tables import read_table

CSV = "a,b,city\n1,2.5,x\n2,,y\n3,4.5,x\n"


def written(tmp_path, content, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_recognised(tmp_path, separator):
    table = read_table(written(tmp_path, CSV.replace(",", separator)))
    assert table.column_names == ["a", "b", "city"]
    assert table.column("b").null_count == 1
    assert table.column("a").to_pylist() == [1, 2, 3]


def test_gzip_parquet_and_a_byte_order_mark_are_read(tmp_path):
    plain = read_table(written(tmp_path, CSV))
    zipped = written(tmp_path, gzip.compress(CSV.encode()), "data.csv.gz")
    marked = written(tmp_path, b"\xef\xbb\xbf" + CSV.encode(), "marked.csv")
    pa.parquet.write_table(plain, tmp_path / "data.parquet")
    for path in (zipped, marked, tmp_path / "data.parquet"):
        assert read_table(path).to_pylist() == plain.to_pylist()


def test_a_column_called_as_parquet_begins_is_a_column(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("PAR1,y\n1,2\n3,4\n")
    assert read_table(path).column_names == ["PAR1", "y"]


def test_types_are_found_beyond_the_first_block(tmp_path):
    values = ["1"] * 400_000 + ["2.5"]
    table = read_table(written(tmp_path, "a,b\n" + "".join(f"{v},0\n" for v in values)))
    assert table.column("a").type == pa.float64()
    assert np.isclose(table.column("a").to_numpy().sum(), 400_002.5)


def test_line_breaks_inside_quotes_are_part_of_the_value(tmp_path):
    table = read_table(written(tmp_path, 'a,b\n1,"two\nlines"\n2,x\n'))
    assert table.column("b").to_pylist() == ["two\nlines", "x"]


BAD_FILES = {
    "empty": (b"", "is empty"),
    "names, and no line": (b"a,b,y", "has no rows"),
    "a blank line": (b"\n1,2\n", "starts with an empty line"),
    "no rows": (b"a,b\n", "no rows"),
    "a row cut short": (b"a,b,c\n1,2,3\n4,5", "cannot be read as a table.*columns"),
    "a row too long": (b"a,b\n1,2\n1,2,3\n", "cannot be read as a table.*columns"),
    "duplicate names": (b"a,b,a\n1,2,3\n", "two columns named 'a'"),
    "JSON": ('[{"a": 1}, {"a": 2}]\n', "looks like JSON: convert it to CSV"),
    "JSON by lines": ("[\n  1\n]\n", "looks like JSON: convert it to CSV"),
    "an unnamed column": (b"a,,c\n1,2,3\n", "column 2 has no name"),
    "no header": (b"1,2\n3,4\n", "first line must hold the column names"),
    "old Macintosh": (b"a,b\r1,2\r3,4\r", "carriage return"),
    "binary": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", "binary|not UTF-8"),
    "another encoding": ("é,b\n1,2\n".encode("latin-1"), "not UTF-8"),
    "Excel's own": (b"sep=;\na;b\n1;2\n", "'sep=;', which is for Excel alone"),
    "sixteen bits": ("a,b\n1,2\n".encode("utf-16"), "is UTF-16: save it as UTF-8"),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_csv_is_refused_by_name(tmp_path, what):
    content, message = BAD_FILES[what]
    with pytest.raises(ValueError, match=message) as caught:
        read_table(written(tmp_path, content))
    assert "data.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pipes_are_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match="pipe or a device: save it to a file"):
        read_table(tmp_path / "pipe.csv")


def test_missing_file_folder_and_false_parquet_are_refused(tmp_path):
    whole = tmp_path / "whole.parquet"
    pa.parquet.write_table(pa.table({"a": [1.0] * 1000}), whole)
    cut = written(tmp_path, whole.read_bytes()[:200], "cut.parquet")
    false = written(tmp_path, CSV, "false.parquet")
    bad_zip = written(tmp_path, gzip.compress(CSV.encode())[:20], "cut.csv.gz")
    for path, message in (
        (tmp_path / "none.csv", "no such file"),
        (tmp_path, "is a folder"),
        (cut, "is Parquet that is damaged, cut short or of an unknown kind"),
        (false, "is not a Parquet file"),
        (bad_zip, "cannot be read"),
    ):
        with pytest.raises(ValueError, match=message):
            read_table(path)


def test_parquet_whose_numbers_do_not_add_up_to_their_checksum_is_refused(tmp_path):
    path = tmp_path / "numbers.parquet"
    table = pa.table({"a": np.random.default_rng(0).normal(size=1000)})
    pa.parquet.write_table(table, path, write_page_checksum=True, use_dictionary=False)
    assert read_table(path).equals(table)
    damaged = bytearray(path.read_bytes())
    damaged[4000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"numbers.parquet is Parquet that is damaged"):
        read_table(path)
    with pytest.raises(ValueError, match=r"numbers.parquet is Parquet that is damaged"):
        list(Stored(path).batches(100, ["a"]))


def test_commas_at_the_ends_of_lines_make_no_columns(tmp_path):
    table = read_table(written(tmp_path, "a,b,,\n1,2,,\n3,4,,\n"))
    assert table.column_names == ["a", "b"]
    with pytest.raises(ValueError, match="column 3 has no name: give it one"):
        read_table(written(tmp_path, "a,b,\n1,2,\n3,4,5\n"))


def test_separators_within_quotes_do_not_separate(tmp_path):
    path = tmp_path / "quoted.csv"
    path.write_text('"a,1";"b,2";y\n1;2;3\n')
    assert read_table(path).column_names == ["a,1", "b,2", "y"]


def test_parquet_with_two_columns_of_one_name_is_refused(tmp_path):
    path = tmp_path / "twice.parquet"
    table = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], ["a", "a"])
    pa.parquet.write_table(table, path)
    with pytest.raises(ValueError, match="two columns named 'a'"):
        read_table(path)


def test_a_quote_that_is_never_closed_is_refused(tmp_path):
    path = tmp_path / "data.csv"
    lines = [f"{i},text\n" for i in range(10)]
    path.write_text("a,b\n" + "".join(lines) + '10,"open\n' + "".join(lines))
    with pytest.raises(ValueError, match="row 11, column 'b', a quote is opened and"):
        read_table(path)
    path.write_text('a,b\n1,x\n2,"two\nlines"\n')
    assert read_table(path).column("b").to_pylist() == ["x", "two\nlines"]


def test_whole_numbers_that_a_float_would_round_are_read_as_text(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a,b\n" + "".join(f"{2**63 + i},1e30\n" for i in range(3)))
    table = read_table(path)
    assert table.column("a").to_pylist() == [str(2**63 + i) for i in range(3)]
    assert table.column("b").to_pylist() == [1e30] * 3
    with pytest.raises(ValueError, match="'a' must hold numbers: .* beyond 2.*an id"):
        as_numbers(table, "a")
    path.write_text("a\n1e30\n2.5e30\n")
    assert read_table(path).column("a").to_pylist() == [1e30, 2.5e30]


def test_text_that_looks_like_numbers_is_read_as_text_if_asked(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a,b\n01,True\n02,False\n")
    table = read_table(path, text=["a", "b", "absent"])
    assert table.column("a").to_pylist() == ["01", "02"]
    assert table.column("b").to_pylist() == ["True", "False"]


def test_what_is_no_text_and_cannot_be_written_as_such_stays(tmp_path):
    columns = {"a": [7102, None], "b": [[1], [2]], "c": [0.5, 1.0]}
    pa.parquet.write_table(pa.table(columns), tmp_path / "data.parquet")
    table = read_table(tmp_path / "data.parquet", text=["a", "b"])
    assert table.to_pydict() == columns | {"a": ["7102", None]}


def test_a_file_that_starts_with_an_empty_line_is_not_called_empty(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("\na,b\n1,2\n")
    with pytest.raises(ValueError, match="starts with an empty line"):
        read_table(path)


def test_a_separator_cuts_the_header_and_the_rows_alike(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("height (m;avg;d),y\n1,2\n3,4\n")
    assert read_table(path).column_names == ["height (m;avg;d)", "y"]


def test_headers_may_be_long(tmp_path):
    names = [f"gene {i:05d} of the first chromosome" for i in range(40_000)]
    path = tmp_path / "t.csv"
    path.write_text(",".join(names) + "\n" + ",".join("1" * len(names)) + "\n")
    assert path.stat().st_size > 2**20 and read_table(path).column_names == names
