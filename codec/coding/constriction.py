"""symbols, each with an integer table <-> payload: the bytes of `codec.coding.portable`, written by
constriction (Bamler 2022, arXiv 2201.01741), sooner.

Part of the one file for devices, where constriction is seldom installed: then nothing here is
called.
"""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.coding.container import BitstreamError
from codec.coding.tables import BYTE_TABLES, INVALID, MASK, PRECISION, shortest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codec.coding.tables import Integers, Tables


@functools.cache
def constriction_package() -> Any:
    """The package, None where it is not installed."""
    try:
        import constriction
    except ImportError:
        return None
    return constriction


class ConstrictionEncoder:
    """`PortableEncoder` by constriction: the same bytes."""

    def __init__(self, tables: Tables) -> None:
        self._tables = _constrictions(tables)
        self._coder = constriction_package().stream.queue.RangeEncoder()

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
            point -= (point - low) & MASK
            n_bits = 8 * (len(sealed) - start)
            if 0 <= point < (1 << n_bits) - width or not start:
                tail = shortest(point, width, n_bits)
                return (sealed[:start] + tail) if tail else sealed[:start].rstrip(b"\0")
        raise AssertionError("the second round takes the whole payload")


class ConstrictionDecoder:
    """`PortableDecoder` by constriction: the same symbols."""

    def __init__(self, payload: bytes, tables: Tables) -> None:
        self._tables = _constrictions(tables)
        words = np.frombuffer(payload + bytes(-len(payload) % 4 + 8), dtype=">u4").astype(np.uint32)
        self._coder = constriction_package().stream.queue.RangeDecoder(words)

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


class _Constrictions:
    """Tables as constriction takes them.

    Constriction takes weights and makes integers of them. `frequency - 1`, which sum to 2**24 - S,
    make its scale exactly 1 and leave 1 for each symbol, so it rebuilds these frequencies. That
    leans on its inside, so every boundary is checked.

    Attributes:
        weights: (K, S) float64, a row for a symbol that brings its own table.
    """

    def __init__(self, cdf: Integers) -> None:
        self.weights = (np.diff(cdf.astype(np.int64), axis=1) - 1).astype(np.float64)
        for weights, row in zip(self.weights, cdf.tolist(), strict=True):
            _check_boundaries(weights, row)

    @functools.cached_property
    def models(self) -> list[Any]:
        """A model for each row, which writes many symbols of one table."""
        return self._made(lazy=False)

    @functools.cached_property
    def lookups(self) -> list[Any]:
        """A model for each row, which reads many symbols of one table, and looks them up from its
        start: the same numbers.
        """
        return self._made(lazy=True)

    def _made(self, lazy: bool) -> list[Any]:
        categorical = constriction_package().stream.model.Categorical
        return [categorical(row, perfect=False, lazy=lazy) for row in self.weights]


_MADE: weakref.WeakKeyDictionary[Tables, _Constrictions] = weakref.WeakKeyDictionary()


def _constrictions(tables: Tables) -> _Constrictions:
    """Made once for each `Tables`, and gone with it."""
    made = _MADE.get(tables)
    if made is None:
        made = _MADE[tables] = _Constrictions(tables.cdf)
    return made


@functools.cache
def _family() -> Any:
    """Constriction's tables that are given anew with each symbol."""
    return constriction_package().stream.model.Categorical(perfect=False)


@functools.cache
def _byte_model() -> Any:
    return _Constrictions(BYTE_TABLES).models[0]


def _check_boundaries(weights: NDArray[np.float64], cdf: list[int]) -> None:
    """A symbol that is coded alone must move the interval by its own start and width.

    Raises:
        RuntimeError: it does not.
    """
    scale = MASK >> PRECISION
    for symbol in range(len(cdf) - 1):
        coder = constriction_package().stream.queue.RangeEncoder()
        coder.encode(np.array([symbol], dtype=np.int32), _family(), weights[None])
        start, size = cdf[symbol], cdf[symbol + 1] - cdf[symbol]
        n_words = int(scale * size < 1 << 32)
        shift = 32 * n_words
        if coder.pos() != (n_words, ((scale * start << shift) & MASK, scale * size << shift)):
            raise RuntimeError(
                "this version of constriction rounds probabilities differently; use 0.4 or 0.5"
            )
