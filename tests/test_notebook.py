"""The notebook of docs/ runs from its first cell to its last, and installs itself in Colab."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "from_checkpoint_to_artifact.ipynb"


@pytest.fixture
def notebook():
    return pytest.importorskip("nbformat").read(NOTEBOOK, as_version=4)


@pytest.mark.slow
def test_the_notebook_runs(notebook):
    nbclient = pytest.importorskip("nbclient")
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for many, few in (("train[:768]", "train[:64]"), ("test[:256]", "test[:64]")):
        (cell,) = (cell for cell in cells if many in cell.source)
        cell.source = cell.source.replace(many, few)
    nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3").execute(
        cwd=NOTEBOOK.parents[1]
    )


@pytest.mark.parametrize(
    ("in_colab", "installed", "installs"),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_the_first_cell_installs_in_colab_alone_and_once(
    notebook, monkeypatch, in_colab, installed, installs
):
    transformer = pytest.importorskip("IPython.core.inputtransformer2").TransformerManager()
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    if in_colab:
        monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    called = []
    shell = SimpleNamespace(run_line_magic=lambda name, line: called.append((name, line)))
    exec(transformer.transform_cell(first.source), {"get_ipython": lambda: shell})
    assert called == ([("pip", 'install --quiet "renyi_jax[train]"')] if installs else [])
