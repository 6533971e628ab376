"""A Parquet file read in pieces: the same fit as from rows, and what it refuses."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jaxridge import parquet
from jaxridge.encoding import learn_encoding
from jaxridge.files import load_result
from jaxridge.lots import Lots
from jaxridge.parquet import Stored
from jaxridge.request import Request
from jaxridge.stream import TrainingRows

M = 400
LAMS = "1e-1:1e4:6"


@pytest.fixture(autouse=True)
def small_pieces(away, monkeypatch):
    """Work in an empty folder, on pieces of few rows."""
    monkeypatch.setattr(parquet, "BATCH_BYTES", 0)
    monkeypatch.setattr(parquet, "FEWEST_ROWS", 61)


def columns():
    """Return columns with large means, holes from row 100 on, weights and text."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(M, 3)) * [1, 10, 0.1] + [1000, -3, 0]
    y = (x - [1000, -3, 0]) @ [1.0, 0.2, 20.0] + rng.normal(size=M)
    x[100::7, 0] = np.nan
    x[:70, 2] = np.nan
    return {
        **{name: pa.array(x[:, j], from_pandas=True) for j, name in enumerate("abc")},
        "kind": np.array(["u", "v", "w"])[rng.integers(0, 3, M)],
        "who": [f"p{i // 8}" for i in range(M)],
        "w": rng.integers(0, 4, M).astype(float),
        "y": y,
        "z": rng.normal(size=M),
    }


def write(name="data.parquet", **changes):
    pa.parquet.write_table(pa.table(columns() | changes), name, row_group_size=150)
    return name


FIT = ("fit", "data.parquet", "--missing", "mean", "--categorical", "onehot")
FIT += ("--target", "y", "--target", "z", "--lambdas", LAMS)
PIECES = ("--memory", "1kB")


def flat(result):
    """Return the numbers of a result by name, features in one order."""
    order = np.argsort(result["features"])
    found = {("", "fill"): np.array(result["fill"])[order]}
    for one in result["targets"]:
        found[one["name"], "coef"] = np.array(one["coef"])[order]
        for key in ("lam", "intercept", "best", "mean_only"):
            found[one["name"], key] = np.array(one[key], float)
    return found


@pytest.mark.parametrize(
    "options",
    [
        ("--cv", "gcv", "--drop", "who", "--weight", "w", "--text", "code"),
        ("--cv", "evidence", "--drop", "who,w", "--no-standardize"),
        ("--cv", "3", "--time-ordered", "--drop", "who,w", "--test", "0.25"),
        ("--cv", "gcv", "--drop", "who,w", "--no-intercept", "--test", "same.parquet"),
    ],
    ids=lambda options: options[1],
)
def test_a_fit_in_pieces_is_that_of_rows(run, options):
    shutil.copy(write(code=np.arange(M) ** 2 % 11), "same.parquet")
    assert run(*FIT, *options, "--out", "rows")[0] == 0
    code, out, err = run(*FIT, *options, *PIECES, "--out", "pieces")
    assert code == 0 and "read in pieces" in out and not err
    rows, pieces = (flat(load_result(Path(name))) for name in ("rows", "pieces"))
    assert rows.keys() == pieces.keys()
    for key in rows:
        np.testing.assert_allclose(pieces[key], rows[key], 1e-7, 1e-9, err_msg=str(key))
    found, expected = (
        [one["test"] for one in load_result(Path(name))["targets"]]
        for name in ("pieces", "rows")
    )
    for one, other in zip(found, expected, strict=True):
        assert one == (other and pytest.approx(other))


def request(**changes):
    asked = dict.fromkeys(Request.__dataclass_fields__) | {"cv": 4, "seed": 3}
    return Request(**asked | {"in_time": False} | changes)


@pytest.mark.parametrize("group", [None, "who"])
def test_folds_learn_fills_and_scales_from_their_training_rows(run, group):
    name, drop = write(), "w,kind" if group else "w,kind,who"
    base = ("--cv", "4", "--seed", "3", "--drop", drop, "--out", "out")
    groups = ("--group", group) if group else ()
    assert run(*FIT, *base, *groups, *PIECES)[0] == 0
    table = pa.parquet.read_table(name)
    fold = Lots(request(group=group), M).drawn(0, table)
    if group:
        who = np.array(columns()["who"])
        assert all(len(set(fold[who == one])) == 1 for one in set(who))
    assert set(fold) == {0, 1, 2, 3}
    X = np.column_stack([table.column(name).to_numpy() for name in "abc"])
    y = table.column("y").to_numpy()
    pipe = make_pipeline(SimpleImputer(), StandardScaler(), Ridge())
    lines = [
        line.split(",")
        for line in Path("out/scores.csv").read_text().splitlines()[1:]
        if line.startswith("y,")
    ]
    assert len(lines) == 6
    for line in lines:
        pipe.set_params(ridge__alpha=float(line[1]))
        for k in range(4):
            train, held = fold != k, fold == k
            error = mean_squared_error(
                y[held], pipe.fit(X[train], y[train]).predict(X[held])
            )
            np.testing.assert_allclose(float(line[4 + k]), error, rtol=1e-8)


