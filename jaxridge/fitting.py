"""A table file in, a chosen λ and its files out: what ``jaxridge fit`` does.

`fit_table` yields the lines to show as they become known, so that a long run speaks
before it ends.
"""

import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa

from jaxridge import checks
from jaxridge.account import (
    Request,
    describe_choice,
    describe_coefficients,
    describe_data,
    describe_errors,
    simplest,
    without_column,
)
from jaxridge.encoding import (
    Encoding,
    Rows,
    encode,
    learn_encoding,
    unseen_levels,
)
from jaxridge.examples import DIABETES_TARGET, diabetes
from jaxridge.files import (
    MODEL,
    refuse_overwriting,
    refuse_unwritable,
    save_result,
    write_csv,
    written_aside,
)
from jaxridge.intervals import Kept, jackknife_plus, kept_of
from jaxridge.kinds import known
from jaxridge.linear import along_axes
from jaxridge.objective import predict
from jaxridge.plots import figure, plain, plot_coefficients, plot_validation
from jaxridge.regressor import left_out_errors
from jaxridge.selection import Rows as Prepared
from jaxridge.store import write_table_model
from jaxridge.study import Study, Task, study
from jaxridge.tables import read_table
from jaxridge.trial import Trial

WRITTEN = (
    "result.json",
    "coefficients.csv",
    "scores.csv",
    "validation.png",
    "coefficients.png",
    MODEL,
)


def fit_table(request: Request) -> Iterator[str]:
    """Choose λ for a table, fit it, write the files, and say what was done."""
    refuse_unwritable(request.out, WRITTEN)
    refuse_overwriting(
        [request.out / name for name in WRITTEN],
        {"DATA": request.data, "--test": request.test},
    )
    started = time.perf_counter()
    compiling = _compile_seconds()
    _refuse_contradictions(request)
    table, target = _table(request)
    train, test, read_test = _split_table(table, request)
    del table
    encoding = learn_encoding(
        train,
        target,
        weight=request.weight,
        drop=(*request.drop, *([request.group] if request.group else [])),
        categorical=request.categorical,
        max_levels=request.max_levels,
        missing=request.missing,
    )
    rows, n_read = encode(train, encoding), train.num_rows
    test = read_test(encoding.text) if read_test else test
    if rows.weight is not None and (rows.weight < 0).any():
        raise ValueError(f"the weights in column {request.weight!r} hold negative ones")
    groups = _groups(train, request, rows.kept)
    held = None if test is None else _encode_test(test, encoding)
    unseen = {} if test is None else unseen_levels(test, encoding)
    del train, test
    pa.default_memory_pool().release_unused()  # before the fit takes its own
    seconds = {"read": time.perf_counter() - started}
    yield from describe_data(request, encoding, rows, n_read)
    for name, count in unseen.items():
        yield "--test: " + without_column(name, count)
    trial = _trial(request, len(rows.y), groups)
    task = Task(
        request.lams,
        trial,
        request.rule,
        request.method,
        request.standardize,
        request.fit_intercept,
    )
    found = study(rows.X, rows.y, rows.weight, task, progress=True)
    seconds["compile"] = compiling()
    yield from describe_choice(request, trial, found)
    kept = None if request.interval is None else _kept(rows, found, request)
    error = None if held is None else _test_error(found, held, kept, request)
    yield from describe_errors(request, trial, found, error)
    yield from describe_coefficients(encoding, found)
    seconds["total"] = time.perf_counter() - started
    result = _result(request, trial, encoding, rows, found, error, seconds)
    yield from _write(request.out, trial, encoding, found, kept, result)


def _refuse_contradictions(request: Request) -> None:
    if isinstance(request.cv, str) and (request.group or request.in_time):
        raise ValueError(
            f"--group and --time-ordered make folds, and --cv {request.cv} has none: "
            "pass a number of folds as --cv"
        )
    if request.group and request.in_time:
        raise ValueError("--group and --time-ordered exclude each other: pass one")
    if isinstance(request.cv, str) and request.method == "descent":
        raise ValueError(
            f"--method descent needs folds, and --cv {request.cv} has none: pass a "
            "number of folds as --cv"
        )


def _trial(request: Request, rows: int, groups: np.ndarray | None) -> Trial:
    """Return by what penalties are judged, if there are rows or groups enough."""
    most = rows if groups is None else len(np.unique(groups))
    if not isinstance(request.cv, str) and request.cv > most - request.in_time:
        what = "rows" if groups is None else f"groups in column {request.group!r}"
        raise ValueError(
            f"--cv {request.cv} asks for more folds than there are {what}, {most}"
        )
    return Trial(request.cv, request.seed, groups, request.in_time)


