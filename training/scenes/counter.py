"""key -> random numbers by counting: SplitMix64 (Steele, Lea, Flood 2014) in integers, the same on
every machine.

`Draws` gives one number after the other to code that makes choices, `noise_bytes` gives an array at
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")

_MASK = (1 << 64) - 1
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(z: int) -> int:
    """One step of SplitMix64: any integer -> one in [0, 2^64), each bit depends on each."""
    z = (z + _STEP) & _MASK
    z = ((z ^ (z >> 30)) * _FIRST) & _MASK
    z = ((z ^ (z >> 27)) * _SECOND) & _MASK
    return z ^ (z >> 31)


class Draws:
    """Random choices that are a function of `parts`: a key, and numbers that separate its uses."""

    def __init__(self, *parts: int) -> None:
        state = 0
        for part in parts:
            state = mix(state ^ mix(part))
        self._state = state

    def below(self, n: int) -> int:
        """An integer in [0, n)."""
        self._state = (self._state + _STEP) & _MASK
        return (mix(self._state) * n) >> 64

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return low + self.below(high - low + 1)

    def chance(self, share: int, of: int) -> bool:
        """True `share` times in `of`."""
        return self.below(of) < share

    def choice(self, options: Sequence[T]) -> T:
        """One of `options`, which must not be empty."""
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """All of `options` in random order (Fisher and Yates)."""
        order = list(options)
        for i in range(len(order) - 1, 0, -1):
            j = self.below(i + 1)
            order[i], order[j] = order[j], order[i]
        return order


def noise_bytes(key: int, n: int) -> npt.NDArray[np.uint8]:
    """`n` bytes, uniform and independent: (n,) uint8."""
    z = np.arange(-(-n // 8), dtype=np.uint64)
    z += np.uint64(mix(key))
    z *= np.uint64(_STEP)  # counter i of the stream starts at state (key + i) * step
    z ^= z >> np.uint64(30)
    z *= np.uint64(_FIRST)
    z ^= z >> np.uint64(27)
    z *= np.uint64(_SECOND)
    z ^= z >> np.uint64(31)
    return z.astype("<u8", copy=False).view(np.uint8)[:n]
