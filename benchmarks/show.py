"""Print the table of a benchmark record, and draw it: ``python -m benchmarks.show``."""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure
from tabulate import tabulate


def table(record: dict) -> str:
    """Return the contenders of a record, slowest first, with ratios to the slowest."""
    cases = sorted(record["benchmarks"], key=lambda case: -case["stats"]["median"])
    slowest = cases[0]["stats"]["median"]
    rows = [
        (
            case["extra_info"]["contender"],
            case["stats"]["median"],
            case["stats"]["iqr"],
            slowest / case["stats"]["median"],
            case["extra_info"]["compile_seconds"],
            case["extra_info"]["error_against_float64"],
        )
        for case in cases
    ]
    headers = ["", "seconds", "spread", "times faster", "compiling", "error"]
    formats = ("", ".3f", ".3f", ".1f", ".2f", ".1e")
    return tabulate(rows, headers, floatfmt=formats)


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
    cases = sorted(record["benchmarks"], key=lambda case: case["stats"]["median"])
    names = [case["extra_info"]["contender"] for case in cases]
    seconds = [case["stats"]["median"] for case in cases]
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
