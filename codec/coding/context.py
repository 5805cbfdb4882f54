"""symbols already known -> which table codes the next one, in integers alone.

Positions are coded in up to three passes (`codec.coding.passes`). Beyond the first, a small network
of integers predicts mean and scale of each symbol from its four known neighbours (Balle, Johnston,
Minnen 2019, "Integer networks for data compression with latent-variable models", ICLR): the mean's
whole part shifts the symbol, its eighths and the scale choose a table. The network is evaluated in
floats, but on integers whose sums these hold exactly in whatever order they are added
(`codec.coding.exact`): every machine chooses the same tables. Part of the one file for devices:
Python 3.6, numpy.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.coding.exact import EIGHTHS, FRACTION_BITS, LIMIT, N_SCALES, NetworkArrays
from codec.coding.passes import CodingOrder, Pass
from codec.coding.tables import Integers


class Choice(NamedTuple):
    """Tables (n, B, C) of the symbols of passes, and their means (n, B, C), to the nearest
    symbol.
    """

    table: NDArray[np.int32]
    mean: NDArray[np.int32]


class ContextNetwork(NetworkArrays):
    """Known symbols -> `Choice`, by the network whose arrays are given."""

    @functools.cached_property
    def coding(self) -> CodingOrder:
        """The order in which positions are coded."""
        return CodingOrder(self.side)

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes, with neighbours as places in the order of coding."""
        return self.coding.passes

    @property
    def order(self) -> NDArray[np.intp]:
        """Positions in the order of coding, (M,)."""
        return self.coding.order

    @property
    def inverse(self) -> NDArray[np.intp]:
        """The place of each position in the order of coding, (M,)."""
        return self.coding.inverse

    @property
    def rows(self) -> list[slice]:
        """The places of each pass in the order of coding."""
        return self.coding.rows

    def choose(self, known: NDArray[np.float32], quality: int, first: int, last: int) -> Choice:
        """Tables and means (n, B, C) of passes first ... last - 1, in the order of coding; (n, 1,
        C) of the first pass, for any batch.

        Args:
            known: (M + 1, B, C) float32, the known symbols `in_unit` in the order of coding, zeros
                in the last row.
        """
        weights = self._second(quality)
        if last == 1:
            return weights.alone
        h = self.sums(known, quality, first, last)
        np.maximum(h, _ZERO, out=h)
        whole = np.floor(h, out=h).astype(np.float64)
        z = np.empty((*h.shape[:2], 2 * self.n_channels))
        for i, rows in self._parts(first, last):
            part = whole[rows].reshape(-1, h.shape[2])
            np.dot(part, weights.out[i], out=z[rows].reshape(-1, z.shape[2]))
        start = self.rows[first].start
        z += weights.bias[start : start + len(z)]
        return self._chosen(z)

    def sums(
        self, known: NDArray[np.float32], quality: int, first: int, last: int
    ) -> NDArray[np.float32]:
        """(hidden v + hidden_bias) * 2**-shift of passes first ... last - 1: (n, B, H) float32;
        `known` as `choose` takes it.
        """
        start, batch = self.rows[first].start, known.shape[1]
        n_near, width = self._first.hidden[first].shape
        sums = np.empty((self.rows[last - 1].stop - start, batch, width), dtype=np.float32)
        for i, rows in self._parts(first, last):
            seen = known.take(self._near[i], axis=0, mode="clip")
            seen = seen.reshape(-1, 4, batch, self.n_channels).swapaxes(1, 2).reshape(-1, n_near)
            np.dot(seen, self._first.hidden[i], out=sums[rows].reshape(-1, width))
        sums += self._first.bias[quality, start : start + len(sums)]
        return sums

    def _parts(self, first: int, last: int) -> list[tuple[int, slice]]:
        """Passes first ... last - 1, each with its places from the first one's start on."""
        start = self.rows[first].start
        return [
            (i, slice(self.rows[i].start - start, self.rows[i].stop - start))
            for i in range(first, last)
        ]

    def in_unit(self, symbols: Integers, quality: int) -> NDArray[np.float32]:
        """Symbols (..., C) in -127..127 -> what the network takes, float32 integers in
        -127..127.
        """
        table, start = self._units[quality]
        return table.take(symbols + start, mode="clip")

    def coarser(self, symbols: Integers, quality: int, lower: int, half: int) -> NDArray[np.int32]:
        """Symbols (..., C) of one quality -> those of a lower one, in -127..127; `half` is where it
        rounds up, in thousandths of a step.
        """
        unit, other = (np.maximum(self.unit[q].astype(np.int64), 1) for q in (quality, lower))
        whole = symbols.astype(np.int64)
        # |s| * unit / other + half, rounded down, without a division that rounds twice
        size = (1000 * np.abs(whole) * unit + half * other) // (1000 * other)
        return (np.sign(whole) * np.minimum(size, LIMIT)).astype(np.int32)

    def _chosen(self, z: NDArray[np.float64]) -> Choice:
        c = self.n_channels
        whole = np.floor(z, out=z).astype(np.int32)
        table = _FIRST_TABLES.take(whole[..., c:], mode="clip")
        # whole rows: twice the numbers, and half the time of halves of rows
        table += (whole & _EIGHTH)[..., :c]
        return Choice(table, (whole >> _EIGHTH_BITS)[..., :c])

    # Weights as products from the left take them. The first layer's are float32 and hold 2**-shift,
    # the second's are float64 and hold a quality's factor and 2**-16: powers of two, and sums below
    # 2**24 and 2**53, so every product and sum is still exact.

    @functools.cached_property
    def _near(self) -> list[NDArray[np.intp]]:
        """Each pass's neighbours in one row, (4 n,)."""
        return [neighbours.reshape(-1) for _, neighbours in self.passes]

    @functools.cached_property
    def _first(self) -> _First:
        step = np.exp2(-self.shift.astype(np.float32))
        hidden = [
            np.ascontiguousarray(w.T, dtype=np.float32) for w in self.hidden * step[..., None]
        ]
        # of each place
        network = np.concatenate(
            [np.full(len(p.positions), max(i - 1, 0)) for i, p in enumerate(self.passes)]
        )
        bias = (self.hidden_bias * step).astype(np.float32).take(network, axis=1)
        return _First([hidden[0], *hidden], bias[:, :, None])

    def _second(self, quality: int) -> _Second:
        if quality not in self._seconds:
            factor, one = self.factor[quality].astype(np.float64), float(1 << FRACTION_BITS)
            out = [np.ascontiguousarray(w.T * factor / one) for w in self.out.astype(np.float64)]
            bias = ((self.out_bias.T[self.order] * factor + self.bias[quality]) / one)[:, None]
            self._seconds[quality] = _Second(
                [out[0], *out], bias, self._chosen(bias[self.rows[0]].copy())
            )
        return self._seconds[quality]

    @functools.cached_property
    def _seconds(self) -> dict[int, _Second]:
        return {}

    @functools.cached_property
    def _units(self) -> list[tuple[NDArray[np.float32], NDArray[np.int32]]]:
        """By quality: every symbol of every channel in the network's unit, and the place of each
        channel's 0.
        """
        symbols = np.arange(-LIMIT, LIMIT + 1)
        v = (
            symbols * self.unit.astype(np.int64)[..., None] + (1 << FRACTION_BITS - 1)
        ) >> FRACTION_BITS
        start = (np.arange(self.n_channels) * len(symbols) + LIMIT).astype(np.int32)
        return [(row.reshape(-1), start) for row in v.clip(-LIMIT, LIMIT).astype(np.float32)]


class _First(NamedTuple):
    hidden: list[NDArray[np.float32]]  # by pass, (4 C, H); the first pass has none
    bias: NDArray[np.float32]  # (Q, M, 1, H) in the order of coding


class _Second(NamedTuple):
    out: list[NDArray[np.float64]]  # by pass, (H, 2 C)
    bias: NDArray[np.float64]  # (M, 1, 2 C) in the order of coding
    alone: Choice  # of the first pass


_FIRST_TABLES = np.arange(N_SCALES, dtype=np.int32) * EIGHTHS
_ZERO = np.zeros(1, dtype=np.float32)
_EIGHTH, _EIGHTH_BITS = np.array([EIGHTHS - 1], dtype=np.int32), np.array([3], dtype=np.int32)
