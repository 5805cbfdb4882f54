"""eval.plot: a figure with a panel for each task."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from eval import plot


def test_the_plot_has_a_panel_for_each_task(two_tasks: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text("".join(two_tasks.read_text().splitlines(keepends=True)[:6]))
    sizes = []
    for file in (one, two_tasks):
        assert plot.main([str(file), "--out", str(tmp_path / "p.png")]) == 0
        with Image.open(tmp_path / "p.png") as drawn:
            sizes.append(drawn.size)
    assert sizes[1] == (2 * sizes[0][0], sizes[0][1])
