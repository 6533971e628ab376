"""A module imports only from those further down the list of CONTRIBUTING.md."""

import ast
import re
from pathlib import Path

import pytest

import jaxridge

HOUSE = Path(jaxridge.__file__).parent
TABLE = Path(__file__).parents[1] / "CONTRIBUTING.md"
LISTED = re.findall(r"^\| \d? ?\| `(\w+)\.py`", TABLE.read_text(), re.M)
FLOOR = {module: -place for place, module in enumerate(["__main__", *LISTED])}
MODULES = sorted(p.stem for p in HOUSE.glob("**/*.py") if p.stem != "__init__")
IMPORTS = ast.Import | ast.ImportFrom


def tree(module):
    return ast.parse((HOUSE / f"{module}.py").read_text())


def imported(node):
    """Return the modules of this package that an import statement names."""
    if isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        names = [alias.name for alias in node.names]
    # The bare package is every floor at once.
    inside = [name.split(".") for name in names if name.split(".")[0] == "jaxridge"]
    return {path[1] if len(path) > 1 else "__main__" for path in inside}


def test_every_module_is_listed_once():
    assert sorted(["__main__", *LISTED]) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_come_from_lower_floors(module):
    for node in ast.walk(tree(module)):
        if isinstance(node, IMPORTS):
            assert not getattr(node, "level", 0), "relative import"
            for other in imported(node):
                assert FLOOR[other] < FLOOR[module], ast.unparse(node)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"cli", "options"}))
def test_no_import_hides_in_a_function_and_no_setting_of_jax_is_touched(module):
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            assert not any(isinstance(inner, IMPORTS) for inner in ast.walk(node))
        if isinstance(node, ast.Attribute | ast.ImportFrom):
            text = ast.unparse(node)
            assert not text.startswith(("jax.config", "from jax import config"))
            assert "import_module" not in text
        if isinstance(node, ast.Name):
            assert node.id not in ("__import__", "importlib")
