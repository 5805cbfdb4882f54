"""a data set's column of labels -> the index that the model gives to each: matched by name where
both have names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

USUAL_COLUMNS = ("label", "labels", "cls")
"""What data sets call their labels; the first that is there is taken."""


def find_label(rows: Any) -> str | None:
    """Name of the column of labels: one of `USUAL_COLUMNS`; or else the only one of type
    `ClassLabel`, or the only one whose name ends in "label"; None where there is none.

    Raises:
        ValueError: there are several, and nothing says which is meant.
    """
    import datasets

    features = rows.features
    for name in USUAL_COLUMNS:
        if name in features:
            return name
    for found in (
        [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)],
        [name for name in features if name.lower().endswith(("label", "labels"))],
    ):
        if len(found) > 1:
            raise ValueError(
                f"the data set has several columns of labels: {', '.join(found)}; rename the one "
                "that is meant to label"
            )
        if found:
            return str(found[0])
    return None


def label_names(rows: Any, column: str | None) -> list[str] | None:
    """What a data set calls its labels, by index; None where it does not say, or has no labels."""
    if column is None:
        return None
    feature = rows.features[column]
    if names := getattr(feature, "names", None):
        return list(names)
    if getattr(feature, "dtype", None) in ("string", "large_string"):
        return sorted({name for name in rows[column] if name is not None})
    return None


def label_indices(
    rows: Any, column: str | None, data: str, model_labels: Mapping[int, str] | None = None
) -> list[int]:
    """The index of each row's label: the model's, or the data set's own where no model is given; -1
    where a row says so, or there is no column.

    Labels are matched by name, whatever their case; names that are numbers are indices. Where
    either has no names, the data set's indices are taken for the model's.

    Args:
        data: what the data set is called in messages.
        model_labels: the model's labels by index.

    Raises:
        ValueError: a row has no label; it is neither a whole number nor a text; or the model has no
            label of that name or index.
    """
    if column is None:
        return [-1] * len(rows)
    values, names = list(rows[column]), label_names(rows, column)
    if None in values:
        raise ValueError(f"row {values.index(None)} of {data!r} has no label")
    if names is not None and isinstance(values[0], str):
        places = {name: index for index, name in enumerate(names)}
        values = [places[name] for name in values]
    for row, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(
                f"row {row} of {data!r} has the label {value!r}: a label is a whole number or a "
                "text"
            )
    if model_labels is None:
        return values
    if names is not None:
        used = sorted({value for value in values if value >= 0})
        to_model = _matched(names, used, data, model_labels) | {-1: -1}
        values = [to_model[max(value, -1)] for value in values]
    if max(values) >= len(model_labels):
        raise ValueError(f"{data!r} has a label {max(values)}; the model has {len(model_labels)}")
    return values


def _matched(
    names: Sequence[str], used: Sequence[int], data: str, model_labels: Mapping[int, str]
) -> dict[int, int]:
    """The model's index of each of a data set's labels that are used."""
    known = {_plain(name): index for index, name in model_labels.items()}
    found: dict[int, int] = {}
    for index in used:
        name = _plain(names[index])
        # a name that the model gives twice is the one in the same place
        same = name == _plain(model_labels.get(index, ""))
        found[index] = index if same else known.get(name, -1)
    unknown = [names[index] for index in used if found[index] < 0]
    if unknown and all(name.isdecimal() for name in names):
        return {index: int(names[index]) for index in used}
    if unknown and all(re.fullmatch(r"label \d+", name) for name in known):  # it has no names
        return {index: index for index in used}
    if unknown:
        raise ValueError(
            f"{data!r} has labels that the model does not have: {_few(unknown)}; the model has "
            f"{_few(list(model_labels.values()))}"
        )
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", str(name)).strip().casefold()


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
