"""Gradient descent on J: one penalty, or a whole sweep of them in one program.

`descend` follows −∂J/∂θ, as `jax.grad` derives it from the cost, with any optax update
rule; `sweep` is its `vmap` over penalties. A full-batch descent may run on compressed
rows (see `compression`): the same cost function, so the same steps, on n + 1 rows.

How the intercept moves. The default rule (L-BFGS) and ``learning_rate="auto"`` descend
J of the centred data, where the intercept is at its best for every coef and recovered
at the end. Any other rule descends coef and intercept together, as textbooks do.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int
from tabulate import tabulate

from jaxridge import checks
from jaxridge.compression import compress, is_worthwhile
from jaxridge.data import (
    ArrayLike,
    Centre,
    Data,
    as_data,
    as_floats,
    as_penalty,
    centre_of,
    centred,
    drop_target_axis,
    in_kind_of_input,
    intercept_at,
)
from jaxridge.objective import Params, ParamsPath, cost, gradient_norm
from jaxridge.optimizers import Same, lbfgs, safe_step
from jaxridge.products import matmul
from jaxridge.progress import bar
from jaxridge.tiles import View, as_stored

# Steps between two looks at the progress bar, and between two writes to the history.
BLOCK = 50
ROWS_SHOWN = 12
BATCH_NOISE = 0.1


class Descent(NamedTuple):
    """Where descents on J ended, and how they got there.

    A sweep has a leading axis of penalties (L,) on every field.

    Attributes
    ----------
    lam : array of shape ([L])
        The penalty.
    params : Params, or of a sweep ParamsPath
        coef ([L,] n_features[, n_targets]) and intercept ([L,][n_targets]).
    history : array of shape ([L,] max_steps)
        J before each step; after the last step taken, J where it stopped. With
        mini-batches, J as estimated by that step's batch.
    steps : int array of shape ([L])
        Steps taken.
    converged : bool array of shape ([L])
        Whether ``gradient_norm <= tol``.
    gradient_norm : array of shape ([L])
        ‖∇J‖ at the end over ‖∇J‖ at coef = 0, intercept = 0 (its best value where the
        rule keeps it there). The intercept counts only if fitted.
    """

    lam: Float[Array, "*lams"]
    params: Params | ParamsPath
    history: Float[Array, "*lams max_steps"]
    steps: Int[Array, "*lams"]
    converged: Bool[Array, "*lams"]
    gradient_norm: Float[Array, "*lams"]

    def __str__(self) -> str:
        """Return one line for each penalty, at most twelve spread over the grid."""
        columns = (
            np.atleast_1d(self.lam),
            np.atleast_2d(self.history)[:, 0],
            np.atleast_2d(self.history)[:, -1],
            np.atleast_1d(self.steps),
            np.where(np.atleast_1d(self.converged), "yes", "no"),
            np.atleast_1d(self.gradient_norm),
        )
        rows = list(zip(*columns, strict=True))
        shown = np.unique(np.linspace(0, len(rows) - 1, ROWS_SHOWN).round().astype(int))
        return tabulate(
            [rows[i] for i in shown],
            ["lam", "first J", "last J", "steps", "converged", "gradient norm"],
            floatfmt=("g", ".6g", ".6g", "", "", ".1e"),
        )


class StepOptions(TypedDict, total=False):
    """The options of `descend` that say how to step, and not what to fit."""

    optimizer: optax.GradientTransformation | None
    learning_rate: Any
    max_steps: int
    tol: float | None
    batch_size: int | None
    key: Any
    init: Params | None
    compress: bool | str
    progress: bool


class DescentOptions(StepOptions, total=False):
    """The keyword options of `descend`, which `sweep` shares."""

    weight: Any
    fit_intercept: bool


class Rule(NamedTuple):
    """What is fixed when a descent is compiled."""

    update: Same | str  # an optax rule, "lbfgs", "step" (a number) or "auto"
    fit_intercept: bool
    max_steps: int
    batch_size: int  # 0 for all rows
    compress: bool

    @property
    def profiles_intercept(self) -> bool:
        """Whether the intercept is kept at its best rather than descended."""
        return self.fit_intercept and self.update in ("lbfgs", "auto")

    @property
    def descends_intercept(self) -> bool:
        """Whether the intercept is descended beside coef."""
        return self.fit_intercept and not self.profiles_intercept


class Rows(NamedTuple):
    """What every penalty descends on: rows with the J of the data."""

    data: Data
    rest: Float[Array, ""]  # J of the data is J of the rows + rest / 2m
    centre: Centre  # the means that a profiled intercept is recovered from
    until: Float[Array, " _"]  # cumulative weights, where mini-batches are drawn
    steepness: Float[Array, ""]  # ‖∇J(0)‖, the same at every λ
    curvature: Float[Array, ""]  # largest eigenvalue of XᵀWX/m, for rule "auto" only


class Start(NamedTuple):
    """What may differ between two calls of one compiled descent."""

    lam: Float[Array, "*lams"]
    learning_rate: Float[Array, "*lams"]
    tol: Float[Array, ""]
    init: Params
    key: Array


# A sweep maps over the penalties and their steps; everything else is shared.
LAMS: Any = {"lam": 0, "learning_rate": 0, "tol": None, "init": None, "key": None}


class State(NamedTuple):
    """A descent under way, with J and its gradient at the present point."""

    step: Int[Array, ""]
    params: Params
    memory: optax.OptState
    first: Float[Array, ""]  # J where it started
    value: Float[Array, ""]
    gradient: Params
    running: Bool[Array, ""]
    blew_up: Bool[Array, ""]


class Outcome(NamedTuple):
    """A descent that ended, and whether it went up instead of down."""

    fit: Descent
    diverged: Bool[Array, "*lams"]


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
        which needs no step size and few steps even on raw, unscaled columns.
    learning_rate : float or "auto", optional
        Plain gradient descent with this step; "auto" is a safe one, 1/(s²/m + lam/m)
        with s the largest singular value of √w times the centred rows.
    max_steps : int
        The most steps to take, at least 1.
    tol : float, optional
        Stop when ‖∇J(θ)‖ ≤ tol · ‖∇J(0)‖. 1e-10 in float64 and 1e-5 in float32 if not
        given.
    batch_size : int, optional
        Rows drawn for each step, with replacement, in proportion to their weights, so
        that each batch's gradient is right on average. Every step is then taken, and
        `tol` judges the end. Needs `key` and an optimizer or a numeric learning rate.
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
    checks.single_penalty(lam)
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


def rule_for(data: Data, options: StepOptions, fit_intercept: bool) -> Rule:
    """Return the static part of the options, checked."""
    _options_are_known(options)
    optimizer = options.get("optimizer")
    learning_rate = options.get("learning_rate")
    update: Same | str
    if optimizer is not None:
        if learning_rate is not None:
            raise ValueError(
                "`learning_rate` is for plain descent, and an `optimizer` brings its "
                "own: pass one of the two"
            )
        if not isinstance(optimizer, optax.GradientTransformation):
            raise TypeError(
                "`optimizer` must be an optax rule such as optax.adam(0.1), got "
                f"{type(optimizer).__name__}"
            )
        update = Same(optimizer)
    elif learning_rate is None:
        update = "lbfgs"
    elif isinstance(learning_rate, str):
        if learning_rate != "auto":
            raise ValueError(
                f'`learning_rate` must be a number or "auto", got {learning_rate!r}'
            )
        update = "auto"
    else:
        update = "step"
    batch_size = options.get("batch_size")
    if batch_size is not None:
        _batches_are_possible(batch_size, update, options)
    return Rule(
        update=update,
        fit_intercept=bool(fit_intercept),
        max_steps=checks.count("max_steps", options.get("max_steps", 1000), 1),
        batch_size=batch_size or 0,
        compress=_compresses(data, options.get("compress", "auto"), batch_size),
    )


def _options_are_known(options: StepOptions) -> None:
    unknown = set(options) - set(DescentOptions.__annotations__)
    if unknown:
        raise TypeError(f"there is no option {sorted(unknown)[0]!r}: see `descend`")


def _batches_are_possible(
    batch_size: Any, update: Same | str, options: StepOptions
) -> None:
    checks.count("batch_size", batch_size, 1)
    if update in ("lbfgs", "auto"):
        raise ValueError(
            "`batch_size` needs a rule that bears noisy gradients: pass an `optimizer` "
            "or a number as `learning_rate`"
        )
    if options.get("key") is None:
        raise ValueError("`batch_size` needs a `key`: jax.random.key(0), or just 0")
    if options.get("compress") is True:
        raise ValueError(
            "`compress` works on all rows at once: leave it out, or `batch_size`"
        )


def _compresses(data: Data, compress: Any, batch_size: int | None) -> bool:
    if compress is True or compress is False:
        return compress
    if compress != "auto":
        raise ValueError(f'`compress` must be True, False or "auto", got {compress!r}')
    return batch_size is None and is_worthwhile(data)


def start_for(data: Data, y: Any, lam: Any, rule: Rule, options: StepOptions) -> Start:
    """Return the dynamic part of the options, checked, in the dtype of the data."""
    dtype = data.X.dtype
    name = "lams" if np.ndim(lam) else "lam"
    lam = as_penalty(name, lam, dtype)
    rate = options.get("learning_rate")
    rate = _learning_rate(rate, lam, dtype) if rule.update == "step" else 0.0
    tol = options.get("tol")
    if tol is None:
        tol = 1e-10 if dtype == np.float64 else 1e-5
    elif not checks.is_traced(tol) and not tol >= 0:
        raise ValueError(f"`tol` must be a number of at least 0, got {tol}")
    key = options.get("key")
    if not isinstance(key, jax.Array):
        key = jax.random.key(checks.count("key", 0 if key is None else key, 0))
    return Start(
        lam,
        jnp.broadcast_to(jnp.asarray(rate, dtype), lam.shape),
        jnp.asarray(tol, dtype),
        _init(options.get("init"), data, y, rule),
        key,
    )


def _learning_rate(rate: Any, lam: Array, dtype: Any) -> Array:
    (rate,) = as_floats(learning_rate=rate)
    if rate.shape not in ((), lam.shape):
        raise ValueError(
            f"`learning_rate` must be one number or one for each penalty, {lam.shape}, "
            f"got shape {rate.shape}"
        )
    if not checks.is_traced(rate) and not bool((rate > 0).all()):
        raise ValueError(f"`learning_rate` must be above 0, got {float(rate.min())}")
    return rate.astype(dtype)


def _init(init: Params | None, data: Data, y: Any, rule: Rule) -> Params:
    zero = _zero(data)
    if init is None:
        return zero
    coef, intercept = as_floats(coef=init.coef, intercept=init.intercept)
    if coef.shape != (*data.X.shape[1:], *np.shape(y)[1:]) or (
        intercept.shape != np.shape(y)[1:]
    ):
        raise ValueError(
            f"`init` must have coef {(*data.X.shape[1:], *np.shape(y)[1:])} and "
            f"intercept {np.shape(y)[1:]}, got {coef.shape} and {intercept.shape}"
        )
    coef = coef.reshape(zero.coef.shape).astype(data.X.dtype)
    if not rule.descends_intercept:
        return zero._replace(coef=coef)
    return Params(coef, intercept.reshape(-1).astype(data.X.dtype))


def _zero(data: Data) -> Params:
    n, t = data.X.shape[1], data.Y.shape[1]
    return Params(jnp.zeros((n, t), data.X.dtype), jnp.zeros(t, data.X.dtype))


def _descended(X: Any, y: Any, lam: Any, options: DescentOptions) -> Descent:
    """Check, train, and refuse to return a descent that went up."""
    data = as_data(X, y, options.get("weight"))
    rule = rule_for(data, options, options.get("fit_intercept", True))
    start = start_for(data, y, lam, rule, options)
    if options.get("progress") and not any_traced(data, start):
        outcome = watch(_watched_rows(data, rule), start, rule)
    else:
        outcome = _train(data, start, rule)
    refuse_divergence(outcome, lambda _: data, rule)
    fit = outcome.fit
    params = drop_target_axis(fit.params, y)
    return fit._replace(params=ParamsPath(*params) if fit.lam.ndim else params)


def any_traced(*trees: Any) -> bool:
    """Whether a transformation is tracing any of the arrays."""
    return any(checks.is_traced(leaf) for leaf in jax.tree.leaves(trees))


def prepare(data: Data, rule: Rule, view: View = as_stored) -> Rows:
    """Return the rows to descend on: centred, compressed, or as they are in `view`."""
    centre = centre_of(data, rule.fit_intercept, view)
    rest = jnp.zeros((), data.X.dtype)
    if rule.compress:
        data, rest = compress(data, centre, rule.descends_intercept, view)
    else:
        data = data._replace(X=view(data.X))
        if rule.profiles_intercept:
            data = centred(data, centre)
    at_zero = jax.grad(cost)(_zero(data), data.X, data.Y, 0.0, data.weight)
    curvature = _curvature(data) if rule.update == "auto" else jnp.zeros_like(rest)
    steepness = gradient_norm(at_zero, rule.descends_intercept)
    until = _cumulative(data.weight if rule.batch_size else data.weight[:0])
    return Rows(data, rest, centre, until, steepness, curvature)


def run(rows: Rows, start: Start, rule: Rule) -> Outcome:
    """Descend at each penalty of `start` on each fold of `rows`; either may be one."""
    return _everywhere(_run, rows, start, rule)


def watch(rows: Rows, start: Start, rule: Rule) -> Outcome:
    """Descend like `run`, coming back after each block to move a progress bar."""
    state, history = _watched_begin(rows, start, rule)
    with bar(rule.max_steps, "descent", "step", wanted=True) as progress:
        while bool(state.running.any()):
            state, history = _watched_block(rows, start, rule, state, history)
            progress.update(int(state.step.max()) - progress.n)
    return _watched_finish(rows, start, rule, state, history)


@partial(jax.jit, static_argnames="rule")
def _train(data: Data, start: Start, rule: Rule) -> Outcome:
    return run(prepare(data, rule), start, rule)


def _everywhere(
    function: Callable[..., Any], rows: Rows, start: Start, rule: Rule, *state: Any
) -> Any:
    """Map a function of one penalty and one set of rows over penalties and folds."""

    def one(rows: Rows, start: Start, *state: Any) -> Any:
        return function(rows, start, rule, *state)

    carried = [0] * len(state)
    if start.lam.ndim == 1:
        one = jax.vmap(one, in_axes=(None, Start(**LAMS), *carried))
    if rows.rest.ndim == 1:
        one = jax.vmap(one, in_axes=(0, None, *carried))
    return one(rows, start, *state)


def _jitted_everywhere(function: Callable[..., Any]) -> Callable[..., Any]:
    @partial(jax.jit, static_argnames="rule")
    def jitted(rows: Rows, start: Start, rule: Rule, *state: Any) -> Any:
        return _everywhere(function, rows, start, rule, *state)

    return jitted


def _run(rows: Rows, start: Start, rule: Rule) -> Outcome:
    state, history = jax.lax.while_loop(
        lambda carry: carry[0].running,
        lambda carry: _block(rows, start, rule, *carry),
        _begin(rows, start, rule),
    )
    return _finish(rows, start, rule, state, history)


def _begin(rows: Rows, start: Start, rule: Rule) -> tuple[State, Array]:
    step = jnp.zeros((), jnp.int32)
    value, gradient = _evaluate(start.init, step, rows, start, rule)
    finite = jnp.isfinite(value)
    if rule.batch_size:
        running = finite
    else:
        running = finite & (_relative_norm(gradient, rows, rule) > start.tol)
    memory = _optimizer(rows, start, rule).init(start.init)
    blocks = -(-rule.max_steps // BLOCK)
    history = jnp.zeros(blocks * BLOCK, value.dtype)
    state = State(
        step, start.init, memory, value, value, gradient, running, blew_up=~finite
    )
    return state, history


def _block(
    rows: Rows, start: Start, rule: Rule, state: State, history: Array
) -> tuple[State, Array]:
    """Take up to BLOCK steps.

    The history of a block is small, so that a sweep, which must hold back the lanes
    that have stopped, copies little in each step; the long one is written once a block.
    """
    first = state.step

    def take(carry: tuple[State, Array]) -> tuple[State, Array]:
        state, values = carry
        values = values.at[state.step - first].set(state.value)
        return _step(rows, start, rule, state), values

    def going(carry: tuple[State, Array]) -> Array:
        state, _ = carry
        return state.running & (state.step - first < BLOCK)

    values = jnp.zeros(BLOCK, history.dtype)
    state, values = jax.lax.while_loop(going, take, (state, values))
    return state, jax.lax.dynamic_update_slice_in_dim(history, values, first, 0)


def _step(rows: Rows, start: Start, rule: Rule, state: State) -> State:
    step = state.step + 1
    updates, memory = _optimizer(rows, start, rule).update(
        state.gradient,
        state.memory,
        state.params,
        value=state.value,
        grad=state.gradient,
        value_fn=lambda params: _evaluate_at(params, state.step, rows, start, rule),
    )
    if not rule.descends_intercept:
        updates = _frozen(updates)
    params = optax.apply_updates(state.params, updates)
    value, gradient = _evaluate(params, step, rows, start, rule)
    norm = gradient_norm(gradient, rule.descends_intercept)
    finite = jnp.isfinite(value) & jnp.isfinite(norm)
    running = finite & (step < rule.max_steps)
    if not rule.batch_size:
        running &= _relative_norm(gradient, rows, rule) > start.tol
    moved = State(
        step,
        params,
        memory,
        state.first,
        value,
        gradient,
        running,
        blew_up=jnp.asarray(False),
    )
    stayed = state._replace(running=running, blew_up=jnp.asarray(True))
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, stayed)


def _finish(
    rows: Rows, start: Start, rule: Rule, state: State, history: Array
) -> Outcome:
    """Describe where the descent ended, with J and gradient over all rows."""
    first, last, gradient = state.first, state.value, state.gradient
    if rule.batch_size:
        every_row = rule._replace(batch_size=0)
        first = _evaluate_at(start.init, state.step, rows, start, every_row)
        last, gradient = _evaluate(state.params, state.step, rows, start, every_row)
    norm = _relative_norm(gradient, rows, rule)
    taken = jnp.arange(history.size) < state.step
    history = jnp.where(taken, history, state.value)[: rule.max_steps]
    intercept = state.params.intercept
    if rule.profiles_intercept:
        intercept = intercept_at(state.params.coef, rows.centre)
    fit = Descent(
        start.lam,
        Params(state.params.coef, intercept),
        history,
        state.step,
        norm <= start.tol,
        norm,
    )
    # Rounding in J is no ascent, nor is the noise of batches about its minimum.
    slack = BATCH_NOISE if rule.batch_size else 100 * jnp.finfo(first.dtype).eps
    vanished = (first <= 0) & (rows.steepness > 0)
    went_up = ~(last <= (1 + slack) * first)
    return Outcome(fit, state.blew_up | went_up | vanished)


def _optimizer(
    rows: Rows, start: Start, rule: Rule
) -> optax.GradientTransformationExtraArgs:
    if isinstance(rule.update, Same):
        return optax.with_extra_args_support(rule.update.optimizer)
    if rule.update == "lbfgs":
        return lbfgs()
    rate = start.learning_rate
    if rule.update == "auto":
        rate = safe_step(rows.curvature, start.lam, jnp.sum(rows.data.weight))
    return optax.with_extra_args_support(optax.sgd(rate))


def _evaluate_at(
    params: Params, step: Array, rows: Rows, start: Start, rule: Rule
) -> Array:
    """Return J, or at a mini-batch its estimate from the rows that `step` draws."""
    data = rows.data
    m = jnp.sum(data.weight)
    if rule.batch_size:
        key = jax.random.fold_in(start.key, step)
        chosen = _draw(key, rows.until, rule.batch_size)
        share = jnp.full(rule.batch_size, m / rule.batch_size, data.X.dtype)
        data = Data(data.X[chosen], data.Y[chosen], share)
    return cost(params, data.X, data.Y, start.lam, data.weight) + rows.rest / (2 * m)


def _evaluate(
    params: Params, step: Array, rows: Rows, start: Start, rule: Rule
) -> tuple[Array, Params]:
    value, gradient = jax.value_and_grad(_evaluate_at)(params, step, rows, start, rule)
    return value, gradient if rule.descends_intercept else _frozen(gradient)


def _frozen(change: Params) -> Params:
    """Return the change of a model whose intercept is not descended."""
    return change._replace(intercept=jnp.zeros_like(change.intercept))


def _cumulative(weight: Float[Array, " m"]) -> Float[Array, " m"]:
    """Return cumulative weights that do not rise, by rounding or else, at weight 0."""
    sums = jnp.where(weight > 0, jnp.cumsum(weight), 0)
    return jax.lax.cummax(sums)


def _draw(key: Array, until: Float[Array, " m"], size: int) -> Int[Array, " size"]:
    """Draw rows in proportion to their weights, with replacement."""
    at = jax.random.uniform(key, (size,), until.dtype) * until[-1]
    # Rounding must not reach past the last row that counts.
    at = jnp.minimum(at, jnp.nextafter(until[-1], jnp.zeros_like(until[-1])))
    return jnp.searchsorted(until, at, side="right")


def _relative_norm(gradient: Params, rows: Rows, rule: Rule) -> Array:
    """Return ‖gradient‖ / ‖∇J(0)‖, or 0 where the gradient is 0."""
    norm = gradient_norm(gradient, rule.descends_intercept)
    return jnp.where(norm > 0, norm / jnp.where(norm > 0, rows.steepness, 1), 0)


def _curvature(data: Data) -> Float[Array, ""]:
    """Return the largest eigenvalue of XᵀWX/m, from the smaller of its two Grams."""
    rows = jnp.sqrt(data.weight)[:, None] * data.X
    square = (
        matmul(rows.T, rows) if rows.shape[1] <= rows.shape[0] else matmul(rows, rows.T)
    )
    return jnp.linalg.eigvalsh(square)[-1] / jnp.sum(data.weight)


def refuse_divergence(
    outcome: Outcome, data_of_fold: Callable[[int], Data], rule: Rule
) -> None:
    """Raise if a descent went up, naming a step that goes down; not when traced.

    `data_of_fold` gives the rows that a fold descended on, uncentred; without folds
    there is fold 0.
    """
    if checks.is_traced(outcome.diverged) or not bool(outcome.diverged.any()):
        return
    lams = np.atleast_2d(outcome.fit.lam)
    bad = np.atleast_2d(outcome.diverged)
    step = min(
        _step_that_descends(data_of_fold(int(k)), float(lams[k][bad[k]].max()), rule)
        for k in np.flatnonzero(bad.any(axis=1))
    )
    first = np.asarray(outcome.fit.history).reshape(bad.size, -1)[bad.ravel(), 0]
    if not (np.isfinite(first).all() and first.min() > 0 < step):
        raise ValueError(
            "J is out of the range of this dtype where the descent starts: bring `X` "
            "and `y` to a size nearer 1, or pass float64"
        )
    others = f" ({int(bad.sum())} of {bad.size} descents)" if bad.size > 1 else ""
    raise ValueError(
        f"the descent diverged at lam = {lams[bad].max():g}{others}: its steps are too "
        f"large. Plain descent goes down with learning_rate={step:.3g}; "
        '"auto" finds such a step for each penalty'
    )


def _step_that_descends(data: Data, lam: float, rule: Rule) -> float:
    if rule.descends_intercept:
        ones = jnp.ones_like(data.X[:, :1])
        data = data._replace(X=jnp.concatenate([data.X, ones], axis=1))
    m = jnp.sum(data.weight)
    curvature = _curvature(data)
    step = safe_step(curvature, jnp.asarray(lam, m.dtype), m)
    return float(jnp.where(jnp.isfinite(curvature), step, 0))


_watched_rows = jax.jit(prepare, static_argnames="rule")
_watched_begin = _jitted_everywhere(_begin)
_watched_block = _jitted_everywhere(_block)
_watched_finish = _jitted_everywhere(_finish)
