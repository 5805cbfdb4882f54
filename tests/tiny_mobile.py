"""Mobile networks of random weights, written as timm and torchvision write them: what tests start
encoders and teachers from.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from codec.model.mobile_shape import MobileShape, MobileStage

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
    return nn.BatchNorm2d(width)


def drawn(network: nn.Module, epsilon: float) -> nn.Module:
    """Normalisations by chance; variances are so small that epsilon counts."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = epsilon
            for p in (part.weight, part.bias, part.running_mean):
                nn.init.uniform_(p, 0.5, 1.5)
            nn.init.uniform_(part.running_var, 0.005, 0.05)
    return network.eval()


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


def write_network(
    folder: Path,
    architecture: str = "tf_efficientnet_lite0",
    epsilon: float = 1e-3,
    mean: tuple[float, ...] = (0.5, 0.5, 0.5),
    std: tuple[float, ...] = (0.5, 0.5, 0.5),
) -> nn.Module:
    """A network, and its weights and what timm says of it in a folder."""
    torch.manual_seed(0)
    made = drawn(Network(), epsilon)
    save_file(made.state_dict(), folder / "model.safetensors")
    said = {"architecture": architecture, "pretrained_cfg": {"mean": mean, "std": std}}
    (folder / "config.json").write_text(json.dumps(said))
    return made


def write_torchvision(file: Path) -> nn.Module:
    """torchvision's MobileNetV2, small, its features with TensorFlow's padding; its weights are
    written as PyTorch writes them.
    """
    from torchvision.models import MobileNetV2

    torch.manual_seed(0)
    made = MobileNetV2(2, inverted_residual_setting=[[1, 8, 1, 1], [6, 16, 2, 2]])
    torch.save(drawn(made, 1e-5).state_dict(), file)
    for part in made.modules():
        if isinstance(part, nn.Conv2d) and part.stride == (2, 2):
            part.padding = (0, 0)
            part.register_forward_pre_hook(lambda _, given: F.pad(given[0], (0, 1, 0, 1)))
    return made.features[:-1]
