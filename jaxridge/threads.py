"""One thread for BLAS where there is little to multiply at a time.

After a product the threads of OpenBLAS spin for some milliseconds in wait of the next
one. XLA has threads of its own, and NumPy and SciPy (whose LAPACK XLA calls) a BLAS
each: where they take turns, they take the cores from each other for longer than they
work. Up to some size one thread is faster than two; the more threads there are, the
less that size.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import scipy.linalg  # noqa: F401 (loads the BLAS that XLA calls)
from threadpoolctl import ThreadpoolController

LITTLE = 4e9  # FLOP of a turn times threads, below which one thread is faster
NARROW = 1000  # rows or columns, whichever is less, times threads, likewise
LEAST = 1e4  # numbers, below which BLAS itself takes one thread

_lock = threading.Lock()
_inside = 0  # contexts, of all threads
_limited: list[tuple[Any, int]] = []  # libraries, and the threads that they had


def few_for(m: int, n: int, turns: int = 1) -> AbstractContextManager[None]:
    """Return a context in which BLAS has one thread, if m × n numbers are few.

    `turns` is how often BLAS and XLA alternate on them.
    """
    few = m * n > LEAST and _is_little(m, n, turns)
    return _one_thread() if few else nullcontext()


def all_for(m: int, n: int) -> AbstractContextManager[None]:
    """Return a context, inside such a one, for a single product that is not little."""
    return nullcontext() if _is_little(m, n, 1) else _all_threads()


def _is_little(m: int, n: int, turns: int) -> bool:
    known = _limited if _inside else _counts()
    threads, narrow = max((count for _, count in known), default=1), min(m, n)
    flop = 2.0 * m * n * narrow / turns
    return flop * threads <= LITTLE and narrow * threads <= NARROW


@cache
def _libraries() -> list[Any]:
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit BLAS from the first to come in until the last has gone out.

    How many threads there are is the process's; callers may be threads of it. A library
    that somebody else has limited already is left to them.
    """
    global _inside
    with _lock:
        if not _inside:
            _limited[:] = [(each, count) for each, count in _counts() if count > 1]
            _set((each, 1) for each, _ in _limited)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _set(_limited)


@contextmanager
def _all_threads() -> Iterator[None]:
    """Lift the limit for a while, if there is one."""
    with _lock:
        if _inside:
            _set(_limited)
    try:
        yield
    finally:
        with _lock:
            if _inside:
                _set((each, 1) for each, _ in _limited)


def _counts() -> list[tuple[Any, int]]:
    return [(each, each.get_num_threads()) for each in _libraries()]


def _set(counts: Iterable[tuple[Any, int]]) -> None:
    for library, count in counts:
        library.set_num_threads(count)
        # Newer versions let only one thread at a time do so, and keep that thread: the
        # last of ours to go out may be another.
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread()