def test_lots_do_not_depend_on_the_pieces():
    table = pa.table(columns())
    for group in (None, "who"):
        asked = request(group=group, test="0.3")
        whole, parts = Lots(asked, M), Lots(asked, M)
        found = [parts.drawn(i, table.slice(i, 37)) for i in range(0, M, 37)]
        expected = whole.drawn(0, table)
        np.testing.assert_array_equal(np.concatenate(found), expected)
        assert 0.2 < np.mean(expected < 0) < 0.4


def test_rows_that_miss_values_are_left_out_or_refused(run):
    write()
    base = FIT[:2] + ("--target", "y", "--categorical", "onehot", *PIECES)
    code, out, _ = run(*base, "--missing", "drop", "--cv", "3", "--out", "out")
    holes = pa.table(columns()).to_pandas()[["a", "c"]].isna().any(axis=1)
    assert code == 0 and f"left out {holes.sum()} rows" in out
    assert load_result(Path("out"))["rows"] == M - holes.sum()
    code, _, err = run(*base, "--cv", "3", "--out", "no")
    assert code == 2 and "'c' (61)" in err and "(in rows from 1 on)" in err
    assert not Path("no").exists()


def test_a_column_without_a_value_before_a_fold_is_0_there(run):
    rng = np.random.default_rng(0)
    b = 50 + rng.normal(size=M)
    b[:150] = np.nan
    y = 2 * np.nan_to_num(b) + rng.normal(size=M) + 3
    a = rng.normal(size=M)
    table = pa.table({"a": a, "b": pa.array(b, from_pandas=True), "y": y})
    pa.parquet.write_table(table, "late.parquet")
    base = ("fit", "late.parquet", "--target", "y", "--missing", "mean", "--cv", "3")
    base += ("--time-ordered", "--no-intercept", "--lambdas", "0.01,1")
    for memory in ("1kB", "1GB"):
        assert run(*base, "--memory", memory, "--out", memory)[0] == 0
    rows, pieces = (Path(f"{m}/scores.csv").read_text() for m in ("1GB", "1kB"))
    for one, other in zip(rows.split()[3:], pieces.split()[3:], strict=True):
        numbers = ([float(v) for v in line.split(",")[1:]] for line in (one, other))
        np.testing.assert_allclose(*numbers, rtol=1e-7)


def test_a_constant_target_alarms_nobody(run):
    write(y=np.full(M, 2.5))
    options = ("--cv", "gcv", "--drop", "who,w,kind")
    code, out, err = run(*FIT, *options, *PIECES)
    assert code == 0 and not err and "the target 'y' is constant" in out
    constant, other = load_result(Path("jaxridge-fit"))["targets"]
    assert constant["mean_only"] == constant["unpenalized"] == 0
    assert other["mean_only"] > 0 and other["unpenalized"] > 0


def test_what_becomes_of_test_rows_is_told(run):
    write()
    y = pa.array(np.where(np.arange(M) < 9, np.nan, 1.0), from_pandas=True)
    write("test.parquet", kind=["q"] * M, y=y)
    options = ("--cv", "gcv", "--drop", "who,w", "--test", "test.parquet")
    code, out, _ = run(*FIT, *options, *PIECES)
    assert code == 0 and f"--test: column 'kind': {M} rows with a level" in out
    holes = pa.table(columns()).to_pandas()[["a", "c"]].isna()[9:].to_numpy().sum()
    assert "--test: left out 9 rows with missing values" in out
    assert f"--test: filled {holes} missing values with column means" in out


@pytest.mark.parametrize("memory", ["1kB", "1GB"])
def test_text_of_any_kind_is_text(run, memory):
    kinds = [pa.string(), pa.large_string(), pa.string_view()]
    texts = {str(of): pa.array(columns()["kind"]).cast(of) for of in kinds}
    pa.parquet.write_table(pa.table({"y": columns()["y"]} | texts), "texts.parquet")
    base = ("fit", "texts.parquet", "--target", "y", "--categorical", "onehot")
    code, out, _ = run(*base, "--lambdas", "1,10", "--memory", memory)
    assert code == 0 and out.count("text, encoded as 3 levels") == 3


