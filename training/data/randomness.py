"""a sample's key -> random numbers by counting: the same on every machine, in any batch.

All randomness of a sample (crop, flip, quantisation noise, choice of words) is a function of its
key, which is made of seed, epoch and index: a batch does not depend on the number of processes that
share it, and a resumed run sees what an uninterrupted one sees.
"""

from __future__ import annotations

import torch


def uniform(keys: torch.Tensor, n: int, stream: int) -> torch.Tensor:
    """Counter-based random numbers: keys (B,) int64 -> (B, n) float32 in [0, 1), the same on every
    machine.

    SplitMix64 (Steele, Lea, Flood 2014) of (key, stream, position); `stream` separates the uses.
    """
    position = torch.arange(n, device=keys.device) + (stream << 40)
    z = _mix(_mix(keys)[:, None] + position)
    return (z >> 40 & 0xFFFFFF).to(torch.float32) / (1 << 24)


def _mix(z: torch.Tensor) -> torch.Tensor:
    z = z + _signed(0x9E3779B97F4A7C15)
    z = (z ^ (z >> 30 & (1 << 34) - 1)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> 27 & (1 << 37) - 1)) * _signed(0x94D049BB133111EB)
    return z ^ (z >> 31 & (1 << 33) - 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
