"""Gradient descent on J: one penalty, or a whole sweep of them in one program.

`descend` follows −∂J/∂θ, as `jax.grad` derives it from the cost, with any optax update
rule; `sweep` is its `vmap` over penalties. A full-batch descent may run on compressed
rows (see `compression`): the same cost function, so the same steps, on n + 1 rows.

How the intercept moves. The default rule (L-BFGS) and ``learning_rate="auto"`` descend
J of the centred data, where the intercept is at its best for every coef and recovered
at the end. Any other rule descends coef and intercept together, as textbooks do.
"""

from functools import partial
from typing import Any, Unpack

import jax
import optax

from jaxridge import checks
from jaxridge.border import ArrayLike, in_kind_of_input
from jaxridge.data import Data, as_data, drop_target_axis
from jaxridge.divergence import refuse_divergence
from jaxridge.landscape import landscape_of, watched_landscape
from jaxridge.params import Params, ParamsPath
from jaxridge.products import FULL
from jaxridge.programs import compiled
from jaxridge.rules import DescentOptions, Rule, Start, rule_for, start_for
from jaxridge.threads import few_for
from jaxridge.trajectory import Descent, Outcome, run, watch


@in_kind_of_input
def descend(
    X: ArrayLike,
    y: ArrayLike,
    lam: ArrayLike,
    *,
    optimizer: optax.GradientTransformation | None = None,
    learning_rate: ArrayLike | str | None = None,
    max_steps: int = 1000,
    tol: float | None = None,
    batch_size: int | None = None,
    key: Any = None,
    weight: ArrayLike | None = None,
    fit_intercept: bool = True,
    init: Params | None = None,
    compress: bool | str = "auto",
    precision: str = FULL,
    progress: bool = False,
) -> Descent:
    """Train ridge regression at one penalty by descending J.

    ``J = (Σ w (X @ coef + intercept − y)² + lam · ‖coef‖²) / (2m)``, m = Σ w, is that
    of `cost`, so `lam` is scikit-learn's ``alpha``; its gradient is `jax.grad`'s.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        The rows, finite.
    y : array of shape (n_samples,) or (n_samples, n_targets)
        The targets; with several, J is their sum and they are descended together.
    lam : float
        Penalty in squared units of `X`, at least 0.
    optimizer : optax.GradientTransformation, optional
        Any optax rule (``optax.adam(0.1)``). The same rule built twice compiles once.
        Without one, and without `learning_rate`: L-BFGS with an exact line search,
        which needs no step size, and few steps unless columns differ by decades.
    learning_rate : float or "auto", optional
        Plain gradient descent with this step; "auto" is a safe one, 1/(s²/m + lam/m)
        with s the largest singular value of √w times the centred rows.
    max_steps : int
        The most steps to take, from 1 to 10 million.
    tol : float, optional
        Stop when ‖∇J(θ)‖ ≤ tol · ‖∇J(0)‖. 1e-10 in float64 and 1e-5 in float32 if not
        given. Columns in large units rule that norm: scale columns that differ much.
    batch_size : int, optional
        Rows drawn for each step, with replacement, in proportion to their weights, so
        that each batch's gradient is right on average. Every step is then taken, and
        `tol` judges the end; J may end up to a tenth above its value at the start, or
        at 0, and is not refused, as batches are noisy.
        Needs `key` and an optimizer or a numeric learning rate.
    key : jax.random key or int, optional
        Decides the batches: the same key, the same batches.
    weight : array of shape (n_samples,), optional
        How often each row counts, at least 0 and not all 0.
    fit_intercept : bool
        Whether to fit an unpenalised intercept; it is 0 otherwise.
    init : Params, optional
        Where to start, in the shapes of the answer; zeros if not given. A rule that
        keeps the intercept at its best (the default and "auto") starts it there.
    compress : bool or "auto"
        Whether a full-batch descent runs on n + 1 rows with the same J. "auto" does
        when rows outnumber columns of (X, y) by 4 to 1. Steps and history are the same
        but for rounding.
    precision : "full" or "fast"
        "fast" lets a GPU multiply float32 rows in TF32, which rounds each number to 11
        bits and is made for speed; elsewhere it is "full". The gradient then has some
        three digits, and `tol` is 1e-3 if not given.
    progress : bool
        Show a bar with the time left, if standard error is a terminal.

    Returns
    -------
    Descent
        params, history, steps, converged and gradient_norm; `print` shows a table.

    Raises
    ------
    TypeError
        If an argument does not hold real numbers.
    ValueError
        If shapes do not fit; if values are negative, NaN or infinite; and if the
        descent diverges, with a step size that does not. Values, and divergence, are
        seen unless traced; a traced descent stops before J is NaN or infinite and
        returns the last finite point, not converged.

    Notes
    -----
    A step costs O(m n t) time, O(n² t) when compressed, which itself costs
    O(m (n + t)²) once. Memory is O(m n). Runs under `jax.jit` and `jax.vmap`; for
    derivatives of the answer use `solve`, which is differentiable in everything.

    References
    ----------
    Cauchy (1847) for the method; Liu and Nocedal (1989) for L-BFGS.

    Examples
    --------
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])
    >>> fit = descend(X, y, lam=2.0)
    >>> print(fit.params.coef.round(6), fit.params.intercept.round(6), fit.converged)
    [1.] 3.0 True
    """
    checks.single_penalty(lam, "use `sweep`")
    options: DescentOptions = {
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "max_steps": max_steps,
        "tol": tol,
        "batch_size": batch_size,
        "key": key,
        "weight": weight,
        "fit_intercept": fit_intercept,
        "init": init,
        "compress": compress,
        "precision": precision,
        "progress": progress,
    }
    return _descended(X, y, lam, options)


