"""A table file in, a chosen λ and its files out: what ``jaxridge fit`` does.

`fit_table` yields the lines to show as they become known, so that a long run speaks
before it ends.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from jaxridge.account import describe_device, describe_target
from jaxridge.files import refuse_overwriting, refuse_unwritable
from jaxridge.in_memory import fit_in_memory
from jaxridge.outputs import WRITTEN, result_of, write_all
from jaxridge.request import Request
from jaxridge.stream import fit_in_passes, is_too_large


def fit_table(request: Request) -> Iterator[str]:
    """Choose λ for a table, fit it, write the files, and say what was done."""
    refuse_unwritable(request.out, WRITTEN)
    refuse_overwriting(
        [request.out / name for name in WRITTEN],
        {"DATA": request.data, "--test": request.test},
    )
    started = time.perf_counter()
    compiling = _compile_seconds()
    _refuse_contradictions(request)
    _refuse_own_rows(request)
    yield describe_device()
    way = fit_in_passes if is_too_large(request) else fit_in_memory
    fit = yield from way(request)
    targets = fit.encoding.targets
    each = zip(targets, fit.found.of_each_target(), fit.errors, strict=True)
    for name, found, error in each:
        if len(targets) > 1:
            yield f"\n--- target {name!r}"
        yield from describe_target(request, fit.trial, fit.encoding, found, error)
    seconds = {"read": fit.read_seconds, "compile": compiling()}
    seconds["total"] = time.perf_counter() - started
    yield from write_all(fit, result_of(fit, seconds))


def _refuse_contradictions(request: Request) -> None:
    if isinstance(request.cv, str) and (request.group or request.in_time):
        raise ValueError(
            f"--group and --time-ordered make folds, and --cv {request.cv} has none: "
            "pass a number of folds as --cv"
        )
    ends = {
        f"{name}_{end}": name for name in request.targets for end in ("lower", "upper")
    }
    clash = [name for name in request.targets if name in ends]
    if clash and request.interval is not None:
        raise ValueError(
            f"--target {clash[0]} is what the end of {ends[clash[0]]!r}'s intervals "
            "would be called: rename that column, or fit it apart"
        )
    if request.group and request.in_time:
        raise ValueError("--group and --time-ordered exclude each other: pass one")
    if request.cv in ("gcv", "evidence") and request.rule == "1se":
        raise ValueError(
            f"--rule 1se needs a standard error, and --cv {request.cv} has none: pass "
            "--cv loo or a number of folds, or --rule min"
        )
    if isinstance(request.cv, str) and request.method == "descent":
        raise ValueError(
            f"--method descent needs folds, and --cv {request.cv} has none: pass a "
            "number of folds as --cv"
        )


def _refuse_own_rows(request: Request) -> None:
    if request.data is None or request.test is None:
        return
    test = Path(str(request.test))
    if test.exists() and request.data.exists() and test.samefile(request.data):
        raise ValueError(
            f"--test {test} is DATA itself, whose rows choose lambda: name other rows, "
            "or a share such as 0.2"
        )


def _compile_seconds() -> Any:
    """Start adding up what JAX spends on compiling; return a function that tells."""
    spent: list[float] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            spent.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return lambda: sum(spent)
