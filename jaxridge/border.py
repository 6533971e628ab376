"""The border: NumPy in, NumPy out; JAX in, JAX out.

The answer has the precision and the kind of the input. NumPy arrays are computed in
their own dtype, float64 included, whatever JAX's global flag says, and come back as
NumPy arrays; as soon as one JAX array or tracer is among the arguments the caller's
configuration rules and JAX arrays come back.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import jax
import numpy as np

from jaxridge import accelerator, checks
from jaxridge.meshes import by_automatic_axes
from jaxridge.placement import placed

# What public functions take: anything that NumPy makes an array of, and tracers. Which
# of it they really take is for checks to say, in words.
if TYPE_CHECKING:
    from numpy.typing import ArrayLike as ArrayLike
else:
    ArrayLike = Any

P = ParamSpec("P")
R = TypeVar("R")

# Arguments that are not data: they do not decide between NumPy and JAX.
NOT_DATA = ("key", "folds", "groups", "optimizer", "once")


def in_kind_of_input(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function` answer NumPy with NumPy, at full precision, and JAX with JAX."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def face(*args: P.args, **kwargs: P.kwargs) -> R:
        given = _named(function, signature, args, kwargs)
        given |= given.pop("options", {})
        data = {name: value for name, value in given.items() if name not in NOT_DATA}
        try:
            with promoting():
                if jax_is_in(data) or checks.is_traced(given.get("key")):
                    found = by_automatic_axes(function, *args, **kwargs)
                    return jax.tree.map(_as_jax, found)
                with computing_now():
                    found = by_automatic_axes(function, *args, **_shown_numpy(kwargs))
                    # A copy, as views of JAX arrays are read-only; [()] makes scalars.
                    return jax.tree.map(lambda a: np.array(a)[()], found)
        except jax.errors.JaxRuntimeError as error:
            if not accelerator.ran_out_of_memory(error):
                raise
        raise MemoryError(
            f"the device ran out of memory in `{function.__name__}`: pass fewer rows "
            "or targets at a time, float32, or sums over the rows (`moments_of`)"
        )

    return face


def _named(
    function: Any, signature: inspect.Signature, args: Any, kwargs: Any
) -> dict[str, Any]:
    """Return arguments by name, or say which there are."""
    try:
        return signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        takes = ", ".join(signature.parameters)
        raise TypeError(f"`{function.__name__}` {error}: it takes {takes}") from None


@contextmanager
def computing_now() -> Iterator[None]:
    """Compute in NumPy's precision, also where a traced function knows the numbers."""
    with promoting(), jax.enable_x64(True), jax.core.eval_context():
        yield


@contextmanager
def promoting() -> Iterator[None]:
    """Promote ranks and dtypes as JAX does by default, whatever its user wants of them.

    What is asked of one's own code is not asked of ours, nor of optax's.
    """
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def _shown_numpy(kwargs: dict[str, Any]) -> Any:
    """Return arguments by name, a scoring function of which is shown NumPy's arrays.

    They are its own: it may write to them.
    """
    scoring = kwargs.get("scoring")
    if not callable(scoring):
        return kwargs

    def shown(*arrays: Any) -> Any:
        return scoring(*map(np.array, arrays))

    return kwargs | {"scoring": shown}


def jax_is_in(tree: Any) -> bool:
    """Whether a JAX array or tracer is among the leaves."""
    return any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(tree))


def _as_jax(leaf: Any) -> Any:
    """Return what NumPy has made of few numbers as JAX's, all else as it is."""
    return placed(leaf) if isinstance(leaf, np.ndarray | np.generic) else leaf
