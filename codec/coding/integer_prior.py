"""symbols (B, M, C) <-> payloads: the context network chooses each symbol's table, the range coder
does the rest.

Symbols are coded pass by pass, position by position, channel by channel. One that its table does
not reach is written as the table's last symbol, and its value follows as a byte at the end of the
pass, so no latent can make encoding fail. Part of the one file for devices: Python 3.6, numpy.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from codec.coding.coders import PORTABLE, Coder, usual
from codec.coding.container import BitstreamError
from codec.coding.context import ContextNetwork
from codec.coding.exact import LIMIT, N_TABLES
from codec.coding.places import AWAY, ESCAPE, TABLE_SYMBOLS, places_of
from codec.coding.tables import INVALID, Integers, Tables

if TYPE_CHECKING:
    from typing import Protocol

    class WholeCoder(Protocol):
        """Context network and coder in one, as `codec.coding.native.NativeCoder` has them."""

        def encode(self, symbols: Integers, quality: int) -> list[bytes]: ...
        def decode(self, payloads: Sequence[bytes], quality: int) -> NDArray[np.int32]: ...


@dataclass(frozen=True, eq=False)
class IntegerPrior:
    """The frozen prior of a codec: a context network, and the tables that all channels and
    qualities share.

    Attributes:
        coder: who codes; None for constriction where it is installed, else the coder that needs
            nothing but numpy. `portable` asks for that one. All write and read the same bytes.
        native: who does all that in C, instead.
    """

    network: ContextNetwork
    tables: Tables
    coder: Coder | None = None
    native: WholeCoder | None = None

    def __post_init__(self) -> None:
        if self.tables.cdf.shape != (N_TABLES, TABLE_SYMBOLS + 1):
            raise ValueError(
                f"a prior has {N_TABLES} tables of {TABLE_SYMBOLS} symbols, not "
                f"{self.tables.cdf.shape}"
            )

    @property
    def coder_name(self) -> str:
        """Who codes: `c`, `constriction` or `numpy`."""
        return self._coder(False).name if self.native is None else "c"

    def encode(self, symbols: Integers, quality: int, portable: bool = False) -> list[bytes]:
        """Symbols (B, M, C), integers in -127..127 -> a payload each.

        Raises:
            ValueError: not integers, or another shape, range or quality than the prior's.
        """
        if self.native is not None and not portable:
            self._checked(symbols, quality)
            return self.native.encode(symbols, quality)
        return self._payloads(*self.places(symbols, quality), portable)

    def decode(
        self, payloads: Sequence[bytes], quality: int, portable: bool = False
    ) -> NDArray[np.int32]:
        """Payloads -> symbols (B, M, C) int32: the inverse of `encode`.

        Raises:
            BitstreamError: a payload is not what `encode` writes for any symbols at this quality.
            ValueError: the prior has no such quality.
        """
        network = self.network
        self._check_quality(quality)
        if self.native is not None and not portable:
            symbols = self.native.decode(payloads, quality)
            written = self.native.encode(symbols, quality)
        else:
            make = self._coder(portable).decoder
            coders = [make(payload, self.tables) for payload in payloads]
            ordered, means, tables = self._read(coders, quality)
            if np.count_nonzero(np.abs(ordered) > LIMIT):
                raise BitstreamError(INVALID)
            written = self._payloads(ordered, places_of(ordered, means), tables, portable)
            symbols = ordered.reshape(-1, network.side**2, network.n_channels)
            symbols = symbols.take(network.inverse, axis=1)
        # Other bytes can lead to the same symbols: with another tail, or with an escape for a
        # symbol that its table reaches. What the encoder writes is the only form.
        for payload, only in zip(payloads, written, strict=True):
            if payload != only:
                found = f"its {len(payload)} bytes hold symbols that take {len(only)}"
                raise BitstreamError(
                    f"the payload was not written at quality {quality}, or is damaged: {found}"
                )
        return symbols

    def _read(
        self, coders: Sequence[Any], quality: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """A decoder for each payload -> symbols, the means and the tables chosen for them, each (B,
        M * C) in the order of coding.
        """
        network = self.network
        b, m, c = len(coders), network.side**2, network.n_channels
        known = np.zeros((m + 1, b, c), dtype=np.float32)
        ordered, means, tables = (np.empty((b, m * c), dtype=np.int32) for _ in range(3))
        for i, rows in enumerate(network.rows):
            choice = network.choose(known, quality, i, i + 1)
            part = slice(rows.start * c, rows.stop * c)
            tables[:, part], means[:, part] = _by_image(choice.table), _by_image(choice.mean)
            places = np.empty(tables[:, part].shape, dtype=np.int32)
            for coder, place, row in zip(coders, places, tables[:, part], strict=True):
                place[:] = coder.read(row)
            found = AWAY.take(places)
            found += means[:, part]
            escaped = places == ESCAPE
            if np.count_nonzero(escaped):
                for coder, symbol, where in zip(coders, found, escaped, strict=True):
                    values = coder.read_bytes(int(where.sum())).astype(np.int32)
                    symbol[where] = values - (LIMIT + 1)
            ordered[:, part] = found
            if rows.stop < m:
                known[rows] = network.in_unit(found.reshape(b, -1, c), quality).swapaxes(0, 1)
        return ordered, means, tables

    def _coder(self, portable: bool) -> Coder:
        return PORTABLE if portable else self.coder or usual()

    def bits(self, symbols: Integers, quality: int) -> NDArray[np.float64]:
        """Ideal code length of symbols (B, M, C) in bits, (B,), escaped bytes included. Errors as
        `encode`.
        """
        _, places, tables = self.places(symbols, quality)
        return np.add.reduce(self._costs.take(tables * TABLE_SYMBOLS + places), axis=1)

    @functools.cached_property
    def _costs(self) -> NDArray[np.float64]:
        """Bits of each symbol of each table, the byte that follows an escape included."""
        costs = self.tables.cost.copy()
        costs[:, ESCAPE] += 8
        return costs

    def places(
        self, symbols: Integers, quality: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Symbols (B, M, C) -> symbols, their places in their tables, and these tables, each (B, M
        * C) in the order of coding.

        Errors as `encode`.
        """
        ordered, means, tables = self._chosen(symbols, quality)
        return ordered, places_of(ordered, means), tables

    def _chosen(
        self, symbols: Integers, quality: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Symbols (B, M, C) -> symbols, the means and the tables chosen for them, each (B, M * C)
        in the order of coding.
        """
        network = self.network
        b, m, c = self._checked(symbols, quality)
        known = np.zeros((m + 1, b, c), dtype=np.float32)
        ordered = symbols.take(network.order, axis=1).astype(np.int32, copy=False)
        known[:m] = network.in_unit(ordered, quality).swapaxes(0, 1)
        means, tables = np.empty((m, b, c), dtype=np.int32), np.empty((m, b, c), dtype=np.int32)
        n_passes, start = len(network.rows), network.rows[0].stop
        for rows, passes in ((slice(0, start), (0, 1)), (slice(start, m), (1, n_passes))):
            if rows.start < m:
                tables[rows], means[rows] = network.choose(known, quality, *passes)
        return ordered.reshape(b, -1), _by_image(means), _by_image(tables)

    def _payloads(
        self,
        ordered: NDArray[np.int32],
        places: NDArray[np.int32],
        tables: NDArray[np.int32],
        portable: bool,
    ) -> list[bytes]:
        """What `places` gives -> a payload for each image."""
        make, payloads = self._coder(portable).encoder, []
        for image in zip(ordered, places, tables, strict=True):
            coder = make(self.tables)
            self._write(coder, *image)
            payloads.append(coder.finish())
        return payloads

    def _write(
        self,
        coder: Any,
        ordered: NDArray[np.int32],
        places: NDArray[np.int32],
        tables: NDArray[np.int32],
    ) -> None:
        """One image's rows of what `places` gives, into a coder."""
        if not np.count_nonzero(places == ESCAPE):
            coder.write(places, tables)
            return
        for rows in self.network.rows:
            part = slice(rows.start * self.network.n_channels, rows.stop * self.network.n_channels)
            coder.write(places[part], tables[part])
            escaped = ordered[part][places[part] == ESCAPE]
            coder.write_bytes((escaped + (LIMIT + 1)).astype(np.uint8))

    def _check_quality(self, quality: int) -> None:
        if quality not in range(self.network.n_qualities):
            raise ValueError(f"quality {quality!r} is not in 0..{self.network.n_qualities - 1}")

    def _checked(self, symbols: Integers, quality: int) -> tuple[int, int, int]:
        network = self.network
        if not isinstance(symbols, np.ndarray) or symbols.dtype.kind not in "iu":
            raise ValueError("symbols are an array of integers")
        if symbols.ndim != 3 or symbols.shape[1:] != (network.side**2, network.n_channels):
            raise ValueError(
                f"symbols have shape (B, {network.side**2}, {network.n_channels}), not "
                f"{symbols.shape}"
            )
        self._check_quality(quality)
        flat = symbols.reshape(-1)
        if flat.size and (np.minimum.reduce(flat) < -LIMIT or np.maximum.reduce(flat) > LIMIT):
            raise ValueError(f"symbols are in -{LIMIT}..{LIMIT}")
        return symbols.shape  # type: ignore[return-value]


def _by_image(rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """What the network chose (n, B, C) -> (B, n * C)."""
    return rows.swapaxes(0, 1).reshape(rows.shape[1], -1)
