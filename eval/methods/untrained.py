"""pixels -> blobs -> pixels or tokens, for what needs no training: picture codecs, and the plain
tokens at the cut.

Picture codecs get the picture at the backbone's size and feed the uncut models; token baselines
send what leaves the head at the codec's cut, and feed the tails.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from codec.device.preprocess import Preprocess
from codec.model.split import split, token_grid
from eval.methods.method import Cost, DecodeError
from training.data.images import normalise

PICTURES: dict[str, tuple[str, tuple[int | None, ...], dict[str, Any]]] = {
    "jpeg": ("JPEG", (5, 10, 20, 30, 50, 70, 85, 95), {"optimize": True}),
    "webp": ("WEBP", (1, 5, 20, 50, 80, 95), {"method": 6}),
    "avif": ("AVIF", (10, 30, 50, 60, 70, 80, 90), {"speed": 6}),
    "png": ("PNG", (None,), {"optimize": True}),
    "webp-lossless": ("WEBP", (None,), {"lossless": True, "method": 6, "quality": 100}),
}
"""PIL's format, the qualities that are swept (None for lossless ones), and fixed options. Chroma is
4:2:0, PIL's default.
"""
ZSTD_LEVEL = 19


class Picture:
    """A picture codec of PIL in front of the uncut models; a blob is the file as it would lie on a
    disk.
    """

    def __init__(
        self,
        name: str,
        quality: int | None,
        models: Mapping[str, nn.Module],
        preprocess: Preprocess,
    ) -> None:
        self.name, self.quality, self.cost = name, quality, Cost(0, 0)
        self.models, self.preprocess = models, preprocess
        self.format, _, options = PICTURES[name]
        self.options = options if quality is None else options | {"quality": quality}

    def encode(self, pixels: torch.Tensor) -> list[bytes]:
        blobs = []
        for image in pixels.permute(0, 2, 3, 1).contiguous().numpy():
            file = io.BytesIO()
            Image.fromarray(image).save(file, self.format, **self.options)
            blobs.append(file.getvalue())
        return blobs

    def pixels(self, blobs: list[bytes]) -> torch.Tensor:
        """Files -> pixels (B, 3, S, S) uint8."""
        images = np.stack(
            [np.asarray(Image.open(io.BytesIO(blob)).convert("RGB")) for blob in blobs]
        )
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def decode(self, blobs: list[bytes]) -> torch.Tensor:
        return normalise(self.pixels(blobs), self.preprocess)

    def check(self, pixels: torch.Tensor, blobs: list[bytes]) -> float | None:
        if self.quality is None and not torch.equal(self.pixels(blobs), pixels):
            raise DecodeError(
                f"{self.name}: a lossless file does not hold the picture that was encoded"
            )
        return None


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
        self.head, grid = parts[first].head, token_grid(models[first])
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
