"""symbols + integer tables <-> payload: a range coder whose bytes depend on integers alone.

`encode` and `decode` use constriction (Bamler 2022, arXiv 2201.01741) where it is installed. `encode_portable` and `decode_portable`
are the same coder in Python integers for devices without it: 64-bit range, 32-bit words, 24-bit tables (Martin 1979). Both write the
same bytes. A payload ends with the shortest tail: the fewest bytes that still fall into the last interval, zeros being implied.

Symbols of a channel are coded together, channel after channel. Values outside a channel's table are written as its escape symbol,
and follow in full (16 bits each) after the last channel, so no latent can make encoding fail.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.bitstream import BitstreamError

PRECISION = 24
TOTAL = 1 << PRECISION
LIMIT = 32767
"""Symbols are integers in -32767..32767; encoders clip to that before they call."""

_NONE = np.empty(0, dtype=np.int32)
_RAW = np.arange(257, dtype=np.int64) << (PRECISION - 8)  # cdf of a uniform byte, for escaped values


@dataclass(frozen=True, eq=False)
class Tables:
    """Frozen integer distributions of the symbols, one a channel.

    Attributes:
        cdf: (C, S + 1) uint32, each row from 0 to 2**24; a row with fewer than S symbols repeats 2**24 at its end.
        offset: (C,) int32, the value of each row's first symbol.
        n_symbols: (C,) int32, symbols of each row; the last of them is the escape.
    """

    cdf: NDArray[np.uint32]
    offset: NDArray[np.int32]
    n_symbols: NDArray[np.int32]

    def __post_init__(self) -> None:
        cdf = self.cdf
        if cdf.ndim != 2 or cdf.dtype != np.uint32 or not len(cdf) == len(self.offset) == len(self.n_symbols):
            raise ValueError("tables are (C, S + 1) uint32 with one offset and one length a channel")
        if len(cdf) and (np.any(cdf[:, 0] != 0) or np.any(cdf[:, -1] != TOTAL)):
            raise ValueError(f"each row of the tables runs from 0 to {TOTAL}")
        for row, n in zip(cdf, self.n_symbols, strict=True):
            if not 2 <= n < len(row) or row[n] != TOTAL or np.any(np.diff(row[: n + 1].astype(np.int64)) < 1):
                raise ValueError("each symbol of a table needs a frequency of at least 1 of 2**24")

    @property
    def n_channels(self) -> int:
        return len(self.cdf)

    @functools.cached_property
    def escape(self) -> NDArray[np.int32]:
        """Place of each row's escape symbol, (C, 1)."""
        return self.n_symbols[:, None] - 1

    @functools.cached_property
    def rows(self) -> list[list[int]]:
        """The rows as Python integers, for the portable coder."""
        return [row[: n + 1].tolist() for row, n in zip(self.cdf, self.n_symbols, strict=True)]

    @functools.cached_property
    def models(self) -> list[Any]:
        """The rows as constriction models, with every boundary checked."""
        return [_model(np.asarray(row)) for row in self.rows]

    def bits(self, symbols: NDArray[np.integer[Any]]) -> float:
        """Ideal code length in bits of symbols (C, M) under these tables, escapes included."""
        index, escaped = _checked(symbols, self)
        frequency = np.diff(self.cdf.astype(np.int64), axis=1)
        chosen = np.take_along_axis(frequency, index.astype(np.int64), axis=1)
        return float(-np.log2(chosen / TOTAL).sum()) + 16.0 * len(escaped)


