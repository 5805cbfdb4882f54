"""pixels and keys -> the same pictures, flipped and shifted at random."""

from __future__ import annotations

import torch

from training.data.randomness import uniform


def augment(pixels: torch.Tensor, keys: torch.Tensor, shift: int) -> torch.Tensor:
    """Random flip and shift by up to `shift` pixels with reflected borders: (B, 3, S, S) uint8 ->
    the same.
    """
    side = pixels.shape[-1]
    u = uniform(keys, 3, stream=0)
    offset = (u[:, :2] * (2 * shift + 1)).long() - shift
    line = torch.arange(side, device=pixels.device)
    rows, cols = ((line + offset[:, i : i + 1]) for i in (0, 1))
    rows, cols = (side - 1 - (side - 1 - z.abs()).abs() for z in (rows, cols))
    cols = torch.where(u[:, 2:] < 0.5, cols, cols.flip(1))
    sample = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return pixels.permute(0, 2, 3, 1)[sample, rows[:, :, None], cols[:, None, :]].permute(
        0, 3, 1, 2
    )
