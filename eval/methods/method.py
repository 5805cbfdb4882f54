"""pixels -> blobs -> what a model continues from: the shape of every method that a sweep measures,
what it costs the device, and the names that rows have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

from codec.model.cost import Cost

UNCUT = "uncut"
"""`codec` of the row that holds the uncut model's own score."""
FACTORISED = "factorised"
ALONE = "device-alone"
"""A classifier of the encoder's cost that answers without a server: `codec.model.alone`."""
SOURCE = "source-file"
"""The picture's file as it lies in the data set, read by the uncut model."""
BASELINES = (
    "jpeg",
    "webp",
    "avif",
    "jxl",
    "png",
    "webp-lossless",
    "tokens-fp16",
    "tokens-int8-zstd",
    FACTORISED,
    ALONE,
    SOURCE,
)
"""What a sweep measures beside the codecs, by the names that `--baselines` takes."""
BOTTLENECK = "bottleneck"
"""The codec built the usual way that `eval.studies.bottleneck` trains."""


def baseline_of(name: str) -> str | None:
    """The baseline that the `codec` of a row belongs to, None where it is no baseline: `jpeg@16` is
    of `jpeg`, `factorised (NAME)` of `factorised`.
    """
    base = name.partition("@")[0].partition(" (")[0]
    return base if base in BASELINES else None


class DecodeError(Exception):
    """Something that was encoded did not decode to what it was made of."""


class Method(Protocol):
    """The uncut model, a codec or a baseline at one quality: what is measured.

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
