"""Print the table of a benchmark record, and draw it: ``python -m benchmarks.show``."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate


class Contender(NamedTuple):
    """What a record says of one contender, over all its rounds."""

    name: str
    seconds: np.ndarray  # the median of each round
    compiling: float
    error: float


def contenders(record: dict) -> list[Contender]:
    """Return the contenders of a record, slowest first."""
    rounds: dict[str, list[dict]] = {}
    for case in record["benchmarks"]:
        rounds.setdefault(case["extra_info"]["contender"], []).append(case)
    found = [
        Contender(
            name,
            np.array([case["stats"]["median"] for case in cases]),
            cases[0]["extra_info"]["compile_seconds"],
            cases[0]["extra_info"]["error_against_float64"],
        )
        for name, cases in rounds.items()
    ]
    return sorted(found, key=lambda one: -np.median(one.seconds))


def table(record: dict) -> str:
    """Return medians over rounds, and the median ratio to every slower contender.

    A ratio is taken within a round, so that a machine that slows down between rounds
    does not count for or against anyone.
    """
    found = contenders(record)
    rows = [
        (
            one.name,
            np.median(one.seconds),
            np.ptp(one.seconds),
            *(_ratio(other, one) for other in found[:-1]),
            one.compiling,
            one.error,
        )
        for one in found
    ]
    headers = ["", "seconds", "range"]
    headers += [f"times faster than {other.name}" for other in found[:-1]]
    headers += ["compiling", "error"]
    formats = ("", ".3f", ".3f", *[".1f"] * (len(found) - 1), ".2f", ".1e")
    return tabulate(rows, headers, floatfmt=formats, maxheadercolwidths=14)


def _ratio(slow: Contender, fast: Contender) -> float | str:
    if slow is fast or np.median(slow.seconds) < np.median(fast.seconds):
        return ""
    return float(np.median(slow.seconds / fast.seconds))


def title(record: dict) -> str:
    """Return the problem and the machine in a line."""
    problem = record["benchmarks"][0]["extra_info"]["problem"]
    machine = record["machine_info"]
    return (
        f"{problem['n_lams']} penalties × {problem['steps']} steps, "
        f"{problem['n_samples']} × {problem['n_features']} {problem['dtype']}, "
        f"{machine['cores']} cores of {machine['cpu']}"
    )


def picture(record: dict, path: Path) -> None:
    """Draw the seconds of each contender."""
    found = contenders(record)[::-1]
    names = [one.name for one in found]
    seconds = [np.median(one.seconds) for one in found]
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    ax = figure.subplots()
    bars = ax.barh(names, seconds, color="0.55")
    ax.bar_label(bars, [f" {s:.3g} s" for s in seconds])
    ax.set(xscale="log", xlabel="seconds (median)")
    ax.set_title(title(record), fontsize="medium")
    ax.margins(x=0.15)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        found = json.loads(Path(name).read_text())
        print(title(found), table(found), sep="\n\n")
        picture(found, Path(name).with_suffix(".png"))
        print(f"\nwrote {Path(name).with_suffix('.png')}")
