"""A wheel has no backbone of more than 40 MB: the demo says which codec it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from codec.cli import demo
from codec.model import checkpoint


def test_a_codec_without_its_backbone_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, names = checkpoint.shipped_root(), ["vit-small-caltech101", "vit-tiny-cifar10"]
    for name in (*names, "backbones/vit-tiny-cifar10"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.setattr(checkpoint, "shipped_root", lambda: tmp_path)
    assert demo._whole(names) == ["vit-tiny-cifar10"]
    said = "vit-small-caltech101 is left out: only a checkout has its backbone"
    assert capsys.readouterr().out.startswith(said)
