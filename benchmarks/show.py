"""Print tables of benchmark records, and draw them: ``python -m benchmarks.show``."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from tabulate import tabulate

OWN = ("jaxridge", "vmapped")  # how names of what is ours begin


class Contender(NamedTuple):
    """What a record says of one contender at one problem, over all its rounds."""

    name: str
    seconds: np.ndarray  # the median of each round
    compiling: float
    error: float | None
    same_penalty: float | None
    working_bytes: float | None
    peak_bytes: float | None
    transfer_seconds: float | None
    route: str | None
    failed: str | None


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


TOLD = (
    "compile_seconds",
    "error_against_float64",
    "same_penalty",
    "working_bytes",
    "peak_bytes",
    "transfer_seconds",
    "route",
    "failed",
)


class Growth(NamedTuple):
    """How a call took longer, and more memory, as one of its sizes grew."""

    axis: str
    values: np.ndarray
    seconds: np.ndarray
    predicted: np.ndarray
    working_bytes: np.ndarray
    predicted_bytes: np.ndarray
    routes: list[str]

    @property
    def exponent(self) -> float:
        """The slope of log seconds over log value, of the last decade."""
        return self._slope(self.seconds)

    @property
    def exponent_of_bytes(self) -> float:
        """The slope of the logarithm of working bytes."""
        return self._slope(self.working_bytes)

    def _slope(self, cost: np.ndarray) -> float:
        late = self.values >= self.values[-1] / 10
        slope, _ = np.polyfit(*np.log((self.values[late], cost[late])), 1)
        return float(slope)


def growths(record: dict) -> list[Growth]:
    """Return what a record says of each size that was swept."""
    found: dict[str, list[dict]] = {}
    for case in record["benchmarks"]:
        scaling = case["extra_info"].get("scaling")
        if scaling:
            seconds = {"seconds": case["stats"]["median"]}
            found.setdefault(scaling["axis"], []).append(scaling | seconds)
    keys = ("value", "seconds", "predicted_seconds", "working_bytes", "predicted_bytes")
    return [
        Growth(
            axis,
            *(np.array([case[key] for case in cases]) for key in keys),
            [case["route"] for case in cases],
        )
        for axis, cases in found.items()
    ]


def how_far_bytes(found: list[Growth]) -> float:
    """Return the median relative error of what was planned to be held."""
    ratios = np.concatenate([one.predicted_bytes / one.working_bytes for one in found])
    return float(np.median(np.abs(ratios - 1)))


def growth_table(growth: Growth, style: str = "simple") -> str:
    """Return the values of one size, and what they cost, measured and predicted."""
    rows = [
        (int(value), seconds, predicted, predicted / seconds, size / 1e6, said / 1e6, r)
        for value, seconds, predicted, size, said, r in zip(*growth[1:], strict=True)
    ]
    headers = [growth.axis, "seconds", "planned", "planned / measured"]
    headers += ["working MB", "planned MB", "route"]
    formats = ("", ".3g", ".3g", ".2f", ".3g", ".3g", "")
    return tabulate(rows, headers, floatfmt=formats, tablefmt=style)


def how_far(found: list[Growth]) -> float:
    """Return the median of |planned / measured − 1| over all that was swept."""
    ratios = [growth.predicted / growth.seconds for growth in found]
    return float(np.median(np.abs(np.concatenate(ratios) - 1)))


def growth_picture(found: list[Growth], path: Path) -> None:
    """Draw seconds and bytes over each size that was swept, measured and planned."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    grid = figure.subplots(2, len(found), sharex="col", sharey="row", squeeze=False)
    for (above, below), growth in zip(grid.T, found, strict=True):
        _measured_and_planned(above, growth, growth.seconds, growth.predicted)
        sizes = growth.working_bytes / 1e6, growth.predicted_bytes / 1e6
        _measured_and_planned(below, growth, *sizes)
        above.set_title(f"exponent {growth.exponent:.2f}", fontsize="small")
        below.set_title(f"exponent {growth.exponent_of_bytes:.2f}", fontsize="small")
        below.set_xlabel(growth.axis)
    grid[0, 0].set_ylabel("seconds")
    grid[1, 0].set_ylabel("working MB")
    grid[0, 0].legend(fontsize="small")
    figure.savefig(path, dpi=110)


def _measured_and_planned(
    ax: Axes, growth: Growth, measured: np.ndarray, planned: np.ndarray
) -> None:
    ax.plot(growth.values, measured, "o-", color="0.1", label="measured")
    ax.plot(growth.values, planned, "s--", color="0.5", label="planned")
    ax.set(xscale="log", yscale="log")


def contenders(record: dict, problem: str) -> list[Contender]:
    """Return the contenders at a problem, slowest first."""
    rounds: dict[str, list[dict]] = {}
    for case in _timed(record):
        if case["extra_info"]["problem"]["name"] == problem:
            rounds.setdefault(case["extra_info"]["contender"], []).append(case)
    found = [
        Contender(
            name,
            np.array([_seconds(case) for case in cases]),
            *(cases[0]["extra_info"].get(key) for key in TOLD),
        )
        for name, cases in rounds.items()
    ]
    return sorted(found, key=lambda one: -np.median(one.seconds))


def _seconds(case: dict) -> float:
    """Return the median of a case, scaled up if a part of the work was timed."""
    return case["stats"]["median"] * case["extra_info"].get("part_of", 1)


