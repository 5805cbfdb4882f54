"""Start a ViT as a convolution: heads that look at the neighbouring patches, so that little data is
enough.

After Zheng et al. 2024, "Structured Initialization for Attention in Vision Transformers" (arXiv
2404.01139) and d'Ascoli et al. 2021 (ConViT), here with exact shifts: the position embedding holds
sines and cosines of the patch's place, on which a shift is a rotation, so that a key projection
which rotates makes a head's attention peak at a fixed offset. Nothing is frozen; training moves all
of it.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from codec.model.split import blocks
from codec.model.split_tower import patch_weights, position_embeddings, query_and_key

CROSS = ((1, 0), (-1, 0), (0, 1), (0, -1))
DIAGONALS = ((1, 1), (-1, 1), (1, -1), (-1, -1))
SHARPNESS = 1.6


@torch.no_grad()
def convolutional_init(model: Any) -> None:
    """Set a ViTForImageClassification's position embeddings and the first four heads' query and key
    projections of every block, in place.

    Blocks look at the four direct and the four diagonal neighbours in turn; further heads keep
    their random start.

    Raises:
        ValueError: the size of a head is not a multiple of 4.
    """
    config = model.config
    grid = config.image_size // config.patch_size
    size = config.hidden_size // config.num_attention_heads
    if size % 4:
        raise ValueError(f"heads of {size} channels cannot hold sines and cosines of two axes")
    n = size // 4
    frequencies = math.pi * torch.arange(1, n + 1) / n
    y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    waves = [f(p.flatten()[:, None] * frequencies) for p in (x, y) for f in (torch.cos, torch.sin)]
    positions, patches = position_embeddings(model), patch_weights(model)
    positions.zero_()
    positions[0, 1:, :size] = torch.cat(waves, dim=1)
    patches[:size] = 0  # these channels hold positions alone
    patches[size:] *= 3
    for i, block in enumerate(blocks(model)):
        query, key = query_and_key(block)
        for head, (dx, dy) in enumerate((CROSS, DIAGONALS)[i % 2][: config.num_attention_heads]):
            rows = slice(head * size, (head + 1) * size)
            query[rows] *= 0.1
            key[rows] *= 0.1
            query[rows, :size] += SHARPNESS * torch.block_diag(
                _rotation(frequencies * dx), _rotation(frequencies * dy)
            )
            key[rows, :size] += SHARPNESS * torch.eye(size)


def _rotation(angle: torch.Tensor) -> torch.Tensor:
    """(cos p, sin p) -> (cos(p + angle), sin(p + angle)) as a matrix, for angles (n,): (2n, 2n)."""
    cos, sin = torch.diag(angle.cos()), torch.diag(angle.sin())
    return torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)])
