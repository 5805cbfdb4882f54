"""pixels -> blobs -> what a model continues from: the common shape of everything a sweep measures,
for codecs and for the uncut model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from codec.device.preprocess import Preprocess
from codec.model import FeatureCodec
from training.data.images import normalise

UNCUT = "uncut"
"""`codec` of the row that holds the uncut model's own score."""
BASELINES = (
    "jpeg",
    "webp",
    "avif",
    "png",
    "webp-lossless",
    "tokens-fp16",
    "tokens-int8-zstd",
    "factorised",
)
BOTTLENECK = "bottleneck"
"""The codec built the usual way that `eval.methods.bottleneck` trains."""


class DecodeError(Exception):
    """Something that was encoded did not decode to what it was made of."""


class Cost(NamedTuple):
    """Parameters and multiply-accumulates of the network that runs on the device, for one image."""

    params: int
    macs: int


class Method(Protocol):
    """Uncut model, codec or baseline at one quality: what is measured.

    `encode` takes pixels (B, 3, S, S) uint8 and gives one blob an image; `decode` takes these and
    gives what the models continue from: `pixel_values` (B, 3, S, S) for uncut models, tokens (B, N,
    D) for tails, float32; `models` has the model of each task that does so; `check`, which is not
    timed, raises DecodeError where a blob does not hold what was encoded, and gives the ideal code
    lengths' sum in bits, None without an entropy model.
    """

    @property
    def name(self) -> str: ...

    @property
    def quality(self) -> int | None: ...

    @property
    def cost(self) -> Cost: ...

    @property
    def models(self) -> Mapping[str, nn.Module]: ...

    def encode(self, pixels: torch.Tensor) -> list[bytes]: ...

    def decode(self, blobs: list[bytes]) -> torch.Tensor: ...

    def check(self, pixels: torch.Tensor, blobs: list[bytes]) -> float | None: ...


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


class Coded:
    """A codec at one of its qualities."""

    def __init__(self, codec: FeatureCodec, quality: int, cost: Cost) -> None:
        self.name, self.quality, self.cost = codec.config.name, quality, cost
        self.codec, self.models = codec, codec.tails

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


@torch.no_grad()
def device_cost(network: nn.Module, size: int) -> Cost:
    """Cost of `network` on one image (1, 3, size, size)."""
    return Cost(
        sum(p.numel() for p in network.parameters()),
        multiply_accumulates(network, (1, 3, size, size)),
    )


def multiply_accumulates(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Half the FLOPs of a network's convolutions and matrix products, on an input of `shape`."""
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):  # the MATH backend is made of countable products
        network(torch.zeros(shape))
    return counter.get_total_flops() // 2
