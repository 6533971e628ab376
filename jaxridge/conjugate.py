"""Many linear systems that are nearly one: conjugate gradients (Hestenes 1952).

Each fold's training rows are most of all rows, so the factorised Gram of all rows all
but solves every fold's system: as a preconditioner it leaves eigenvalues near 1, and a
dozen steps reach rounding. One factorisation then serves all folds and all penalties.

The steps also tell how near the systems are. Step j goes a length αⱼ and turns by βⱼ,
and M⁻¹A has in the space of the steps so far the matrix T with diagonal
1/αⱼ + βⱼ/αⱼ₋₁ and off-diagonal √βⱼ/αⱼ₋₁ (Lanczos 1950; Golub and Meurant 1997). No
eigenvalue of T is below θ while the pivots of T − θ, one more at each step, are above
0. That is no proof for M⁻¹A, but T soon has its least eigenvalue if the column that one
started from has a part along that direction. A right-hand side may lack that part; a
column of normal random numbers almost surely does not.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxridge.costs import LEFT, MOST_STEPS
from jaxridge.divisors import or_one

Vectors = Float[Array, "n c"]
# The least that a fold's system may have of that of all rows, in any direction.
ALIKE = 0.1
PROBES = 2  # random columns
GRACE = 4  # steps, after which those that must be few are judged


class State(NamedTuple):
    """Answers under way, one column for each system."""

    answer: Vectors
    residual: Vectors
    direction: Vectors
    size: Float[Array, " c"]  # rᵀM⁻¹r, about the squared energy of the error
    turn: Float[Array, " c"]  # β
    rate: Float[Array, " c"]  # 1/α
    pivot: Float[Array, " c"]  # the last of T − θ
    alike: Bool[Array, " c"]  # whether all of them were above 0
    step: Int[Array, ""]


def conjugate_gradients(
    product: Callable[[Vectors], Vectors],
    nearly_inverse: Callable[[Vectors], Vectors],
    right: Vectors,
    least: Float[Array, " c"],
    most_steps: int = MOST_STEPS,
    in_time: bool = False,
) -> tuple[Vectors, Bool[Array, ""]]:
    """Solve positive definite systems, one for each column; return whether all are.

    `product` multiplies each column by its matrix, and `nearly_inverse` by about the
    inverse of it. None is solved where the product of both is seen to have eigenvalues
    below `least`: what is left of a residual then tells nothing of the error. With
    `in_time` the steps end as soon as so many are seen not to do.
    """
    first = nearly_inverse(right)
    size = _inner(right, first)
    enough = LEFT[str(right.dtype)] ** 2 * size
    # What is to be left after each step, as a part of what there was.
    parts = np.linspace(0, 2 * np.log(LEFT[str(right.dtype)]), most_steps + 1)
    parts = np.exp(np.append(np.full(GRACE, np.inf), parts))
    course = jnp.asarray(parts, right.dtype) if in_time else None

    def going(state: State) -> Array:
        more = jnp.any(state.size > enough) & (state.step < most_steps)
        if course is None:
            return more
        return more & jnp.all(state.size <= course[state.step] * size)

    def take(state: State) -> State:
        image = product(state.direction)
        curved = _inner(state.direction, image)
        # A column that is solved has no direction left.
        there = (curved > 0) & (state.size > enough)
        rate = jnp.where(there, curved / jnp.where(there, state.size, 1), 0)
        length = jnp.where(there, 1 / jnp.where(there, rate, 1), 0)
        carried = state.turn * state.rate
        below = or_one(state.pivot)
        pivot = rate + carried - least - carried * state.rate / below
        seen = (curved > 0) & (pivot > 0)
        alike = state.alike & (seen | (state.size <= enough))
        answer = state.answer + length * state.direction
        residual = state.residual - length * image
        nearer = nearly_inverse(residual)
        size = jnp.where(there, _inner(residual, nearer), state.size)
        turn = jnp.where(there, size / jnp.where(there, state.size, 1), 0)
        direction = nearer + turn * state.direction
        step = state.step + 1
        return State(answer, residual, direction, size, turn, rate, pivot, alike, step)

    none = jnp.zeros_like(size)
    start = State(
        answer=jnp.zeros_like(right),
        residual=right,
        direction=first,
        size=size,
        turn=none,
        rate=none,
        pivot=jnp.ones_like(size),
        alike=jnp.ones(size.shape, bool),
        step=jnp.zeros((), int),
    )
    end = jax.lax.while_loop(going, take, start)
    return end.answer, jnp.all((end.size <= enough) & end.alike)


def _inner(a: Vectors, b: Vectors) -> Float[Array, " c"]:
    return jnp.sum(a * b, axis=0)
