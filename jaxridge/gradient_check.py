"""The gradient of J by autodiff, by hand and by central differences, side by side."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from tabulate import tabulate

from jaxridge import checks
from jaxridge.border import ArrayLike, in_kind_of_input
from jaxridge.divisors import or_one
from jaxridge.excerpt import where_known
from jaxridge.objective import cost, gradient, gradient_by_hand, largest, ready
from jaxridge.params import Params
from jaxridge.programs import compiled

ROWS_SHOWN = 10


class GradientCheck(NamedTuple):
    """The gradient of J three ways, and how far apart they are.

    Attributes
    ----------
    autodiff, by_hand, central : Params
        ∂J/∂θ by `jax.grad`, by formula, and by central differences.
    absolute_difference, relative_difference : array of shape ()
        Largest ``|autodiff − by_hand|``; the same over the largest ``|by_hand|``.
    central_difference : array of shape ()
        Largest ``|autodiff − central|`` over the largest ``|by_hand|``. It is near
        rounding, 1e-15 or 1e-6 in float32, where the gradient is as large as its terms,
        and larger near a minimum, where those cancel.
    """

    autodiff: Params
    by_hand: Params
    central: Params
    absolute_difference: Float[Array, ""]
    relative_difference: Float[Array, ""]
    central_difference: Float[Array, ""]

    @where_known
    def __str__(self) -> str:
        """Return the gradients side by side, at most ten components of them."""
        columns = [
            np.concatenate([np.ravel(p.coef), np.ravel(p.intercept)])
            for p in (self.autodiff, self.by_hand, self.central)
        ]
        n_coef = np.size(self.autodiff.coef)
        names = [f"coef[{j}]" for j in range(n_coef)]
        names += [f"intercept[{j}]" for j in range(columns[0].size - n_coef)]
        rows = list(zip(names, *columns, strict=True))
        shown = rows[:ROWS_SHOWN]
        if len(rows) > ROWS_SHOWN:
            shown.append((f"... {len(rows) - ROWS_SHOWN} more", "", "", ""))
        table = tabulate(
            shown, ["dJ/d", "autodiff", "by hand", "central difference"], floatfmt=".8g"
        )
        return (
            f"{table}\n\n"
            f"autodiff - by hand: at most {self.absolute_difference:.1e} "
            f"({self.relative_difference:.1e} of the largest component)\n"
            f"autodiff - central difference: at most {self.central_difference:.1e} "
            "of the largest component"
        )


@in_kind_of_input
def check_gradient(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    lam: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    fit_intercept: bool = True,
) -> GradientCheck:
    """Compare the gradient of J by autodiff, by hand and by central differences.

    Parameters
    ----------
    params, X, y, lam, weight
        As for `cost`, whose J is differentiated.
    fit_intercept : bool
        False leaves the intercept's derivative out: it is reported as 0.

    Returns
    -------
    GradientCheck
        The three gradients and their largest differences; `print` shows a table.

    Raises
    ------
    TypeError, ValueError
        As `cost` does.

    Notes
    -----
    Central differences evaluate J twice for each of the n·t coefficients, one after the
    other: O(m n² t²) time, so check on a part of large data. J is a parabola along
    every coordinate, so its central difference has no truncation error, only rounding,
    and the step can be as large as the coefficient itself.

    Examples
    --------
    >>> X, y = np.array([[1.0], [2.0]]), np.array([3.0, 5.0])
    >>> params = Params(coef=np.array([2.0]), intercept=np.array(0.0))
    >>> float(check_gradient(params, X, y, lam=1.0).absolute_difference)
    0.0
    """
    fit_intercept = checks.flag("fit_intercept", fit_intercept)
    return _checked(*ready(params, X, y, lam, weight), fit_intercept)


@partial(compiled, static_argnames="fit_intercept")
def _checked(
    params: Params, X: Array, y: Array, weight: Array, lam: Array, fit_intercept: bool
) -> GradientCheck:
    autodiff = gradient(params, X, y, lam, weight)
    by_hand = gradient_by_hand(params, X, y, lam, weight)
    central = _central_differences(params, X, y, lam, weight)
    if not fit_intercept:
        none = jnp.zeros_like(autodiff.intercept)
        autodiff, by_hand, central = (
            Params(g.coef, none) for g in (autodiff, by_hand, central)
        )
    size = largest(by_hand)
    scale = or_one(size)
    apart = largest(jax.tree.map(jnp.subtract, autodiff, by_hand))
    from_central = largest(jax.tree.map(jnp.subtract, autodiff, central))
    return GradientCheck(
        autodiff, by_hand, central, apart, apart / scale, from_central / scale
    )


def _central_differences(
    params: Params, X: Array, y: Array, lam: Array, weight: Array
) -> Params:
    flat, unravel = ravel_pytree(params)
    # J is a parabola, so only rounding errs: it is least for a step that changes J as
    # much as J itself, which without more knowledge is the coefficient's own size.
    steps = jnp.maximum(jnp.abs(flat), 1)

    def slope(j: Array) -> Array:
        h = steps[j]
        up = cost(Params(*unravel(flat.at[j].add(h))), X, y, lam, weight)
        down = cost(Params(*unravel(flat.at[j].add(-h))), X, y, lam, weight)
        return (up - down) / (2 * h)

    return Params(*unravel(jax.lax.map(slope, jnp.arange(flat.size))))
