"""Print tables of benchmark records, and draw them: ``python -m benchmarks.show``."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tabulate import tabulate


class Contender(NamedTuple):
    """What a record says of one contender at one problem, over all its rounds."""

    name: str
    seconds: np.ndarray  # the median of each round
    compiling: float
    error: float | None
    same_penalty: float | None
    working_bytes: float | None


def problems(record: dict) -> dict[str, dict[str, Any]]:
    """Return the problems of a record by name, in the order of the record."""
    found: dict[str, dict[str, Any]] = {}
    for case in _timed(record):
        problem = case["extra_info"]["problem"]
        found.setdefault(problem["name"], problem)
    return found


def contested(record: dict) -> dict[str, dict[str, Any]]:
    """Return the problems that more than one contender was timed at."""
    found = problems(record).items()
    return {name: what for name, what in found if len(contenders(record, name)) > 1}


def _timed(record: dict) -> list[dict]:
    """Return the cases of contenders at a problem; others count coverage."""
    return [c for c in record["benchmarks"] if "problem" in c["extra_info"]]


def coverage(record: dict, style: str = "simple") -> str:
    """Return a table of what share of new rows intervals held, if that was counted."""
    cases = [c["extra_info"].get("coverage") for c in record["benchmarks"]]
    rows = [
        (c["set"], c["splits"], *(f"{c[m]:.1%}" for m in ("jackknife+", "posterior")))
        for c in cases
        if c
    ]
    headers = ["share held at 90 %", "splits", "jackknife+", "posterior"]
    return tabulate(rows, headers, tablefmt=style)


def contenders(record: dict, problem: str) -> list[Contender]:
    """Return the contenders at a problem, slowest first."""
    rounds: dict[str, list[dict]] = {}
    for case in _timed(record):
        if case["extra_info"]["problem"]["name"] == problem:
            rounds.setdefault(case["extra_info"]["contender"], []).append(case)
    found = [
        Contender(
            name,
            np.array([case["stats"]["median"] for case in cases]),
            *(
                cases[0]["extra_info"].get(key)
                for key in (
                    "compile_seconds",
                    "error_against_float64",
                    "same_penalty",
                    "working_bytes",
                )
            ),
        )
        for name, cases in rounds.items()
    ]
    return sorted(found, key=lambda one: -np.median(one.seconds))


def table(record: dict, problem: str, style: str = "simple") -> str:
    """Return medians over rounds, and the median ratio to every slower contender.

    A ratio is taken within a round, so that a machine that slows down between rounds
    does not count for or against anyone; a contender timed once is compared with all
    rounds of the others.
    """
    found = contenders(record, problem)
    rows = [
        (
            one.name,
            np.median(one.seconds),
            np.ptp(one.seconds),
            *(_ratio(other, one) for other in found[:-1]),
            one.compiling,
            "" if one.error is None else f"{one.error:.1e}",
            *_if_known(found, one),
        )
        for one in found
    ]
    headers = ["", "seconds", "range"]
    headers += [f"times faster than {other.name}" for other in found[:-1]]
    headers += ["compiling", "error"]
    if any(one.working_bytes for one in found):
        headers += ["same penalty", "working MB"]
    formats = ("", ".4g", ".2g", *[".3g"] * (len(found) - 1), ".2f", "", ".2%", ".3g")
    width = 14 if style == "simple" else None  # Markdown has no headers of many lines
    how = {"floatfmt": formats, "tablefmt": style, "maxheadercolwidths": width}
    return tabulate(rows, headers, **how)


def _if_known(found: list[Contender], one: Contender) -> list[Any]:
    if not any(other.working_bytes for other in found):
        return []
    same = one.same_penalty
    size = one.working_bytes
    return [
        "" if same is None or np.isnan(same) else f"{same:.2%}",
        "" if size is None else size / 1e6,
    ]


def _ratio(slow: Contender, fast: Contender) -> float | str:
    if slow is fast or np.median(slow.seconds) < np.median(fast.seconds):
        return ""
    return float(np.median(slow.seconds / fast.seconds))


def title(record: dict, problem: dict[str, Any]) -> str:
    """Return the problem and the machine in a line."""
    machine = record["machine_info"]
    what = [f"{problem['n_samples']} × {problem['n_features']} {problem['dtype']}"]
    if problem.get("n_targets", 1) > 1:
        what.append(f"{problem['n_targets']} targets")
    what.append(f"{problem['n_lams']} penalties")
    if "steps" in problem:
        what.append(f"{problem['steps']} steps")
    if "folds" in problem:
        folds = problem["folds"]
        what.append(f"{folds} folds" if folds else "each row left out")
    return f"{', '.join(what)}; {machine['cores']} cores of {machine['cpu']}"


def picture(record: dict, path: Path) -> None:
    """Draw the seconds of each contender at each problem that has rivals."""
    names = contested(record)
    figure = Figure(figsize=(8, 1 + 1.5 * len(names)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(names), 1))
    for ax, (name, problem) in zip(axes, names.items(), strict=True):
        _points(ax, contenders(record, name)[::-1])
        ax.set_title(title(record, problem), fontsize="small")
    axes[-1].set_xlabel("seconds (median)")
    figure.savefig(path, dpi=110)


def _points(ax: Axes, found: list[Contender]) -> None:
    """Mark medians; a bar on a logarithmic axis would have no honest length."""
    for place, one in enumerate(found):
        ours = one.name.startswith(("jaxridge", "vmapped"))
        seconds = np.median(one.seconds)
        ax.plot(seconds, place, "o", color="0.1" if ours else "0.5")
        note = {"xytext": (7, 0), "textcoords": "offset points", "va": "center"}
        ax.annotate(f"{seconds:.3g} s", (seconds, place), **note)
    ax.set_yticks(range(len(found)), [one.name for one in found])
    ax.set(xscale="log", ylim=(-0.6, len(found) - 0.4))
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
    ax.margins(x=0.2)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        record = json.loads(Path(name).read_text())
        for key, problem in problems(record).items():
            print(title(record, problem), table(record, key), sep="\n\n", end="\n\n")
        if any("coverage" in case["extra_info"] for case in record["benchmarks"]):
            print(coverage(record), end="\n\n")
        if contested(record):
            picture(record, Path(name).with_suffix(".png"))
            print(f"wrote {Path(name).with_suffix('.png')}")
