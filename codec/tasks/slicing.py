"""split such as `train[:90%]` -> its rows: where labels are sorted, these are shuffled first, by a
fixed seed, so that a slice has pictures of all classes.

A folder of class folders is read one class after the other: the first nine tenths of it are some of
the classes, and the last tenth is the others.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import Any

import numpy as np

from codec.tasks.label_columns import find_label

SEED = 0
"""Of the shuffle: two slices of a split never share a row, whoever takes them."""


def load_split(data: str, split: str) -> Any:
    """The rows of a split, as `datasets.load_dataset` gives them; slices of one whose labels are
    sorted are taken from a fixed shuffle, and a line of the log says so.

    Raises:
        Exception: whatever the readers of `datasets` raise.
    """
    import datasets

    if "[" not in split:
        return datasets.load_dataset(data, split=split)
    parts = split.split("+")
    wholes = {
        name: datasets.load_dataset(data, split=name)
        for name in dict.fromkeys(part.partition("[")[0].strip() for part in parts)
    }
    if not any(map(is_sorted, wholes.values())):
        return datasets.load_dataset(data, split=split)
    orders: dict[str, Any] = {name: range(len(rows)) for name, rows in wholes.items()}
    for name, rows in wholes.items():
        if is_sorted(rows):
            orders[name] = np.random.default_rng(SEED).permutation(len(rows))
            logging.getLogger(__name__).warning(
                "the labels of split %r of %s are sorted: slices are taken from a fixed shuffle of "
                "it",
                name,
                data,
            )
    sizes = {name: len(rows) for name, rows in wholes.items()}
    found = [
        wholes[place.splitname].select(orders[place.splitname][place.from_ : place.to])
        for place in datasets.ReadInstruction.from_spec(split).to_absolute(sizes)
    ]
    return found[0] if len(found) == 1 else datasets.concatenate_datasets(found)


def is_sorted(rows: Any) -> bool:
    """Whether rows have two labels or more, each in one piece: one class after the other."""
    try:
        column = find_label(rows)
    except ValueError:  # several: none of them is used
        return False
    if column is None:
        return False
    labels = list(rows[column])
    changes = sum(a != b for a, b in pairwise(labels))
    return 0 < changes == len(set(labels)) - 1 and changes < len(labels) - 1
