"""eval.plot: a figure with a panel for each task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eval import plot
from eval.measuring.rows import Row, write_rows


def test_plot_writes_a_picture(
    swept: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "rows.jsonl", tmp_path / "figures" / "rows.png"
    write_rows([Row(**row) for row in swept], file)
    assert plot.main([str(file), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 500


def test_the_plot_has_a_panel_for_each_task(two_tasks: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text("".join(two_tasks.read_text().splitlines(keepends=True)[:6]))
    sizes = []
    for file in (one, two_tasks):
        assert plot.main([str(file), "--out", str(tmp_path / "p.png")]) == 0
        with Image.open(tmp_path / "p.png") as drawn:
            sizes.append(drawn.size)
    assert sizes[1] == (2 * sizes[0][0], sizes[0][1])