def test_digits_that_sums_have_lost_are_told_once(run):
    far = 1e4 + columns()["z"]
    write(d=far, e=far + 1e-4 * columns()["a"].fill_null(0).to_numpy())
    base = (*FIT[:-1], "0.01,1", "--no-standardize", "--no-intercept", "--cv", "gcv")
    code, out, err = run(*base, *PIECES, "--drop", "who,w")
    assert code == 0 and not err
    assert out.count("note: sums over the rows have lost some digits") == 1
    assert "raise --memory" in out


def test_values_where_nothing_counts_are_none(run):
    weight = np.arange(M) % 2
    d = pa.array(np.where(weight, np.nan, 1.0), from_pandas=True)
    write(d=d, e=np.where(weight, 0.1, np.arange(M)), w=weight)
    base = (*FIT, *PIECES, "--cv", "3", "--weight", "w")
    code, _, err = run(*base, "--drop", "who")
    assert code == 2 and "'d' has no value in the 200 rows that count" in err
    code, out, _ = run(*base, "--drop", "d,who")
    assert code == 0 and "column 'e' is constant: its coefficient is 0" in out


def test_stretches_without_weight_are_counted_as_folds_are(run):
    write(w=(np.arange(M) < 100).astype(float))
    base = (*FIT, *PIECES, "--cv", "3", "--drop", "who", "--weight", "w")
    code, _, err = run(*base, "--time-ordered")
    assert code == 2 and "column 'w' are all 0 in fold 1: no row counts there" in err


def test_pieces_are_small_however_many_columns_text_becomes(monkeypatch):
    monkeypatch.setattr(parquet, "BATCH_BYTES", 8 * 600)
    monkeypatch.setattr(parquet, "FEWEST_ROWS", 1)
    stored = parquet.Stored(Path(write()))
    for width, most in ((2, 150), (60, 10)):  # a row group has 150 rows
        pieces = list(stored.pieces(["kind"], width, "x"))
        assert max(table.num_rows for _, table in pieces) == most
        assert pieces[-1][0] + pieces[-1][1].num_rows == M


BAD_CALLS = {
    "loo": (("--cv", "loo"), "--cv loo needs all rows in memory"),
    "interval": (("--interval", "0.9"), "--interval needs all rows"),
    "descent": (("--method", "descent"), "--method descent needs all rows"),
    "report": (("--report",), "--report needs all rows"),
    "share": (("--test", "1.5"), "--test 1.5 must be a file, or a fraction"),
    "nan": (("--test", "nan"), "--test nan must be a file, or a fraction"),
    "test": (("--test", "no.parquet"), "no.parquet: no such file"),
    "size": (("--memory", "much"), "'much' must be a size"),
    "folds": (("--cv", "400"), "--cv 400: no row fell into fold"),
    "groups": (("--group", "kind", "--cv", "9"), "no group in column 'kind' fell"),
    "no weight": (("--weight", "none"), "the weights in column 'none' are all 0"),
    "tested": (("--test", "0.9999"), "left to train on: choosing a penalty needs more"),
    "untested": (("--test", "1e-9"), "--test 1e-9 gives no row that counts"),
    "huge size": (("--memory", "9" * 400), "more than any memory"),
    "weights": (("--weight", "z"), "column 'z' hold negative ones"),
    "column": (("--drop", "q"), "no column 'q'"),
}


@pytest.mark.parametrize("what", BAD_CALLS)
def test_what_pieces_cannot_do_is_refused_in_a_line(run, what):
    write(none=np.zeros(M))
    args, message = BAD_CALLS[what]
    base = FIT[:6] + ("--target", "y", "--lambdas", "1,10")
    code, _, err = run(*base, *PIECES, *args)
    assert code == 2 and message in err and len(err.splitlines()) == 1
    assert not Path("jaxridge-fit").exists()


