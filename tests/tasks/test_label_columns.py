"""Labels of a data set: which column they are, and the index that the model gives to each."""

from __future__ import annotations

from typing import Any

import datasets
import pytest

from codec.tasks.label_columns import find_label, label_indices, label_names

NAMED = datasets.ClassLabel(names=["dog", "Cat"])
MODEL = {0: "cat", 1: "ship", 2: "dog"}


def rows(features: dict[str, Any], **columns: list[Any]) -> Any:
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def test_names_decide_and_not_the_order() -> None:
    data = rows({"label": NAMED}, label=[0, 1, 0])
    assert label_indices(data, "label", "d", MODEL) == [2, 0, 2]
    assert label_indices(data, "label", "d") == [0, 1, 0]
    text = rows({"label": datasets.Value("string")}, label=["ship", "cat"])
    assert label_names(text, "label") == ["cat", "ship"]
    assert label_indices(text, "label", "d", MODEL) == [1, 0]


def test_a_label_that_the_model_lacks_is_named() -> None:
    data = rows({"label": datasets.ClassLabel(names=["dog", "cow"])}, label=[0, 1])
    with pytest.raises(ValueError, match="does not have: cow; the model has cat, ship, dog"):
        label_indices(data, "label", "d", MODEL)
    numbers = rows({"label": datasets.Value("int64")}, label=[1, 3])
    with pytest.raises(ValueError, match="'d' has a label 3; the model has 3"):
        label_indices(numbers, "label", "d", MODEL)


def test_names_that_are_numbers_are_indices() -> None:
    data = rows({"label": datasets.ClassLabel(names=["10", "2"])}, label=[0, 1])
    assert label_indices(data, "label", "d", {i: f"LABEL_{i}" for i in range(11)}) == [10, 2]


@pytest.mark.parametrize(
    ("feature", "values", "said"),
    [
        (datasets.Value("int64"), [0, None], "row 1 of 'd' has no label"),
        (datasets.List(datasets.Value("int64")), [[0], [1]], "row 0 of 'd' has the label"),
        (datasets.Value("float32"), [0.5, 1.0], "row 0 of 'd' has the label 0.5"),
    ],
)
def test_what_is_no_label_is_refused_with_its_row(
    feature: Any, values: list[Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        label_indices(rows({"label": feature}, label=values), "label", "d")


def test_the_column_is_found_or_asked_for() -> None:
    number = datasets.Value("int64")
    assert find_label(rows({"fine_label": number}, fine_label=[0])) == "fine_label"
    assert find_label(rows({"cls": number, "kind": NAMED}, cls=[0], kind=[0])) == "cls"
    assert find_label(rows({"x": number}, x=[0])) is None
    with pytest.raises(ValueError, match="several columns of labels: coarse, fine"):
        find_label(rows({"coarse": NAMED, "fine": NAMED}, coarse=[0], fine=[0]))
