"""pixels -> raw bytes -> pixel values: the uncut models, which all else is held against."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.cost import Cost
from eval.methods.method import UNCUT
from training.data.images import normalise


class Uncut:
    """The uncut models, by task, on raw pixels."""

    def __init__(self, models: Mapping[str, nn.Module], preprocess: Preprocess) -> None:
        self.name, self.quality, self.cost = UNCUT, None, Cost(0, 0)
        self.models, self.preprocess = models, preprocess

    def encode(self, pixels: torch.Tensor) -> list[bytes]:
        return [image.tobytes() for image in pixels.numpy()]

    def decode(self, blobs: list[bytes]) -> torch.Tensor:
        size = self.preprocess.size
        pixels = np.stack(
            [np.frombuffer(blob, dtype=np.uint8).reshape(3, size, size) for blob in blobs]
        )
        return normalise(torch.from_numpy(pixels), self.preprocess)

    def check(self, pixels: torch.Tensor, blobs: list[bytes]) -> float | None:
        return None
