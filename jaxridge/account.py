"""The account of a fit in words: lines to show."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from tabulate import tabulate

from jaxridge.choice import choose
from jaxridge.encoding import (
    Encoded,
    Encoding,
    learn_encoding,
    missing_in,
    unseen_levels,
)
from jaxridge.excerpt import counted, places
from jaxridge.grids import NOTHING_BEYOND
from jaxridge.request import Request
from jaxridge.study import Study
from jaxridge.trial import Trial
from jaxridge.version import __version__

LAMS_SHOWN = 13
COEFFICIENTS_SHOWN = 10
NEARLY = 1e-6  # of the error of the mean alone
TARGETS_NAMED = 8


def rare_levels(name: str, count: int) -> str:
    """Say how many rows have a level that was rare in the fit, or unknown."""
    return (
        f"column {name!r}: {counted(count, 'row')} with a level that the fit pooled "
        "with others or never saw"
    )


def describe_device() -> str:
    """Say what computes."""
    device = jax.devices()[0]
    return (
        f"jaxridge {__version__} on {device.platform} ({device.device_kind}), float64"
    )


class Digest(NamedTuple):
    """What is said of rows: how many there are, and what stands out in them."""

    rows: int
    read: int
    holes: int
    constant: np.ndarray  # (n,), the only value of a feature where rows count, or NaN
    constant_targets: np.ndarray  # (t,)


def digest_of(rows: Encoded, n_read: int) -> Digest:
    """Return the digest of encoded rows, of so many that were read."""
    holes = int(np.isnan(rows.X).sum())
    constant, constant_targets = _constant(rows.X, rows), _constant(rows.Y, rows)
    return Digest(len(rows.Y), n_read, holes, constant, constant_targets)


def _constant(values: np.ndarray, rows: Encoded) -> np.ndarray:
    """Return the one value of columns in all rows that count, NaN where there are more.

    Without a copy.
    """
    where = True if rows.weight is None else rows.counting[:, None]
    low = np.fmin.reduce(values, axis=0, initial=np.inf, where=where)
    high = np.fmax.reduce(values, initial=-np.inf, where=where)
    return np.where(low == high, low, np.nan)


@dataclass
class Tally:
    """What is counted of rows to be tested on, all at once or piece by piece."""

    left_out: int = 0
    filled: int = 0
    unseen: Counter[str] = field(default_factory=Counter)

    def add(self, table: Any, X: np.ndarray, encoding: Encoding) -> None:
        """Count what was done to make `X` of the rows of a table."""
        self.left_out += table.num_rows - len(X)
        self.filled += sum(missing_in(np.isnan(X), encoding).values())
        self.unseen.update(unseen_levels(table, encoding))

    def lines(self) -> Iterator[str]:
        """Say it."""
        if self.left_out:
            rows = counted(self.left_out, "row")
            yield f"--test: left out {rows} with missing values"
        if self.filled:
            holes = counted(self.filled, "missing value")
            yield f"--test: filled {holes} with column means"
        for name, count in self.unseen.items():
            yield f"--test: {rare_levels(name, count)}"


def encoding_for(
    table: Any, targets: Sequence[str], request: Request, whole: Any
) -> Encoding:
    """Return how a table's columns become features, as was asked."""
    return learn_encoding(
        table,
        targets,
        weight=request.weight,
        drop=(
            *_as_named(request.drop, table),
            *([request.group] if request.group else []),
        ),
        categorical=request.categorical,
        text=request.text,
        max_levels=request.max_levels,
        missing=request.missing,
        whole=whole,
    )


def _as_named(names: Sequence[str], table: Any) -> list[str]:
    """Return names as the table has them, which may begin or end with spaces."""
    there = set(table.column_names)
    stripped = {name.strip(): name for name in table.column_names}
    return [n if n in there else stripped.get(n.strip(), n) for n in names]


