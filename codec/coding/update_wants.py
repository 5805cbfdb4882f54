"""changes of tensors -> what the search takes: scaled and sampled; and which coder codes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.coding import update_portable
from codec.coding.update_native import library_code, run

SAMPLE = 1 << 17
"""A search begins with about so many weights, and goes on with all."""


def coder() -> Callable[..., bytes]:
    """The coder in C, or the one in Python where C cannot be had."""
    try:
        library_code()
    except ValueError:
        return update_portable.run
    return run


class Wants(NamedTuple):
    """Changes that are wanted.

    Attributes:
        changes: one of each tensor, flat, over 2**octaves.
        tensors: rows, columns, kernel and kind of each; those of kind 3 are integers.
        octaves: how much less the error of each counts.
    """

    changes: Sequence[NDArray[Any]]
    tensors: NDArray[np.int64]
    octaves: NDArray[np.int32]


def wants(changes: Sequence[NDArray[Any]], tensors: NDArray[np.int64]) -> Wants:
    """Changes, flat, as they are -> with the octaves of each.

    Vectors that change much more than matrices do, running statistics for instance, would take
    all bits: their error counts less, by a power of two that leaves them twice as fine.
    """
    squares = [float(np.square(change, dtype=np.float64).sum()) for change in changes]
    matrices = tensors[:, 3] < 2
    size = int((tensors[:, 0] * tensors[:, 1])[matrices].sum())
    common = sum(square for square, is_matrix in zip(squares, matrices, strict=True) if is_matrix)
    octaves = np.zeros(len(tensors), dtype=np.int32)
    for i, (change, square) in enumerate(zip(changes, squares, strict=True)):
        if tensors[i, 3] == 2 and common and square:
            ratio = math.sqrt(square / change.size * size / common)
            octaves[i] = min(max(math.frexp(ratio)[1] - 2, 0), 30)
    scaled = [
        change if tensors[i, 3] == 3 else np.ldexp(change, -int(octaves[i])).astype(np.float32)
        for i, change in enumerate(changes)
    ]
    return Wants(scaled, tensors, octaves)


def sampled(wants: Wants) -> Wants:
    """Of large tensors some rows, evenly spaced."""
    total = sum(change.size for change in wants.changes)
    every = max(total // SAMPLE, 1)
    changes, tensors = [], wants.tensors.copy()
    for i, change in enumerate(wants.changes):
        rows, columns = tensors[i, :2].tolist()
        changes.append(np.ascontiguousarray(change.reshape(rows, columns)[::every]).reshape(-1))
        tensors[i, 0] = len(range(0, rows, every)) if change.size else rows
    return Wants(changes, tensors, wants.octaves)
