"""symbols of several qualities in one payload, coarse ones first, so that its first bytes are a
payload of a lower quality.

A coarse quality's symbols are the finer one's, rounded to its step: a function of integers. So a
finer layer is coded within the few symbols that the coarser one leaves for it, by the finer
quality's own tables, cut to these and nothing else: layers need no training, and no bytes of their
own. What they cost is that a coarse symbol sees no finer neighbours.

All layers go into one range coder's stream. As zeros are implied behind its end, it can be cut
wherever the cut point still lies in the interval of the layers that stay. Coded in Python integers,
as totals are no powers of two (Martin 1979; embedded quantisation: Taubman, Marcellin 2002,
"JPEG2000: image compression fundamentals, standards and practice", ch. 3). Part of the one file for
devices: Python 3.6, numpy.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.coding.container import BitstreamError
from codec.coding.exact import LIMIT
from codec.coding.integer_prior import IntegerPrior
from codec.coding.places import rising, upto
from codec.coding.portable import PortableDecoder, PortableEncoder
from codec.coding.tables import INVALID, Integers


class _Span(NamedTuple):
    """By coarse symbol + LIMIT and channel, (2 LIMIT + 1, C): the least and the greatest fine
    symbol that becomes it.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ProgressivePrior(IntegerPrior):
    """A prior whose payloads, at the qualities in `layers`, hold the lower of these first; at
    others they are as they were.

    Attributes:
        layers: the qualities, rising.
        halves: where each of them rounds up from zero on, in thousandths of a step
            (`codec.coding.dead_zone.thousandths`).
    """

    layers: tuple[int, ...] = ()
    halves: tuple[int, ...] = ()

    def encode(self, symbols: Integers, quality: int, portable: bool = False) -> list[bytes]:
        if quality not in self.layers[1:]:
            return super().encode(symbols, quality, portable)
        self._checked(symbols, quality)
        return [self._written(image[None], quality).finish() for image in symbols]

    def decode(
        self, payloads: Sequence[bytes], quality: int, portable: bool = False
    ) -> NDArray[np.int32]:
        # the first layer's may be the start of a longer one, and end otherwise than it would alone
        self._check_quality(quality)
        if quality not in self.layers:
            return super().decode(payloads, quality, portable)
        if not payloads:
            return np.empty((0, self.network.side**2, self.network.n_channels), dtype=np.int32)
        return np.concatenate([self._decoded(payload, quality) for payload in payloads])

    def bits(self, symbols: Integers, quality: int) -> NDArray[np.float64]:
        if quality not in self.layers[1:]:
            return super().bits(symbols, quality)
        self._checked(symbols, quality)
        chain = self.chain(symbols, quality)
        bits = super().bits(chain[self.layers[0]], self.layers[0])
        for coarse, fine in self._steps(quality):
            _, sizes, totals = self._parts(chain[fine], fine, chain[coarse], coarse)
            bits = bits + np.log2(totals / sizes).sum(1)
        return bits

    def cuts(self, symbols: Integers, quality: int, payload: bytes) -> dict[int, int]:
        """For each lower layer of a payload of symbols (M, C): how many of its first bytes are a
        payload of that quality.
        """
        if quality not in self.layers[1:]:
            return {}
        return {
            layer: next(n for n in range(len(payload) + 1) if written.holds(payload[:n]))
            for layer, written in self._writing(symbols[None], quality)
            if layer != quality
        }

    def chain(self, symbols: Integers, quality: int) -> dict[int, NDArray[np.int32]]:
        """Symbols (B, M, C) of a layer -> those of it and of each lower one, rounded from one to
        the next.
        """
        made = {quality: np.asarray(symbols, dtype=np.int32)}
        for coarse, fine in reversed(self._steps(quality)):
            made[coarse] = self.network.coarser(made[fine], fine, coarse, self._half(coarse))
        return made

    def _steps(self, quality: int) -> list[tuple[int, int]]:
        last = self.layers.index(quality)
        return list(zip(self.layers[:last], self.layers[1 : last + 1], strict=True))

    def _half(self, quality: int) -> int:
        return self.halves[self.layers.index(quality)]

    def _written(self, symbols: Integers, quality: int) -> PortableEncoder:
        """All layers of one picture's symbols (1, M, C)."""
        *_, (_, coder) = self._writing(symbols, quality)
        return coder

    def _writing(self, symbols: Integers, quality: int) -> Iterator[tuple[int, PortableEncoder]]:
        """Each layer of one picture's symbols (1, M, C), and the coder when it has just been
        written: one coder, that goes on.
        """
        chain, coder = self.chain(symbols, quality), PortableEncoder(self.tables)
        ordered, places, tables = self.places(chain[self.layers[0]], self.layers[0])
        self._write(coder, ordered[0], places[0], tables[0])
        yield self.layers[0], coder
        for coarse, fine in self._steps(quality):
            starts, sizes, totals = (
                part[0] for part in self._parts(chain[fine], fine, chain[coarse], coarse)
            )
            open_ = totals > sizes
            coder.write_parts(starts[open_].tolist(), sizes[open_].tolist(), totals[open_].tolist())
            yield fine, coder

    def _decoded(self, payload: bytes, quality: int) -> NDArray[np.int32]:
        network, coder = self.network, PortableDecoder(payload, self.tables)
        ordered = self._read([coder], self.layers[0])[0]
        if np.abs(ordered).max(initial=0) > LIMIT:
            raise BitstreamError(INVALID)
        symbols = ordered.reshape(1, -1, network.n_channels).take(network.inverse, axis=1)
        for coarse, fine in self._steps(quality):
            symbols = self._refined(coder, symbols, coarse, fine)
        written = self._written(symbols, quality)
        only = written.finish()
        if quality == self.layers[-1]:
            right = payload == only
        else:  # the start of a longer payload may end in other bytes, but in none too many
            right = written.holds(payload) and not (payload and written.holds(payload[:-1]))
        if not right:
            found = f"its {len(payload)} bytes hold symbols that take {len(only)}"
            raise BitstreamError(
                f"the payload was not written at quality {quality}, or is damaged: {found}"
            )
        return symbols

    def _parts(
        self, fine: Integers, quality: int, coarse: Integers, lower: int
    ) -> tuple[NDArray[np.int64], ...]:
        """Where fine symbols lie among those that coarse ones leave: start, size and total, each
        (B, M * C) in the order of coding.
        """
        symbols, means, tables = (part.astype(np.int64) for part in self._chosen(fine, quality))
        low, high = self._spans(coarse.take(self.network.order, axis=1), lower, quality)
        below, start, after, end = (
            upto(self._rising, tables, s - means) for s in (low, symbols, symbols + 1, high + 1)
        )
        return start - below, after - start, end - below

    def _refined(
        self, coder: PortableDecoder, coarse: NDArray[np.int32], lower: int, quality: int
    ) -> NDArray[np.int32]:
        """The next layer of one picture: symbols (1, M, C) of a lower quality -> those of the next
        one.
        """
        network = self.network
        m, c = network.side**2, network.n_channels
        low, high = (
            part.reshape(-1)
            for part in self._spans(coarse.take(network.order, axis=1), lower, quality)
        )
        if np.any(low > high):
            raise BitstreamError(INVALID)
        known, ordered = np.zeros((m + 1, 1, c), dtype=np.float32), low.copy()
        for i, rows in enumerate(network.rows):
            part = np.arange(rows.start * c, rows.stop * c)
            table, mean = (
                some.reshape(-1).astype(np.int64)
                for some in network.choose(known, quality, i, i + 1)
            )
            is_open = high[part] > low[part]
            table, mean, part = table[is_open], mean[is_open], part[is_open]
            if len(part):
                width = (high[part] - low[part]).max() + 2
                edges = np.minimum(low[part][:, None] + np.arange(width), high[part][:, None] + 1)
                below = upto(self._rising, table[:, None], edges - mean[:, None])
                ordered[part] += coder.read_parts((below - below[:, :1]).tolist())
            if rows.stop < m:
                known[rows] = network.in_unit(ordered.reshape(m, 1, c)[rows], quality)
        return ordered.reshape(1, m, c).take(network.inverse, axis=1).astype(np.int32)

    def _spans(
        self, coarse: Integers, lower: int, quality: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The least and the greatest fine symbol for coarse ones (B, M, C), each (B, M * C)."""
        span, channels = self._span(lower, quality), np.arange(self.network.n_channels)
        low, high = (side[coarse + LIMIT, channels].reshape(len(coarse), -1) for side in span)
        return low, high

    def _span(self, lower: int, quality: int) -> _Span:
        if (lower, quality) not in self._known_spans:
            symbols = np.arange(-LIMIT, LIMIT + 1)
            whole = np.broadcast_to(symbols[:, None], (len(symbols), self.network.n_channels))
            becomes = self.network.coarser(whole, quality, lower, self._half(lower)).T
            low, high = (
                np.stack([np.searchsorted(row, symbols, side) for row in becomes], axis=1)
                for side in ("left", "right")
            )
            self._known_spans[lower, quality] = _Span(
                low.astype(np.int64) - LIMIT, high.astype(np.int64) - 1 - LIMIT
            )
        return self._known_spans[lower, quality]

    @functools.cached_property
    def _known_spans(self) -> dict[tuple[int, int], _Span]:
        return {}

    @functools.cached_property
    def _rising(self) -> NDArray[np.int64]:
        return rising(self.tables.cdf)


def progressive_prior(
    prior: IntegerPrior, layers: Sequence[int], halves: Sequence[int]
) -> IntegerPrior:
    """A prior whose payloads at the qualities in `layers` hold the lower of these first; the prior
    as it is where there are none.

    Args:
        halves: of each of `layers`, in thousandths of a step: see `ProgressivePrior`.
    """
    if not layers:
        return prior
    return ProgressivePrior(
        prior.network, prior.tables, prior.coder, prior.native, tuple(layers), tuple(halves)
    )