@in_kind_of_input
def sweep(
    X: ArrayLike, y: ArrayLike, lams: ArrayLike, **options: Unpack[DescentOptions]
) -> Descent:
    """Train ridge regression at every penalty of a grid, in one compiled program.

    The `vmap` of `descend` over `lams`: each penalty minimises its own
    ``J = (Σ w (X @ coef + intercept − y)² + lam · ‖coef‖²) / (2m)`` with its own step
    size and its own stopping, and all share each pass over the rows.

    Parameters
    ----------
    X, y
        As for `descend`.
    lams : array of shape (n_lams,)
        Penalties in squared units of `X`, each at least 0, in any order.
    **options
        Those of `descend`. `learning_rate` may also be an array of shape (n_lams,).
        `init` is one starting point for all; with mini-batches all draw the same rows.

    Returns
    -------
    Descent
        Every field with a leading axis of penalties: ``params.coef`` is (n_lams,
        n_features[, n_targets]), ``history`` (n_lams, max_steps).

    Raises
    ------
    TypeError, ValueError
        As `descend` does, and for an empty grid.

    Notes
    -----
    O(m n t L) time a step and O(m (n + t L)) memory; compressed O(n² t L) and
    O(n (n + t L)). Compiles once for each shape, dtype and rule, whatever the values.

    Examples
    --------
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])
    >>> print(sweep(X, y, lams=[0.0, 2.0]).params.coef.round(6))
    [[2.]
     [1.]]
    """
    checks.grid(lams)
    return _descended(X, y, lams, options)


def _descended(X: Any, y: Any, lam: Any, options: DescentOptions) -> Descent:
    """Check, train, and refuse to return a descent that went up."""
    data = as_data(X, y, options.get("weight"))
    checks.have_products(data.X, data.Y)
    rule = rule_for(data, options, options.get("fit_intercept", True))
    start = start_for(data, y, lam, rule, options)
    if options.get("progress") and not checks.any_traced(data, start):
        outcome = watch(watched_landscape(data, rule), start, rule)
    else:
        # To compress rows, LAPACK takes turns with XLA, on matrices of n columns.
        n = data.X.shape[1]
        with few_for(n, n):
            outcome = _train(data, start, rule)
            jax.block_until_ready(outcome.fit.params)
    refuse_divergence(outcome, lambda _: data, rule)
    fit = outcome.fit
    params = drop_target_axis(fit.params, y)
    return fit._replace(params=ParamsPath(*params) if fit.lam.ndim else params)


@partial(compiled, many_steps=True, static_argnames="rule")
def _train(data: Data, start: Start, rule: Rule) -> Outcome:
    return run(landscape_of(data, rule), start, rule)
