"""A descent under way: one step after another, and where it ended.

One program descends at every penalty of a sweep, and on the rows of every fold: the
loop is written for one of each and mapped over both.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxridge import accelerator
from jaxridge.data import Data, intercept_at
from jaxridge.derivatives import OF_DESCENT, without_derivative
from jaxridge.draws import draw
from jaxridge.excerpt import excerpt, where_known
from jaxridge.landscape import Landscape, cost_there, moving
from jaxridge.optimizers import known_to_work, lbfgs, safe_step
from jaxridge.params import Params, ParamsPath
from jaxridge.products import matmul
from jaxridge.programs import compiled
from jaxridge.progress import bar
from jaxridge.rules import Rule, Start
from jaxridge.sameness import Same

# Steps between two looks at the progress bar, and between two writes to the history.
BLOCK = 50
# Steps of small rows between two looks at what has stopped, for which a GPU waits: they
# take less time than that, so that a few too many cost little. A part of a block.
STRIDE = 10
SMALL = 2**24  # numbers
BATCH_NOISE = 0.1  # how far above its first J a descent by mini-batches may end
# A sweep maps over the penalties and their steps; everything else is shared.
OVER_LAMS: Any = {"lam": 0, "learning_rate": 0, "tol": None, "init": None, "key": None}


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
        rule keeps it there). The intercept counts only if fitted, and columns that are
        constant, which keep a coefficient of 0 beside it, do not.
    """

    lam: Float[Array, "*lams"]
    params: Params | ParamsPath
    history: Float[Array, "*lams max_steps"]
    steps: Int[Array, "*lams"]
    converged: Bool[Array, "*lams"]
    gradient_norm: Float[Array, "*lams"]

    @where_known
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
        headers = [
            "lam",
            "J at first step",
            "J at last step",
            "steps",
            "converged",
            "gradient norm",
        ]
        return excerpt(columns, headers, ("g", ".6g", ".6g", "", "", ".1e"))


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


def run(rows: Landscape, start: Start, rule: Rule) -> Outcome:
    """Descend at each penalty of `start` on each fold of `rows`; either may be one.

    A sweep holds back what stands still of the lanes that have stopped. The history, of
    all steps of all lanes, is no part of that, and is written where it lies: those that
    still move are all at the same step.
    """

    def going(carry: tuple[Array, State, Array]) -> Array:
        return jnp.any(carry[1].running)

    def take(carry: tuple[Array, State, Array]) -> tuple[Array, State, Array]:
        first, state, history = carry
        state, values = _everywhere(_block, rows, start, rule, state)
        return first + BLOCK, state, _written(history, values, first)

    state = _everywhere(_begin, rows, start, rule)
    carry = jnp.zeros((), jnp.int32), state, _empty_history(state, rule)
    _, state, history = jax.lax.while_loop(going, take, carry)
    return _everywhere(_finish, rows, start, rule, state, history)


def watch(rows: Landscape, start: Start, rule: Rule) -> Outcome:
    """Descend like `run`, coming back after each block to move a progress bar."""
    state, first = _watched_begin(rows, start, rule), 0
    history = _empty_history(state, rule)
    with bar(rule.max_steps, "descent", "step", wanted=True) as progress:
        while bool(state.running.any()):
            state, values = _watched_block(rows, start, rule, state)
            history = _watched_history(history, values, first)
            first += BLOCK
            progress.update(int(state.step.max()) - progress.n)
    return _watched_finish(rows, start, rule, state, history)


