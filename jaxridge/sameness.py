"""When two optimisers are the same, so that a program compiled for one serves both."""

import sys
from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxridge import checks

PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__")
LIBRARIES = ("jax", "jaxlib", "numpy", "optax", "chex")


@dataclass(frozen=True, eq=False)
class Same:
    """An optimiser that equals every other one built the same way.

    ``optax.sgd(0.1) == optax.sgd(0.1)`` is False, because each call makes new closures,
    and a compiled program keyed by it would be compiled again at every call. Two
    optimisers are the same here if their functions have the same code and read the same
    values, enclosed or global; objects are, if of the same type with the same
    attributes; what no attribute tells counts by identity.
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


@dataclass(frozen=True, eq=False)
class Itself:
    """A value that equals no other one, kept so that none takes its place in memory."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that the enclosing function never came to set
        return None


def _recipe(value: Any, seen: frozenset[int] = frozenset()) -> Hashable:
    """Describe what `value` computes, as far as its code and what it reads tell."""
    if value is None or type(value) in (bool, int, float, str):
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
    if isinstance(value, FunctionType):
        return value.__code__
    known = not isinstance(value, type | ModuleType) and any(
        isinstance(value, kinds) for kinds, _ in PARTS
    )
    if known:  # by its parts, unless it holds more beside them
        return Itself(value) if getattr(value, "__dict__", None) else None
    return None if _is_plain(value) else Itself(value)


def _is_plain(value: Any) -> bool:
    """Whether attributes are all that an object holds, as its pickling would tell."""
    if isinstance(value, type | ModuleType):
        return False
    if any(getattr(type(value), name) != getattr(object, name) for name in PICKLING):
        return False
    try:
        value.__reduce_ex__(2)
    except TypeError:  # it holds what only C code sees
        return False
    return bool(_attributes(value))


def _parts(value: Any) -> Iterable[Any]:
    """Return the values that a value holds, and that a function reads."""
    for kinds, parts in PARTS:
        if isinstance(value, kinds):
            return parts(value)
    return (*_attributes(value).items(), type(value))


def _read_by(function: FunctionType) -> tuple[Any, ...]:
    cells = tuple(_contents(cell) for cell in function.__closure__ or ())
    defaults = function.__defaults__, function.__kwdefaults__
    return cells, *defaults, _globals_read(function)


def _attributes(thing: Any) -> dict[str, Any]:
    """Return what a class or an object holds under names that Python did not give."""
    kinds = () if isinstance(thing, type) else type(thing).__mro__
    slots = [name for kind in kinds for name in getattr(kind, "__slots__", ())]
    names = dict.fromkeys([*getattr(thing, "__dict__", ()), *slots])
    own = [name for name in names if isinstance(name, str) and not name[:2] == "__"]
    return {name: getattr(thing, name, None) for name in own}


def _held_by(kind: type) -> dict[str, Any]:
    """Return what a class holds itself: what we were given, and every function."""
    functions = FunctionType, property, staticmethod, classmethod
    return {
        name: value
        for name, value in vars(kind).items()
        if not name.startswith("__") or isinstance(value, functions)
    }


def _read_by_class(kind: type) -> tuple[Any, ...]:
    kinds = [each for each in kind.__mro__ if not _is_fixed(each)]
    return tuple(item for each in kinds for item in _held_by(each).items())


def _is_fixed(thing: FunctionType | type) -> bool:
    """Whether a function or class is a library's, whose parts do not change."""
    return _is_library(thing.__module__ or "")


def _is_library(module: str) -> bool:
    root = module.partition(".")[0]
    return root != "__main__" and root in (*LIBRARIES, *sys.stdlib_module_names)


def _numbers(array: Any) -> Hashable:
    if checks.is_traced(array):
        return type(array), id(array)
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    values = np.asarray(array)
    return type(array), values.dtype.str, values.shape, values.tobytes()


def _globals_read(function: FunctionType) -> dict[str, Any]:
    """Return the globals that a function names, and what it names of modules in them.

    Those of libraries do not change.
    """
    if _is_fixed(function):
        return {}
    names, codes = set[str](), [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]
    known = function.__globals__
    found = {name: known[name] for name in sorted(names) if name in known}
    modules = [*found.values(), *map(_contents, function.__closure__ or ())]
    seen = set[str]()
    while modules:
        module = modules.pop()
        if not isinstance(module, ModuleType) or _is_library(module.__name__):
            continue
        if module.__name__ in seen:
            continue
        seen.add(module.__name__)
        of = vars(module)
        read = {f"{module.__name__}.{name}": of[name] for name in names & of.keys()}
        found |= dict(sorted(read.items()))
        modules += read.values()
    return found


# What tells values of a kind apart; of any other kind, attributes do.
PARTS: tuple[tuple[Any, Callable[[Any], Iterable[Any]]], ...] = (
    ((tuple, list, deque), tuple),
    ((set, frozenset), lambda value: sorted(value, key=repr)),
    (dict, lambda value: value.items()),
    (partial, lambda value: (value.func, value.args, value.keywords)),
    (MethodType, lambda value: (value.__func__, value.__self__)),
    (FunctionType, _read_by),
    (property, lambda value: (value.fget, value.fset)),
    ((staticmethod, classmethod), lambda value: (value.__func__,)),
    ((bytearray, array, memoryview), lambda value: (bytes(value).hex(),)),
    (type, _read_by_class),
    (ModuleType, lambda value: ()),
)