def table(record: dict, problem: str, style: str = "simple") -> str:
    """Return medians over rounds, and their ratio to our own and to the limit.

    A ratio is taken within a round, so that a machine that slows down between rounds
    does not count for or against anyone; a contender timed once is compared with all
    rounds of the others.
    """
    everyone = contenders(record, problem)
    found = [one for one in everyone if one.failed is None]
    measures = [one for one in found if one.name.startswith((*OWN, "limit"))]
    rows = [
        (
            one.name,
            f"{np.median(one.seconds):.4g}",
            f"{np.ptp(one.seconds):.2g}" if len(one.seconds) > 1 else "once",
            *("" if one is other else _ratio(one, other) for other in measures),
            one.compiling,
            "" if one.error is None else f"{one.error:.1e}",
            *_if_known(found, one),
        )
        for one in found
    ]
    headers = ["", "seconds", "range"]
    headers += [f"times {other.name}" for other in measures]
    headers += ["compiling", "error", *(heading for heading, _ in _known(found))]
    for one in everyone:
        if one.failed is not None:
            rows.append((one.name, one.failed, *[""] * (len(headers) - 2)))
    formats = ("", "", "", *[".3g"] * len(measures), ".2f", "")
    formats += tuple(style for _, style in _known(found))
    width = 14 if style == "simple" else None  # Markdown has no headers of many lines
    how = {"floatfmt": formats, "tablefmt": style, "maxheadercolwidths": width}
    return tabulate(rows, headers, **how)


def _known(found: list[Contender]) -> list[tuple[str, str]]:
    """Return headings, and formats, of what is told of some contender."""
    known = []
    if any(one.working_bytes for one in found):
        known += [("same penalty", ""), ("working MB", ".3g")]
    if any(one.peak_bytes for one in found):
        known += [("peak MB", ".3g")]
    if any(one.transfer_seconds for one in found):
        known += [("sending", ".2g"), ("route", "")]
    return known


def _if_known(found: list[Contender], one: Contender) -> list[Any]:
    same = one.same_penalty
    told = {
        "same penalty": "" if same is None or np.isnan(same) else f"{same:.2%}",
        "working MB": _mega(one.working_bytes),
        "peak MB": _mega(one.peak_bytes),
        "sending": "" if one.transfer_seconds is None else one.transfer_seconds,
        "route": one.route or "",
    }
    return [told[heading] for heading, _ in _known(found)]


def _mega(size: float | None) -> float | str:
    return "" if size is None else size / 1e6


def _ratio(one: Contender, other: Contender) -> float:
    rounds = {len(one.seconds), len(other.seconds)} - {1}
    if len(rounds) > 1:  # not in turns
        return float(np.median(one.seconds) / np.median(other.seconds))
    return float(np.median(one.seconds / other.seconds))


def title(record: dict, problem: dict[str, Any]) -> str:
    """Return the problem and the machine in a line."""
    machine = record["machine_info"]
    what = [f"{problem['n_samples']} × {problem['n_features']} {problem['dtype']}"]
    if problem.get("n_targets", 1) > 1:
        what.append(f"{problem['n_targets']} targets")
    if problem.get("condition", 1) > 1:
        what.append(f"condition {problem['condition']:g}")
    what.append(f"{problem['n_lams']} penalties" if problem["n_lams"] else "XᵀX")
    if problem.get("asked") == "path":
        what.append("coefficients")
    elif "steps" in problem:
        what.append(f"{problem['steps']} steps")
    elif "folds" in problem:
        folds = problem["folds"]
        what.append(f"{folds} folds" if folds else "each row left out")
    where = machine["device"]
    if where == "cpu":
        where = f"{machine['cores']} cores of {machine['cpu']}"
    return f"{', '.join(what)}; {where}"


def picture(record: dict, path: Path) -> None:
    """Draw the seconds of each contender at each problem that has rivals."""
    names = contested(record)
    everyone = [contenders(record, name)[::-1] for name in names]
    heights = [0.7 + 0.2 * len(found) for found in everyone]  # inches
    figure = Figure(figsize=(8, 0.3 + sum(heights)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(names), 1, height_ratios=heights))
    for ax, problem, found in zip(axes, names.values(), everyone, strict=True):
        _points(ax, found)
        ax.set_title(title(record, problem), fontsize="small", loc="right")
    axes[-1].set_xlabel("seconds (median)")
    figure.savefig(path, dpi=110)


def _points(ax: Axes, found: list[Contender]) -> None:
    """Mark medians; a bar on a logarithmic axis would have no honest length."""
    ends = _decades([one for one in found if one.failed is None])
    for place, one in enumerate(found):
        ours = one.name.startswith(OWN)
        seconds = ends[0] if one.failed else np.median(one.seconds)
        if not one.failed:
            ax.plot(seconds, place, "o", color="0.1" if ours else "0.5")
        note = {"xytext": (7, 0), "textcoords": "offset points", "va": "center"}
        ax.annotate(one.failed or f"{seconds:.3g} s", (seconds, place), **note)
    ax.set_yticks(range(len(found)), [one.name for one in found])
    ax.set(xscale="log", ylim=(-0.6, len(found) - 0.4), xlim=ends)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)


def _decades(found: list[Contender]) -> tuple[float, float]:
    """Return whole decades that hold all medians, and the notes beside them."""
    seconds = [np.median(one.seconds) for one in found]
    least, most = np.log10(min(seconds) / 1.2), np.log10(4 * max(seconds))
    return 10 ** np.floor(least), 10 ** np.ceil(most)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        record = json.loads(Path(name).read_text())
        for key, problem in problems(record).items():
            print(title(record, problem), table(record, key), sep="\n\n", end="\n\n")
        if any("coverage" in case["extra_info"] for case in record["benchmarks"]):
            print(coverage(record), end="\n\n")
        for growth in growths(record):
            print(growth_table(growth), f"exponent {growth.exponent:.2f}", sep="\n")
        if contested(record):
            picture(record, Path(name).with_suffix(".png"))
            print(f"wrote {Path(name).with_suffix('.png')}")
