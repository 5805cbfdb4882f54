"""symbols -> payload, what all range coders share: frozen integer tables, and how a payload ends.

Part of the one file for devices: Python 3.6, numpy.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]

PRECISION = 24
TOTAL = 1 << PRECISION
"""A table's frequencies sum to this."""
MASK = (1 << 64) - 1
"""The coder's interval is 64 bits wide."""
BYTE_TABLES = (np.arange(257, dtype=np.uint32) << (PRECISION - 8))[None]
"""The one table of bytes as they are."""
INVALID = "the payload does not decode with this codec's tables"


@dataclass(frozen=True, eq=False)
class Tables:
    """Frozen integer distributions of S symbols each, 0 ... S - 1.

    Attributes:
        cdf: (K, S + 1) uint32, each row rising from 0 to 2**24.

    Raises:
        ValueError: the array has another dtype or shape, or a row does not rise so.
    """

    cdf: NDArray[np.uint32]

    def __post_init__(self) -> None:
        cdf = self.cdf
        if not isinstance(cdf, np.ndarray) or cdf.ndim != 2 or cdf.dtype != np.uint32:
            raise ValueError("tables are (K, S + 1) uint32")
        if cdf.shape[0] < 1 or cdf.shape[1] < 2:
            raise ValueError("tables are (K, S + 1) uint32, with a row and a symbol at the least")
        if np.any(cdf[:, 0] != 0) or np.any(cdf[:, -1] != TOTAL):
            raise ValueError(f"each row of the tables runs from 0 to {TOTAL}")
        if np.any(np.diff(cdf.astype(np.int64), axis=1) < 1):
            raise ValueError("each symbol of a table needs a frequency of at least 1 of 2**24")

    @classmethod
    def from_mass(cls, mass: NDArray[np.float64]) -> Tables:
        """Tables of mass (K, S), counts or probabilities: shares of it, of at least 1 in 2**24. For
        freezing, never for loading.
        """
        frequency = np.maximum(np.floor(mass * (TOTAL / mass.sum(1, keepdims=True))), 1).astype(
            np.int64
        )
        # what rounding took or gave is the most frequent symbol's
        frequency[np.arange(len(frequency)), frequency.argmax(1)] += TOTAL - frequency.sum(1)
        start = np.zeros((len(frequency), 1))
        cdf = np.concatenate([start, np.cumsum(frequency, axis=1)], axis=1)
        return cls(cdf.astype(np.uint32))

    @property
    def n_symbols(self) -> int:
        """S, the length of each table."""
        return self.cdf.shape[1] - 1

    @functools.cached_property
    def rows(self) -> list[list[int]]:
        """The rows as Python integers, for the portable coder."""
        return self.cdf.tolist()  # type: ignore[no-any-return]

    @functools.cached_property
    def cost(self) -> NDArray[np.float64]:
        """Ideal code length of each symbol in each table (K, S) float64, in bits."""
        return PRECISION - np.log2(np.diff(self.cdf.astype(np.int64), axis=1))


def shortest(low: int, width: int, n_bits: int) -> bytes:
    """The fewest bytes whose value, followed by zeros, lies in [low, low + width); both are in
    units of 2**-n_bits.
    """
    for n_bytes in range(max(n_bits // 8 - 16, 0), n_bits // 8 + 1):
        shift = n_bits - 8 * n_bytes
        point = -(-low >> shift)  # low, rounded up to n_bytes
        if point << shift < low + width:
            return point.to_bytes(n_bytes, "big").rstrip(b"\0")
    raise AssertionError("an interval holds a point of its own resolution")
