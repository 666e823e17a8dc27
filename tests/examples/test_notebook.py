"""The notebook runs from its first cell to its last, and is the same as its source."""

from __future__ import annotations

import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from tests.places import DATA, ROOT

SOURCE = ROOT / "examples" / "inference.py"
NOTEBOOK = SOURCE.with_suffix(".ipynb")


def test_the_notebook_is_its_source_without_outputs() -> None:
    source, notebook = jupytext.read(SOURCE), nbformat.read(NOTEBOOK, as_version=4)
    cells = [[(cell.cell_type, cell.source) for cell in each.cells] for each in (source, notebook)]
    assert cells[0] == cells[1], "renew it: jupytext --to ipynb examples/inference.py"
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's own libraries
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "data").symlink_to(DATA)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    said = "".join(output.get("text", "") for output in outputs)
    assert "22 frames at 8 a second are (2, 6, 16, 16) (clips, T, H, W) tokens" in said
    # The half whose tokens are held still moves less than before, and the other half does not.
    moved = {
        half: tuple(map(float, re.findall(rf"{half} half: ([\d.]+) before, ([\d.]+) after", said)[0]))
        for half in ("left", "right")
    }
    assert moved["left"][1] < 0.7 * moved["left"][0]
    assert moved["right"][1] > 0.7 * moved["right"][0]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    assert (tmp_path / "out" / "edited.mp4").exists()
