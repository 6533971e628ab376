"""Programs that XLA compiles: on a CPU, soon rather than as well as can be.

The first call of each shape waits for the compiler, in all for seconds where a fit
takes milliseconds. Half of what it does for a CPU by default, for loops that it makes
itself, is for no gain: most of what is compiled here are products and factorisations,
which lie ready in libraries, and a loop or two between them. Where few numbers are
there to compute with, it takes far longer to optimise such loops at all than to run
them as they are; but loops of many steps, of a descent or over every row and penalty,
repay it. And where next to nothing is computed, NumPy is done before XLA has begun.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from jaxridge import accelerator

R = TypeVar("R")
Options = dict[str, str | bool]

FEW = 2**13  # numbers among the arguments
WELL: Options = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": "1",
}
SOON: Options = WELL | {
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": True,
}


def compiled(
    function: Callable[..., R], *, many_steps: bool = False, **how: Any
) -> Callable[..., R]:
    """Do as `jax.jit`, but on a CPU compile sooner, and soonest where numbers are few.

    The first call then takes less time; later ones, of few numbers, some microseconds
    more, which `many_steps` would add up. Inside another function that is compiled, the
    options of that one apply.
    """
    plain = jax.jit(function, **how)

    @functools.cache
    def on_a_cpu(soon: bool) -> Callable[..., R]:
        return jax.jit(function, compiler_options=options_for(soon), **how)

    @functools.wraps(function)
    def call(*args: Any, **rest: Any) -> R:
        numbers = _count(jax.tree.leaves((args, rest)))
        if accelerator.is_used() or numbers is None:
            return plain(*args, **rest)
        try:
            return on_a_cpu(numbers <= FEW and not many_steps)(*args, **rest)
        except ValueError as error:
            # None of these is traced, but something around them is.
            if "compiler_options" not in str(error):
                raise
        return plain(*args, **rest)

    outcome: Any = call
    outcome.lower = plain.lower
    return outcome


def quick_if_few(
    function: Callable[..., R], static: tuple[str, ...] = ()
) -> Callable[..., R]:
    """Let NumPy compute with few numbers, as XLA would take longer to compile at all.

    The function is of arrays of either kind, in trees, and returns that kind; arguments
    by name are `static`.
    """
    by_xla = compiled(function, static_argnames=static)

    @functools.wraps(function)
    def quick(*args: Any, **how: Any) -> R:
        # NumPy would not know on which of several devices they were.
        elsewhere = accelerator.is_used() or jax.device_count() > 1
        numbers = _count(jax.tree.leaves(args))
        if elsewhere or numbers is None or numbers > FEW:
            return by_xla(*args, **how)
        return function(*jax.tree.map(np.asarray, args), **how)

    return quick


def _count(leaves: list[Any]) -> int | None:
    """Return how many numbers there are, None where they are not known."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return None
    return sum(getattr(leaf, "size", 1) for leaf in leaves)


@functools.cache
def options_for(soon: bool) -> Options:
    """Return what is asked of XLA for a CPU, as far as this one knows it."""
    nothing = jax.jit(lambda: 0.0).lower()

    def are_known(options: Options) -> bool:
        try:
            nothing.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError:
            return False
        return True

    asked = SOON if soon else WELL
    if are_known(asked):
        return asked
    return {name: value for name, value in asked.items() if are_known({name: value})}
