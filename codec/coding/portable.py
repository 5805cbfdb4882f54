"""symbols, each with an integer table <-> payload: a range coder whose bytes depend on integers
alone, in Python integers.

64-bit range, 32-bit words, 24-bit tables (Martin 1979, "Range encoding: an algorithm for removing
redundancy from a digitised message"). A payload ends with the shortest tail: the fewest bytes that
still fall into the last interval, zeros being implied. Part of the one file for devices: Python
3.6, numpy.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

from codec.coding.container import BitstreamError
from codec.coding.tables import BYTE_TABLES, INVALID, MASK, PRECISION, shortest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.coding.tables import Integers, Tables

_BYTE = BYTE_TABLES[0].tolist()


class PortableEncoder:
    """Symbols -> payload.

    Args:
        tables: what symbols are written with.
    """

    def __init__(self, tables: Tables) -> None:
        self._rows = tables.rows
        # what lies above the 64-bit window; a carry out of the window is a plain addition to it
        self._settled, self._n_words = 0, 0
        self._low, self._width = 0, MASK

    def write(self, symbols: NDArray[np.int32], table: Integers | int) -> None:
        """Append symbols (n,) int32 in 0 ... S - 1; `table` is the row of each, (n,), or of all."""
        self._write(
            symbols.tolist(),
            [self._rows[t] for t in np.broadcast_to(table, symbols.shape).tolist()],
        )

    def write_bytes(self, values: NDArray[np.uint8]) -> None:
        """Append bytes (n,) uint8 as they are."""
        self._write(values.tolist(), [_BYTE] * len(values))

    def _write(self, symbols: list[int], rows: list[list[int]]) -> None:
        low, width, n_new = self._low, self._width, 0
        for symbol, cdf in zip(symbols, rows, strict=True):
            start = cdf[symbol]
            scale = width >> PRECISION
            low += scale * start
            width = scale * (cdf[symbol + 1] - start)
            if width < 0x100000000:
                width <<= 32
                low <<= 32
                n_new += 1
        self._settled = (self._settled << 32 * n_new) + (low >> 64)
        self._low, self._width, self._n_words = low & MASK, width, self._n_words + n_new

    def write_parts(self, starts: list[int], sizes: list[int], totals: list[int]) -> None:
        """Append symbols whose frequencies are `sizes` of `totals`, with `starts` before them;
        totals of at most 2**25.
        """
        for start, size, total in zip(starts, sizes, totals, strict=True):
            scale = self._width // total
            self._low += scale * start
            self._width = scale * size
            if self._width < 0x100000000:
                self._settled = (self._settled << 32) + (self._low >> 32)
                self._low, self._width, self._n_words = (
                    (self._low & 0xFFFFFFFF) << 32,
                    self._width << 32,
                    self._n_words + 1,
                )

    def holds(self, payload: bytes) -> bool:
        """Whether a payload, zeros being implied, leads to all that was written."""
        n_bits = max(32 * self._n_words + 64, 8 * len(payload))
        shift = n_bits - (32 * self._n_words + 64)
        ahead = (int.from_bytes(payload, "big") << (n_bits - 8 * len(payload))) - (
            ((self._settled << 64) + self._low) << shift
        )
        return 0 <= ahead < self._width << shift

    def finish(self) -> bytes:
        """The payload of all that was written."""
        return shortest((self._settled << 64) + self._low, self._width, 32 * self._n_words + 64)


class PortableDecoder:
    """Payload -> symbols: the inverse of `PortableEncoder`, call by call."""

    def __init__(self, payload: bytes, tables: Tables) -> None:
        self._rows = tables.rows
        words = [*np.frombuffer(payload + bytes(-len(payload) % 4), dtype=">u4").tolist(), 0, 0]
        # distance of the code point from the interval's start; its width
        self._ahead, self._width = words[0] << 32 | words[1], MASK
        self._words = iter(words[2:])

    def read(self, table: Integers | int, n: int | None = None) -> NDArray[np.int32]:
        """The next symbols; `table` is the row of each, (n,), or of `n` symbols.

        Raises:
            BitstreamError: the payload is not what an encoder with these tables writes.
        """
        ids = [table] * (n or 0) if isinstance(table, int) else table.tolist()
        return np.array(self._read([self._rows[t] for t in ids]), dtype=np.int32)

    def read_bytes(self, n: int) -> NDArray[np.uint8]:
        """The next `n` bytes. Errors as `read`."""
        return np.array(self._read([_BYTE] * n), dtype=np.uint8)

    def read_parts(self, rows: list[list[int]]) -> list[int]:
        """The next symbols, written by `write_parts`, each with a row that rises from 0 to its
        total. Errors as `read`.
        """
        out = []
        for cdf in rows:
            scale = self._width // cdf[-1]
            symbol = bisect_right(cdf, self._ahead // scale) - 1
            if symbol == len(cdf) - 1:
                raise BitstreamError(INVALID)
            self._ahead -= scale * cdf[symbol]
            self._width = scale * (cdf[symbol + 1] - cdf[symbol])
            if self._width < 0x100000000:
                self._width <<= 32
                self._ahead = self._ahead << 32 | next(self._words, 0)
            out.append(symbol)
        return out

    def _read(self, rows: list[list[int]]) -> list[int]:
        ahead, width, out = self._ahead, self._width, []
        for cdf in rows:
            scale = width >> PRECISION
            symbol = bisect_right(cdf, ahead // scale) - 1
            if symbol == len(cdf) - 1:
                raise BitstreamError(INVALID)
            ahead -= scale * cdf[symbol]
            width = scale * (cdf[symbol + 1] - cdf[symbol])
            if width < 0x100000000:
                width <<= 32
                ahead = ahead << 32 | next(self._words, 0)
            out.append(symbol)
        self._ahead, self._width = ahead, width
        return out
