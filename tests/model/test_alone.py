"""The device alone: a classifier that is kept and found, and refused where it is not whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from codec.model.alone import AloneShape, DeviceAlone, load_alone, save_alone


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_alone(DeviceAlone(AloneShape(5, (8, 16), (1, 0))), tmp_path)
    return tmp_path


def test_it_comes_back_with_its_weights_in_float16(folder: Path):
    torch.manual_seed(0)
    made, loaded = DeviceAlone(AloneShape(5, (8, 16), (1, 0))).eval(), load_alone(folder)
    x = torch.randn(2, 3, 32, 32)
    assert loaded(x).shape == (2, 5)
    torch.testing.assert_close(loaded(x), made.half().float()(x))


def test_a_folder_that_is_not_whole_is_refused_by_reason(folder: Path):
    with pytest.raises(FileNotFoundError, match="no classifier for the device alone"):
        load_alone(folder / "elsewhere")
    (folder / "config.json").write_text('{"widths": [8, 8], "depths": [1, 0], "n_labels": 5}')
    with pytest.raises(ValueError, match="was altered"):
        load_alone(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        load_alone(folder)
