"""symbols, each with an integer table <-> payload: a range coder whose bytes depend on integers
alone.

`Encoder` and `Decoder` use constriction (Bamler 2022, arXiv 2201.01741). `PortableEncoder` and
`PortableDecoder` are the same coder in Python integers for devices without it: 64-bit range, 32-bit
words, 24-bit tables (Martin 1979). Both write the same bytes; `usual()` gives whichever there is. A
payload ends with the shortest tail: the fewest bytes that still fall into the last interval, zeros
being implied.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.coding.container import BitstreamError

if TYPE_CHECKING:
    from collections.abc import Callable

PRECISION = 24
TOTAL = 1 << PRECISION

Integers = NDArray[np.integer[Any]]

_MASK = (1 << 64) - 1
BYTE_TABLES = (np.arange(257, dtype=np.uint32) << (PRECISION - 8))[None]
"""The one table of bytes as they are."""
_BYTE = BYTE_TABLES[0].tolist()
INVALID = "the payload does not decode with this codec's tables"


@dataclass(frozen=True, eq=False)
class Tables:
    """Frozen integer distributions of S symbols each, 0 ... S - 1.

    Attributes:
        cdf: (K, S + 1) uint32, each row rising from 0 to 2**24.
    """

    cdf: NDArray[np.uint32]

    def __post_init__(self) -> None:
        cdf = self.cdf
        if cdf.ndim != 2 or cdf.dtype != np.uint32 or cdf.shape[0] < 1 or cdf.shape[1] < 2:
            raise ValueError("tables are (K, S + 1) uint32")
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
        frequency[np.arange(len(frequency)), frequency.argmax(1)] += TOTAL - frequency.sum(1)
        return cls(
            np.concatenate(
                [np.zeros((len(frequency), 1)), np.cumsum(frequency, axis=1)], axis=1
            ).astype(np.uint32)
        )

    @property
    def n_symbols(self) -> int:
        """S, the length of each table."""
        return self.cdf.shape[1] - 1

    @functools.cached_property
    def rows(self) -> list[list[int]]:
        """The rows as Python integers, for the portable coder."""
        return self.cdf.tolist()  # type: ignore[no-any-return]

    @functools.cached_property
    def weights(self) -> NDArray[np.float64]:
        """The rows (K, S) as constriction takes them, with every boundary checked."""
        weights = _weights(self.cdf)
        for row, cdf in zip(weights, self.rows, strict=True):
            _check_boundaries(row, cdf)
        return weights

    @functools.cached_property
    def models(self) -> list[Any]:
        """The rows as constriction models that write many symbols of one table."""
        return [
            _constriction().stream.model.Categorical(row, perfect=False, lazy=False)
            for row in self.weights
        ]

    @functools.cached_property
    def lookups(self) -> list[Any]:
        """The rows as constriction models that read many symbols of one table, and look them up
        from its start: the same numbers.
        """
        return [
            _constriction().stream.model.Categorical(row, perfect=False, lazy=True)
            for row in self.weights
        ]

    @functools.cached_property
    def cost(self) -> NDArray[np.float64]:
        """Ideal code length of each symbol in each table (K, S), in bits."""
        return PRECISION - np.log2(np.diff(self.cdf.astype(np.int64), axis=1))


class Encoder:
    """Symbols -> payload, by constriction."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._coder = _constriction().stream.queue.RangeEncoder()

    def write(self, symbols: NDArray[np.int32], table: Integers | int) -> None:
        """Append symbols (n,) int32 in 0 ... S - 1; `table` is the row of each, (n,), or of all."""
        if isinstance(table, int):
            self._coder.encode(symbols, self._tables.models[table])
        else:
            self._coder.encode(symbols, _family(), self._tables.weights.take(table, axis=0))

    def write_bytes(self, values: NDArray[np.uint8]) -> None:
        """Append bytes as they are."""
        self._coder.encode(values.astype(np.int32), _byte_model())

    def finish(self) -> bytes:
        """The payload of all that was written."""
        n_words, (low, width) = self._coder.pos()
        sealed = self._coder.get_compressed().astype(">u4").tobytes().ljust(4 * n_words + 8, b"\0")
        # what the tail may change, but for a borrow or a carry out of it
        split = max(len(sealed) - 32, 0)
        for start in (split, 0):
            point = int.from_bytes(sealed[start:], "big")
            point -= (point - low) & _MASK
            n_bits = 8 * (len(sealed) - start)
            if 0 <= point < (1 << n_bits) - width or not start:
                tail = shortest(point, width, n_bits)
                return (sealed[:start] + tail) if tail else sealed[:start].rstrip(b"\0")
        raise AssertionError("the second round takes the whole payload")


class Decoder:
    """Payload -> symbols, by constriction: the inverse of `Encoder`, call by call."""

    def __init__(self, payload: bytes, tables: Tables) -> None:
        self._tables = tables
        words = np.frombuffer(payload + bytes(-len(payload) % 4 + 8), dtype=">u4").astype(np.uint32)
        self._coder = _constriction().stream.queue.RangeDecoder(words)

    def read(self, table: Integers | int, n: int | None = None) -> NDArray[np.int32]:
        """The next symbols; `table` is the row of each, (n,), or of `n` symbols.

        Raises:
            BitstreamError: the payload is not what an encoder with these tables writes.
        """
        try:
            if isinstance(table, int):
                return np.asarray(self._coder.decode(self._tables.lookups[table], n))
            return np.asarray(
                self._coder.decode(_family(), self._tables.weights.take(table, axis=0))
            )
        except AssertionError as error:  # what constriction raises for invalid data
            raise BitstreamError(INVALID) from error

    def read_bytes(self, n: int) -> NDArray[np.uint8]:
        """The next `n` bytes. Errors as `read`."""
        try:
            return np.asarray(self._coder.decode(_byte_model(), n)).astype(np.uint8)
        except AssertionError as error:
            raise BitstreamError(INVALID) from error


