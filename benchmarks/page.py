"""The page of the committed records: ``python -m benchmarks.page`` writes it anew.

A test compares the page with the records.
"""

import json
from pathlib import Path

from benchmarks.prices import in_words, switch_table, switches, timed
from benchmarks.show import (
    contested,
    coverage,
    growth_picture,
    growth_table,
    growths,
    how_far,
    how_far_bytes,
    picture,
    problems,
    table,
    title,
)
from benchmarks.test_scaling import THEORY

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
INTRODUCTION = """# Benchmarks

This page is written by `python -m benchmarks.page` from the records in
[`records`](records), which name machine and commit. Only what plans expect of the
timings by route is told by the code as it is now, whose prices were fitted to timings
like these.

- `make bench` takes every contender once, in minutes on two cores;
  `make bench-full` takes all rounds, the rivals' slower settings, routes, growth and
  coverage too; `make bench-gpu` larger problems, on the GPU that JAX finds.
- Contenders are called in turn, in one process on the same arrays (but himalaya in 20
  GiB, which has one of its own and no more memory). Times are medians over rounds, or
  of one call, "once"; "range" is from the quickest to the slowest round. "Times
  jaxridge" is how many times as long as ours a contender takes, "times limit" how many
  times as long as the least that it can take; they are medians of ratios within a
  round. What JAX compiles in the first call is apart. So is sending rows to a GPU; on a
  CPU, where all are given NumPy's arrays, it is a part of the seconds too. A rival that
  fails, or is not installed, says so. One that was given a tenth of the penalties has
  its time multiplied by 10, "a tenth × 10".
- In pictures, what is ours is black, and all else grey. m is the number of rows, n of
  columns, t of targets, L of penalties and k of folds.
- The error is the largest relative difference of scores from NumPy in float64 (of a
  sweep, of coefficients from the same steps, relative to the largest; of the estimator,
  of predictions from scikit-learn's, relative to the targets' spread). "Same penalty"
  is the share of targets for which both choose the same.
- "limit" is one product XᵀX (or XXᵀ) by OpenBLAS and one eigendecomposition by LAPACK,
  the least that any exact fit must do; of a sweep, the products of its steps alone, by
  OpenBLAS or on the device. "jaxridge.RidgeCV" is the estimator, which fits all rows
  too.
- Working memory is what the largest of the compiled programs needs beside its
  arguments, and the peak that Python allocates. "Peak" is by how much the memory of the
  process grew within a call, or that of the GPU in the first call.
- Where one size is changed alone, the exponent is the slope of time, or of bytes, over
  it, both in logarithms, in the last decade.
"""


def page(records: Path) -> str:
    """Return the page of all records in a folder, as Markdown."""
    found = sorted(records.glob("*.json"), key=lambda path: path.stem)
    return "\n".join([INTRODUCTION, *map(_section, found)])


def _section(path: Path) -> str:
    record = json.loads(path.read_text())
    machine, commit = record["machine_info"], record["commit_info"]
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    parts = [
        f"## {path.stem}",
        f"{machine['cores']} cores of {machine['cpu']}, {machine['platform']}, device "
        f"{machine['device']}; Python {machine['python']}, {versions}; commit "
        f"{commit['id'][:7]}, {record['datetime'][:10]}.",
    ]
    for name, problem in problems(record).items():
        what = title(record, problem).split(";")[0]
        parts += [f"**{what}**", table(record, name, "github")]
    if any("coverage" in case["extra_info"] for case in record["benchmarks"]):
        parts.append(coverage(record, "github"))
    found = growths(record)
    for growth in found:
        seconds, size = THEORY[growth.axis]
        parts += [
            f"**{growth.axis} alone; exponent of seconds {growth.exponent:.2f}, theory "
            f"at most {seconds}; of bytes {growth.exponent_of_bytes:.2f}, at most "
            f"{size}**",
            growth_table(growth, "github"),
        ]
    if found:
        parts.append(
            f"What the plan says of seconds is off by {how_far(found):.0%} in the "
            f"median, and of bytes by {how_far_bytes(found):.0%}."
        )
    routes = timed(record)
    if routes:
        parts += [switch_table(switches(routes), "github"), in_words(routes)]
    parts += _largest_errors(record)
    if path.with_suffix(".png").exists():
        parts.append(f"![what was measured](records/{path.stem}.png)")
    return "\n\n".join(parts) + "\n"


def _largest_errors(record: dict) -> list[str]:
    """Say how far routes, and all along a size that grew, are from float64."""
    found: dict[str, float] = {}
    for case in record["benchmarks"]:
        for kind in ("route", "scaling"):
            told = case["extra_info"].get(kind)
            if isinstance(told, dict) and "error_against_float64" in told:
                dtype = told.get("dtype") or told["route"].split(", ")[-1]
                error = told["error_against_float64"]
                found[dtype] = max(error, found.get(dtype, 0.0))
    listed = ", ".join(f"{error:.1e} of {dtype}" for dtype, error in found.items())
    return [f"The largest error of all these is {listed} rows."] if found else []


if __name__ == "__main__":
    for path in sorted((HERE / "records").glob("*.json")):
        record = json.loads(path.read_text())
        if contested(record):
            picture(record, path.with_suffix(".png"))
        if growths(record):
            growth_picture(growths(record), path.with_suffix(".png"))
    PAGE.write_text(page(HERE / "records"))
    print(f"wrote {PAGE}")
