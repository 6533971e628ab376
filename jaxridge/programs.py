"""Programs that XLA compiles: for a CPU and few numbers, soon rather than well.

The first call of each shape waits for the compiler, in all for seconds where a fit
takes milliseconds. Most of what is compiled here are products and factorisations, which
lie ready in libraries, and a loop or two between them: where few numbers are there to
compute with, it takes far longer to optimise such loops than to run them as they are.
Loops of many steps, of a descent or over every row and penalty, do repay it. And where
next to nothing is computed, NumPy is done before XLA has begun.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from jaxridge import accelerator

R = TypeVar("R")

FEW = 2**13  # numbers among the arguments
SOON: dict[str, str | bool] = {
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": "1",
}


def compiled(function: Callable[..., R], **how: Any) -> Callable[..., R]:
    """Do as `jax.jit`, but on a CPU compile without optimising where numbers are few.

    The first call then takes less time, and later ones some microseconds more. Inside
    another function that is compiled, the options of that one apply.
    """
    well = jax.jit(function, **how)
    soon = functools.cache(lambda: jax.jit(function, compiler_options=_known(), **how))

    @functools.wraps(function)
    def call(*args: Any, **rest: Any) -> R:
        if accelerator.is_used() or not _are_few(jax.tree.leaves((args, rest))):
            return well(*args, **rest)
        try:
            return soon()(*args, **rest)
        except ValueError as error:
            # None of these is traced, but something around them is.
            if "compiler_options" not in str(error):
                raise
        return well(*args, **rest)

    outcome: Any = call
    outcome.lower, outcome.trace = well.lower, well.trace
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
        if elsewhere or not _are_few(jax.tree.leaves(args)):
            return by_xla(*args, **how)
        return function(*jax.tree.map(np.asarray, args), **how)

    return quick


def _are_few(leaves: list[Any]) -> bool:
    """Whether the numbers are known, and few."""
    total = 0
    for leaf in leaves:
        if isinstance(leaf, jax.core.Tracer):
            return False
        total += getattr(leaf, "size", 1)
    return total <= FEW


@functools.cache
def _known() -> dict[str, str | bool]:
    """Return those of the options that this XLA knows."""
    nothing = jax.jit(lambda: 0.0).lower()

    def are_known(options: dict[str, str | bool]) -> bool:
        try:
            nothing.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError:
            return False
        return True

    if are_known(SOON):
        return SOON
    return {name: value for name, value in SOON.items() if are_known({name: value})}