class PortableEncoder:
    """`Encoder` in Python integers: the same bytes, nothing but numpy needed."""

    def __init__(self, tables: Tables) -> None:
        self._rows = tables.rows
        # what lies above the 64-bit window; a carry out of the window is a plain addition to it
        self._settled, self._n_words = 0, 0
        self._low, self._width = 0, _MASK

    def write(self, symbols: NDArray[np.int32], table: Integers | int) -> None:
        """As `Encoder.write`."""
        self._write(
            symbols.tolist(),
            [self._rows[t] for t in np.broadcast_to(table, symbols.shape).tolist()],
        )

    def write_bytes(self, values: NDArray[np.uint8]) -> None:
        """As `Encoder.write_bytes`."""
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
        self._low, self._width, self._n_words = low & _MASK, width, self._n_words + n_new

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
        """As `Encoder.finish`."""
        return shortest((self._settled << 64) + self._low, self._width, 32 * self._n_words + 64)


class PortableDecoder:
    """`Decoder` in Python integers: the same symbols, nothing but numpy needed."""

    def __init__(self, payload: bytes, tables: Tables) -> None:
        self._rows = tables.rows
        words = [*np.frombuffer(payload + bytes(-len(payload) % 4), dtype=">u4").tolist(), 0, 0]
        # distance of the code point from the interval's start; its width
        self._ahead, self._width = words[0] << 32 | words[1], _MASK
        self._words = iter(words[2:])

    def read(self, table: Integers | int, n: int | None = None) -> NDArray[np.int32]:
        """As `Decoder.read`."""
        ids = [table] * (n or 0) if isinstance(table, int) else table.tolist()
        return np.array(self._read([self._rows[t] for t in ids]), dtype=np.int32)

    def read_bytes(self, n: int) -> NDArray[np.uint8]:
        """As `Decoder.read_bytes`."""
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


class Coder(NamedTuple):
    """Classes for both directions; all coders write the same bytes and read the same symbols.

    Attributes:
        encoder: tables -> `Encoder`, or what stands for it.
        decoder: payload, tables -> `Decoder`, or what stands for it.
    """

    name: str
    encoder: Callable[[Tables], Any]
    decoder: Callable[[bytes, Tables], Any]


PORTABLE = Coder("numpy", PortableEncoder, PortableDecoder)
"""The coder that needs nothing but numpy."""


def constriction_coder() -> Coder:
    """The coder that is constriction's.

    Raises:
        ValueError: it is not installed.
    """
    if _constriction() is None:
        raise ValueError("constriction is not installed")
    return Coder("constriction", Encoder, Decoder)


def usual() -> Coder:
    """The coder for a computer: constriction's where that is installed."""
    return PORTABLE if _constriction() is None else constriction_coder()


def shortest(low: int, width: int, n_bits: int) -> bytes:
    """The fewest bytes whose value, followed by zeros, lies in [low, low + width); both are in
    units of 2**-n_bits.
    """
    for n_bytes in range(max(n_bits // 8 - 16, 0), n_bits // 8 + 1):
        shift = n_bits - 8 * n_bytes
        point = -(-low >> shift)
        if point << shift < low + width:
            return point.to_bytes(n_bytes, "big").rstrip(b"\0")
    raise AssertionError("an interval holds a point of its own resolution")


@functools.cache
def _constriction() -> Any:
    try:
        import constriction
    except ImportError:
        return None
    return constriction


@functools.cache
def _family() -> Any:
    """Constriction's tables that are given anew with each symbol."""
    return _constriction().stream.model.Categorical(perfect=False)


@functools.cache
def _byte_model() -> Any:
    weights = _weights(BYTE_TABLES)[0]
    _check_boundaries(weights, _BYTE)
    return _constriction().stream.model.Categorical(weights, perfect=False)


def _weights(cdf: Integers) -> NDArray[np.float64]:
    """Rows as constriction takes them: `frequency - 1`, which sum to 2**24 - S, make its scale
    exactly 1: it rebuilds these integers.
    """
    return (np.diff(cdf.astype(np.int64), axis=1) - 1).astype(np.float64)


def _check_boundaries(weights: NDArray[np.float64], cdf: list[int]) -> None:
    """`_weights` leans on constriction's inside, so: a symbol coded alone must move the interval by
    its own start and width.

    Raises:
        RuntimeError: it does not.
    """
    scale = _MASK >> PRECISION
    for symbol in range(len(cdf) - 1):
        coder = _constriction().stream.queue.RangeEncoder()
        coder.encode(np.array([symbol], dtype=np.int32), _family(), weights[None])
        start, size = cdf[symbol], cdf[symbol + 1] - cdf[symbol]
        n_words = int(scale * size < 1 << 32)
        shift = 32 * n_words
        if coder.pos() != (n_words, ((scale * start << shift) & _MASK, scale * size << shift)):
            raise RuntimeError(
                "this version of constriction rounds probabilities differently; use 0.4 or 0.5"
            )
