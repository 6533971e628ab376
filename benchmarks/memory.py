"""Memory of a call: what its programs and NumPy ask for, and what a process takes."""

import ctypes
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

from jaxridge import accelerator
from jaxridge.programs import options_for


def working_bytes(call: Callable[[], Any]) -> float:
    """Return the most bytes that one program takes, and the peak that Python traces.

    The first is what XLA's memory analysis says of temporaries, of the largest of the
    programs that the call runs: they run one after the other.
    """
    taken = [0]
    with Watched(taken):
        call()
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(max(taken) + peak)


class Peak:
    """The most memory that a call takes, beyond what was held before it.

    On a CPU what is resident in this process, of whatever contender, in the last of the
    calls that were watched; Linux alone tells it. On a GPU the device's, of a process's
    whole life: the first call counts, if none before it has taken more.
    """

    def __init__(self) -> None:
        self.bytes: float | None = None

    def watched(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """Return the same call, whose peak is put down when it is over."""

        def watched() -> Any:
            forgotten = _forget_peak()
            held, before = taken()
            answer = call()
            most = taken()[1]
            if forgotten or most > before:
                self.bytes = float(most - held)
            return answer

        return watched


def taken() -> tuple[int, int]:
    """Return the bytes held, and the most held so far, or 0 where nobody tells."""
    stats = jax.devices()[0].memory_stats()
    if stats:
        return stats["bytes_in_use"], stats["peak_bytes_in_use"]
    if not STATUS.exists():
        return 0, 0
    told = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    held, most = (int(told[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return held, most


STATUS = Path("/proc/self/status")


def _forget_peak() -> bool:
    """Have Linux count a process's peak anew, and glibc give back what is free."""
    if jax.devices()[0].memory_stats():
        return False
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        STATUS.with_name("clear_refs").write_text("5")
        return True
    return False


class Watched:
    """Ask every compiled function of the package what it needs, when it is called."""

    def __init__(self, taken: list[int]) -> None:
        self.taken = taken
        self.before: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> None:
        for name, module in list(sys.modules.items()):
            if name.startswith("jaxridge"):
                for attribute, value in list(vars(module).items()):
                    if callable(value) and hasattr(value, "lower"):
                        self.before.append((module, attribute, value))
                        setattr(module, attribute, self._asking(value))

    def __exit__(self, *_: Any) -> None:
        for module, attribute, value in self.before:
            setattr(module, attribute, value)

    def _asking(self, compiled: Any) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            program = compiled.lower(*args, **options)
            how = None if accelerator.is_used() else options_for(soon=False)
            analysis = program.compile(compiler_options=how).memory_analysis()
            self.taken.append(analysis.temp_size_in_bytes)
            return compiled(*args, **options)

        return call
