"""A mobile network of random weights, written as timm writes one: what tests start encoders and
teachers from.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from codec.model.mobile_shape import MobileShape, MobileStage
from training.backbones.mobile_start import EPSILON

STAGES = (MobileStage(8, 1, stride=1, expansion=1), MobileStage(12, 2, kernel=5))
SHAPE = MobileShape(8, STAGES)
WIDTH = 20


class Block(nn.Module):
    """timm's inverted residual, with batch normalisations."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, expands: bool) -> None:
        super().__init__()
        wide = 6 * n_in if expands else n_in
        self.stride, self.kernel, self.adds = stride, kernel, stride == 1 and n_in == n_out
        if expands:
            self.conv_pw, self.bn1 = nn.Conv2d(n_in, wide, 1, bias=False), norm(wide)
            self.conv_dw = nn.Conv2d(wide, wide, kernel, stride, groups=wide, bias=False)
            self.bn2 = norm(wide)
            self.conv_pwl, self.bn3 = nn.Conv2d(wide, n_out, 1, bias=False), norm(n_out)
        else:
            self.conv_dw = nn.Conv2d(wide, wide, kernel, stride, groups=wide, bias=False)
            self.bn1 = norm(wide)
            self.conv_pw, self.bn2 = nn.Conv2d(wide, n_out, 1, bias=False), norm(n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if hasattr(self, "conv_pwl"):
            y = F.relu6(self.bn1(self.conv_pw(x)))
            y = F.relu6(self.bn2(self.conv_dw(padded(y, self.kernel, self.stride))))
            y = self.bn3(self.conv_pwl(y))
        else:
            y = F.relu6(self.bn1(self.conv_dw(padded(x, self.kernel, self.stride))))
            y = self.bn2(self.conv_pw(y))
        return x + y if self.adds else y


def padded(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    before = (kernel - stride) // 2
    after = kernel - stride - before
    return F.pad(x, (before, after, before, after))


def norm(width: int) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(width, eps=EPSILON)
    for p in (made.weight, made.bias, made.running_mean, made.running_var):
        nn.init.uniform_(p, 0.5, 1.5)
    return made


class Network(nn.Module):
    """The stages of a small network as timm has them, and the convolution behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = nn.Conv2d(3, 8, 3, 2, bias=False), norm(8)
        first = nn.Sequential(Block(8, 8, 3, 1, expands=False))
        second = nn.Sequential(Block(8, 12, 5, 2, expands=True), Block(12, 12, 5, 1, expands=True))
        self.blocks = nn.Sequential(first, second)
        self.conv_head, self.bn2 = nn.Conv2d(12, 20, 1, bias=False), norm(20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.bn1(self.conv_stem(padded(x, 3, 2))))
        return self.blocks(x)


def write_network(folder: Path) -> Network:
    """A network, and its weights in a folder."""
    torch.manual_seed(0)
    made = Network().eval()
    save_file(made.state_dict(), folder / "model.safetensors")
    return made
