"""A run that Ctrl-C ends, wherever it meets it."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Give a function that stops a run whose Ctrl-C came where Python drops it.

    An exception in a callback, such as JAX's of the garbage collector, is printed and
    forgotten, and the run would go on.
    """
    pressed = []

    def interrupt(*_: object) -> None:
        pressed.append(True)
        raise KeyboardInterrupt

    def stop_if_pressed() -> None:
        if pressed:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if (
        threading.current_thread() is not threading.main_thread()
        or before in (None, signal.SIG_IGN)  # of a run in the background, say
    ):
        yield stop_if_pressed  # only the main thread hears of signals
        return
    told = sys.unraisablehook

    def all_but_interrupts(what: Any) -> None:
        """Tell of what Python drops, unless it is that Ctrl-C."""
        if not isinstance(what.exc_value, KeyboardInterrupt):
            told(what)

    sys.unraisablehook = all_but_interrupts
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop_if_pressed
    finally:
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = told
