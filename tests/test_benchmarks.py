"""The page of benchmarks says what the committed records say."""

import json

import numpy as np

import jaxridge
from benchmarks.memory import Watched
from benchmarks.page import HERE, PAGE, page
from benchmarks.prices import (
    errors,
    fitted,
    in_words,
    switch_table,
    switches,
    timed,
)
from benchmarks.rivals import failure_of
from benchmarks.show import Growth, growths, how_far, table
from jaxridge import paths
from jaxridge.costs import Sizes, candidates
from jaxridge.devices import EACH, TILE, seconds_of


def test_the_page_is_that_of_the_records():
    assert PAGE.read_text() == page(HERE / "records")


def test_records_are_of_clean_trees_and_name_the_machine():
    for path in (HERE / "records").glob("*.json"):
        record = json.loads(path.read_text())
        commit = record["commit_info"]
        assert not commit["dirty"] and int(commit["id"], 16), path
        assert record["machine_info"]["cpu"] and record["machine_info"]["versions"]


def test_programs_of_the_package_are_asked_for_their_memory():
    taken: list[int] = []
    before = paths.path
    with Watched(taken):
        jaxridge.path(np.eye(3), np.ones(3), [1.0])
    assert taken and paths.path is before


def test_exponents_are_of_the_last_decade():
    values = np.array([1.0, 10.0, 30.0, 100.0])
    growth = Growth("n", values, 1 + values**3, values**3, values, values, [""] * 4)
    assert 2.9 < growth.exponent < 3
    assert 0 < how_far([growth]) < 0.01
    case = {"stats": {"median": 2.0}, "extra_info": {"scaling": {"axis": "m"}}}
    keys = ("value", "predicted_seconds", "working_bytes", "predicted_bytes")
    case["extra_info"]["scaling"] |= dict.fromkeys(keys, 1.0) | {"route": "dual"}
    (found,) = growths({"benchmarks": [case]})
    assert found.seconds.tolist() == [2.0] and found.routes == ["dual"]


def timings(each, dtype="float64"):
    """Return a record of what every route takes at some sizes, at given prices."""
    cases = []
    for m, n, t, L, k in [
        (4000, 50, 1, 20, 5),
        (900, 300, 9, 7, 3),
        (80, 500, 2, 9, 4),
    ]:
        for one in candidates(Sizes(m, n, t, L, k, 8), dtype, "folds", TILE["cpu"]):
            seconds = seconds_of(one.work, each)
            what = {"asked": "folds", "dtype": dtype, "sizes": [m, n, t, L, k]}
            what |= {"system": one.route.system, "sharing": one.route.sharing}
            cases.append({"stats": {"median": seconds}, "extra_info": {"route": what}})
    return {"benchmarks": cases}


def test_prices_are_found_from_what_they_make():
    each = EACH["cpu", "float64"]._replace(start=5e-3, product=3e-11)
    cases = timed(timings(each))
    assert len(cases) == 13
    assert errors(cases, fitted(cases)).max() < 0.05
    assert errors(cases, each).max() < 1e-12


def test_a_plan_that_takes_a_slower_route_is_told():
    record = timings(EACH["cpu", "float64"])
    found = switches(timed(record))
    assert [one.slower for one in found] == [1, 1, 1]
    taken = min(record["benchmarks"][:5], key=lambda case: case["stats"]["median"])
    taken["stats"]["median"] *= 1000
    slower = switches(timed(record))[0]
    assert slower.slower > 1 and slower.fastest.sharing in switch_table([slower])
    assert "takes the fastest route 2 times" in in_words(timed(record))


def test_a_rival_that_fails_is_in_the_table():
    problem = {"name": "p", "n_samples": 3, "n_features": 2, "n_lams": 1}
    cases = [
        {
            "stats": {"median": seconds},
            "extra_info": {"problem": problem, "contender": name, "failed": failed},
        }
        for name, seconds, failed in (
            ("slow", 4.0, None),
            ("jaxridge", 2.0, None),
            ("large", 1.0, "out of memory"),
        )
    ]
    for case in cases:
        case["extra_info"]["compile_seconds"] = 0.0
    shown = table({"benchmarks": cases}, "p")
    slow, ours, large = map(str.split, shown.splitlines()[-3:])
    assert slow[:4] == ["slow", "4", "once", "2"]
    assert ours[:3] == ["jaxridge", "2", "once"]
    assert large == ["large", "out", "of", "memory"]
    assert failure_of(MemoryError()) == failure_of(RuntimeError("RESOURCE_EXHAUSTED: "))
    assert failure_of(ImportError("torch")) == "not installed"
    assert failure_of(ValueError("no\nlines")) == "ValueError: no"
