"""Slices of a split: of one that is sorted by label they are taken from a fixed shuffle."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from codec.tasks.dataset import load_rows
from codec.tasks.slicing import is_sorted


def written(folder: Path, labels: list[int], column: str = "label") -> str:
    """A data set whose pictures carry their place in `place`."""
    folder.mkdir()
    pictures = [Image.new("RGB", (2, 2)) for _ in labels]
    values = {"image": pictures, column: labels, "place": list(range(len(labels)))}
    rows = datasets.Dataset.from_dict(values)
    rows.cast_column("image", datasets.Image()).to_parquet(folder / "train.parquet")
    return str(folder)


def column(data: str, split: str, name: str) -> list[Any]:
    return list(load_rows(data, split)[name])


def test_each_slice_of_a_sorted_split_has_all_classes_and_no_row_is_in_two(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = written(tmp_path / "sorted", [0] * 30 + [1] * 30 + [2] * 30)
    splits = "train[:80%]", "train[80%:90%]", "train[90%:]"
    with caplog.at_level(logging.WARNING):
        places = [column(data, split, "place") for split in splits]
    assert [len(some) for some in places] == [72, 9, 9]
    assert sorted(place for some in places for place in some) == list(range(90))
    assert all(set(column(data, split, "label")) == {0, 1, 2} for split in splits)
    assert "labels of split 'train'" in caplog.messages[0]
    assert "are sorted" in caplog.messages[0]
    assert places[0] == column(data, "train[:72]", "place"), "the shuffle is always the same"
    both = column(data, "train[:10]+train[80:]", "place")
    assert both == places[0][:10] + (places[1] + places[2])[8:]


def test_slices_of_what_is_not_sorted_are_those_of_the_library(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = written(tmp_path / "mixed", [0, 1, 2] * 10)
    whole = written(tmp_path / "whole", [0] * 15 + [1] * 15)
    with caplog.at_level(logging.WARNING):
        assert column(mixed, "train[10%:50%]", "place") == list(range(3, 15))
        assert column(whole, "train", "place") == list(range(30))
    sliced = datasets.load_dataset(mixed, split="train[:20]")
    assert load_rows(mixed, "train[:20]")._fingerprint == sliced._fingerprint
    assert not caplog.messages


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 0, 1, 1], True),
        ([1, 1, 0, 0], True),  # in pieces, in whatever order
        ([0, 1, 0, 1], False),
        ([0, 0, 0], False),  # one class
        ([0, 1, 2], False),  # a picture each
    ],
)
def test_sorted_is_one_class_after_the_other(labels: list[int], expected: bool) -> None:
    assert is_sorted(datasets.Dataset.from_dict({"label": labels})) == expected


def test_without_a_column_of_labels_nothing_is_sorted() -> None:
    assert not is_sorted(datasets.Dataset.from_dict({"caption": ["a", "a", "b"]}))
    two = {"fine_label": [0, 0, 1, 1], "coarse_label": [0, 0, 1, 1]}
    assert not is_sorted(datasets.Dataset.from_dict(two))
