"""One thread for BLAS where there is little to multiply at a time.

After a product the threads of OpenBLAS spin for some milliseconds in wait of the next
one. XLA has threads of its own, and NumPy and SciPy (whose LAPACK XLA calls) a BLAS
each: where they take turns, they take the cores from each other for longer than they
work. Up to some size one thread is faster than two; the more threads there are, the
less that size.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import scipy.linalg  # noqa: F401 (loads the BLAS that XLA calls)
from threadpoolctl import ThreadpoolController

LITTLE = 4e9  # FLOP of a turn, by the number of threads
NARROW = 1000  # rows or columns, whichever is less, likewise
LEAST = 1e4  # numbers, of fewer of which BLAS itself makes no work for threads

_lock = threading.Lock()
_inside: list[int] = []
_before: list[int] = []


def few_for(m: int, n: int, turns: int = 1) -> AbstractContextManager[None]:
    """Return a context in which BLAS has one thread, if m × n numbers are few.

    They may be multiplied in so many turns with what XLA does.
    """
    few = m * n > LEAST and _is_little(m, n, turns)
    return _one_thread() if few else nullcontext()


def all_for(m: int, n: int) -> AbstractContextManager[None]:
    """Return a context, inside such a one, for a single product that is not little."""
    return nullcontext() if _is_little(m, n, 1) else _all_threads()


def _is_little(m: int, n: int, turns: int) -> bool:
    threads, narrow = max(_before if _inside else _counts(), default=1), min(m, n)
    flop = 2.0 * m * n * narrow / turns
    return flop * threads <= LITTLE and narrow * threads <= NARROW


@cache
def _libraries() -> list[Any]:
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit BLAS from the first to come in until the last has gone out.

    How many threads there are is the process's; callers may be threads of it.
    """
    with _lock:
        if not _inside:
            _before[:] = _counts()
            _set([1] * len(_before))
        _inside.append(threading.get_ident())
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
            if not _inside:
                _set(_before)


@contextmanager
def _all_threads() -> Iterator[None]:
    """Lift the limit for a while, if there is one."""
    with _lock:
        if _inside:
            _set(_before)
    try:
        yield
    finally:
        with _lock:
            if _inside:
                _set([1] * len(_before))


def _counts() -> list[int]:
    return [library.get_num_threads() for library in _libraries()]


def _set(counts: list[int]) -> None:
    for library, count in zip(_libraries(), counts, strict=True):
        library.set_num_threads(count)
