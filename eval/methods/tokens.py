"""pixels -> tokens after block k -> bytes -> tokens, untrained: as float16, or as int8 with zstd.

They are what leaves the head at a codec's cut, and feed the tails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.cost import Cost, device_cost
from codec.model.split import split, token_grid
from training.data.images import normalise

ZSTD_LEVEL = 19


class Tokens:
    """The tokens after block k as float16, sent as they are; `quality` is k. Models of several
    tasks share one vision tower.
    """

    name = "tokens-fp16"

    def __init__(
        self, models: Mapping[str, nn.Module], k: int, cost: Cost, preprocess: Preprocess
    ) -> None:
        self.quality, self.cost, self.preprocess = k, cost, preprocess
        parts = {task: split(model, k) for task, model in models.items()}
        first = next(iter(models))
        self.head, grid = parts[first].head, token_grid(models[first], preprocess.size)
        self.models = {task: part.tail for task, part in parts.items()}
        self.shape = (grid.n_tokens, grid.width)

    def pack(self, tokens: NDArray[np.float32]) -> bytes:
        """Tokens (N, D) of one image -> bytes."""
        return tokens.astype("<f2").tobytes()

    def unpack(self, blob: bytes) -> NDArray[np.float32]:
        """The inverse of `pack`, but for the rounding."""
        return np.frombuffer(blob, dtype="<f2").reshape(self.shape).astype(np.float32)

    def encode(self, pixels: torch.Tensor) -> list[bytes]:
        return [
            self.pack(tokens) for tokens in self.head(normalise(pixels, self.preprocess)).numpy()
        ]

    def decode(self, blobs: list[bytes]) -> torch.Tensor:
        return torch.from_numpy(np.stack([self.unpack(blob) for blob in blobs]))

    def check(self, pixels: torch.Tensor, blobs: list[bytes]) -> float | None:
        return None


class QuantisedTokens(Tokens):
    """The tokens after block k as int8, one symmetric scale an image and channel (float16, in the
    bytes), then zstd.
    """

    name = "tokens-int8-zstd"

    def __init__(
        self, models: Mapping[str, nn.Module], k: int, cost: Cost, preprocess: Preprocess
    ) -> None:
        super().__init__(models, k, cost, preprocess)
        import zstandard

        self.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=False)
        self.decompressor = zstandard.ZstdDecompressor()

    def pack(self, tokens: NDArray[np.float32]) -> bytes:
        scale = (np.abs(tokens).max(0) / 127).astype("<f2")
        steps = tokens / np.where(scale > 0, scale, 1).astype(np.float32)
        quantised = np.clip(np.rint(steps), -127, 127).astype(np.int8)
        return self.compressor.compress(scale.tobytes() + quantised.T.tobytes())

    def unpack(self, blob: bytes) -> NDArray[np.float32]:
        raw = self.decompressor.decompress(blob)
        n_tokens, width = self.shape
        scale = np.frombuffer(raw, dtype="<f2", count=width).astype(np.float32)
        return (
            np.frombuffer(raw, dtype=np.int8, offset=2 * width).reshape(width, n_tokens).T * scale
        )


def token_methods(
    baselines: Sequence[str],
    models: Mapping[str, nn.Module],
    cuts: Sequence[int],
    preprocess: Preprocess,
) -> Iterator[Tokens]:
    """The token baselines among `baselines`, after each of the blocks `cuts`."""
    for kind in (Tokens, QuantisedTokens):
        for k in cuts if kind.name in baselines else ():
            head = split(next(iter(models.values())), k).head
            yield kind(models, k, device_cost(head, preprocess.size), preprocess)
