"""The tutorial runs from its first cell to its last, and is kept without outputs."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.ipynb"


def test_the_tutorial_is_kept_without_outputs():
    cells = json.loads(TUTORIAL.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


@pytest.mark.long
def test_the_tutorial_goes_from_pictures_to_a_codec_on_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(TUTORIAL, as_version=4)
    setup = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert 'work = root / "runs/tutorial"' in setup.source
    setup.source = setup.source.replace(
        'work = root / "runs/tutorial"', f"work = Path({str(tmp_path)!r})"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    printed = [
        "".join(output.get("text", "") for output in cell.get("outputs", []))
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    (share,) = re.findall(r"^([\d.]+)% right from", "".join(printed), re.MULTILINE)
    assert float(share) > 80, "the codec of the tutorial learned its shapes"
    label, _, answer = printed[-1].strip().splitlines()[-1].partition(" ")
    assert label in answer
