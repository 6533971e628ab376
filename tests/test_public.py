"""The public names: documented, described, and loaded only when used."""

import re
import subprocess
import sys
from inspect import isfunction
from pathlib import Path

import pytest

import jaxridge

README = Path(__file__).parents[1] / "README.md"
NAMES = sorted(set(jaxridge.__all__) - {"__version__"})
FUNCTIONS = [name for name in NAMES if isfunction(getattr(jaxridge, name))]


def documented():
    """Return the names in backticks in the first column of README's public names."""
    section = re.search(
        r"^## Public names$(.*?)(?=^## |\Z)", README.read_text(), re.M | re.S
    )
    assert section, "README.md has no section '## Public names'"
    cells = re.findall(r"^\|([^|]*)\|", section[1], re.M)
    return [name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]


def test_public_names_are_those_of_the_readme():
    names = documented()
    assert len(names) == len(set(names))
    assert set(names) | {"__version__"} == set(jaxridge.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_public_name_has_a_docstring_of_its_own(name):
    thing = getattr(jaxridge, name)
    # A NamedTuple without a docstring is given one that lists its fields.
    assert thing.__doc__
    assert not thing.__doc__.startswith(f"{name}(")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_that_mentions_a_penalty_states_the_cost(name):
    text = getattr(jaxridge, name).__doc__
    if re.search(r"\blams?\b|λ|[Pp]enalt", text):
        assert re.search(r"\bJ\b", text)


def test_version_is_text():
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", jaxridge.__version__)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="ridge_regression"):
        _ = jaxridge.ridge_regression


def test_importing_the_package_does_not_load_jax():
    code = "import sys, jaxridge; dir(jaxridge); print('jax' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False"]
