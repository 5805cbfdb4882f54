"""pixels -> logits: a small convolutional network without statistics of batches, for clients that
learn together.
"""

from __future__ import annotations

import torch
from torch import nn

GROUPS = 4


class SmallNet(nn.Module):
    """Strided convolutions with residual ones between them: pixel_values (B, 3, S, S) -> logits (B,
    n_labels).

    Group normalisation (Wu, He 2018, arXiv 1803.08494) in the place of batch normalisation: a mean
    of clients' weights would not fit the mean of their statistics (Hsieh et al. 2020, arXiv
    1910.00189, sec. 5). Every stage halves the resolution at once, so that most weights are where
    there are few positions: a picture takes 10 million multiplications.

    Raises:
        ValueError: a width is not made of the groups, or the pictures have too few pixels.
    """

    def __init__(self, widths: tuple[int, ...], n_labels: int, image_size: int) -> None:
        super().__init__()
        side = image_size >> len(widths)
        whole = side << len(widths) == image_size and side >= 1
        if not widths or not whole or any(width % GROUPS for width in widths):
            raise ValueError(
                f"widths are multiples of {GROUPS}, and as many as a side of {image_size} pixels "
                f"can be halved, not {widths}"
            )
        stages: list[nn.Module] = []
        n_in = 3
        for i, width in enumerate(widths):
            kernel = 3 if i else 4
            stages.append(nn.Conv2d(n_in, width, kernel, stride=2, padding=1, bias=False))
            stages += [nn.GroupNorm(GROUPS, width), nn.ReLU()]
            if i:
                stages.append(_Residual(width))
            n_in = width
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(n_in * side * side, n_labels)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        x = self.stages(pixel_values.contiguous(memory_format=torch.channels_last))
        logits: torch.Tensor = self.classifier(x.flatten(1))
        return logits


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(GROUPS, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + nn.functional.relu(self.norm(self.conv(x)))
