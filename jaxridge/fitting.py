"""A table file in, a chosen λ and its files out: what ``jaxridge fit`` does.

`fit_table` and `predict_table` yield the lines to show as they become known, so that a
long run speaks before it ends.
"""

import csv
import time
from collections.abc import Callable, Iterator, Sequence
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
    without_column,
)
from jaxridge.choice import choose
from jaxridge.encoding import (
    Column,
    Encoding,
    Rows,
    encode,
    encode_features,
    learn_encoding,
    refuse_missing,
    unseen_levels,
)
from jaxridge.examples import DIABETES_TARGET, diabetes
from jaxridge.files import (
    load_result,
    refuse_overwriting,
    refuse_unwritable,
    save_result,
    written_aside,
)
from jaxridge.objective import Params, predict
from jaxridge.plots import figure, plain, plot_coefficients, plot_validation
from jaxridge.study import Study, Task, study
from jaxridge.tables import read_table

WRITTEN = (
    "result.json",
    "coefficients.csv",
    "scores.csv",
    "validation.png",
    "coefficients.png",
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
    table, target = _table(request)
    train, test, read_test = _split_table(table, request)
    del table
    encoding = learn_encoding(
        train,
        target,
        weight=request.weight,
        drop=request.drop,
        categorical=request.categorical,
        max_levels=request.max_levels,
        missing=request.missing,
    )
    rows, n_read = encode(train, encoding), train.num_rows
    test = read_test(encoding.text) if read_test else test
    if rows.weight is not None and (rows.weight < 0).any():
        raise ValueError(f"the weights in column {request.weight!r} hold negative ones")
    held = None if test is None else _encode_test(test, encoding)
    unseen = {} if test is None else unseen_levels(test, encoding)
    del train, test
    pa.default_memory_pool().release_unused()  # before the fit takes its own
    seconds = {"read": time.perf_counter() - started}
    yield from describe_data(request, encoding, rows, n_read)
    for name, count in unseen.items():
        yield "--test: " + without_column(name, count)
    if request.folds > len(rows.y):
        raise ValueError(
            f"--cv {request.folds} asks for more folds than there are rows, "
            f"{len(rows.y)}"
        )
    task = Task(
        request.lams,
        request.folds,
        request.seed,
        request.rule,
        request.method,
        request.standardize,
        request.fit_intercept,
    )
    found = study(rows.X, rows.y, rows.weight, task, progress=True)
    seconds["compile"] = compiling()
    yield from describe_choice(request, found)
    error = None if held is None else _test_error(found, held)
    yield from describe_errors(request, found, error)
    yield from describe_coefficients(encoding, found)
    seconds["total"] = time.perf_counter() - started
    result = _result(request, encoding, rows, found, error, seconds)
    yield from _write(request.out, encoding, found, result)


def predict_table(model: Path, data: Path, out: Path) -> Iterator[str]:
    """Predict the rows of a table with a saved result, into a CSV file."""
    result = load_result(model)
    try:
        columns = tuple(_saved_column(**c) for c in result["columns"])
        encoding = Encoding(result["target"], columns, missing=result["missing"])
        fill, coef = np.array(result["fill"], float), np.array(result["coef"], float)
        params = Params(coef, np.array(result["intercept"], float))
        fits = fill.shape == coef.shape == (len(encoding.features),)
        fits = fits and len(set(encoding.features)) == len(encoding.features)
        fits = fits and isinstance(encoding.target, str)
        fits = fits and encoding.missing in ("error", "drop", "mean")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(f"{model} is damaged: its columns cannot be read") from None
    if not fits:
        raise ValueError(f"{model} is damaged: columns and coefficients do not match")
    refuse_overwriting([out], {"DATA": data, "MODEL": model})
    table = read_table(data, text=encoding.text, progress=True)
    X = encode_features(table, encoding)
    for name, count in unseen_levels(table, encoding).items():
        yield without_column(name, count)
    holes = np.isnan(X)
    if encoding.missing == "error":
        refuse_missing(
            holes, encoding, "the fit had none, and knows no fill: mend them"
        )
    if encoding.missing == "mean":
        X = np.where(holes, fill, X)
    whole = ~np.isnan(X).any(axis=1)
    predictions = np.full(len(X), np.nan)
    if whole.any():
        predictions[whole] = predict(params, X[whole])
    if not whole.all():
        yield (
            f"{int((~whole).sum())} rows miss a value and get no prediction, as the "
            "fit left such rows out"
        )
    cells = (
        f"{p!r}" if ok else ""
        for p, ok in zip(predictions.tolist(), whole, strict=True)
    )
    _write_csv(out, ["prediction"], ([cell] for cell in cells))
    yield f"wrote {len(X)} predictions of {encoding.target!r} to {out}"


def _table(request: Request) -> tuple[pa.Table, str]:
    if request.data is None:
        return diabetes(), request.target or DIABETES_TARGET
    return read_table(request.data, progress=True), request.target or ""


def _saved_column(name: str, levels: list[str] | None) -> Column:
    if not all(isinstance(word, str) for word in (name, *(levels or ()))):
        raise TypeError("names and levels are text")
    return Column(name, None if levels is None else tuple(levels))


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
    order = np.random.default_rng(request.seed).permutation(rows)
    return (
        table.take(pa.array(np.sort(order[n_test:]))),
        table.take(pa.array(np.sort(order[:n_test]))),
        None,
    )


def _encode_test(test: pa.Table, encoding: Encoding) -> Rows:
    try:
        held = encode(test, encoding)
        if held.weight is not None:
            checks.weights(held.weight, len(held.y))
        return held
    except ValueError as error:
        raise ValueError(f"--test: {error}") from None


def _test_error(found: Study, held: Rows) -> dict[str, float]:
    X = np.where(np.isnan(held.X), found.columns.fill, held.X)
    weight = np.ones(len(held.y)) if held.weight is None else held.weight
    squares = (predict(found.raw, X) - held.y) ** 2
    mse = float(np.average(squares, weights=weight))
    spread = float(
        np.average((held.y - np.average(held.y, weights=weight)) ** 2, weights=weight)
    )
    error = {"rows": len(held.y), "mse": mse}
    return error | ({"r2": 1 - mse / spread} if spread > 0 else {})


def _result(
    request: Request,
    encoding: Encoding,
    rows: Rows,
    found: Study,
    error: dict[str, float] | None,
    seconds: dict[str, float],
) -> dict[str, Any]:
    at = int(found.choice.index)
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
        "lam_1se": float(choose(found.scores, "1se").lam),
        "rule": request.rule,
        "method": request.method,
        "converged": bool(found.converged.all()),
        "standardize": request.standardize,
        "fit_intercept": request.fit_intercept,
        "folds": request.folds,
        "seed": request.seed,
        "rows": len(rows.y),
        "held_out": {
            "mse": float(found.scores.mean[at]),
            "standard_error": float(found.scores.standard_error[at]),
            "mean_only": float(found.mean_only),
            "unpenalized": float(found.unpenalized),
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


def _write(
    out: Path, encoding: Encoding, found: Study, result: dict[str, Any]
) -> Iterator[str]:
    columns, scores = found.columns, found.scores
    # First and last, so that a result that is there has all its files, and its own.
    (out / "result.json").unlink(missing_ok=True)
    _write_csv(
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
    folds = scores.per_fold.T.tolist()
    _write_csv(
        out / "scores.csv",
        ["lambda", "mse", "standard_error"]
        + [f"fold_{i + 1}" for i in range(len(scores.per_fold))],
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
        ax.set_ylabel(f"held-out squared error of {plain(encoding.target)}")
    with written_aside(out / "coefficients.png") as aside, figure(aside) as ax:
        chosen = float(found.choice.lam)
        names = encoding.features
        plot_coefficients(scores.lams, found.params, ax, names=names, chosen=chosen)
        ax.set(xlabel=penalty, ylabel="coefficient of the prepared column")
    save_result(out / "result.json", result)
    yield ""
    yield (
        f"wrote result.json, coefficients.csv, scores.csv, validation.png and "
        f"coefficients.png to {out}"
    )


def _write_csv(path: Path, header: Sequence[str], rows: Any) -> None:
    with written_aside(path) as aside:
        with aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)


def _compile_seconds() -> Any:
    """Start adding up what JAX spends on compiling; return a function that tells."""
    spent: list[float] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            spent.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return lambda: sum(spent)
