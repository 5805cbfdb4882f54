"""pixels -> blobs -> tokens, by a codec of this project at one of its qualities."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from codec.model import FeatureCodec
from codec.model.adapters import merged
from codec.model.cost import Cost
from eval.methods.method import DecodeError
from training.data.images import normalise


def merged_tails(codec: FeatureCodec) -> dict[str, nn.Module]:
    """The tails of a codec as a server runs them, by task."""
    return {task: merged(tail) for task, tail in codec.tails.items()}


class Coded:
    """A codec at one of its qualities; `tails` as `merged_tails` gives them."""

    def __init__(
        self, codec: FeatureCodec, quality: int, cost: Cost, tails: Mapping[str, nn.Module]
    ) -> None:
        self.name, self.quality, self.cost = codec.config.name, quality, cost
        self.codec, self.models = codec, tails

    def encode(self, pixels: torch.Tensor) -> list[bytes]:
        return self.codec.encode(normalise(pixels, self.codec.config.preprocess), self.quality)

    def decode(self, blobs: list[bytes]) -> torch.Tensor:
        return self.codec.decode(blobs)

    def check(self, pixels: torch.Tensor, blobs: list[bytes]) -> float:
        codec = self.codec
        symbols = codec.symbols(normalise(pixels, codec.config.preprocess), self.quality)
        if not np.array_equal(codec.read(blobs)[0], symbols):
            raise DecodeError(
                f"{self.name}, quality {self.quality}: a blob does not hold the symbols that were "
                "encoded"
            )
        return float(codec.prior.bits(symbols, self.quality).sum())