def describe_data(
    request: Request, encoding: Encoding, digest: Digest
) -> Iterator[str]:
    """Say what was read, and what was done to its columns."""
    name = "example diabetes data" if request.data is None else request.data.name
    yield (
        f"{name}: {counted(digest.rows, 'row')}, "
        f"{counted(len(encoding.columns), 'column')} as "
        f"{counted(len(encoding.features), 'feature')}, {_listed(encoding.targets)}"
    )
    roles = [f"weight {request.weight!r}"] if request.weight else []
    roles += [f"rows grouped by {request.group!r}"] if request.group else []
    roles += [f"left out {name!r}" for name in request.drop]
    if roles:
        yield "columns used otherwise: " + ", ".join(roles)
    left_out = digest.read - digest.rows
    if left_out:
        yield f"left out {counted(left_out, 'row')} with missing values"
    where = "from all rows" if isinstance(request.cv, str) else "in each fold"
    if digest.holes:
        holes = counted(digest.holes, "missing value")
        yield f"filled {holes} with column means, learnt {where}"
    yield from encoding.notes
    names = encoding.features
    for j in np.flatnonzero(~np.isnan(digest.constant)):
        idle = request.fit_intercept or digest.constant[j] == 0
        so = ": its coefficient is 0" if idle else ", and serves as an intercept"
        yield f"column {names[j]!r} is constant{so}"
    so = ": every coefficient is 0" if request.fit_intercept else ""
    for j in np.flatnonzero(~np.isnan(digest.constant_targets)):
        yield f"the target {encoding.targets[j]!r} is constant{so}"
    yield (
        f"columns standardised, learnt {where}; lambda refers to unit variance"
        if request.standardize
        else "columns in their own units, to which lambda refers"
    )


def _listed(targets: tuple[str, ...]) -> str:
    names = ", ".join(repr(name) for name in targets[:TARGETS_NAMED])
    if len(targets) == 1:
        return f"target {names}"
    more = ", ..." if len(targets) > TARGETS_NAMED else ""
    return f"{len(targets)} targets {names}{more}"


def describe_target(
    request: Request,
    trial: Trial,
    encoding: Encoding,
    found: Study,
    error: dict[str, float] | None,
) -> Iterator[str]:
    """Show the choice for one target, its errors, and its largest coefficients."""
    yield from describe_choice(request, trial, found)
    yield from describe_errors(request, trial, encoding, found, error)
    yield from describe_coefficients(encoding, found)


def describe_choice(request: Request, trial: Trial, found: Study) -> Iterator[str]:
    """Show the scores over the penalties, and the one chosen."""
    scores, at, simple = found.scores, int(found.choice.index), found.simplest
    marks = {simple: "1-SE lambda"}
    marks[at] = "chosen" if request.rule == "min" else f"chosen ({request.rule})"
    order = found.order
    shown = {*order[places(len(order), LAMS_SHOWN)].tolist(), at, simple}
    rows = [
        (
            f"{scores.lams[i]:.5g}",
            f"{scores.mean[i]:.5g}",
            *([f"{scores.standard_error[i]:.3g}"] if simple is not None else []),
            marks.get(i, ""),
        )
        for i in order
        if i in shown
    ]
    error = ["standard error"] if simple is not None else []
    headers = ("lambda", trial.score, *error, "")
    yield ""
    align = (*["right"] * (len(headers) - 1), "left")
    yield tabulate(rows, headers, disable_numparse=True, colalign=align)
    more = len(order) - len(rows)
    if more:
        yield f"({more} more in scores.csv)"
    yield ""
    yield f"chosen lambda: {float(found.choice.lam):.6g}"
    if bool(found.choice.at_edge):
        yield f"  {at_edge(request, found)}"
    slow = int((~found.converged).sum())
    if slow:
        yield (
            f"  {slow} of {len(order)} descents stopped before they converged: "
            "--method exact needs no steps"
        )


