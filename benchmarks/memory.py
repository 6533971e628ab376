"""Working memory of a call: what compiled programs need, and what NumPy allocates."""

import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

from jaxridge import accelerator
from jaxridge.programs import options_for


def working_bytes(call: Callable[[], Any]) -> float:
    """Return the most bytes that one program takes, and the peak that Python traces.

    The first is what XLA's memory analysis says of temporaries, of the largest of the
    programs that the call runs: they run one after the other.
    """
    taken = [0]
    with _Watched(taken):
        call()
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(max(taken) + peak)


class _Watched:
    """Ask every compiled function of the package what it needs, when it is called."""

    def __init__(self, taken: list[int]) -> None:
        self.taken = taken
        self.before: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> None:
        for name, module in list(sys.modules.items()):
            if name.startswith("jaxridge"):
                for attribute, value in list(vars(module).items()):
                    if hasattr(value, "lower") and hasattr(value, "trace"):
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