def encode(symbols: NDArray[np.integer[Any]], tables: Tables) -> bytes:
    """Symbols (C, M) of one image, int32 in -32767..32767 -> payload.

    Raises:
        ValueError: another shape or dtype than the tables', or a value out of range.
    """
    constriction = _constriction()
    if constriction is None:
        return encode_portable(symbols, tables)
    index, escaped = _checked(symbols, tables)
    coder = constriction.stream.queue.RangeEncoder()
    for row, model in zip(index, tables.models, strict=True):
        coder.encode(row, model)
    if len(escaped):
        coder.encode(_escape_bytes(escaped), _raw_model())
    n_words, (low, width) = coder.pos()
    sealed = coder.get_compressed().astype(">u4").tobytes().ljust(4 * n_words + 8, b"\0")
    split = max(len(sealed) - 32, 0)  # what the tail may change, but for a borrow or a carry out of it
    for start in (split, 0):
        point = int.from_bytes(sealed[start:], "big")
        point -= (point - low) % (1 << 64)
        n_bits = 8 * (len(sealed) - start)
        if 0 <= point < (1 << n_bits) - width or not start:
            tail = _shortest(point, width, n_bits)
            return (sealed[:start] + tail) if tail else sealed[:start].rstrip(b"\0")
    raise AssertionError("the second round takes the whole payload")


def decode(payload: bytes, tables: Tables, n_positions: int) -> NDArray[np.int32]:
    """Payload -> symbols (C, n_positions) int32: the inverse of `encode`.

    Raises:
        BitstreamError: the payload is not what an encoder with these tables writes.
    """
    constriction = _constriction()
    if constriction is None:
        return decode_portable(payload, tables, n_positions)
    words = np.frombuffer(payload + bytes(-len(payload) % 4 + 8), dtype=">u4").astype(np.uint32)
    coder = constriction.stream.queue.RangeDecoder(words)
    try:
        rows = [coder.decode(model, n_positions) for model in tables.models]
        index = np.concatenate(rows).reshape(tables.n_channels, n_positions)
        escapes = np.flatnonzero(index == tables.escape)
        raw = coder.decode(_raw_model(), 2 * len(escapes)) if len(escapes) else _NONE
    except AssertionError as error:  # what constriction raises for invalid data
        raise BitstreamError("the payload does not decode with this codec's tables") from error
    return _finish(index, escapes, raw, tables)


def encode_portable(symbols: NDArray[np.integer[Any]], tables: Tables) -> bytes:
    """`encode` in Python integers: the same bytes, nothing but numpy needed."""
    index, escaped = _checked(symbols, tables)
    settled, n_words = 0, 0  # what lies above the 64-bit window; a carry out of the window is a plain addition to it
    low, width = 0, (1 << 64) - 1
    for row, cdf in _passes(index, escaped, tables):
        n_new = 0
        for i in row:
            start = cdf[i]
            scale = width >> PRECISION
            low += scale * start
            width = scale * (cdf[i + 1] - start)
            if width < 0x100000000:
                width <<= 32
                low <<= 32
                n_new += 1
        settled = (settled << 32 * n_new) + (low >> 64)
        low &= 0xFFFFFFFFFFFFFFFF
        n_words += n_new
    return _shortest((settled << 64) + low, width, 32 * n_words + 64)


def decode_portable(payload: bytes, tables: Tables, n_positions: int) -> NDArray[np.int32]:
    """`decode` in Python integers: the same symbols, nothing but numpy needed."""
    words = np.frombuffer(payload + bytes(-len(payload) % 4), dtype=">u4").tolist()
    state = _State([*words, 0, 0])
    index = np.empty((tables.n_channels, n_positions), dtype=np.int32)
    for row, cdf in zip(index, tables.rows, strict=True):
        row[:] = _decode_row(state, cdf, n_positions)
    escapes = np.flatnonzero(index == tables.escape)
    raw = _decode_row(state, _RAW.tolist(), 2 * len(escapes)) if len(escapes) else []
    return _finish(index, escapes, np.asarray(raw, dtype=np.int32), tables)


class _State:
    """Decoder state: distance of the code point from the interval's start, the interval's width, words to come."""

    def __init__(self, words: list[int]) -> None:
        self.ahead = words[0] << 32 | words[1]
        self.width = (1 << 64) - 1
        self.words = iter(words[2:])


