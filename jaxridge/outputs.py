"""The files of a fit: numbers as JSON and CSV, pictures, and the model."""

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.axes import Axes

from jaxridge.encoding import Encoding
from jaxridge.files import MODEL, save_result, write_csv, written_aside
from jaxridge.intervals import Kept
from jaxridge.plots import (
    panels,
    plain,
    plot_coefficients,
    plot_validation,
    shortened,
)
from jaxridge.request import Request
from jaxridge.store import write_table_model
from jaxridge.study import Study
from jaxridge.trial import Trial
from jaxridge.version import __version__

REPORT, GENERATOR = "report.html", b'<meta name="generator" content="jaxridge">'
WRITTEN = (
    "result.json",
    "coefficients.csv",
    "scores.csv",
    "validation.png",
    "coefficients.png",
    MODEL,
    REPORT,
)
PANELS = 6  # of a picture, one for each target


class Fitted(NamedTuple):
    """A fit, and what is to be written of it.

    `errors` are those of each target on test rows; `page` makes the report of a result,
    where one was asked for.
    """

    request: Request
    trial: Trial
    encoding: Encoding
    n_rows: int
    found: Study
    errors: Sequence[dict[str, float] | None]
    kept: Kept | None
    page: Callable[[dict[str, Any]], str] | None
    read_seconds: float


def result_of(fit: Fitted, seconds: dict[str, float]) -> dict[str, Any]:
    """Return all that is known of a fit, as JSON has it."""
    request, trial, encoding, n_rows, found, errors, *_ = fit
    each = zip(encoding.targets, found.of_each_target(), errors, strict=True)
    return {
        "targets": [_of_target(*one) for one in each],
        "weight": encoding.weight,
        "columns": [{"name": c.name, "levels": c.levels} for c in encoding.columns],
        "missing": encoding.missing,
        "features": encoding.features,
        "fill": found.columns.fill.tolist(),
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
        "rows": n_rows,
        "scores": {"name": trial.score, "from": trial.words},
        "certificate": {
            "lams": found.certificate.lams.tolist(),
            "autodiff": found.certificate.autodiff.tolist(),
            "by_hand": found.certificate.by_hand.tolist(),
            "route": str(found.certificate.route),
            "scores_route": str(found.scores.route),
        },
        "notes": list(encoding.notes),
        "device": jax.devices()[0].device_kind,
        "versions": {"jaxridge": __version__}
        | {name: version(name) for name in ("jax", "jaxlib", "numpy")},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def _of_target(
    name: str, found: Study, error: dict[str, float] | None
) -> dict[str, Any]:
    at, simple, scores = int(found.choice.index), found.simplest, found.scores
    error_known = simple is not None
    return {
        "name": name,
        "lam": float(found.choice.lam),
        "at_edge": bool(found.choice.at_edge),
        "lam_1se": None if simple is None else float(scores.lams[simple]),
        "coef": found.raw.coef.tolist(),
        "intercept": float(found.raw.intercept),
        "best": float(scores.mean[at]),
        "standard_error": float(scores.standard_error[at]) if error_known else None,
        "mean_only": _if_finite(found.mean_only),
        "unpenalized": _if_finite(found.unpenalized),
        "test": error,
    }


def _if_finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def write_all(fit: Fitted, result: dict[str, Any]) -> Iterator[str]:
    """Write every file of a fit, and say which."""
    out, trial, encoding, found = fit.request.out, fit.trial, fit.encoding, fit.found
    # First and last, so that a result that is there has all its files, and its own.
    for name in ("result.json", MODEL):
        (out / name).unlink(missing_ok=True)
    _forget_report(out / REPORT)
    each = list(zip(encoding.targets, found.of_each_target(), strict=True))
    write_csv(
        out / "coefficients.csv",
        ["target", "feature", "coefficient", "coefficient_as_prepared"]
        + ["origin", "scale"],
        (
            [name, *line]
            for name, one in each
            for line in zip(
                [*encoding.features, "(intercept)"],
                [*one.raw.coef.tolist(), float(one.raw.intercept)],
                [*one.chosen.coef.tolist(), float(one.chosen.intercept)],
                [*one.columns.origin.tolist(), ""],
                [*one.columns.scale.tolist(), ""],
                strict=True,
            )
        ),
    )
    # Of leave-one-out the only "fold" is the mean, and criteria have none.
    folds = len(found.scores.per_fold) if trial.folds is not None else 0
    known = len(found.scores.per_fold) > 0
    nothing = [""] * len(found.scores.lams)
    write_csv(
        out / "scores.csv",
        ["target", "lambda", trial.score, "standard_error"]
        + [f"fold_{i + 1}" for i in range(folds)],
        (
            [name, lam, mean, error, *of_folds]
            for name, one in each
            for lam, mean, error, *of_folds in zip(
                one.scores.lams.tolist(),
                one.scores.mean.tolist(),
                one.scores.standard_error.tolist() if known else nothing,
                *one.scores.per_fold[:folds].tolist(),
                strict=True,
            )
        ),
    )
    made = []
    for file, draw in _pictures(fit):
        try:
            with written_aside(out / file) as aside:
                draw(aside)
            made.append(file)
        except (ArithmeticError, ValueError):  # Matplotlib's, of extreme numbers
            (out / file).unlink(missing_ok=True)
            yield f"{file} is left out: its numbers are too far apart to be drawn"
    if fit.page is not None:
        with written_aside(out / REPORT) as aside:
            aside.write_text(fit.page(result), encoding="utf-8")
    write_table_model(out / MODEL, result, fit.kept, found.columns)
    save_result(out / "result.json", result)
    yield ""
    if len(each) > PANELS:
        yield f"the pictures show the first {PANELS} of {len(each)} targets"
    files = ["result.json", MODEL, "coefficients.csv", "scores.csv", *made]
    files += [REPORT] if fit.page is not None else []
    yield f"wrote {', '.join(files[:-1])} and {files[-1]} to {out}"


def _forget_report(path: Path) -> None:
    """Take away the page of a fit before, and no other of that name."""
    if path.is_file() and GENERATOR in path.read_bytes()[:1000]:
        path.unlink()


def _pictures(fit: Fitted) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield the name of each picture, and what draws it."""
    trial, encoding, found = fit.trial, fit.encoding, fit.found
    drawn = list(zip(encoding.targets, found.of_each_target(), strict=True))[:PANELS]
    names = [shortened(name) for name in encoding.features]
    standard = fit.request.standardize
    units = "of columns of unit variance" if standard else "(units² of x)"

    def scores(ax: Axes, name: str, one: Study) -> None:
        plot_validation(one.scores, ax)
        ax.set(ylabel=f"{trial.score} of {plain(shortened(name))}")

    def coefficients(ax: Axes, name: str, one: Study) -> None:
        chosen = float(one.choice.lam)
        plot_coefficients(one.scores.lams, one.params, ax, names=names, chosen=chosen)
        of = f" for {plain(shortened(name))}" if len(drawn) > 1 else ""
        ax.set(ylabel=f"coefficient of the prepared column{of}")

    def drawn_by(draw: Callable[[Axes, str, Study], None]) -> Callable[[Path], None]:
        def picture(path: Path) -> None:
            with panels(path, len(drawn)) as axes:
                for ax, (name, one) in zip(axes, drawn, strict=True):
                    draw(ax, name, one)
                    ax.set(xlabel=f"penalty λ {units}")

        return picture

    yield "validation.png", drawn_by(scores)
    yield "coefficients.png", drawn_by(coefficients)
