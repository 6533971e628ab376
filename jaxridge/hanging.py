"""Rows that a fit hangs on alone, which are left out by fits to the others.

Without such a row a direction of the fit is gone: 1 − h, its part that the others tell,
is a difference of numbers near 1 that has lost its digits.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.columns import untouched
from jaxridge.data import Centre, Data
from jaxridge.factors import Known, answer
from jaxridge.folds import Folds
from jaxridge.holdout import HoldOut, score_folds
from jaxridge.leverages import slack
from jaxridge.plans import plan
from jaxridge.programs import compiled
from jaxridge.scoring import Score
from jaxridge.spectrum import Spectrum

# Rows of a smaller 1 − h, a difference of numbers near 1, have lost half their digits.
SLACK = 1e-5


def hanging(rows: Known, slacks: Any) -> np.ndarray:
    """Return which rows the fit hangs on alone, as far as the data are known.

    Where only the penalties are traced, rows are judged at λ = 0.
    """
    if checks.any_traced(rows.data):
        return np.zeros(len(rows.data.weight), bool)
    if checks.is_traced(slacks):
        with jax.core.eval_context():
            none = jnp.zeros(1, rows.data.X.dtype)
            slacks = slacks_of(rows, none)
    return np.asarray(slacks) < SLACK


def slacks_of(rows: Known, lams: Array) -> Float[Array, " m"]:
    """Return each row's 1 − h at the smallest penalty."""
    question = partial(_slack_at_least, fit_intercept=rows.fit_intercept)
    return answer(question, rows, lams)[0]


def refitted(
    data: Data, lams: Array, hangs: np.ndarray, score: Score, fit_intercept: bool
) -> Float[Array, "rows L *score"]:
    """Return the scores of some rows, each by a fit to all others."""
    alone = np.flatnonzero(hangs)[:, None] == np.arange(len(hangs))
    (m, n), t = data.X.shape, data.Y.shape[1]
    made = plan(m, n, t, len(lams), 2, data.X.dtype)
    folds = Folds(~alone, alone)
    asked = HoldOut(folds, lams, score, untouched, fit_intercept, made)
    return score_folds(data, asked)[0]


@partial(compiled, static_argnames="fit_intercept")
def _slack_at_least(
    data: Data, centre: Centre, spectrum: Spectrum, lams: Array, fit_intercept: bool
) -> tuple[Array, Array]:
    found = slack(data, centre, spectrum, jnp.min(lams), fit_intercept)
    return found, jnp.ones(())
