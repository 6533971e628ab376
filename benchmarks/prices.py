"""The prices of a plan, fitted to timings: ``python -m benchmarks.prices RECORD``.

What is fitted is what one operation of each kind takes, none less than nothing, so that
what is planned for each case is near what was measured, relative to it.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls
from tabulate import tabulate

from jaxridge.costs import Sizes, candidates
from jaxridge.devices import EACH, TILE, Work, seconds_of

ROUNDS = 50
FLAT = 0.05  # relative errors below this count as their square, not as their size


class Timed(NamedTuple):
    """A route at some sizes: what it does, and the seconds that it took."""

    asked: str
    dtype: str
    sizes: tuple[int, ...]
    sharing: str
    work: Work
    seconds: float

    @property
    def planned(self) -> float:
        """The seconds that a plan names."""
        return seconds_of(self.work, EACH["cpu", self.dtype])


def timed(record: dict[str, Any]) -> list[Timed]:
    """Return the cases of a record that forced a route."""
    found = []
    for case in record["benchmarks"]:
        what = case["extra_info"].get("route")
        if what and "sharing" in what:
            dtype = what["dtype"]
            sizes = Sizes(*what["sizes"], np.dtype(dtype).itemsize)
            for one in candidates(sizes, dtype, what["asked"], TILE["cpu"]):
                if one.route.sharing == what["sharing"]:
                    given = what["asked"], dtype, tuple(what["sizes"])
                    seconds = case["stats"]["median"]
                    found.append(Timed(*given, what["sharing"], one.work, seconds))
    return found


def fitted(cases: list[Timed]) -> Work:
    """Return prices with a small sum of relative errors, by reweighted squares."""
    shares = np.array([case.work for case in cases])
    shares /= np.array([[case.seconds] for case in cases])
    unit = np.where(shares.any(axis=0), shares.max(axis=0), 1)
    weight = np.ones(len(cases))
    for _ in range(ROUNDS):
        prices, _ = nnls(shares / unit * weight[:, None], weight)
        errors = np.abs(shares / unit @ prices - 1)
        weight = 1 / np.sqrt(np.maximum(errors, FLAT))
    return Work(*(prices / unit))


def errors(cases: list[Timed], each: Work) -> np.ndarray:
    """Return the relative errors of what these prices plan."""
    return np.array([abs(seconds_of(c.work, each) / c.seconds - 1) for c in cases])


class Switch(NamedTuple):
    """The route that a plan takes at some sizes, beside the fastest one measured."""

    taken: Timed
    fastest: Timed

    @property
    def slower(self) -> float:
        """How many times longer the route takes that is taken."""
        return self.taken.seconds / self.fastest.seconds


def switches(cases: list[Timed]) -> list[Switch]:
    """Return what the plan takes at all sizes that have more than one route."""
    found = []
    for what in dict.fromkeys((c.asked, c.dtype, c.sizes) for c in cases):
        mine = [c for c in cases if (c.asked, c.dtype, c.sizes) == what]
        if len(mine) > 1:
            taken = min(mine, key=lambda one: one.planned)
            found.append(Switch(taken, min(mine, key=lambda one: one.seconds)))
    return found


def switch_table(found: list[Switch], style: str = "simple") -> str:
    """Return the sizes, the routes taken and fastest, and their seconds."""
    rows = [
        (
            *one.taken.sizes,
            one.taken.dtype,
            one.taken.sharing,
            one.taken.planned,
            one.taken.seconds,
            "" if one.slower == 1 else one.fastest.sharing,
            one.slower,
        )
        for one in found
    ]
    headers = ["m", "n", "t", "L", "k", "dtype", "route planned", "planned s"]
    headers += ["measured s", "fastest, if another", "times as long"]
    formats = (*[""] * 7, ".3g", ".3g", "", ".2f")
    return tabulate(rows, headers, floatfmt=formats, tablefmt=style)


def in_words(cases: list[Timed]) -> str:
    """Say how far plans are from what was measured, and what that costs."""
    far = np.median([abs(case.planned / case.seconds - 1) for case in cases])
    slower = [one.slower for one in switches(cases)]
    return (
        f"What the plan says of {len(cases)} timings is off by {far:.0%} in the "
        f"median. At {len(slower)} sizes it takes the fastest route "
        f"{slower.count(1)} times; all in all its routes take "
        f"{np.mean(slower) - 1:.0%} longer, and at worst {max(slower):.2f} times as "
        "long."
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m benchmarks.prices RECORD, of test_routes.py")
    cases = timed(json.loads(Path(sys.argv[1]).read_text()))
    for dtype in ("float64", "float32"):
        mine = [case for case in cases if case.dtype == dtype]
        each = fitted(mine)
        print(f'    ("cpu", "{dtype}"): Work(')
        for name, price in each._asdict().items():
            print(f"        {name}={price:.2g},")
        print("    ),")
        before = np.median(errors(mine, EACH["cpu", dtype]))
        after = np.median(errors(mine, each))
        print(f"# {len(mine)} cases, median error {before:.0%} before, {after:.0%} now")
