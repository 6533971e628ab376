"""Optimisers of J: the update rules.

Any optax transformation can descend J. Two need more than optax has: plain gradient
descent, whose step is an array so that a sweep can give each λ its own; and L-BFGS with
the line search that a parabola deserves, the exact one.
"""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxridge.divisors import or_one
from jaxridge.products import power_of_2

LBFGS_MEMORY = 10


def exact_line_search() -> optax.GradientTransformationExtraArgs:
    """Scale a direction d by the step that minimises a quadratic cost along it.

    J(θ + s d) = J + s g·d + s²/2 dᵀHd is a parabola in s with its minimum at
    s = −g·d / dᵀHd, and Hd is the derivative of the gradient along d: one more
    evaluation, no trial steps. L-BFGS with this search is as good as conjugate
    gradients on J (Nocedal and Wright 2006, section 7.2). How long d is does not
    matter; near 1, its squares stay in range whatever the units of the data.
    """

    def update(
        updates: Any, state: Any, params: Any, *, grad: Any, value_fn: Any, **_: Any
    ) -> tuple[Any, Any]:
        unit = power_of_2(optax.tree.norm(updates, ord=jnp.inf))
        along = optax.tree.scale(1 / unit, updates)
        curved = jax.jvp(jax.grad(value_fn), (params,), (along,))[1]
        curvature = optax.tree.vdot(along, curved)
        flat = curvature <= 0  # only where the direction is 0, as J is convex
        step = -optax.tree.vdot(grad, along) / jnp.where(flat, 1, curvature)
        return optax.tree.scale(jnp.where(flat, 0, step), along), state

    return optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(), update
    )


def lbfgs(slope: Float[Array, ""]) -> optax.GradientTransformationExtraArgs:
    """L-BFGS (Liu and Nocedal 1989) with an exact line search.

    It sees gradients in units of a `slope`, so that their squares stay in range.
    """
    return optax.chain(
        optax.scale(1 / power_of_2(slope)),
        optax.lbfgs(memory_size=LBFGS_MEMORY, linesearch=exact_line_search()),
    )


def safe_step(
    curvature: Float[Array, ""], lam: Float[Array, "..."], m: Float[Array, ""]
) -> Float[Array, "..."]:
    """Return the gradient-descent step 1/L, L = curvature + λ/m the largest of J's.

    Plain descent shrinks J at every step below 2/L, and 1/L is the safe middle. Where J
    is flat, any step will do.
    """
    largest = curvature + lam / m
    return 1 / or_one(largest)


def known_to_work(
    rule: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Return a rule that says so where it cannot do with the gradient and J alone."""
    rule = optax.with_extra_args_support(rule)

    def init(params: Any) -> Any:
        return _attempted(lambda: rule.init(params))

    def update(updates: Any, state: Any, params: Any, **extra: Any) -> Any:
        def step() -> tuple[Any, Any]:
            moved, memory = rule.update(updates, state, params, **extra)
            return _as_narrow_as(moved, params), _as_narrow_as(memory, state)

        moved, memory = _attempted(step)
        for what, new, old in (("step", moved, params), ("memory", memory, state)):
            if _kinds(new) != _kinds(old):
                raise TypeError(
                    f"`optimizer` returns a {what} of another shape or dtype than it "
                    "was given, which no compiled descent can repeat"
                )
        return moved, memory

    return optax.GradientTransformationExtraArgs(init, update)


def _attempted(call: Callable[[], Any]) -> Any:
    """Call what is not ours: anything may go wrong."""
    try:
        return call()
    except Exception as error:
        raise TypeError(
            "`optimizer` cannot step from the gradient and J alone, which is what a "
            f"descent gives it: pass another rule ({type(error).__name__}: {error})"
        ) from error


def _as_narrow_as(new: Any, old: Any) -> Any:
    """Return floats as narrow as those before: a rate of NumPy's widens the step."""

    def narrowed(new: Any, old: Any) -> Any:
        dtype = jnp.result_type(old)
        floats = all(jnp.issubdtype(a, jnp.floating) for a in (new.dtype, dtype))
        return new.astype(dtype) if floats and jnp.can_cast(dtype, new.dtype) else new

    new = jax.tree.map(jnp.asarray, new)
    of_new, of_old = map(cast(Any, jax.tree.structure), (new, old))
    return jax.tree.map(narrowed, new, old) if of_new == of_old else new


def _kinds(tree: Any) -> Any:
    return jax.tree.map(lambda a: (jnp.shape(a), jnp.result_type(a)), tree)
