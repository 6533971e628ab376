"""The command line as a user meets it: files in, files and one-line errors out."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import GroupKFold, KFold, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jaxridge import RidgeCV, choose, evidence, gcv, leave_one_out, save
from jaxridge.examples import diabetes
from jaxridge.interrupts import interruptible

README = Path(__file__).parents[1] / "README.md"


pytestmark = pytest.mark.usefixtures("away")


def write(name, **columns):
    pa.csv.write_csv(pa.table(columns), name)
    return name


def read(name):
    with open(name, newline="") as file:
        return list(csv.DictReader(file))


def only(result):
    """Return what a result says of its only target."""
    (one,) = result["targets"]
    return one


def numbers(m=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(m, 2))
    return {
        "a": x[:, 0],
        "b": 5 * x[:, 1] + 3,
        "y": x @ [1.0, 2.0] + rng.normal(size=m),
    }


def test_fit_is_scikit_learns_pipeline_refitted_in_every_fold(run):
    columns = numbers()
    b = columns["b"].copy()
    b[::7] = np.nan
    write("data.csv", **columns | {"b": pa.array(b, from_pandas=True)})
    lams = [0.1, 1.0, 30.0]
    code, out, err = run(
        *("fit", "data.csv", "--target", "y", "--lambdas", "0.1,1,30"),
        *("--missing", "mean", "--cv", "4", "--seed", "3", "--out", "out"),
    )
    assert (code, err) == (0, "")
    X, y = np.column_stack([columns["a"], b]), columns["y"]

    def model(lam):
        return make_pipeline(SimpleImputer(), StandardScaler(), Ridge(alpha=lam))

    folds = list(KFold(4, shuffle=True, random_state=3).split(X))
    expected = [
        [
            mean_squared_error(y[b], model(lam).fit(X[a], y[a]).predict(X[b]))
            for a, b in folds
        ]
        for lam in lams
    ]
    scores = read("out/scores.csv")
    found = [[float(row[f"fold_{i + 1}"]) for i in range(4)] for row in scores]
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    result = json.loads(Path("out/result.json").read_text())
    assert only(result)["lam"] == lams[int(np.mean(expected, axis=1).argmin())]
    whole = model(only(result)["lam"]).fit(X, y)
    raw = whole[2].coef_ / whole[1].scale_
    np.testing.assert_allclose(only(result)["coef"], raw, rtol=1e-7)
    assert f"chosen lambda: {only(result)['lam']:.6g}" in out

    code, _, err = run("predict", "out", "data.csv", "-o", "p.csv")
    assert code == 0 and "wrote 60 predictions of 'y'" in err
    found = [float(row["prediction"]) for row in read("p.csv")]
    np.testing.assert_allclose(found, whole.predict(X), rtol=1e-7)


@pytest.mark.parametrize("method", ["descent", "exact"])
def test_fit_without_a_file_fits_the_diabetes_data(run, drawn, method):
    code, out, _ = run("fit", "--out", "out", "--method", method, "--test", "0.2")
    assert code == 0
    for text in (
        "example diabetes data: 354 rows, 10 columns as 10 features",
        "held-out MSE",
        "of the mean alone",
        "with lambda = 0",
        "test MSE, on 88 rows",
        "largest of 10 coefficients",
    ):
        assert text in out
    wanted = {"result.json", "coefficients.csv", "scores.csv"}
    wanted |= {"validation.png", "coefficients.png", "model.safetensors"}
    assert {p.name for p in Path("out").iterdir()} == wanted
    for picture in Path("out").glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG\r")
    assert len(read("out/scores.csv")) == 100
    assert len(read("out/coefficients.csv")) == 11


def test_options_change_the_fit_as_they_say(run):
    columns = numbers() | {"w": np.ones(60), "city": ["x", "y", "z"] * 20}
    write("data.csv", **columns)
    base = ("fit", "data.csv", "--target", "y", "--lambdas", "1:100:3", "--out", "out")
    options = ("--weight", "w", "--categorical", "onehot", "--drop", "b")
    code, out, _ = run(*base, *options, "--no-standardize", "--no-intercept")
    assert code == 0 and "in their own units" in out
    result = json.loads(Path("out/result.json").read_text())
    assert result["features"] == ["a", "city=x", "city=y", "city=z"]
    assert only(result)["intercept"] == 0
    X = np.column_stack(
        [columns["a"], *(np.array(columns["city"]) == c for c in "xyz")]
    )
    exact = Ridge(alpha=only(result)["lam"], fit_intercept=False).fit(X, columns["y"])
    np.testing.assert_allclose(only(result)["coef"], exact.coef_, rtol=1e-6)


def test_test_rows_of_another_file_give_the_error_of_predict(run):
    write("train.csv", **numbers())
    held = numbers(seed=1)
    write("test.csv", **held)
    base = ("fit", "train.csv", "--target", "y", "--method", "exact", "--out", "out")
    code, out, _ = run(*base, "--test", "test.csv", "--no-intercept", "--rule", "1se")
    assert code == 0
    run("predict", "out/result.json", "test.csv", "-o", "p.csv")
    p = np.array([float(row["prediction"]) for row in read("p.csv")])
    result = json.loads(Path("out/result.json").read_text())
    np.testing.assert_allclose(
        only(result)["test"]["mse"], np.mean((p - held["y"]) ** 2)
    )
    assert only(result)["lam"] == only(result)["lam_1se"]


def test_several_targets_are_each_fitted_as_if_alone(run, drawn):
    columns = numbers() | {"z": numbers(seed=2)["y"] + numbers()["a"] ** 2}
    write("data.csv", **columns)
    base = ("--lambdas", "1e-2:1e3:9", "--interval", "0.8", "--out")
    fit = ("fit", "data.csv", "--test", "0.2", "--target")
    code, out, _ = run(*fit, "y", "--target", "z", *base, "both")
    assert code == 0 and "2 targets 'y', 'z'" in out and "--- target 'z'" in out
    both = json.loads(Path("both/result.json").read_text())["targets"]
    run("predict", "both", "data.csv", "-o", "both.csv")
    ends = ("lower", "upper")
    together = read("both.csv")
    assert list(together[0]) == [
        *("y", "y_lower", "y_upper"),
        *("z", "z_lower", "z_upper"),
    ]
    for place, (name, other) in enumerate((("y", "z"), ("z", "y"))):
        code, _, _ = run(*fit, name, "--drop", other, *base, name)
        alone = only(json.loads(Path(f"{name}/result.json").read_text()))
        assert both[place].keys() == alone.keys() and both[place]["name"] == name
        for key in alone.keys() - {"name", "test"}:
            np.testing.assert_allclose(both[place][key], alone[key], rtol=1e-8)
        np.testing.assert_allclose(
            *(
                [one["test"][key] for key in ("mse", "r2")]
                for one in (both[place], alone)
            )
        )
        run("predict", name, "data.csv", "-o", "alone.csv")
        for pair in zip(together, read("alone.csv"), strict=True):
            np.testing.assert_allclose(
                [float(pair[0][key]) for key in (name, *(f"{name}_{e}" for e in ends))],
                [float(pair[1][key]) for key in ("prediction", *ends)],
                rtol=1e-8,
            )
    lines = read("both/coefficients.csv")
    assert [line["target"] for line in lines] == ["y"] * 3 + ["z"] * 3
    assert {line["target"] for line in read("both/scores.csv")} == {"y", "z"}


def test_constant_columns_and_targets_are_said_and_harmless(run):
    columns = numbers() | {"c": np.full(60, 0.1), "y": np.full(60, 2.5)}
    write("data.csv", **columns)
    code, out, _ = run("fit", "data.csv", "--target", "y", "--out", "out")
    assert code == 0
    assert "column 'c' is constant" in out and "the target 'y' is constant" in out
    assert "no error" not in out and "the mean alone is" not in out
    result = json.loads(Path("out/result.json").read_text())
    assert only(result)["coef"] == [0, 0, 0] and only(result)["intercept"] == 2.5


def test_unconverged_descents_and_the_edge_of_the_grid_are_said(run, monkeypatch):
    write("data.csv", **numbers())
    base = ("fit", "data.csv", "--target", "y", "--out", "out", "--lambdas")
    code, out, _ = run(*base, "100,1000")
    assert code == 0 and "at the edge of the grid" in out


def test_what_scores_tell_of_the_columns_is_said(run):
    rng = np.random.default_rng(0)
    a, y = rng.normal(size=(2, 60))
    write("data.csv", a=a, y=y, made=y + 2)
    fit = ("fit", "data.csv", "--target", "y", "--out", "out", "--lambdas", "1e-9,1,9")
    _, out, _ = run(*fit)
    assert "nearly no error: is column 'made' known before the target is" in out
    _, out, _ = run(*fit, "--drop", "made")
    assert "penalties from 1e-09 to 9 score within one standard error of" in out
    assert "the mean alone is within one standard error of the best: these" in out
    assert "no error" not in out
    _, out, _ = run(*fit, "--drop", "made", "--cv", "gcv")
    assert "the mean alone is no worse" in out and "one standard error" not in out
    assert {line["standard_error"] for line in read("out/scores.csv")} == {""}


def test_a_result_says_that_the_model_beside_it_keeps_intervals(run):
    write("data.csv", **numbers())
    assert run("fit", "data.csv", "--target", "y", "--out", "o", "--interval", "0.8")
    result = run("predict", "o/result.json", "data.csv", "-o", "p.csv")
    assert result[0] == 0 and "model.safetensors beside it does" in result[2]
    result = run("predict", "o", "data.csv", "-o", "p.csv")
    assert result[0] == 0 and "beside it" not in result[2]


def test_predict_says_what_it_meets(run):
    write("data.csv", **numbers() | {"city": ["x", "y", "z"] * 20})
    fit = ("fit", "data.csv", "--target", "y", "--categorical", "onehot", "--out")
    assert run(*fit, "mean", "--missing", "mean")[0] == 0
    assert run(*fit, "drop", "--missing", "drop")[0] == 0
    assert run(*fit, "error")[0] == 0
    write("new.csv", b=[1.0, None, 2.0], a=[0.5, 0.5, 1.0], city=["x", "y", "q"])
    code, _, err = run("predict", "mean", "new.csv", "-o", "p.csv")
    assert code == 0 and "1 row with a level that the fit pooled with others" in err
    assert all(np.isfinite(float(row["prediction"])) for row in read("p.csv"))
    code, _, err = run("predict", "drop", "new.csv", "-o", "p.csv")
    assert code == 0 and "no prediction for 1 row with a missing value" in err
    assert re.search(r"wrote (\d+) rows, \d+ predictions of 'y'", err)
    lines = Path("p.csv").read_text().splitlines()
    assert len(lines) == 4 and lines[2] in ("", '""')
    code, _, err = run("predict", "error", "new.csv", "-o", "q.csv")
    assert code == 2 and "'b' (1)" in err and not Path("q.csv").exists()


GROUP = ("fit", "data.csv", "--target", "y", "--group", "a")
BAD_CALLS = {
    "no such file": (("fit", "no.csv", "--target", "y"), "no.csv: no such file"),
    "no such column": (("fit", "data.csv", "--target", "z"), "no column 'z'"),
    "no DATA": (("fit", "--target", "y"), "no DATA, and the diabetes data that are"),
    "no result": (("predict", ".", "data.csv", "-o", "p.csv"), ". holds no result"),
    "no target": (("fit", "data.csv"), "--target is needed"),
    "no such option": (("fit", "data.csv", "--foo"), "--foo"),
    "same target twice": (
        ("fit", "data.csv", "--target", "y", "--target", "y"),
        "column 'y' is named twice, and can have one role",
    ),
    "clash": (
        ("fit", "ends.csv", "--target", "y", "--target", "y_upper", "--interval", ".9"),
        "--target y_upper is what the end of 'y'",
    ),
    "no such command": (("fot",), "fot"),
    "one fold": (("fit", "data.csv", "--target", "y", "--cv", "1"), "--cv"),
    "too many folds": (("fit", "data.csv", "--target", "y", "--cv", "99"), "--cv 99"),
    "odd judge": (("fit", "data.csv", "--target", "y", "--cv", "lo"), "'lo' must be a"),
    "few groups": (
        (*GROUP, "--cv", "61"),
        "more folds than there are groups in column",
    ),
    "no groups": (("fit", "data.csv", "--target", "y", "--group", "q"), "'q'"),
    "groups, no folds": ((*GROUP, "--cv", "loo"), "--group and --time-ordered make"),
    "both": ((*GROUP, "--time-ordered"), "exclude each other"),
    "no error": (
        ("fit", "data.csv", "--target", "y", "--cv", "gcv", "--rule", "1se"),
        "--cv gcv has none: pass --cv loo",
    ),
    "no descent": (
        ("fit", "data.csv", "--target", "y", "--cv", "gcv", "--method", "descent"),
        "--method descent needs folds",
    ),
    "odd share": ((*GROUP, "--interval", "90"), "'90' must be between 0 and 1"),
    "negative": (("fit", "data.csv", "--target", "y", "--lambdas", "-1"), "'-1'"),
    "no lambdas": (("fit", "data.csv", "--target", "y", "--lambdas", ""), "--lambdas"),
    "bad grid": (("fit", "data.csv", "--target", "y", "--lambdas", "0:1:9"), "0:1:9"),
    "unknown drop": (("fit", "data.csv", "--target", "y", "--drop", "q"), "'q'"),
    "bad fraction": (("fit", "data.csv", "--target", "y", "--test", "1.5"), "--test"),
    "no test file": (("fit", "data.csv", "--target", "y", "--test", "t.csv"), "t.csv"),
    "bad test file": (
        ("fit", "data.csv", "--target", "y", "--test", "other.csv"),
        "--test: the table has no column",
    ),
    "empty weight": (("fit", "data.csv", "--target", "y", "--weight", ""), "--weight"),
    "empty target": (("fit", "data.csv", "--target", ""), "--target"),
    "empty out": (("fit", "data.csv", "--target", "y", "--out", ""), "--out"),
    "text": (("fit", "text.csv", "--target", "y"), "'city'"),
    "no model": (("predict", "no", "data.csv", "-o", "p.csv"), "no: no such file"),
    "not a model": (("predict", "data.csv", "data.csv", "-o", "p.csv"), "not a result"),
    "Parquet out": (
        ("predict", "no", "data.csv", "-o", "p.parquet"),
        "p.parquet: predictions are written as CSV",
    ),
    "no place": (
        ("predict", "no", "data.csv", "-o", "data.csv/p.csv"),
        "files cannot be written to",
    ),
    "own rows": (
        ("fit", "data.csv", "--target", "y", "--test", "./data.csv"),
        "is DATA itself",
    ),
    "a slip": (("fit", "slip.csv", "--target", "y"), "the first '?' in row 3"),
    "infinite": (("fit", "inf.csv", "--target", "y"), "'a' holds infinity"),
    "weights": (("fit", "bad_w.csv", "--target", "y", "--weight", "w"), "column 'w'"),
}


@pytest.mark.parametrize("what", BAD_CALLS)
def test_mistakes_are_one_line_and_exit_code_2(run, what):
    columns = numbers(m=20)
    write("data.csv", **columns)
    write("other.csv", q=[1.0, 2.0])
    write("text.csv", **columns | {"city": ["x", "y"] * 10})
    write("inf.csv", **columns | {"a": np.full(20, np.inf)})
    write("slip.csv", **columns | {"a": ["1", "2", "?", *["0.5"] * 17]})
    write("bad_w.csv", **columns | {"w": np.full(20, -1.0)})
    write("ends.csv", **columns | {"y_upper": columns["a"]})
    args, message = BAD_CALLS[what]
    code, _, err = run(*args)
    assert code == 2
    assert err.startswith("jaxridge: ") and err.count("\n") == 1
    assert message in err and "Traceback" not in err
    assert not Path("jaxridge-fit").exists() and not Path("p.csv").exists()


def test_damaged_models_are_refused(run):
    write("data.csv", **numbers())
    run("fit", "data.csv", "--target", "y", "--method", "exact", "--out", "out")
    result = json.loads(Path("out/result.json").read_text())
    unnamed = [{"name": 3, "levels": None}]
    for change in (
        {"columns": [{}]},
        {"columns": unnamed},
        {"targets": [only(result) | {"coef": [1.0]}]},
        {"targets": [only(result) | {"intercept": "x"}]},
        {"targets": [only(result) | {"name": 3}]},
        {"targets": [only(result)] * 2},
        {"targets": [only(result) | {"coef": ["1.5", True]}]},
        {"targets": [only(result) | {"intercept": float("nan")}]},
        {"columns": [{"name": "a", "levels": "xy"}, *result["columns"][1:]]},
        {"targets": []},
    ):
        Path("bad.json").write_text(json.dumps(result | change))
        code, _, err = run("predict", "bad.json", "data.csv", "-o", "p.csv")
        assert code == 2 and "bad.json is damaged" in err


def test_other_failures_are_one_line_too(run, monkeypatch):
    def fails(*args):
        raise MemoryError("no room\nat all")

    monkeypatch.setattr("jaxridge.in_memory._table", fails)
    code, _, err = run("fit", "x.csv", "--target", "y")
    assert (code, err) == (1, "jaxridge: MemoryError: no room at all\n")


def test_demo_shows_the_tutorial(run, drawn):
    code, out, _ = run("demo", "--out", "pictures")
    assert code == 0
    assert "autodiff - by hand: at most" in out and "closed form" in out
    table = re.findall(r"^(\d+) .*?(\d\.\de-\d\d) ", out, re.M)
    assert [lam for lam, _ in table] == ["0", "1", "10", "100", "1000"]
    assert all(float(difference) < 1e-6 for _, difference in table)
    assert {p.name for p in Path("pictures").iterdir()} == {"fits.png", "history.png"}


def test_info_names_versions_and_devices(run):
    code, out, _ = run("info")
    assert code == 0 and "jaxlib" in out and "device" in out and "float64" in out


def test_no_cache_folder_is_no_obstacle(run, monkeypatch, away):
    (away / "file").touch()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(away / "file" / "cache"))
    assert "none (not writable)" in run("info")[1]


@pytest.mark.parametrize("args", [(), ("--help",), ("fit", "--help")])
def test_help_does_not_load_jax(args):
    code = (
        "import sys; from jaxridge.cli import main\n"
        f"try: main({list(args)!r})\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(sorted({'jax', 'numpy', 'pyarrow', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage: jaxridge") and done.stdout.endswith("[]\n")


GROUPED = ("fit", "data.csv", "--target", "y", "--group", "who")


def grouped():
    """Return rows of which those of one group all but repeat."""
    rng = np.random.default_rng(5)
    who = np.repeat(np.arange(12), 5)
    x = rng.normal(size=(12, 2))[who] + 0.01 * rng.normal(size=(60, 2))
    y = x @ [1.0, 2.0] + rng.normal(size=12)[who]
    return {"a": x[:, 0], "b": x[:, 1], "who": [f"p{i}" for i in who], "y": y}


def test_groups_stay_together(run):
    columns = grouped()
    write("data.csv", **columns)
    code, out, _ = run(*GROUPED, "--cv", "4", "--lambdas", "1e-2:1e3:9")
    assert code == 0
    assert "columns used otherwise: rows grouped by 'who', left out" not in out
    assert "rows grouped by 'who'" in out and "(4 folds of whole groups)" in out
    X = np.column_stack([columns["a"], columns["b"]])
    pipe = make_pipeline(StandardScaler(), Ridge())
    folds = list(GroupKFold(4).split(X, groups=columns["who"]))
    for line in read("jaxridge-fit/scores.csv"):
        pipe.set_params(ridge__alpha=float(line["lambda"]))
        errors = [
            mean_squared_error(
                columns["y"][held], pipe.fit(X[t], columns["y"][t]).predict(X[held])
            )
            for t, held in folds
        ]
        np.testing.assert_allclose(float(line["held-out MSE"]), np.mean(errors))


def test_test_rows_are_whole_groups(run):
    columns = grouped()
    write("data.csv", **columns)
    code, out, _ = run(*GROUPED, "--cv", "3", "--test", "0.25", "--lambdas", "1,10")
    result = json.loads(Path("jaxridge-fit/result.json").read_text())
    assert code == 0 and only(result)["test"]["rows"] == 15 and result["rows"] == 45


def test_time_goes_forward(run):
    columns = numbers()
    write("data.csv", **columns)
    base = ("fit", "data.csv", "--target", "y", "--time-ordered", "--cv", "4")
    code, out, _ = run(*base, "--lambdas", "1,10", "--test", "0.2")
    assert code == 0 and "4 folds, each predicted from the rows before it" in out
    X = np.column_stack([columns["a"], columns["b"]])[:48]
    y, last = columns["y"][:48], np.column_stack([columns["a"], columns["b"]])[48:]
    pipe = make_pipeline(StandardScaler(), Ridge(1.0))
    errors = [
        mean_squared_error(y[held], pipe.fit(X[t], y[t]).predict(X[held]))
        for t, held in TimeSeriesSplit(4).split(X)
    ]
    scores = read("jaxridge-fit/scores.csv")
    np.testing.assert_allclose(float(scores[0]["held-out MSE"]), np.mean(errors))
    result = json.loads(Path("jaxridge-fit/result.json").read_text())
    pipe.set_params(ridge__alpha=only(result)["lam"]).fit(X, y)
    tested = mean_squared_error(columns["y"][48:], pipe.predict(last))
    np.testing.assert_allclose(only(result)["test"]["mse"], tested)


@pytest.mark.parametrize("cv", ["loo", "gcv", "evidence"])
def test_criteria_choose_as_from_python(run, cv):
    columns = numbers()
    write("data.csv", **columns)
    args = ("fit", "data.csv", "--target", "y", "--lambdas", "1e-2:1e3:9", "--cv", cv)
    code, out, _ = run(*args)
    assert code == 0 and "learnt from all rows" in out
    X = np.column_stack([columns["a"], columns["b"]])
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    score = {"loo": leave_one_out, "gcv": gcv, "evidence": evidence}[cv]
    found = score(X, columns["y"], np.geomspace(1e-2, 1e3, 9))
    result = json.loads(Path("jaxridge-fit/result.json").read_text())
    assert only(result)["lam"] == float(choose(found).lam)
    name = {"loo": "left-out MSE", "gcv": "GCV", "evidence": "log evidence"}[cv]
    means = [float(line[name]) for line in read("jaxridge-fit/scores.csv")]
    np.testing.assert_allclose(means, found.mean, rtol=1e-9)
    assert (only(result)["lam_1se"] is None) == (cv != "loo")
    assert (only(result)["mean_only"] is None) == (cv == "evidence")


@pytest.mark.filterwarnings("ignore:the best alpha")
def test_intervals_are_those_of_the_estimator(run):
    columns = numbers() | {"w": 1.0 + np.arange(60) % 3}
    write("data.csv", **columns)
    base = ("fit", "data.csv", "--target", "y", "--weight", "w", "--interval", "0.8")
    code, out, _ = run(*base, "--lambdas", "0.1,1,10", "--cv", "loo", "--test", "0.25")
    assert code == 0 and re.search(r"intervals hold \d+\.\d% of 15 test rows", out)
    run(*base, "--lambdas", "0.1,1,10", "--cv", "loo")
    X = np.column_stack([columns["a"], columns["b"]])
    options = {"standardize": True, "intervals": True}
    model = RidgeCV([0.1, 1.0, 10.0], **options).fit(X, columns["y"], columns["w"])
    for source, given, share in (
        ("jaxridge-fit", (), 0.8),
        ("jaxridge-fit/model.safetensors", ("--interval", "0.5"), 0.5),
    ):
        code, _, _ = run("predict", source, "data.csv", "-o", "p.csv", *given)
        assert code == 0
        found = [[float(line[c]) for c in line] for line in read("p.csv")]
        expected = np.transpose(model.predict(X, interval=share))
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_intervals_that_may_hold_less_or_nothing_say_so(run):
    write("data.csv", **numbers() | {"g": np.arange(60) // 6})
    base = ("fit", "data.csv", "--target", "y", "--lambdas", "1,10", "--interval")
    for how in (("--group", "g"), ("--time-ordered",)):
        _, out, _ = run(*base, "0.9", *how)
        assert "--interval 0.9: intervals are learnt from rows left out" in out
    _, out, _ = run(*base, "0.99", "--cv", "loo")
    assert "takes at least 99 rows that count, got 60: intervals have no ends" in out
    _, out, _ = run(*base, "0.9", "--cv", "loo")
    assert "--interval" not in out


def test_predictions_without_ends_say_so(run):
    write("data.csv", **numbers())
    base = ("fit", "data.csv", "--target", "y", "--lambdas", "1,10", "--cv", "loo")
    run(*base, "--interval", "0.9")
    for share, words in (("0.9", ""), ("0.99", "no ends of intervals for 60 rows")):
        given = ("data.csv", "-o", "p.csv", "--interval", share)
        _, _, err = run("predict", "jaxridge-fit", *given)
        assert words in err and bool(words) == ("no ends" in err)


def test_predictions_do_not_replace_the_model(run):
    write("data.csv", **numbers())
    run("fit", "data.csv", "--target", "y", "--lambdas", "1,10")
    folder = Path("jaxridge-fit")
    (folder / "model").symlink_to("model.safetensors")
    before = (folder / "model.safetensors").read_bytes()
    for source in (folder, folder / "result.json"):
        given = ("predict", str(source), "data.csv", "-o")
        code, _, err = run(*given, str(folder / "model.safetensors"))
        assert code == 2 and "name it .csv" in err
    code, _, err = run("predict", str(folder), "data.csv", "-o", str(folder / "model"))
    assert code == 2 and "would be overwritten" in err
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_fit_begins_by_taking_the_last_one_away(run, monkeypatch):
    write("data.csv", **numbers())
    base = ("fit", "data.csv", "--target", "y", "--lambdas", "1,10")
    run(*base)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxridge.outputs.write_table_model", interrupted)
    assert run(*base)[0] == 130
    left = {path.name for path in Path("jaxridge-fit").iterdir()}
    assert not left & {"result.json", "model.safetensors"}
    code, _, err = run("predict", "jaxridge-fit", "data.csv", "-o", "p.csv")
    assert code == 2 and "holds no result.json" in err


def test_pictures_that_cannot_be_drawn_are_left_out(run, monkeypatch):
    write("data.csv", **numbers())

    def beyond(*_, **__):
        raise OverflowError("cannot convert float infinity to integer")

    monkeypatch.setattr("jaxridge.outputs.plot_coefficients", beyond)
    code, out, _ = run("fit", "data.csv", "--target", "y", "--lambdas", "1,10")
    assert code == 0 and "coefficients.png is left out" in out
    assert Path("jaxridge-fit/result.json").exists()
    assert not Path("jaxridge-fit/coefficients.png").exists()


def test_names_that_a_console_cannot_show_do_not_end_a_fit():
    columns = numbers()
    write(
        "data.csv", **{"größe": columns["a"], "日本": columns["b"], "y": columns["y"]}
    )
    command = [sys.executable, "-m", "jaxridge", "fit", "data.csv", "--target", "y"]
    env = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(
        [*command, "--lambdas", "1,10"], env=env, capture_output=True, check=False
    )
    assert done.returncode == 0 and Path("jaxridge-fit/result.json").exists()


def test_closed_streams_are_no_crash(run, monkeypatch):
    write("data.csv", **numbers())
    run("fit", "data.csv", "--target", "y", "--lambdas", "1,10")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", None)
        code, *_ = run("predict", "jaxridge-fit", "data.csv", "-o", "p.csv")
    assert code == 0 and len(read("p.csv")) == 60
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        code, _, err = run("predict", "jaxridge-fit", "data.csv", "-o", "-")
    assert code == 2 and "standard output is closed" in err


def test_columns_are_dropped_by_any_name(run):
    columns = numbers()
    write("data.csv", **columns | {" c": columns["a"], "d,e": columns["b"] ** 2})
    base = ("fit", "data.csv", "--target", "y", "--lambdas", "1,10")
    for given in (("--drop", ' c,"d,e"'), ("--drop", "c", "--drop", '"d,e"')):
        code, out, _ = run(*base, *given)
        assert code == 0 and "2 columns as 2 features" in out
    code, _, err = run(*base, "--drop", "a\nb")
    assert code == 2 and "no column has a name of several lines" in err


def test_codes_are_text_if_the_user_says_so(run):
    codes, y = ["07102", "7102", "07103"], [1.0, -3.0, 2.0]
    Path("data.csv").write_text(
        "code,a,y\n"
        + "".join(f"{codes[i % 3]},{i % 7},{y[i % 3] + 0.01 * i}\n" for i in range(60))
    )
    base = ("fit", "data.csv", "--target", "y", "--lambdas", "1e-6,1")
    base += ("--categorical", "onehot")
    assert "no column 'codes': did you mean 'code'" in run(*base, "--text", "codes")[2]
    assert "holds numbers stored as text" in run(*base, "--text", "y")[2]
    assert "2 columns as 2 features" in run(*base)[1]
    code, out, err = run(*base, "--text", "code")
    assert code == 0, err
    result = json.loads(Path("jaxridge-fit/result.json").read_text())
    assert sorted(result["features"]) == [
        "a",
        *(f"code={one}" for one in sorted(codes)),
    ]
    Path("new.csv").write_text("a,code\n3,07102\n3,7102\n3,7103\n")
    code, _, err = run("predict", "jaxridge-fit", "new.csv", "-o", "p.csv")
    assert code == 0 and "column 'code': 1 row with a level" in err
    one, other = [float(row["prediction"]) for row in read("p.csv")][:2]
    assert one - other == pytest.approx(4, abs=0.1)


def test_nan_in_parquet_is_missing_whatever_the_column_is_for(run):
    columns = numbers()
    text = np.array(["A", "1", "2"])[np.arange(60) % 3]
    pa.parquet.write_table(pa.table(columns | {"k": text}), "data.parquet")
    base = ("fit", "data.parquet", "--target", "y", "--lambdas", "1,10")
    assert run(*base, "--categorical", "onehot")[0] == 0
    holes = np.where(np.arange(60) > 50, np.nan, 1.0)
    pa.parquet.write_table(pa.table(columns | {"k": holes}), "new.parquet")
    code, _, err = run("predict", "jaxridge-fit", "new.parquet", "-o", "p.csv")
    assert code == 2 and "values are missing in column(s) 'k' (9)" in err
    code, _, err = run("fit", "new.parquet", *base[2:], "--group", "k")
    assert code == 2 and "misses 9 value(s)" in err
    lists = pa.table(columns | {"k": [[1.0] * (i % 3) for i in range(60)]})
    pa.parquet.write_table(lists, "lists.parquet")
    code, _, err = run("fit", "lists.parquet", *base[2:], "--group", "k")
    assert code == 2 and "'k', which groups rows, holds list<" in err


def test_predictions_may_go_to_standard_output_and_through_links(run):
    write("data.csv", **numbers())
    run("fit", "data.csv", "--target", "y", "--lambdas", "1,10")
    code, out, err = run("predict", "jaxridge-fit", "data.csv", "-o", "-")
    assert code == 0 and out.startswith("prediction\n") and "wrote 60" in err
    Path("link.csv").symlink_to("real.csv")
    run("predict", "jaxridge-fit", "data.csv", "-o", "link.csv")
    assert Path("link.csv").is_symlink() and Path("real.csv").read_text() == out
    assert run("predict", "jaxridge-fit", "data.csv", "-o", "/dev/null")[0] == 0
    assert Path("/dev/null").is_char_device()


def test_predict_names_what_it_lacks(run):
    write("data.csv", **numbers())
    run("fit", "data.csv", "--target", "y", "--lambdas", "1,10")
    write("bad.csv", a=["1", "x"], b=[1.0, 2.0])
    write("none.csv", q=[1.0, 2.0])
    for data, message in (
        ("bad.csv", "column 'a' must hold numbers: .* 'x' in row 2"),
        ("none.csv", "the table has no columns 'a', 'b'"),
    ):
        code, _, err = run("predict", "jaxridge-fit", data, "-o", "p.csv")
        assert code == 2 and re.search(message, err)


def test_either_file_of_a_fit_predicts_the_same(run):
    write("data.csv", **numbers())
    run("fit", "data.csv", "--target", "y", "--lambdas", "1,10")
    for name in ("result.json", "model.safetensors"):
        out = f"{name}.csv"
        code, _, _ = run("predict", f"jaxridge-fit/{name}", "data.csv", "-o", out)
        assert code == 0
    texts = {Path(f"{n}.csv").read_text() for n in ("result.json", "model.safetensors")}
    assert len(texts) == 1
    code, _, err = run(
        "predict", "jaxridge-fit", "data.csv", "-o", "p.csv", "--interval", "0.9"
    )
    assert code == 2 and "fit with --interval" in err
    data = Path("jaxridge-fit/model.safetensors").read_bytes()
    Path("bad.safetensors").write_bytes(data[:-1] + b"x")
    code, _, err = run("predict", "bad.safetensors", "data.csv", "-o", "p.csv")
    assert code == 2 and "bad.safetensors is damaged" in err
    save(RidgeCV([1.0]).fit(np.eye(3), np.arange(3.0)), "other.safetensors")
    code, _, err = run("predict", "other.safetensors", "data.csv", "-o", "p.csv")
    assert code == 2 and "saved from Python" in err


def test_a_name_with_a_comma_is_quoted(run):
    write("data.csv", **{name.replace("b", "b,c"): v for name, v in numbers().items()})
    args = ("fit", "data.csv", "--target", "y", "--lambdas", "1,2", "--drop", '"b,c"')
    code, out, _ = run(*args)
    assert code == 0 and "left out 'b,c'" in out


def test_version_is_the_packages(run):
    import jaxridge

    assert jaxridge.__version__ in run("--version")[1]


def test_second_run_of_the_same_shape_compiles_nothing(away, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(away / "cache"))
    args = [sys.executable, "-m", "jaxridge", "fit", "data.csv", "--target", "y"]
    write("data.csv", **numbers())
    kept = []
    for _ in range(2):
        subprocess.run(args, check=True, capture_output=True)
        kept.append({file.name for file in (away / "cache").iterdir()})
    # What is compiled is kept, and what is kept is found: a miss would add a file.
    assert kept[0]
    assert kept[1] == kept[0]


def test_interrupted_fit_leaves_no_half_written_file(away):
    write("data.csv", **numbers())
    args = [sys.executable, "-m", "jaxridge", "fit", "data.csv", "--target", "y"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(args, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout.readline().startswith("jaxridge")  # it is under way
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    folder = away / "jaxridge-fit"
    names = {p.name for p in folder.iterdir()} if folder.exists() else set()
    assert not any(name.startswith(".") for name in names)
    if "result.json" in names:
        assert only(json.loads((folder / "result.json").read_text()))["name"] == "y"
    else:
        assert process.returncode == 130 and "interrupted" in err


def test_an_interrupt_that_python_drops_ends_the_run_at_the_next_line():
    def lines():
        yield "one"
        with contextlib.suppress(KeyboardInterrupt):  # as a callback's caller does
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        yield "two"
        yield "three"

    # These tests may themselves be run where Ctrl-C is ignored.
    before, said = signal.signal(signal.SIGINT, signal.default_int_handler), []
    try:
        with pytest.raises(KeyboardInterrupt):
            with interruptible() as stopped:
                for line in lines():
                    stopped()
                    said.append(line)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert said == ["one"]


def test_readme_commands_run(run):
    text = re.search(r"```console\n(.*?)```", README.read_text(), re.S)[1]
    columns = numbers() | {"city": ["x", "y", "z"] * 20}
    write("data.csv", **{"price" if k == "y" else k: v for k, v in columns.items()})
    write("new.csv", a=columns["a"], b=columns["b"], city=columns["city"])
    for line in text.splitlines():
        command, *args = line.removeprefix("$ ").split()
        assert command == "jaxridge"
        assert run(*args)[0] == 0, line


def test_a_text_file_that_fills_more_than_asked_for_is_said_to(run):
    write("data.csv", **numbers())
    asked = ("fit", "data.csv", "--target", "y", "--lambdas", "1")
    assert "more than --memory: only Parquet" in run(*asked, "--memory", "500")[1]
    assert "--memory" not in run(*asked, "--out", "again")[1]


def test_example_data_are_scikit_learns():
    table = diabetes()
    assert table.num_rows == 442 and table.column_names[-1] == "progression"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--test", "inf"), "--test inf must be a file, or a fraction"),
        (("--test", "nan"), "--test nan must be a file, or a fraction"),
        (("--drop", "y"), "column 'y' is named twice, and can have one role"),
        (("--weight", "y"), "column 'y' is named twice, and can have one role"),
        (("--lambdas", "1:10:99999999999999"), "more than 1000000 penalties"),
        (("--seed", "99999999999"), "--seed"),
    ],
)
def test_requests_that_cannot_be_are_refused_in_a_line(run, options, message):
    write("data.csv", **numbers())
    code, _, err = run("fit", "data.csv", "--target", "y", *options)
    assert (code, len(err.splitlines())) == (2, 1)
    assert message in err


@pytest.mark.parametrize("weight", [-1.0, 0.0])
def test_weights_of_test_rows_are_checked(run, weight):
    data = numbers()
    rows = len(data["y"])
    write("data.csv", **data, w=np.ones(rows))
    write("test.csv", **data, w=np.full(rows, weight))
    code, _, err = run(
        "fit", "data.csv", "--target", "y", "--weight", "w", "--test", "test.csv"
    )
    assert code == 2 and "--test: the weights in column 'w'" in err


def test_rows_that_do_not_count_are_not_counted_on(run):
    """A column has no mean, or one value, where it counts; and folds have no weight."""
    data, rows = numbers(), 60
    weight = (np.arange(rows) < 30).astype(float)
    holes = ["" if w else "1.5" for w in weight]
    flat = np.where(weight, 3.0, np.arange(rows))
    write("data.csv", **data, w=weight, v=holes, k=flat)
    base = ("fit", "data.csv", "--target", "y", "--weight", "w", "--lambdas", "1,10")
    code, _, err = run(*base, "--missing", "mean")
    assert code == 2 and "column 'v' has no value in the 30 rows that count" in err
    code, out, _ = run(*base, "--drop", "v")
    assert code == 0 and "column 'k' is constant: its coefficient is 0" in out
    code, _, err = run(*base, "--drop", "v", "--time-ordered")
    assert code == 2 and "column 'w' are all 0 in fold 3: no row counts there" in err


def test_what_becomes_of_test_rows_is_told(run):
    data, rows = numbers(), 60
    write("data.csv", **data)
    y = pa.array([*data["y"][:20], *[None] * 40])
    holes = {"y": y, "a": pa.array([None, *data["a"][1:]])}
    write("test.csv", **data | holes)
    base = ("fit", "data.csv", "--target", "y", "--lambdas", "1,10", "--test")
    code, out, _ = run(*base, "test.csv", "--missing", "mean")
    assert code == 0 and "--test: left out 40 rows with missing values" in out
    assert "--test: filled 1 missing value with column means" in out
    code, out, _ = run(*base, "test.csv", "--missing", "drop")
    assert code == 0 and "--test: left out 41 rows with missing values" in out
    assert f"test MSE, on {rows - 41} rows" in out


def test_predictions_do_not_depend_on_the_other_rows_of_a_file(run):
    levels = np.tile(["01", "1", "1A"], 20)
    y = np.tile([0.0, 10.0, 20.0], 20) + numbers()["a"] / 10
    write("data.csv", city=levels, y=y)
    assert run("fit", "data.csv", "--target", "y", "--categorical", "onehot")[0] == 0
    write("one.csv", city=["01"])
    write("two.csv", city=["01", "1A"])
    for name in ("one", "two"):
        assert run("predict", "jaxridge-fit", f"{name}.csv", "-o", "out.csv")[0] == 0
        assert abs(float(read("out.csv")[0]["prediction"])) < 1
    write("again.csv", city=levels, y=y)
    _, out, _ = run(
        *("fit", "data.csv", "--target", "y", "--categorical", "onehot"),
        *("--test", "again.csv"),
    )
    assert "test MSE" in out and "a level without" not in out


@pytest.mark.parametrize("name", ["scores.csv", "coefficients.csv"])
def test_a_file_that_is_read_is_not_overwritten(run, away, name):
    write(name, **numbers())
    before = Path(name).read_bytes()
    code, _, err = run("fit", name, "--target", "y", "--out", ".")
    assert code == 2 and f"DATA {name} would be overwritten" in err
    assert run("fit", name, "--target", "y")[0] == 0
    code, _, err = run("predict", "jaxridge-fit", name, "-o", name)
    assert code == 2 and "would be overwritten" in err
    assert Path(name).read_bytes() == before


def test_names_with_dollars_are_shown_as_they_are(run, drawn):
    columns = numbers()
    names = {"a": r"$\frac a$", "b": "cost $", "y": r"$\frac y$"}
    write("data.csv", **{names[key]: values for key, values in columns.items()})
    assert run("fit", "data.csv", "--target", names["y"])[0] == 0


def test_without_an_intercept_a_constant_column_is_not_said_to_have_none(run):
    write("data.csv", **numbers() | {"c": np.full(60, 2.0)})
    out = run("fit", "data.csv", "--target", "y", "--no-intercept")[1]
    assert "column 'c' is constant, and serves as an intercept" in out


def test_without_an_intercept_a_column_of_zeros_has_none(run):
    write("data.csv", **numbers() | {"c": np.zeros(60)})
    out = run("fit", "data.csv", "--target", "y", "--no-intercept")[1]
    assert "column 'c' is constant: its coefficient is 0" in out


def test_a_text_that_is_missing_is_one_missing_value(run):
    columns = numbers() | {"k": ["u", "v", "w"] * 20}
    write("data.csv", **columns)
    write("test.csv", **columns | {"k": [None, None, *columns["k"][2:]]})
    options = ("--categorical", "onehot", "--missing", "mean", "--test", "test.csv")
    out = run("fit", "data.csv", "--target", "y", *options)[1]
    assert "--test: filled 2 missing values" in out


def test_a_simpler_fit_at_the_edge_is_not_said_to_have_a_better_one_beyond(run):
    write("data.csv", **numbers())
    base = ("fit", "data.csv", "--target", "y", "--lambdas", "0.1:10:9")
    out = run(*base, "--rule", "1se")[1]
    assert "larger ones may be within one standard error of the best too" in out
    assert "the best may lie beyond" not in out


def test_a_column_without_a_value_in_the_rows_that_count_is_refused(run):
    columns = numbers()
    a, y = columns["a"].tolist(), columns["y"].tolist()
    a[3:] = [None] * 57
    y[:3] = [None] * 3
    write("data.csv", a=a, b=columns["b"], y=y)
    code, _, err = run("fit", "data.csv", "--target", "y", "--missing", "mean")
    assert code == 2 and "column 'a' has no value in the 57 rows that count" in err


def test_negative_weights_are_named_by_their_column(run):
    write("data.csv", **numbers() | {"w": np.linspace(-1, 1, 60)})
    code, _, err = run("fit", "data.csv", "--target", "y", "--weight", "w")
    assert code == 2 and "column 'w'" in err


def test_a_folder_in_the_place_of_a_result_is_found_before_the_fit(run, away):
    write("data.csv", **numbers())
    (away / "jaxridge-fit" / "scores.csv").mkdir(parents=True)
    code, out, err = run("fit", "data.csv", "--target", "y")
    assert code == 2 and "scores.csv is a folder there" in err and not out


def test_what_new_rows_lack_is_said_and_files_of_others_stay(run):
    write("data.csv", **numbers())
    write("new.csv", **numbers(3) | {"y": np.full(3, 0.1)})
    Path("out").mkdir()
    Path("out/report.html").write_text("my own")
    asked = "fit data.csv --target y --test new.csv --missing mean --out out"
    out = run(*asked.split(), "--lambdas", "1")[1]
    assert "test MSE, on 3 rows" in out and "R2" not in out
    assert Path("out/report.html").read_text() == "my own"
    Path("new.csv").write_text("a,b\n,1\n2,\n,\n3,4\n")
    code, out, err = run("predict", "out", "new.csv", "--out", "p.csv")
    assert code == 0, err
    assert "means that the fit has learnt: 'a' (2), 'b' (2)" in err


def test_a_grid_that_begins_too_late_is_not_laid_on_the_columns(run):
    write("data.csv", **numbers())
    out = run(*"fit data.csv --target y --lambdas 3e3:1e5:5".split())[1]
    assert "edge" in out and "tell little" not in out


def test_an_index_that_pandas_wrote_is_left_out(run):
    columns = numbers()
    table = pa.table(columns | {"__index_level_0__": np.arange(60)})
    pa.parquet.write_table(table, "data.parquet")
    out = run("fit", "data.parquet", "--target", "y")[1]
    assert "left out the index '__index_level_0__'" in out


def test_a_run_that_ignores_ctrl_c_goes_on_doing_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
