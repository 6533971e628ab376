"""Table columns to numbers: one-hot levels, missing values, refusals."""

import csv
import datetime
import re
import shlex

import numpy as np
import pyarrow as pa
import pytest

from jaxridge.encoding import (
    encode,
    encode_features,
    learn_encoding,
    unseen_levels,
)
from jaxridge.kinds import as_numbers, dropping
from jaxridge.levels import OTHER

COLOURS = ["red", "blue", "red", "green", "red", "blue"]
TABLE = pa.table(
    {
        "y": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "x": [1, 2, 2, 4, 5, 6],
        "flag": [True, False, True, True, False, False],
        "colour": COLOURS,
    }
)


def with_column(name, values):
    return TABLE.append_column(name, pa.array(values))


def test_numbers_bools_and_levels_become_columns():
    encoding = learn_encoding(TABLE, ["y"], categorical="onehot")
    assert encoding.features == [
        "x",
        "flag",
        "colour=red",
        "colour=blue",
        "colour=green",
    ]
    rows = encode(TABLE, encoding)
    np.testing.assert_array_equal(rows.Y[:, 0], [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(rows.X[:, 0], [1, 2, 2, 4, 5, 6])
    np.testing.assert_array_equal(rows.X[:, 1], [1, 0, 1, 1, 0, 0])
    for j, level in enumerate(("red", "blue", "green")):
        np.testing.assert_array_equal(rows.X[:, 2 + j], np.array(COLOURS) == level)


def test_rare_and_unseen_levels_are_pooled_and_counted():
    encoding = learn_encoding(TABLE, ["y"], categorical="onehot", max_levels=1)
    assert encoding.features[2:] == ["colour=red", "colour=(other)"]
    assert "pooled 2 others (3 rows)" in encoding.notes[0]
    new = TABLE.set_column(3, "colour", pa.array(["pink", "red", *COLOURS[:4]]))
    np.testing.assert_array_equal(encode_features(new, encoding)[0, 2:], [0, 1])
    assert unseen_levels(new, encoding) == {"colour": 3}


def test_levels_unseen_where_none_was_pooled_are_all_zeros():
    encoding = learn_encoding(TABLE, ["y"], categorical="onehot")
    new = TABLE.set_column(3, "colour", pa.array(["pink"] * 6))
    assert not encode_features(new, encoding)[:, 2:].any()
    assert unseen_levels(new, encoding) == {"colour": 6}


def test_missing_values_by_policy():
    table = with_column("z", [1.0, None, 3.0, np.nan, 5.0, 6.0])
    table = table.set_column(3, "colour", pa.array(["red", "blue", None, *COLOURS[3:]]))
    with pytest.raises(ValueError, match=r"'colour' \(1\), 'z' \(2\).*--missing"):
        encode(table, learn_encoding(table, ["y"], categorical="onehot"))
    dropping = learn_encoding(table, ["y"], categorical="onehot", missing="drop")
    np.testing.assert_array_equal(encode(table, dropping).kept, [0, 4, 5])
    filling = learn_encoding(table, ["y"], categorical="onehot", missing="mean")
    X = encode(table, filling).X
    assert filling.features[-2:] == ["colour=(missing)", "z"]
    np.testing.assert_array_equal(X[:, -2], [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(np.isnan(X[:, -1]), [0, 1, 0, 1, 0, 0])


def test_rows_without_target_or_weight_are_left_out():
    table = TABLE.drop_columns(["colour", "flag"])
    table = table.set_column(0, "y", pa.array([1.0, None, 3.0, 4.0, 5.0, 6.0]))
    table = table.append_column("w", pa.array([1.0, 1.0, None, 1.0, 2.0, 1.0]))
    rows = encode(table, learn_encoding(table, ["y"], weight="w", missing="mean"))
    np.testing.assert_array_equal(rows.kept, [0, 3, 4, 5])
    np.testing.assert_array_equal(rows.weight, [1, 1, 2, 1])
    with pytest.raises(ValueError, match=r"missing in column\(s\) 'y' \(1\)"):
        encode(table, learn_encoding(table, ["y"], weight="w"))


def test_text_is_refused_or_dropped_by_policy():
    with pytest.raises(ValueError, match="'colour' hold text: --categorical onehot"):
        learn_encoding(TABLE, ["y"])
    encoding = learn_encoding(TABLE, ["y"], categorical="drop")
    assert encoding.features == ["x", "flag"]
    assert "left out column 'colour'" in encoding.notes[0]


SLIPS = {
    "a mark": (["?"], r"but for 1 of 12 values, the first '\?' in row 4: mend it"),
    "two": (["5%", "-"], "but for 2 of 12 values, the first '5%' in row 4: mend it"),
    "percent": ([f"{i}%" for i in range(9)], "signs beside them, '0%' in row 4"),
    "money": (["€1", "-€2,50", "€ 1'000"] * 3, "signs beside them, '€1' in row 4"),
    "long ids": ([str(10**20)], "holds whole numbers beyond 2.*an id"),
}


@pytest.mark.parametrize("case", SLIPS)
def test_a_column_of_numbers_with_slips_is_named_with_the_first(case):
    odd, message = SLIPS[case]
    words = [*map(str, range(3)), *odd, *map(str, range(9))][:12]
    values = pa.chunked_array([words])
    table = pa.table({"y": np.arange(12.0), "x": values, "z": np.arange(12.0) ** 2})
    with pytest.raises(ValueError, match=f"'x' .*{message}.*--drop x"):
        learn_encoding(table, ["y"])
    with pytest.raises(ValueError, match=f"'x' must hold numbers: .*{message}"):
        learn_encoding(table, ["x"])
    few = pa.table({"y": np.tile(np.arange(12.0), 2), "x": pa.array([*words, *words])})
    notes = learn_encoding(few, ["y"], categorical="onehot").notes
    assert re.search("'x' holds .*, if it is to be one of numbers", notes[-1])


def test_commas_in_numbers_are_told():
    values = ["high", "1,5", "2,25", "1.200,5"]
    table = pa.table({"y": [1.0, 2.0, 3.0, 4.0], "x": values})
    with pytest.raises(ValueError, match="'x' holds .* commas, '1,5' in row 2"):
        learn_encoding(table, ["y"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([[1.0], [2.0]]), "it holds list"),
        (pa.array([b"\xff", b"a"]), "it holds binary"),
        (pa.array([b"a", None]), "it holds binary"),
    ],
)
def test_what_is_neither_number_nor_text_is_told_by_its_type(values, message):
    with pytest.raises(ValueError, match=f"'x' must hold numbers: {message}"):
        as_numbers(pa.table({"x": values}), "x")


def test_a_column_of_text_without_a_value_misses_them_all():
    for values in (pa.array([None, None], pa.string()), pa.array([], pa.string())):
        assert np.isnan(as_numbers(pa.table({"x": values}), "x")).all()


def test_numbers_that_are_text_on_purpose_are_text():
    table = pa.table({"y": [1.0, 2.0, 3.0, 4.0], "x": ["01", "02", "01", "02"]})
    with pytest.raises(ValueError, match="'x' hold text: --categorical onehot"):
        learn_encoding(table, ["y"])
    assert len(learn_encoding(table, ["y"], categorical="onehot").notes) == 1


DAYS = [datetime.date(2020, 1, d) for d in range(1, 7)]
BAD_COLUMNS = {
    "dates": (DAYS, "'c' holds dates"),
    "dates as text": ([f"{d}/3/2020" for d in range(1, 7)], "'c' holds dates"),
    "dates in words": ([f"{d} Feb 2020" for d in range(1, 7)], "'c' holds dates"),
    "months of years": ([f"2020-0{d}" for d in range(1, 7)], "'c' holds dates"),
    "American dates": ([f"March {d}, 2020" for d in range(1, 7)], "'c' holds dates"),
    "quarters": (["2020Q1", "2020Q2"] * 3, "'c' holds dates"),
    "bytes": ([b"\xe9t\xe9"] * 6, "'c' holds bytes, not UTF-8 text"),
    "nothing": ([None] * 6, "'c' is empty"),
    "lists": ([[1], [2], [3], [4], [5], [6]], "neither numbers nor text"),
}


@pytest.mark.parametrize("what", BAD_COLUMNS)
def test_bad_columns_are_refused_by_name(what):
    values, message = BAD_COLUMNS[what]
    with pytest.raises(ValueError, match=message):
        learn_encoding(with_column("c", values), ["y"], categorical="onehot")


@pytest.mark.parametrize("level", ["1.2.%d", "10-20-3%d", "Mon", "3/%d", "555-123%d"])
def test_what_only_looks_like_dates_is_text(level):
    values = [level % (i // 2) if "%" in level else level for i in range(6)]
    table = with_column("c", values)
    encoding = learn_encoding(table, ["y"], categorical="onehot")
    assert encoding.columns[-1].levels == tuple(sorted(set(values)))


def test_almost_a_level_for_each_row_is_refused_as_an_id():
    ids = [f"p{max(i, 1)}" for i in range(50)]
    table = pa.table({"y": np.arange(50) * 1.0, "id": ids})
    with pytest.raises(ValueError, match="'id' has 49 levels in 50 rows"):
        learn_encoding(table, ["y"], categorical="onehot")


@pytest.mark.parametrize("rows", [12, 300])
def test_ids_are_refused(rows):
    table = pa.table({"y": np.arange(rows) * 1.0, "id": [f"p{i}" for i in range(rows)]})
    with pytest.raises(ValueError, match=f"'id' has {rows} levels in {rows} rows"):
        learn_encoding(table, ["y"], categorical="onehot")


@pytest.mark.parametrize("missing", ["mean", "drop"])
def test_levels_of_rows_that_are_left_out_are_not_learnt(missing):
    there, unlabelled = np.arange(20.0), np.full(60, np.nan)
    table = pa.table(
        {
            "y": np.concatenate([there, unlabelled]),
            "x": np.concatenate([there[:19], [np.nan], np.zeros(60)]),
            "city": [*"abcde" * 3, *"abcd", "e"] + [f"X{i % 7}" for i in range(60)],
        }
    )
    encoding = learn_encoding(
        table, ["y"], categorical="onehot", missing=missing, max_levels=4
    )
    counts = "(4 rows)" if missing == "mean" else "(3 rows)"
    assert encoding.features == ["x", *(f"city={one}" for one in [*"abcd", OTHER])]
    assert f"pooled 1 other {counts}" in encoding.notes[0]
    assert encode(table, encoding).X.shape == ({"mean": 20, "drop": 19}[missing], 6)


def test_advice_to_leave_a_column_out_is_as_a_shell_takes_it():
    for name in ("a", "a b", "a,b", 'a "b"', ""):
        (given,) = shlex.split(dropping(name).removeprefix("--drop "))
        assert next(csv.reader([given])) == [name]


def test_row_numbers_are_left_out_or_pointed_at():
    table = pa.table(
        {"": np.arange(12), "n": np.arange(12), "x": np.ones(12), "y": np.ones(12)}
    )
    encoding = learn_encoding(table, ["y"])
    assert encoding.features == ["n", "x"]
    assert "unnamed first column" in encoding.notes[0]
    names = table.set_column(0, "", pa.array([f"row {i}" for i in range(12)]))
    assert learn_encoding(names, ["y"]).features == ["n", "x"]
    assert "'n' numbers the rows" in encoding.notes[1]


@pytest.mark.parametrize(
    ("name", "values", "noted"),
    [
        ("n", np.random.default_rng(0).permutation(20) + 7, True),
        ("patient_id", np.arange(20) * 7, True),
        ("userID", np.arange(20) * 7, True),
        ("price", np.arange(20) * 7, False),
        ("humid", np.arange(20) * 7, False),
        ("id", np.arange(20) // 2, False),
    ],
)
def test_whole_numbers_that_only_number_the_rows_are_pointed_at(name, values, noted):
    table = pa.table({name: values, "y": np.ones(20)})
    assert any("numbers the rows" in n for n in learn_encoding(table, ["y"]).notes) == (
        noted
    )


def test_missing_target_and_features_are_told_at_once():
    table = pa.table({"x": [1.0, None, 3.0], "y": [1.0, 2.0, None]})
    with pytest.raises(
        ValueError,
        match=r"'y' \(1\), 'x' \(1\): --missing drop leaves those rows out, "
        "--missing mean fills those of features",
    ):
        encode(table, learn_encoding(table, ["y"]))
    whole = pa.table({"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, None]})
    with pytest.raises(ValueError, match="drop leaves those rows out$"):
        encode(whole, learn_encoding(whole, ["y"]))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"targets": ["colour"]}, "'colour' must hold numbers"),
        ({"targets": ["yy"]}, "no column 'yy'.*did you mean 'y'|no column 'yy'"),
        ({"targets": ["y"], "weight": "colour"}, "'colour' must hold numbers"),
        ({"targets": ["y"], "drop": ["nope"]}, "no column 'nope'"),
        ({"targets": ["y"], "drop": ["x", "flag", "colour"]}, "no column is left"),
    ],
)
def test_bad_roles_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        learn_encoding(TABLE, **kwargs)


def test_later_tables_must_have_the_columns_in_their_kind():
    encoding = learn_encoding(TABLE, ["y"], categorical="drop")
    with pytest.raises(ValueError, match="no column 'x'"):
        encode_features(TABLE.drop_columns(["x"]), encoding)
    text = TABLE.set_column(1, "x", pa.array(["a"] * 6))
    with pytest.raises(ValueError, match="'x' must hold numbers: .*'a' in row 1"):
        encode_features(text, encoding)
    infinite = TABLE.set_column(1, "x", pa.array([1.0, np.inf, 1, 1, 1, 1]))
    with pytest.raises(ValueError, match="'x' holds infinity, first in row 2"):
        encode_features(infinite, encoding)


def test_no_row_left_is_an_error():
    table = with_column("z", [1.0, None, None, None, None, None])
    table = table.set_column(0, "y", pa.array([None, 1.0, 1.0, 1.0, 1.0, 1.0]))
    encoding = learn_encoding(table, ["y"], categorical="drop", missing="drop")
    with pytest.raises(ValueError, match="no row is left"):
        encode(table, encoding)


def test_text_that_begins_with_missing_values_is_text():
    late = pa.table({"y": list(range(1200)), "c": [None] * 1100 + ["a", "b"] * 50})
    encoding = learn_encoding(late, ["y"], categorical="onehot", missing="mean")
    assert encoding.features == ["c=a", "c=b", "c=(missing)"]


@pytest.mark.parametrize("level", ["(other)", "(missing)"])
def test_levels_called_as_pooled_ones_are_refused(level):
    table = pa.table({"y": [1, 2, 3, 4], "c": ["a", level, "a", level]})
    with pytest.raises(ValueError, match="rename it"):
        learn_encoding(table, ["y"], categorical="onehot")


def test_features_of_the_same_name_are_refused():
    table = pa.table({"y": [1, 2, 3], "c": ["x", "z", "x"], "c=x": [1, 2, 4]})
    with pytest.raises(ValueError, match="two features would be called 'c=x'"):
        learn_encoding(table, ["y"], categorical="onehot")


@pytest.mark.parametrize("size", [1e-170, 1e170])
def test_numbers_whose_squares_leave_the_range_are_refused_by_name(size):
    table = with_column("z", np.arange(6) * size)
    with pytest.raises(ValueError, match="column 'z' reaches .* scale it"):
        encode(table, learn_encoding(table, ["y"], categorical="onehot"))