def _decode_row(state: _State, cdf: list[int], n: int) -> list[int]:
    ahead, width, words = state.ahead, state.width, state.words
    out = []
    for _ in range(n):
        scale = width >> PRECISION
        i = bisect_right(cdf, ahead // scale) - 1
        start = cdf[i]
        if i == len(cdf) - 1:
            raise BitstreamError("the payload does not decode with this codec's tables")
        ahead -= scale * start
        width = scale * (cdf[i + 1] - start)
        if width < 0x100000000:
            width <<= 32
            ahead = ahead << 32 | next(words, 0)
        out.append(i)
    state.ahead, state.width = ahead, width
    return out


def _passes(index: NDArray[np.int32], escaped: NDArray[np.int32], tables: Tables) -> Iterator[tuple[list[int], list[int]]]:
    yield from zip(index.tolist(), tables.rows, strict=True)
    if len(escaped):
        yield _escape_bytes(escaped).tolist(), _RAW.tolist()


def _checked(symbols: NDArray[np.integer[Any]], tables: Tables) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    if not isinstance(symbols, np.ndarray) or symbols.dtype.kind not in "iu":
        raise ValueError("symbols are an array of integers")
    if symbols.ndim != 2 or len(symbols) != tables.n_channels:
        raise ValueError(f"symbols of {tables.n_channels} channels have shape (C, M), not {symbols.shape}")
    if symbols.dtype != np.int32:  # a wider type might wrap around into the tables
        symbols = symbols.astype(np.int64).clip(-LIMIT - 1, LIMIT + 1)
    index, escaped = _index(symbols.astype(np.int32, copy=False), tables)
    if len(escaped) and np.count_nonzero((escaped + LIMIT).view(np.uint32) > 2 * LIMIT):
        raise ValueError(f"symbols are in -{LIMIT}..{LIMIT}")
    return index, escaped


def _index(symbols: NDArray[np.int32], tables: Tables) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Symbols (C, M) int32 -> places in the tables (C, M), and the values that have none, in coding order."""
    index = np.subtract(symbols, tables.offset[:, None], order="C")
    outside = index.view(np.uint32) >= tables.escape.view(np.uint32)  # below the table counts as far above it
    places = outside.reshape(-1).nonzero()[0]
    if not len(places):
        return index, _NONE
    flat, channels = index.reshape(-1), places // symbols.shape[1]
    values = flat[places] + tables.offset[channels]
    flat[places] = tables.n_symbols[channels] - 1
    return index, values


def _finish(index: NDArray[np.int32], escapes: NDArray[np.intp], raw: NDArray[np.int32], tables: Tables) -> NDArray[np.int32]:
    """Places in the tables (C, M), where among them the escapes are, and the bytes of their values -> symbols (C, M)."""
    symbols = index + tables.offset[:, None]
    if len(escapes):
        symbols.reshape(-1)[escapes] = raw.astype(np.uint8).view(">u2").astype(np.int32) - (LIMIT + 1)
    return symbols


def _escape_bytes(values: NDArray[np.int32]) -> NDArray[np.int32]:
    return (values + (LIMIT + 1)).astype(">u2").view(np.uint8).astype(np.int32)


def _shortest(low: int, width: int, n_bits: int) -> bytes:
    """The fewest bytes whose value, followed by zeros, lies in [low, low + width); both are in units of 2**-n_bits."""
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
def _raw_model() -> Any:
    return _model(_RAW)


def _model(cdf: NDArray[np.int64]) -> Any:
    """A row as a constriction model.

    constriction takes floats; `frequency - 1` that sum to 2**24 - S make its scale exactly 1, so it rebuilds these very integers. That
    leans on its inside, so each boundary is checked here: a symbol coded alone must move the interval by its own start and width.
    """
    constriction = _constriction()
    frequency = np.diff(cdf)
    model = constriction.stream.model.Categorical((frequency - 1).astype(np.float64), perfect=False)
    scale = ((1 << 64) - 1) >> PRECISION
    for symbol, (start, size) in enumerate(zip(cdf.tolist(), frequency.tolist(), strict=False)):
        coder = constriction.stream.queue.RangeEncoder()
        coder.encode(np.array([symbol], dtype=np.int32), model)
        n_words = int(scale * size < 1 << 32)
        shift = 32 * n_words
        if coder.pos() != (n_words, ((scale * start << shift) % (1 << 64), scale * size << shift)):
            raise RuntimeError("this version of constriction rounds probabilities differently; use 0.4 or 0.5")
    return model
