"""The page of benchmarks says what the committed records say."""

import json

import numpy as np

from benchmarks.page import HERE, PAGE, page
from benchmarks.show import Growth, growths, how_far


def test_the_page_is_that_of_the_records():
    assert PAGE.read_text() == page(HERE / "records")


def test_records_are_of_clean_trees_and_name_the_machine():
    for path in (HERE / "records").glob("*.json"):
        record = json.loads(path.read_text())
        assert not record["commit_info"]["dirty"], path
        assert record["machine_info"]["cpu"] and record["machine_info"]["versions"]


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