def _empty_history(state: State, rule: Rule) -> Float[Array, "*folds_and_lams steps"]:
    blocks = -(-rule.max_steps // BLOCK)
    shape = (*state.running.shape, blocks * BLOCK)
    return jnp.zeros_like(state.value, shape=shape)


def _written(history: Array, values: Array, first: Any) -> Array:
    """Return the history with the values of a block of steps."""
    return jax.lax.dynamic_update_slice_in_dim(history, values, first, axis=-1)


def _everywhere(
    function: Callable[..., Any], rows: Landscape, start: Start, rule: Rule, *state: Any
) -> Any:
    """Map a function of one penalty and one set of rows over penalties and folds."""

    def one(rows: Landscape, start: Start, *state: Any) -> Any:
        return function(rows, start, rule, *state)

    carried = [0] * len(state)
    if start.lam.ndim == 1:
        one = jax.vmap(one, in_axes=(None, Start(**OVER_LAMS), *carried))
    if rows.rest.ndim == 1:
        one = jax.vmap(one, in_axes=(0, None, *carried))
    return one(rows, start, *state)


def _jitted_everywhere(function: Callable[..., Any]) -> Callable[..., Any]:
    @partial(compiled, many_steps=True, static_argnames="rule")
    def jitted(rows: Landscape, start: Start, rule: Rule, *state: Any) -> Any:
        return _everywhere(function, rows, start, rule, *state)

    return jitted


def _begin(rows: Landscape, start: Start, rule: Rule) -> State:
    step = jnp.zeros((), jnp.int32)
    value, gradient = _evaluate(start.init, step, rows, start, rule)
    finite = jnp.isfinite(value)
    if rule.batch_size:
        running = finite
    else:
        running = finite & (_relative_norm(gradient, rows) > start.tol)
    memory = _optimizer(rows, start, rule).init(start.init)
    state = State(
        step, start.init, memory, value, value, gradient, running, blew_up=~finite
    )
    # In a `shard_map` every part then differs by device, as after a step.
    return _where(finite, state, state)


def _block(
    rows: Landscape, start: Start, rule: Rule, state: State
) -> tuple[State, Array]:
    """Take up to BLOCK steps, and return J at each."""
    first, stride = state.step, _stride(rows)

    def step(state: State, _: None) -> tuple[State, Array]:
        new = _step(rows, start, rule, state)
        if stride > 1:
            new = _where(state.running, new, state)
        return new, state.value

    def take(carry: tuple[State, Array]) -> tuple[State, Array]:
        state, values = carry
        at = state.step - first
        state, some = jax.lax.scan(step, state, length=stride, unroll=stride)
        return state, jax.lax.dynamic_update_slice_in_dim(values, some, at, 0)

    def going(carry: tuple[State, Array]) -> Array:
        state, _ = carry
        return state.running & (state.step - first < BLOCK)

    values = jnp.zeros_like(state.value, shape=BLOCK)
    return jax.lax.while_loop(going, take, (state, values))


def _step(rows: Landscape, start: Start, rule: Rule, state: State) -> State:
    step = state.step + 1
    updates, memory = _optimizer(rows, start, rule).update(
        state.gradient,
        state.memory,
        state.params,
        value=state.value,
        grad=state.gradient,
        value_fn=lambda params: _evaluate_at(params, state.step, rows, start, rule),
    )
    updates = moving(updates, rows.varies, rule)
    params = optax.apply_updates(state.params, updates)
    value, gradient = _evaluate(params, step, rows, start, rule)
    norm = _relative_norm(gradient, rows)
    finite = jnp.isfinite(value) & ~jnp.isnan(norm)
    running = finite & (step < rule.max_steps)
    if not rule.batch_size:
        running &= norm > start.tol
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
    return _where(finite, moved, stayed)


def _stride(rows: Landscape) -> int:
    """Return how many steps to take before a look at whether they have an end."""
    small = accelerator.is_used() and rows.data.X.size <= SMALL
    return STRIDE if small else 1


def _where(which: Array, new: State, old: State) -> State:
    return jax.tree.map(lambda new, old: jnp.where(which, new, old), new, old)


def _finish(
    rows: Landscape, start: Start, rule: Rule, state: State, history: Array
) -> Outcome:
    """Describe where the descent ended, with J and gradient over all rows."""
    first, last, gradient = state.first, state.value, state.gradient
    if rule.batch_size:
        every_row = rule._replace(batch_size=0)
        first = _evaluate_at(start.init, state.step, rows, start, every_row)
        last, gradient = _evaluate(state.params, state.step, rows, start, every_row)
    norm = _relative_norm(gradient, rows)
    taken = jnp.arange(history.size, dtype=state.step.dtype) < state.step
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
    vanished = (first <= 0) & (norm > 0)  # J, below the range of its dtype
    diverged = state.blew_up | vanished | _went_up(first, last, rows, rule)
    return Outcome(without_derivative(fit, OF_DESCENT), diverged)


def _went_up(first: Array, last: Array, rows: Landscape, rule: Rule) -> Array:
    """Whether J at the end is above that at the start, for no good reason."""
    weight, Y = rows.data.weight[:, None], rows.data.Y
    m = jnp.sum(weight)
    # Rounding in J is no ascent, nor is the noise of batches about its minimum.
    eps = 100 * jnp.finfo(first.dtype).eps
    slack = BATCH_NOISE if rule.batch_size else eps
    # Nor is a step or two from a good start, which a rule such as Adam makes long.
    at_zero = (jnp.sum(weight * Y**2) + rows.rest) / (2 * m)
    # Of a fit through every row, J is rounding of the targets from the start.
    rounding = jnp.sum(weight * (eps * Y) ** 2) / m
    return ~(last <= (1 + slack) * jnp.maximum(first, at_zero) + rounding)


def _optimizer(
    rows: Landscape, start: Start, rule: Rule
) -> optax.GradientTransformationExtraArgs:
    if isinstance(rule.update, Same):
        return known_to_work(rule.update.optimizer)
    if rule.update == "lbfgs":
        return lbfgs(rows.steepness)
    rate = start.learning_rate
    if rule.update == "auto":
        rate = safe_step(rows.curvature, start.lam, jnp.sum(rows.data.weight))
    return optax.with_extra_args_support(optax.sgd(rate))


def _evaluate_at(
    params: Params, step: Array, rows: Landscape, start: Start, rule: Rule
) -> Array:
    """Return J, or at a mini-batch its estimate from the rows that `step` draws."""
    data = rows.data
    m = jnp.sum(data.weight)
    if rule.batch_size:
        key = jax.random.fold_in(start.key, step)
        chosen = draw(key, rows.until, rule.batch_size)
        share = jnp.full(rule.batch_size, m / rule.batch_size, data.X.dtype)
        data = Data(data.X[chosen], data.Y[chosen], share)
    return cost_there(params, data, start.lam, rule.fast) + rows.rest / (2 * m)


def _evaluate(
    params: Params, step: Array, rows: Landscape, start: Start, rule: Rule
) -> tuple[Array, Params]:
    value, gradient = jax.value_and_grad(_evaluate_at)(params, step, rows, start, rule)
    return value, moving(gradient, rows.varies, rule)


def _relative_norm(gradient: Params, rows: Landscape) -> Array:
    """Return ‖gradient‖ / ‖∇J(0)‖ of a gradient whose intercept is 0 unless descended.

    It is squared last, so that no unit of the data leaves the dtype's range; as a
    product, because XLA on a CPU is far slower at the sum of a quotient's square.
    """
    steep = rows.steepness > 0
    unit = jnp.where(steep, rows.steepness, 1)
    ratio = jnp.concatenate([gradient.coef.ravel(), gradient.intercept]) / unit
    norm = jnp.sqrt(matmul(ratio, ratio))
    return jnp.where(steep | (norm == 0), norm, jnp.inf)


_watched_begin = _jitted_everywhere(_begin)
_watched_block = _jitted_everywhere(_block)
# Where it lies: what is given away need not be copied.
_watched_history = compiled(_written, donate_argnums=0)
_watched_finish = _jitted_everywhere(_finish)