def _kept(rows: Rows, found: Study, request: Request) -> Kept:
    """Return what intervals need, of the columns as prepared for the final fit."""
    X = np.where(np.isnan(rows.X), found.columns.fill, rows.X)
    X = (X - found.columns.origin) / found.columns.scale
    ready = Prepared(X, rows.y, rows.weight, request.fit_intercept, None)
    lam = np.array([float(found.choice.lam)])
    given = rows.weight, along_axes(ready, lam), lam, left_out_errors(ready, lam)
    return kept_of(X, rows.y[:, None], *given, request.fit_intercept)


def _table(request: Request) -> tuple[pa.Table, str]:
    if request.data is None:
        return diabetes(), request.target or DIABETES_TARGET
    return read_table(request.data, progress=True), request.target or ""


def _split_table(
    table: pa.Table, request: Request
) -> tuple[pa.Table, pa.Table | None, Callable[[list[str]], pa.Table] | None]:
    """Return training and test rows, or how to read them, given what is text."""
    if request.test is None:
        return table, None, None
    try:
        fraction = float(request.test)
    except ValueError:
        path = request.test
        return table, None, lambda text: read_table(path, text=text, progress=True)
    rows = table.num_rows
    n_test = round(fraction * rows) if 0 < fraction < 1 else 0
    if not 0 < n_test < rows:
        raise ValueError(
            f"--test {request.test} must be a file, or a fraction between 0 and 1 that "
            f"leaves rows on both sides of {rows}"
        )
    tested = _tested(table, request, n_test)
    return (
        table.take(pa.array(np.flatnonzero(~tested))),
        table.take(pa.array(np.flatnonzero(tested))),
        None,
    )


def _tested(table: pa.Table, request: Request, n_test: int) -> np.ndarray:
    """Return which rows are test rows: the last in time, whole groups, or any."""
    rows, tested = table.num_rows, np.zeros(table.num_rows, bool)
    if request.in_time:
        tested[rows - n_test :] = True
        return tested
    rng = np.random.default_rng(request.seed)
    if request.group is None:
        tested[rng.permutation(rows)[:n_test]] = True
        return tested
    groups = _codes(table, request.group)
    names, counts = np.unique(groups, return_counts=True)
    order = rng.permutation(len(names))
    # As many groups as come nearest to the rows asked for, and one left to train on.
    enough = int(np.abs(np.cumsum(counts[order]) - n_test).argmin()) + 1
    tested[np.isin(groups, names[order[: min(enough, len(names) - 1)]])] = True
    if not tested.any():
        raise ValueError(
            f"column {request.group!r} has one group only: none is left to test on"
        )
    return tested


def _codes(table: pa.Table, name: str) -> np.ndarray:
    """Return a number for each row, the same where a column holds the same."""
    known(name, table)
    column = table.column(name)
    if column.null_count:
        raise ValueError(
            f"column {name!r}, which groups rows, misses {column.null_count} values: "
            "name their groups, or take those rows out"
        )
    return np.unique(column.to_pylist(), return_inverse=True)[1]


def _groups(table: pa.Table, request: Request, kept: np.ndarray) -> np.ndarray | None:
    return None if request.group is None else _codes(table, request.group)[kept]


def _encode_test(test: pa.Table, encoding: Encoding) -> Rows:
    try:
        held = encode(test, encoding)
        if held.weight is not None:
            checks.weights(held.weight, len(held.y))
        return held
    except ValueError as error:
        raise ValueError(f"--test: {error}") from None


def _test_error(
    found: Study, held: Rows, kept: Kept | None, request: Request
) -> dict[str, float]:
    X = np.where(np.isnan(held.X), found.columns.fill, held.X)
    weight = np.ones(len(held.y)) if held.weight is None else held.weight
    predicted = np.asarray(predict(found.raw, X))
    squares = (predicted - held.y) ** 2
    mse = float(np.average(squares, weights=weight))
    spread = float(
        np.average((held.y - np.average(held.y, weights=weight)) ** 2, weights=weight)
    )
    error = {"rows": len(held.y), "mse": mse}
    if kept is not None and request.interval is not None:
        ready = (X - found.columns.origin) / found.columns.scale
        given = predicted[:, None], request.interval
        low, high = (e[:, 0] for e in jackknife_plus(kept, ready, *given))
        inside = (low <= held.y) & (held.y <= high)
        error["covered"] = float(np.average(inside, weights=weight))
    return error | ({"r2": 1 - mse / spread} if spread > 0 else {})


