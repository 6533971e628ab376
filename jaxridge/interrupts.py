"""A run that Ctrl-C ends, wherever it meets it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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

    if threading.current_thread() is not threading.main_thread():
        yield stop_if_pressed  # only the main thread hears of signals
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop_if_pressed
    finally:
        signal.signal(signal.SIGINT, before)
