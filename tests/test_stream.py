"""A Parquet file read in pieces: the same fit as from rows, and what it refuses."""

import json
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
from jaxridge.account import Request
from jaxridge.cli import main
from jaxridge.files import load_result
from jaxridge.stream import Lots

M = 400
LAMS = "1e-1:1e4:6"


@pytest.fixture(autouse=True)
def away(tmp_path, tmp_path_factory, monkeypatch):
    """Work in an empty folder, with small pieces, and compiled programs shared."""
    monkeypatch.chdir(tmp_path)
    shared = tmp_path_factory.getbasetemp() / "compiled"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(shared))
    monkeypatch.setattr(parquet, "BATCH_BYTES", 0)
    monkeypatch.setattr(parquet, "FEWEST_ROWS", 61)


@pytest.fixture
def run(capsys):
    """Run the command line, and return (exit code, standard output, error)."""

    def run(*args):
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


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
        ("--cv", "gcv", "--drop", "who", "--weight", "w"),
        ("--cv", "evidence", "--drop", "who,w", "--no-standardize"),
        ("--cv", "3", "--time-ordered", "--drop", "who,w", "--test", "0.25"),
        ("--cv", "gcv", "--drop", "who,w", "--no-intercept", "--test", "data.parquet"),
    ],
    ids=lambda options: options[1],
)
def test_a_fit_in_pieces_is_that_of_rows(run, options):
    write()
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
    assert code == 2 and "'c' (61)" in err and "(in rows 1 to 61)" in err
    assert not Path("no").exists()


BAD_CALLS = {
    "loo": (("--cv", "loo"), "--cv loo needs all rows in memory"),
    "interval": (("--interval", "0.9"), "--interval needs all rows"),
    "descent": (("--method", "descent"), "--method descent needs all rows"),
    "report": (("--report",), "--report needs all rows"),
    "share": (("--test", "1.5"), "--test 1.5 must be a file, or a fraction"),
    "nan": (("--test", "nan"), "--test nan must be a file, or a fraction"),
    "test": (("--test", "no.parquet"), "no.parquet: no such file"),
    "size": (("--memory", "much"), "'much' must be a size"),
    "folds": (("--cv", "400"), "ask for fewer folds"),
    "groups": (("--group", "kind", "--cv", "9"), "ask for fewer folds"),
    "weights": (("--weight", "z"), "column 'z' hold negative ones"),
    "column": (("--drop", "q"), "no column 'q'"),
}


@pytest.mark.parametrize("what", BAD_CALLS)
def test_what_pieces_cannot_do_is_refused_in_a_line(run, what):
    write()
    args, message = BAD_CALLS[what]
    base = FIT[:6] + ("--target", "y", "--lambdas", "1,10")
    code, _, err = run(*base, *PIECES, *args)
    assert code == 2 and message in err and len(err.splitlines()) == 1
    assert not Path("jaxridge-fit").exists()


def test_damage_is_said_in_a_line(run):
    name = write()
    whole = Path(name).read_bytes()
    for damage in (whole[:200], whole[:3000] + bytes(9000) + whole[12000:]):
        Path(name).write_bytes(damage)
        code, _, err = run(*FIT, *PIECES, "--cv", "3", "--drop", "w,who")
        assert code == 2 and "cannot be read" in err and len(err.splitlines()) == 1


def test_empty_columns_and_constant_ones_are_told_apart(run):
    write(d=pa.nulls(M, pa.float64()), e=np.full(M, 0.1))
    code, _, err = run(*FIT, *PIECES, "--cv", "3")
    assert code == 2 and "column 'd' is empty" in err
    code, out, _ = run(*FIT, *PIECES, "--cv", "3", "--drop", "d,who,w")
    assert code == 0 and "column 'e' is constant: its coefficient is 0" in out
    result = json.loads(Path("jaxridge-fit/result.json").read_text())
    at = result["features"].index("e")
    assert [one["coef"][at] for one in result["targets"]] == [0, 0]