def _result(
    request: Request,
    trial: Trial,
    encoding: Encoding,
    rows: Rows,
    found: Study,
    error: dict[str, float] | None,
    seconds: dict[str, float],
) -> dict[str, Any]:
    at, simple = int(found.choice.index), simplest(found)
    return {
        "target": encoding.target,
        "weight": encoding.weight,
        "columns": [{"name": c.name, "levels": c.levels} for c in encoding.columns],
        "missing": encoding.missing,
        "features": encoding.features,
        "fill": found.columns.fill.tolist(),
        "coef": found.raw.coef.tolist(),
        "intercept": float(found.raw.intercept),
        "lam": float(found.choice.lam),
        "at_edge": bool(found.choice.at_edge),
        "lam_1se": None if simple is None else float(found.scores.lams[simple]),
        "rule": request.rule,
        "method": request.method,
        "converged": bool(found.converged.all()),
        "standardize": request.standardize,
        "fit_intercept": request.fit_intercept,
        "cv": request.cv,
        "interval": request.interval,
        "group": request.group,
        "time_ordered": request.in_time,
        "seed": request.seed,
        "rows": len(rows.y),
        "scores": {
            "name": trial.score,
            "from": trial.words,
            "best": float(found.scores.mean[at]),
            "standard_error": _if_finite(found.scores.standard_error[at])
            if simple is not None
            else None,
            "mean_only": _if_finite(found.mean_only),
            "unpenalized": _if_finite(found.unpenalized),
        },
        "test": error,
        "certificate": {
            "lams": found.certificate.lams.tolist(),
            "autodiff": found.certificate.autodiff.tolist(),
            "by_hand": found.certificate.by_hand.tolist(),
            "route": str(found.certificate.route),
            "scores_route": str(found.scores.route),
        },
        "notes": list(encoding.notes),
        "device": jax.devices()[0].device_kind,
        "versions": {
            name: version(name) for name in ("jaxridge", "jax", "jaxlib", "numpy")
        },
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def _if_finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _write(
    out: Path,
    trial: Trial,
    encoding: Encoding,
    found: Study,
    kept: Kept | None,
    result: dict[str, Any],
) -> Iterator[str]:
    columns, scores = found.columns, found.scores
    # First and last, so that a result that is there has all its files, and its own.
    (out / "result.json").unlink(missing_ok=True)
    write_csv(
        out / "coefficients.csv",
        ["feature", "coefficient", "coefficient_as_prepared", "origin", "scale"],
        zip(
            [*encoding.features, "(intercept)"],
            [*found.raw.coef.tolist(), float(found.raw.intercept)],
            [*found.chosen.coef.tolist(), float(found.chosen.intercept)],
            [*columns.origin.tolist(), ""],
            [*columns.scale.tolist(), ""],
            strict=True,
        ),
    )
    # Of leave-one-out the only "fold" is the mean, and criteria have none.
    of_folds = trial.folds is not None
    each = scores.per_fold.T if of_folds else np.zeros((len(scores.lams), 0))
    folds = each.tolist()
    write_csv(
        out / "scores.csv",
        ["lambda", trial.score, "standard_error"]
        + [f"fold_{i + 1}" for i in range(each.shape[1])],
        (
            [lam, mean, error, *each]
            for lam, mean, error, each in zip(
                scores.lams.tolist(),
                scores.mean.tolist(),
                scores.standard_error.tolist(),
                folds,
                strict=True,
            )
        ),
    )
    units = "of columns of unit variance" if result["standardize"] else "(units² of x)"
    penalty = f"penalty λ {units}"
    with written_aside(out / "validation.png") as aside, figure(aside) as ax:
        plot_validation(scores, ax)
        ax.set_xlabel(penalty)
        ax.set_ylabel(f"{trial.score} of {plain(encoding.target)}")
    with written_aside(out / "coefficients.png") as aside, figure(aside) as ax:
        chosen = float(found.choice.lam)
        names = encoding.features
        plot_coefficients(scores.lams, found.params, ax, names=names, chosen=chosen)
        ax.set(xlabel=penalty, ylabel="coefficient of the prepared column")
    write_table_model(out / MODEL, result, kept, columns)
    save_result(out / "result.json", result)
    yield ""
    yield (
        f"wrote result.json, {MODEL}, coefficients.csv, scores.csv, validation.png and "
        f"coefficients.png to {out}"
    )


def _compile_seconds() -> Any:
    """Start adding up what JAX spends on compiling; return a function that tells."""
    spent: list[float] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            spent.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return lambda: sum(spent)
