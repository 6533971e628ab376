"""Penalties, and what is refused of them, in the names that scikit-learn has."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from jaxridge import checks

# Of arguments: on the floors below, and here.
NAMES = {
    "lams": "alphas",
    "lam": "alpha",
    "folds": "cv",
    "weight": "sample_weight",
    "scores": "scoring",
}


def given_alpha(alpha: Any, y: np.ndarray) -> np.ndarray:
    """Return a checked penalty, one number or one for each target."""
    try:
        lam = np.asarray(
            "" if alpha is None or isinstance(alpha, str) else alpha, float
        )
    except (TypeError, ValueError):
        raise TypeError(
            f"`alpha` must be a number, or one a target, got {alpha!r}"
        ) from None
    targets = y.shape[1:] or (1,)
    if lam.ndim and lam.shape != targets:
        raise ValueError(
            f"`alpha` has shape {lam.shape} and `y` {targets[0]} target(s), which do "
            "not correspond: pass one number for all, or one for each"
        )
    checks.penalty("alpha", lam)
    return lam


def refuse_positive(positive: Any) -> None:
    """Refuse constraints on signs."""
    if positive:
        raise ValueError(
            "positive=True is not supported: use sklearn.linear_model.Ridge for it"
        )


def grid_asked(alphas: Any) -> Any:
    """Return "auto" or an array of checked penalties."""
    if isinstance(alphas, str):
        checks.one_of("alphas", alphas, ("auto",))
        return alphas
    try:
        given = np.atleast_1d(np.asarray(alphas))
        grid = given.astype(float) if given.dtype.kind in "fiuO" else np.zeros(0)
    except (TypeError, ValueError):
        grid = np.zeros(0)
    if alphas is None or grid.ndim != 1 or not grid.size:
        raise ValueError(
            f'`alphas` must be "auto", a number or a list of numbers, got {alphas!r}'
        )
    checks.penalty("alphas", grid)
    return grid


@contextmanager
def in_these_names() -> Iterator[None]:
    """Say what the floors below refuse in the names that arguments have here."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if type(error) not in (TypeError, ValueError):
            raise
        said = str(error)
        for below, here in NAMES.items():
            said = said.replace(f"`{below}`", f"`{here}`")
        raise type(error)(said) from error
