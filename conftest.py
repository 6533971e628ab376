"""Examples in docstrings know `np`; the README's Python snippets are run like tests."""

from typing import Any

import numpy as np
import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()], patterns=["README.md"]
).pytest()


@pytest.fixture(autouse=True)
def numpy_for_docstrings(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace["np"] = np
