"""The one reader of data sets: which columns it finds, and what it says of each picture."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from codec.tasks.dataset import Known, find_columns, load_rows, read_pictures


def written(folder: Path, n: int = 3, **columns: list[Any]) -> str:
    """A data set of `n` pictures in a folder, with further columns."""
    pictures = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(n)]
    rows = datasets.Dataset.from_dict({"image": pictures, **columns})
    folder.mkdir()
    rows.cast_column("image", datasets.Image()).to_parquet(folder / "test.parquet")
    return str(folder)


def test_a_picture_comes_with_all_that_is_known_about_it(tmp_path: Path) -> None:
    data = written(
        tmp_path / "data",
        label=[2, 0, -1],
        caption=["one", "two", "three"],
        questions=[["how many ?"], [], ["what ?", "right ?"]],
        answers=[["one"], [], ["ring", "yes"]],
    )
    found = list(read_pictures(data))
    assert [known[1:] for known in found] == [
        (2, ("one",), ("how many ?",), ("one",)),
        (0, ("two",), (), ()),
        (None, ("three",), ("what ?", "right ?"), ("ring", "yes")),
    ]
    assert [known.image.getpixel((0, 0))[0] for known in found] == [0, 1, 2]
    assert [known.label for known in read_pictures(data, limit=1)] == [2]


def test_what_is_not_there_is_not_known(tmp_path: Path) -> None:
    assert [known[1:] for known in read_pictures(written(tmp_path / "plain", 1))] == [
        Known(None)[1:]
    ]
    asked = written(tmp_path / "asked", 1, question=["why?"])
    assert [(k.questions, k.answers) for k in read_pictures(asked)] == [(("why?",), ())]
    alone = written(tmp_path / "alone", 1, answer=["so"])
    assert find_columns(load_rows(alone, "test")).answers is None


@pytest.mark.long
def test_data_that_cannot_be_read_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = written(tmp_path / "uneven", 1, questions=[["a"]], answers=[["b", "c"]])
    with pytest.raises(ValueError, match=r"picture 0 of .* has 1 questions and 2 answers"):
        list(read_pictures(data))
    with pytest.raises(ValueError, match="cannot load split 'train' of"):
        load_rows(data, "train")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="cannot load split 'test' of 'no/such'"):
        load_rows("no/such", "test")
    text = datasets.Dataset.from_dict({"text": ["a"]})
    with pytest.raises(ValueError, match="no image column, only: text"):
        find_columns(text)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"package datasets: pip install 'task-codec\[train\]'"):
        load_rows(data, "test")
