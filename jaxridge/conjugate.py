"""Many linear systems that are nearly one: conjugate gradients (Hestenes 1952).

Each fold's training rows are most of all rows, so the factorised Gram of all rows all
but solves every fold's system: as a preconditioner it leaves eigenvalues near 1, and a
dozen steps reach rounding. One factorisation then serves all folds and all penalties.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Columns = Float[Array, "n c"]
# The energy of the error that is left, relative to that of the answer.
LEFT = {"float32": 1e-6, "float64": 1e-14}
MOST_STEPS = 40
# The least that a fold's system may have of that of all rows, in any direction.
ALIKE = 0.1


class State(NamedTuple):
    """Answers under way, one column for each system."""

    answer: Columns
    residual: Columns
    direction: Columns
    size: Float[Array, " c"]  # rᵀM⁻¹r, about the squared energy of the error
    step: Int[Array, ""]


def conjugate_gradients(
    product: Callable[[Columns], Columns],
    nearly_inverse: Callable[[Columns], Columns],
    right: Columns,
) -> tuple[Columns, Bool[Array, ""]]:
    """Solve positive definite systems, one for each column; return whether all are.

    `product` multiplies each column by its matrix, and `nearly_inverse` by about the
    inverse of it.
    """
    first = nearly_inverse(right)
    size = _inner(right, first)
    enough = LEFT[str(right.dtype)] ** 2 * size

    def going(state: State) -> Array:
        return jnp.any(state.size > enough) & (state.step < MOST_STEPS)

    def take(state: State) -> State:
        image = product(state.direction)
        curved = _inner(state.direction, image)
        # A column that is solved has no direction left.
        there = (curved > 0) & (state.size > enough)
        length = jnp.where(there, state.size / jnp.where(there, curved, 1), 0)
        answer = state.answer + length * state.direction
        residual = state.residual - length * image
        nearer = nearly_inverse(residual)
        size = jnp.where(there, _inner(residual, nearer), state.size)
        turn = jnp.where(there, size / jnp.where(there, state.size, 1), 0)
        direction = nearer + turn * state.direction
        return State(answer, residual, direction, size, state.step + 1)

    start = State(jnp.zeros_like(right), right, first, size, jnp.zeros((), int))
    end = jax.lax.while_loop(going, take, start)
    return end.answer, jnp.all(end.size <= enough)


def _inner(a: Columns, b: Columns) -> Float[Array, " c"]:
    return jnp.sum(a * b, axis=0)
