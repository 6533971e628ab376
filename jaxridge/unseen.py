"""Rows that a fit has not seen: what it says of them, and how wrong that is."""

from typing import NamedTuple

import numpy as np

from jaxridge.encoding import Encoded
from jaxridge.intervals import Kept, jackknife_plus
from jaxridge.objective import predict
from jaxridge.regressor import kept_for
from jaxridge.selection import Rows
from jaxridge.study import Study, Task, held_out


class Unseen(NamedTuple):
    """Targets of rows, what a fit without those rows says of them, and which they are.

    A prediction is NaN where no fold holds a row out.
    """

    actual: np.ndarray  # (m, t)
    predicted: np.ndarray  # (m, t)
    words: str


def unseen_rows(
    rows: Encoded, held: Encoded | None, found: Study, task: Task, kept: Kept
) -> Unseen:
    """Return test rows if there are any, else the rows as the trial leaves them out.

    Of those that count.
    """
    if held is not None:
        predicted = np.asarray(predict(found.raw, _filled(held.X, found)))
        there, words = held.counting, "test rows, which chose nothing"
        return Unseen(held.Y[there], predicted[there], words)
    there = rows.counting
    if task.trial.folds is None:
        actual, words = rows.Y[there], "each row predicted from all others"
        return Unseen(actual, actual - kept.errors, words)
    lams = np.asarray(found.choice.lam)
    predicted = held_out(rows.X, rows.Y, rows.weight, task, lams)
    words = f"rows held out by {task.trial.words}"
    return Unseen(rows.Y[there], predicted[there], words)


def kept_of_study(rows: Encoded, found: Study, task: Task) -> Kept:
    """Return what intervals need, of the columns as prepared for the final fit."""
    X = found.columns.applied(_filled(rows.X, found))
    ready = Rows(X, rows.Y, rows.weight, task.fit_intercept)
    return kept_for(ready, found.choice.lam)[1]


def errors_on(
    found: Study, held: Encoded, kept: Kept | None, level: float | None
) -> list[dict[str, float]]:
    """Return the error of each target on rows that chose nothing."""
    X = _filled(held.X, found)
    weight = np.ones(len(X)) if held.weight is None else held.weight
    predicted = np.asarray(predict(found.raw, X))
    mse = np.average((predicted - held.Y) ** 2, axis=0, weights=weight)
    mean = np.average(held.Y, axis=0, weights=weight)
    spread = np.average((held.Y - mean) ** 2, axis=0, weights=weight)
    spread *= np.ptp(held.Y[weight > 0], axis=0) > 0  # the mean of 0.1 is not 0.1
    errors = [
        {"rows": int((weight > 0).sum()), "mse": float(of)}
        | ({"r2": float(1 - of / around)} if around > 0 else {})
        for of, around in zip(mse, spread, strict=True)
    ]
    if kept is not None and level is not None:
        low, high = jackknife_plus(kept, found.columns.applied(X), predicted, level)
        inside = (low <= held.Y) & (held.Y <= high)
        if np.isfinite(high).all():  # those without ends hold everything
            covered = np.average(inside, axis=0, weights=weight)
            errors = [
                one | {"covered": float(share)}
                for one, share in zip(errors, covered, strict=True)
            ]
    return errors


def _filled(X: np.ndarray, found: Study) -> np.ndarray:
    return np.where(np.isnan(X), found.columns.fill, X)
