"""What every penalty descends on: rows with the J of the data, and the slope at 0."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxridge.compression import compress
from jaxridge.data import (
    Centre,
    Data,
    centre_of,
    centred,
    weighted_mean,
)
from jaxridge.draws import cumulative
from jaxridge.objective import cost_of_rows, gradient_norm
from jaxridge.params import Params
from jaxridge.products import matmul, matmul_for_descent
from jaxridge.programs import compiled
from jaxridge.rules import Rule, at_zero
from jaxridge.tiles import View, as_stored, column_sums


class Landscape(NamedTuple):
    """What every penalty descends on: rows with the J of the data."""

    data: Data
    rest: Float[Array, ""]  # J of the data is J of the rows + rest / 2m
    centre: Centre  # the means that a profiled intercept is recovered from
    until: Float[Array, "b w"]  # cumulative weights, where mini-batches are drawn
    steepness: Float[Array, ""]  # ‖∇J(0)‖, the same at every λ
    curvature: Float[Array, ""]  # largest eigenvalue of XᵀWX/m, for rule "auto" only
    varies: Bool[Array, " n"]  # whether a column's coefficient is descended


def landscape_of(data: Data, rule: Rule, view: View = as_stored) -> Landscape:
    """Return the rows to descend on: centred, compressed, or as they are in `view`."""
    varies = jnp.ones(data.X.shape[1:], bool)
    if rule.descends_intercept and rule.from_zero:
        varies = _varies(data, view)
    centre = centre_of(data, rule.fit_intercept, view)
    rest = jnp.zeros((), data.X.dtype)
    if rule.compress:
        data, rest = compress(data, centre, rule.descends_intercept, view)
    else:
        data = data._replace(X=view(data.X))
        if rule.profiles_intercept:
            data = centred(data, centre)
    gradient = jax.grad(cost_there)(at_zero(data), data, jnp.zeros_like(rest))
    gradient = moving(gradient, varies, rule)
    curvature = curvature_of(data) if rule.update == "auto" else jnp.zeros_like(rest)
    steepness = gradient_norm(gradient, rule.descends_intercept)
    until = cumulative(data.weight if rule.batch_size else data.weight[:0])
    return Landscape(data, rest, centre, until, steepness, curvature, varies)


def _varies(data: Data, view: View) -> Bool[Array, " n"]:
    """Return which columns are not constant, where the intercept is.

    J is flat along the difference of the two, and their coefficient, 0 at the answer,
    would take what belongs to the intercept. To hold it there costs no copy of the
    rows, which all folds then share.
    """
    mean = weighted_mean(data.X, data.weight, view)
    apart = column_sums(lambda x: jnp.abs(view(x) - mean), data.weight, data.X)
    return apart > 0


def moving(change: Params, varies: Bool[Array, " n"], rule: Rule) -> Params:
    """Return a gradient or step of what is descended, 0 of what stands still."""
    coef, intercept = change
    coef = jnp.where(varies[:, None], coef, 0)
    if not rule.descends_intercept:
        intercept = jnp.zeros_like(intercept)
    return Params(coef, intercept)


watched_landscape = compiled(landscape_of, static_argnames="rule")


def cost_there(params: Params, data: Data, lam: Array, fast: bool = False) -> Array:
    """Return J, with derivatives laid out for a sweep, of `fast` products if asked."""
    product = partial(matmul_for_descent, fast=fast)
    return cost_of_rows(params, *data, lam, product)


def curvature_of(data: Data) -> Float[Array, ""]:
    """Return the largest eigenvalue of XᵀWX/m, from the smaller of its two Grams."""
    rows = jnp.sqrt(data.weight)[:, None] * data.X
    square = (
        matmul(rows.T, rows) if rows.shape[1] <= rows.shape[0] else matmul(rows, rows.T)
    )
    return jnp.linalg.eigvalsh(square)[-1] / jnp.sum(data.weight)
