"""A module imports only from floors below its own."""

import ast
from pathlib import Path

import pytest

import jaxridge

HOUSE = Path(jaxridge.__file__).parent
FLOORS = (
    (
        "accelerator",
        "derivatives",
        "draws",
        "interrupts",
        "progress",
        "routes",
        "threads",
        "twofold",
        "version",
    ),
    ("checks", "placement", "products", "programs"),
    ("tiles",),
    ("data", "devices"),
    ("objective",),
    (
        "folds",
        "compression",
        "columns",
        "optimizers",
        "precision",
        "scoring",
        "costs",
        "gradient_check",
        "tridiagonal",
    ),
    ("conjugate", "moments", "plans", "spectrum"),
    ("nodes", "scatter"),
    ("sent", "shards"),
    ("certificate", "filled", "held", "risk", "sums"),
    ("anchors", "batches", "blocks", "kernels", "leverages"),
    ("systems",),
    ("rules", "solvers", "factors", "holdout"),
    ("landscape",),
    ("trajectory",),
    ("divergence",),
    ("descent", "training"),
    ("choice", "fits", "paths"),
    ("grids",),
    ("criteria", "fold_scores", "intervals", "krylov", "left_out", "sparse"),
    ("validation",),
    ("examples", "frames", "kinds", "plots", "sparse_fits", "trial"),
    ("selection",),
    ("linear",),
    ("regressor",),
    ("classifiers", "estimators"),
    ("encoding", "files", "study", "tables"),
    ("account", "demo", "parquet", "store", "sums_alone", "unseen"),
    ("outputs", "predicting", "story", "tested"),
    ("figures",),
    ("report",),
    ("in_memory", "stream"),
    ("fitting", "options"),
    ("cli",),
    ("__main__",),
)
FLOOR = {module: floor for floor, row in enumerate(FLOORS) for module in row}
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


def test_every_module_has_a_floor():
    assert set(MODULES) <= set(FLOOR)


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