def test_levels_of_rows_to_be_tested_on_are_not_learnt(run):
    kind = np.where(np.arange(M) < M // 2, columns()["kind"], "late")
    write(kind=kind)
    given = ("--drop", "who,w", "--cv", "3", "--time-ordered", "--test", "0.5")
    found = {}
    for way in ((), PIECES):
        code, out, _ = run(*FIT, *given, *way, "--max-levels", "2")
        assert code == 0 and "--test: column 'kind': 200 rows with a level" in out
        found[way] = load_result(Path("jaxridge-fit"))
    features = [sorted(one["features"]) for one in found.values()]
    assert features[0] == features[1] and "kind=late" not in features[0]
    one, other = map(flat, found.values())
    for name, values in one.items():
        np.testing.assert_allclose(values, other[name], rtol=1e-9, err_msg=str(name))


def test_levels_of_rows_without_a_target_are_not_learnt():
    y = np.where(np.arange(M) < M // 2, columns()["y"], np.nan)
    kind = np.where(np.arange(M) < M // 2, columns()["kind"], "late")
    path = Path(write(kind=kind, y=pa.array(y, from_pandas=True)))
    for missing in ("mean", "drop"):
        how = {"drop": ["who"], "categorical": "onehot", "missing": missing}
        stored = Stored(path)
        lots = partial(Lots, request(), stored.num_rows)
        found = learn_encoding(TrainingRows(stored, lots), ["y", "z"], **how)
        whole = learn_encoding(pa.parquet.read_table(path), ["y", "z"], **how)
        assert found.columns == whole.columns
        assert sorted(found.columns[-2].levels) == ["u", "v", "w"]


def test_folds_in_time_that_lose_rows_are_said_to_be_of_the_file(run):
    write()
    given = ("fit", "data.parquet", "--target", "y", "--missing", "drop", "--cv", "3")
    given += ("--drop", "kind,who,w", "--time-ordered", "--lambdas", "1,10")
    assert "folds are equal stretches of the file" in run(*given, *PIECES)[1]


def test_damage_is_said_in_a_line(run):
    name = write()
    whole = Path(name).read_bytes()
    for damage in (whole[:200], whole[:3000] + bytes(9000) + whole[12000:]):
        Path(name).write_bytes(damage)
        code, _, err = run(*FIT, *PIECES, "--cv", "3", "--drop", "w,who")
        assert code == 2 and "is Parquet that is damaged" in err
        assert len(err.splitlines()) == 1


def test_empty_columns_and_constant_ones_are_told_apart(run):
    write(d=pa.nulls(M, pa.float64()), e=np.full(M, 0.1))
    code, _, err = run(*FIT, *PIECES, "--cv", "3")
    assert code == 2 and "column 'd' is empty" in err
    code, out, _ = run(*FIT, *PIECES, "--cv", "3", "--drop", "d,who,w")
    assert code == 0 and "column 'e' is constant: its coefficient is 0" in out
    result = json.loads(Path("jaxridge-fit/result.json").read_text())
    at = result["features"].index("e")
    assert [one["coef"][at] for one in result["targets"]] == [0, 0]


def test_negative_weights_of_rows_to_be_tested_on_are_refused(run):
    write("test.parquet", w=np.linspace(-1, 1, M))
    write()
    code, _, err = run(*FIT, *PIECES, "--weight", "w", "--test", "test.parquet")
    assert code == 2 and "--test: the weights in column 'w' hold negative ones" in err


@pytest.mark.parametrize("options", [("--cv", "gcv"), ("--cv", "3", "--time-ordered")])
def test_what_rows_of_no_weight_hold_costs_no_digits(run, options):
    """Where sums begin at the first row, which may hold a fill value."""
    table = {name: np.array(values) for name, values in columns().items()}
    idle = np.isin(np.arange(M), [0, 1, 160, 350])
    table |= {"w": np.where(idle, 0.0, 1 + table["w"])}
    table |= {name: np.where(idle, 1e30, table[name]) for name in "abc"}
    path = pa.table(table).select(["a", "b", "c", "w", "y", "z"])
    pa.parquet.write_table(path, "data.parquet", row_group_size=150)
    given = (*FIT, *options, "--weight", "w")
    assert run(*given, "--out", "rows")[0] == 0
    assert run(*given, *PIECES, "--out", "pieces")[0] == 0
    rows, pieces = (flat(load_result(Path(name))) for name in ("rows", "pieces"))
    for key in rows:
        np.testing.assert_allclose(pieces[key], rows[key], 1e-7, 1e-9, err_msg=str(key))


@pytest.mark.parametrize("pieces", [(), PIECES])
@pytest.mark.parametrize("categorical", ["error", "onehot"])
def test_a_slip_is_named_where_it_is_in_rows_to_be_tested_on(run, pieces, categorical):
    table = columns()
    b = [str(i % 9) for i in range(M)]
    b[M - 3] = "oops"
    write(b=b, who=table["z"], kind=table["z"])
    asked = ("fit", "data.parquet", "--missing", "mean", "--target", "y")
    asked += ("--cv", "3", "--time-ordered", "--test", "0.2")
    code, out, err = run(*asked, "--categorical", categorical, *pieces)
    said = f"holds numbers, but for 1 of {M} values, the first 'oops' in row {M - 2}"
    assert said in (err if code else out)
    assert code == (2 if categorical == "error" else 0)
