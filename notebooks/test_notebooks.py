"""Every notebook runs from its first cell to its last."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

NOTEBOOKS = sorted(Path(__file__).parent.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    # Sockets that are files: a port found free now may be another's when it is bound.
    sockets = {"transport": "ipc", "ip": str(tmp_path / "kernel")}
    NotebookClient(
        nbformat.read(path, as_version=4),
        resources={"metadata": {"path": path.parent}},
        config=Config(KernelManager=sockets),
    ).execute()
