"""A small convolutional network that teaches the backbone: convolutions learn a small data set in a
tenth of a ViT's epochs.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


class ConvNet(nn.Module):
    """Residual convolutions with batch normalisation: pixel_values (B, 3, S, S) -> logits (B,
    n_labels).

    The shape follows airbench (Jordan 2024, arXiv 2404.00498): a stem, then stages that each halve
    the resolution by max pooling, and a max pool over what is left. Teaching a ViT by a
    convolutional network: Touvron et al. 2021 (DeiT), arXiv 2012.12877.
    """

    def __init__(self, widths: tuple[int, ...], n_labels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, widths[0]), nn.GELU())
        stages: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            stages += [_conv(n_in, n_out), nn.MaxPool2d(2), nn.GELU(), _Residual(n_out)]
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(widths[-1], n_labels)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        x = self.stages(self.stem(pixel_values.contiguous(memory_format=torch.channels_last)))
        logits: torch.Tensor = self.classifier(x.amax(dim=(2, 3)))
        return logits


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _conv(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + nn.functional.gelu(self.conv(x))


def _conv(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out))