def at_edge(request: Request, found: Study) -> str:
    """Say what it means that the chosen penalty is the least or largest tried."""
    if request.lams is None:
        return f"at the edge of the automatic grid: {NOTHING_BEYOND}"
    if not bool(choose(found.scores).at_edge):
        return (
            "at the edge of the grid: larger ones may be within one standard error of "
            "the best too, widen --lambdas"
        )
    return "at the edge of the grid: the best may lie beyond, widen --lambdas"


def verdicts(encoding: Encoding, found: Study) -> Iterator[str]:
    """Say what the scores tell beyond the best penalty: how much it matters, if at all.

    Less than `NEARLY` of the mean's error suggests columns that leak the target.
    """
    scores = found.scores
    if bool(scores.greater_is_better) or found.mean_only == 0:  # nothing to be told of
        return
    order = found.order
    lams, mean = scores.lams[order], scores.mean[order]
    at = int(mean.argmin())
    spread = float(scores.standard_error[order][at])
    near = np.flatnonzero(mean <= mean[at] + spread)
    if near[-1] - near[0] + 1 == len(near) > 1 and spread > 0:
        yield (
            f"penalties from {lams[near[0]]:.3g} to {lams[near[-1]]:.3g} score within "
            "one standard error of the best"
        )
    known = np.fmin(mean[at], found.unpenalized)  # NaN where that was not scored
    if found.mean_only <= known + spread:
        as_well = "within one standard error of the best" if spread else "no worse"
        yield f"the mean alone is {as_well}: these columns tell little of the target"
    if mean[at] <= NEARLY * found.mean_only:
        which = "each column"
        if (found.columns.scale != 1).any():  # or their units say which is largest
            name = encoding.features[int(np.abs(found.chosen.coef).argmax())]
            which = f"column {name!r}"
        yield (
            f"that is nearly no error: is {which} known before the target is, or made "
            "of it?"
        )


def describe_errors(
    request: Request,
    trial: Trial,
    encoding: Encoding,
    found: Study,
    error: dict[str, float] | None,
) -> Iterator[str]:
    """Show the score chosen by beside those of simpler models."""
    at = found.choice.index
    best, se = float(found.scores.mean[at]), float(found.scores.standard_error[at])
    spread = f" +/- {se:.3g}" if found.simplest is not None else ""
    yield f"{trial.score}: {best:.5g}{spread} ({trial.words})"
    if np.isfinite(found.mean_only):
        yield f"  of the mean alone: {found.mean_only:.5g}"
    if np.isfinite(found.unpenalized):
        yield f"  with lambda = 0: {found.unpenalized:.5g}"
    yield from (f"  {line}" for line in verdicts(encoding, found))
    sure = found.certificate
    yield (
        f"certificate: the gradient of J at the answers is at most "
        f"{sure.autodiff.max():.0e} of that at 0 by autodiff, {sure.by_hand.max():.0e} "
        f"by hand ({sure.route})"
    )
    if error is None:
        return
    tested = int(error["rows"])
    if "covered" in error:
        yield (
            f"intervals hold {error['covered']:.1%} of {counted(tested, 'test row')} "
            f"(asked for: {request.interval:.1%})"
        )
    r2 = f", R2 {error['r2']:.4f}" if "r2" in error else ""
    yield (
        f"test MSE, on {counted(tested, 'row')} that chose nothing: "
        f"{error['mse']:.5g}{r2}"
    )


def describe_coefficients(encoding: Encoding, found: Study) -> Iterator[str]:
    """Show the largest coefficients by name."""
    standard, raw = found.chosen.coef, found.raw
    largest = found.largest(COEFFICIENTS_SHOWN)
    rows = [(encoding.features[j], standard[j], raw.coef[j]) for j in largest]
    yield ""
    own = f"intercept in its own units {raw.intercept:.5g}"
    yield f"largest of {counted(len(standard), 'coefficient')} ({own}):"
    headers = ("feature", "as prepared", "in its own units")
    yield tabulate(rows, headers, floatfmt=".5g")
