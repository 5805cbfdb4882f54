"""pixels -> one byte -> label: the device alone, which answers without a server."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.alone import DeviceAlone, find_alone, load_alone
from codec.model.cost import device_cost
from codec.tasks import LABELS
from eval.methods.method import ALONE, DecodeError
from training.data.images import normalise


class _Given(nn.Module):
    """The server's part: the label that was sent is the answer."""

    def forward(self, labels: torch.Tensor) -> SimpleNamespace:
        """One-hot labels (B, L) -> them as logits."""
        return SimpleNamespace(logits=labels)


class Alone:
    """A classifier on the device. Its blob is the label: one byte, two for more than 256 labels."""

    name, quality = ALONE, None

    def __init__(self, alone: DeviceAlone, preprocess: Preprocess) -> None:
        self.alone, self.preprocess = alone, preprocess
        self.cost = device_cost(alone, preprocess.size)
        self.models = {LABELS: _Given()}
        self.n_bytes = 1 if alone.shape.n_labels <= 256 else 2

    def labels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) uint8 -> labels (B,) int64."""
        return self.alone(normalise(pixels, self.preprocess)).argmax(1)

    def encode(self, pixels: torch.Tensor) -> list[bytes]:
        return [label.to_bytes(self.n_bytes, "big") for label in self.labels(pixels).tolist()]

    def decode(self, blobs: list[bytes]) -> torch.Tensor:
        labels = torch.tensor([int.from_bytes(blob, "big") for blob in blobs])
        return F.one_hot(labels, self.alone.shape.n_labels).float()

    def check(self, pixels: torch.Tensor, blobs: list[bytes]) -> float | None:
        if not torch.equal(self.decode(blobs).argmax(1), self.labels(pixels)):
            raise DecodeError(f"{self.name}: a blob does not hold the label that was sent")
        return None


def alone_methods(
    codec_name: str, folder: Path | None, preprocess: Preprocess, n_labels: int
) -> list[Alone]:
    """The classifier in `folder`, or the one that ships for a codec; none where there is none.

    Raises:
        FileNotFoundError, ValueError: `folder` holds none, or it has another number of labels.
    """
    place = folder or find_alone(codec_name)
    if place is None:
        return []
    alone = load_alone(place)
    if alone.shape.n_labels != n_labels:
        raise ValueError(
            f"{place} answers {alone.shape.n_labels} labels, the uncut model {n_labels}"
        )
    return [Alone(alone, preprocess)]
