"""Optimisers of J: which update rule, and when two of them are the same.

Any optax transformation can descend J. Two need more than optax has: plain gradient
descent, whose step is an array so that a sweep can give each λ its own; and L-BFGS with
the line search that a parabola deserves, the exact one.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import partial
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxridge import checks

LBFGS_MEMORY = 10


def exact_line_search() -> optax.GradientTransformationExtraArgs:
    """Scale a direction d by the step that minimises a quadratic cost along it.

    J(θ + s d) = J + s g·d + s²/2 dᵀHd is a parabola in s with its minimum at
    s = −g·d / dᵀHd, and Hd is the derivative of the gradient along d: one more
    evaluation, no trial steps. L-BFGS with this search is as good as conjugate
    gradients on J (Nocedal and Wright 2006, section 7.2).
    """

    def update(
        updates: Any, state: Any, params: Any, *, grad: Any, value_fn: Any, **_: Any
    ) -> tuple[Any, Any]:
        curved = jax.jvp(jax.grad(value_fn), (params,), (updates,))[1]
        curvature = optax.tree.vdot(updates, curved)
        flat = curvature <= 0  # only where the direction is 0, as J is convex
        step = -optax.tree.vdot(grad, updates) / jnp.where(flat, 1, curvature)
        return optax.tree.scale(jnp.where(flat, 0, step), updates), state

    return optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(), update
    )


def lbfgs() -> optax.GradientTransformationExtraArgs:
    """L-BFGS (Liu and Nocedal 1989) with an exact line search."""
    return optax.lbfgs(memory_size=LBFGS_MEMORY, linesearch=exact_line_search())


def safe_step(
    curvature: Float[Array, ""], lam: Float[Array, "..."], m: Float[Array, ""]
) -> Float[Array, "..."]:
    """Return the gradient-descent step 1/L, L = curvature + λ/m the largest of J's.

    Plain descent shrinks J at every step below 2/L, and 1/L is the safe middle. Where J
    is flat, any step will do.
    """
    largest = curvature + lam / m
    return jnp.where(largest > 0, 1 / jnp.where(largest > 0, largest, 1), 1)


@dataclass(frozen=True, eq=False)
class Same:
    """An optimiser that equals every other one built the same way.

    ``optax.sgd(0.1) == optax.sgd(0.1)`` is False, because each call makes new closures,
    and a compiled program keyed by it would be compiled again at every call. Two
    optimisers are the same here if their functions have the same code and read the same
    values, enclosed or global; objects count by identity and by their attributes.
    """

    optimizer: optax.GradientTransformation
    # Made once: what it reads now may be something else when it is compared.
    recipe: Hashable = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipe", _recipe(self.optimizer))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.recipe == other.recipe

    def __hash__(self) -> int:
        return hash(self.recipe)


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that the enclosing function never came to set
        return None


def _recipe(value: Any, seen: frozenset[int] = frozenset()) -> Hashable:
    """Describe what `value` computes, as far as its code and what it reads tell."""
    if value is None or isinstance(value, bool | int | float | str):
        return type(value), value
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _numbers(value)
    if id(value) in seen:  # a function that encloses itself
        return "again"
    seen = seen | {id(value)}
    parts = tuple(_recipe(part, seen) for part in _parts(value))
    return type(value), _identity(value), parts


def _identity(value: Any) -> Hashable:
    """Return what tells a value from another of the same type and the same parts."""
    if isinstance(value, tuple | list | dict | partial):
        return None
    return value.__code__ if isinstance(value, FunctionType) else id(value)


def _parts(value: Any) -> Iterable[Any]:
    """Return the values that a value holds, and that a function reads."""
    match value:
        case tuple() | list():
            return value
        case dict():
            return tuple(value.items())
        case partial():
            return value.func, value.args, value.keywords
        case FunctionType():
            cells = tuple(_contents(cell) for cell in value.__closure__ or ())
            return cells, value.__defaults__, value.__kwdefaults__, _globals_read(value)
        case ModuleType() | type():
            return ()
    return (getattr(value, "__dict__", None),)


def _numbers(array: Any) -> Hashable:
    if checks.is_traced(array):
        return type(array), id(array)
    values = np.asarray(array)
    return type(array), values.dtype.str, values.shape, values.tobytes()


def _globals_read(function: FunctionType) -> dict[str, Any]:
    """Return the globals that a function names; those of libraries do not change."""
    if function.__module__.partition(".")[0] in ("optax", "jax"):
        return {}
    names, codes = set[str](), [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]
    known = function.__globals__
    return {name: known[name] for name in sorted(names) if name in known}
