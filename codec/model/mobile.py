"""pixels -> latent: a mobile network's first stages as the encoder on a device.

Inverted residuals (Sandler et al. 2018, "MobileNetV2", arXiv 1801.04381, sec. 3) without squeeze
and excitation, with ReLU6, as in EfficientNet-Lite: the shape that pretrained weights come in.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from codec.model.mobile_shape import MobileShape
from codec.model.transforms import latent_of


class MobileAnalysis(nn.Module):
    """The first stages of a mobile network: pixel_values (B, 3, S, S) -> latent (B, M, C).

    A convolution over r x r of the last stage's positions ends in the latent's.

    Args:
        shape: of the stages.
        size: side S of the pictures.
        side: of the latent.
        n_channels: C of the latent.
        fold: each position is fold x fold of the latent's.

    Raises:
        ValueError: the stages do not end in a multiple of the latent's positions.
    """

    def __init__(
        self, shape: MobileShape, size: int, side: int, n_channels: int, fold: int = 1
    ) -> None:
        super().__init__()
        self.fold = fold
        made, wanted = shape.side(size), side // fold
        if made % wanted:
            raise ValueError(
                f"the mobile encoder brings {size} pixels to a side of {made}, which is not a "
                f"multiple of the latent's {wanted}"
            )
        ratio = made // wanted
        self.layers = mobile_layers(shape)
        self.project = nn.Conv2d(shape.width, n_channels * fold**2, ratio, stride=ratio)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return latent_of(self.project(self.layers(pixel_values)), self.fold)


def mobile_layers(shape: MobileShape) -> nn.Sequential:
    """The stages as a network: pixel_values (B, 3, S, S) -> features (B, width, s, s)."""
    layers: list[nn.Module] = []
    if shape.shrink > shape.shrink_to:
        common = math.gcd(shape.shrink, shape.shrink_to)
        layers.append(AreaMean(shape.shrink // common, shape.shrink_to // common))
    layers += [SameConv(3, shape.stem, 3, 2), nn.ReLU6()]
    widths = [shape.stem, *(stage.width for stage in shape.stages)]
    for (n_in, n_out), stage in zip(pairwise(widths), shape.stages, strict=True):
        for i in range(stage.depth):
            first = i == 0
            layers.append(
                InvertedResidual(
                    n_in if first else n_out,
                    n_out,
                    stage.kernel,
                    stage.stride if first else 1,
                    stage.expansion,
                )
            )
    return nn.Sequential(*layers)


class AreaMean(nn.Module):
    """Fewer pixels: squares of n x n become m x m, each the mean of the area that it covers.

    Where m is 1 it is `F.interpolate(mode="area")`; else that gives a pixel whole to both of its
    neighbours, and this gives each its part. It is one convolution, of whole numbers that float16
    holds too. They follow from n and m and are in no file, so they are made on the CPU also where
    a network is built on `meta` and then loaded.
    """

    weight: torch.Tensor

    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        self.n, self.m = n, m
        edges = torch.arange(m + 1, device="cpu") * n  # in m-ths of a pixel
        pixels = torch.arange(n, device="cpu") * m
        ends = torch.minimum(edges[1:, None], pixels + m)
        starts = torch.maximum(edges[:-1, None], pixels)
        parts = (ends - starts).clamp(min=0)
        squares = torch.einsum("ip,jq->ijpq", parts, parts).reshape(m * m, 1, n, n)
        self.register_buffer("weight", squares.repeat(3, 1, 1, 1).float(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        m, (batch, _, height, width) = self.m, x.shape
        rows, columns = height // self.n, width // self.n
        means = F.conv2d(x, self.weight, stride=self.n, groups=3) * (1 / self.n**2)
        squares = means.reshape(batch, 3, m, m, rows, columns).permute(0, 1, 4, 2, 5, 3)
        return squares.reshape(batch, 3, rows * m, columns * m)


class SameConv(nn.Conv2d):
    """A convolution whose output has 1/stride of the input's side, rounded up. With stride 2 it
    pads as TensorFlow's "SAME" does: as little as that takes, and what is odd of it at the end.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(n_in, n_out, kernel, stride=stride, padding=padding, groups=groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if (stride := self.stride[0]) > 1:
            side = x.shape[-1]
            n_padded = (-(-side // stride) - 1) * stride + self.kernel_size[0] - side
            before, after = n_padded // 2, n_padded - n_padded // 2
            x = F.pad(x, (before, after, before, after))
        return super().forward(x)


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project; what came in is added where its shape is
    that of what goes out.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = n_in * expansion
        self.adds = stride == 1 and n_in == n_out
        self.expand = nn.Conv2d(n_in, wide, 1) if expansion > 1 else nn.Identity()
        self.filter = SameConv(wide, wide, kernel, stride, groups=wide)
        self.project = nn.Conv2d(wide, n_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x if isinstance(self.expand, nn.Identity) else F.relu6(self.expand(x))
        branch: torch.Tensor = self.project(F.relu6(self.filter(wide)))
        return x + branch if self.adds else branch
