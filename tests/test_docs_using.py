"""docs/using.md: its blocks run, in order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from codec.model.checkpoint import shipped_root

PAGE = Path(__file__).parent.parent / "docs" / "using.md"


def test_the_blocks_of_the_page_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = sorted((shipped_root() / "samples" / "cifar10").glob("*.png"))[:3]
    (tmp_path / "photos").mkdir()
    for name, photo in zip(("cat", "b", "c"), photos, strict=True):
        (tmp_path / "photos" / f"{name}.png").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    blocks = list(
        re.finditer(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    )
    assert len(blocks) == 7
    names: dict[str, Any] = {}
    for block in blocks:
        line = PAGE.read_text()[: block.start()].count("\n") + 1
        exec(compile("\n" * line + block[1], str(PAGE), "exec"), names)
    assert len(names["blobs"]) == 3
