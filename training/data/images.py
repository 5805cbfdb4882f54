"""data set -> batches of labelled pixels, with the keys that all randomness comes from."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset

from codec.device.preprocess import Preprocess
from codec.tasks.dataset import find_columns, load_rows, row_at
from codec.tasks.label_columns import find_label, label_indices, label_names

IN_MEMORY_BYTES = 1 << 30
"""Data sets that take less than this as uint8 pixels are decoded once and kept."""


class Batch(TypedDict):
    """Pixels (B, 3, S, S) uint8, labels (B,) int64, and `keys` (B,) int64 that all of a sample's
    randomness comes from.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    keys: torch.Tensor


MAX_SEED = 1 << 15
"""Seeds are below it: a key has the seed in its upper 16 bits, and is no negative number."""


class Keyed(Dataset[Any]):
    """A data set whose samples carry keys: all randomness of a sample is a function of (seed,
    epoch, index).

    Keys come again after `fresh_epochs`, where that is not None.
    """

    def __init__(self, seed: int) -> None:
        if not 0 <= seed < MAX_SEED:
            raise ValueError(f"a seed is in 0..{MAX_SEED - 1}, not {seed}")
        self.seed, self.epoch = seed, 0
        self.fresh_epochs: int | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        """Pixels (3, S, S) uint8, label, key."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch % self.fresh_epochs if self.fresh_epochs else epoch

    def key(self, index: int) -> int:
        return (self.seed << 48) + (self.epoch << 32) + index

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all pixels in order, in hex: what names the pictures, wherever they lie."""
        state = hashlib.sha256()
        for index in range(len(self)):
            state.update(self[index][0].numpy().tobytes())
        return state.hexdigest()


class Images(Keyed):
    """A split of an image data set as uint8 pixels of the size the backbone takes.

    Args:
        data: folder, parquet files or hub name, whatever `datasets.load_dataset` takes.
        split: name of the split, slices allowed (`train[:45000]`).
        preprocess: gives the size; resizing and cropping is the processor's own.
        limit: keep the first so many rows only.
        seed: of the randomness that `keys` carry.
        model_labels: the labels of a model by index, which `labels` are then of; None for the data
            set's own.

    Raises:
        ValueError: the data set has no image column, a row of it cannot be read, or its labels are
            not the model's.
    """

    def __init__(
        self,
        data: str,
        split: str,
        preprocess: Preprocess,
        limit: int | None = None,
        seed: int = 0,
        model_labels: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__(seed)
        self.data, self.rows = f"{data}:{split}", load_rows(data, split, limit)
        self.preprocess = preprocess
        self.image_column, self.label_column = find_columns(self.rows).image, find_label(self.rows)
        self.labels = label_indices(self.rows, self.label_column, data, model_labels)
        self._cache: torch.Tensor | None = None
        if 3 * preprocess.size**2 * len(self.rows) < IN_MEMORY_BYTES:
            self._cache = torch.stack([self._decode(i) for i in range(len(self.rows))])

    def _decode(self, index: int) -> torch.Tensor:
        row = row_at(self.rows, index, self.image_column, self.data)
        try:
            pixels = self.preprocess.pixels(row[self.image_column])
        except ValueError as error:
            raise ValueError(f"row {index} of {self.data!r}: {error}") from error
        return torch.tensor(pixels).permute(2, 0, 1).contiguous()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        pixels = self._decode(index) if self._cache is None else self._cache[index]
        return pixels, self.labels[index], self.key(index)

    @property
    def label_names(self) -> list[str]:
        """Names of the labels by index, as the data set gives them, or else numbers."""
        names = label_names(self.rows, self.label_column)
        return names or [str(index) for index in range(max(self.labels) + 1)]


class JoinedImages(Keyed):
    """Several data sets of pictures, one after the other; they have no labels (-1)."""

    def __init__(self, parts: Sequence[Keyed], seed: int = 0) -> None:
        super().__init__(seed)
        self.parts = tuple(parts)
        self._ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        part = int(np.searchsorted(self._ends, index, side="right"))
        place = index - (int(self._ends[part - 1]) if part else 0)
        return self.parts[part][place][0], -1, self.key(index)


class SomeImages(Keyed):
    """The pictures at `places` (n,) of a data set, with the labels that they have there."""

    def __init__(self, data: Keyed, places: Sequence[int]) -> None:
        super().__init__(data.seed)
        self.data, self.places = data, tuple(places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        pixels, label, _ = self.data[self.places[index]]
        return pixels, label, self.key(index)


def collate(samples: list[tuple[torch.Tensor, int, int]]) -> Batch:
    """Samples of a `Keyed` data set -> one `Batch`."""
    pixels, labels, keys = zip(*samples, strict=True)
    return Batch(pixels=torch.stack(pixels), labels=torch.tensor(labels), keys=torch.tensor(keys))


def batches(data: Keyed, size: int = 500) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The pictures in order and unaugmented: pixels (B, 3, S, S) uint8 and labels (B,) int64."""
    for start in range(0, len(data), size):
        batch = collate([data[i] for i in range(start, min(start + size, len(data)))])
        yield batch["pixels"], batch["labels"]


def normalise(pixels: torch.Tensor, preprocess: Preprocess) -> torch.Tensor:
    """uint8 pixels (B, 3, S, S) -> float32 `pixel_values`, as the processor would."""
    scale, shift = (
        torch.from_numpy(np.asarray(v)).view(3, 1, 1).to(pixels.device) for v in preprocess.affine()
    )
    return pixels * scale - shift
