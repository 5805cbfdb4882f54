"""symbols (B, M, C) <-> payloads by codec/coding/coder.c: the bytes of numpy's way, sooner.

Part of the one file for devices: Python 3.6, numpy.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.coding.compiled import library
from codec.coding.container import BitstreamError
from codec.coding.context import ContextNetwork
from codec.coding.exact import greatest_sums
from codec.coding.tables import INVALID, Tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from codec.coding.tables import Integers

_SHORT, _INT = 1 << 15, 1 << 31
_POINTERS = (
    "order",
    "ends",
    "near",
    "network",
    "unit",
    "hidden",
    "hidden_bias",
    "shift",
    "out",
    "out_bias",
    "factor",
    "bias",
    "cdf",
)


class _Prior(ctypes.Structure):
    """`struct prior` of coder.c."""

    _fields_ = [(name, ctypes.c_int) for name in ("m", "c", "h", "n_passes")] + [
        (name, ctypes.c_void_p) for name in _POINTERS
    ]


class NativeCoder:
    """Writes and reads the payloads of one prior.

    Args:
        network, tables: the prior's.

    Raises:
        ValueError: there is no C here, or the network's sums do not fit its integers; the message
            says why.
    """

    def __init__(self, network: ContextNetwork, tables: Tables) -> None:
        self._made_of, self._library = (network, tables), library()
        hidden, out = greatest_sums(network)
        if (
            (hidden >> network.shift).max() >= _SHORT
            or out.max() >= _INT
            or 2 * (network.side**2 + 1) * network.n_channels >= _INT
        ):
            raise ValueError(
                "the sums of the prior's network do not fit the integers of the coder in C"
            )
        m, c, h = network.side**2, network.n_channels, network.hidden.shape[1]
        self._kept = _arrays(network, tables)
        self._struct = _Prior(
            m, c, h, len(network.passes), *[self._kept[name].ctypes.data for name in _POINTERS]
        )
        self._prior = ctypes.addressof(self._struct)
        self._shape, self._n_symbols = (m, c), m * c
        # Parts of the memory for work, in bytes from its start: an integer for each symbol that is
        # escaped, payload, the network's integers, known symbols.
        self._payload = 4 * m * c
        self._numbers = self._payload + 4 * m * c + (m * c // 8 + 19) // 4 * 4
        self._known = self._numbers + 4 * (h + 2 * c)
        self._n_work = self._known + 2 * ((m + 1) * c + h)

    def __reduce__(self) -> Any:
        """In another process, or on another machine, it is opened there; where that cannot be, the
        prior goes on without.
        """
        return _reopened, self._made_of

    def encode(self, symbols: Integers, quality: int) -> list[bytes]:
        """Symbols (B, M, C) in -127..127, of a quality that there is -> a payload each."""
        images = np.ascontiguousarray(symbols, dtype=np.int32)
        work, at, payloads = np.empty(self._n_work, dtype=np.uint8), images.ctypes.data, []
        raw = work.ctypes.data
        for image in range(at, at + 4 * images.size, 4 * self._n_symbols):
            n = self._library.prior_write(
                self._prior,
                int(quality),
                image,
                raw + self._payload,
                raw + self._known,
                raw + self._numbers,
                raw,
            )
            payloads.append(ctypes.string_at(raw + self._payload, n))
        return payloads

    def decode(self, payloads: Sequence[bytes], quality: int) -> NDArray[np.int32]:
        """Payloads -> symbols (B, M, C) int32, of a quality that there is.

        Raises:
            BitstreamError: a payload leads beyond a table, or to a value that is no symbol.
        """
        symbols = np.empty((len(payloads), *self._shape), dtype=np.int32)
        work, at = np.empty(self._n_work, dtype=np.uint8), symbols.ctypes.data
        raw = work.ctypes.data
        for i, payload in enumerate(payloads):
            if self._library.prior_read(
                self._prior,
                int(quality),
                payload,
                len(payload),
                at + 4 * i * self._n_symbols,
                raw + self._known,
                raw + self._numbers,
                raw,
            ):
                raise BitstreamError(INVALID)
        return symbols


def _arrays(network: ContextNetwork, tables: Tables) -> dict[str, NDArray[Any]]:
    """What `struct prior` points to, in the types and the order that it has."""
    passes = network.passes
    arrays = {
        "order": network.order,
        "ends": np.cumsum([len(positions) for positions, _ in passes]),
        "near": np.concatenate([neighbours for _, neighbours in passes]),
        "network": np.repeat(np.arange(len(passes)), [len(p) for p, _ in passes]),
        "out_bias": network.out_bias.T[network.order],
    }
    for name in ("unit", "hidden_bias", "shift", "factor", "bias"):
        arrays[name] = getattr(network, name)
    kept = {name: np.ascontiguousarray(array, dtype=np.int32) for name, array in arrays.items()}
    kept["hidden"] = np.ascontiguousarray(network.hidden.swapaxes(1, 2), dtype=np.int16)
    kept["out"] = np.ascontiguousarray(network.out, dtype=np.int16)
    kept["cdf"] = np.ascontiguousarray(tables.cdf, dtype=np.uint32)
    return kept


def _reopened(network: ContextNetwork, tables: Tables) -> NativeCoder | None:
    try:
        return NativeCoder(network, tables)
    except ValueError:
        return None
